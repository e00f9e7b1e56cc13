//! Checked program → IR.

use ccp_program::{BinaryOp, Clause, Inst, Limits, Operand, Program, Reg};

use crate::hir::{self, Assign, Choice, Source, Stmt, StmtKind, Value, ValueKind};
use crate::span::Span;

/// Where in the source each clause and each instruction comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceMap {
    clauses: Vec<(Span, Vec<Span>)>,
    variables: Vec<(String, Span)>,
    registers: Vec<(String, Span)>,
}

impl SourceMap {
    /// The beginning of a clause, counted from 0: its bracket and `when`.
    #[must_use]
    pub fn clause(&self, clause: usize) -> Option<Span> {
        self.clauses.get(clause).map(|(span, _)| *span)
    }

    /// The expression that an instruction of a clause comes from; instructions are counted from 0
    /// through condition and body.
    #[must_use]
    pub fn inst(&self, clause: usize, inst: usize) -> Option<Span> {
        self.clauses.get(clause)?.1.get(inst).copied()
    }

    /// The declaration of a variable, or the first assignment to a local one; report variables are
    /// called `Report.…`.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<Span> {
        let declared = self.variables.iter().find(|(n, _)| n == name);
        declared.map(|(_, span)| *span)
    }

    /// Where the measurement or register `name` of the datapath stands first.
    #[must_use]
    pub fn register(&self, name: &str) -> Option<Span> {
        let used = self.registers.iter().find(|(n, _)| n == name);
        used.map(|(_, span)| *span)
    }

    /// The first variable or clause of `program` for which, or for whose instructions, `limits`
    /// leave no room.
    pub(crate) fn too_far(&self, program: &Program, limits: &Limits) -> Option<Span> {
        for (report, count, limit) in [
            (true, program.reports.len(), usize::from(limits.reports)),
            (false, program.controls.len(), usize::from(limits.controls)),
        ] {
            if count > limit {
                return self.nth(report, limit);
            }
        }
        let mut room = usize::from(limits.instructions);
        let too_far = program.clauses.iter().position(|clause| {
            let len = clause.condition.len() + clause.body.len();
            let fits = len <= room;
            room = room.saturating_sub(len);
            !fits
        });
        self.clause(too_far?)
    }

    /// The declaration of the report variable at `place`, or of the control variable; the local
    /// variables follow these.
    pub(crate) fn nth(&self, report: bool, place: usize) -> Option<Span> {
        let same_kind = |(name, _): &&(String, Span)| name.starts_with("Report.") == report;
        let nth = self.variables.iter().filter(same_kind).nth(place);
        nth.map(|(_, span)| *span)
    }
}

/// The IR of `program`, and where it comes from.
pub(crate) fn lower(program: hir::Program) -> (Program, SourceMap) {
    let mut temps = 0;
    let mut map = SourceMap {
        clauses: Vec::new(),
        variables: program.places,
        registers: program.uses,
    };
    let mut clauses = Vec::new();
    for clause in &program.clauses {
        let mut code = Code::default();
        let test = match code.value(&clause.condition) {
            Operand::Imm(constant) if constant != 0 => None,
            other => Some(other),
        };
        let condition = std::mem::take(&mut code.insts);
        code.free(0);
        code.block(&clause.body);
        temps = temps.max(code.most);
        map.clauses.push((clause.span, code.spans));
        clauses.push(Clause {
            condition,
            test,
            body: code.insts,
        });
    }
    let program = Program {
        primitives: program.primitives,
        writables: program.writables,
        controls: program.controls,
        reports: program.reports,
        locals: program.locals,
        temps,
        clauses,
        own_recovery: false,
    };
    (program, map)
}

/// The instructions of one clause so far.
#[derive(Default)]
struct Code {
    insts: Vec<Inst>,
    /// One for each instruction, those of the condition included.
    spans: Vec<Span>,
    /// Temporaries in use: they are taken and given back in the manner of a stack.
    used: u16,
    most: u16,
}

impl Code {
    fn emit(&mut self, span: Span, inst: Inst) {
        self.insts.push(inst);
        self.spans.push(span);
    }

    fn temp(&mut self) -> Reg {
        let temp = Reg::Temp(self.used);
        self.used = self.used.saturating_add(1);
        self.most = self.most.max(self.used);
        temp
    }

    fn free(&mut self, down_to: u16) {
        self.used = down_to;
    }

    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            let mark = self.used;
            self.stmt(stmt);
            self.free(mark);
        }
    }

    fn stmt(&mut self, stmt: &Stmt) {
        match &stmt.kind {
            StmtKind::Assign(assign) => self.assign(assign, stmt.span),
            StmtKind::If {
                condition,
                body,
                otherwise,
            } => {
                let then = |code: &mut Self| code.block(body);
                let other = |code: &mut Self| code.block(otherwise);
                self.either(condition, stmt.span, then, !otherwise.is_empty(), other);
            }
            StmtKind::Report => self.emit(stmt.span, Inst::Report),
            StmtKind::Fallthrough => self.emit(stmt.span, Inst::Fallthrough),
            StmtKind::Evaluate(value) => {
                self.value(value);
            }
        }
    }

    fn assign(&mut self, assign: &Assign, span: Span) {
        self.source(assign.target, &assign.source, span);
    }

    fn source(&mut self, dst: Reg, source: &Source, span: Span) {
        let mark = self.used;
        match source {
            Source::Value(value) => self.put(dst, value, span),
            Source::If {
                condition,
                then,
                otherwise: None,
                span,
            } => {
                let then = |code: &mut Self| code.source(dst, then, *span);
                self.either(condition, *span, then, false, |_| {});
            }
            Source::If {
                condition,
                then,
                otherwise: Some(otherwise),
                span,
            } => {
                if let (Source::Value(then), Source::Value(otherwise)) = (&**then, &**otherwise) {
                    self.choice(Some(dst), condition, then, otherwise, *span);
                } else {
                    let then = |code: &mut Self| code.source(dst, then, *span);
                    let other = |code: &mut Self| code.source(dst, otherwise, *span);
                    self.either(condition, *span, then, true, other);
                }
            }
            Source::Ewma {
                weight,
                sample,
                span,
            } => {
                let (weight, sample) = self.operands(weight, sample);
                let inst = Inst::Ewma {
                    dst,
                    weight,
                    sample,
                };
                self.emit(*span, inst);
            }
        }
        self.free(mark);
    }

    /// `dst = value`: `dst` is written by the last instruction, after everything is read.
    fn put(&mut self, dst: Reg, value: &Value, span: Span) {
        let src = match self.compute(Some(dst), value) {
            Operand::Reg(reg) if reg == dst => return,
            src => src,
        };
        self.emit(span, Inst::Move { dst, src });
    }

    /// The value as something that can be read. If that is a temporary, it is the last in use.
    fn value(&mut self, value: &Value) -> Operand {
        self.compute(None, value)
    }

    /// The value, in `dst` if it has to be put somewhere and can be put there.
    fn compute(&mut self, dst: Option<Reg>, value: &Value) -> Operand {
        let span = value.span;
        match &value.kind {
            ValueKind::Operand(operand) => *operand,
            ValueKind::Operation { op, operands } => {
                let mut later = operands.iter().skip(1);
                let strict = !matches!(op, BinaryOp::And | BinaryOp::Or) || later.all(Value::quiet);
                if strict {
                    self.operation(dst, *op, operands, span)
                } else {
                    self.logic(*op, operands, span)
                }
            }
            ValueKind::SaturatingSub(operands) => {
                let mark = self.used;
                // Not max(a, b) - b: if b were a clock that is read twice, it may have gone on.
                let (a, b) = self.operands(&operands.0, &operands.1);
                let smaller = self.temp();
                self.binary(BinaryOp::Min, smaller, a, b, span);
                self.free(mark);
                let dst = dst.unwrap_or_else(|| self.temp());
                self.binary(BinaryOp::Sub, dst, a, smaller.into(), span);
                dst.into()
            }
            ValueKind::Not(value) => {
                let mark = self.used;
                let value = self.value(value);
                self.free(mark);
                let dst = dst.unwrap_or_else(|| self.temp());
                self.binary(BinaryOp::Eq, dst, value, Operand::Imm(0), span);
                dst.into()
            }
            ValueKind::Choice(choice) => {
                let Choice {
                    condition,
                    then,
                    otherwise,
                } = &**choice;
                self.choice(dst, condition, then, otherwise, span)
            }
            ValueKind::Assign(assign) => {
                self.assign(assign, span);
                assign.target.into()
            }
            ValueKind::After(stmts, value) => {
                self.block(stmts);
                self.compute(dst, value)
            }
        }
    }

    fn binary(&mut self, op: BinaryOp, dst: Reg, a: Operand, b: Operand, span: Span) {
        self.emit(span, Inst::Binary { op, dst, a, b });
    }

    /// All operands, one after the other.
    fn operation(
        &mut self,
        dst: Option<Reg>,
        op: BinaryOp,
        operands: &[Value],
        span: Span,
    ) -> Operand {
        let mark = self.used;
        let Some((first, later)) = operands.split_first() else {
            return Operand::Imm(0);
        };
        let mut so_far = self.first(first, later);
        for (left, operand) in (1..later.len() + 1).rev().zip(later) {
            let operand = self.value(operand);
            self.free(mark);
            let dst = match dst {
                Some(dst) if left == 1 => dst,
                _ => self.temp(),
            };
            self.binary(op, dst, so_far, operand, span);
            so_far = dst.into();
        }
        so_far
    }

    /// `&&` or `||` of operands that may fault or assign: each is passed over if those before it
    /// decide.
    fn logic(&mut self, op: BinaryOp, operands: &[Value], span: Span) -> Operand {
        let mark = self.used;
        let Some((first, later)) = operands.split_first() else {
            return Operand::Imm(0);
        };
        let first = self.value(first);
        self.free(mark);
        let so_far = self.temp();
        match first {
            Operand::Reg(reg) if reg == so_far => {}
            // The agent may have given it any value.
            Operand::Reg(Reg::Control(_)) => {
                self.binary(BinaryOp::Ne, so_far, first, Operand::Imm(0), span);
            }
            src => self.emit(span, Inst::Move { dst: so_far, src }),
        }
        for operand in later {
            let mark = self.used;
            if operand.quiet() {
                let operand = self.value(operand);
                self.binary(op, so_far, so_far.into(), operand, span);
            } else {
                let skip = self.skip(so_far.into(), op == BinaryOp::And, span);
                self.put(so_far, operand, span);
                self.land(skip);
            }
            self.free(mark);
        }
        so_far.into()
    }

    /// One of two values.
    fn choice(
        &mut self,
        dst: Option<Reg>,
        condition: &Value,
        then: &Value,
        otherwise: &Value,
        span: Span,
    ) -> Operand {
        let mark = self.used;
        let (test, if_not_zero) = self.test(condition);
        let reads = |operand: Operand, reg: Option<Reg>| reg.is_some_and(|r| operand == r.into());
        if let (ValueKind::Operand(a), ValueKind::Operand(b)) = (&then.kind, &otherwise.kind)
            && !reads(test, dst)
            && !reads(*a, dst)
        {
            // The one, and the other over it.
            let dst = dst.unwrap_or_else(|| self.result(mark, test));
            let src = *b;
            self.emit(span, Inst::Move { dst, src });
            let skip = self.skip(test, if_not_zero, span);
            let src = *a;
            self.emit(span, Inst::Move { dst, src });
            self.land(skip);
            return dst.into();
        }
        let dst = dst.unwrap_or_else(|| self.result(mark, test));
        let to_other = self.skip(test, if_not_zero, span);
        let mark = self.used;
        self.put(dst, then, span);
        self.free(mark);
        let to_end = self.insts.len();
        self.emit(span, Inst::Skip { count: 0 });
        self.land(to_other);
        self.put(dst, otherwise, span);
        self.free(mark);
        self.land(to_end);
        dst.into()
    }

    /// A temporary that is not `test`, and the last in use.
    fn result(&mut self, mark: u16, test: Operand) -> Reg {
        self.free(mark);
        let dst = self.temp();
        if test == dst.into() { self.temp() } else { dst }
    }

    /// `then` if `condition` holds, `otherwise` if not and there is something to do then.
    fn either(
        &mut self,
        condition: &Value,
        span: Span,
        then: impl FnOnce(&mut Self),
        two: bool,
        otherwise: impl FnOnce(&mut Self),
    ) {
        match condition.constant() {
            Some(0) => return otherwise(self),
            Some(_) => return then(self),
            None => {}
        }
        let mark = self.used;
        let (test, if_not_zero) = self.test(condition);
        self.free(mark);
        let skip = self.skip(test, if_not_zero, span);
        then(self);
        if two {
            let to_end = self.insts.len();
            self.emit(span, Inst::Skip { count: 0 });
            self.land(skip);
            otherwise(self);
            self.land(to_end);
        } else {
            self.land(skip);
        }
    }

    /// What to look at for a condition, and whether it holds if that is not zero, or if it is.
    fn test(&mut self, condition: &Value) -> (Operand, bool) {
        match &condition.kind {
            ValueKind::Not(value) => {
                let (test, if_not_zero) = self.test(value);
                (test, !if_not_zero)
            }
            _ => (self.value(condition), true),
        }
    }

    /// The first operand, kept as it is now if the later ones may write it.
    fn first(&mut self, first: &Value, later: &[Value]) -> Operand {
        let src = self.value(first);
        let register = matches!(src, Operand::Reg(reg) if !matches!(reg, Reg::Temp(_)));
        if register && later.iter().any(|value| value.assigns) {
            let dst = self.temp();
            self.emit(first.span, Inst::Move { dst, src });
            return dst.into();
        }
        src
    }

    /// Both operands, from left to right.
    fn operands(&mut self, a: &Value, b: &Value) -> (Operand, Operand) {
        let left = self.first(a, std::slice::from_ref(b));
        (left, self.value(b))
    }

    /// A skip over what is to happen only if `test` is not zero (`if_not_zero`), or only if it is.
    fn skip(&mut self, test: Operand, if_not_zero: bool, span: Span) -> usize {
        let (cond, count) = (test, 0);
        let inst = if if_not_zero {
            Inst::SkipUnless { cond, count }
        } else {
            Inst::SkipIf { cond, count }
        };
        self.emit(span, inst);
        self.insts.len() - 1
    }

    /// Makes the skip at `skip` end here.
    fn land(&mut self, skip: usize) {
        // A block longer than this has too many instructions for any program.
        let distance = u16::try_from(self.insts.len() - skip - 1).unwrap_or(u16::MAX);
        if let Some(
            Inst::Skip { count } | Inst::SkipIf { count, .. } | Inst::SkipUnless { count, .. },
        ) = self.insts.get_mut(skip)
        {
            *count = distance;
        }
    }
}
