//! How a flow is, for listings.

use std::fmt;
use std::net::SocketAddr;
use std::ops::Deref;
use std::sync::Arc;

use ccp_types::{Attributes, FlowState, SockId, Timestamp};

use crate::alg::FlowId;
use crate::program::CompiledProgram;
use crate::registry::Algorithm;

/// Who decides on a flow's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowMode {
    /// The datapath by itself, because no program has been given yet.
    Native,
    /// The algorithm's program.
    Running,
    /// The datapath by itself, because something failed.
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

/// What was counted of a flow since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Reports that reached the algorithm.
    pub reports: u64,
    /// Reports that the datapath could not send and made part of a later one.
    pub merged: u64,
    /// Reports that came faster than they could be handed on, and were dropped.
    pub missed: u64,
    /// Reports of another program than the one that runs, of an earlier announcement, or with
    /// nobody to hand them to.
    pub stale: u64,
    /// Updates sent to the datapath.
    pub updates: u64,
    /// Decisions of the algorithm that became part of an update that was still to be sent.
    pub coalesced: u64,
    /// Updates of the algorithm whose window was beyond [`MOST_PACKETS`](super::MOST_PACKETS), and was
    /// lowered to that.
    pub bounded: u64,
    /// Updates of the algorithm that could not be, and were dropped.
    pub refused: u64,
    /// Invocations of the flow's programs that had no effect, where its datapath tells.
    pub faults: u64,
    /// How often an algorithm panicked.
    pub panics: u64,
}

/// One flow at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FlowStatus {
    /// Its name in the control plane.
    pub id: FlowId,
    /// The name of its datapath.
    pub datapath: Arc<str>,
    /// Its name within the datapath.
    pub sock_id: SockId,
    /// The local end.
    pub src: SocketAddr,
    /// The remote end.
    pub dst: SocketAddr,
    /// The algorithm that steers it; `None` if the datapath does.
    pub algorithm: Option<Algorithm>,
    /// The program that it was told to run.
    pub program: Option<CompiledProgram>,
    /// Who decides on its window.
    pub mode: FlowMode,
    /// Its largest segment, in bytes.
    pub mss: u32,
    /// Window, rate and round-trip times: what the datapath tells, else what the algorithm knows,
    /// else what was set last.
    pub state: FlowState,
    /// What its datapath tells of it beside its ends.
    pub attributes: Attributes,
    /// What was counted.
    pub counts: Counts,
    /// When it came under control.
    pub opened_at: Timestamp,
}

impl Deref for FlowStatus {
    type Target = Counts;

    fn deref(&self) -> &Counts {
        &self.counts
    }
}
