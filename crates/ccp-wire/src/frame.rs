//! Cutting bytes into frames.

use std::fmt;

use ccp_types::SockId;

use crate::{DecodeError, Message};

/// The length of a header, in bytes.
pub const HEADER_LEN: usize = 8;

/// The longest frame there can be: the header's length has 16 bits.
pub const MAX_FRAME: usize = u16::MAX as usize;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A flow is announced.
    Create,
    /// A report, or the end of a flow.
    Measure,
    /// A program in libccp's bytecode.
    Install,
    /// New values of registers.
    UpdateFields,
    /// Another program, with values of its registers.
    ChangeProg,
    /// A datapath is there.
    Ready,
    /// An agent answers a datapath that announced capabilities.
    Hello,
    /// A program in its whole form.
    InstallExt,
    /// New values of registers, for one generation of a flow.
    UpdateExt,
    /// Another program with values of its registers, for one generation of a flow.
    ChangeProgExt,
    /// The agent is alive.
    Heartbeat,
    /// A type that this version does not know.
    Unknown(u16),
}

impl Kind {
    /// The type with this number on the wire.
    #[must_use]
    #[inline]
    pub const fn from_wire(number: u16) -> Self {
        match number {
            0 => Self::Create,
            1 => Self::Measure,
            2 => Self::Install,
            3 => Self::UpdateFields,
            4 => Self::ChangeProg,
            5 => Self::Ready,
            0x40 => Self::Hello,
            0x41 => Self::InstallExt,
            0x42 => Self::UpdateExt,
            0x43 => Self::ChangeProgExt,
            0x44 => Self::Heartbeat,
            other => Self::Unknown(other),
        }
    }

    /// Its number on the wire.
    #[must_use]
    #[inline]
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::Create => 0,
            Self::Measure => 1,
            Self::Install => 2,
            Self::UpdateFields => 3,
            Self::ChangeProg => 4,
            Self::Ready => 5,
            Self::Hello => 0x40,
            Self::InstallExt => 0x41,
            Self::UpdateExt => 0x42,
            Self::ChangeProgExt => 0x43,
            Self::Heartbeat => 0x44,
            Self::Unknown(other) => other,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Create => "CREATE",
            Self::Measure => "MEASURE",
            Self::Install => "INSTALL",
            Self::UpdateFields => "UPDATE_FIELDS",
            Self::ChangeProg => "CHANGE_PROG",
            Self::Ready => "READY",
            Self::Hello => "HELLO",
            Self::InstallExt => "INSTALL_EXT",
            Self::UpdateExt => "UPDATE_EXT",
            Self::ChangeProgExt => "CHANGE_PROG_EXT",
            Self::Heartbeat => "HEARTBEAT",
            Self::Unknown(number) => return write!(f, "type {number:#x}"),
        })
    }
}

/// The first eight bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// Its length in bytes, header included.
    pub len: u16,
    /// The flow it is about; 0 where it is about the whole datapath.
    pub sock_id: SockId,
}

impl Header {
    /// Reads a header, as it stands.
    #[must_use]
    #[inline]
    pub fn from_bytes(bytes: [u8; HEADER_LEN]) -> Self {
        let [t0, t1, l0, l1, s0, s1, s2, s3] = bytes;
        Self {
            kind: Kind::from_wire(u16::from_le_bytes([t0, t1])),
            len: u16::from_le_bytes([l0, l1]),
            sock_id: SockId(u32::from_le_bytes([s0, s1, s2, s3])),
        }
    }

    /// Its bytes.
    #[must_use]
    #[inline]
    pub fn to_bytes(self) -> [u8; HEADER_LEN] {
        let [t0, t1] = self.kind.to_wire().to_le_bytes();
        let [l0, l1] = self.len.to_le_bytes();
        let [s0, s1, s2, s3] = self.sock_id.0.to_le_bytes();
        [t0, t1, l0, l1, s0, s1, s2, s3]
    }

    /// The frame's length in bytes, once it is known to be possible.
    ///
    /// # Errors
    /// If it is below that of a header or above `limit`.
    #[inline]
    pub(crate) fn checked_len(self, limit: usize) -> Result<usize, DecodeError> {
        let len = usize::from(self.len);
        if len < HEADER_LEN {
            return Err(DecodeError::LengthTooSmall {
                kind: self.kind,
                expected: HEADER_LEN,
                got: len,
            });
        }
        if len > limit {
            return Err(DecodeError::LengthTooLarge {
                kind: self.kind,
                limit,
                got: len,
            });
        }
        Ok(len)
    }
}

/// One frame, cut out but not yet looked into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it is, for which flow.
    pub kind: Kind,
    /// The flow it is about; 0 where it is about the whole datapath.
    pub sock_id: SockId,
    /// What follows the header.
    pub body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Cuts the first frame off `bytes` and returns it with the rest. For datagrams: a frame that
    /// is not wholly there is an error.
    ///
    /// # Errors
    /// [`DecodeError::NoHeader`], [`DecodeError::LengthTooSmall`] or [`DecodeError::Truncated`].
    #[inline]
    pub fn split(bytes: &'a [u8]) -> Result<(Self, &'a [u8]), DecodeError> {
        let no_header = DecodeError::NoHeader {
            expected: HEADER_LEN,
            got: bytes.len(),
        };
        let (head, after) = bytes.split_first_chunk().ok_or(no_header)?;
        let header = Header::from_bytes(*head);
        let len = header.checked_len(MAX_FRAME)?;
        let (body, rest) =
            after
                .split_at_checked(len - HEADER_LEN)
                .ok_or(DecodeError::Truncated {
                    kind: header.kind,
                    expected: len,
                    got: bytes.len(),
                })?;
        let frame = Self {
            kind: header.kind,
            sock_id: header.sock_id,
            body,
        };
        Ok((frame, rest))
    }

    /// Its length in bytes, header included.
    #[must_use]
    pub const fn wire_len(&self) -> usize {
        HEADER_LEN + self.body.len()
    }

    /// What it says.
    ///
    /// # Errors
    /// If the body is not that of a message of its type. A type that is not known is no error:
    /// [`Message::Unknown`].
    #[inline]
    pub fn message(&self) -> Result<Message<'a>, DecodeError> {
        Message::decode(*self)
    }
}

/// The frames of one datagram, in order.
///
/// After an error nothing more comes: where the next frame would start is not known.
#[must_use]
pub const fn frames(datagram: &[u8]) -> Frames<'_> {
    Frames { rest: datagram }
}

/// See [`frames`].
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match Frame::split(self.rest) {
            Ok((frame, rest)) => {
                self.rest = rest;
                Some(Ok(frame))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

impl std::iter::FusedIterator for Frames<'_> {}

#[cfg(test)]
mod tests;
