//! Flows that have little to send: their windows do not grow from it.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use ccp_lab::{EmulatedLink, Namespace, Pipe, TcpInfo, set_congestion};
use ccp_tests::{Daemon, KernelTest, Setup, within};

const MSS: usize = 1448;
/// What is sent at a time, in packets: less than the first window.
const BURST: usize = 8;
const BURSTS: usize = 60;
/// Enough to fill the path, whose window is 83 packets and as much again for the queue.
const REST: usize = 3_000_000;

/// The windows of one flow, in packets.
#[derive(Debug, Default)]
struct Windows {
    /// The largest while there was little to send, once the flow was steered.
    limited: u32,
    /// The largest when there was much.
    full: u32,
    /// Whether one of the first packets got lost, so that slow start was over.
    threshold: Option<u32>,
}

/// The receiving end, until the sender is done.
fn receive(listener: TcpListener) -> std::io::Result<u64> {
    let (mut stream, _) = listener.accept()?;
    let (mut buffer, mut sum) = (vec![0; 65_536], 0);
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(sum),
            n => sum += n as u64,
        }
    }
}

/// Waits until everything is acknowledged. A clock would not do: where the machine is busy two bursts can
/// be under way at once, and a window that grows for them is right.
fn settle(socket: &TcpStream) -> anyhow::Result<TcpInfo> {
    within(Duration::from_secs(10), || {
        let info = TcpInfo::of(socket).ok()?;
        (info.unacked_packets == 0).then_some(info)
    })
    .context("what was sent is never acknowledged")
}

/// A burst now and then, then all at once. `steered` tells whether the daemon has the flow from this address.
fn send(
    to: SocketAddr,
    congestion: &str,
    steered: impl Fn(SocketAddr) -> bool,
) -> anyhow::Result<Windows> {
    let socket = TcpStream::connect(to)?;
    set_congestion(&socket, congestion)?;
    socket.set_nodelay(true)?;
    socket.set_write_timeout(Some(Duration::from_secs(20)))?;
    let mut seen = Windows::default();
    let burst = vec![1; BURST * MSS];
    // What is new to the daemon runs natively until it answers.
    (&socket).write_all(&burst)?;
    let local = socket.local_addr()?;
    within(Duration::from_secs(10), || {
        settle(&socket).ok()?;
        let _ = (&socket).write_all(&burst[..MSS]);
        steered(local).then_some(())
    })
    .with_context(|| format!("{congestion} is not steered"))?;
    for _ in 0..BURSTS {
        let info = settle(&socket)?;
        seen.limited = seen.limited.max(info.cwnd_packets);
        (&socket).write_all(&burst)?;
    }
    let info = settle(&socket)?;
    seen.limited = seen.limited.max(info.cwnd_packets);
    seen.threshold = info.ssthresh_packets;
    let start = Instant::now();
    for chunk in vec![2; REST].chunks(64 * MSS) {
        (&socket).write_all(chunk)?;
        let info = TcpInfo::of(&socket)?;
        seen.full = seen.full.max(info.cwnd_packets);
    }
    println!("{congestion}: {seen:?}, all of it in {:?}", start.elapsed());
    Ok(seen)
}

/// One flow on a link of its own, of which the packet number `lost` does not arrive.
fn run(
    namespaces: &(Namespace, Namespace),
    congestion: &str,
    port: u16,
    lost: Option<u64>,
    daemon: Option<&Daemon<'_>>,
) -> anyhow::Result<Windows> {
    let (client, server) = namespaces;
    let pipe = Pipe::new(50_000_000, Duration::from_millis(10))
        .queue_bytes(125_000)
        .drop_data(lost);
    let link = EmulatedLink::new(client, server, pipe)?;
    let to: IpAddr = link.b_v4();
    let listener = server.run(|| TcpListener::bind((to, port)))??;
    let received = std::thread::spawn(move || receive(listener));
    let steered = |local| {
        daemon.is_none_or(|d| {
            let flows = d.flows();
            let known = flows.iter().find(|f| f.src == local);
            known.is_some_and(|f| f.state == "running")
        })
    };
    let windows = client.run(|| send((to, port).into(), congestion, steered))??;
    let received = received.join().expect("no panic there")?;
    ensure!(received >= REST as u64, "{received} bytes");
    Ok(windows)
}

#[test]
fn root_little_to_send_opens_no_window() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    let ns = Namespace::new("daemon")?;
    let setup = Setup::new(
        r#"
[algorithms.reno]

[algorithms.cubic]

[policy]
default = "reno"

[[policy.rule]]
match = { netns = "any", dst_port = 5001 }
algorithm = "cubic"
"#,
    );
    let daemon = setup.start(&ns);
    for (kernels, port) in [("reno", 5000), ("cubic", 5001)] {
        // In slow start; and behind it, after an early loss.
        for lost in [None, Some(4)] {
            let pair = || Ok::<_, anyhow::Error>((Namespace::new("a")?, Namespace::new("b")?));
            let (first, second) = (pair()?, pair()?);
            let (ours, kernel) = std::thread::scope(|scope| {
                let kernel = scope.spawn(|| run(&first, kernels, port, lost, None));
                let ours = run(&second, setup.name(), port, lost, Some(&daemon));
                (ours, kernel.join().expect("no panic there"))
            });
            let (ours, kernel) = (ours?, kernel?);
            // In slow start, TCP lets the window grow to less than twice of what is used, and a packet per
            // acknowledgement of two beyond that.
            let most = 2 * BURST as u32 + 4;
            for (name, seen) in [(kernels, &kernel), ("ours", &ours)] {
                ensure!(
                    seen.limited <= most,
                    "{name}: {BURST} packets at a time opened the window: {seen:?}"
                );
                ensure!(
                    seen.full > 2 * seen.limited,
                    "{name}: never opened: {seen:?}"
                );
                ensure!(lost.is_none() || seen.threshold.is_some(), "{seen:?}");
            }
        }
    }
    assert_eq!(daemon.stop().code(), 0);
    Ok(())
}
