//! UPDATE_EXT and CHANGE_PROG_EXT: the same for datapaths with an open register table, and for
//! one generation of a flow.

use bytes::{BufMut, BytesMut};
use ccp_program::Limits;
use ccp_types::SockId;

use crate::read::Reader;
use crate::ready::MAX_ANNOUNCED_REGISTERS;
use crate::write;
use crate::{DecodeError, Encode, EncodeError, Kind, MAX_FRAME};

/// As many as there can be registers to set: the announced ones, `Cwnd` and `Rate`, and the
/// control variables.
const MAX_FIELDS: usize = MAX_ANNOUNCED_REGISTERS + 2 + Limits::MAX.controls as usize;

const FIELD_LEN: usize = 12;

/// A register that the agent may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TargetExt {
    /// A writable register of the datapath, by its place in the announced table: 0 is the window
    /// in bytes, 1 the rate in bytes per second.
    Writable(u16),
    /// A control variable, by its place in the program.
    Control(u16),
}

impl TargetExt {
    /// The congestion window, in bytes.
    pub const CWND: Self = Self::Writable(0);
    /// The rate, in bytes per second; 0 for none.
    pub const RATE: Self = Self::Writable(1);
}

/// A register and its new value: `u8 class (0 writable, 1 control), u8 0, u16 index, u64 value`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FieldExt {
    /// The register.
    pub target: TargetExt,
    /// Its new value.
    pub value: u64,
}

/// UPDATE_EXT: new values of registers, applied together before the next invocation.
///
/// Body: `u32 generation, u32 program_uid, u32 n`, then n fields of 12 bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpdateExt {
    /// The flow.
    pub sock_id: SockId,
    /// The announcement that it is meant for; the datapath passes over any other.
    pub generation: u32,
    /// The program whose control variables are meant; if another one runs by now, only the
    /// writable registers are set. 0 if no control variable is set.
    pub program_uid: u32,
    /// What changes.
    pub fields: Vec<FieldExt>,
}

/// CHANGE_PROG_EXT: another program, with values of its registers, from the next invocation on.
/// Writable registers set before and not yet applied stay set.
///
/// Body: as UPDATE_EXT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeProgExt {
    /// The flow.
    pub sock_id: SockId,
    /// The announcement that it is meant for; the datapath passes over any other.
    pub generation: u32,
    /// The program, by the number it was installed under.
    pub program_uid: u32,
    /// Values that differ from the program's defaults.
    pub fields: Vec<FieldExt>,
}

impl UpdateExt {
    pub(crate) fn read(sock_id: SockId, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sock_id,
            generation: r.u32("generation")?,
            program_uid: r.u32("program_uid")?,
            fields: fields(r)?,
        })
    }
}

impl UpdateExt {
    /// Appends the message to `dst` as one frame, without a list of its `fields`.
    ///
    /// # Errors
    /// As for [`Encode::encode`].
    pub fn put(
        dst: &mut BytesMut,
        sock_id: SockId,
        generation: u32,
        program_uid: u32,
        fields: impl Iterator<Item = FieldExt> + Clone,
    ) -> Result<(), EncodeError> {
        let before = [generation, program_uid];
        put(dst, Kind::UpdateExt, sock_id, before, fields)
    }
}

impl Encode for UpdateExt {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let fields = self.fields.iter().copied();
        Self::put(dst, self.sock_id, self.generation, self.program_uid, fields)
    }
}

impl ChangeProgExt {
    pub(crate) fn read(sock_id: SockId, r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            sock_id,
            generation: r.u32("generation")?,
            program_uid: r.u32("program_uid")?,
            fields: fields(r)?,
        })
    }
}

impl ChangeProgExt {
    /// Appends the message to `dst` as one frame, without a list of its `fields`.
    ///
    /// # Errors
    /// As for [`Encode::encode`].
    pub fn put(
        dst: &mut BytesMut,
        sock_id: SockId,
        generation: u32,
        program_uid: u32,
        fields: impl Iterator<Item = FieldExt> + Clone,
    ) -> Result<(), EncodeError> {
        let before = [generation, program_uid];
        put(dst, Kind::ChangeProgExt, sock_id, before, fields)
    }
}

impl Encode for ChangeProgExt {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let fields = self.fields.iter().copied();
        Self::put(dst, self.sock_id, self.generation, self.program_uid, fields)
    }
}

fn fields(r: &mut Reader<'_>) -> Result<Vec<FieldExt>, DecodeError> {
    let n = r.u32("num_fields")?;
    let n = r.count("fields", n, MAX_FIELDS, FIELD_LEN)?;
    (0..n)
        .map(|_| {
            let class = r.u8("register class")?;
            r.u8("reserved")?;
            let index = r.u16("register index")?;
            let target = match class {
                0 => TargetExt::Writable(index),
                1 => TargetExt::Control(index),
                other => {
                    return Err(r.bad(
                        "register class",
                        "0 (writable) or 1 (control)",
                        u64::from(other),
                    ));
                }
            };
            Ok(FieldExt {
                target,
                value: r.u64("value")?,
            })
        })
        .collect()
}

fn put(
    dst: &mut BytesMut,
    kind: Kind,
    sock_id: SockId,
    [generation, program_uid]: [u32; 2],
    fields: impl Iterator<Item = FieldExt> + Clone,
) -> Result<(), EncodeError> {
    let n = write::count(kind, "fields", fields.clone().count(), MAX_FIELDS)?;
    write::frame(dst, kind, sock_id, MAX_FRAME, |dst| {
        for number in [generation, program_uid, n] {
            dst.put_u32_le(number);
        }
        // Exactly as many as were announced, whatever the iterator does.
        for field in fields.take(n as usize) {
            dst.put_slice(&field.to_bytes());
        }
        Ok(())
    })
}

impl FieldExt {
    const fn to_bytes(self) -> [u8; FIELD_LEN] {
        let (class, index) = match self.target {
            TargetExt::Writable(index) => (0, index),
            TargetExt::Control(index) => (1, index),
        };
        let [i0, i1] = index.to_le_bytes();
        let [v0, v1, v2, v3, v4, v5, v6, v7] = self.value.to_le_bytes();
        [class, 0, i0, i1, v0, v1, v2, v3, v4, v5, v6, v7]
    }
}
