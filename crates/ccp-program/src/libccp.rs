//! libccp's bytecode as typed values. `ccp-lang` lowers to it, `ccp-wire` encodes it.
//!
//! Source: libccp 1.2.0, `serialize.h` and `machine.c`.

/// A register as libccp's instructions name it: a class and an index (or a 32-bit constant).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Register {
    /// Which registers are meant.
    pub class: Class,
    /// Which of them; for [`Class::Immediate`] the value.
    pub index: u32,
}

/// libccp's classes of registers, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// A control variable that survives reports.
    Control = 0,
    /// A constant.
    Immediate = 1,
    /// One of the implicit registers ([`implicit`]).
    Implicit = 2,
    /// A local variable.
    Local = 3,
    /// A measurement.
    Primitive = 4,
    /// A report variable that is reset by a report.
    VolatileReport = 5,
    /// A report variable that survives reports.
    Report = 6,
    /// A temporary.
    Temp = 7,
    /// A control variable that is reset by a report.
    VolatileControl = 8,
}

impl Class {
    /// The class with this number on the wire.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Control,
            1 => Self::Immediate,
            2 => Self::Implicit,
            3 => Self::Local,
            4 => Self::Primitive,
            5 => Self::VolatileReport,
            6 => Self::Report,
            7 => Self::Temp,
            8 => Self::VolatileControl,
            _ => return None,
        })
    }
}

/// Indices of the implicit registers.
pub mod implicit {
    /// Whether the clause being looked at is true.
    pub const EVENT_FLAG: u32 = 0;
    /// Whether later clauses are looked at.
    pub const SHOULD_CONTINUE: u32 = 1;
    /// Whether to report.
    pub const SHOULD_REPORT: u32 = 2;
    /// Microseconds since the last reset.
    pub const MICROS: u32 = 3;
    /// The window, in bytes.
    pub const CWND: u32 = 4;
    /// The rate, in bytes per second.
    pub const RATE: u32 = 5;
}

/// libccp's operations, with their numbers on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Opcode {
    /// Sum.
    Add = 0,
    /// Assignment.
    Bind = 1,
    /// Declares a variable and its default.
    Def = 2,
    /// Quotient.
    Div = 3,
    /// Equality.
    Equiv = 4,
    /// Exponentially weighted moving average in tenths.
    Ewma = 5,
    /// Greater than.
    Gt = 6,
    /// Assignment if the left operand is not zero.
    If = 7,
    /// Less than.
    Lt = 8,
    /// The larger.
    Max = 9,
    /// The later of two 32-bit sequence numbers.
    MaxWrap = 10,
    /// The smaller.
    Min = 11,
    /// Product.
    Mul = 12,
    /// Assignment if the left operand is zero.
    NotIf = 13,
    /// Difference.
    Sub = 14,
}

impl Opcode {
    /// The operation with this number on the wire.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Add,
            1 => Self::Bind,
            2 => Self::Def,
            3 => Self::Div,
            4 => Self::Equiv,
            5 => Self::Ewma,
            6 => Self::Gt,
            7 => Self::If,
            8 => Self::Lt,
            9 => Self::Max,
            10 => Self::MaxWrap,
            11 => Self::Min,
            12 => Self::Mul,
            13 => Self::NotIf,
            14 => Self::Sub,
            _ => return None,
        })
    }
}

/// One instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Instruction {
    /// The operation.
    pub op: Opcode,
    /// Where the result goes.
    pub ret: Register,
    /// The left operand.
    pub left: Register,
    /// The right operand.
    pub right: Register,
}

/// One clause: where its condition and its body stand among the instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Expression {
    /// Index of the condition's first instruction.
    pub condition_start: u32,
    /// How many instructions the condition has.
    pub condition_len: u32,
    /// Index of the body's first instruction.
    pub body_start: u32,
    /// How many instructions the body has.
    pub body_len: u32,
}

/// A whole program as libccp installs it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Bytecode {
    /// Its clauses.
    pub expressions: Vec<Expression>,
    /// Its instructions; the declarations ([`Opcode::Def`]) come first.
    pub instructions: Vec<Instruction>,
}
