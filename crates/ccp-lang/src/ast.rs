//! A program as it was written: names are still text, nothing is typed. Every node has its place.

use std::collections::BTreeSet;

use ccp_program::BinaryOp;

use crate::span::Span;

/// A name and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Name<'s> {
    pub(crate) text: &'s str,
    pub(crate) span: Span,
}

/// `(def …)` and the clauses.
#[derive(Debug, Default)]
pub(crate) struct Program<'s> {
    /// Whether there is a `(def …)` at all.
    pub(crate) has_def: bool,
    /// The declarations in the order in which they get their places: those of the `Report` block
    /// first.
    pub(crate) decls: Vec<Decl<'s>>,
    /// The names whose declarations were reported as wrong, without `Report.`, and whether they are
    /// report variables. What is said of them elsewhere would only repeat that.
    pub(crate) broken: BTreeSet<(&'s str, bool)>,
    pub(crate) clauses: Vec<Clause<'s>>,
}

/// `([volatile] name default)`.
#[derive(Debug)]
pub(crate) struct Decl<'s> {
    pub(crate) volatile: bool,
    /// Without `Report.`, whichever way it was declared.
    pub(crate) name: Name<'s>,
    pub(crate) report: bool,
    pub(crate) default: Literal,
}

/// A constant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Literal {
    Number(u64),
    Bool(bool),
}

/// `(when condition statement…)`.
#[derive(Debug)]
pub(crate) struct Clause<'s> {
    pub(crate) span: Span,
    pub(crate) condition: Expr<'s>,
    pub(crate) body: Vec<Expr<'s>>,
}

/// An expression or statement: which of them may stand where is checked with the types.
#[derive(Debug)]
pub(crate) struct Expr<'s> {
    pub(crate) span: Span,
    pub(crate) kind: Kind<'s>,
}

/// What an expression is.
#[derive(Debug)]
pub(crate) enum Kind<'s> {
    /// Was reported as wrong already.
    Broken,
    Literal(Literal),
    Name(&'s str),
    /// `(operator operand…)`: one operand for `!`, two, or more where [`Operator::takes_many`].
    Operation {
        op: Operator,
        /// The operator as it was written.
        sign: Name<'s>,
        operands: Vec<Expr<'s>>,
    },
    Assign {
        target: Name<'s>,
        value: Box<Expr<'s>>,
    },
    /// `(if condition body… (else otherwise…))`, or `(!if …)` if `negated`. As a statement, `body`
    /// are the statements. As a value, `body` is one value or two, the second for the other case.
    If {
        negated: bool,
        condition: Box<Expr<'s>>,
        body: Vec<Expr<'s>>,
        otherwise: Option<Else<'s>>,
    },
    Ewma {
        weight: Box<Expr<'s>>,
        sample: Box<Expr<'s>>,
    },
    /// `(cycle base (rtt round_trip) (gain length)…)`.
    Cycle {
        base: Box<Expr<'s>>,
        /// How long a round trip is, if that is said.
        round_trip: Option<Box<Expr<'s>>>,
        /// At least one.
        phases: Vec<Phase>,
    },
    Command(Command),
}

/// `(else statement…)`.
#[derive(Debug)]
pub(crate) struct Else<'s> {
    pub(crate) span: Span,
    pub(crate) body: Vec<Expr<'s>>,
}

/// An operator that computes a value from values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// With more than two operands, from the left: the result of the first two with the third,
    /// and so on. `And` and `Or` compute no operand that cannot change the result.
    Binary(BinaryOp),
    /// The difference, or zero if it would be negative.
    SaturatingSub,
    Not,
}

impl Operator {
    /// Whether it takes more than two operands.
    pub(crate) fn takes_many(self) -> bool {
        use BinaryOp::{Add, And, Max, Min, Mul, Or};
        matches!(self, Self::Binary(Add | Mul | And | Or | Min | Max))
    }
}

/// One phase of a cycle.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Phase {
    /// What the base is multiplied by: a fraction in lowest terms.
    pub(crate) numerator: u64,
    /// Not zero.
    pub(crate) denominator: u64,
    pub(crate) length: Length,
}

/// How long a phase lasts; not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Length {
    Micros(u64),
    RoundTrips(u64),
}

/// A statement without operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Report,
    Fallthrough,
    Reset,
}
