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

// What the derives make names this crate.
extern crate self as ccp_core;

mod alg;
mod command;
mod fields;
pub mod keys;
mod near;
mod params;
mod policy;
mod program;
mod registry;
mod report;
mod runner;
mod session;
mod source;
mod table;
pub mod testkit;
mod update;

#[cfg(test)]
mod testing;

pub use alg::{CongAlg, Event, Flow, FlowId, NewFlow, Resume, Totals};
pub use ccp_derive::{Controls, Report};
pub use command::{Command, FlowUpdate, Place};
pub use fields::{
    ControlPlace, ControlStruct, FieldErrors, FieldProblem, ReportStruct, ReportValue, Reports,
};
#[doc(hidden)]
pub use fields::{FindControls, FindReports};
pub use params::{ParamError, ParamProblem, Params};
pub use policy::{
    CgroupPath, Choice, Fit, Given, Mark, Match, MatchError, Native, Netns, NotNative, Policy,
    PortRange, Prefix, Rule, UidRange, Verdict,
};
pub use program::{
    CompileError, CompiledProgram, ControlField, FieldValue, NoSuchField, ReportField,
};
pub use registry::{Algorithm, BuildError, DuplicateKind, Registry};
pub use report::Report;
pub use runner::{
    Counts, FlowMode, FlowRunner, FlowStatus, MIN_SLEEP, MOST_PACKETS, RawReport, RunnerNotice,
    RunnerOutput, UpdateError,
};
pub use session::{
    Announced, AssignError, Assigned, Delivery, FlowIds, Opened, Output, Plan, Session,
    SessionNotice, SessionOptions, SessionStats,
};
pub use source::{Position, SourceText};
pub use table::{
    Form, Installed, MAX_LIBCCP_PROGRAMS, MAX_PROGRAMS, ProgramTable, RefusedProgram, Unfit,
};
pub use update::{Change, Target, Update, Updates};

pub use ccp_types::{
    Attribute, AttributeValue, Attributes, Bytes, FlowInfo, FlowState, Micros, Origin, Rate,
    SockId, Timestamp,
};
