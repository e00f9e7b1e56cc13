//! `reno` on a full link: slow start, loss, recovery, congestion avoidance, beside the kernel's own.

use std::time::Duration;

use anyhow::ensure;
use ccp_lab::{Bulk, Direction, EmulatedLink, FlowReport, Namespace, Pipe, Until};
use ccp_tests::{Daemon, FlowLine, KernelTest, Setup, Trace};

const MBIT: u64 = 1_000_000;
/// Of a 1,500-byte IP packet, content is what IP, TCP and timestamps leave.
const CONTENT: f64 = 1448.0 / 1500.0;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// 20 Mbit/s, 20 ms there and back (33 packets), and a queue for as much again: a window of at most 66 packets,
/// which grows from half of that in 33 round trips of 20 to 40 ms, about a second.
const RATE: u64 = 20 * MBIT;
const FULL_WINDOW: f64 = 66.7;
const LENGTH: Duration = Duration::from_secs(7);
/// After slow start and what it has lost.
const SETTLED: Duration = Duration::from_millis(1500);

struct Run {
    trace: Trace,
    report: FlowReport,
    /// What `ccp flows` said, each with the time when it was asked and when it had answered.
    said: Vec<(Duration, Duration, FlowLine)>,
}

/// A flow alone on the link.
fn run(congestion: &str, daemon: Option<&Daemon<'_>>) -> anyhow::Result<Run> {
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = EmulatedLink::new(&client, &server, Pipe::new(RATE, ms(10)))?;
    let flow = Bulk::new(Until::Elapsed(LENGTH))
        .congestion(congestion)
        .sample_every(ms(5))
        .start(&client, &server, link.b_v4())?;
    let mut said = Vec::new();
    while !flow.is_finished() {
        std::thread::sleep(ms(40));
        let asked = flow.started().elapsed();
        if let Some(line) = daemon.and_then(|d| d.flow(&flow)) {
            said.push((asked, flow.started().elapsed(), line));
        }
    }
    let report = flow.wait()?;
    assert_eq!(link.overruns(Direction::AToB)?, 0, "the emulation kept up");
    println!(
        "{congestion}: {:.2} Mbit/s, {} retransmissions, {:?}",
        report.goodput_bps() / 1e6,
        report.last.retransmits,
        link.counters(Direction::AToB)
    );
    Ok(Run {
        trace: Trace::from(&report),
        report,
        said,
    })
}

/// What RFC 5681 and 6582 promise, in numbers that hold for the kernel's reno as well.
fn check_reno(run: &Run) -> anyhow::Result<()> {
    let name = &run.report.congestion;
    // Slow start: from 10 packets to more than path and queue hold, within a few round trips.
    let start = run.trace.between(ms(0), ms(1000));
    let (_, largest) = start.window_range();
    ensure!(
        f64::from(largest) > FULL_WINDOW,
        "{name}: slow start reached only {largest} packets"
    );

    let settled = run.trace.between(SETTLED, LENGTH);
    let reductions = settled.reductions();
    println!("{name}: {reductions:?}");
    ensure!(
        reductions.len() >= 2,
        "{name}: only {} reductions",
        reductions.len()
    );
    for reduction in &reductions {
        ensure!(
            (0.45..0.6).contains(&reduction.factor()),
            "{name}: not halved: {reduction:?}"
        );
        ensure!(
            (0.85 * FULL_WINDOW..1.15 * FULL_WINDOW).contains(&f64::from(reduction.from)),
            "{name}: loss at a window that the link has room for: {reduction:?}"
        );
    }
    // Congestion avoidance: one packet per round trip.
    for pair in reductions.windows(2) {
        let between = settled.between(pair[0].at, pair[1].at);
        let round_trips: f64 = between
            .0
            .windows(2)
            .map(|s| (s[1].at - s[0].at).as_secs_f64() / s[0].info.srtt.as_secs_f64())
            .sum();
        let growth = f64::from(pair[1].from) - f64::from(pair[0].to);
        println!("{name}: {growth} packets in {round_trips:.1} round trips");
        ensure!(
            (0.75..1.25).contains(&(growth / round_trips)),
            "{name}: grew by {growth} packets in {round_trips:.1} round trips"
        );
    }
    ensure!(
        settled.0.iter().all(|s| s.info.ca_state != 4),
        "{name}: a retransmission timeout"
    );
    let stall = run.trace.longest_stall();
    ensure!(stall < ms(400), "{name}: nothing moved for {stall:?}");
    // The queue never runs empty: the link is full.
    let used = settled.goodput_bps() / (RATE as f64 * CONTENT);
    println!("{name}: {:.1} % of the link", 100.0 * used);
    ensure!(
        used >= 0.9,
        "{name}: only {:.1} % of the link",
        100.0 * used
    );
    Ok(())
}

/// What the daemon knows from the program's reports is what the kernel has: between the smallest and the
/// largest window of the round trips before it was asked, and it falls by half as well.
fn check_reported(run: &Run) -> anyhow::Result<()> {
    let mut halved = 0;
    let mut previous: Option<f64> = None;
    for (asked, answered, line) in run.said.iter().filter(|(asked, ..)| *asked > SETTLED) {
        let mss = run.report.last.mss_bytes;
        let packets = line.cwnd_bytes as f64 / f64::from(mss);
        let around = run.trace.between(*asked - ms(200), *answered + ms(10));
        let (smallest, largest) = around.window_range();
        ensure!(
            (f64::from(smallest) - 1.0..=f64::from(largest) + 1.0).contains(&packets),
            "`ccp flows` says {packets} packets, the socket had {smallest} to {largest}"
        );
        if previous.is_some_and(|p| packets < 0.75 * p) {
            halved += 1;
        }
        previous = Some(packets);
    }
    ensure!(halved >= 2, "seen halved {halved} times in the reports");
    let (first, last) = (&run.said[0].2, &run.said[run.said.len() - 1].2);
    // One for each round trip of 20 to 40 ms.
    let round_trips = LENGTH.as_secs_f64() / 0.04;
    ensure!(
        (last.reports - first.reports) as f64 > 0.5 * round_trips,
        "{first:?} {last:?}"
    );
    ensure!((15_000..60_000).contains(&last.rtt_us), "{last:?}");
    Ok(())
}

/// Both on links of their own, one after the other.
fn compare(daemon: &Daemon<'_>, name: &str) -> anyhow::Result<()> {
    let kernel = run("reno", None)?;
    check_reno(&kernel)?;
    let ours = run(name, Some(daemon))?;
    check_reno(&ours)?;
    check_reported(&ours)?;

    let ratio = ours.report.goodput_bps() / kernel.report.goodput_bps();
    println!("ours over the kernel's: {ratio:.3}");
    ensure!(ratio > 0.9, "{ratio:.3} of the kernel's throughput");
    let (resent, kernels) = (ours.report.last.retransmits, kernel.report.last.retransmits);
    ensure!(
        resent <= 2 * kernels + 20,
        "{resent} retransmissions, the kernel's reno had {kernels}"
    );
    Ok(())
}

#[test]
fn root_reno_through_slow_start_loss_and_recovery_like_the_kernels() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(90)) else {
        return Ok(());
    };
    let ns = Namespace::new("daemon")?;
    let setup = Setup::new("[algorithms.reno]\n\n[policy]\ndefault = \"reno\"\n");
    let daemon = setup.start(&ns);
    // Where a busy machine keeps a receiver from running, even the kernel's reno loses in bursts: three tries.
    let mut tried = compare(&daemon, setup.name());
    for _ in 0..2 {
        if let Err(error) = &tried {
            println!("again, since {error:#}");
            tried = compare(&daemon, setup.name());
        }
    }
    tried
}
