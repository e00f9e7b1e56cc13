//! `ccp top --json`: what comes first, once per interval, for programs.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use ccp_control::{Client, FlowStatus};
use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::model::Model;
use super::{Args, ONCE};
use crate::daemon::{over, runtime, say};

/// A look at the flows.
#[derive(Serialize)]
struct Look<'a> {
    time_us: u64,
    /// How many flows fit the filter, of which these come first.
    matching: u64,
    flows: Vec<Line<'a>>,
}

/// A flow, and how it has changed since the look before.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    flow: &'a FlowStatus,
    goodput_bytes_per_s: Option<u64>,
    reports_per_s: Option<f64>,
}

/// Prints until there has been enough, Ctrl-C, or nobody reads any more.
pub(super) fn run(socket: &Path, args: &Args, model: &mut Model) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(lines(socket, args, model))?;
    Ok(ExitCode::SUCCESS)
}

async fn lines(socket: &Path, args: &Args, model: &mut Model) -> anyhow::Result<()> {
    let mut ccpd = Client::connect(socket).await?;
    let mut enough = if args.once { Some(1) } else { args.count };
    let over = over(args.time);
    tokio::pin!(over);
    let mut interval = tokio::time::interval(args.interval);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while enough != Some(0) {
        tokio::select! {
            _ = interval.tick() => {}
            () = &mut over => return Ok(()),
            interrupted = tokio::signal::ctrl_c() => {
                return interrupted.context("can't wait for signals");
            }
        }
        let question = model.question(args.limit.unwrap_or(ONCE));
        let selected = ccpd.select(&question).await?;
        model.show(selected, String::new(), Instant::now());
        if !say(&line(model, now_us())?)? {
            return Ok(());
        }
        enough = enough.map(|left| left - 1);
    }
    Ok(())
}

/// What the model shows, as a line.
pub(super) fn line(model: &Model, time_us: u64) -> anyhow::Result<String> {
    let look = Look {
        time_us,
        matching: model.matching(),
        flows: model
            .rows()
            .iter()
            .map(|row| Line {
                flow: &row.flow,
                goodput_bytes_per_s: row.goodput,
                reports_per_s: row.reports,
            })
            .collect(),
    };
    let mut line = serde_json::to_string(&look).context("can't write JSON")?;
    line.push('\n');
    Ok(line)
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}
