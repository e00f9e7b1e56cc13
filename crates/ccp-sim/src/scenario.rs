//! What is simulated: links, flows, applications, and the distance to the control plane.

use std::fmt;
use std::sync::Arc;

use ccp_core::Params;

use crate::random::Chance;
use crate::time::Nanos;

mod read;
mod trace;

pub use trace::{Trace, TraceError};

/// Everything that a simulation depends on, but for its seed's luck.
///
/// Read from TOML with [`Scenario::parse`]; `docs/simulator.md` describes every key.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// For people: above plots.
    pub title: String,
    /// How long it lasts.
    pub duration: Nanos,
    /// How often the state of flows and links is written down.
    pub sample: Nanos,
    /// Where chance begins.
    pub seed: u64,
    /// The links, at most 1,000.
    pub links: Vec<LinkSpec>,
    /// The flows, at most 10,000.
    pub flows: Vec<FlowSpec>,
    /// The algorithms that flows name, each once.
    pub algorithms: Vec<Params>,
    /// The control plane.
    pub control: ControlSpec,
}

/// A link.
#[derive(Clone, Debug)]
pub struct LinkSpec {
    /// Its name.
    pub name: String,
    /// How fast it is.
    pub rate: RateSpec,
    /// How long a packet is on the line.
    pub delay: Nanos,
    /// How much longer at most, at random.
    pub jitter: Nanos,
    /// Whether a packet may overtake another one on the line by that.
    pub reorders: bool,
    /// What waits for it.
    pub queue: QueueSpec,
    /// What does not arrive.
    pub loss: LossSpec,
}

/// How fast a link is.
#[derive(Clone, Debug)]
pub enum RateSpec {
    /// Bytes per second.
    Steady(u64),
    /// Moments at which a packet can go.
    Trace(Arc<Trace>),
}

/// The queue in front of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    /// For how many bytes there is room.
    pub limit: u64,
    /// What it does to signal congestion.
    pub kind: QueueKind,
}

/// What a queue does to signal congestion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// It drops what it has no room for, and marks what comes when more than so many bytes wait.
    DropTail {
        /// The threshold of marks.
        mark_above: Option<u64>,
    },
    /// Controlled delay, with marks for those that know them. Source: RFC 8289.
    CoDel {
        /// How long packets may wait.
        target: Nanos,
        /// For how long they may wait longer.
        interval: Nanos,
    },
}

/// What is lost on a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LossSpec {
    /// Each packet by itself.
    pub random: Chance,
    /// Packets in a row.
    pub burst: Option<BurstSpec>,
    /// The first packet of data from each of these moments on.
    pub at: Vec<Nanos>,
    /// Of the packets of data every so-manieth: the model of loss that response functions are
    /// reckoned with.
    pub every: Option<u64>,
}

/// Loss in bursts: a good and a bad state, as Gilbert and Elliott have it. Per packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstSpec {
    /// From good to bad.
    pub begin: Chance,
    /// From bad to good.
    pub recover: Chance,
    /// Loss in the bad state.
    pub bad: Chance,
    /// Loss in the good state.
    pub good: Chance,
}

/// A flow.
#[derive(Clone, Debug)]
pub struct FlowSpec {
    /// Its name.
    pub name: String,
    /// The algorithm that steers it, by its name; `None`: the datapath's own, without control plane.
    pub algorithm: Option<String>,
    /// The links that its data takes, by their places.
    pub path: Vec<u16>,
    /// The links that its acknowledgements take. Without any they take as long as the links of
    /// `path`, and nothing stops them.
    pub back: Vec<u16>,
    /// What is before and behind the links, each way.
    pub delay: Nanos,
    /// When it begins.
    pub start: Nanos,
    /// When it ends.
    pub stop: Option<Nanos>,
    /// What it sends.
    pub app: AppSpec,
    /// How it sends.
    pub tcp: TcpSpec,
}

/// What a flow sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppSpec {
    /// Everything, without end or so many bytes.
    Bulk {
        /// How many.
        bytes: Option<u64>,
    },
    /// Without end for some time, then nothing for some time. Both vary by half with `random`.
    OnOff {
        /// How long it sends.
        on: Nanos,
        /// How long it does not.
        off: Nanos,
        /// Whether both are drawn between half and one and a half times.
        random: bool,
    },
    /// So many bytes; when they have arrived, after some time, again.
    Responses {
        /// How many bytes each has.
        bytes: u64,
        /// How long until the next.
        think: Nanos,
    },
    /// So many bytes per second.
    Limited {
        /// How many.
        rate: u64,
    },
}

/// How a flow sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSpec {
    /// Largest segment, bytes of content.
    pub mss: u32,
    /// Bytes that each packet has beside.
    pub header: u32,
    /// The window it begins with, in segments.
    pub initial_window: u32,
    /// What variation adds to a retransmission timeout at least.
    pub min_rto: Nanos,
    /// Whether segments are spread over a round trip when no rate is set.
    pub paces: bool,
    /// Whether packets may be marked.
    pub ecn: bool,
    /// How many segments are acknowledged together,
    pub ack_every: u32,
    /// and how long the first of them waits at most.
    pub ack_delay: Nanos,
}

impl Default for TcpSpec {
    /// As Linux does it on Ethernet, with the queueing discipline `fq`.
    fn default() -> Self {
        Self {
            mss: 1_448,
            header: 52,
            initial_window: 10,
            min_rto: Nanos::from_millis(200),
            paces: true,
            ecn: false,
            ack_every: 2,
            ack_delay: Nanos::from_millis(40),
        }
    }
}

/// Where the control plane is, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlSpec {
    /// How long a message is under way, each way.
    pub delay: Nanos,
    /// How many messages do not arrive.
    pub loss: Chance,
    /// Without a sign of life for that long, flows go on by themselves.
    pub fallback_after: Nanos,
    /// When it is killed, and when it is back, in order.
    pub away: Vec<(Nanos, Nanos)>,
}

impl Default for ControlSpec {
    /// On the same machine: 50 µs away.
    fn default() -> Self {
        Self {
            delay: Nanos::from_micros(50),
            loss: Chance::NEVER,
            fallback_after: Nanos::from_secs(1),
            away: Vec::new(),
        }
    }
}

impl fmt::Display for AppSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bulk { .. } => "bulk",
            Self::OnOff { .. } => "on-off",
            Self::Responses { .. } => "responses",
            Self::Limited { .. } => "limited",
        })
    }
}
