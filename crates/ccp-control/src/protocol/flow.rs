//! What is known of flows.

use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::algorithm::Explanation;
use super::pairs;
use crate::Attributes;

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
    /// How many invocations of its programs had no effect because of a fault, where the datapath tells.
    pub faults: u64,
    /// Payload sent in bytes, retransmissions included, where the datapath tells.
    pub sent_bytes: Option<u64>,
    /// Payload that reached the other end, in bytes, where the datapath tells.
    pub delivered_bytes: Option<u64>,
    /// Payload marked as lost, in bytes, where the datapath tells.
    pub lost_bytes: Option<u64>,
    /// How long it has been known to this daemon, in microseconds.
    pub age_us: u64,
    /// What its datapath tells of it beside its ends.
    pub attributes: Attributes,
}

/// By what flows are put in order, the largest value first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FlowOrder {
    /// [`FlowStatus::flow`], the smallest first: the order in which they came.
    Flow,
    /// [`FlowStatus::cwnd_bytes`].
    Cwnd,
    /// [`FlowStatus::rate_bytes_per_s`].
    Rate,
    /// [`FlowStatus::rtt_us`].
    Rtt,
    /// [`FlowStatus::lost_bytes`] as a part of what was sent.
    Loss,
    /// [`FlowStatus::reports`].
    Reports,
    /// [`FlowStatus::faults`].
    Faults,
    /// [`FlowStatus::age_us`], the youngest first.
    Youngest,
}

/// Why a flow was announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlowOrigin {
    /// It had just been opened.
    New,
    /// It was alive before the daemon was.
    Adopted,
    /// The datapath had to take it over, and has given it back.
    Resumed,
}

/// Everything that is known of one flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowDetail {
    /// What is listed of it.
    pub status: FlowStatus,
    /// Why it was last announced.
    pub origin: FlowOrigin,
    /// The algorithm that it asks for itself.
    pub requested: Option<String>,
    /// The algorithm that it was given: another than [`FlowStatus::algorithm`] if that one failed.
    pub assigned: String,
    /// Whether it was given by hand, not by the rules.
    pub by_hand: bool,
    /// What the rules say of it, and why.
    pub rules: Explanation,
    /// The kind of its algorithm: the code.
    pub kind: Option<String>,
    /// The parameters of its algorithm, as they are written in the configuration or were given by
    /// hand; the others have their defaults.
    #[serde(with = "pairs")]
    pub parameters: Vec<(String, String)>,
    /// The number of the program that it runs.
    pub program_uid: Option<u32>,
    /// The size of that program, as in [`ProgramStatus::instructions`](super::ProgramStatus::instructions).
    pub program_instructions: Option<u32>,
    /// Its smallest round-trip time in microseconds; 0 if none is known.
    pub min_rtt_us: u64,
    /// The window that it began with, in bytes.
    pub init_cwnd_bytes: u64,
    /// Which announcement of it is in force; 0 where the datapath does not count.
    pub generation: u32,
    /// Reports that the datapath could not send and made part of a later one.
    pub reports_merged: u64,
    /// Reports of another program than the one that runs, or of an earlier announcement.
    pub reports_stale: u64,
    /// Updates of its algorithm that could not be, and were dropped.
    pub updates_refused: u64,
    /// How often its algorithm panicked.
    pub panics: u64,
    /// Retransmission timeouts, where the datapath tells.
    pub timeouts: Option<u64>,
    /// Its last report.
    pub last_report: Option<LastReport>,
}

/// The report that came last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReport {
    /// The program that it is of.
    pub program: String,
    /// How many earlier reports are contained in it.
    pub merged: u64,
    /// The report variables and their values, in the order of the program.
    #[serde(with = "pairs")]
    pub fields: Vec<(String, u64)>,
}
