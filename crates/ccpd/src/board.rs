//! Which flows there are, for whoever asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ccp_core::FlowId;
use foldhash::fast::RandomState;

use crate::flow_task::FlowCell;

type Flows = HashMap<FlowId, Arc<FlowCell>, RandomState>;

/// Every flow under control, of all datapaths.
#[derive(Debug, Default)]
pub(crate) struct Board {
    flows: Mutex<Flows>,
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

    /// All flows, in no particular order.
    pub(crate) fn all(&self) -> Vec<Arc<FlowCell>> {
        self.lock().values().cloned().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Flows> {
        self.flows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
