//! CPU time of the whole machine per gigabyte at a fixed rate: our algorithms beside the kernel's own.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ccp_lab::{Bulk, CpuMeter, Namespace, Need, RunningFlow, Until, VethLink, VethSpec, require};

use crate::contenders::{CONFIG, Contender, pairs};
use crate::daemon::{Daemon, Program};
use crate::outcome::Outcome;
use crate::plan::Plan;
use crate::rounds::{Comparison, Run, measured};

pub(crate) const SECTION: &str = "cpu";

/// All flows together. A fraction of what the machine can do, so that the link is the limit and not the CPU.
const RATE_BPS: u64 = 4_000_000_000;
const FLOWS: [usize; 3] = [1, 8, 64];

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces, Need::Tc])?;
    let daemon = Daemon::start(plan, Program::Ccpd, CONFIG)?;
    let contenders = pairs(&daemon)?;
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::limited(RATE_BPS))?;
    let runs = measured(
        plan,
        SECTION,
        5,
        &FLOWS,
        &contenders,
        |_, flows, contender| {
            let traffic = Bulk::new(Until::Stopped)
                .congestion(contender.congestion.as_str())
                .port(contender.port)
                .check_content(false)
                .sample_every(None)
                .start_many(*flows, &client, &server, link.b_v4())?;
            measure(plan, contender, traffic)
        },
    )?;
    daemon.stop()?;
    let comparison = Comparison {
        section: SECTION,
        header: &[
            "flows",
            "under",
            "CPU ms of the machine per GB, median (least–most)",
            "÷ the kernel's own",
            "Gbit/s",
        ],
        rows: &["reno", "kernel_reno", "cubic", "kernel_cubic"],
        keys: ["cpu_ms_per_gb", "cpu_ratio"],
        picture: ["bench-cpu", "CPU time at a fixed rate"],
        chart: ["CPU time of the whole machine at 4 Gbit/s", "ms per GB"],
        tells_speed: true,
    };
    Ok(comparison.outcome(&FLOWS, &contenders, &runs))
}

/// CPU time per gigabyte, in milliseconds.
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
        value: 1e3 * used.machine.as_secs_f64() / gigabytes,
    })
}
