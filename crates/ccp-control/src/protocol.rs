//! What is said: requests, responses and what they are made of.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The version of the protocol in this crate. It changes whenever a message changes.
pub const PROTOCOL_VERSION: u16 = 2;

/// The first bytes of both hellos, so that a stranger's connection is noticed at once.
pub const MAGIC: [u8; 4] = *b"ccpd";

/// At most so many flows are in one [`Response::Flows`].
pub const FLOWS_PER_RESPONSE: usize = 256;

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
    Flows,
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
    },
    /// Read the configuration file again and do what it says. Answered by [`Response::Reloaded`].
    Reload,
    /// Give a flow to an algorithm, until the rules change. Answered by [`Response::Done`].
    Set {
        /// Which flow: [`FlowStatus::flow`].
        flow: u64,
        /// The algorithm's name; `native` leaves the flow to its datapath.
        algorithm: String,
        /// Other values for its parameters: key and value as in TOML; a value that is none is taken
        /// for a text.
        parameters: Vec<(String, String)>,
    },
}

impl Request {
    /// Whether it changes something: then it is only for root and for the user that the daemon runs
    /// as.
    #[must_use]
    pub const fn is_change(&self) -> bool {
        matches!(self, Self::Reload | Self::Set { .. })
    }
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Response {
    /// Flows, in no particular order.
    Flows {
        /// At most [`FLOWS_PER_RESPONSE`] of them.
        flows: Vec<FlowStatus>,
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
}

/// One algorithm that flows may get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlgorithmStatus {
    /// Its name: that of its table in the configuration.
    pub name: String,
    /// Its kind: the code.
    pub kind: String,
    /// The names of its programs.
    pub programs: Vec<String>,
    /// Whether flows get it that no rule matches.
    pub default: bool,
    /// The rules that name it, from 1, in the order of the configuration.
    pub rules: Vec<u32>,
}

/// What the rules give a flow, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The rules before the one that fits, in order: the algorithm that they name, and the first key
    /// that the flow does not fit.
    pub passed: Vec<(String, String)>,
    /// The rule that fits, from 1; `None`: none does, it gets the default.
    pub rule: Option<u32>,
    /// The algorithm's name.
    pub algorithm: String,
}

/// What reading the configuration again changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The algorithms that are new or have other parameters.
    pub changed: Vec<String>,
    /// How many algorithms there are now.
    pub algorithms: u32,
    /// How many rules there are now.
    pub rules: u32,
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

/// Who decides on a flow's window at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowMode {
    /// The datapath's own algorithm, because no program has been installed yet.
    Native,
    /// The algorithm's program.
    Running,
    /// The datapath's own algorithm, because something failed.
    Fallback,
}

impl fmt::Display for FlowMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Native => "native",
            Self::Running => "running",
            Self::Fallback => "fallback",
        })
    }
}

/// One flow as the daemon sees it. As JSON, addresses are texts: `192.0.2.1:443`, `[2001:db8::1]:443`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStatus {
    /// Its name within this run of the daemon, which no other flow has or had.
    pub flow: u64,
    /// The name of its datapath: for kernel TCP the name that sockets ask for, for a Unix datapath
    /// the path of the daemon's socket.
    pub datapath: String,
    /// Its name within its datapath.
    pub sock_id: u32,
    /// The name of the table in the configuration whose algorithm it has.
    pub algorithm: String,
    /// The program of the algorithm that it runs, if one was installed.
    pub program: Option<String>,
    /// The local end.
    pub src: SocketAddr,
    /// The remote end.
    pub dst: SocketAddr,
    /// The congestion window in bytes, as far as the daemon knows it.
    pub cwnd_bytes: u64,
    /// The pacing rate in bytes per second: what the flow is paced at, whoever set it, where the
    /// datapath tells (kernel TCP); else what the algorithm set last, 0 if nothing.
    pub rate_bytes_per_s: u64,
    /// The smoothed round-trip time in microseconds; 0 if none is known.
    pub rtt_us: u64,
    /// The largest segment it sends, in bytes.
    pub mss_bytes: u32,
    /// How many reports its algorithm got.
    pub reports: u64,
    /// How many reports never reached it, because they came faster than it took them.
    pub reports_missed: u64,
    /// How many updates were sent to its datapath.
    pub updates: u64,
    /// Who decides on its window.
    pub state: FlowMode,
}
