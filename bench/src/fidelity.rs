//! A flow alone on an emulated bottleneck: our algorithms beside the kernel's own of the same name.

use std::time::Duration;

use anyhow::{Result, bail};
use ccp_lab::{
    Bulk, Direction, EmulatedLink, FlowReport, Namespace, Need, Pipe, Sample, Until, require,
};
use ccp_plot::{Panel, Series, TimeChart};

use crate::contenders::{CONFIG, Contender, PAIRS, pairs};
use crate::daemon::{Daemon, Program};
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::rounds::measured;
use crate::sample::{Samples, pair};

pub(crate) const SECTION: &str = "fidelity";

const LENGTH: Duration = Duration::from_secs(15);
const TIMES: usize = 3;
const SAMPLES: Duration = Duration::from_millis(10);

struct Link {
    key: &'static str,
    name: &'static str,
    rate_bps: u64,
    /// One way.
    delay: Duration,
    queue_bytes: u64,
    /// Probability, of each packet.
    loss: f64,
}

const LINKS: [Link; 4] = [
    Link {
        key: "bdp",
        name: "20 Mbit/s, 40 ms, a queue of 1 BDP",
        rate_bps: 20_000_000,
        delay: Duration::from_millis(20),
        queue_bytes: 100_000,
        loss: 0.0,
    },
    Link {
        key: "shallow",
        name: "100 Mbit/s, 20 ms, a queue of 0.3 BDP",
        rate_bps: 100_000_000,
        delay: Duration::from_millis(10),
        queue_bytes: 75_000,
        loss: 0.0,
    },
    Link {
        key: "loss",
        name: "10 Mbit/s, 80 ms, 0.1 % random loss",
        rate_bps: 10_000_000,
        delay: Duration::from_millis(40),
        queue_bytes: 100_000,
        loss: 0.001,
    },
    Link {
        key: "deep",
        name: "50 Mbit/s, 10 ms, a queue of 4 BDP",
        rate_bps: 50_000_000,
        delay: Duration::from_millis(5),
        queue_bytes: 250_000,
        loss: 0.0,
    },
];

/// A flow of one contender over one link.
struct Run {
    contender: &'static str,
    link: &'static str,
    mbit_per_s: f64,
    rtt_ms: f64,
    rtt_p95_ms: f64,
    resent: f64,
    samples: Vec<Sample>,
}

/// One of the four numbers that are compared.
struct Metric {
    key: &'static str,
    name: &'static str,
    of: fn(&Run) -> f64,
}

const METRICS: [Metric; 4] = [
    Metric {
        key: "mbit_per_s",
        name: "Mbit/s",
        of: |run| run.mbit_per_s,
    },
    Metric {
        key: "rtt_ms",
        name: "mean RTT (ms)",
        of: |run| run.rtt_ms,
    },
    Metric {
        key: "rtt_p95_ms",
        name: "RTT p95 (ms)",
        of: |run| run.rtt_p95_ms,
    },
    Metric {
        key: "resent",
        name: "packets resent",
        of: |run| run.resent,
    },
];

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces, Need::Tun])?;
    let daemon = Daemon::start(plan, Program::Ccpd, CONFIG)?;
    let contenders = pairs(&daemon)?;
    let measured = measured(
        plan,
        SECTION,
        TIMES,
        &[()],
        &contenders,
        |round, (), contender| measure(plan, contender, round as u64),
    )?;
    daemon.stop()?;
    let runs: Vec<Run> = measured.into_iter().flatten().collect();
    Ok(outcome(&runs))
}

/// One flow over each of the links, all at once: the links have nothing in common but the CPUs.
fn measure(plan: &Plan, contender: &Contender, round: u64) -> Result<Vec<Run>> {
    let mut flows = Vec::new();
    for link in &LINKS {
        let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
        let mut pipe = Pipe::new(link.rate_bps, link.delay).queue_bytes(link.queue_bytes);
        if link.loss > 0.0 {
            // In each round other packets, the same ones for everybody.
            pipe = pipe.loss(link.loss, 1 + round);
        }
        let wire = EmulatedLink::new(&client, &server, pipe)?;
        flows.push((link, client, server, wire));
    }
    let mut running = Vec::new();
    for (link, client, server, wire) in &flows {
        let flow = Bulk::new(Until::Elapsed(plan.time(LENGTH)))
            .congestion(contender.congestion.as_str())
            .port(contender.port)
            .check_content(false)
            .sample_every(SAMPLES)
            .start(client, server, wire.b_v4())?;
        running.push((*link, wire, flow));
    }
    let mut runs = Vec::new();
    for (link, wire, flow) in running {
        let report = flow.wait()?;
        if report.congestion != contender.congestion {
            bail!("the flow ended under `{}`", report.congestion);
        }
        let overruns = wire.overruns(Direction::AToB)?;
        if overruns > 0 {
            eprintln!(
                "ccp-bench: {SECTION}: {}: the emulated link fell behind and lost {overruns} packets of its own",
                link.name
            );
        }
        runs.push(Run::new(contender.key, link.key, report));
    }
    Ok(runs)
}

impl Run {
    fn new(contender: &'static str, link: &'static str, report: FlowReport) -> Self {
        let srtt = report.samples.iter().map(|s| s.info.srtt.as_secs_f64());
        let rtt = Samples::new(srtt.filter(|&rtt| rtt > 0.0).map(|rtt| rtt * 1e3));
        Self {
            contender,
            link,
            mbit_per_s: report.goodput_bps() / 1e6,
            rtt_ms: rtt.mean(),
            rtt_p95_ms: rtt.quantile(0.95),
            resent: report.last.retransmits.into(),
            samples: report.samples,
        }
    }
}

fn outcome(runs: &[Run]) -> Outcome {
    let mut outcome = Outcome::new(SECTION);
    let header = ["the bottleneck, and the algorithm"]
        .into_iter()
        .chain(METRICS.iter().map(|metric| metric.name));
    let mut table = Table::new(header);
    for link in &LINKS {
        for (algorithm, ours, kernels) in PAIRS {
            let mut row = vec![format!("{}: {algorithm}", link.name)];
            for metric in &METRICS {
                let median = |contender| {
                    let these = runs
                        .iter()
                        .filter(|run| run.link == link.key && run.contender == contender);
                    Samples::new(these.map(metric.of)).median()
                };
                let (own, kernel) = (median(ours), median(kernels));
                outcome.value(format!("{}.{ours}.{}", link.key, metric.key), own);
                outcome.value(format!("{}.{kernels}.{}", link.key, metric.key), kernel);
                outcome.value(
                    format!("{}.{ours}.{}_ratio", link.key, metric.key),
                    own / kernel,
                );
                row.push(pair(own, kernel));
            }
            table.row(row);
        }
        let chart = chart(link, runs);
        outcome.times(
            &format!("bench-fidelity-{}", link.key),
            &format!("Windows of ours and of the kernel's: {}", link.name),
            chart,
        );
    }
    outcome.tables.push(table);
    outcome
}

/// The first run of each over the link.
fn chart(link: &Link, runs: &[Run]) -> TimeChart {
    let mut chart = TimeChart::new(link.name)
        .subtitle("each flow alone on a link of its own; the first run of each")
        .x_label("time (s)");
    for (algorithm, ours, kernels) in PAIRS {
        let algorithm = algorithm.trim_matches('`');
        let mut window = Panel::new(format!("window under {algorithm} (packets)")).height(190.0);
        for (name, key) in [("the kernel's", kernels), ("ours", ours)] {
            let run = runs
                .iter()
                .find(|run| run.link == link.key && run.contender == key);
            if let Some(run) = run {
                window = window.series(Series::steps(name, changes(&run.samples)));
            }
        }
        chart = chart.panel(window);
    }
    chart
}

/// The window wherever it changes, and at the end.
fn changes(samples: &[Sample]) -> Vec<(f64, f64)> {
    let mut points: Vec<(f64, f64)> = Vec::new();
    for sample in samples {
        let point = (sample.at.as_secs_f64(), sample.info.cwnd_packets.into());
        if points.last().is_none_or(|last| last.1 != point.1) {
            points.push(point);
        }
    }
    if let (Some(sample), Some(&(_, window))) = (samples.last(), points.last()) {
        points.push((sample.at.as_secs_f64(), window));
    }
    points
}
