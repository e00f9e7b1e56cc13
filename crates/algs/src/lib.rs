//! Congestion-control algorithms, one module each. No IO, no clock.
//!
//! | kind | what it does | source |
//! |---|---|---|
//! | [`constant`] | a fixed window, a fixed rate, or both | |
//! | [`cubic`] | a cubic curve back to the window of the last loss, HyStart++ | RFC 9438, 9406 |
//! | [`program`] | what a program in the datapath language says, without an agent | |
//! | [`reno`] | slow start, congestion avoidance, one halving per loss event | RFC 5681, 6582, 3465 |

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

pub mod constant;
pub mod cubic;
mod interval;
pub mod program;
pub mod reno;
mod variants;

pub use interval::Interval;

use ccp_core::{DuplicateKind, Registry};

/// Adds every kind of this crate to `registry`.
///
/// # Errors
/// If one of them is there already.
pub fn register(registry: &mut Registry) -> Result<(), DuplicateKind> {
    registry.register("constant", constant::Constant::from_params)?;
    registry.register("cubic", cubic::Cubic::from_params)?;
    registry.register("program", program::Program::from_params)?;
    registry.register("reno", reno::Reno::from_params)
}

/// A registry of every kind of this crate.
///
/// ```
/// use ccp_core::Params;
/// let slow = Params::parse_toml("slow", "kind = \"constant\"\ncwnd_packets = 20")?;
/// let slow = algs::registry().build(&slow)?;
/// assert_eq!((slow.name(), slow.kind()), ("slow", "constant"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn registry() -> Registry {
    let mut registry = Registry::new();
    // An empty registry has none of them, and their names differ.
    let added = register(&mut registry);
    debug_assert!(added.is_ok(), "{added:?}");
    registry
}
