//! A flow that pauses: what is left of its window afterwards, and the way back, beside the kernel's own algorithms.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use ccp_lab::{Direction, EmulatedLink, Namespace, Pipe, TcpInfo, set_congestion};
use ccp_tests::{Daemon, KernelTest, Setup};

/// 40 Mbit/s, 20 ms there and back (67 packets), and a queue for as much again.
const RATE: u64 = 40_000_000;
const DELAY: Duration = Duration::from_millis(10);
/// Ends somewhere in congestion avoidance.
const FIRST: Duration = Duration::from_millis(2500);
/// Several retransmission timeouts, of 0.2 s and more.
const PAUSE: Duration = Duration::from_secs(2);
const SECOND: Duration = Duration::from_millis(600);
/// What a flow begins with, and begins again with.
const INITIAL_WINDOW: u32 = 10;

#[derive(Debug)]
struct Run {
    name: String,
    /// The window when the pause began.
    before: u32,
    /// Of the first packets after the pause.
    after: TcpInfo,
    /// From then on, with the time since.
    back: Vec<(Duration, TcpInfo)>,
}

impl Run {
    /// When the window was first as large as it is now to be.
    fn reached(&self, packets: u32) -> Option<Duration> {
        let mut samples = self.back.iter();
        samples
            .find(|(_, info)| info.cwnd_packets >= packets)
            .map(|(at, _)| *at)
    }
}

/// Writes for so long, as fast as the socket takes it.
fn write_for(mut socket: &TcpStream, length: Duration) -> anyhow::Result<()> {
    let data = vec![0; 16_384];
    let started = Instant::now();
    while started.elapsed() < length {
        socket.write_all(&data).context("sending")?;
    }
    Ok(())
}

fn ensure_running(daemon: &Daemon<'_>, local: SocketAddr) -> anyhow::Result<()> {
    let flows = daemon.flows();
    let line = flows.iter().find(|f| f.src == local);
    let line = line.context("the daemon does not know the flow")?;
    ensure!(line.state == "running", "not steered: {line:?}");
    Ok(())
}

/// A flow alone on a link of its own, that sends, pauses, and sends again. `pausing` is called with its local address
/// when the pause begins.
fn run(
    congestion: &str,
    restart: bool,
    pausing: impl FnOnce(SocketAddr) -> anyhow::Result<()>,
) -> anyhow::Result<Run> {
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = EmulatedLink::new(&client, &server, Pipe::new(RATE, DELAY))?;
    let sysctl = "net.ipv4.tcp_slow_start_after_idle";
    client.set_sysctl(sysctl, if restart { "1" } else { "0" })?;
    let listener = server.run(|| TcpListener::bind((link.b_v4(), 0)))??;
    let to = listener.local_addr()?;
    let socket = client.run(|| TcpStream::connect(to))??;
    set_congestion(&socket, congestion)?;
    let mut receiver = listener.accept()?.0;
    let reader = thread::spawn(move || std::io::copy(&mut receiver, &mut std::io::sink()));

    write_for(&socket, FIRST)?;
    let before = loop {
        let info = TcpInfo::of(&socket)?;
        if info.unacked_packets == 0 {
            break info.cwnd_packets;
        }
        thread::sleep(Duration::from_millis(1));
    };
    pausing(socket.local_addr()?)?;
    thread::sleep(PAUSE);
    (&socket).write_all(&[0; 1_000])?;
    let started = Instant::now();
    let after = TcpInfo::of(&socket)?;
    let back = thread::scope(|scope| -> anyhow::Result<_> {
        let writer = scope.spawn(|| write_for(&socket, SECOND));
        let mut back = Vec::new();
        while !writer.is_finished() {
            back.push((started.elapsed(), TcpInfo::of(&socket)?));
            thread::sleep(Duration::from_millis(2));
        }
        writer.join().expect("no panic there")?;
        Ok(back)
    })?;
    drop(socket);
    reader.join().expect("no panic there")?;
    ensure!(link.overruns(Direction::AToB)? == 0, "the emulation lagged");
    let run = Run {
        name: congestion.to_owned(),
        before,
        after,
        back,
    };
    println!(
        "{congestion}: {before} packets, after the pause {} (threshold {:?}); three quarters after {:?}, all of it after {:?}",
        run.after.cwnd_packets,
        run.after.ssthresh_packets,
        run.reached(three_quarters(before)),
        run.reached(before),
    );
    Ok(run)
}

fn three_quarters(packets: u32) -> u32 {
    packets * 3 / 4
}

fn setup(algorithm: &str, keys: &str) -> Setup {
    Setup::new(&format!(
        "[algorithms.{algorithm}]\n{keys}\n[policy]\ndefault = \"{algorithm}\"\n"
    ))
}

/// Of ours with this algorithm, and the kernel's: both at the same time, each on a link of its own.
fn both(algorithm: &str, keys: &str, kernel: &str, restart: bool) -> anyhow::Result<[Run; 2]> {
    let ns = Namespace::new("daemon")?;
    let setup = setup(algorithm, keys);
    let daemon = setup.start(&ns);
    let (ours, kernels) = thread::scope(|scope| {
        let kernels = scope.spawn(|| run(kernel, restart, |_| Ok(())));
        let running = |local| ensure_running(&daemon, local);
        (
            run(setup.name(), restart, running),
            kernels.join().expect("no panic there"),
        )
    });
    Ok([ours?, kernels?])
}

/// What RFC 2861 has Linux do; in numbers that hold for the kernel's own algorithms as well.
fn check_restart(run: &Run) -> anyhow::Result<()> {
    let Run { name, before, .. } = run;
    ensure!(*before > 4 * INITIAL_WINDOW, "{name}: {before} packets");
    ensure!(
        run.after.cwnd_packets == INITIAL_WINDOW,
        "{name}: {} packets after a pause",
        run.after.cwnd_packets
    );
    // Nothing has come back yet in the first 15 ms.
    let burst = run.back.iter().filter(|(at, _)| at.as_millis() < 15);
    let burst = burst.map(|(_, info)| info.unacked_packets).max();
    ensure!(
        burst.is_some_and(|packets| packets <= INITIAL_WINDOW),
        "{name}: {burst:?} packets at once"
    );
    ensure!(
        run.after.ssthresh_packets >= Some(three_quarters(*before)),
        "{name}: slow start ends at {:?} of {before} packets",
        run.after.ssthresh_packets
    );
    // Slow start: 10, 20, 40, 80 packets.
    let back = run.reached(three_quarters(*before));
    ensure!(
        back.is_some_and(|at| (50..200).contains(&at.as_millis())),
        "{name}: three quarters after {back:?}"
    );
    Ok(())
}

fn compare(algorithm: &str) -> anyhow::Result<()> {
    let [ours, kernels] = both(algorithm, "", algorithm, true)?;
    check_restart(&kernels)?;
    check_restart(&ours)
}

/// With the namespace's `tcp_slow_start_after_idle` off.
fn keep() -> anyhow::Result<()> {
    for run in both("cubic", "", "cubic", false)? {
        let Run { name, before, .. } = &run;
        let after = run.after.cwnd_packets;
        ensure!(after == *before, "{name}: {before} -> {after} packets");
    }
    Ok(())
}

/// A program that keeps its window does so after a pause too.
fn keep_own() -> anyhow::Result<()> {
    let [ours, kernels] = both("constant", "cwnd_packets = 60\n", "reno", true)?;
    check_restart(&kernels)?;
    let windows = (ours.before, ours.after.cwnd_packets);
    ensure!(windows == (60, 60), "{}: {windows:?}", ours.name);
    Ok(())
}

/// The daemon dies in the pause: native CUBIC, which takes over at the first acknowledgement, goes on as well.
fn orphaned() -> anyhow::Result<()> {
    let ns = Namespace::new("daemon")?;
    let setup = setup("reno", "");
    let daemon = setup.start(&ns);
    let run = run(setup.name(), true, |local| {
        ensure_running(&daemon, local)?;
        daemon.kill();
        Ok(())
    })?;
    check_restart(&run)?;
    // The first acknowledgement has come; a loss has not.
    let mut later = run.back.iter().filter(|(at, _)| at.as_millis() >= 40);
    let (_, info) = later.next().context("no samples")?;
    ensure!(
        info.ssthresh_packets < Some(run.before),
        "{:?} of {} packets",
        info.ssthresh_packets,
        run.before
    );
    Ok(())
}

/// On a busy machine the emulated link and this program come late: three tries.
fn tried(what: impl Fn() -> anyhow::Result<()>) -> anyhow::Result<()> {
    let mut tried = what();
    for _ in 0..2 {
        if let Err(error) = &tried {
            println!("again, since {error:#}");
            tried = what();
        }
    }
    tried
}

#[test]
fn root_after_a_pause_reno_and_cubic_go_on_as_the_kernels_do() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    tried(|| compare("reno"))?;
    tried(|| compare("cubic"))
}

#[test]
fn root_a_window_is_kept_through_a_pause_where_it_is_to_be() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    tried(keep)?;
    tried(keep_own)
}

#[test]
fn root_a_flow_whose_daemon_died_in_a_pause_goes_on_as_well() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    tried(orphaned)
}
