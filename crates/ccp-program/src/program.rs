//! The intermediate form that every back end starts from.

use crate::register::{BindError, RegisterDef, RegisterTable, Type};

/// A register that a program may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reg {
    /// A writable register of the datapath, by its place in [`Program::writables`].
    /// `Writable(0)` is `Cwnd` (bytes), `Writable(1)` is `Rate` (bytes per second, 0: none set).
    Writable(u16),
    /// Microseconds since it was last written or the program was installed. Writing `v` makes it
    /// read `v` now.
    Micros,
    /// A control variable, by its place in [`Program::controls`].
    Control(u16),
    /// A report variable, by its place in [`Program::reports`].
    Report(u16),
    /// A local variable: zero when the program is installed, kept from one invocation to the next.
    Local(u16),
    /// A temporary: has no value until it is written in the same invocation.
    Temp(u16),
}

impl Reg {
    /// The congestion window, in bytes.
    pub const CWND: Self = Self::Writable(0);
    /// The pacing rate, in bytes per second; 0 if the program has set none.
    pub const RATE: Self = Self::Writable(1);
}

/// What an instruction reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operand {
    /// A constant.
    Imm(u64),
    /// A measurement, by its place in [`Program::primitives`].
    Primitive(u16),
    /// A register.
    Reg(Reg),
}

impl From<Reg> for Operand {
    fn from(reg: Reg) -> Self {
        Self::Reg(reg)
    }
}

/// An operation on two numbers. Comparisons and `And`, `Or` give 0 or 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum BinaryOp {
    /// Sum; faults if it does not fit 64 bits.
    Add = 0,
    /// Difference; faults if it would be negative.
    Sub = 1,
    /// Product; faults if it does not fit 64 bits.
    Mul = 2,
    /// Quotient, rounded down; faults if the divisor is zero.
    Div = 3,
    /// The smaller.
    Min = 4,
    /// The larger.
    Max = 5,
    /// The later of two 32-bit sequence numbers, which wrap around: of the low 32 bits of both,
    /// the one reached from the other by the shorter way up, the right one if both ways are
    /// equal. If one of the two (whole) numbers is zero, the other, whole.
    WrappedMax = 6,
    /// Equal.
    Eq = 7,
    /// Not equal.
    Ne = 8,
    /// Less than.
    Lt = 9,
    /// At most.
    Le = 10,
    /// Greater than.
    Gt = 11,
    /// At least.
    Ge = 12,
    /// Both are not zero.
    And = 13,
    /// At least one is not zero.
    Or = 14,
}

impl BinaryOp {
    /// Every operation, in the order of their numbers.
    pub const ALL: [Self; 15] = [
        Self::Add,
        Self::Sub,
        Self::Mul,
        Self::Div,
        Self::Min,
        Self::Max,
        Self::WrappedMax,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::And,
        Self::Or,
    ];

    /// The operation with this number on the wire.
    #[must_use]
    pub fn from_wire(byte: u8) -> Option<Self> {
        Self::ALL.get(usize::from(byte)).copied()
    }

    /// Whether it can fault.
    #[must_use]
    pub const fn can_fault(self) -> bool {
        matches!(self, Self::Add | Self::Sub | Self::Mul | Self::Div)
    }
}

/// One instruction. Skips only go forward and stay within their block, so that every program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Inst {
    /// `dst = op(a, b)`.
    Binary {
        /// The operation.
        op: BinaryOp,
        /// Where the result goes.
        dst: Reg,
        /// The left operand.
        a: Operand,
        /// The right operand.
        b: Operand,
    },
    /// `dst = (weight · dst + (10 − weight) · sample) / 10`, rounded down and exact (nothing
    /// overflows on the way); if `dst` is 0, `sample`. Faults if `weight` is above 10.
    Ewma {
        /// The average so far, and where the new one goes.
        dst: Reg,
        /// How many tenths the old average weighs, 0 to 10.
        weight: Operand,
        /// The new sample.
        sample: Operand,
    },
    /// `dst = src`.
    Move {
        /// Where it goes.
        dst: Reg,
        /// What goes there.
        src: Operand,
    },
    /// Passes over the next `count` instructions.
    Skip {
        /// How many.
        count: u16,
    },
    /// Passes over the next `count` instructions if `cond` is not zero.
    SkipIf {
        /// What is looked at.
        cond: Operand,
        /// How many.
        count: u16,
    },
    /// Passes over the next `count` instructions if `cond` is zero.
    SkipUnless {
        /// What is looked at.
        cond: Operand,
        /// How many.
        count: u16,
    },
    /// Asks for a report at the end of this invocation.
    Report,
    /// Lets the next clause be looked at although this one was true.
    Fallthrough,
}

/// A report or control variable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variable {
    /// Its name, without `Report.`.
    pub name: String,
    /// Its type.
    pub ty: Type,
    /// Whether it returns to its default after each report.
    pub volatile: bool,
    /// Its value when the program is installed.
    pub default: u64,
}

/// `when condition { body }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Clause {
    /// Runs first, always, if the clause is reached.
    pub condition: Vec<Inst>,
    /// Looked at after `condition`: not zero means true. `None` is `true`.
    pub test: Option<Operand>,
    /// Runs if the test is true.
    pub body: Vec<Inst>,
}

/// A datapath program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Program {
    /// The measurements it reads; [`Operand::Primitive`] is a place in this list.
    pub primitives: Vec<RegisterDef>,
    /// The datapath's registers it may write; [`Reg::Writable`] is a place in this list.
    /// The first two are always `Cwnd` and `Rate`.
    pub writables: Vec<RegisterDef>,
    /// Its control variables, which the agent may update.
    pub controls: Vec<Variable>,
    /// Its report variables, in the order in which a report carries them.
    pub reports: Vec<Variable>,
    /// How many local variables it uses.
    pub locals: u16,
    /// How many temporaries it uses.
    pub temps: u16,
    /// Its clauses, in order.
    pub clauses: Vec<Clause>,
    /// The program answers losses itself: the datapath neither reduces the window on entering
    /// recovery nor steers it while recovery lasts.
    pub own_recovery: bool,
}

impl Program {
    /// The same program with its registers at the places where `table` has them: its lists of
    /// primitives and writable registers become the table's.
    ///
    /// # Errors
    /// If the table lacks a register that the program names, or has it with another type.
    pub fn bind(&self, table: &RegisterTable) -> Result<Self, BindError> {
        let primitives: Vec<u16> = self.primitive_places(table).collect::<Result<_, _>>()?;
        let writables: Vec<u16> = self.writable_places(table).collect::<Result<_, _>>()?;
        let at = |map: &[u16], i: u16| map.get(usize::from(i)).copied().unwrap_or(u16::MAX);
        let reg = |r: Reg| match r {
            Reg::Writable(i) => Reg::Writable(at(&writables, i)),
            other => other,
        };
        let operand = |o: Operand| match o {
            Operand::Imm(v) => Operand::Imm(v),
            Operand::Primitive(i) => Operand::Primitive(at(&primitives, i)),
            Operand::Reg(r) => Operand::Reg(reg(r)),
        };
        let block = |insts: &[Inst]| insts.iter().map(|i| i.map(reg, operand)).collect();
        Ok(Self {
            primitives: table.primitives().to_vec(),
            writables: table.writables().to_vec(),
            clauses: self
                .clauses
                .iter()
                .map(|c| Clause {
                    condition: block(&c.condition),
                    test: c.test.map(operand),
                    body: block(&c.body),
                })
                .collect(),
            ..self.clone()
        })
    }

    /// All of what stands in the way of [`Program::bind`], which tells the first.
    pub fn unbound(&self, table: &RegisterTable) -> impl Iterator<Item = BindError> {
        let places = self.primitive_places(table);
        places
            .chain(self.writable_places(table))
            .filter_map(Result::err)
    }

    fn primitive_places(
        &self,
        table: &RegisterTable,
    ) -> impl Iterator<Item = Result<u16, BindError>> {
        let missing = |name| BindError::NoPrimitive { name };
        let place = move |def| place(def, table.primitive(&def.name), missing);
        self.primitives.iter().map(place)
    }

    fn writable_places(
        &self,
        table: &RegisterTable,
    ) -> impl Iterator<Item = Result<u16, BindError>> {
        let missing = |name| BindError::NoWritable { name };
        let place = move |def| place(def, table.writable(&def.name), missing);
        self.writables.iter().map(place)
    }

    /// How many instructions it has, conditions and bodies together.
    #[must_use]
    pub fn len(&self) -> usize {
        self.clauses
            .iter()
            .map(|c| c.condition.len() + c.body.len())
            .sum()
    }

    /// Whether it has no instruction at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Inst {
    /// The same instruction with its registers and operands replaced.
    #[must_use]
    pub fn map(self, reg: impl Fn(Reg) -> Reg, operand: impl Fn(Operand) -> Operand) -> Self {
        match self {
            Self::Binary { op, dst, a, b } => Self::Binary {
                op,
                dst: reg(dst),
                a: operand(a),
                b: operand(b),
            },
            Self::Ewma {
                dst,
                weight,
                sample,
            } => Self::Ewma {
                dst: reg(dst),
                weight: operand(weight),
                sample: operand(sample),
            },
            Self::Move { dst, src } => Self::Move {
                dst: reg(dst),
                src: operand(src),
            },
            Self::SkipIf { cond, count } => Self::SkipIf {
                cond: operand(cond),
                count,
            },
            Self::SkipUnless { cond, count } => Self::SkipUnless {
                cond: operand(cond),
                count,
            },
            Self::Skip { .. } | Self::Report | Self::Fallthrough => self,
        }
    }
}

/// The place of `ours` in the datapath's table, where `found` is what has its name.
fn place(
    ours: &RegisterDef,
    found: Option<(u16, &RegisterDef)>,
    missing: impl Fn(String) -> BindError,
) -> Result<u16, BindError> {
    match found {
        None => Err(missing(ours.name.to_string())),
        Some((_, theirs)) if theirs.ty != ours.ty => Err(BindError::OtherType {
            name: ours.name.to_string(),
            ours: ours.ty,
            theirs: theirs.ty,
        }),
        Some((place, _)) => Ok(place),
    }
}
