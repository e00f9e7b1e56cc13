//! CPU time of the whole machine per gigabyte at a fixed rate: our algorithms beside the kernel's own.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ccp_lab::{Bulk, CpuMeter, Namespace, Need, RunningFlow, Until, VethLink, VethSpec, require};
use ccp_plot::{Bar, BarChart};

use crate::contenders::{CONFIG, Contender, pairs};
use crate::daemon::{Daemon, Program};
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::sample::{Samples, number};

pub(crate) const SECTION: &str = "cpu";

/// All flows together. A fraction of what the machine can do, so that the link is the limit and not the CPU.
const RATE_BPS: u64 = 4_000_000_000;
const FLOWS: [usize; 3] = [1, 8, 64];
/// In the order of the table.
const ROWS: [&str; 4] = ["reno", "kernel_reno", "cubic", "kernel_cubic"];

struct Run {
    flows: usize,
    contender: &'static str,
    gbit_per_s: f64,
    cpu_ms_per_gb: f64,
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces, Need::Tc])?;
    let daemon = Daemon::start(plan, Program::Ccpd, CONFIG)?;
    let mut contenders = pairs(&daemon)?;
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::limited(RATE_BPS))?;
    let mut runs = Vec::new();
    for _ in 0..plan.times(5) {
        for flows in FLOWS {
            for contender in &contenders {
                interrupt::check()?;
                let traffic = Bulk::new(Until::Stopped)
                    .congestion(contender.congestion.as_str())
                    .port(contender.port)
                    .check_content(false)
                    .sample_every(None)
                    .start_many(flows, &client, &server, link.b_v4())
                    .with_context(|| contender.name)?;
                let run = measure(plan, contender, traffic);
                runs.push(run.with_context(|| contender.name)?);
            }
            contenders.rotate_left(1);
        }
    }
    daemon.stop()?;

    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new([
        "flows",
        "under",
        "CPU ms of the machine per GB, median (least–most)",
        "÷ the kernel's own",
        "Gbit/s",
    ]);
    let mut chart = BarChart::new("CPU time of the whole machine at 4 Gbit/s", "ms per GB")
        .subtitle("median, least and most of the runs, one after the other in turn");
    for flows in FLOWS {
        let of = |key: &str, value: fn(&Run) -> f64| {
            let these = runs
                .iter()
                .filter(|run| run.flows == flows && run.contender == key);
            Samples::new(these.map(value))
        };
        let mut bars = Vec::new();
        for key in ROWS {
            let Some(contender) = contenders.iter().find(|one| one.key == key) else {
                continue;
            };
            let cost = of(key, |run| run.cpu_ms_per_gb);
            let beside = of(contender.beside, |run| run.cpu_ms_per_gb);
            let ratio = cost.median() / beside.median();
            outcome.value(format!("{flows}_flows.{key}.cpu_ms_per_gb"), cost.median());
            outcome.value(format!("{flows}_flows.{key}.cpu_ratio"), ratio);
            table.row([
                flows.to_string(),
                contender.name.to_owned(),
                cost.spread(),
                number(ratio),
                number(of(key, |run| run.gbit_per_s).median()),
            ]);
            bars.push(Bar::with_spread(
                contender.name.replace('`', ""),
                cost.median(),
                cost.least(),
                cost.most(),
            ));
        }
        let name = if flows == 1 { "flow" } else { "flows" };
        chart = chart.group(format!("{flows} {name}"), bars);
    }
    outcome.tables.push(table);
    outcome.bars("bench-cpu", "CPU time at a fixed rate", chart);
    Ok(outcome)
}

fn measure(plan: &Plan, contender: &Contender, traffic: Vec<RunningFlow>) -> Result<Run> {
    thread::sleep(plan.time(Duration::from_millis(300)));
    let received = || traffic.iter().map(RunningFlow::bytes_received).sum::<u64>();
    let (meter, started, before) = (CpuMeter::start()?, Instant::now(), received());
    thread::sleep(plan.time(Duration::from_millis(1000)));
    let (used, time, bytes) = (meter.stop()?, started.elapsed(), received() - before);
    for flow in &traffic {
        if flow.congestion()? != contender.congestion {
            bail!("a flow runs under `{}`", flow.congestion()?);
        }
    }
    let flows = traffic.len();
    for flow in &traffic {
        flow.stop();
    }
    for flow in traffic {
        flow.wait()?;
    }
    let gigabytes = bytes as f64 / 1e9;
    Ok(Run {
        flows,
        contender: contender.key,
        gbit_per_s: 8.0 * gigabytes / time.as_secs_f64(),
        cpu_ms_per_gb: 1e3 * used.machine.as_secs_f64() / gigabytes,
    })
}
