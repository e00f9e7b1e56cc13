//! `ccp lang`: programs of the datapath language, without a daemon.
//!
//! What is asked for goes to standard output, messages go to standard error; with `--format json`
//! they are what is asked for. Exit codes: 0 no errors, 1 errors, 2 wrong usage.

mod check;
mod compile;
mod fmt;
mod run;
mod source;
mod target;
mod trace;

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;

/// Arguments of `ccp lang`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Says what is wrong with programs, and what is probably a mistake.
    Check(check::Args),
    /// Prints what a program becomes: a listing, the bytes that install it, or JSON.
    Compile(compile::Args),
    /// Puts programs into their usual shape, in place.
    Fmt(fmt::Args),
    /// Runs a program over recorded acknowledgements and prints window, rate and reports.
    Run(run::Args),
}

/// Does what is asked for.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Check(args) => check::run(args),
        Command::Compile(args) => compile::run(args),
        Command::Fmt(args) => fmt::run(args),
        Command::Run(args) => run::run(args),
    }
}

/// Prints to standard output.
fn print(text: &str) -> anyhow::Result<()> {
    finish(io::stdout().lock().write_all(text.as_bytes()))
}

/// A reader that has seen enough, as `head` does, is no failure.
fn finish(written: io::Result<()>) -> anyhow::Result<()> {
    match written {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other.context("can't write to standard output"),
    }
}
