//! A network laboratory in one process: namespaces, links between them, and TCP traffic that is
//! measured and checked. Linux only; needs root.
//!
//! Everything is owned by a value and removed when it is dropped, also when a test panics. Beyond
//! that, namespaces have no name and TUN devices are tied to a file descriptor, so the kernel
//! itself removes them when the process ends, in whatever way: there is nothing a signal handler
//! would have to clean up. Only what was explicitly published with [`Namespace::publish`] leaves a
//! name behind after `kill -9`; [`sweep`] removes names of dead processes.
//!
//! ```no_run
//! use ccp_lab::{Bulk, Namespace, Pipe, EmulatedLink, Until, require, Need};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), ccp_lab::LabError> {
//! require(&[Need::Namespaces, Need::Tun])?;
//! let client = Namespace::new("client")?;
//! let server = Namespace::new("server")?;
//! // 50 Mbit/s, 10 ms each way, a queue of one bandwidth-delay product.
//! let pipe = Pipe::new(50_000_000, Duration::from_millis(10)).queue_bytes(125_000);
//! let link = EmulatedLink::new(&client, &server, pipe)?;
//! let flow = Bulk::new(Until::Elapsed(Duration::from_secs(5)))
//!     .congestion("cubic")
//!     .start(&client, &server, link.b_v4())?;
//! let report = flow.wait()?;
//! println!("{:.1} Mbit/s with {}", report.goodput_bps() / 1e6, report.congestion);
//! # Ok(()) }
//! ```

mod address;
mod cpu;
mod emulated;
mod error;
mod namespace;
mod priority;
mod process;
mod requirements;
mod ss;
mod tcp_info;
mod traffic;
mod veth;

pub use address::Subnet;
pub use cpu::{CpuMeter, CpuUse};
pub use emulated::{Counters, Direction, EmulatedLink, EmulatedSpec, Pipe};
pub use error::LabError;
pub use namespace::{Namespace, sweep};
pub use process::NsChild;
pub use requirements::{Missing, Need, require, skip_without};
pub use ss::{SsSocket, parse_ss};
pub use tcp_info::{TcpInfo, congestion_of, set_congestion};
pub use traffic::{
    Bulk, Churned, Crowd, FlowReport, Member, OpenCrowd, RunningFlow, RunningShortFlows, Sample,
    ShortFlows, ShortReport, Swarm, SwarmEnd, SwarmMember, Until,
};
pub use veth::{VethLink, VethSpec};
