//! How long flows take that end soon: our algorithms beside the kernel's own.

use std::time::Duration;

use anyhow::{Result, bail};
use ccp_lab::{EmulatedLink, Namespace, Need, Pipe, ShortFlows, require};
use ccp_plot::{Bar, BarChart};

use crate::contenders::{CONFIG, PAIRS, pairs};
use crate::daemon::{Daemon, Program};
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::rounds::measured;
use crate::sample::{Samples, pair};

pub(crate) const SECTION: &str = "short-flows";

const ROUNDS: usize = 4;

struct Size {
    key: &'static str,
    name: &'static str,
    bytes: usize,
    /// Of each algorithm.
    flows: usize,
    at_once: usize,
}

const SIZES: [Size; 4] = [
    Size {
        key: "10kb",
        name: "10 KB",
        bytes: 10_000,
        flows: 200,
        at_once: 10,
    },
    Size {
        key: "100kb",
        name: "100 KB",
        bytes: 100_000,
        flows: 200,
        at_once: 10,
    },
    Size {
        key: "1mb",
        name: "1 MB",
        bytes: 1_000_000,
        flows: 80,
        at_once: 2,
    },
    Size {
        key: "10mb",
        name: "10 MB",
        bytes: 10_000_000,
        flows: 12,
        at_once: 1,
    },
];

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces, Need::Tun])?;
    let daemon = Daemon::start(plan, Program::Ccpd, CONFIG)?;
    let contenders = pairs(&daemon)?;
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    // A queue of one bandwidth-delay product.
    let pipe = Pipe::new(100_000_000, Duration::from_millis(10)).queue_bytes(250_000);
    let link = EmulatedLink::new(&client, &server, pipe)?;
    let sizes: &[Size] = if plan.quick { &SIZES[..2] } else { &SIZES };
    // By size and contender.
    let times = measured(
        plan,
        SECTION,
        ROUNDS,
        sizes,
        &contenders,
        |_, size, contender| {
            let report = ShortFlows::new(size.flows / ROUNDS, size.bytes)
                .at_once(size.at_once)
                .congestion(contender.congestion.as_str())
                .port(contender.port)
                .run(&client, &server, link.b_v4())?;
            if let Some(failure) = report.failures.first() {
                bail!("a flow failed: {failure}");
            }
            if report.congestion.keys().ne([&contender.congestion]) {
                bail!("flows ended under {:?}", report.congestion);
            }
            Ok((size.key, contender.key, report.times))
        },
    )?;
    daemon.stop()?;

    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new(["flows", "p50 (ms)", "p95 (ms)", "flows of each"]);
    // The sizes are a thousand times apart.
    let mut chart = BarChart::new(
        "How long short flows take",
        "÷ the median of the kernel's algorithm of the same name",
    )
    .subtitle("100 Mbit/s, 20 ms, a queue of 1 BDP; quartiles, 1st and 99th percentile");
    for size in sizes {
        let of = |contender| {
            let these = times.iter().filter(|t| (t.0, t.1) == (size.key, contender));
            let these = these.flat_map(|(_, _, times)| times);
            Samples::new(these.map(|time| time.as_secs_f64() * 1e3))
        };
        let mut boxes = Vec::new();
        for (algorithm, ours, kernels) in PAIRS {
            let (own, kernel) = (of(ours), of(kernels));
            let mut row = vec![format!("{}: {algorithm}", size.name)];
            for (name, share) in [("p50", 0.5), ("p95", 0.95)] {
                let (own, kernel) = (own.quantile(share), kernel.quantile(share));
                outcome.value(format!("{}.{ours}.{name}_ms", size.key), own);
                outcome.value(format!("{}.{kernels}.{name}_ms", size.key), kernel);
                outcome.value(format!("{}.{ours}.{name}_ratio", size.key), own / kernel);
                row.push(pair(own, kernel));
            }
            row.push(own.len().to_string());
            table.row(row);
            for (name, samples) in [("ours", &own), ("the kernel's", &kernel)] {
                let relative = samples.iter().map(|time| time / kernel.median());
                boxes.extend(Bar::samples(format!("{ours}, {name}"), relative));
            }
        }
        chart = chart.group(size.name, boxes);
    }
    outcome.tables.push(table);
    outcome.bars("bench-short-flows", "How long short flows take", chart);
    Ok(outcome)
}
