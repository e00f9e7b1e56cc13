//! `ccp reload`: the daemon reads its configuration again.

use std::path::Path;
use std::process::ExitCode;

use crate::daemon::{ask, json, print};

/// Arguments of `ccp reload`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Asks for it and says what it changed.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let done = ask(socket, async |ccpd| ccpd.reload().await)?;
    if args.json {
        print(&json(&done)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let changed = if done.changed.is_empty() {
        "none changed".to_owned()
    } else {
        format!("new or changed: {}", done.changed.join(", "))
    };
    print(&format!(
        "{} algorithms ({changed}), {} rules\n",
        done.algorithms, done.rules
    ))?;
    Ok(ExitCode::SUCCESS)
}
