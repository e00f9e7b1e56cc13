//! What happens to flows.

use serde::{Deserialize, Serialize};

use super::flow::{FlowOrigin, FlowStatus};
use super::pairs;

/// Something that happened to a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When, in microseconds since 1970 (UTC) by a clock that never goes back: the system's at the
    /// start of the daemon, and the time that has passed since.
    pub time_us: u64,
    /// Which flow: [`FlowStatus::flow`].
    pub flow: u64,
    /// What.
    pub what: What,
}

/// What happened. As JSON, an object with one key that says what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum What {
    /// It has come under control.
    Opened {
        /// How it is.
        status: Box<FlowStatus>,
        /// Why it was announced.
        origin: FlowOrigin,
        /// The rule that chose its algorithm, from 1; `None` for the default.
        rule: Option<u32>,
    },
    /// It has ended.
    Closed {
        /// How it was in the end, with all that was counted.
        status: Box<FlowStatus>,
    },
    /// It has another algorithm, or none (`native`).
    AlgorithmChanged {
        /// The algorithm before.
        from: String,
        /// The algorithm now.
        to: String,
        /// What brought it about.
        why: Why,
    },
    /// The datapath has taken it over: it runs natively until it is announced again.
    FellBack {
        /// What brought it about.
        why: Why,
    },
    /// The datapath has announced it again: its algorithm goes on from the window that it has now.
    Returned {
        /// The window in bytes.
        cwnd_bytes: u64,
    },
    /// Invocations of its program had no effect.
    ProgramFaults {
        /// The program, if it still runs.
        program: Option<String>,
        /// How many more since it was last told.
        count: u64,
    },
    /// Its algorithm panicked.
    Panicked {
        /// The algorithm.
        algorithm: String,
        /// What it said.
        message: String,
    },
    /// An update of its algorithm was refused. Told once per algorithm and flow.
    UpdateRefused {
        /// The algorithm.
        algorithm: String,
        /// What is wrong with it.
        why: String,
    },
    /// Its algorithm got a report, and has answered it.
    Report {
        /// The algorithm.
        algorithm: String,
        /// The program that reported.
        program: String,
        /// How many earlier reports are contained in it.
        merged: u64,
        /// The window that follows from it, in bytes, as far as the daemon knows it.
        cwnd_bytes: u64,
        /// The rate that follows from it, in bytes per second; 0 if none is known.
        rate_bytes_per_s: u64,
        /// The report variables and their values, in the order of the program.
        #[serde(with = "pairs")]
        fields: Vec<(String, u64)>,
    },
    /// Reports came faster than its algorithm took them, and were dropped. Told with reports.
    ReportsMissed {
        /// How many.
        count: u64,
    },
    /// How its datapath has announced it: what its algorithm begins from, or goes on from. Told with
    /// steps, before it is told that the flow has opened or returned.
    Announced(Announced),
    /// Its algorithm was woken at the time that it had asked for. Told with steps.
    Woken,
    /// It sends segments of another size. Told with steps.
    MssChanged {
        /// The largest segment, in bytes.
        mss_bytes: u32,
    },
    /// What its datapath was told after its algorithm had decided. Told with steps.
    Updated {
        /// The program that it is to start; `None`: the one that runs goes on.
        program: Option<String>,
        /// What was set, by name: the window `Cwnd` in bytes, the rate `Rate` in bytes per second, control
        /// variables of the program.
        #[serde(with = "pairs")]
        fields: Vec<(String, u64)>,
    },
}

/// How a flow was when its datapath announced it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Why.
    pub origin: FlowOrigin,
    /// Which announcement of it this is; 0 where the datapath does not count.
    pub generation: u32,
    /// How many invocations of its program had no effect since the announcement before, where the
    /// datapath tells.
    pub faults: u16,
    /// The largest segment, in bytes.
    pub mss_bytes: u32,
    /// The window that it began with, in bytes.
    pub init_cwnd_bytes: u64,
    /// The window in bytes.
    pub cwnd_bytes: u64,
    /// The pacing rate in bytes per second; 0 if none is set.
    pub rate_bytes_per_s: u64,
    /// The smoothed round-trip time in microseconds; 0 if none is known.
    pub rtt_us: u64,
    /// The smallest round-trip time in microseconds; 0 if none is known.
    pub min_rtt_us: u64,
}

/// What brought something about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Why {
    /// The configuration was read again, or somebody said so.
    Assigned,
    /// The algorithm panicked.
    Panicked,
    /// The datapath took the flow over again and again.
    TakenOver,
    /// The daemon had not run for so long that the datapath took over.
    DaemonAway,
    /// The datapath says that it steers the flow.
    Datapath,
    /// The algorithm does not come back from its work: no flow gets it any more.
    Quarantined,
}
