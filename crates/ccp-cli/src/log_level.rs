//! `ccp log-level`: what the daemon logs.

use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;

use crate::daemon::{ask, json, print};

/// Arguments of `ccp log-level`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What is to be logged from now on, as in RUST_LOG: error, warn, info, debug or trace, also for
    /// single parts, as in `info,ccpd::datapath=debug`. Without it nothing changes.
    filter: Option<String>,

    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Logged<'a> {
    filter: &'a str,
}

/// Asks, or changes, and prints what is logged now.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let filter = args.filter.as_deref();
    let now = ask(socket, async |ccpd| ccpd.log_filter(filter).await)?;
    let text = if args.json {
        json(&Logged { filter: &now })?
    } else {
        format!("{now}\n")
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}
