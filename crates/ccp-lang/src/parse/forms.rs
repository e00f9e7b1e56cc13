//! `(operator operand…)`: every form that may stand in a clause.

use ccp_program::BinaryOp;

use super::Reader;
use super::tree::{Item, List};
use super::words::{self, NotNumber, RESERVED, Word};
use crate::ast::{Command, Else, Expr, Kind, Length, Literal, Name, Operator, Phase};
use crate::error::{Problem, short};
use crate::near;
use crate::span::Span;

/// What the first word of a list says.
#[derive(Clone, Copy)]
enum Form {
    Operator(Operator),
    Assign,
    If { negated: bool },
    Ewma,
    Cycle,
    Command(Command),
}

const fn op(op: BinaryOp) -> Form {
    Form::Operator(Operator::Binary(op))
}

macro_rules! forms {
    ($($spelling:literal => $form:expr,)*) => {
        /// Every operator and command, as it may be written.
        pub(crate) const SPELLINGS: &[&str] = &[$($spelling),*];

        fn form(word: &str) -> Option<Form> {
            Some(match word {
                $($spelling => $form,)*
                _ => return None,
            })
        }
    };
}

forms! {
    "+" => op(BinaryOp::Add),
    "add" => op(BinaryOp::Add),
    "-" => op(BinaryOp::Sub),
    "sub" => op(BinaryOp::Sub),
    "-|" => Form::Operator(Operator::SaturatingSub),
    "sat_sub" => Form::Operator(Operator::SaturatingSub),
    "*" => op(BinaryOp::Mul),
    "mul" => op(BinaryOp::Mul),
    "/" => op(BinaryOp::Div),
    "div" => op(BinaryOp::Div),
    "min" => op(BinaryOp::Min),
    "max" => op(BinaryOp::Max),
    "wrapped_max" => op(BinaryOp::WrappedMax),
    "==" => op(BinaryOp::Eq),
    "eq" => op(BinaryOp::Eq),
    "!=" => op(BinaryOp::Ne),
    "ne" => op(BinaryOp::Ne),
    "<" => op(BinaryOp::Lt),
    "lt" => op(BinaryOp::Lt),
    "<=" => op(BinaryOp::Le),
    "le" => op(BinaryOp::Le),
    ">" => op(BinaryOp::Gt),
    "gt" => op(BinaryOp::Gt),
    ">=" => op(BinaryOp::Ge),
    "ge" => op(BinaryOp::Ge),
    "&&" => op(BinaryOp::And),
    "and" => op(BinaryOp::And),
    "||" => op(BinaryOp::Or),
    "or" => op(BinaryOp::Or),
    "!" => Form::Operator(Operator::Not),
    "not" => Form::Operator(Operator::Not),
    ":=" => Form::Assign,
    "bind" => Form::Assign,
    "if" => Form::If { negated: false },
    "!if" => Form::If { negated: true },
    "ewma" => Form::Ewma,
    "cycle" => Form::Cycle,
    "report" => Form::Command(Command::Report),
    "fallthrough" => Form::Command(Command::Fallthrough),
    "reset" => Form::Command(Command::Reset),
}

/// What operators are made of, but for words and `!if`.
fn is_sign(byte: u8) -> bool {
    b"+-*/:=<>&|!%^~".contains(&byte)
}

/// The most phases of a cycle.
pub(crate) const MAX_PHASES: usize = 64;
/// The largest gain and denominator of a phase, and the most round trips of one.
pub(crate) const MAX_FRACTION: u64 = 1_000_000;
/// The longest phase, in microseconds: about an hour.
pub(crate) const MAX_PHASE_US: u64 = 0xffff_ffff;

impl<'s> Reader<'s, '_> {
    pub(super) fn expr(&mut self, item: Item<'_, 's>) -> Expr<'s> {
        let span = item.span;
        let kind = match item.list {
            Some(inner) => self.form(List::new(span, inner)),
            None => self.atom(item.text, span),
        };
        Expr {
            span,
            kind: kind.unwrap_or(Kind::Broken),
        }
    }

    fn boxed(&mut self, item: Item<'_, 's>) -> Box<Expr<'s>> {
        Box::new(self.expr(item))
    }

    fn body<'t>(&mut self, items: impl Iterator<Item = Item<'t, 's>>) -> Vec<Expr<'s>>
    where
        's: 't,
    {
        items.map(|item| self.expr(item)).collect()
    }

    pub(super) fn atom(&mut self, text: &'s str, span: Span) -> Option<Kind<'s>> {
        let number = |number| Some(Kind::Literal(Literal::Number(number)));
        let problem = match words::word(text) {
            Word::Name => match text {
                "true" => return Some(Kind::Literal(Literal::Bool(true))),
                "false" => return Some(Kind::Literal(Literal::Bool(false))),
                _ if text.starts_with("__") => Problem::ReservedName { name: short(text) },
                _ => return Some(Kind::Name(text)),
            },
            Word::Number => match words::number(text) {
                Ok(value) => return number(value),
                Err(NotNumber::OutOfRange) => Problem::NumberTooLarge { time: false },
                Err(NotNumber::Malformed) => Problem::BadNumber { text: short(text) },
            },
            Word::Mixed => match words::duration(text) {
                Ok(value) => return number(value),
                Err(NotNumber::OutOfRange) => Problem::NumberTooLarge { time: true },
                Err(NotNumber::Malformed) => Problem::BadNumber { text: short(text) },
            },
            Word::Other if text == "+infinity" => return number(u64::MAX),
            Word::Other => Problem::Stray { text: short(text) },
        };
        self.errors.push(span, problem);
        None
    }

    /// `(operator operand…)`; `None` if it was reported as wrong.
    fn form(&mut self, mut list: List<'_, 's>) -> Option<Kind<'s>> {
        list.split_operator(is_sign);
        let Some(head) = &list.head else {
            self.errors.push(list.span, Problem::EmptyList);
            return None;
        };
        let sign = head.name();
        if !head.is_list()
            && let Some(form) = form(sign.text)
        {
            return self.operands(form, sign, &list);
        }
        let kind = words::word(sign.text);
        let problem = match sign.text {
            _ if head.is_list() || matches!(kind, Word::Number | Word::Mixed) => {
                Problem::HeadNotOperator
            }
            "def" | "when" | "else" | "rtt" => Problem::Misplaced {
                word: sign.text.into(),
            },
            word => {
                let next = list.rest().next();
                let infix = next.and_then(|item| match form(item.text) {
                    Some(Form::Operator(_) | Form::Assign) => Some(item.text.to_owned()),
                    _ => None,
                });
                let near = match word {
                    _ if self.errors.many() || infix.is_some() => None,
                    "=>" => Some(">=".to_owned()),
                    "=<" => Some("<=".to_owned()),
                    _ => near::nearest(word, SPELLINGS.iter().copied()),
                };
                let alone = next.is_none() && kind == Word::Name && near.is_none();
                let word = short(word);
                Problem::UnknownOperator {
                    word,
                    near,
                    alone,
                    infix,
                }
            }
        };
        self.errors.push(sign.span, problem);
        None
    }

    fn operands(&mut self, form: Form, sign: Name<'s>, list: &List<'_, 's>) -> Option<Kind<'s>> {
        let (least, most, wanted) = match form {
            Form::Command(_) => (0, 0, "no operand"),
            Form::If { .. } => (2, usize::MAX, "a condition and what to do"),
            Form::Cycle => (2, usize::MAX, "a base and phases"),
            Form::Operator(Operator::Not) => (1, 1, "one operand"),
            Form::Operator(op) if op.takes_many() => (2, usize::MAX, "two operands or more"),
            _ => (2, 2, "two operands"),
        };
        let got = list.rest().count();
        if got < least || got > most {
            let problem = Problem::Operands {
                sign: sign.text.to_owned(),
                wanted,
                got,
            };
            self.errors.push(list.span, problem);
            return None;
        }
        let mut items = list.rest();
        if let Form::Operator(op) = form {
            let mut operands = Vec::with_capacity(got);
            operands.extend(items.map(|item| self.expr(item)));
            return Some(Kind::Operation { op, sign, operands });
        }
        if let Form::Command(command) = form {
            return Some(Kind::Command(command));
        }
        // The count was checked: at least two are there.
        let first = items.next()?;
        match form {
            Form::Assign => self.assign(&first, items.next()?),
            Form::Ewma => Some(Kind::Ewma {
                weight: self.boxed(first),
                sample: self.boxed(items.next()?),
            }),
            Form::If { negated } => self.choice(negated, first, list),
            Form::Cycle => self.cycle(first, list),
            Form::Operator(_) | Form::Command(_) => None,
        }
    }

    fn assign(&mut self, target: &Item<'_, 's>, value: Item<'_, 's>) -> Option<Kind<'s>> {
        let target = target.name();
        let text = short(target.text);
        let problem = match words::word(target.text) {
            Word::Mixed => Some(Problem::BadNumber { text }),
            Word::Name if RESERVED.contains(&target.text) => Some(Problem::TargetNotName),
            Word::Name if target.text.starts_with("__") => {
                Some(Problem::ReservedName { name: text })
            }
            Word::Name => None,
            Word::Number | Word::Other => Some(Problem::TargetNotName),
        };
        let value = self.boxed(value);
        if let Some(problem) = problem {
            self.errors.push(target.span, problem);
            return None;
        }
        Some(Kind::Assign { target, value })
    }

    /// `(if condition body… (else otherwise…))`.
    fn choice(
        &mut self,
        negated: bool,
        condition: Item<'_, 's>,
        list: &List<'_, 's>,
    ) -> Option<Kind<'s>> {
        let condition = self.boxed(condition);
        let mut body = Vec::new();
        let mut otherwise = None;
        let mut items = list.rest().skip(1).peekable();
        while let Some(item) = items.next() {
            let inner = item.list.map(|inner| List::new(item.span, inner));
            let Some(inner) = inner.filter(|inner| inner.head_is("else")) else {
                body.push(self.expr(item));
                continue;
            };
            if items.peek().is_some() {
                self.errors.push(inner.opening(), Problem::ElseNotLast);
            }
            let statements = self.body(inner.rest());
            if statements.is_empty() {
                self.errors.push(inner.span, Problem::EmptyBody);
            }
            otherwise = Some(Else {
                span: inner.span,
                body: statements,
            });
        }
        if body.is_empty() {
            self.errors.push(list.span, Problem::OnlyElse { negated });
            return None;
        }
        Some(Kind::If {
            negated,
            condition,
            body,
            otherwise,
        })
    }

    /// `(cycle base (rtt round_trip) (gain length)…)`.
    fn cycle(&mut self, base: Item<'_, 's>, list: &List<'_, 's>) -> Option<Kind<'s>> {
        let base = self.boxed(base);
        let mut round_trip = None;
        let mut phases = Vec::new();
        let mut good = true;
        for (place, item) in list.rest().skip(1).enumerate() {
            let Some(inner) = item.list.map(|inner| List::new(item.span, inner)) else {
                self.errors.push(item.span, Problem::PhaseShape);
                good = false;
                continue;
            };
            if place == 0 && inner.head_is("rtt") {
                let mut operands = inner.rest();
                if let (Some(operand), None) = (operands.next(), operands.next()) {
                    round_trip = Some(self.boxed(operand));
                } else {
                    self.errors.push(item.span, Problem::PhaseShape);
                    good = false;
                }
                continue;
            }
            match self.phase(&inner) {
                Some(phase) => phases.push(phase),
                None => good = false,
            }
            if phases.len() == MAX_PHASES + 1 {
                let problem = Problem::TooMany {
                    what: "phases in one cycle",
                    got: list.rest().count() - 1 - usize::from(round_trip.is_some()),
                    limit: MAX_PHASES,
                };
                self.errors.push(item.span, problem);
                return None;
            }
        }
        if good && phases.is_empty() {
            self.errors.push(list.span, Problem::PhaseShape);
            good = false;
        }
        good.then_some(Kind::Cycle {
            base,
            round_trip,
            phases,
        })
    }

    /// `(gain length)`; `None` if it was reported as wrong.
    fn phase(&mut self, list: &List<'_, 's>) -> Option<Phase> {
        let mut rest = list.rest();
        let (Some(gain), Some(length), None) = (list.head, rest.next(), rest.next()) else {
            self.errors.push(list.span, Problem::PhaseShape);
            return None;
        };
        let fraction = match words::fraction(gain.text) {
            Ok((n, d)) if n == 0 || n > MAX_FRACTION || d > MAX_FRACTION => Err(Problem::PhaseGain),
            Ok(fraction) => Ok(fraction),
            Err(NotNumber::OutOfRange) => Err(Problem::PhaseGain),
            Err(NotNumber::Malformed) => Err(Problem::PhaseShape),
        };
        let time = match words::length(length.text) {
            Ok(Length::Micros(0) | Length::RoundTrips(0)) => Err(Problem::PhaseLength),
            Ok(Length::Micros(n)) if n > MAX_PHASE_US => Err(Problem::PhaseLength),
            Ok(Length::RoundTrips(n)) if n > MAX_FRACTION => Err(Problem::PhaseLength),
            Ok(length) => Ok(length),
            Err(NotNumber::OutOfRange) => Err(Problem::PhaseLength),
            Err(NotNumber::Malformed) => Err(Problem::PhaseShape),
        };
        match (fraction, time) {
            (Ok((numerator, denominator)), Ok(length)) => Some(Phase {
                numerator,
                denominator,
                length,
            }),
            (fraction, time) => {
                for (item, problem) in [(gain, fraction.err()), (length, time.err())] {
                    if let Some(problem) = problem {
                        self.errors.push(item.span, problem);
                    }
                }
                None
            }
        }
    }
}
