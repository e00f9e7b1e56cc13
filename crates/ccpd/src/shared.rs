//! What every part of a running daemon needs.

use std::sync::Arc;

use ccp_core::{FlowIds, Plan};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::board::Board;
use crate::clock::Clock;

/// What every part of a running daemon needs.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What flows are to run.
    pub(crate) plan: Arc<Plan>,
    /// Gives out the names of flows.
    pub(crate) ids: FlowIds,
    /// Which flows there are.
    pub(crate) board: Arc<Board>,
    pub(crate) clock: Clock,
    /// Cancelled when the daemon stops.
    pub(crate) stop: CancellationToken,
    /// The flows' tasks.
    pub(crate) flows: TaskTracker,
}
