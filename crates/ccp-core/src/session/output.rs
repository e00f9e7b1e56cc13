//! What a session says.

use std::sync::Arc;

use ccp_types::FlowInfo;
use ccp_wire::{Measure, Totals};
use thiserror::Error;

use crate::alg::FlowId;
use crate::command::Command;
use crate::policy::Native;
use crate::registry::Algorithm;
use crate::table::{ProgramTable, RefusedProgram};

/// A flow as its datapath announced it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The flow. Shared by all that keep it.
    pub info: Arc<FlowInfo>,
    /// Which announcement of it this is; 0 where the datapath does not count. What belongs to an
    /// earlier one is void.
    pub generation: u32,
    /// How many invocations of its program had no effect since the announcement before; 65,535
    /// stands for as many or more, and 0 also for a datapath that does not tell.
    pub faults: u16,
}

/// A flow that has come under control.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Opened {
    /// Its name in the control plane.
    pub flow: FlowId,
    /// The name of its datapath.
    pub datapath: Arc<str>,
    /// What the datapath told of it.
    pub announced: Announced,
    /// What steers it; `None` if the datapath must, because it runs neither the algorithm that the
    /// rules choose nor the default.
    pub algorithm: Option<Algorithm>,
    /// How its datapath steers it if nothing else does.
    pub native: Native,
    /// The rule that chose it, from 0; `None` for the default.
    pub rule: Option<usize>,
    /// The programs of its datapath.
    pub programs: Arc<ProgramTable>,
}

impl Opened {
    /// A flow that came under control without a session: for tests and simulators.
    #[must_use]
    pub fn new(
        flow: FlowId,
        datapath: &str,
        announced: Announced,
        algorithm: Option<Algorithm>,
        programs: Arc<ProgramTable>,
    ) -> Self {
        Self {
            flow,
            datapath: datapath.into(),
            announced,
            algorithm,
            native: Native::Own,
            rule: None,
            programs,
        }
    }
}

/// What a flow is to run from now on, because the rules have changed or somebody said so.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Assigned {
    /// What steers it; `None` if the datapath must.
    pub algorithm: Option<Algorithm>,
    /// How its datapath steers it if nothing else does.
    pub native: Native,
    /// What it gets if that fails.
    pub default: Algorithm,
    /// The rule that chose it, from 0; `None` for the default, or if no rule was asked.
    pub rule: Option<usize>,
    /// The programs of its datapath: those it had, under the same numbers, and new ones.
    pub programs: Arc<ProgramTable>,
}

impl Assigned {
    /// `algorithm`, and `default` if that fails, without a session: for tests and simulators.
    #[must_use]
    pub const fn new(
        algorithm: Option<Algorithm>,
        default: Algorithm,
        programs: Arc<ProgramTable>,
    ) -> Self {
        Self {
            algorithm,
            native: Native::Own,
            default,
            rule: None,
            programs,
        }
    }
}

/// Why a flow can't be given an algorithm.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum AssignError {
    /// This datapath has no such flow.
    #[error("there is no such flow")]
    NoSuchFlow,
    /// The datapath has no other algorithms than its own.
    #[error(
        "the flow's datapath has no algorithm `{name}` that it could be handed to; `native` leaves it to the datapath's own"
    )]
    NoNatives {
        /// What the flow was to be handed to.
        name: Arc<str>,
    },
    /// The datapath does not run what the algorithm needs.
    #[error("the datapath does not run what `{algorithm}` needs{}", reasons(.why))]
    Unfit {
        /// The algorithm's name.
        algorithm: String,
        /// Which of its programs the datapath does not run, and why.
        why: Vec<String>,
    },
}

fn reasons(why: &[String]) -> String {
    why.iter().map(|why| format!("; {why}")).collect()
}

/// A report on its way to its flow.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The flow.
    pub flow: FlowId,
    /// The announcement that it belongs to.
    pub generation: u32,
    /// How many earlier reports are contained in it.
    pub merged: u64,
    /// The report: a known program, with as many fields as that program reports.
    pub measure: Measure<'a>,
}

/// What a session wants done, or wants known.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Output {
    /// To be told the datapath.
    Command(Command),
    /// A flow has come.
    Opened(Box<Opened>),
    /// The datapath announced a flow again: it runs no program.
    Resumed {
        /// The flow.
        flow: FlowId,
        /// How it is.
        announced: Box<Announced>,
    },
    /// A flow is to run something else, or the same with other programs beside it.
    Assigned {
        /// The flow.
        flow: FlowId,
        /// What it is to run.
        assigned: Box<Assigned>,
    },
    /// The datapath has taken over a flow until it announces it again.
    Suspended {
        /// The flow.
        flow: FlowId,
    },
    /// A flow has ended.
    Closed {
        /// The flow.
        flow: FlowId,
        /// What it did, where the datapath tells.
        totals: Option<Totals>,
    },
    /// To be logged.
    Notice(SessionNotice),
}

/// Something about a datapath that somebody should know.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum SessionNotice {
    /// It is there, for the first time or again after its own restart.
    Ready {
        /// How many programs it runs.
        programs: usize,
        /// How many flows ended with its restart.
        lost_flows: usize,
    },
    /// It does not run a program.
    ProgramRefused(RefusedProgram),
    /// It does not run what an algorithm needs: flows get the default, or stay with the datapath.
    Unavailable {
        /// The algorithm's name.
        algorithm: String,
    },
    /// It has as many flows as are taken. Told once per time that the limit is reached.
    TooManyFlows {
        /// The limit.
        limit: usize,
    },
}
