//! The daemon of the congestion control plane, as a library to build one's own.
//!
//! `ccpd --config FILE` is this library with the algorithms that come with it. An algorithm of one's
//! own needs no fork: give it a name and start the same daemon.
//!
//! ```no_run
//! # use ccp_core::{BuildError, CongAlg, Params};
//! # fn make(params: &Params) -> Result<algs::constant::Constant, BuildError> { unimplemented!() }
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = ccpd::Config::load("/etc/ccpd/ccpd.toml".as_ref())?;
//! let daemon = ccpd::Ccpd::builder()
//!     .config(config)
//!     .kind("mine", make) // `kind = "mine"` in the configuration
//!     .spawn()
//!     .await?;
//! tokio::signal::ctrl_c().await?;
//! daemon.stop();
//! daemon.wait().await?;
//! # Ok(()) }
//! ```
//!
//! # What runs
//!
//! One task per datapath reads its messages and keeps its session ([`ccp_core::Session`]); one task
//! per flow calls the flow's algorithm ([`ccp_core::FlowRunner`]) and writes what it decides; one
//! task per client answers on the control socket. A socket is read by a thread of its own, which
//! also calls the algorithm of the flow that a message is for, unless that takes its time; a flow gets a task
//! when it first needs one. No task waits for another's peer, and what can pile
//! up is bounded: reports push out older ones and are counted, updates become one.

#![deny(unsafe_code)]

mod board;
mod builder;
mod change;
mod clock;
pub mod config;
mod control_server;
mod daemon;
mod datapath;
mod error;
mod feed;
mod flow_task;
mod inbox;
mod log;
mod making;
mod metrics;
mod orders;
mod outlet;
mod shared;
mod socket_file;
mod turns;
mod watchdog;

pub use builder::Builder;
pub use change::{
    AlgorithmInfo, Changer, Explanation, ReloadError, Reloaded, RuleVerdict, SetError,
};
pub use config::{Config, ConfigError, LogFormat};
pub use daemon::{Ccpd, Handle, Liveness, Stopper};
pub use datapath::netlink::NetlinkError;
pub use datapath::tcp::TcpError;
pub use error::{RunError, StartError, in_full};
pub use log::{LogError, LogFilter, LogFilterError, LogLimit, LogWriter};
pub use metrics::{Definition, MetricsError, definitions as metric_definitions};
pub use socket_file::{PassedSocket, SocketError};
pub use watchdog::Exhaustion;
