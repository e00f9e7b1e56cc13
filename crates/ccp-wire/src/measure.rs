//! MEASURE: a report, or the end of a flow.

use bytes::{BufMut, BytesMut};
use ccp_types::{Bytes, SockId};

use crate::read::Reader;
use crate::write;
use crate::{DecodeError, Encode, EncodeError, HEADER_LEN, Header, Kind, MAX_FRAME};

/// The most fields that a report has: libccp's number of report registers.
pub const MAX_REPORT_FIELDS: usize = 110;

/// What our datapaths put behind the fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ReportTrailer {
    /// Which announcement of the flow the report belongs to.
    pub generation: u32,
    /// How many earlier reports could not be sent and went into this one.
    pub merged: u32,
}

/// What a flow did in its life; our datapaths put it behind the trailer of a close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Totals {
    /// Payload sent, retransmissions included.
    pub sent: Bytes,
    /// Payload that reached the other end.
    pub delivered: Bytes,
    /// Payload marked as lost.
    pub lost: Bytes,
    /// Payload acknowledged with a congestion mark.
    pub ce: Bytes,
}

/// MEASURE, read in place: reading one allocates nothing.
///
/// Body: `u32 program_uid, u32 n, u64[n]`; trailing [`ReportTrailer`] `u32 generation,
/// u32 merged`; after that, when n is 0, [`Totals`] `u64 sent, delivered, lost, ce`. With no field
/// it says that the flow has ended. What trails is a multiple of 8 bytes, since portus takes it
/// for further fields (which nobody asks for).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure<'a> {
    /// The flow.
    pub sock_id: SockId,
    /// The program that reports, by the number it was installed under; libccp closes with 0.
    pub program_uid: u32,
    /// From our datapaths only.
    pub trailer: Option<ReportTrailer>,
    /// From our datapaths only, and only in a close.
    pub totals: Option<Totals>,
    fields: &'a [[u8; 8]],
}

impl<'a> Measure<'a> {
    /// Whether this is the end of the flow.
    #[must_use]
    #[inline]
    pub const fn is_close(&self) -> bool {
        self.fields.is_empty()
    }

    /// How many report variables it carries.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether it carries no report variable, which is to say that it [closes](Self::is_close).
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The report variable at `place`, in the order in which the program declares them.
    #[must_use]
    pub fn field(&self, place: usize) -> Option<u64> {
        self.fields
            .get(place)
            .map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// The report variables, in the order in which the program declares them.
    #[inline]
    pub fn fields(&self) -> impl ExactSizeIterator<Item = u64> + Clone + use<'a> {
        self.fields.iter().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// The same, apart from the bytes it was read from.
    #[must_use]
    pub fn to_buf(&self) -> MeasureBuf {
        MeasureBuf {
            sock_id: self.sock_id,
            program_uid: self.program_uid,
            fields: self.fields().collect(),
            trailer: self.trailer,
            totals: self.totals,
        }
    }

    pub(crate) fn read(sock_id: SockId, r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let program_uid = r.u32("program_uid")?;
        let n = r.u32("num_fields")?;
        let n = r.count("report fields", n, MAX_REPORT_FIELDS, size_of::<u64>())?;
        let (fields, _) = r.bytes("report fields", n * size_of::<u64>())?.as_chunks();
        let trailer = (r.left() >= 8)
            .then(|| {
                Ok(ReportTrailer {
                    generation: r.u32("generation")?,
                    merged: r.u32("merged")?,
                })
            })
            .transpose()?;
        let totals = (n == 0 && r.left() >= 32)
            .then(|| {
                Ok(Totals {
                    sent: Bytes(r.u64("bytes_sent")?),
                    delivered: Bytes(r.u64("bytes_delivered")?),
                    lost: Bytes(r.u64("bytes_lost")?),
                    ce: Bytes(r.u64("bytes_ce")?),
                })
            })
            .transpose()?;
        Ok(Self {
            sock_id,
            program_uid,
            trailer,
            totals,
            fields,
        })
    }
}

impl Encode for Measure<'_> {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        encode(
            dst,
            self.sock_id,
            self.program_uid,
            self.fields(),
            self.trailer,
            self.totals,
        )
    }
}

/// MEASURE with its fields in its own memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasureBuf {
    /// The flow.
    pub sock_id: SockId,
    /// The program that reports, by the number it was installed under.
    pub program_uid: u32,
    /// The report variables; none closes the flow.
    pub fields: Vec<u64>,
    /// What our datapaths add.
    pub trailer: Option<ReportTrailer>,
    /// What our datapaths add to a close. Needs `trailer`, and no field.
    pub totals: Option<Totals>,
}

impl MeasureBuf {
    /// The end of a flow, as libccp says it.
    #[must_use]
    pub const fn close(sock_id: SockId) -> Self {
        Self {
            sock_id,
            program_uid: 0,
            fields: Vec::new(),
            trailer: None,
            totals: None,
        }
    }
}

impl Encode for MeasureBuf {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        encode(
            dst,
            self.sock_id,
            self.program_uid,
            self.fields.iter().copied(),
            self.trailer,
            self.totals,
        )
    }
}

/// The longest report with its trailer.
const MAX_REPORT_FRAME: usize = HEADER_LEN + 8 + 8 * MAX_REPORT_FIELDS + 8;

/// Writes reports without allocating: for datapaths.
#[derive(Clone, Debug)]
pub struct ReportFrame([u8; MAX_REPORT_FRAME]);

impl Default for ReportFrame {
    fn default() -> Self {
        Self::new()
    }
}

impl ReportFrame {
    /// Room for one report.
    #[must_use]
    pub const fn new() -> Self {
        Self([0; MAX_REPORT_FRAME])
    }

    /// The frame of a report of `program_uid` with `fields`, of which there may be
    /// [`MAX_REPORT_FIELDS`]; further ones are left out.
    pub fn write(
        &mut self,
        sock_id: SockId,
        program_uid: u32,
        fields: &[u64],
        trailer: ReportTrailer,
    ) -> &[u8] {
        let fields = fields.get(..MAX_REPORT_FIELDS).unwrap_or(fields);
        let len = HEADER_LEN + 8 + 8 * fields.len() + 8;
        let header = Header {
            kind: Kind::Measure,
            // At most 904.
            len: len as u16,
            sock_id,
        };
        let mut room = self.0.as_mut_slice();
        room.put_slice(&header.to_bytes());
        room.put_u32_le(program_uid);
        room.put_u32_le(fields.len() as u32);
        for field in fields {
            room.put_u64_le(*field);
        }
        room.put_u32_le(trailer.generation);
        room.put_u32_le(trailer.merged);
        self.0.get(..len).unwrap_or_default()
    }
}

fn encode(
    dst: &mut BytesMut,
    sock_id: SockId,
    program_uid: u32,
    fields: impl ExactSizeIterator<Item = u64>,
    trailer: Option<ReportTrailer>,
    totals: Option<Totals>,
) -> Result<(), EncodeError> {
    write::frame(dst, Kind::Measure, sock_id, MAX_FRAME, |dst| {
        let n = write::count(
            Kind::Measure,
            "report fields",
            fields.len(),
            MAX_REPORT_FIELDS,
        )?;
        if totals.is_some() && (n > 0 || trailer.is_none()) {
            return Err(EncodeError::BadValue {
                kind: Kind::Measure,
                field: "totals",
                expected: "a close (no field) with a trailer",
                got: u64::from(n),
            });
        }
        dst.put_u32_le(program_uid);
        dst.put_u32_le(n);
        for field in fields {
            dst.put_u64_le(field);
        }
        if let Some(trailer) = trailer {
            dst.put_u32_le(trailer.generation);
            dst.put_u32_le(trailer.merged);
        }
        if let Some(totals) = totals {
            for total in [totals.sent, totals.delivered, totals.lost, totals.ce] {
                dst.put_u64_le(total.0);
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests;
