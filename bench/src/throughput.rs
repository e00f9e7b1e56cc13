//! Loopback throughput of one flow and of eight: our algorithms beside the kernel's own.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ccp_lab::{Bulk, Namespace, Need, Until, require};
use ccp_plot::{Bar, BarChart};

use crate::contenders::{CONFIG, Contender, with_reports_per_ack};
use crate::daemon::{Daemon, Program};
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::sample::{Samples, number};

pub(crate) const SECTION: &str = "throughput";

const FLOWS: [usize; 2] = [1, 8];
const LENGTH: Duration = Duration::from_millis(900);

/// In the order of the table.
const ROWS: [&str; 5] = ["reno", "reno_ack", "kernel_reno", "cubic", "kernel_cubic"];

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces])?;
    let daemon = Daemon::start(plan, Program::Ccpd, CONFIG)?;
    let mut contenders = with_reports_per_ack(&daemon)?;
    let namespace = Namespace::new("bench")?;
    let mut runs = Vec::new();
    for _ in 0..plan.times(9) {
        for flows in FLOWS {
            for contender in &contenders {
                interrupt::check()?;
                let gbit = measure(plan, &namespace, contender, flows);
                runs.push((flows, contender.key, gbit.with_context(|| contender.name)?));
            }
            // Nobody is always the one after the same other.
            contenders.rotate_left(1);
        }
    }
    daemon.stop()?;

    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new([
        "flows",
        "under",
        "Gbit/s, median (least–most)",
        "÷ the kernel's own",
    ]);
    let mut chart = BarChart::new("Loopback throughput", "Gbit/s")
        .subtitle("median, least and most of the runs, one after the other in turn");
    for flows in FLOWS {
        let of = |key: &str| {
            let these = runs.iter().filter(|run| (run.0, run.1) == (flows, key));
            Samples::new(these.map(|run| run.2))
        };
        let mut bars = Vec::new();
        for key in ROWS {
            let Some(contender) = contenders.iter().find(|one| one.key == key) else {
                continue;
            };
            let gbit = of(key);
            let ratio = gbit.median() / of(contender.beside).median();
            outcome.value(format!("{flows}_flows.{key}.gbit_per_s"), gbit.median());
            outcome.value(format!("{flows}_flows.{key}.speed_ratio"), ratio);
            table.row([
                flows.to_string(),
                contender.name.to_owned(),
                gbit.spread(),
                number(ratio),
            ]);
            bars.push(Bar::with_spread(
                contender.name.replace('`', ""),
                gbit.median(),
                gbit.least(),
                gbit.most(),
            ));
        }
        let name = if flows == 1 { "flow" } else { "flows" };
        chart = chart.group(format!("{flows} {name}"), bars);
    }
    outcome.tables.push(table);
    outcome.bars("bench-throughput", "Loopback throughput", chart);
    Ok(outcome)
}

/// All flows together, in gigabits per second.
fn measure(plan: &Plan, namespace: &Namespace, contender: &Contender, flows: usize) -> Result<f64> {
    let running = Bulk::new(Until::Elapsed(plan.time(LENGTH)))
        .congestion(contender.congestion.as_str())
        .port(contender.port)
        .check_content(false)
        .sample_every(None)
        .start_many(flows, namespace, namespace, Ipv4Addr::LOCALHOST)?;
    let mut sum = 0.0;
    for flow in running {
        let report = flow.wait()?;
        if report.congestion != contender.congestion {
            bail!("a flow ended under `{}`", report.congestion);
        }
        sum += report.goodput_bps() / 1e9;
    }
    Ok(sum)
}
