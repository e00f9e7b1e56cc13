//! Checked program → IR.

use ccp_program::{Clause, Inst, Operand, Program, Reg};

use crate::hir::{self, Assign, Source, Stmt, StmtKind, Value, ValueKind};
use crate::span::Span;

/// Where in the source each clause and each instruction comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourceMap {
    clauses: Vec<(Span, Vec<Span>)>,
    variables: Vec<(String, Span)>,
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

    /// The declaration of a variable; report variables are called `Report.…`.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<Span> {
        let declared = self.variables.iter().find(|(n, _)| n == name);
        declared.map(|(_, span)| *span)
    }

    /// The declaration of the report or control variable at `place`.
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
                negated,
                condition,
                body,
            } => {
                let skip = self.skip(*negated, condition, stmt.span);
                self.block(body);
                self.land(skip);
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
            Source::Value(value) => {
                if let ValueKind::Binary { op, a, b } = &value.kind {
                    let (a, b) = self.operands(a, b);
                    self.emit(value.span, Inst::Binary { op: *op, dst, a, b });
                } else {
                    let src = self.value(value);
                    self.emit(span, Inst::Move { dst, src });
                }
            }
            Source::If {
                negated,
                condition,
                then,
                span,
            } => {
                let skip = self.skip(*negated, condition, *span);
                self.source(dst, then, *span);
                self.land(skip);
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

    fn value(&mut self, value: &Value) -> Operand {
        match &value.kind {
            ValueKind::Operand(operand) => *operand,
            ValueKind::Binary { op, a, b } => {
                let mark = self.used;
                let (a, b) = self.operands(a, b);
                self.free(mark);
                let dst = self.temp();
                self.emit(value.span, Inst::Binary { op: *op, dst, a, b });
                dst.into()
            }
            ValueKind::Assign(assign) => {
                self.assign(assign, value.span);
                assign.target.into()
            }
        }
    }

    /// Both operands, from left to right.
    fn operands(&mut self, a: &Value, b: &Value) -> (Operand, Operand) {
        let mut left = self.value(a);
        let register = matches!(left, Operand::Reg(reg) if !matches!(reg, Reg::Temp(_)));
        if register && b.assigns() {
            // The right side may write it: keep what it is now.
            let dst = self.temp();
            self.emit(a.span, Inst::Move { dst, src: left });
            left = dst.into();
        }
        (left, self.value(b))
    }

    /// A skip over what is to happen only if `condition` is true (`negated`: not true).
    fn skip(&mut self, negated: bool, condition: &Value, span: Span) -> usize {
        let mark = self.used;
        let cond = self.value(condition);
        self.free(mark);
        let inst = if negated {
            Inst::SkipIf { cond, count: 0 }
        } else {
            Inst::SkipUnless { cond, count: 0 }
        };
        self.emit(span, inst);
        self.insts.len() - 1
    }

    /// Makes the skip at `skip` end here.
    fn land(&mut self, skip: usize) {
        // A block longer than this has too many instructions for any program.
        let distance = u16::try_from(self.insts.len() - skip - 1).unwrap_or(u16::MAX);
        if let Some(Inst::SkipIf { count, .. } | Inst::SkipUnless { count, .. }) =
            self.insts.get_mut(skip)
        {
            *count = distance;
        }
    }
}
