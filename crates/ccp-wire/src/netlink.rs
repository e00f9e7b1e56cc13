//! Frames in netlink messages, as the CCP kernel module and portus exchange them on `NETLINK_USERSOCK`.
//!
//! The module sends one message of the type `NLMSG_DONE` per datagram to everybody in
//! [`NETLINK_GROUP`]; an agent answers to port 0 with a header in which only the length is set. Numbers
//! in the header have the byte order of the machine. RFC 3549, section 2.3.2.

use bytes::{BufMut, BytesMut};
use thiserror::Error;

/// The multicast group in which datapaths speak.
pub const NETLINK_GROUP: u32 = 22;

/// The length of a netlink header, in bytes.
pub const NETLINK_HEADER_LEN: usize = 16;

/// The next message begins at a multiple of so many bytes.
const ALIGN: usize = 4;

/// `NLMSG_NOOP`: nothing is said.
const NOOP: u16 = 1;
/// `NLMSG_ERROR`: an answer of the kernel to something that was sent.
const ERROR: u16 = 2;
/// `NLMSG_OVERRUN`: messages were lost.
const OVERRUN: u16 = 4;

/// Something in a netlink datagram is no message that holds frames. What came before it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// Less than a header is left.
    #[error("{got} bytes are no netlink header of {NETLINK_HEADER_LEN}")]
    NoHeader {
        /// How many bytes are left.
        got: usize,
    },
    /// The length in the header is less than a header's.
    #[error("a netlink message can't be {got} bytes long, with a header of {NETLINK_HEADER_LEN}")]
    LengthTooSmall {
        /// The length.
        got: usize,
    },
    /// The datagram ends inside the message.
    #[error("a netlink message of {expected} bytes has {got}")]
    Truncated {
        /// The length in the header.
        expected: usize,
        /// How many bytes are left.
        got: usize,
    },
    /// An error or a loss is told instead.
    #[error("a netlink message of type {kind} holds no frames")]
    Control {
        /// The type: 2 is `NLMSG_ERROR`, 4 `NLMSG_OVERRUN`.
        kind: u16,
    },
}

/// What the netlink messages of one datagram hold, in order: each one or more frames. Messages that say
/// nothing are passed over; after an error in a length nothing more comes.
#[must_use]
pub const fn netlink_payloads(datagram: &[u8]) -> NetlinkPayloads<'_> {
    NetlinkPayloads { rest: datagram }
}

/// See [`netlink_payloads`].
#[derive(Clone, Debug)]
pub struct NetlinkPayloads<'a> {
    rest: &'a [u8],
}

impl<'a> NetlinkPayloads<'a> {
    /// Cuts off the next message: its type and what it holds.
    fn split(&mut self) -> Result<(u16, &'a [u8]), NetlinkError> {
        let got = self.rest.len();
        let rest = std::mem::take(&mut self.rest);
        let Some(([l0, l1, l2, l3, t0, t1, ..], _)) =
            rest.split_first_chunk::<NETLINK_HEADER_LEN>()
        else {
            return Err(NetlinkError::NoHeader { got });
        };
        let len = u32::from_ne_bytes([*l0, *l1, *l2, *l3]);
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len < NETLINK_HEADER_LEN {
            return Err(NetlinkError::LengthTooSmall { got: len });
        }
        let Some(payload) = rest.get(NETLINK_HEADER_LEN..len) else {
            return Err(NetlinkError::Truncated { expected: len, got });
        };
        // The last one need not be filled up.
        self.rest = rest.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        Ok((u16::from_ne_bytes([*t0, *t1]), payload))
    }
}

impl<'a> Iterator for NetlinkPayloads<'a> {
    type Item = Result<&'a [u8], NetlinkError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            return Some(match self.split() {
                Ok((NOOP, _)) => continue,
                Ok((kind @ (ERROR | OVERRUN), _)) => Err(NetlinkError::Control { kind }),
                Ok((_, payload)) => Ok(payload),
                Err(error) => Err(error),
            });
        }
        None
    }
}

impl std::iter::FusedIterator for NetlinkPayloads<'_> {}

/// Appends `frame` to `out` as an agent's netlink message.
pub fn netlink_message(frame: &[u8], out: &mut BytesMut) {
    // A frame's own length has 16 bits.
    let len = u32::try_from(NETLINK_HEADER_LEN + frame.len()).unwrap_or(u32::MAX);
    out.put_slice(&len.to_ne_bytes());
    out.put_bytes(0, NETLINK_HEADER_LEN - 4);
    out.put_slice(frame);
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{NETLINK_HEADER_LEN, NetlinkError, netlink_message, netlink_payloads};

    fn header(len: u32, kind: u16) -> Vec<u8> {
        let mut header = len.to_ne_bytes().to_vec();
        header.extend(kind.to_ne_bytes());
        header.extend([0; 10]);
        header
    }

    fn read(datagram: &[u8]) -> Vec<Result<&[u8], NetlinkError>> {
        netlink_payloads(datagram).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = BytesMut::new();
        netlink_message(b"frames", &mut out);
        assert_eq!(out.len(), NETLINK_HEADER_LEN + 6);
        assert_eq!(read(&out), [Ok(&b"frames"[..])]);
        // As portus writes it: the length, and zeros.
        assert_eq!(out[..16], header(22, 0));
    }

    #[test]
    fn messages_follow_each_other_at_multiples_of_four() {
        let mut datagram = header(17, 3);
        datagram.extend([1, 0, 0, 0]);
        datagram.extend(header(16, 1)); // says nothing
        datagram.extend(header(18, 100));
        datagram.extend([2, 2]);
        assert_eq!(read(&datagram), [Ok(&[1][..]), Ok(&[2, 2][..])]);
        datagram.extend([0, 0]);
        assert_eq!(read(&datagram).len(), 2);
    }

    #[test]
    fn what_is_no_message_ends_the_datagram() {
        assert_eq!(read(&[]), []);
        assert_eq!(read(&[0; 15]), [Err(NetlinkError::NoHeader { got: 15 })]);
        for len in [0, 15] {
            let got = len as usize;
            let mut datagram = header(len, 3);
            datagram.extend(header(16, 3));
            assert_eq!(read(&datagram), [Err(NetlinkError::LengthTooSmall { got })]);
        }
        assert_eq!(
            read(&header(u32::MAX, 3)),
            [Err(NetlinkError::Truncated {
                expected: u32::MAX as usize,
                got: 16
            })]
        );
        // Errors that are told are about one message only.
        let mut datagram = header(16, 2);
        datagram.extend(header(16, 4));
        datagram.extend(header(16, 3));
        assert_eq!(
            read(&datagram),
            [
                Err(NetlinkError::Control { kind: 2 }),
                Err(NetlinkError::Control { kind: 4 }),
                Ok(&[][..])
            ]
        );
    }
}
