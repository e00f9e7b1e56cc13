//! Programs in the form in which they run, and their registers.
//!
//! A program is [decoded](Code::new) once, when it is installed: clauses become one list of
//! operations with jumps, comparisons that are only looked at become part of the jump, and every
//! operand becomes a place in one flat array that a flow has. Constants have places there too, so that
//! an operation never asks what kind of operand it has. What it means is `ccp_program::interp`'s to
//! say; tests compare the two on random programs.

mod decode;
mod file;
mod op;
mod run;

pub(crate) use decode::Code;
pub(crate) use file::File;
pub(crate) use run::{Inputs, invoke};

/// Where `Cwnd` is in every file of registers.
pub(crate) const CWND: usize = 0;
/// Where `Rate` is.
pub(crate) const RATE: usize = 1;

#[cfg(test)]
mod tests;
