//! Expressions that give a value.

use ccp_program::{BinaryOp, Fault, Operand, Type, interp};

use super::{Checker, Typed};
use crate::ast::{Command, Else, Expr, Kind, Literal, Operator};
use crate::error::{Problem, short};
use crate::hir::{Value, ValueKind};
use crate::scope::{known_elsewhere, result};
use crate::span::Span;

impl<'s> Checker<'s, '_, '_> {
    pub(super) fn value(&mut self, expr: &Expr<'s>) -> Typed {
        let span = expr.span;
        let sign = match &expr.kind {
            Kind::Broken => return None,
            Kind::Literal(literal) => {
                let (ty, value) = literal.typed();
                return Some((Value::number(value, span), ty));
            }
            Kind::Name(name) => {
                let Some(meaning) = self.scope.lookup(name) else {
                    if self.scope.is_broken(name) {
                        return None;
                    }
                    let problem = if known_elsewhere(name) {
                        Problem::NotHere { name: short(name) }
                    } else {
                        let near = self.nearest(name, false);
                        let name = short(name);
                        Problem::UnknownName { name, near }
                    };
                    self.errors.push(span, problem);
                    return None;
                };
                let operand = self.scope.operand(meaning, span);
                return Some((Value::operand(operand, span), meaning.ty()));
            }
            Kind::Operation { op, sign, operands } => {
                return self.operation(*op, sign.text, operands, span);
            }
            Kind::Assign { .. } if self.in_condition => {
                let what = "an assignment";
                self.errors.push(span, Problem::EffectInCondition { what });
                return None;
            }
            Kind::Assign { target, value } => {
                let assign = self.assign(*target, value)?;
                let meaning = self.scope.lookup(target.text)?;
                let value = Value {
                    span,
                    kind: ValueKind::Assign(Box::new(assign)),
                    faults: true,
                    assigns: true,
                };
                return Some((value, meaning.ty()));
            }
            Kind::If {
                negated,
                condition,
                body,
                otherwise,
            } => {
                let (then, other) = self.branches(*negated, body, otherwise.as_ref(), span)?;
                let Some(other) = other else {
                    let sign = if *negated { "!if" } else { "if" };
                    self.errors.push(span, Problem::NoOtherValue { sign });
                    return None;
                };
                let condition = self.condition(condition, *negated);
                let (then, other) = (self.value(then), self.value(other));
                return self.choice(condition?, then?, other?, span);
            }
            Kind::Cycle {
                base,
                round_trip,
                phases,
            } => {
                if self.in_condition {
                    let what = "a cycle, which keeps time";
                    self.errors.push(span, Problem::EffectInCondition { what });
                    return None;
                }
                return self.cycle(base, round_trip.as_deref(), phases, span);
            }
            Kind::Ewma { .. } => "ewma",
            Kind::Command(Command::Report) => "report",
            Kind::Command(Command::Fallthrough) => "fallthrough",
            Kind::Command(Command::Reset) => "reset",
        };
        self.errors.push(span, Problem::NoValue { sign });
        None
    }

    /// The values of an `if` that is a value: for a condition that holds, and for the other case
    /// if that is told.
    pub(super) fn branches<'e>(
        &mut self,
        negated: bool,
        body: &'e [Expr<'s>],
        otherwise: Option<&Else<'s>>,
        span: Span,
    ) -> Option<(&'e Expr<'s>, Option<&'e Expr<'s>>)> {
        let problem = match (body, otherwise) {
            ([then], None) => return Some((then, None)),
            ([then, other], None) => return Some((then, Some(other))),
            (_, Some(otherwise)) => (otherwise.span, Problem::ElseInValue { negated }),
            (_, None) => {
                let got = body.len();
                (span, Problem::IfTakesTwoValues { got })
            }
        };
        self.errors.push(problem.0, problem.1);
        None
    }

    /// Something that is looked at: whether it is zero. Not zero exactly if the expression is
    /// true (`negated`: not true).
    pub(super) fn condition(&mut self, expr: &Expr<'s>, negated: bool) -> Option<Value> {
        let (value, _) = self.value(expr)?;
        if let Some(constant) = value.constant()
            && !(self.in_condition && matches!(expr.kind, Kind::Literal(Literal::Bool(true))))
        {
            let always = constant != 0;
            let problem = Problem::ConstantCondition { always };
            self.errors.push(expr.span, problem);
        }
        Some(if negated {
            Value::not(value, expr.span)
        } else {
            value
        })
    }

    fn choice(
        &mut self,
        condition: Value,
        (then, ty): (Value, Type),
        (other, other_ty): (Value, Type),
        span: Span,
    ) -> Typed {
        if ty != other_ty {
            let problem = Problem::Branches {
                then: ty,
                otherwise: other_ty,
            };
            self.errors.push(span, problem);
            return None;
        }
        let value = match condition.constant() {
            Some(0) => other,
            Some(_) => then,
            None => Value::choice(condition, then, other, span),
        };
        Some((value, ty))
    }

    fn operation(&mut self, op: Operator, sign: &str, operands: &[Expr<'s>], span: Span) -> Typed {
        if let (Operator::Binary(op @ (BinaryOp::Eq | BinaryOp::Ne)), [a, b]) = (op, operands) {
            return self.comparison(op, sign, a, b, span);
        }
        let wanted = match op {
            Operator::Binary(BinaryOp::And | BinaryOp::Or) | Operator::Not => Type::Bool,
            _ => Type::Num,
        };
        let mut values = Vec::with_capacity(operands.len());
        for operand in operands {
            values.extend(self.typed(sign, operand, wanted));
        }
        if values.len() < operands.len() {
            return None;
        }
        let (value, ty) = match op {
            Operator::Binary(op) => (self.fold(op, values, sign, span)?, result(op)),
            Operator::SaturatingSub => {
                let mut values = values.into_iter();
                let (a, b) = (values.next()?, values.next()?);
                let value = match (a.constant(), b.constant()) {
                    (Some(a), Some(b)) => Value::number(a.saturating_sub(b), span),
                    _ => Value::saturating_sub(a, b, span),
                };
                (value, Type::Num)
            }
            Operator::Not => (Value::not(values.pop()?, span), Type::Bool),
        };
        Some((value, ty))
    }

    fn comparison(
        &mut self,
        op: BinaryOp,
        sign: &str,
        a: &Expr<'s>,
        b: &Expr<'s>,
        span: Span,
    ) -> Typed {
        let (left, right) = (self.value(a), self.value(b));
        let ((left, left_ty), (right, right_ty)) = (left?, right?);
        if left_ty != right_ty {
            let problem = Problem::Comparison {
                sign: sign.to_owned(),
                left: left_ty,
                right: right_ty,
            };
            self.errors.push(span, problem);
            return None;
        }
        let value = self.fold(op, vec![left, right], sign, span)?;
        Some((value, Type::Bool))
    }

    /// An operand that must have a certain type.
    pub(super) fn typed(&mut self, sign: &str, expr: &Expr<'s>, wanted: Type) -> Option<Value> {
        let (value, got) = self.value(expr)?;
        if got != wanted {
            let problem = Problem::Operand {
                sign: sign.to_owned(),
                wanted,
                got,
            };
            self.errors.push(expr.span, problem);
            return None;
        }
        Some(value)
    }

    /// `op` of `operands`, from the left; what is constant is computed.
    fn fold(
        &mut self,
        op: BinaryOp,
        mut operands: Vec<Value>,
        sign: &str,
        span: Span,
    ) -> Option<Value> {
        if matches!(op, BinaryOp::And | BinaryOp::Or) {
            return logic(op, operands, span);
        }
        while let [a, b, ..] = operands.as_slice()
            && let (Some(x), Some(y)) = (a.constant(), b.constant())
        {
            match interp::binary(op, x, y) {
                Ok(value) => {
                    let both = a.span.to(b.span);
                    operands.drain(..2);
                    operands.insert(0, Value::number(value, both));
                }
                Err(fault) => {
                    let sign = sign.to_owned();
                    self.errors
                        .push(span, Problem::AlwaysFaults { sign, fault });
                    break;
                }
            }
        }
        if operands.len() == 1 {
            let only = operands.pop()?;
            return Some(Value { span, ..only });
        }
        if let (BinaryOp::Div, Some(0)) = (op, operands.last().and_then(Value::constant))
            && operands.first().and_then(Value::constant).is_none()
        {
            let (sign, fault) = (sign.to_owned(), Fault::DivisionByZero);
            self.errors
                .push(span, Problem::AlwaysFaults { sign, fault });
        }
        Some(Value::operation(op, operands, span))
    }
}

/// `&&` or `||`: constants that do not matter go, and what comes after one that decides.
fn logic(op: BinaryOp, operands: Vec<Value>, span: Span) -> Option<Value> {
    let decides = op == BinaryOp::Or;
    let mut kept: Vec<Value> = Vec::with_capacity(operands.len());
    for operand in operands {
        let constant = operand.constant().map(|value| value != 0);
        if constant == Some(!decides) {
            continue;
        }
        kept.push(operand);
        if constant == Some(decides) {
            break;
        }
    }
    let last = kept.last().and_then(Value::constant);
    let nobody_can_tell = kept.iter().all(Value::quiet);
    if last.is_some() && nobody_can_tell {
        return Some(Value::number(u64::from(decides), span));
    }
    Some(match kept.len() {
        0 => Value::number(u64::from(!decides), span),
        1 => Value {
            span,
            ..kept.pop()?
        },
        _ => Value::operation(op, kept, span),
    })
}

impl Literal {
    /// Its type and its value.
    pub(crate) fn typed(self) -> (Type, u64) {
        match self {
            Self::Number(value) => (Type::Num, value),
            Self::Bool(value) => (Type::Bool, u64::from(value)),
        }
    }
}

/// A register or measurement as a value.
pub(super) fn read(operand: impl Into<Operand>, span: Span) -> Value {
    Value::operand(operand.into(), span)
}
