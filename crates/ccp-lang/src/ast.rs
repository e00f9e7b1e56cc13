//! A program as it was written: names are still text, nothing is typed. Every node has its place.

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
    Binary {
        op: BinaryOp,
        /// The operator as it was written.
        sign: Name<'s>,
        a: Box<Expr<'s>>,
        b: Box<Expr<'s>>,
    },
    Assign {
        target: Name<'s>,
        value: Box<Expr<'s>>,
    },
    /// `(if condition body…)`, or `(!if …)` if `negated`.
    If {
        negated: bool,
        condition: Box<Expr<'s>>,
        body: Vec<Expr<'s>>,
    },
    Ewma {
        weight: Box<Expr<'s>>,
        sample: Box<Expr<'s>>,
    },
    Command(Command),
}

/// A statement without operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    Report,
    Fallthrough,
    Reset,
}
