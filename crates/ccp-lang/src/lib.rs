//! The datapath language: program text → checked [`Program`] → a target's code.
//!
//! ```
//! use ccp_lang::{RegisterTable, compile};
//!
//! let source = "
//!     (def (Report (volatile minrtt +infinity)))
//!     (when true
//!         (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
//!         (fallthrough)
//!     )
//!     (when (> Micros 42000)
//!         (report)
//!         (reset)
//!     )";
//! let compiled = compile(source, &RegisterTable::well_known())?;
//! assert_eq!(compiled.program.reports[0].name, "minrtt");
//!
//! // For a datapath that runs the C library:
//! let bytecode = ccp_lang::libccp::lower(&compiled.program)?;
//! assert_eq!(bytecode.expressions.len(), 2);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The stages, each in its file: `scan` (brackets), `parse` (text → AST with places), `scope` and
//! `check` (names and types), `lower` (IR), then a target: [`libccp`] here, others elsewhere.
//! Mistakes are collected by all of them and come out as [`Diagnostics`], several per run.
//!
//! No text makes the compiler panic or recurse without bound: nesting is limited to
//! [`MAX_DEPTH`], sources to [`MAX_SOURCE`] bytes. It does no IO.
//!
//! The language itself is described in `docs/language.md`.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

// What pest derives names its types by this path.
extern crate alloc;

mod ast;
mod bind;
mod check;
mod error;
mod format;
mod hir;
pub mod libccp;
mod listing;
mod lower;
mod near;
mod parse;
mod render;
mod scan;
mod scope;
mod span;
#[cfg(feature = "testing")]
pub mod testing;

use ccp_program::{Limits, Program, VerifyError};

pub use ccp_program::RegisterTable;
pub use error::{Diagnostic, Diagnostics, Severity};
pub use format::format;
pub use listing::listing;
pub use lower::SourceMap;
pub use scan::{MAX_DEPTH, MAX_SOURCE};
pub use span::{Position, Span};

use error::{Errors, Problem};

/// What compiling a program gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compiled {
    /// The program. It passes [`ccp_program::verify`] with [`Limits::MAX`], names only the
    /// primitives that it uses, and `Cwnd` and `Rate` are its first two writable registers.
    pub program: Program,
    /// What is legal and probably a mistake.
    pub warnings: Diagnostics,
    /// Where each instruction comes from.
    pub map: SourceMap,
}

/// Compiles program text for a datapath with the registers of `table`
/// ([`RegisterTable::well_known`] if nothing is known of the datapath).
///
/// # Errors
/// Everything that is wrong with the text, in its order; see [`Diagnostics::render`].
pub fn compile(source: &str, table: &RegisterTable) -> Result<Compiled, Diagnostics> {
    let mut errors = Errors::default();
    if !scan::check(source, &mut errors) {
        return Err(errors.finish(source));
    }
    let ast = parse::program(source, &mut errors);
    let checked = check::check(&ast, table, &mut errors);
    if errors.any() {
        return Err(errors.finish(source));
    }
    let (program, map) = lower::lower(checked);
    if let Err(refusal) = ccp_program::verify(&program, &Limits::MAX) {
        let span = map.too_far(&program, &Limits::MAX);
        let problem = match refusal {
            VerifyError::TooMany { what, got, limit } => Problem::TooMany { what, got, limit },
            // The stages before have seen to everything else.
            other => Problem::Refused {
                why: other.to_string(),
            },
        };
        errors.push(span.unwrap_or_default(), problem);
        return Err(errors.finish(source));
    }
    Ok(Compiled {
        program,
        warnings: errors.finish(source),
        map,
    })
}

#[cfg(test)]
mod tests;
