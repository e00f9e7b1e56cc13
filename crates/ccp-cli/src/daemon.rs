//! What the subcommands that ask a running daemon have in common.

use std::borrow::Cow;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use ccp_control::{Client, ClientError, plain};
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};

/// Connects to the daemon on `socket` and does `asking`.
pub(crate) fn ask<T>(
    socket: &Path,
    asking: impl AsyncFnOnce(&mut Client) -> Result<T, ClientError>,
) -> anyhow::Result<T> {
    Ok(runtime()?.block_on(async { asking(&mut Client::connect(socket).await?).await })?)
}

/// What waits for the daemon.
pub(crate) fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start")
}

/// Ends after `time`, counted from the call; without one, or with one that no clock reaches, never.
pub(crate) fn over(time: Option<Duration>) -> impl Future<Output = ()> {
    let until = time.and_then(|time| Instant::now().checked_add(time));
    async move {
        match until {
            Some(until) => sleep_until(until).await,
            None => std::future::pending().await,
        }
    }
}

/// Prints `text`. A reader that has seen enough, as `head` does, is no error.
pub(crate) fn print(text: &str) -> anyhow::Result<()> {
    say(text).map(drop)
}

/// Prints `text` now, of which more may follow. Returns whether anybody still reads.
pub(crate) fn say(text: &str) -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        other => other
            .map(|()| true)
            .context("can't write to standard output"),
    }
}

/// `value` as JSON for people and scripts.
pub(crate) fn json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    let mut json = serde_json::to_string_pretty(value).context("can't write JSON")?;
    json.push('\n');
    Ok(json)
}

/// A column's heading, and whether its cells are set flush right, so that numbers can be compared.
pub(crate) type Column = (&'static str, bool);

/// A table with aligned columns.
pub(crate) fn table<const N: usize>(columns: [Column; N], rows: &[[String; N]]) -> String {
    let mut widths = columns.map(|(heading, _)| heading.len());
    let rows: Vec<[Cow<'_, str>; N]> = rows
        .iter()
        .map(|row| row.each_ref().map(|cell| plain(cell)))
        .collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; N]| {
        let start = text.len();
        for ((cell, &width), (_, right)) in cells.iter().zip(&widths).zip(columns) {
            if text.len() > start {
                text.push_str("  ");
            }
            if right {
                text.push_str(&format!("{cell:>width$}"));
            } else {
                text.push_str(&format!("{cell:<width$}"));
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    };
    line(columns.map(|(heading, _)| heading));
    for row in &rows {
        line(row.each_ref().map(AsRef::as_ref));
    }
    text
}
