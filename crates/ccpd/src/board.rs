//! Which flows there are, for whoever asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ccp_core::FlowId;

use crate::flow_task::FlowCell;

/// Every flow under control, of all datapaths.
#[derive(Debug, Default)]
pub(crate) struct Board {
    flows: Mutex<HashMap<FlowId, Arc<FlowCell>>>,
}

impl Board {
    /// A flow has come.
    pub(crate) fn add(&self, flow: Arc<FlowCell>) {
        self.lock().insert(flow.id(), flow);
    }

    /// A flow has gone.
    pub(crate) fn remove(&self, id: FlowId) {
        self.lock().remove(&id);
    }

    /// The flow called `id`.
    pub(crate) fn flow(&self, id: FlowId) -> Option<Arc<FlowCell>> {
        self.lock().get(&id).cloned()
    }

    /// How many flows there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().len()
    }

    /// How all flows are.
    pub(crate) async fn flows(&self) -> Vec<ccp_control::FlowStatus> {
        let cells: Vec<_> = self.lock().values().cloned().collect();
        let mut all = Vec::with_capacity(cells.len());
        for cell in cells {
            all.push(cell.status().await);
        }
        all
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FlowId, Arc<FlowCell>>> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
