//! What came of a simulation.

use serde::Serialize;

use crate::time::Nanos;

mod histogram;
mod summary;
mod text;

pub(crate) use histogram::Histogram;
pub use summary::{ControlSummary, FlowSummary, LinkSummary, Percentiles, Summary};

/// What came of a simulation: everything over time, and in sum.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Each flow over time, in the order of the scenario.
    pub flows: Vec<FlowRecord>,
    /// Each link over time, in the order of the scenario.
    pub links: Vec<LinkRecord>,
    /// In sum.
    pub summary: Summary,
}

/// A flow over time.
#[derive(Clone, Debug)]
pub struct FlowRecord {
    /// Its name.
    pub name: String,
    /// From its start to its end.
    pub samples: Vec<FlowSample>,
}

/// A flow at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct FlowSample {
    /// When.
    #[serde(skip)]
    pub at: Nanos,
    /// The congestion window, in bytes; in recovery, where it leads to.
    pub cwnd: u64,
    /// The rate that is set, in bytes per second; 0 if none is.
    pub rate: u64,
    /// The latest round-trip time, in microseconds; 0 before the first.
    pub rtt_us: u64,
    /// Smoothed round-trip time, in microseconds; 0 before the first.
    pub srtt_us: u64,
    /// Bytes on their way.
    pub in_flight: u64,
    /// Bytes that the receiving application got so far.
    pub received: u64,
    /// Packets taken for lost so far.
    pub lost: u64,
    /// Bytes that arrived with a mark so far.
    pub marked: u64,
    /// Linux' number of the state of loss recovery.
    pub recovery: u8,
    /// Whether a program steers it.
    pub steered: bool,
}

/// A link over time.
#[derive(Clone, Debug)]
pub struct LinkRecord {
    /// Its name.
    pub name: String,
    /// From the start of the simulation to its end.
    pub samples: Vec<LinkSample>,
}

/// A link at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSample {
    /// When.
    pub at: Nanos,
    /// Bytes that wait.
    pub queued: u64,
    /// Bytes sent so far.
    pub sent: u64,
    /// Packets dropped by the queue so far.
    pub dropped: u64,
    /// Packets marked so far.
    pub marked: u64,
    /// Packets lost on the line so far.
    pub lost: u64,
}
