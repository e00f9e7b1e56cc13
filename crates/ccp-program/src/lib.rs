//! What a datapath runs: registers, the program's intermediate form, its verifier and its meaning.
//!
//! A [`Program`] is a list of *clauses*, `when condition { body }`, that a datapath runs once per
//! acknowledgement over 64-bit unsigned registers. The compiler makes one from text; three back
//! ends turn it into libccp's bytecode, our extended INSTALL message and eBPF.
//!
//! # One invocation
//!
//! 1. Staged changes (another program, updated fields) are applied.
//! 2. The measurements of this acknowledgement, the window, the rate and the time since the last
//!    reset (`Micros`) are loaded.
//! 3. The clauses are taken in order. The condition's code runs, then its test is looked at. If
//!    it is not zero the body runs, and unless the body said [`Inst::Fallthrough`] no later
//!    clause is looked at.
//! 4. If nothing faulted, window and rate are applied and, if the program said
//!    [`Inst::Report`], the report variables are sent. Once the channel has taken the report,
//!    volatile variables return to their defaults; if it could not, they go on accumulating, so
//!    that the next report holds both.
//!
//! A [`Fault`] undoes the whole invocation: every register is as it was before, no window or rate
//! is applied, nothing is reported. [`interp`] is this description as code.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod interp;
pub mod libccp;
mod program;
mod register;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod verify;

pub use interp::Fault;
pub use program::{BinaryOp, Clause, Inst, Operand, Program, Reg, Variable};
pub use register::{BindError, RegisterDef, RegisterTable, Type, Unit};
pub use verify::{Limits, VerifyError, verify};
