//! The open register tables: what a datapath measures and what may be written, by name.

use std::borrow::Cow;
use std::fmt;

use thiserror::Error;

/// The type of a value. Everything is 64 bits wide; booleans are 0 and 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    /// A 64-bit unsigned number.
    Num,
    /// `true` or `false`.
    Bool,
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Num => "number",
            Self::Bool => "boolean",
        })
    }
}

/// What a register's number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Unit {
    /// Nothing: a flag, a state, a count without a name.
    None = 0,
    /// Bytes.
    Bytes = 1,
    /// Packets (segments).
    Packets = 2,
    /// Microseconds.
    Micros = 3,
    /// Bytes per second.
    BytesPerSecond = 4,
}

impl Unit {
    /// The unit with this number on the wire.
    #[must_use]
    pub const fn from_wire(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::None,
            1 => Self::Bytes,
            2 => Self::Packets,
            3 => Self::Micros,
            4 => Self::BytesPerSecond,
            _ => return None,
        })
    }
}

/// One named register of a datapath.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RegisterDef {
    /// Its name in programs, such as `Flow.rtt_sample_us`.
    pub name: Cow<'static, str>,
    /// Its type.
    pub ty: Type,
    /// What it counts.
    pub unit: Unit,
}

impl RegisterDef {
    /// A register named `name`.
    #[must_use]
    pub const fn new(name: &'static str, ty: Type, unit: Unit) -> Self {
        Self {
            name: Cow::Borrowed(name),
            ty,
            unit,
        }
    }
}

const fn num(name: &'static str, unit: Unit) -> RegisterDef {
    RegisterDef::new(name, Type::Num, unit)
}

const fn flag(name: &'static str) -> RegisterDef {
    RegisterDef::new(name, Type::Bool, Unit::None)
}

/// libccp's primitives, in libccp's order: the base set of every table.
static BASE_PRIMITIVES: [RegisterDef; 15] = [
    num("Ack.bytes_acked", Unit::Bytes),
    num("Ack.bytes_misordered", Unit::Bytes),
    num("Ack.ecn_bytes", Unit::Bytes),
    num("Ack.ecn_packets", Unit::Packets),
    num("Ack.lost_pkts_sample", Unit::Packets),
    num("Ack.now", Unit::Micros),
    num("Ack.packets_acked", Unit::Packets),
    num("Ack.packets_misordered", Unit::Packets),
    num("Flow.bytes_in_flight", Unit::Bytes),
    num("Flow.bytes_pending", Unit::Bytes),
    num("Flow.packets_in_flight", Unit::Packets),
    num("Flow.rate_incoming", Unit::BytesPerSecond),
    num("Flow.rate_outgoing", Unit::BytesPerSecond),
    num("Flow.rtt_sample_us", Unit::Micros),
    flag("Flow.was_timeout"),
];

/// What datapaths beyond libccp's base set may measure. A transport adds its own names.
static NEXT_PRIMITIVES: [RegisterDef; 15] = [
    num("Flow.mss", Unit::Bytes),
    num("Flow.srtt_us", Unit::Micros),
    num("Flow.min_rtt_us", Unit::Micros),
    num("Flow.one_way_delay_us", Unit::Micros),
    flag("Flow.app_limited"),
    flag("Flow.cwnd_limited"),
    num("Flow.round_count", Unit::None),
    num("Flow.bytes_sent", Unit::Bytes),
    num("Flow.bytes_delivered", Unit::Bytes),
    num("Flow.bytes_lost", Unit::Bytes),
    num("Flow.bytes_ce", Unit::Bytes),
    num("Flow.recovery_state", Unit::None),
    num("Flow.ssthresh", Unit::Bytes),
    flag("Ack.ece"),
    flag("Flow.paced"),
];

static BASE_WRITABLE: [RegisterDef; 2] =
    [num("Cwnd", Unit::Bytes), num("Rate", Unit::BytesPerSecond)];

/// What programs may set on datapaths beyond libccp's.
///
/// `Ssthresh` is where a datapath's slow start ends and what its loss recovery reduces the window
/// to, on datapaths that recover by themselves.
static NEXT_WRITABLE: [RegisterDef; 1] = [num("Ssthresh", Unit::Bytes)];

/// The registers of a datapath: what it measures (read-only *primitives*) and what a program may
/// write besides its own variables. A register's index is its place in the table.
///
/// The first fifteen primitives and the first two writable registers are libccp's, in every table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterTable {
    primitives: Vec<RegisterDef>,
    writable: Vec<RegisterDef>,
}

impl RegisterTable {
    /// Exactly what libccp has.
    #[must_use]
    pub fn libccp() -> Self {
        Self {
            primitives: BASE_PRIMITIVES.to_vec(),
            writable: BASE_WRITABLE.to_vec(),
        }
    }

    /// Every name that this project gives a meaning to: what a program is compiled against before
    /// anything is known of the datapath it will run on.
    #[must_use]
    pub fn well_known() -> Self {
        Self::libccp()
            .with_primitives(NEXT_PRIMITIVES.iter().cloned())
            .with_writable(NEXT_WRITABLE.iter().cloned())
    }

    /// This table and `more` primitives; a name that is there already is passed over.
    #[must_use]
    pub fn with_primitives(mut self, more: impl IntoIterator<Item = RegisterDef>) -> Self {
        for def in more {
            if self.primitive(&def.name).is_none() {
                self.primitives.push(def);
            }
        }
        self
    }

    /// This table and `more` writable registers; a name that is there already is passed over.
    #[must_use]
    pub fn with_writable(mut self, more: impl IntoIterator<Item = RegisterDef>) -> Self {
        for def in more {
            if self.writable(&def.name).is_none() {
                self.writable.push(def);
            }
        }
        self
    }

    /// The well-known primitives and writable registers with these names, after the base set.
    /// Names that are not well-known are passed over; give them with
    /// [`RegisterTable::with_primitives`] and [`RegisterTable::with_writable`].
    #[must_use]
    pub fn libccp_and(names: &[&str]) -> Self {
        let known = |among: &'static [RegisterDef]| {
            let find = |n: &&str| among.iter().find(|d| d.name == **n).cloned();
            names.iter().filter_map(find).collect::<Vec<_>>()
        };
        Self::libccp()
            .with_primitives(known(&NEXT_PRIMITIVES))
            .with_writable(known(&NEXT_WRITABLE))
    }

    /// The primitives, in order.
    #[must_use]
    pub fn primitives(&self) -> &[RegisterDef] {
        &self.primitives
    }

    /// The writable registers, in order; the first is `Cwnd`, the second `Rate`.
    #[must_use]
    pub fn writables(&self) -> &[RegisterDef] {
        &self.writable
    }

    /// The index and definition of the primitive called `name`.
    #[must_use]
    pub fn primitive(&self, name: &str) -> Option<(u16, &RegisterDef)> {
        find(&self.primitives, name)
    }

    /// The index and definition of the writable register called `name`.
    #[must_use]
    pub fn writable(&self, name: &str) -> Option<(u16, &RegisterDef)> {
        find(&self.writable, name)
    }
}

fn find<'a>(defs: &'a [RegisterDef], name: &str) -> Option<(u16, &'a RegisterDef)> {
    let index = defs.iter().position(|d| d.name == name)?;
    Some((u16::try_from(index).ok()?, defs.get(index)?))
}

/// A program needs a register that the datapath does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BindError {
    /// A primitive is missing.
    #[error("the datapath does not measure `{name}`, which the program reads")]
    NoPrimitive {
        /// The primitive's name.
        name: String,
    },
    /// A writable register is missing.
    #[error("the datapath has no `{name}`, which the program writes or reads")]
    NoWritable {
        /// The register's name.
        name: String,
    },
    /// It is there, with another type.
    #[error("`{name}` is a {theirs} on this datapath, but the program takes it for a {ours}")]
    OtherType {
        /// The register's name.
        name: String,
        /// The type that the program expects.
        ours: Type,
        /// The type that the datapath announced.
        theirs: Type,
    },
}
