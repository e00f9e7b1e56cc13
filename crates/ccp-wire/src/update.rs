//! UPDATE_FIELDS and CHANGE_PROG: new values of registers, and another program.

use bytes::{BufMut, BytesMut};
use ccp_program::libccp::{Class, Register, implicit};
use ccp_types::SockId;

use crate::install::{MAX_LIBCCP_FRAME, register};
use crate::read::Reader;
use crate::write;
use crate::{DecodeError, Encode, EncodeError, Kind};

/// The most fields in one UPDATE_FIELDS: libccp reads their number as one signed byte.
pub const MAX_UPDATE_FIELDS: usize = 127;

/// The most fields in one CHANGE_PROG: libccp's number of registers that may be written.
pub const MAX_CHANGE_FIELDS: usize = 222;

/// How many control variables libccp has. It does not check the index itself.
const CONTROLS: u32 = 110;

const FIELD_LEN: usize = 13;

/// A register of a libccp datapath that the agent may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FieldTarget {
    /// The congestion window, in bytes.
    Cwnd,
    /// The rate, in bytes per second.
    Rate,
    /// A control variable.
    Control {
        /// Its place among the control variables of the program, 0 to 109.
        index: u32,
        /// Whether it returns to its default after each report.
        volatile: bool,
    },
}

/// A register and its new value: `u8 class, u32 index, u64 value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The register.
    pub target: FieldTarget,
    /// Its new value. libccp hands window and rate to the datapath with their low 32 bits only,
    /// and leaves them alone when they are 0.
    pub value: u64,
}

/// UPDATE_FIELDS: new values of registers, applied together before the next invocation.
///
/// Body: `u32 n`, then n fields of 13 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateFields {
    /// The flow.
    pub sock_id: SockId,
    /// What changes.
    pub fields: Vec<Field>,
}

/// CHANGE_PROG: another program, with values of its registers, from the next invocation on. It
/// undoes every UPDATE_FIELDS that no invocation has applied yet.
///
/// Body: `u32 program_uid, u32 n`, then n fields of 13 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeProg {
    /// The flow.
    pub sock_id: SockId,
    /// The program, by the number it was installed under.
    pub program_uid: u32,
    /// Values that differ from the program's defaults.
    pub fields: Vec<Field>,
}

impl UpdateFields {
    pub(crate) fn read(sock_id: SockId, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let n = r.u32("num_fields")?;
        Ok(Self {
            sock_id,
            fields: fields(r, n, MAX_UPDATE_FIELDS)?,
        })
    }
}

impl UpdateFields {
    /// Appends the message to `dst` as one frame, without a list of its `fields`.
    ///
    /// # Errors
    /// As for [`Encode::encode`].
    pub fn put(
        dst: &mut BytesMut,
        sock_id: SockId,
        fields: impl Iterator<Item = Field> + Clone,
    ) -> Result<(), EncodeError> {
        put(dst, Kind::UpdateFields, sock_id, [], fields)
    }
}

impl Encode for UpdateFields {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        Self::put(dst, self.sock_id, self.fields.iter().copied())
    }
}

impl ChangeProg {
    pub(crate) fn read(sock_id: SockId, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let program_uid = r.u32("program_uid")?;
        let n = r.u32("num_fields")?;
        Ok(Self {
            sock_id,
            program_uid,
            fields: fields(r, n, MAX_CHANGE_FIELDS)?,
        })
    }
}

impl ChangeProg {
    /// Appends the message to `dst` as one frame, without a list of its `fields`.
    ///
    /// # Errors
    /// As for [`Encode::encode`].
    pub fn put(
        dst: &mut BytesMut,
        sock_id: SockId,
        program_uid: u32,
        fields: impl Iterator<Item = Field> + Clone,
    ) -> Result<(), EncodeError> {
        put(dst, Kind::ChangeProg, sock_id, [program_uid], fields)
    }
}

impl Encode for ChangeProg {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let fields = self.fields.iter().copied();
        Self::put(dst, self.sock_id, self.program_uid, fields)
    }
}

fn fields(r: &mut Reader<'_>, n: u32, limit: usize) -> Result<Vec<Field>, DecodeError> {
    let n = r.count("fields", n, limit, FIELD_LEN)?;
    (0..n)
        .map(|_| {
            let register = register(r)?;
            let target = FieldTarget::from_register(register).ok_or_else(|| {
                let expected = match register.class {
                    Class::Control | Class::VolatileControl => "a control variable, 0 to 109",
                    Class::Implicit => "the window (4) or the rate (5)",
                    _ => "an index with class 0, 2 or 8: nothing else may be set",
                };
                r.bad("register index", expected, u64::from(register.index))
            })?;
            Ok(Field {
                target,
                value: r.u64("value")?,
            })
        })
        .collect()
}

fn put<const N: usize>(
    dst: &mut BytesMut,
    kind: Kind,
    sock_id: SockId,
    before: [u32; N],
    fields: impl Iterator<Item = Field> + Clone,
) -> Result<(), EncodeError> {
    let limit = match kind {
        Kind::ChangeProg => MAX_CHANGE_FIELDS,
        _ => MAX_UPDATE_FIELDS,
    };
    let n = write::count(kind, "fields", fields.clone().count(), limit)?;
    write::frame(dst, kind, sock_id, MAX_LIBCCP_FRAME, |dst| {
        for number in before {
            dst.put_u32_le(number);
        }
        dst.put_u32_le(n);
        // Exactly as many as were announced, whatever the iterator does.
        fields.take(n as usize).try_for_each(|field| {
            dst.put_slice(&field.to_bytes(kind)?);
            Ok(())
        })
    })
}

impl Field {
    fn to_bytes(self, kind: Kind) -> Result<[u8; FIELD_LEN], EncodeError> {
        let register = self.target.to_register();
        if FieldTarget::from_register(register) != Some(self.target) {
            return Err(EncodeError::BadValue {
                kind,
                field: "register index",
                expected: "a control variable, 0 to 109",
                got: u64::from(register.index),
            });
        }
        let [i0, i1, i2, i3] = register.index.to_le_bytes();
        let [v0, v1, v2, v3, v4, v5, v6, v7] = self.value.to_le_bytes();
        let class = register.class as u8;
        Ok([class, i0, i1, i2, i3, v0, v1, v2, v3, v4, v5, v6, v7])
    }
}

impl FieldTarget {
    /// The register that libccp calls so, if the agent may set it.
    #[must_use]
    pub const fn from_register(register: Register) -> Option<Self> {
        let Register { class, index } = register;
        match class {
            Class::Implicit if index == implicit::CWND => Some(Self::Cwnd),
            Class::Implicit if index == implicit::RATE => Some(Self::Rate),
            Class::Control if index < CONTROLS => Some(Self::Control {
                index,
                volatile: false,
            }),
            Class::VolatileControl if index < CONTROLS => Some(Self::Control {
                index,
                volatile: true,
            }),
            _ => None,
        }
    }

    /// What libccp calls it.
    #[must_use]
    pub const fn to_register(self) -> Register {
        let (class, index) = match self {
            Self::Cwnd => (Class::Implicit, implicit::CWND),
            Self::Rate => (Class::Implicit, implicit::RATE),
            Self::Control {
                index,
                volatile: false,
            } => (Class::Control, index),
            Self::Control {
                index,
                volatile: true,
            } => (Class::VolatileControl, index),
        };
        Register { class, index }
    }
}

#[cfg(test)]
mod tests;
