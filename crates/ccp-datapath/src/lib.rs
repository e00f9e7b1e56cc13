//! What a transport embeds to become a datapath of the congestion control plane: the successor of
//! libccp.
//!
//! A transport measures and asks; this crate runs the program that the daemon has chosen for the flow,
//! says what window and rate come of it, and writes what goes to the daemon. Without a daemon, with one
//! that is gone or does not answer, or with a program that faults, a native law steers the flow from its
//! present window.
//!
//! Nothing here does IO, reads a clock, starts a thread or allocates memory per acknowledgement.
//!
//! ```
//! use ccp_datapath::{Config, Datapath, FlowSpec, FrameQueue, Primitive};
//! use ccp_types::Timestamp;
//!
//! let datapath = Datapath::new(Config::default());
//! let mut to_daemon = FrameQueue::new(64);
//! let mut now = Timestamp(1_000_000);
//! datapath.on_timer(now, &mut to_daemon);   // says READY
//!
//! let spec = FlowSpec::new("192.0.2.1:5000".parse()?, "192.0.2.2:443".parse()?, 1200);
//! let mut flow = datapath.open(now, spec, &mut to_daemon)?;
//! let mut measured = datapath.measurements();
//!
//! // An acknowledgement:
//! now.0 += 20_000;
//! measured.clear();
//! measured.set(Primitive::BYTES_ACKED, 12_000).set(Primitive::RTT_SAMPLE_US, 20_000);
//! let decision = flow.on_ack(now, &measured, &mut to_daemon);
//! assert_eq!(decision.cwnd.0, 24_000);      // slow start, until a daemon has another idea
//!
//! flow.close(None, &mut to_daemon);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod config;
mod connection;
mod datapath;
mod error;
mod legacy;
mod link;
mod mail;
mod measure;
mod native;
mod pacing;
mod programs;
mod reduction;
mod sink;
mod stats;
mod sync;
mod table;
mod vm;

pub use config::{Config, FlowSpec, Native};
pub use connection::{Connection, Decision, FlowCounts, Mode};
pub use datapath::{Datapath, Received, Touched};
pub use error::{MessageError, OpenError};
pub use legacy::BytecodeError;
pub use measure::{Measurements, Primitive, Writable};
pub use native::{NativeAck, NativeLaw, Recovering};
pub use pacing::Pacer;
pub use reduction::{Delivered, Reduction};
pub use sink::{FrameQueue, Refused, Sink};
pub use stats::Stats;
