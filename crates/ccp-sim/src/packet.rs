//! What travels.

use crate::time::Nanos;

/// The congestion field of a packet. Source: RFC 3168, section 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ecn {
    /// Its transport does not know marks: it is dropped instead.
    NotEct,
    /// It may be marked.
    Ect,
    /// It is marked.
    Ce,
}

/// A packet of data or an acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) flow: u32,
    /// Bytes on a line, headers included.
    pub(crate) size: u32,
    /// Which link of its path it is on or goes to next.
    pub(crate) hop: u8,
    pub(crate) ecn: Ecn,
    pub(crate) body: Body,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Body {
    Data(Data),
    Ack(Ack),
}

/// One segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Data {
    /// Its number.
    pub(crate) seq: u64,
    /// Bytes of content.
    pub(crate) len: u32,
    /// The sender has heard of the congestion that the receiver echoes.
    pub(crate) cwr: bool,
    pub(crate) sent: Nanos,
}

/// An acknowledgement.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Ack {
    /// The first segment that has not arrived.
    pub(crate) next: u64,
    /// Segments beyond that have: first and number, counted from `next`. Empty ones mean nothing.
    pub(crate) sacks: [(u32, u32); 3],
    /// The receiver has seen a mark.
    pub(crate) ece: bool,
    /// How long the data that this answers was under way.
    pub(crate) one_way: Nanos,
}
