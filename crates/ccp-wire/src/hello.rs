//! HELLO and HEARTBEAT: the agent's side of a datapath with capabilities.

use bytes::{BufMut, BytesMut};
use ccp_types::{Micros, SockId};

use crate::read::Reader;
use crate::write;
use crate::{DecodeError, Encode, EncodeError, Features, Kind, MAX_FRAME};

/// HELLO: the agent answers a READY that carried capabilities.
///
/// Body: `u16 version, u16 0, u32 features, u32 epoch, u32 heartbeat_us, u32 fallback_after_us`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The version of the extensions that the agent speaks.
    pub version: u16,
    /// Which of the datapath's features the agent uses: a subset of what READY announced.
    pub features: Features,
    /// Another one than before: the agent knows no flow of before, so all must be announced
    /// again. Never 0.
    pub epoch: u32,
    /// How often the agent sends HEARTBEAT; 0 if it sends none and wants no watchdog.
    /// At most `u32::MAX` µs.
    pub heartbeat: Micros,
    /// Without a HEARTBEAT for that long, flows fall back. 0 only together with `heartbeat`.
    /// At most `u32::MAX` µs.
    pub fallback_after: Micros,
}

impl Hello {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let version = r.u16("version")?;
        if version == 0 {
            return Err(r.bad("version", "1 or more", 0));
        }
        r.u16("reserved")?;
        let features = Features(r.u32("features")?);
        let epoch = r.u32("epoch")?;
        if epoch == 0 {
            return Err(r.bad("epoch", "1 or more", 0));
        }
        let heartbeat = r.u32("heartbeat_us")?;
        let fallback_after = r.u32("fallback_after_us")?;
        if (heartbeat == 0) != (fallback_after == 0) || fallback_after < heartbeat {
            return Err(r.bad(
                "fallback_after_us",
                "at least heartbeat_us, and 0 only together with it",
                u64::from(fallback_after),
            ));
        }
        Ok(Self {
            version,
            features,
            epoch,
            heartbeat: Micros(u64::from(heartbeat)),
            fallback_after: Micros(u64::from(fallback_after)),
        })
    }

    const fn bad(field: &'static str, expected: &'static str, got: u64) -> EncodeError {
        EncodeError::BadValue {
            kind: Kind::Hello,
            field,
            expected,
            got,
        }
    }
}

impl Encode for Hello {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        write::frame(dst, Kind::Hello, SockId(0), MAX_FRAME, |dst| {
            if self.version == 0 {
                return Err(Self::bad("version", "1 or more", 0));
            }
            if self.epoch == 0 {
                return Err(Self::bad("epoch", "1 or more", 0));
            }
            let span = |field, span: Micros| {
                u32::try_from(span.0).map_err(|_| Self::bad(field, "at most 4294967295 us", span.0))
            };
            let heartbeat = span("heartbeat_us", self.heartbeat)?;
            let fallback_after = span("fallback_after_us", self.fallback_after)?;
            if (heartbeat == 0) != (fallback_after == 0) || fallback_after < heartbeat {
                return Err(Self::bad(
                    "fallback_after_us",
                    "at least heartbeat_us, and 0 only together with it",
                    self.fallback_after.0,
                ));
            }
            dst.put_u16_le(self.version);
            dst.put_u16_le(0);
            dst.put_u32_le(self.features.0);
            dst.put_u32_le(self.epoch);
            dst.put_u32_le(heartbeat);
            dst.put_u32_le(fallback_after);
            Ok(())
        })
    }
}

/// HEARTBEAT: the agent is alive and its way of reports works. Sent only if HELLO named an
/// interval.
///
/// Body: `u32 epoch, u32 beat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The epoch of the HELLO that it belongs to; another one means that HELLO was missed.
    pub epoch: u32,
    /// Counts up by one, and wraps around.
    pub beat: u32,
}

impl Heartbeat {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            epoch: r.u32("epoch")?,
            beat: r.u32("beat")?,
        })
    }
}

impl Encode for Heartbeat {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        write::frame(dst, Kind::Heartbeat, SockId(0), MAX_FRAME, |dst| {
            dst.put_u32_le(self.epoch);
            dst.put_u32_le(self.beat);
            Ok(())
        })
    }
}
