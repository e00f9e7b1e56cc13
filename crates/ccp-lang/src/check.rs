//! AST → checked program: names, types, and what may stand where.

use ccp_program::{BinaryOp, Limits, Operand, Reg, RegisterTable, Type};

use crate::ast::{Clause, Command, Expr, Kind, Literal, Name, Program};
use crate::error::{Errors, Problem, short};
use crate::hir::{self, Assign, Source, Stmt, StmtKind, Value, ValueKind};
use crate::scope::{Meaning, Scope, result};
use crate::span::Span;

/// Checks `program` against the registers of `table`. What comes back is whole only if `errors`
/// holds no error.
pub(crate) fn check(
    program: &Program<'_>,
    table: &RegisterTable,
    errors: &mut Errors,
) -> hir::Program {
    let scope = Scope::new(&program.decls, &program.clauses, table, errors);
    let mut checker = Checker {
        scope,
        errors,
        in_condition: false,
        reports: false,
        has_def: program.has_def,
    };
    let limit = usize::from(Limits::MAX.clauses);
    if let Some(clause) = program.clauses.get(limit) {
        let problem = Problem::TooMany {
            what: "clauses",
            got: program.clauses.len(),
            limit,
        };
        checker.errors.push(clause.span, problem);
    }
    let clauses = checker.clauses(&program.clauses);
    checker.warn(program);
    let scope = checker.scope;
    hir::Program {
        primitives: scope.primitives(),
        writables: scope.writables(),
        locals: scope.local_count(),
        places: scope.places,
        controls: scope.controls,
        reports: scope.reports,
        clauses,
    }
}

struct Checker<'s, 't, 'e> {
    scope: Scope<'s, 't>,
    errors: &'e mut Errors,
    in_condition: bool,
    has_def: bool,
    /// Whether `(report)` was seen.
    reports: bool,
}

/// A value and its type; `None` if it was reported as wrong.
type Typed = Option<(Value, Type)>;

impl<'s> Checker<'s, '_, '_> {
    fn clauses(&mut self, clauses: &[Clause<'s>]) -> Vec<hir::Clause> {
        let mut checked = Vec::new();
        let mut stopped = false;
        for clause in clauses {
            if stopped {
                self.errors.push(clause.span, Problem::NeverReached);
                // Once is enough.
                stopped = false;
            }
            self.in_condition = true;
            let condition = self.value(&clause.condition);
            self.in_condition = false;
            let body: Vec<Stmt> = clause.body.iter().filter_map(|s| self.stmt(s)).collect();
            let Some((condition, _)) = condition else {
                continue;
            };
            if let ValueKind::Operand(Operand::Imm(constant)) = condition.kind {
                let goes_on = body.iter().any(says_fallthrough);
                stopped = constant != 0 && !goes_on;
                if constant == 0 {
                    self.errors.push(condition.span, Problem::NeverTrue);
                }
            }
            checked.push(hir::Clause {
                span: clause.span,
                condition,
                body,
            });
        }
        checked
    }

    fn nearest(&self, name: &str, writable: bool) -> Option<String> {
        if self.errors.many() {
            return None;
        }
        self.scope.nearest(name, writable)
    }

    fn warn(&mut self, program: &Program<'s>) {
        if !self.reports
            && let Some(clause) = program.clauses.first()
        {
            self.errors.push(clause.span, Problem::NeverReports);
        }
        for name in self.scope.unread() {
            let near = self.nearest(name.text, true);
            let problem = Problem::NeverRead {
                name: short(name.text),
                near,
            };
            self.errors.push(name.span, problem);
        }
    }

    fn stmt(&mut self, expr: &Expr<'s>) -> Option<Stmt> {
        let span = expr.span;
        let kind = match &expr.kind {
            Kind::Broken => return None,
            Kind::Assign { target, value } => StmtKind::Assign(self.assign(*target, value)?),
            Kind::If {
                negated,
                condition,
                body,
            } => {
                let condition = self.value(condition);
                let body = body.iter().filter_map(|s| self.stmt(s)).collect();
                StmtKind::If {
                    negated: *negated,
                    condition: condition?.0,
                    body,
                }
            }
            Kind::Command(Command::Report) => {
                if self.scope.reports.is_empty() && !self.reports && self.has_def {
                    self.errors.push(span, Problem::ReportsNothing);
                }
                self.reports = true;
                StmtKind::Report
            }
            Kind::Command(Command::Fallthrough) => StmtKind::Fallthrough,
            Kind::Command(Command::Reset) => StmtKind::Assign(Assign {
                target: Reg::Micros,
                source: Source::Value(immediate(0, span)),
            }),
            Kind::Literal(_) | Kind::Name(_) | Kind::Binary { .. } | Kind::Ewma { .. } => {
                let (value, _) = self.value(expr)?;
                if !value.assigns() {
                    self.errors.push(span, Problem::NoEffect);
                }
                StmtKind::Evaluate(value)
            }
        };
        Some(Stmt { span, kind })
    }

    fn assign(&mut self, target: Name<'s>, value: &Expr<'s>) -> Option<Assign> {
        let place = self.target(target);
        let source = self.source(value);
        let (Some((reg, wanted)), Some((source, got))) = (place, source) else {
            return None;
        };
        if wanted != got {
            let name = short(target.text);
            self.errors
                .push(value.span, Problem::Assigned { name, wanted, got });
            return None;
        }
        Some(Assign {
            target: self.scope.reg(reg),
            source,
        })
    }

    /// The register called `name`, to be written.
    fn target(&mut self, name: Name<'s>) -> Option<(Reg, Type)> {
        let text = short(name.text);
        let problem = match self.scope.lookup(name.text) {
            Some(Meaning::Reg(reg, ty)) => return Some((reg, ty)),
            Some(Meaning::Primitive(..)) => Problem::ReadOnly { name: text },
            None => {
                let near = self.nearest(name.text, true);
                Problem::UnknownTarget { name: text, near }
            }
        };
        self.errors.push(name.span, problem);
        None
    }

    /// The right side of an assignment.
    fn source(&mut self, expr: &Expr<'s>) -> Option<(Source, Type)> {
        match &expr.kind {
            Kind::If {
                negated,
                condition,
                body,
            } => {
                let condition = self.value(condition);
                let [value] = body.as_slice() else {
                    let got = body.len();
                    self.errors
                        .push(expr.span, Problem::IfTakesOneValue { got });
                    return None;
                };
                let (then, ty) = self.source(value)?;
                let source = Source::If {
                    negated: *negated,
                    condition: condition?.0,
                    then: Box::new(then),
                    span: expr.span,
                };
                Some((source, ty))
            }
            Kind::Ewma { weight, sample } => {
                let weight = self.number("ewma", weight);
                let sample = self.number("ewma", sample);
                let (weight, sample) = (weight?, sample?);
                if let ValueKind::Operand(Operand::Imm(tenths)) = weight.kind
                    && tenths > 10
                {
                    self.errors
                        .push(weight.span, Problem::EwmaWeight { weight: tenths });
                    return None;
                }
                let source = Source::Ewma {
                    weight,
                    sample,
                    span: expr.span,
                };
                Some((source, Type::Num))
            }
            _ => {
                let (value, ty) = self.value(expr)?;
                Some((Source::Value(value), ty))
            }
        }
    }

    fn value(&mut self, expr: &Expr<'s>) -> Typed {
        let span = expr.span;
        let operand = |operand, ty| {
            let kind = ValueKind::Operand(operand);
            Some((Value { span, kind }, ty))
        };
        match &expr.kind {
            Kind::Broken => None,
            Kind::Literal(Literal::Number(n)) => operand(Operand::Imm(*n), Type::Num),
            Kind::Literal(Literal::Bool(b)) => operand(Operand::Imm(u64::from(*b)), Type::Bool),
            Kind::Name(name) => {
                let Some(meaning) = self.scope.lookup(name) else {
                    let near = self.nearest(name, false);
                    let name = short(name);
                    self.errors.push(span, Problem::UnknownName { name, near });
                    return None;
                };
                operand(self.scope.operand(meaning), meaning.ty())
            }
            Kind::Binary { op, sign, a, b } => self.binary(*op, sign.text, a, b, span),
            Kind::Assign { .. } if self.in_condition => {
                let what = "an assignment";
                self.errors.push(span, Problem::EffectInCondition { what });
                None
            }
            Kind::Assign { target, value } => {
                let assign = self.assign(*target, value)?;
                let meaning = self.scope.lookup(target.text)?;
                let kind = ValueKind::Assign(Box::new(assign));
                Some((Value { span, kind }, meaning.ty()))
            }
            Kind::If { negated, .. } => {
                let sign = if *negated { "!if" } else { "if" };
                self.errors.push(span, Problem::NoValue { sign });
                None
            }
            Kind::Ewma { .. } => {
                self.errors.push(span, Problem::NoValue { sign: "ewma" });
                None
            }
            Kind::Command(command) => {
                let sign = match command {
                    Command::Report => "report",
                    Command::Fallthrough => "fallthrough",
                    Command::Reset => "reset",
                };
                self.errors.push(span, Problem::NoValue { sign });
                None
            }
        }
    }

    fn binary(
        &mut self,
        op: BinaryOp,
        sign: &str,
        a: &Expr<'s>,
        b: &Expr<'s>,
        span: Span,
    ) -> Typed {
        let (left, right) = (self.value(a), self.value(b));
        let ((left, left_ty), (right, right_ty)) = (left?, right?);
        let wanted = match op {
            BinaryOp::Eq | BinaryOp::Ne if left_ty != right_ty => {
                let problem = Problem::Comparison {
                    sign: sign.to_owned(),
                    left: left_ty,
                    right: right_ty,
                };
                self.errors.push(span, problem);
                return None;
            }
            BinaryOp::Eq | BinaryOp::Ne => left_ty,
            BinaryOp::And | BinaryOp::Or => Type::Bool,
            _ => Type::Num,
        };
        let mut good = true;
        for (operand, got) in [(&left, left_ty), (&right, right_ty)] {
            if got != wanted {
                let sign = sign.to_owned();
                self.errors
                    .push(operand.span, Problem::Operand { sign, wanted, got });
                good = false;
            }
        }
        let kind = ValueKind::Binary {
            op,
            a: Box::new(left),
            b: Box::new(right),
        };
        good.then_some((Value { span, kind }, result(op)))
    }

    fn number(&mut self, sign: &str, expr: &Expr<'s>) -> Option<Value> {
        let (value, got) = self.value(expr)?;
        if got != Type::Num {
            let problem = Problem::Operand {
                sign: sign.to_owned(),
                wanted: Type::Num,
                got,
            };
            self.errors.push(expr.span, problem);
            return None;
        }
        Some(value)
    }
}

fn immediate(value: u64, span: Span) -> Value {
    Value {
        span,
        kind: ValueKind::Operand(Operand::Imm(value)),
    }
}

/// Whether `stmt` may let the next clause be looked at.
fn says_fallthrough(stmt: &Stmt) -> bool {
    match &stmt.kind {
        StmtKind::Fallthrough => true,
        StmtKind::If { body, .. } => body.iter().any(says_fallthrough),
        _ => false,
    }
}
