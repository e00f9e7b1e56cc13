//! TCP traffic on real sockets inside namespaces, measured and checked.

mod bulk;
mod content;
mod short;
mod socket;

pub use bulk::{Bulk, FlowReport, RunningFlow, Sample, Until};
pub use short::{RunningShortFlows, ShortFlows, ShortReport};
