//! How many flows can be steered at once, and how fast they may come and go.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ccp_control::{FlowMode, FlowStatus};
use ccp_lab::{CpuMeter, Namespace, Need, OpenCrowd, require};
use ccp_tests::crowd;

use crate::daemon::{Daemon, Program};
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::process::within;
use crate::sample::{Samples, number};

pub(crate) const SECTION: &str = "scale";

/// How many connections of a thread live at once while others come and go.
const AT_ONCE: usize = 500;
/// How long all flows may take to be steered.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces])?;
    let each = if plan.quick { 128 } else { 8_192 };
    let namespaces = crowd::namespaces()?;
    let daemon = Daemon::start(plan, Program::Ccpd, &crowd::config())?;

    let (native, native_rate) = open(&namespaces, each, "reno")?;
    drop(native);
    eprintln!("ccp-bench: {SECTION}: as many flows were open under the kernel's own");
    interrupt::check()?;
    let before = daemon.process().resident_bytes()?;
    let (crowds, rate) = open(&namespaces, each, daemon.name())?;
    let opened = Instant::now();
    let all = crowd::NAMESPACES * each;
    let mut others = all;
    within(PATIENCE, || {
        others = crowd::other_windows(&crowds).ok()?.len();
        (others == 0).then_some(())
    });
    let until_steered = opened.elapsed();
    let steered = all - others;
    let known = identities(&daemon.flows()?, &crowds)?;
    let resident = daemon.process().resident_bytes()?.saturating_sub(before);
    drop(crowds);
    eprintln!("ccp-bench: {SECTION}: {steered} flows were steered at once");
    // Until the daemon has forgotten them: what comes next shall not pay for it.
    within(PATIENCE, || daemon.flows().ok()?.is_empty().then_some(()))
        .context("the daemon does not forget the flows that were closed")?;

    let mut churns = Vec::new();
    for _ in 0..plan.times(4) {
        for (key, congestion) in [("ours", daemon.name()), ("kernel", "reno")] {
            interrupt::check()?;
            churns.push((key, churn(plan, &namespaces, congestion)?));
        }
    }
    daemon.stop()?;

    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new(["", "under `ccpd`", "under the kernel's `reno`"]);
    let flows = |n: usize| number(n as f64);
    table.row([
        format!(
            "flows open at once, in {} network namespaces",
            crowd::NAMESPACES
        ),
        flows(all),
        flows(all),
    ]);
    table.row([
        "opened per second, by one thread".to_owned(),
        number(rate),
        number(native_rate),
    ]);
    table.row([
        "steered, with the window of their own algorithm".to_owned(),
        flows(steered),
        "–".to_owned(),
    ]);
    table.row([
        "known to `ccpd` by their own addresses and ports, under their own algorithm".to_owned(),
        flows(known),
        "–".to_owned(),
    ]);
    table.row([
        "from the last one opened until all were steered (s)".to_owned(),
        number(until_steered.as_secs_f64()),
        "–".to_owned(),
    ]);
    table.row([
        "memory of `ccpd`'s process per flow (KB)".to_owned(),
        number(resident as f64 / all as f64 / 1e3),
        "–".to_owned(),
    ]);
    let of = |key: &str, value: fn(&Churn) -> f64| {
        let these = churns.iter().filter(|(k, _)| *k == key);
        Samples::new(these.map(|(_, churn)| value(churn)))
    };
    for (name, value) in [
        (
            "opened, steered and closed per second, by two threads",
            (|churn| churn.per_s) as fn(&Churn) -> f64,
        ),
        ("of them steered (%)", |churn| 100.0 * churn.steered),
        ("CPUs busy meanwhile", |churn| churn.cpus),
    ] {
        let kernels = if name.starts_with("of them") {
            "–".to_owned()
        } else {
            of("kernel", value).spread()
        };
        table.row([name.to_owned(), of("ours", value).spread(), kernels]);
    }
    outcome.tables.push(table);
    outcome.value("at_once.flows", all as f64);
    outcome.value("at_once.steered", steered as f64);
    outcome.value("at_once.known", known as f64);
    outcome.value("at_once.opened_per_s", rate);
    outcome.value("at_once.kernel_opened_per_s", native_rate);
    outcome.value("churn.per_s", of("ours", |churn| churn.per_s).median());
    outcome.value("churn.steered", of("ours", |churn| churn.steered).median());
    outcome.value(
        "churn.kernel_per_s",
        of("kernel", |churn| churn.per_s).median(),
    );
    Ok(outcome)
}

/// Opens `each` flows in each of the namespaces; also how many per second.
fn open(namespaces: &[Namespace], each: usize, congestion: &str) -> Result<(Vec<OpenCrowd>, f64)> {
    let started = Instant::now();
    let crowds = crowd::open(namespaces, each, congestion)?;
    let rate = (namespaces.len() * each) as f64 / started.elapsed().as_secs_f64();
    Ok((crowds, rate))
}

/// How many flows the daemon knows by the addresses of a connection, under that one's algorithm. Other
/// namespaces may have the same addresses.
fn identities(known: &[FlowStatus], crowds: &[OpenCrowd]) -> Result<usize> {
    let mut open: HashMap<(SocketAddr, SocketAddr), usize> = HashMap::new();
    for addresses in crowd::ends(crowds)? {
        *open.entry(addresses).or_default() += 1;
    }
    let mut own = |flow: &FlowStatus| {
        let left = open.get_mut(&(flow.src, flow.dst)).filter(|n| **n > 0);
        left.map(|n| *n -= 1).is_some()
            && flow.state == FlowMode::Running
            && flow.algorithm == crowd::algorithm(flow.dst.port())
    };
    Ok(known.iter().filter(|flow| own(flow)).count())
}

/// One run of flows that come and go.
struct Churn {
    per_s: f64,
    /// The share that was steered.
    steered: f64,
    cpus: f64,
}

fn churn(plan: &Plan, namespaces: &[Namespace], congestion: &str) -> Result<Churn> {
    let length = plan.time(Duration::from_secs(3));
    let crowd = crowd::crowd(if plan.quick { 50 } else { AT_ONCE }, congestion);
    let meter = CpuMeter::start()?;
    let ended = thread::scope(|scope| {
        let threads: Vec<_> = namespaces
            .iter()
            .take(2)
            .map(|namespace| {
                let crowd = &crowd;
                scope.spawn(move || {
                    crowd.churn(namespace, length, |member, info| {
                        info.cwnd_packets == crowd::window(member.peer().port())
                    })
                })
            })
            .collect();
        let ended = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        ended.collect::<Result<Vec<_>, _>>()
    })?;
    let cpus = meter.stop()?.machine_cpus();
    let flows: usize = ended.iter().map(|one| one.flows).sum();
    if flows == 0 {
        bail!("no flow has come and gone");
    }
    let steered: usize = ended.iter().map(|one| one.steered).sum();
    let per_s = ended
        .iter()
        .map(|one| one.flows as f64 / one.duration.as_secs_f64());
    Ok(Churn {
        per_s: per_s.sum(),
        steered: steered as f64 / flows as f64,
        cpus,
    })
}
