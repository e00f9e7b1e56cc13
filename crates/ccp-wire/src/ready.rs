//! READY: a datapath is there, and what it can do.

use std::borrow::Cow;
use std::fmt;
use std::ops::{BitAnd, BitOr};

use bytes::{BufMut, BytesMut};
use ccp_program::{Limits, RegisterDef, RegisterTable, Type, Unit};
use ccp_types::SockId;

use crate::read::Reader;
use crate::write;
use crate::{DecodeError, Encode, EncodeError, Kind, MAX_FRAME};

/// The version of our extensions that this crate speaks. A peer of another version is served with
/// what both know: extensions are only ever appended to.
pub const VERSION: u16 = 1;

/// The most primitives, and the most writable registers, that a datapath may announce beyond
/// libccp's.
pub const MAX_ANNOUNCED_REGISTERS: usize = 256;

/// The longest name of a register, in bytes.
pub const MAX_REGISTER_NAME: usize = 64;

/// A set of extensions: what a datapath understands (READY), what an agent uses (HELLO).
///
/// Bits that this version does not know are kept and otherwise ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Features(pub u32);

impl Features {
    /// Nothing beyond libccp's messages.
    pub const NONE: Self = Self(0);
    /// HELLO is understood. Every datapath that announces capabilities has it.
    pub const HELLO: Self = Self(1);
    /// INSTALL_EXT is understood.
    pub const INSTALL_EXT: Self = Self(1 << 1);
    /// UPDATE_EXT and CHANGE_PROG_EXT are understood; flows have generations.
    pub const UPDATE_EXT: Self = Self(1 << 2);
    /// HEARTBEAT is understood: without one for the time named in HELLO, flows fall back.
    pub const HEARTBEAT: Self = Self(1 << 3);
    /// Everything that this version knows.
    pub const ALL: Self =
        Self(Self::HELLO.0 | Self::INSTALL_EXT.0 | Self::UPDATE_EXT.0 | Self::HEARTBEAT.0);

    /// Whether everything in `other` is also in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for Features {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitAnd for Features {
    type Output = Self;
    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl fmt::Display for Features {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        let mut first = true;
        for (bit, name) in [
            (Self::HELLO, "hello"),
            (Self::INSTALL_EXT, "install-ext"),
            (Self::UPDATE_EXT, "update-ext"),
            (Self::HEARTBEAT, "heartbeat"),
        ] {
            if rest & bit.0 != 0 {
                rest &= !bit.0;
                write!(f, "{}{name}", if first { "" } else { " " })?;
                first = false;
            }
        }
        match (rest, first) {
            (0, true) => f.write_str("none"),
            (0, false) => Ok(()),
            _ => write!(f, "{}{rest:#x}", if first { "" } else { " " }),
        }
    }
}

/// What a datapath of ours can do beyond libccp's messages: the trailing fields of READY.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The version of the extensions that it speaks.
    pub version: u16,
    /// Which of them it understands.
    pub features: Features,
    /// The largest program that it takes.
    pub limits: Limits,
    /// What it measures and what may be written. On the wire only what goes beyond libccp's base
    /// set is named.
    pub registers: RegisterTable,
}

impl Capabilities {
    /// A datapath of this version with everything it knows, and the registers of `registers`.
    #[must_use]
    pub const fn new(registers: RegisterTable, limits: Limits) -> Self {
        Self {
            version: VERSION,
            features: Features::ALL,
            limits,
            registers,
        }
    }
}

/// READY: a datapath is there. Whoever sends it has no flow that the agent knows of.
///
/// Body: `u32 id`; trailing [`Capabilities`]: `u16 version, u16 primitives, u32 features,
/// u16 writables, u16 instructions, u16 clauses, u16 reports, u16 controls, u16 registers`, then for
/// each primitive and each writable register beyond libccp's `u8 type, u8 unit, u8 len, name`.
/// Keep a READY that portus may see below 1,024 bytes: its buffer has no more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// What the datapath calls itself; libccp's default is 0.
    pub id: u32,
    /// What it can do beyond libccp's messages; `None` for libccp.
    pub capabilities: Option<Capabilities>,
}

impl Ready {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let id = r.u32("id")?;
        let capabilities = (r.left() >= Capabilities::FIXED_LEN)
            .then(|| Capabilities::read(r))
            .transpose()?;
        Ok(Self { id, capabilities })
    }
}

impl Encode for Ready {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        write::frame(dst, Kind::Ready, SockId(0), MAX_FRAME, |dst| {
            dst.put_u32_le(self.id);
            self.capabilities.as_ref().map_or(Ok(()), |c| c.write(dst))
        })
    }
}

impl Capabilities {
    /// The length of everything before the first definition, in bytes.
    const FIXED_LEN: usize = 20;

    fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u16("version")?;
        if version == 0 {
            return Err(r.bad("version", "1 or more", 0));
        }
        let primitives = r.u16("primitives")?;
        let features = Features(r.u32("features")?);
        let writables = r.u16("writables")?;
        let limits = Limits {
            instructions: r.u16("instructions")?,
            clauses: r.u16("clauses")?,
            reports: r.u16("reports")?,
            controls: r.u16("controls")?,
            registers: r.u16("registers")?,
        };
        let mut registers = RegisterTable::libccp();
        for _ in 0..announced(r, "primitives", primitives)? {
            let def = definition(r)?;
            if registers.primitive(&def.name).is_some() {
                return Err(r.bad_text("primitive", "is announced twice"));
            }
            registers = registers.with_primitives([def]);
        }
        for _ in 0..announced(r, "writable registers", writables)? {
            let def = definition(r)?;
            if registers.writable(&def.name).is_some() {
                return Err(r.bad_text("writable register", "is announced twice"));
            }
            registers = registers.with_writable([def]);
        }
        Ok(Self {
            version,
            features,
            limits,
            registers,
        })
    }

    fn write(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        if self.version == 0 {
            return Err(EncodeError::BadValue {
                kind: Kind::Ready,
                field: "version",
                expected: "1 or more",
                got: 0,
            });
        }
        let base = RegisterTable::libccp();
        let more = |all: &'_ [RegisterDef], base: usize| all.get(base..).unwrap_or(&[]).to_vec();
        let primitives = more(self.registers.primitives(), base.primitives().len());
        let writables = more(self.registers.writables(), base.writables().len());
        dst.put_u16_le(self.version);
        put_announced(dst, "primitives", primitives.len())?;
        dst.put_u32_le(self.features.0);
        put_announced(dst, "writable registers", writables.len())?;
        let l = &self.limits;
        for limit in [
            l.instructions,
            l.clauses,
            l.reports,
            l.controls,
            l.registers,
        ] {
            dst.put_u16_le(limit);
        }
        for def in primitives.iter().chain(&writables) {
            put_definition(dst, def)?;
        }
        Ok(())
    }
}

/// The least bytes of a definition: type, unit, length and one letter.
const LEAST_DEFINITION: usize = 4;

fn announced(r: &Reader<'_>, what: &'static str, got: u16) -> Result<usize, DecodeError> {
    r.count(
        what,
        u32::from(got),
        MAX_ANNOUNCED_REGISTERS,
        LEAST_DEFINITION,
    )
}

fn put_announced(dst: &mut BytesMut, what: &'static str, got: usize) -> Result<(), EncodeError> {
    let count = write::count(Kind::Ready, what, got, MAX_ANNOUNCED_REGISTERS)?;
    dst.put_uint_le(u64::from(count), 2);
    Ok(())
}

fn definition(r: &mut Reader<'_>) -> Result<RegisterDef, DecodeError> {
    let ty = match r.u8("type")? {
        0 => Type::Num,
        1 => Type::Bool,
        other => return Err(r.bad("type", "0 (number) or 1 (boolean)", u64::from(other))),
    };
    // A unit from the future says nothing to this version, but the register can still be used.
    let unit = Unit::from_wire(r.u8("unit")?).unwrap_or(Unit::None);
    let len = usize::from(r.u8("name length")?);
    let bytes = r.bytes("name", len)?;
    let name = match str::from_utf8(bytes) {
        Ok(name) => name_problem(name).map_or(Ok(name), Err),
        Err(_) => Err("is not UTF-8"),
    };
    let name = name.map_err(|problem| r.bad_text("name", problem))?;
    Ok(RegisterDef {
        name: Cow::Owned(name.to_owned()),
        ty,
        unit,
    })
}

fn put_definition(dst: &mut BytesMut, def: &RegisterDef) -> Result<(), EncodeError> {
    let field = "name";
    if let Some(problem) = name_problem(&def.name) {
        return Err(EncodeError::BadText {
            kind: Kind::Ready,
            field,
            problem,
        });
    }
    dst.put_u8(match def.ty {
        Type::Num => 0,
        Type::Bool => 1,
    });
    dst.put_u8(def.unit as u8);
    // `name_problem` holds it below 256.
    dst.put_uint_le(def.name.len() as u64, 1);
    dst.put_slice(def.name.as_bytes());
    Ok(())
}

/// What keeps `name` from being a register's name: programs must be able to spell it.
fn name_problem(name: &str) -> Option<&'static str> {
    let mut letters = name.bytes();
    if name.len() > MAX_REGISTER_NAME {
        Some("is longer than 64 bytes")
    } else if !letters.next().is_some_and(|b| b.is_ascii_alphabetic()) {
        Some("does not begin with a letter")
    } else if !letters.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'.') {
        Some("has something other than letters, digits, `_` and `.`")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
