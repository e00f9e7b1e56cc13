//! What is said: requests, responses and what they are made of.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

mod algorithm;
mod event;
mod flow;
pub(crate) mod pairs;

pub use algorithm::{
    AlgorithmStatus, Explanation, Fit, KeyVerdict, ProgramDetail, ProgramStatus, Reloaded,
    RuleVerdict,
};
pub use event::{Announced, Event, What, Why};
pub use flow::{FlowDetail, FlowMode, FlowOrder, FlowOrigin, FlowStatus, LastReport};

use crate::Attributes;
use crate::stats::Metric;

/// The version of the protocol in this crate. It changes whenever a message changes.
pub const PROTOCOL_VERSION: u16 = 3;

/// The first bytes of both hellos, so that a stranger's connection is noticed at once.
pub const MAGIC: [u8; 4] = *b"ccpd";

/// At most so many flows are in one [`Response::Flows`].
pub const FLOWS_PER_RESPONSE: usize = 256;

/// At most so many flows can be named in one [`Request::Watch`].
pub const MOST_WATCHED: usize = 1024;

/// At most so many words can be in one [`Selection`].
pub const MOST_WORDS: usize = 32;

/// At most so many metrics are in one [`Response::Metrics`].
pub const METRICS_PER_RESPONSE: usize = 32;

/// The first frame of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientHello {
    /// Always [`MAGIC`].
    pub magic: [u8; 4],
    /// The version that the client speaks.
    pub version: u16,
}

impl ClientHello {
    /// The hello of this version.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
        }
    }
}

impl Default for ClientHello {
    fn default() -> Self {
        Self::new()
    }
}

/// The first frame of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerHello {
    /// Always [`MAGIC`].
    pub magic: [u8; 4],
    /// The version that the daemon speaks. If it is not the client's, the connection ends here.
    pub version: u16,
    /// The release of the daemon, for people.
    pub release: String,
}

impl ServerHello {
    /// The hello of a daemon of this version.
    #[must_use]
    pub fn new(release: &str) -> Self {
        Self {
            magic: MAGIC,
            version: PROTOCOL_VERSION,
            release: release.to_owned(),
        }
    }
}

/// What a client may ask.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Request {
    /// Which flows there are. Answered by [`Response::Flows`], as often as it takes.
    Flows(Selection),
    /// Which algorithms there are. Answered by [`Response::Algorithms`].
    Algorithms,
    /// What the rules give a flow, and why. Answered by [`Response::Explained`].
    Explain {
        /// The name of its datapath.
        datapath: String,
        /// The local end.
        src: SocketAddr,
        /// The remote end.
        dst: SocketAddr,
        /// The algorithm that it asks for.
        requested: Option<String>,
        /// What else its datapath tells of it.
        attributes: Attributes,
    },
    /// Read the configuration file again and do what it says. Answered by [`Response::Reloaded`].
    Reload,
    /// Give a flow to an algorithm, until the rules change. Answered by [`Response::Done`].
    Set {
        /// Which flow: [`FlowStatus::flow`].
        flow: u64,
        /// The algorithm's name; `native` leaves the flow to its datapath, `native:NAME` hands it to that
        /// algorithm of the kernel, and it is no longer under control.
        algorithm: String,
        /// Other values for its parameters: key and value as in TOML; a value that is none is taken
        /// for a text.
        parameters: Vec<(String, String)>,
    },
    /// Everything that is known of one flow. Answered by [`Response::Flow`].
    Show {
        /// Which flow: [`FlowStatus::flow`].
        flow: u64,
    },
    /// What happens to flows from now on. Answered by [`Response::Events`] again and again, until the
    /// client sends its next request or hangs up.
    Watch(Watch),
    /// Which programs the datapaths run. Answered by [`Response::Programs`].
    Programs,
    /// One program with its text. Answered by [`Response::Program`].
    Program {
        /// Its name, or its number.
        program: String,
        /// The datapath that runs it: needed where several run another one under the same name or
        /// number.
        datapath: Option<String>,
    },
    /// What is logged. Answered by [`Response::LogFilter`].
    LogFilter {
        /// What is to be logged from now on, as in `RUST_LOG`; `None` leaves it as it is.
        filter: Option<String>,
    },
    /// What the daemon has counted. Answered by [`Response::Metrics`], as often as it takes.
    Metrics,
}

impl Request {
    /// Whether it changes something: then it is only for root and for the user that the daemon runs
    /// as.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(
            self,
            Self::Reload | Self::Set { .. } | Self::LogFilter { filter: Some(_) }
        )
    }
}

/// Which flows are asked for. The default is all of them, in no particular order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Words that all have to occur in what is known of a flow: its datapath, algorithm, state or
    /// addresses. Upper and lower case are the same. At most [`MOST_WORDS`].
    pub words: Vec<String>,
    /// What comes first.
    pub order: Option<FlowOrder>,
    /// At most so many flows; `None` for all.
    pub limit: Option<u32>,
}

/// What is to be told while it happens.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Of these flows ([`FlowStatus::flow`]), at most [`MOST_WATCHED`]; empty: of all, also those to
    /// come.
    pub flows: Vec<u64>,
    /// Also every report.
    pub reports: bool,
    /// Also what else flows' algorithms get ([`What::Announced`], [`What::Woken`], [`What::MssChanged`]) and
    /// what follows from it ([`What::Updated`]). With the reports it is all that it takes to run an
    /// algorithm again.
    pub steps: bool,
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Response {
    /// Flows, in no particular order.
    Flows {
        /// At most [`FLOWS_PER_RESPONSE`] of them.
        flows: Vec<FlowStatus>,
        /// How many flows the selection fits, whatever its limit.
        matching: u64,
        /// Whether this was the last response to the request.
        last: bool,
    },
    /// The algorithms, in the order of the configuration.
    Algorithms(Vec<AlgorithmStatus>),
    /// What the rules give a flow, and why.
    Explained(Explanation),
    /// The configuration was read again.
    Reloaded(Reloaded),
    /// It is done.
    Done,
    /// The request is not done.
    Refused(Refusal),
    /// One flow.
    Flow(Box<FlowDetail>),
    /// What has happened.
    Events {
        /// So many events before these were lost, because the client did not take them in time.
        lost: u64,
        /// In the order in which they happened to each flow.
        events: Vec<Event>,
        /// Whether this was the last response to the request.
        last: bool,
    },
    /// The programs, by datapath and number.
    Programs(Vec<ProgramStatus>),
    /// One program.
    Program(Box<ProgramDetail>),
    /// What is logged now, as in `RUST_LOG`.
    LogFilter(String),
    /// What the daemon has counted, each metric once and always in the same order.
    Metrics {
        /// At most [`METRICS_PER_RESPONSE`] of them.
        metrics: Vec<Metric>,
        /// Whether this was the last response to the request.
        last: bool,
    },
}

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The daemon serves as many clients as it may.
    #[error("ccpd serves {limit} clients already; try again when one has gone")]
    TooManyClients {
        /// How many it serves at once.
        limit: u32,
    },
    /// The daemon is stopping.
    #[error("ccpd is stopping")]
    Stopping,
    /// The client may ask, but not change anything.
    #[error("only root and the user that ccpd runs as may change what it does")]
    NotAllowed,
    /// It can't be done; nothing has changed.
    #[error("{0}")]
    Failed(
        /// Why: one or more lines.
        String,
    ),
}
