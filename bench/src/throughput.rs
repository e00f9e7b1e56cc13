//! Loopback throughput of one flow and of eight: our algorithms beside the kernel's own.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, bail};
use ccp_lab::{Bulk, Namespace, Need, Until, require};

use crate::contenders::{CONFIG, Contender, with_reports_per_ack};
use crate::daemon::{Daemon, Program};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::rounds::{Comparison, Run, measured};

pub(crate) const SECTION: &str = "throughput";

const FLOWS: [usize; 2] = [1, 8];
const LENGTH: Duration = Duration::from_millis(900);

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces])?;
    let daemon = Daemon::start(plan, Program::Ccpd, CONFIG)?;
    let contenders = with_reports_per_ack(&daemon)?;
    let namespace = Namespace::new("bench")?;
    let runs = measured(
        plan,
        SECTION,
        9,
        &FLOWS,
        &contenders,
        |_, flows, contender| {
            let gbit_per_s = measure(plan, &namespace, contender, *flows)?;
            Ok(Run {
                flows: *flows,
                contender: contender.key,
                value: gbit_per_s,
                gbit_per_s,
            })
        },
    )?;
    daemon.stop()?;
    let comparison = Comparison {
        section: SECTION,
        header: &[
            "flows",
            "under",
            "Gbit/s, median (least–most)",
            "÷ the kernel's own",
        ],
        rows: &["reno", "reno_ack", "kernel_reno", "cubic", "kernel_cubic"],
        keys: ["gbit_per_s", "speed_ratio"],
        picture: ["bench-throughput", "Loopback throughput"],
        chart: ["Loopback throughput", "Gbit/s"],
        tells_speed: false,
    };
    Ok(comparison.outcome(&FLOWS, &contenders, &runs))
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
