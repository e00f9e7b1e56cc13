//! Congestion control without transport, clock or IO: the algorithm API and the state machines of
//! the control plane, the same ones for daemon and simulator.
//!
//! # The example every CCP user knows
//!
//! The minimum round-trip time over intervals of 42 ms, in one short file:
//!
//! ```
#![doc = include_str!("../examples/min_rtt.rs")]
//! ```
//!
//! # How it fits together
//!
//! An algorithm is a [`CongAlg`]: its configuration, its compiled programs, and the factory of the
//! [`Flow`]s that steer one connection each. A flow is told what its datapath program reported and
//! answers with [`Updates`], plain values; it never performs anything. [`Session`] speaks with one
//! datapath, [`FlowRunner`] keeps one flow alive whatever its algorithm does, [`Registry`] and
//! [`Policy`] say which algorithm a flow gets.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod alg;
mod program;
mod report;
mod update;

pub use alg::{CongAlg, Event, Flow, FlowId, NewFlow, Resume, Totals};
pub use program::{
    CompileError, CompiledProgram, ControlField, FieldValue, NoSuchField, ReportField,
};
pub use report::Report;
pub use update::{Change, Target, Update, Updates};

pub use ccp_types::{Bytes, FlowInfo, FlowState, Micros, Origin, Rate, SockId, Timestamp};
