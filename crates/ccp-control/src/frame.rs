//! Frames on a stream: a bounded length, then one value.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec, LengthDelimitedCodecError};

/// A frame holds at most so many bytes, without its length.
pub const MAX_FRAME: usize = 256 * 1024;

/// A frame could not be read or written.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The socket failed.
    #[error("the connection failed")]
    Io(#[source] std::io::Error),
    /// The other end closed the connection.
    #[error("the other end closed the connection")]
    Closed,
    /// The other end announced a longer frame than is allowed, or this end wanted to send one.
    #[error("a frame is longer than the {MAX_FRAME} bytes that are allowed")]
    TooLong,
    /// The frame does not hold what it should.
    #[error("a frame of {len} bytes is no {expected}")]
    Malformed {
        /// Its length.
        len: usize,
        /// What it should hold.
        expected: &'static str,
        /// What postcard says.
        #[source]
        source: postcard::Error,
    },
}

/// The reading end of a connection.
#[derive(Debug)]
pub struct Receiver<S>(FramedRead<ReadHalf<S>, LengthDelimitedCodec>);

/// The writing end of a connection.
#[derive(Debug)]
pub struct Sender<S>(FramedWrite<WriteHalf<S>, LengthDelimitedCodec>);

/// Both ends of the connection `stream`.
pub fn split<S: AsyncRead + AsyncWrite>(stream: S) -> (Receiver<S>, Sender<S>) {
    let (read, write) = tokio::io::split(stream);
    (
        Receiver(FramedRead::new(read, codec())),
        Sender(FramedWrite::new(write, codec())),
    )
}

fn codec() -> LengthDelimitedCodec {
    LengthDelimitedCodec::builder()
        .little_endian()
        .length_field_length(4)
        .max_frame_length(MAX_FRAME)
        .new_codec()
}

impl<S: AsyncRead> Receiver<S> {
    /// The next value. Safe to cancel: nothing is lost.
    ///
    /// # Errors
    /// If the connection fails or ends, or the frame is too long or does not hold a `T`.
    pub async fn receive<T: DeserializeOwned>(&mut self) -> Result<T, FrameError> {
        let next = self.0.next().await;
        let frame = next.ok_or(FrameError::Closed)?.map_err(classify)?;
        postcard::from_bytes(&frame).map_err(|source| FrameError::Malformed {
            len: frame.len(),
            expected: short_name::<T>(),
            source,
        })
    }
}

impl<S: AsyncWrite> Sender<S> {
    /// Sends `value` and waits until the socket has taken it.
    ///
    /// # Errors
    /// If the connection fails, or the value is too long for a frame.
    pub async fn send<T: Serialize>(&mut self, value: &T) -> Result<(), FrameError> {
        let bytes = postcard::to_stdvec(value).map_err(|source| FrameError::Malformed {
            len: 0,
            expected: short_name::<T>(),
            source,
        })?;
        self.0.send(Bytes::from(bytes)).await.map_err(classify)
    }
}

fn short_name<T>() -> &'static str {
    let name = std::any::type_name::<T>();
    name.rsplit("::").next().unwrap_or(name)
}

fn classify(error: std::io::Error) -> FrameError {
    let too_long = error
        .get_ref()
        .is_some_and(|inner| inner.is::<LengthDelimitedCodecError>());
    match error.kind() {
        _ if too_long => FrameError::TooLong,
        std::io::ErrorKind::UnexpectedEof
        | std::io::ErrorKind::BrokenPipe
        | std::io::ErrorKind::ConnectionReset => FrameError::Closed,
        _ => FrameError::Io(error),
    }
}
