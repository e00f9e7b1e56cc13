//! AST → checked program: names, types, and what may stand where.

use ccp_program::{Limits, Reg, RegisterTable, Type};

use crate::ast::{Clause, Command, Else, Expr, Kind, Name, Program};
use crate::error::{Errors, Problem, short};
use crate::hir::{self, Assign, Source, Stmt, StmtKind, Value};
use crate::scope::{Meaning, Scope, known_elsewhere};

mod cycle;
mod value;

/// Checks `program` against the registers of `table`. What comes back is whole only if `errors`
/// holds no error.
pub(crate) fn check(
    program: &Program<'_>,
    table: &RegisterTable,
    errors: &mut Errors,
) -> hir::Program {
    let scope = Scope::new(program, table, errors);
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
    let mut scope = checker.scope;
    scope.place_locals();
    hir::Program {
        primitives: scope.primitives(),
        writables: scope.writables(),
        uses: scope.uses(),
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
            let condition = self.condition(&clause.condition, false);
            self.in_condition = false;
            let body = self.block(&clause.body);
            let Some(condition) = condition else {
                continue;
            };
            if let Some(constant) = condition.constant() {
                let goes_on = body.iter().any(says_fallthrough);
                stopped = constant != 0 && !goes_on;
            }
            checked.push(hir::Clause {
                span: clause.span,
                condition,
                body,
            });
        }
        checked
    }

    fn nearest(&self, name: &str, assigned: bool) -> Option<String> {
        if self.errors.many() {
            return None;
        }
        self.scope.nearest(name, assigned)
    }

    fn warn(&mut self, program: &Program<'s>) {
        if !self.reports
            && let Some(clause) = program.clauses.first()
        {
            self.errors.push(clause.span, Problem::NeverReports);
        }
        for (name, read) in self.scope.locals_read() {
            // Who reads it has probably meant it.
            let near = match read {
                true => self.scope.almost_register(name.text),
                false if name.text.bytes().any(|b| b.is_ascii_digit()) => None,
                false => self.nearest(name.text, true),
            };
            let text = short(name.text);
            let problem = match (near, read) {
                (Some(near), _) => Problem::LikelyTypo { name: text, near },
                (None, false) => Problem::NeverRead { name: text },
                (None, true) => continue,
            };
            self.errors.push(name.span, problem);
        }
        for report in [true, false] {
            for (name, span) in self.scope.unused(report) {
                let name = short(name);
                self.errors.push(span, Problem::Unused { name, report });
            }
        }
    }

    fn block(&mut self, body: &[Expr<'s>]) -> Vec<Stmt> {
        body.iter().filter_map(|stmt| self.stmt(stmt)).collect()
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
                otherwise,
            } => {
                let condition = self.condition(condition, *negated);
                let body = self.block(body);
                let otherwise = match otherwise {
                    Some(Else { body, .. }) => self.block(body),
                    None => Vec::new(),
                };
                StmtKind::If {
                    condition: condition?,
                    body,
                    otherwise,
                }
            }
            Kind::Command(Command::Report) => {
                if !self.scope.reports_something() && !self.reports && self.has_def {
                    self.errors.push(span, Problem::ReportsNothing);
                }
                self.reports = true;
                StmtKind::Report
            }
            Kind::Command(Command::Fallthrough) => StmtKind::Fallthrough,
            Kind::Command(Command::Reset) => StmtKind::Assign(Assign {
                target: Reg::Micros,
                source: Source::constant(0, span),
            }),
            Kind::Literal(_)
            | Kind::Name(_)
            | Kind::Operation { .. }
            | Kind::Cycle { .. }
            | Kind::Ewma { .. } => {
                let (value, _) = self.value(expr)?;
                if !value.assigns {
                    self.errors.push(span, Problem::NoEffect);
                }
                StmtKind::Evaluate(value)
            }
        };
        Some(Stmt { span, kind })
    }

    fn assign(&mut self, target: Name<'s>, value: &Expr<'s>) -> Option<Assign> {
        let place = self.target(target);
        let reg = place.map(|(reg, wanted)| (self.scope.target(reg, target.span), wanted));
        let source = self.source(value);
        let (Some((target_reg, wanted)), Some((source, got))) = (reg, source) else {
            return None;
        };
        if wanted != got {
            let name = short(target.text);
            self.errors
                .push(value.span, Problem::Assigned { name, wanted, got });
            return None;
        }
        Some(Assign {
            target: target_reg,
            source,
        })
    }

    /// The register called `name`, to be written.
    fn target(&mut self, name: Name<'s>) -> Option<(Reg, Type)> {
        let text = short(name.text);
        let problem = match self.scope.lookup(name.text) {
            Some(Meaning::Reg(reg, ty)) => return Some((reg, ty)),
            Some(Meaning::Primitive(..)) => Problem::ReadOnly { name: text },
            None if self.scope.is_broken(name.text) => return None,
            None if known_elsewhere(name.text) => Problem::NotHere { name: text },
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
                otherwise,
            } => {
                let otherwise = otherwise.as_ref();
                let branches = self.branches(*negated, body, otherwise, expr.span);
                let condition = self.condition(condition, *negated);
                let (then, other) = branches?;
                let then = self.source(then);
                let other = other.map(|other| self.source(other));
                let (condition, (then, ty)) = (condition?, then?);
                let otherwise = match other {
                    None => None,
                    Some(other) => {
                        let (other, other_ty) = other?;
                        if ty != other_ty {
                            let problem = Problem::Branches {
                                then: ty,
                                otherwise: other_ty,
                            };
                            self.errors.push(expr.span, problem);
                            return None;
                        }
                        Some(Box::new(other))
                    }
                };
                let source = Source::If {
                    condition,
                    then: Box::new(then),
                    otherwise,
                    span: expr.span,
                };
                Some((source, ty))
            }
            Kind::Ewma { weight, sample } => {
                let weight = self.typed("ewma", weight, Type::Num);
                let sample = self.typed("ewma", sample, Type::Num);
                let (weight, sample) = (weight?, sample?);
                if let Some(tenths) = weight.constant().filter(|tenths| *tenths > 10) {
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
}

/// Whether `stmt` may let the next clause be looked at.
fn says_fallthrough(stmt: &Stmt) -> bool {
    match &stmt.kind {
        StmtKind::Fallthrough => true,
        StmtKind::If {
            body, otherwise, ..
        } => body.iter().chain(otherwise).any(says_fallthrough),
        _ => false,
    }
}
