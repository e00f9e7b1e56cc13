//! What is known of a flow when it is announced.

use std::fmt;
use std::net::SocketAddr;

use crate::{Attributes, Bytes, Micros, Rate};

/// Names a flow within its datapath, as the datapath chose. Reused after the flow has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SockId(pub u32);

impl fmt::Display for SockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a flow is announced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Origin {
    /// It has just been opened.
    #[default]
    New,
    /// It was alive before this control plane was: its window is not the initial one.
    Adopted,
    /// This control plane had it, the datapath had to take over, and now gives it back.
    Resumed,
}

/// Window, rate and round-trip time of a flow at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowState {
    /// The congestion window.
    pub cwnd: Bytes,
    /// The pacing rate; 0 if none is set.
    pub rate: Rate,
    /// Smoothed round-trip time; 0 if none has been measured.
    pub srtt: Micros,
    /// Minimum round-trip time; 0 if none has been measured.
    pub min_rtt: Micros,
}

/// One way of a connection that has several (multipath): each way is a flow of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathId {
    /// The connection, as the datapath chose to call it: all its flows have the same number, and no
    /// other flow of the datapath has it.
    pub connection: u32,
    /// Which of its ways, as the transport counts.
    pub path: u32,
}

/// One flow as its datapath announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowInfo {
    /// Its name within its datapath.
    pub sock_id: SockId,
    /// The local end.
    pub src: SocketAddr,
    /// The remote end.
    pub dst: SocketAddr,
    /// Largest segment the flow sends. It may change; reports say so.
    pub mss: u32,
    /// The window the flow began with.
    pub init_cwnd: Bytes,
    /// The algorithm that the flow itself asked for, if it did.
    pub requested: Option<String>,
    /// Why it is announced.
    pub origin: Origin,
    /// Its window, rate and round-trip times now.
    pub state: FlowState,
    /// The connection of several ways that it is one of, if it is.
    pub path: Option<PathId>,
    /// What else its datapath tells of it.
    pub attributes: Attributes,
}

impl FlowInfo {
    /// A new flow of `mss`-byte segments that starts at `init_cwnd`, with nothing else known.
    #[must_use]
    pub fn new(
        sock_id: SockId,
        src: SocketAddr,
        dst: SocketAddr,
        mss: u32,
        init_cwnd: Bytes,
    ) -> Self {
        Self {
            sock_id,
            src,
            dst,
            mss,
            init_cwnd,
            requested: None,
            origin: Origin::New,
            state: FlowState {
                cwnd: init_cwnd,
                ..FlowState::default()
            },
            path: None,
            attributes: Attributes::default(),
        }
    }
}
