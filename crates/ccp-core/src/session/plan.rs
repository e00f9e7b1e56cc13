//! What sessions work from.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ccp_types::Micros;
use ccp_wire::PortOrder;

use crate::alg::FlowId;
use crate::policy::Policy;
use crate::registry::Algorithm;

/// What sessions work from: the rules, and the algorithms that they name.
#[derive(Debug)]
pub struct Plan {
    policy: Policy,
    algorithms: Vec<Algorithm>,
}

impl Plan {
    /// What `policy` says.
    #[must_use]
    pub fn new(policy: Policy) -> Arc<Self> {
        let algorithms = policy.algorithms();
        Arc::new(Self { policy, algorithms })
    }

    /// The same, and programs are also installed for `more`: algorithms that no rule names, but
    /// that a flow may be given by hand.
    #[must_use]
    pub fn with_algorithms(policy: Policy, more: impl IntoIterator<Item = Algorithm>) -> Arc<Self> {
        let mut algorithms = policy.algorithms();
        for algorithm in more {
            if !algorithms.iter().any(|known| known.same(&algorithm)) {
                algorithms.push(algorithm);
            }
        }
        Arc::new(Self { policy, algorithms })
    }

    /// The rules.
    #[must_use]
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Every algorithm that a flow may get; the default first.
    #[must_use]
    pub fn algorithms(&self) -> &[Algorithm] {
        &self.algorithms
    }
}

/// Gives out the names of flows: the clones of one give each name once.
#[derive(Clone, Debug, Default)]
pub struct FlowIds(Arc<AtomicU64>);

impl FlowIds {
    /// Names from 1 upward.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(super) fn next(&self) -> FlowId {
        FlowId(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// How a session treats its datapath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    /// How many flows are taken at most; the datapath steers further ones by itself.
    pub max_flows: usize,
    /// How a datapath without our trailing fields writes ports and addresses.
    pub port_order: PortOrder,
    /// Whether what the datapath tells of a flow beside its ends is believed: as a kernel's word is, not
    /// that of any process. Otherwise it is passed over.
    pub attributes: bool,
    /// Whether the datapath hands flows to other algorithms of its host ([`Native::Named`](crate::Native::Named)). Otherwise it
    /// steers them by itself.
    pub natives: bool,
    /// The epoch that HELLO names; not 0.
    pub epoch: u32,
    /// How often the control plane gives a sign of life; 0 for never.
    pub heartbeat: Micros,
    /// Without a sign of life for that long, the datapath is to steer its flows by itself.
    pub fallback_after: Micros,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            max_flows: 65_536,
            port_order: PortOrder::Network,
            attributes: false,
            natives: false,
            epoch: 1,
            heartbeat: Micros::ZERO,
            fallback_after: Micros::ZERO,
        }
    }
}
