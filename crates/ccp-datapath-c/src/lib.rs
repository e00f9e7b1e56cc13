//! The datapath runtime ([`ccp_datapath`]) for C.
//!
//! Two ways in, in one library (`libccpdp`):
//!
//! * `ccpdp.h`: the runtime's own interface ([`flow`], [`datapath`], [`measurements`]).
//! * `libccp/ccp.h`: the public interface of libccp ([`compat`]), so that a datapath written for it
//!   links with this library instead, without change.
//!
//! Nothing unwinds into C: a panic is an error in this library, is told as such, and leaves a default.

#![deny(unsafe_code)]

pub mod compat;
pub mod datapath;
pub mod error;
pub mod flow;
pub mod measurements;
pub mod sink;
