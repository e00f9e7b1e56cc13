//! TCP traffic on real sockets inside namespaces, measured and checked.

mod bulk;
mod content;
mod crowd;
mod report;
mod running;
mod short;
mod socket;
mod swarm;
mod workers;

pub use bulk::{Bulk, Until};
pub use crowd::{Churned, Crowd, Member, OpenCrowd};
pub use report::{FlowReport, Sample};
pub use running::RunningFlow;
pub use short::{RunningShortFlows, ShortFlows, ShortReport};
pub use swarm::{Swarm, SwarmEnd, SwarmMember};
