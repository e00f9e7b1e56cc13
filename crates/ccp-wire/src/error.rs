//! What can be wrong with bytes from a peer, and with a message that is to be sent.

use thiserror::Error;

use crate::Kind;

/// Bytes from a peer that are not a message. The peer's fault; the message is dropped and counted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Less than a header is left of a datagram.
    #[error("a frame header has {expected} bytes, only {got} are left")]
    NoHeader {
        /// The length of a header.
        expected: usize,
        /// What is left.
        got: usize,
    },
    /// The header's length does not even cover the header.
    #[error("{kind} frame claims {got} bytes, a header alone has {expected}")]
    LengthTooSmall {
        /// The type in the header.
        kind: Kind,
        /// The least possible length.
        expected: usize,
        /// The length in the header.
        got: usize,
    },
    /// The header's length is beyond what this side takes.
    #[error("{kind} frame claims {got} bytes, at most {limit} are taken")]
    LengthTooLarge {
        /// The type in the header.
        kind: Kind,
        /// The largest length taken.
        limit: usize,
        /// The length in the header.
        got: usize,
    },
    /// The datagram (or the closed stream) ends inside the frame.
    #[error("{kind} frame claims {expected} bytes, only {got} are there")]
    Truncated {
        /// The type in the header.
        kind: Kind,
        /// The length in the header.
        expected: usize,
        /// What is there, header included.
        got: usize,
    },
    /// The frame ends inside one of its fields.
    #[error("{kind}: `{field}` needs {expected} bytes, the frame has {got} left")]
    BodyTooShort {
        /// The message.
        kind: Kind,
        /// The field that is cut.
        field: &'static str,
        /// The bytes that it needs.
        expected: usize,
        /// The bytes that the frame has left for it.
        got: usize,
    },
    /// A count above its limit.
    #[error("{kind}: {got} {what}, at most {limit} are taken")]
    TooMany {
        /// The message.
        kind: Kind,
        /// What there is too much of.
        what: &'static str,
        /// The largest count taken.
        limit: usize,
        /// The count found.
        got: usize,
    },
    /// A number that means nothing in its place.
    #[error("{kind}: `{field}` is {got}, expected {expected}")]
    BadValue {
        /// The message.
        kind: Kind,
        /// The field.
        field: &'static str,
        /// What may stand there.
        expected: &'static str,
        /// What stands there.
        got: u64,
    },
    /// A text that is none, or not of the form demanded.
    #[error("{kind}: `{field}` {problem}")]
    BadText {
        /// The message.
        kind: Kind,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// A message that cannot be sent. Our own fault, or that of the limits of the peer's format.
/// Nothing has been written.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EncodeError {
    /// The frame would be longer than its receiver takes.
    #[error("{kind} frame would have {got} bytes, its receiver takes {limit}")]
    TooLong {
        /// The message.
        kind: Kind,
        /// The largest length.
        limit: usize,
        /// The length it would have.
        got: usize,
    },
    /// More of something than its receiver takes.
    #[error("{kind}: {got} {what}, its receiver takes {limit}")]
    TooMany {
        /// The message.
        kind: Kind,
        /// What there is too much of.
        what: &'static str,
        /// The largest count.
        limit: usize,
        /// The count asked for.
        got: usize,
    },
    /// A value that has no place in the format.
    #[error("{kind}: `{field}` is {got}, expected {expected}")]
    BadValue {
        /// The message.
        kind: Kind,
        /// The field.
        field: &'static str,
        /// What may stand there.
        expected: &'static str,
        /// What should be sent.
        got: u64,
    },
    /// A text that has no place in the format.
    #[error("{kind}: `{field}` {problem}")]
    BadText {
        /// The message.
        kind: Kind,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}
