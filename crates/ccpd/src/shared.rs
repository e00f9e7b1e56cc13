//! What every part of a running daemon needs.

use std::sync::Arc;
use std::time::Duration;

use ccp_core::{FlowIds, Plan};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::board::Board;
use crate::clock::Clock;

/// A flow's task may take so long to end. Longer takes only an algorithm that does not come back.
const FLOWS_END_WITHIN: Duration = Duration::from_secs(2);

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

impl Shared {
    /// Waits until the flows' tasks, which have been told to, have ended. Gives how many have not:
    /// nobody waits for ever for an algorithm that hangs.
    pub(crate) async fn flows_ended(&self) -> usize {
        self.flows.close();
        match tokio::time::timeout(FLOWS_END_WITHIN, self.flows.wait()).await {
            Ok(()) => 0,
            Err(_) => self.flows.len(),
        }
    }
}
