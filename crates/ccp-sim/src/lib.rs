//! A network in virtual time: real algorithms over real datapath connections, the same trace for the
//! same seed on every machine.
//!
//! A [`Scenario`] says what there is: links with rates or traces, queues, loss; flows with their
//! applications and algorithms; how far away the control plane is. [`simulate`] gives an [`Outcome`]:
//! flows and links over time, and a [`Summary`].
//!
//! Each flow is a connection of `ccp-datapath`; what steers it is `ccp-core` with the algorithms of a
//! [`Registry`], as in `ccpd`. What a kernel does besides is done as Linux does it: loss detection,
//! retransmission timeouts, proportional rate reduction, delayed acknowledgements, pacing, marks.
//!
//! There is no IO, no clock, no chance but from the seed, and nothing that machines could compute
//! differently: times are whole nanoseconds.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod agenda;
mod app;
mod link;
mod packet;
mod random;
mod record;
pub mod scenario;
mod steering;
mod tcp;
mod time;
mod world;

pub use random::Chance;
pub use record::{
    ControlSummary, FlowRecord, FlowSample, FlowSummary, LinkRecord, LinkSample, LinkSummary,
    Outcome, Percentiles, Summary,
};
pub use scenario::Scenario;
pub use time::Nanos;

use ccp_core::{BuildError, Registry};

/// Simulates `scenario` with the algorithms of `registry`.
///
/// # Errors
/// If an algorithm of the scenario can't be made: its kind is not there, or a parameter is wrong.
pub fn simulate(scenario: &Scenario, registry: &Registry) -> Result<Outcome, BuildError> {
    Ok(world::World::new(scenario, registry)?.run())
}
