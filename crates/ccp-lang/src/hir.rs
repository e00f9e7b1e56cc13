//! A program whose names are resolved and whose types are right: what `check.rs` makes of the AST
//! and `lower.rs` turns into the IR.

use ccp_program::{BinaryOp, Operand, Reg, RegisterDef, Variable};

use crate::span::Span;

/// A checked program.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) primitives: Vec<RegisterDef>,
    pub(crate) writables: Vec<RegisterDef>,
    pub(crate) controls: Vec<Variable>,
    pub(crate) reports: Vec<Variable>,
    /// Where the variables are declared; report variables are called `Report.…`.
    pub(crate) places: Vec<(String, Span)>,
    pub(crate) locals: u16,
    pub(crate) clauses: Vec<Clause>,
}

#[derive(Debug)]
pub(crate) struct Clause {
    pub(crate) span: Span,
    pub(crate) condition: Value,
    pub(crate) body: Vec<Stmt>,
}

/// Something with a value.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) span: Span,
    pub(crate) kind: ValueKind,
}

#[derive(Debug)]
pub(crate) enum ValueKind {
    Operand(Operand),
    Binary {
        op: BinaryOp,
        a: Box<Value>,
        b: Box<Value>,
    },
    /// The value of the target afterwards.
    Assign(Box<Assign>),
}

/// Something with an effect.
#[derive(Debug)]
pub(crate) struct Stmt {
    pub(crate) span: Span,
    pub(crate) kind: StmtKind,
}

#[derive(Debug)]
pub(crate) enum StmtKind {
    Assign(Assign),
    If {
        negated: bool,
        condition: Value,
        body: Vec<Stmt>,
    },
    Report,
    Fallthrough,
    /// A value that nobody takes: it may still fault.
    Evaluate(Value),
}

/// `target := source`.
#[derive(Debug)]
pub(crate) struct Assign {
    pub(crate) target: Reg,
    pub(crate) source: Source,
}

/// The right side of an assignment: some forms leave the target as it is or look at it.
#[derive(Debug)]
pub(crate) enum Source {
    Value(Value),
    If {
        negated: bool,
        condition: Value,
        then: Box<Self>,
        span: Span,
    },
    Ewma {
        weight: Value,
        sample: Value,
        span: Span,
    },
}

impl Value {
    /// Whether computing it writes a register.
    pub(crate) fn assigns(&self) -> bool {
        match &self.kind {
            ValueKind::Operand(_) => false,
            ValueKind::Binary { a, b, .. } => a.assigns() || b.assigns(),
            ValueKind::Assign(_) => true,
        }
    }
}
