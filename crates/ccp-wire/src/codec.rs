//! Frames over a byte stream.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use ccp_types::SockId;
use thiserror::Error;
use tokio_util::codec::{Decoder, Encoder};

use crate::{
    DecodeError, Encode, EncodeError, Frame, HEADER_LEN, Header, Kind, MAX_FRAME, Message,
};

/// Cuts a byte stream into frames, and writes messages into one.
///
/// A frame that is not wholly there yet is `Ok(None)`. A frame of a type that is not known comes
/// out like any other; its [`FrameBuf::message`] is [`Message::Unknown`]. A header with an
/// impossible length is an error that stays: the stream cannot be read any further.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    max_frame: usize,
}

impl Codec {
    /// Takes frames of every length that a header can name.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            max_frame: MAX_FRAME,
        }
    }

    /// Takes frames of up to `max_frame` bytes, header included.
    #[must_use]
    pub const fn with_max_frame(max_frame: usize) -> Self {
        Self { max_frame }
    }

    fn header(src: &BytesMut) -> Option<Header> {
        src.first_chunk().map(|head| Header::from_bytes(*head))
    }
}

impl Default for Codec {
    fn default() -> Self {
        Self::new()
    }
}

/// One frame of a stream, in memory that it shares with its neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrameBuf {
    kind: Kind,
    sock_id: SockId,
    body: Bytes,
}

impl FrameBuf {
    /// The frame, in place.
    #[must_use]
    pub fn frame(&self) -> Frame<'_> {
        Frame {
            kind: self.kind,
            sock_id: self.sock_id,
            body: &self.body,
        }
    }

    /// What it says.
    ///
    /// # Errors
    /// As for [`Frame::message`].
    pub fn message(&self) -> Result<Message<'_>, DecodeError> {
        self.frame().message()
    }
}

/// Why a stream of frames broke off.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The other end sent what is no frame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A message could not be written. The stream is as it was.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The stream failed.
    #[error("the connection failed: {0}")]
    Io(#[from] io::Error),
}

impl Decoder for Codec {
    type Item = FrameBuf;
    type Error = CodecError;

    fn decode(&mut self, src: &mut BytesMut) -> Result<Option<FrameBuf>, CodecError> {
        let Some(header) = Self::header(src) else {
            return Ok(None);
        };
        let len = header.checked_len(self.max_frame)?;
        if src.len() < len {
            src.reserve(len - src.len());
            return Ok(None);
        }
        let mut frame = src.split_to(len);
        frame.advance(HEADER_LEN);
        Ok(Some(FrameBuf {
            kind: header.kind,
            sock_id: header.sock_id,
            body: frame.freeze(),
        }))
    }

    fn decode_eof(&mut self, src: &mut BytesMut) -> Result<Option<FrameBuf>, CodecError> {
        if let Some(frame) = self.decode(src)? {
            return Ok(Some(frame));
        }
        match (Self::header(src), src.len()) {
            (_, 0) => Ok(None),
            (Some(header), got) => Err(DecodeError::Truncated {
                kind: header.kind,
                expected: usize::from(header.len),
                got,
            }
            .into()),
            (None, got) => Err(DecodeError::NoHeader {
                expected: HEADER_LEN,
                got,
            }
            .into()),
        }
    }
}

impl<M: Encode> Encoder<M> for Codec {
    type Error = CodecError;

    fn encode(&mut self, message: M, dst: &mut BytesMut) -> Result<(), CodecError> {
        Ok(message.encode(dst)?)
    }
}

#[cfg(test)]
mod tests;
