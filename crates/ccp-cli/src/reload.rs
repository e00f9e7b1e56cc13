//! `ccp reload`: the daemon reads its configuration again.

use std::path::Path;
use std::process::ExitCode;

use crate::daemon::{ask, print};

/// Asks for it and says what it changed.
pub(crate) fn run(socket: &Path) -> anyhow::Result<ExitCode> {
    let done = ask(socket, async |ccpd| ccpd.reload().await)?;
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
