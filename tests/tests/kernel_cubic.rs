//! `cubic` on a long link: slow start and its end, losses, the curve back, beside the kernel's own.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, ensure};
use ccp_lab::{Bulk, Direction, EmulatedLink, FlowReport, Namespace, Pipe, TcpInfo, Until};
use ccp_plot::{Panel, Series, TimeChart};
use ccp_tests::{KernelTest, Reduction, Setup, Trace};

const MBIT: u64 = 1_000_000;
/// Of a 1,500-byte IP packet, content is what IP, TCP and timestamps leave.
const CONTENT: f64 = 1448.0 / 1500.0;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A link on which the cubic curve, not its Reno-friendly floor, decides: 20 Mbit/s, 100 ms there and back
/// (167 packets), and a queue for half as much.
const RATE: u64 = 20 * MBIT;
const DELAY: Duration = Duration::from_millis(50);
const QUEUE: u64 = 125_000;
const FULL_WINDOW: f64 = 250.0;
const LENGTH: Duration = Duration::from_secs(25);
/// After slow start and what it has lost.
const SETTLED: Duration = Duration::from_secs(3);

/// RFC 9438.
const BETA: f64 = 0.7;
const C: f64 = 0.4;

struct Run {
    trace: Trace,
    report: FlowReport,
}

/// A flow alone on a link of its own. Link and both ends run before whatever else the machine does: where a
/// receiver has to wait for a CPU, even the kernel's cubic loses in bursts.
fn run(congestion: &str) -> anyhow::Result<Run> {
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let pipe = Pipe::new(RATE, DELAY).queue_bytes(QUEUE);
    let link = EmulatedLink::new(&client, &server, pipe)?;
    let flow = Bulk::new(Until::Elapsed(LENGTH))
        .congestion(congestion)
        .sample_every(ms(5))
        .before_others()
        .start(&client, &server, link.b_v4())?;
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
    })
}

/// What RFC 9438 promises, in numbers that hold for the kernel's cubic as well.
fn check_cubic(run: &Run) -> anyhow::Result<()> {
    let name = &run.report.congestion;
    let (_, largest) = run.trace.between(ms(0), ms(2000)).window_range();
    // Slow start ends when the path is full, not when everything has been lost that fits twice into it.
    ensure!(
        (0.6 * FULL_WINDOW..1.3 * FULL_WINDOW).contains(&f64::from(largest)),
        "{name}: slow start reached {largest} packets"
    );
    let settled = run.trace.between(SETTLED, LENGTH);
    let reductions = run.trace.reductions();
    let late: Vec<&Reduction> = reductions.iter().filter(|r| r.at > SETTLED).collect();
    ensure!(late.len() >= 2, "{name}: only {} reductions", late.len());
    for reduction in &late {
        ensure!(
            (BETA - 0.02..BETA + 0.02).contains(&reduction.factor()),
            "{name}: not by β: {reduction:?}"
        );
        ensure!(
            (0.92 * FULL_WINDOW..1.1 * FULL_WINDOW).contains(&f64::from(reduction.from)),
            "{name}: loss at a window that the link has room for: {reduction:?}"
        );
    }
    // From each of them to the next, or to the end.
    let ends = reductions.iter().map(|r| r.at).chain([LENGTH]).skip(1);
    for (reduction, end) in reductions.iter().zip(ends) {
        // What comes before is the end of slow start; the last round trips see the next loss.
        if reduction.at > ms(2000) && end > reduction.at + ms(1500) {
            let part = run.trace.between(reduction.at, end - ms(400));
            let (flat, away) = curve(reduction, &part);
            println!(
                "{name}: at {:.2} s {} -> {} packets, flat at {flat:.0}, {:.1} % off the curve at most",
                reduction.at.as_secs_f64(),
                reduction.from,
                reduction.to,
                100.0 * away
            );
            ensure!(
                away < 0.03,
                "{name}: {away:.3} off the curve after {reduction:?}"
            );
        }
    }
    ensure!(
        settled.0.iter().all(|s| s.info.ca_state != 4),
        "{name}: a retransmission timeout"
    );
    let used = settled.goodput_bps() / (RATE as f64 * CONTENT);
    println!("{name}: {:.1} % of the link", 100.0 * used);
    ensure!(
        used >= 0.95,
        "{name}: only {:.1} % of the link",
        100.0 * used
    );
    Ok(())
}

/// How far the windows of `part` are at most from RFC 9438's curve, as a part of the window before the
/// reduction; and where the curve is flat. That is where the loss was, or by fast convergence lower, if the
/// loss before was at a larger window; which by a packet or two is not seen in samples.
fn curve(reduction: &Reduction, part: &Trace) -> (f64, f64) {
    let (from, to) = (f64::from(reduction.from), f64::from(reduction.to));
    [from, from * (1.0 + BETA) / 2.0]
        .map(|flat| {
            let k = ((flat - to).max(0.0) / C).cbrt();
            let away = part.0.iter().map(|sample| {
                let t = (sample.at - reduction.at).as_secs_f64();
                let window = C * (t - k).powi(3) + flat;
                (f64::from(sample.info.cwnd_packets) - window).abs() / from
            });
            (flat, away.fold(0.0, f64::max))
        })
        .into_iter()
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or_default()
}

/// Both at the same time, each on a link of its own.
fn compare(name: &str) -> anyhow::Result<()> {
    let (ours, kernel) = std::thread::scope(|scope| {
        let kernel = scope.spawn(|| run("cubic"));
        (run(name), kernel.join())
    });
    let (ours, kernel) = (ours?, kernel.expect("no panic there")?);
    plot(&kernel, &ours)?;
    check_cubic(&kernel)?;
    check_cubic(&ours)?;
    let settled = |run: &Run| run.trace.between(SETTLED, LENGTH).goodput_bps();
    let ratio = settled(&ours) / settled(&kernel);
    println!("ours over the kernel's: {ratio:.3}");
    let (resent, kernels) = (ours.report.last.retransmits, kernel.report.last.retransmits);
    ensure!(
        resent <= 2 * kernels + 20,
        "{resent} retransmissions, the kernel's cubic had {kernels}"
    );
    ensure!(
        (0.97..1.03).contains(&ratio),
        "{ratio:.3} of the kernel's throughput"
    );
    Ok(())
}

/// To be looked at, in the directory that `CCP_TEST_PLOTS` names.
fn plot(kernel: &Run, ours: &Run) -> anyhow::Result<()> {
    let Some(directory) = std::env::var_os("CCP_TEST_PLOTS") else {
        return Ok(());
    };
    let mut window = Panel::new("congestion window (packets)").height(300.0);
    let mut rtt = Panel::new("round-trip time (ms)").height(150.0);
    for (name, run) in [("the kernel's cubic", kernel), ("cubic of ccpd", ours)] {
        let points = |value: fn(&TcpInfo) -> f64| {
            let samples = run.trace.0.iter();
            samples.map(move |s| (s.at.as_secs_f64(), value(&s.info)))
        };
        window = window.series(Series::steps(name, points(|i| i.cwnd_packets.into())));
        rtt = rtt.series(Series::line(name, points(|i| i.srtt.as_secs_f64() * 1e3)));
    }
    let chart = TimeChart::new("cubic, each alone on a link of 20 Mbit/s")
        .subtitle("100 ms there and back, a queue for half as much")
        .x_label("time (s)")
        .panel(window)
        .panel(rtt);
    let file = Path::new(&directory).join("kernel_cubic.png");
    std::fs::write(&file, chart.to_png()?)
        .with_context(|| format!("can't write {}", file.display()))
}

#[test]
fn root_cubic_through_slow_start_losses_and_back_like_the_kernels() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    let ns = Namespace::new("daemon")?;
    let setup = Setup::new("[algorithms.cubic]\n\n[policy]\ndefault = \"cubic\"\n");
    let _daemon = setup.start(&ns);
    compare(setup.name())
}
