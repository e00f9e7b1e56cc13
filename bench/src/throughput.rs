//! Loopback throughput of one flow: our `reno` beside the kernel's own algorithms.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ccp_lab::{Bulk, CpuMeter, Namespace, Need, Until, require};
use ccp_plot::{Bar, BarChart};

use crate::daemon::{Daemon, Program, is_available};
use crate::interrupt;
use crate::outcome::{Chart, Outcome, Table};
use crate::plan::Plan;
use crate::sample::{Samples, number};

pub(crate) const SECTION: &str = "throughput";

const CONFIG: &str = r#"
[algorithms.reno]

[algorithms.reno_ack]
kind = "reno"
report = "ack"

[policy]
default = "reno"

[[policy.rule]]
match = { dst_port = 5002 }
algorithm = "reno_ack"
"#;

struct Measured {
    key: &'static str,
    name: &'static str,
    congestion: String,
    port: u16,
    gbit_per_s: Vec<f64>,
    /// CPU time of the whole machine per gigabyte.
    cpu_s_per_gb: Vec<f64>,
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces])?;
    let daemon = Daemon::start(plan, Program::Ccpd, CONFIG)?;
    let measured = |key, name, congestion: &str, port| Measured {
        key,
        name,
        congestion: congestion.to_owned(),
        port,
        gbit_per_s: Vec::new(),
        cpu_s_per_gb: Vec::new(),
    };
    let mut all = vec![
        measured("reno", "our `reno`, a report per RTT", daemon.name(), 5001),
        measured("kernel_reno", "the kernel's `reno`", "reno", 5003),
        measured(
            "reno_ack",
            "our `reno`, a report per ACK",
            daemon.name(),
            5002,
        ),
        measured("kernel_cubic", "the kernel's `cubic`", "cubic", 5004),
    ];
    for one in &all {
        if !is_available(&one.congestion) {
            bail!("this kernel has no congestion control `{}`", one.congestion);
        }
    }
    let namespace = Namespace::new("bench")?;
    for _ in 0..plan.times(12) {
        for one in &mut all {
            interrupt::check()?;
            measure(plan, &namespace, one).with_context(|| one.name)?;
        }
        // Nobody is always the one after the same other.
        all.rotate_left(1);
    }
    daemon.stop()?;
    Ok(outcome(&all))
}

fn measure(plan: &Plan, namespace: &Namespace, measured: &mut Measured) -> Result<()> {
    let meter = CpuMeter::start()?;
    let report = Bulk::new(Until::Elapsed(plan.time(Duration::from_millis(1200))))
        .congestion(measured.congestion.as_str())
        .port(measured.port)
        .check_content(false)
        .sample_every(None)
        .start(namespace, namespace, Ipv4Addr::LOCALHOST)?
        .wait()?;
    let used = meter.stop()?;
    if report.congestion != measured.congestion {
        bail!("the flow ended under `{}`", report.congestion);
    }
    let gigabytes = report.bytes as f64 / 1e9;
    measured.gbit_per_s.push(report.goodput_bps() / 1e9);
    measured
        .cpu_s_per_gb
        .push(used.machine.as_secs_f64() / gigabytes);
    Ok(())
}

fn outcome(all: &[Measured]) -> Outcome {
    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new([
        "one flow under",
        "Gbit/s, median (least–most)",
        "÷ the kernel's `reno`",
        "CPU ms of the machine per GB",
        "÷ the kernel's `reno`",
    ]);
    let find = |key: &str| all.iter().find(|one| one.key == key);
    let (speed, cost) = find("kernel_reno").map_or((f64::NAN, f64::NAN), |one| {
        (
            Samples::new(one.gbit_per_s.iter().copied()).median(),
            Samples::new(one.cpu_s_per_gb.iter().copied()).median(),
        )
    });
    let mut bars = Vec::new();
    for key in ["reno", "reno_ack", "kernel_reno", "kernel_cubic"] {
        let Some(one) = find(key) else { continue };
        let gbit = Samples::new(one.gbit_per_s.iter().copied());
        let cpu = Samples::new(one.cpu_s_per_gb.iter().copied());
        outcome.value(format!("{key}.gbit_per_s"), gbit.median());
        outcome.value(format!("{key}.speed_ratio"), gbit.median() / speed);
        outcome.value(format!("{key}.cpu_ratio"), cpu.median() / cost);
        table.row([
            one.name.to_owned(),
            gbit.spread(),
            number(gbit.median() / speed),
            number(cpu.median() * 1e3),
            number(cpu.median() / cost),
        ]);
        bars.push(Bar::with_spread(
            one.name.replace('`', ""),
            gbit.median(),
            gbit.least(),
            gbit.most(),
        ));
    }
    outcome.tables.push(table);
    outcome.charts.push(Chart {
        file: "bench-throughput",
        title: "Loopback throughput of one flow",
        chart: BarChart::new("Loopback throughput of one flow", "Gbit/s")
            .subtitle("median, least and most of the runs, one after the other in turn")
            .group("", bars),
    });
    outcome
}
