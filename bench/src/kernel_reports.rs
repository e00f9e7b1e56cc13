//! What a report of kernel TCP costs the daemon: flows that report on every acknowledgement and get an
//! update for each, as on the Unix socket.

use std::net::Ipv4Addr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ccp_control::FlowStatus;
use ccp_lab::{Bulk, Namespace, Need, Until, require};

use crate::daemon::{Daemon, Program};
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::sample::{Samples, number};

pub(crate) const SECTION: &str = "kernel-reports";

const CONFIG: &str = r#"
[algorithms.answer]

[policy]
default = "answer"
"#;

struct Run {
    reports_per_s: f64,
    cpu_us: f64,
    missed: f64,
    busy: f64,
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces])?;
    let namespace = Namespace::new("bench")?;
    // As on a network: segments of 1448 bytes, each a packet of its own, so that there are many ACKs.
    namespace.ip(["link", "set", "lo", "mtu", "1500", "gso_max_segs", "1"])?;
    let flows: &[usize] = if plan.quick { &[1, 10] } else { &[1, 10, 100] };
    let mut runs: Vec<(usize, Run)> = Vec::new();
    for _ in 0..plan.times(5) {
        for n in flows {
            interrupt::check()?;
            let run = measure(plan, &namespace, *n);
            runs.push((*n, run.with_context(|| format!("{n} flows"))?));
        }
    }
    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new([
        "flows",
        "reports per second",
        "CPU per report (µs)",
        "CPUs used by `ccpd`",
        "reports that the algorithm missed (%)",
    ]);
    for n in flows {
        let of = |value: fn(&Run) -> f64| {
            let these = runs.iter().filter(|(m, _)| m == n);
            Samples::new(these.map(|(_, run)| value(run)))
        };
        let (rate, cpu) = (of(|run| run.reports_per_s), of(|run| run.cpu_us));
        outcome.value(format!("{n}_flows.reports_per_s"), rate.median());
        outcome.value(format!("{n}_flows.cpu_us"), cpu.median());
        table.row([
            n.to_string(),
            rate.spread(),
            cpu.spread(),
            number(of(|run| run.busy).median()),
            number(of(|run| run.missed).median() * 100.0),
        ]);
    }
    outcome.tables.push(table);
    Ok(outcome)
}

fn measure(plan: &Plan, namespace: &Namespace, flows: usize) -> Result<Run> {
    let daemon = Daemon::start(plan, Program::Agent, CONFIG)?;
    let traffic = Bulk::new(Until::Stopped)
        .congestion(daemon.name())
        .check_content(false)
        .sample_every(None)
        .start_many(flows, namespace, namespace, Ipv4Addr::LOCALHOST)?;
    daemon.await_running(flows)?;
    thread::sleep(plan.time(Duration::from_millis(300)));

    let before = count(&daemon.flows()?);
    let (cpu, started) = (daemon.process().cpu_time()?, Instant::now());
    thread::sleep(plan.time(Duration::from_millis(2000)));
    let (cpu, time) = (
        daemon.process().cpu_time()?.saturating_sub(cpu),
        started.elapsed(),
    );
    let after = count(&daemon.flows()?);

    for flow in &traffic {
        flow.stop();
    }
    for flow in traffic {
        flow.wait()?;
    }
    daemon.stop()?;
    let reports = after.0.saturating_sub(before.0) as f64;
    let missed = after.1.saturating_sub(before.1) as f64;
    if reports == 0.0 {
        bail!("no reports came");
    }
    let all = reports + missed;
    Ok(Run {
        reports_per_s: all / time.as_secs_f64(),
        cpu_us: cpu.as_secs_f64() * 1e6 / all,
        missed: missed / all,
        busy: cpu.as_secs_f64() / time.as_secs_f64(),
    })
}

/// Reports that algorithms got, and those that they missed.
fn count(flows: &[FlowStatus]) -> (u64, u64) {
    flows.iter().fold((0, 0), |(got, missed), flow| {
        (got + flow.reports, missed + flow.reports_missed)
    })
}
