//! What goes into a runner and what comes out of it.

use crate::alg::FlowId;
use crate::command::Command;
use crate::update::Updates;

use super::UpdateError;

/// One report, as it came from the datapath.
#[derive(Clone, Copy, Debug)]
pub struct RawReport<'a> {
    /// The number of the program that reports.
    pub program_uid: u32,
    /// The announcement of the flow that it belongs to; 0 where the datapath does not count.
    pub generation: u32,
    /// How many earlier reports are contained in this one.
    pub merged: u64,
    /// The values of the report variables.
    pub fields: &'a [u64],
}

/// What a runner wants done, or wants known.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunnerOutput {
    /// To be told the datapath.
    Command(Command),
    /// To be handed to the runner of another flow of the group:
    /// [`FlowRunner::from_group`](crate::FlowRunner::from_group).
    Forward {
        /// For which flow.
        to: FlowId,
        /// What it is to do.
        updates: Updates,
    },
    /// To be logged.
    Notice(RunnerNotice),
}

/// Something about a flow that somebody should know. Each kind is told once per algorithm and
/// flow; what happens more often is counted in [`FlowStatus`](crate::FlowStatus).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunnerNotice {
    /// The algorithm panicked; the flow has another one now.
    Panicked {
        /// Its name.
        algorithm: String,
        /// What it said.
        message: String,
        /// Who steers the flow now: an algorithm, or `None` for the datapath.
        now: Option<String>,
    },
    /// The datapath took over again and again although the control plane was there: the program
    /// faults, or the algorithm does not come back from its work. The flow has another algorithm now.
    TakenOver {
        /// Its name.
        algorithm: String,
        /// Who steers the flow now: an algorithm, or `None` for the datapath.
        now: Option<String>,
    },
    /// The algorithm does not come back from its work, with this flow or another
    /// ([`Algorithm::quarantine`](crate::Algorithm::quarantine)): no flow gets it any more.
    Quarantined {
        /// Its name.
        algorithm: String,
        /// Who steers the flow now: an algorithm, or `None` for the datapath.
        now: Option<String>,
    },
    /// The algorithm wanted something that cannot be; the flow is as it was.
    Refused {
        /// Its name.
        algorithm: String,
        /// What is wrong.
        error: UpdateError,
    },
}
