//! Very many flows of one datapath on a Unix socket, beside portus: how fast they come, what memory they
//! take, and how long a report of any of them waits for its answer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::datapath::Datapath;
use super::{Agent, Peer, on_cpu};
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::process::cpus;
use crate::sample::{Samples, number};

pub(crate) const SECTION: &str = "unix-crowd";

/// So many reports are under way at any time.
const AT_ONCE: usize = 8;

struct Measured {
    opened_per_s: f64,
    bytes_per_flow: f64,
    answered_us: Samples,
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let flows = if plan.quick { 5_000 } else { 100_000 };
    let mut measured: Vec<(Peer, Measured)> = Vec::new();
    for _ in 0..plan.times(3) {
        for peer in Peer::ALL {
            interrupt::check()?;
            let one = measure(peer, flows, plan.time(Duration::from_secs(2)));
            measured.push((peer, one.with_context(|| peer.name())?));
        }
    }
    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new([
        "agent",
        "flows",
        "opened per second",
        "bytes of memory per flow",
        "answered after p50 (µs)",
        "p99 (µs)",
    ]);
    for peer in Peer::ALL {
        let of = |value: fn(&Measured) -> f64| {
            let runs = measured.iter().filter(|(p, _)| *p == peer);
            Samples::new(runs.map(|(_, one)| value(one)))
        };
        let opened = of(|one| one.opened_per_s);
        let bytes = of(|one| one.bytes_per_flow);
        let p50 = of(|one| one.answered_us.quantile(0.5)).median();
        let p99 = of(|one| one.answered_us.quantile(0.99)).median();
        let key = |what: &str| format!("{}.{what}", peer.name());
        outcome.value(key("opened_per_s"), opened.median());
        outcome.value(key("bytes_per_flow"), bytes.median());
        outcome.value(key("answered_p50_us"), p50);
        outcome.value(key("answered_p99_us"), p99);
        table.row([
            peer.name().to_owned(),
            flows.to_string(),
            opened.spread(),
            bytes.spread(),
            number(p50),
            number(p99),
        ]);
    }
    outcome.tables.push(table);
    Ok(outcome)
}

fn measure(peer: Peer, flows: usize, time: Duration) -> Result<Measured> {
    let (traffic, agent_cpu) = cpus();
    let agent = Agent::start(peer, agent_cpu)?;
    let run = || {
        let mut datapath = Datapath::connect(&agent.datapath, &agent.socket)?;
        // What the first flow takes is not a flow's.
        datapath.open(1)?;
        let before = agent.process.resident_bytes()?;
        let started = Instant::now();
        datapath.open(flows)?;
        let opened = started.elapsed();
        // Until each has reported several times, at the pace of the slowest.
        let run = datapath.run(time, AT_ONCE)?;
        let grown = agent.process.resident_bytes()?.saturating_sub(before);
        anyhow::Ok(Measured {
            opened_per_s: flows as f64 / opened.as_secs_f64(),
            bytes_per_flow: grown as f64 / flows as f64,
            answered_us: run.answered_after,
        })
    };
    on_cpu(traffic, run)
}
