//! A program whose names are resolved and whose types are right: what `check.rs` makes of the AST
//! and `lower.rs` turns into the IR.

use ccp_program::{BinaryOp, Operand, Reg, RegisterDef, Variable};

use crate::span::Span;

/// A checked program.
#[derive(Debug, Default)]
pub(crate) struct Program {
    pub(crate) primitives: Vec<RegisterDef>,
    pub(crate) writables: Vec<RegisterDef>,
    /// Where each of these that is in use stands first, by name.
    pub(crate) uses: Vec<(String, Span)>,
    pub(crate) controls: Vec<Variable>,
    pub(crate) reports: Vec<Variable>,
    /// Where the variables are declared, report variables called `Report.…`, then where the local
    /// variables are first assigned to.
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
    /// Whether computing it may fault.
    pub(crate) faults: bool,
    /// Whether computing it writes a register that a program can name.
    pub(crate) assigns: bool,
}

#[derive(Debug)]
pub(crate) enum ValueKind {
    Operand(Operand),
    /// From the left; at least two. `And` and `Or` compute no operand that may fault or assign
    /// and cannot change the result.
    Operation {
        op: BinaryOp,
        operands: Vec<Value>,
    },
    /// The difference, or zero.
    SaturatingSub(Box<(Value, Value)>),
    Not(Box<Value>),
    Choice(Box<Choice>),
    /// The value of the target afterwards.
    Assign(Box<Assign>),
    /// The value after the statements.
    After(Vec<Stmt>, Box<Value>),
}

/// One of two values; the other is not computed.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) condition: Value,
    pub(crate) then: Value,
    pub(crate) otherwise: Value,
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
        condition: Value,
        body: Vec<Stmt>,
        otherwise: Vec<Stmt>,
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
        condition: Value,
        then: Box<Self>,
        /// Without it, the target stays as it is.
        otherwise: Option<Box<Self>>,
        span: Span,
    },
    Ewma {
        weight: Value,
        sample: Value,
        span: Span,
    },
}

impl Value {
    pub(crate) fn operand(operand: Operand, span: Span) -> Self {
        Self {
            span,
            kind: ValueKind::Operand(operand),
            faults: false,
            assigns: false,
        }
    }

    pub(crate) fn number(value: u64, span: Span) -> Self {
        Self::operand(Operand::Imm(value), span)
    }

    /// The constant that it is.
    pub(crate) fn constant(&self) -> Option<u64> {
        match self.kind {
            ValueKind::Operand(Operand::Imm(value)) => Some(value),
            _ => None,
        }
    }

    /// Whether nobody can tell if it was computed or not.
    pub(crate) fn quiet(&self) -> bool {
        !self.faults && !self.assigns
    }

    /// `op` of `operands`, of which there are at least two, without folding.
    pub(crate) fn operation(op: BinaryOp, operands: Vec<Self>, span: Span) -> Self {
        Self {
            span,
            faults: op.can_fault() || operands.iter().any(|o| o.faults),
            assigns: operands.iter().any(|o| o.assigns),
            kind: ValueKind::Operation { op, operands },
        }
    }

    pub(crate) fn saturating_sub(a: Self, b: Self, span: Span) -> Self {
        Self {
            span,
            faults: a.faults || b.faults,
            assigns: a.assigns || b.assigns,
            kind: ValueKind::SaturatingSub(Box::new((a, b))),
        }
    }

    pub(crate) fn choice(condition: Self, then: Self, otherwise: Self, span: Span) -> Self {
        let all = [&condition, &then, &otherwise];
        Self {
            span,
            faults: all.iter().any(|v| v.faults),
            assigns: all.iter().any(|v| v.assigns),
            kind: ValueKind::Choice(Box::new(Choice {
                condition,
                then,
                otherwise,
            })),
        }
    }

    /// `!value`: comparisons turn round.
    pub(crate) fn not(mut value: Self, span: Span) -> Self {
        use BinaryOp::{Eq, Ge, Gt, Le, Lt, Ne};
        if let Some(constant) = value.constant() {
            return Self::number(u64::from(constant == 0), span);
        }
        if let ValueKind::Operation { op, .. } = &mut value.kind {
            let turned = match op {
                Eq => Some(Ne),
                Ne => Some(Eq),
                Lt => Some(Ge),
                Ge => Some(Lt),
                Gt => Some(Le),
                Le => Some(Gt),
                _ => None,
            };
            if let Some(turned) = turned {
                *op = turned;
                value.span = span;
                return value;
            }
        }
        Self {
            span,
            faults: value.faults,
            assigns: value.assigns,
            kind: ValueKind::Not(Box::new(value)),
        }
    }
}

impl Source {
    pub(crate) fn constant(value: u64, span: Span) -> Self {
        Self::Value(Value::number(value, span))
    }
}
