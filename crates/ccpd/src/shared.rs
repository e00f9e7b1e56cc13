//! What every part of a running daemon needs.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ccp_core::{FlowIds, Plan};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::board::Board;
use crate::clock::Clock;
use crate::feed::Feed;
use crate::metrics::Metrics;
use crate::orders::Orders;
use crate::socket_file::Leaves;
use crate::watchdog::Watchdog;

/// A flow's task may take so long to end. Longer takes only an algorithm that does not come back.
const FLOWS_END_WITHIN: Duration = Duration::from_secs(2);

/// What every part of a running daemon needs.
#[derive(Debug)]
pub(crate) struct Shared {
    /// What flows are to run.
    plan: RwLock<Arc<Plan>>,
    /// The ways to the tasks of datapaths.
    pub(crate) orders: Orders,
    /// Gives out the names of flows.
    pub(crate) ids: FlowIds,
    /// Which flows there are.
    pub(crate) board: Arc<Board>,
    /// What happens to them.
    pub(crate) feed: Arc<Feed>,
    pub(crate) clock: Clock,
    /// What was counted.
    pub(crate) metrics: Arc<Metrics>,
    /// Sees algorithms that do not come back.
    pub(crate) watchdog: Watchdog,
    /// Cancelled when the daemon stops.
    pub(crate) stop: CancellationToken,
    /// Whether it then leaves everything to the next daemon.
    pub(crate) leaves: Leaves,
    /// The flows' tasks,
    pub(crate) flows: TaskTracker,
    /// and where they run.
    pub(crate) runtime: Handle,
}

impl Shared {
    /// # Panics
    /// Outside a Tokio runtime.
    pub(crate) fn new(plan: Arc<Plan>, stop: CancellationToken) -> Self {
        let metrics = Arc::new(Metrics::new());
        Self {
            plan: RwLock::new(plan),
            orders: Orders::default(),
            ids: FlowIds::new(),
            board: Arc::default(),
            feed: Arc::default(),
            clock: Clock::new(),
            watchdog: Watchdog::new(Arc::clone(&metrics)),
            metrics,
            stop,
            leaves: Leaves::default(),
            flows: TaskTracker::new(),
            runtime: Handle::current(),
        }
    }

    /// What flows are to run at the moment.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        let plan = self.plan.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&plan)
    }

    /// What flows are to run from now on. Datapaths that there are hear of it by an order.
    pub(crate) fn set_plan(&self, plan: Arc<Plan>) {
        *self.plan.write().unwrap_or_else(PoisonError::into_inner) = plan;
    }

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
