//! Generated programs against the reference semantics, in the kernel.
//!
//! `CCP_CODEGEN_PROGRAMS=n` runs that many random programs (default 3000), `CCP_CODEGEN_SEED=n`
//! starts elsewhere; a failure names the seed of the one program that shows it. `CCP_LANG_PROGRAMS` and
//! `CCP_LANG_SEED` do the same for programs from text (default 1000).

mod differential;
mod edges;
mod harness;
mod language;
mod sizes;
mod window;
