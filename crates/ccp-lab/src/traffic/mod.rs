//! TCP traffic on real sockets inside namespaces, measured and checked.

mod bulk;
mod content;
mod report;
mod running;
mod short;
mod socket;
mod workers;

pub use bulk::{Bulk, Until};
pub use report::{FlowReport, Sample};
pub use running::RunningFlow;
pub use short::{RunningShortFlows, ShortFlows, ShortReport};
