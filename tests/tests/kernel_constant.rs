//! What `constant` asks for is what the kernel does.

use std::{net::IpAddr, time::Duration};

use ccp_lab::{
    Bulk, EmulatedLink, Namespace, Pipe, RunningFlow, SsSocket, Until, VethLink, VethSpec,
};
use ccp_tests::{Daemon, KernelTest, Setup, within};

const MBIT: f64 = 1e6;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Port, window in packets, rate in Mbit/s.
const ASKED: [(u16, u32, u32); 3] = [(5001, 20, 50), (5002, 3, 8), (5003, 400, 900)];

const CONFIG: &str = r#"
[algorithms.middle]
kind = "constant"
cwnd_packets = 20
rate_mbit = 50

[algorithms.small]
kind = "constant"
cwnd_packets = 3
rate_mbit = 8

[algorithms.large]
kind = "constant"
cwnd_packets = 400
rate_mbit = 900

[policy]
default = "middle"
rule = [
    { match = { netns = "any", dst_port = 5002 }, algorithm = "small" },
    { match = { netns = "any", dst_port = 5003 }, algorithm = "large" },
]
"#;

/// The flow's socket in `ss -tin`.
fn ss(ns: &Namespace, flow: &RunningFlow) -> SsSocket {
    let sockets = ns.ss().expect("ss");
    let ours = |s: &&SsSocket| (s.local, s.peer) == (flow.local(), flow.peer());
    let socket = sockets.iter().find(ours);
    socket
        .unwrap_or_else(|| panic!("ss does not show the flow: {sockets:#?}"))
        .clone()
}

/// Runs one flow for each of [`ASKED`] at a time and compares.
fn compare(
    daemon: &Daemon<'_>,
    name: &str,
    client: &Namespace,
    server: &Namespace,
    to: IpAddr,
) -> anyhow::Result<()> {
    let mut flows = Vec::new();
    for (port, packets, mbit) in ASKED {
        let flow = Bulk::new(Until::Stopped)
            .congestion(name)
            .port(port)
            .start(client, server, to)?;
        flows.push((flow, packets, f64::from(mbit) * MBIT));
    }
    for (flow, packets, bps) in &flows {
        let as_asked = |s: &SsSocket| {
            s.congestion.as_deref() == Some(name)
                && s.cwnd_packets == Some(*packets)
                // `ss` prints whole bits of a rate kept in whole bytes.
                && s.pacing_bps.is_some_and(|got| (got - bps).abs() <= 8.0)
        };
        let reached = within(ms(3000), || Some(ss(client, flow)).filter(as_asked));
        assert!(
            reached.is_some(),
            "to {to}: asked for {packets} packets and {bps} bit/s, got {:#?}",
            ss(client, flow)
        );
        // `ccp flows` says the same in bytes. The MSS of the loopback grows in the first round trips, so both
        // are asked again until they speak of the same.
        let agrees = within(ms(3000), || {
            let socket = ss(client, flow);
            let mss = u64::from(socket.mss_bytes?);
            let line = daemon.flow(flow)?;
            let same = line.state == "running"
                && line.cwnd_bytes == u64::from(*packets) * mss
                && line.rate_bytes_per_s == (*bps / 8.0) as u64;
            (same && (mss > 60_000 || !to.is_loopback())).then_some(())
        });
        assert!(
            agrees.is_some(),
            "to {to}: `ccp flows` says {:#?}, `ss` {:#?}",
            daemon.flow(flow),
            ss(client, flow)
        );
        // And it stays.
        for _ in 0..5 {
            std::thread::sleep(ms(30));
            let socket = ss(client, flow);
            assert!(as_asked(&socket), "no longer as asked: {socket:#?}");
        }
    }
    for (flow, ..) in &flows {
        flow.stop();
    }
    for (flow, ..) in flows {
        let report = flow.wait()?;
        assert!(report.bytes > 0);
    }
    Ok(())
}

#[test]
fn root_ss_shows_the_window_and_the_rate_asked_for() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::unlimited())?;
    let setup = Setup::new(CONFIG);
    let daemon = setup.start(&client);
    for to in [link.b_v4(), link.b_v6()] {
        compare(&daemon, setup.name(), &client, &server, to)?;
    }
    for to in ["127.0.0.1", "::1"] {
        compare(&daemon, setup.name(), &client, &client, to.parse()?)?;
    }
    Ok(())
}

/// A rate that is set limits although the window would allow more, and a window limits although nothing else
/// does; without a rate the flow is paced as the kernel's own algorithms are, and gets all that its window
/// allows.
#[test]
fn root_a_window_or_a_rate_alone_bounds_what_is_sent() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = EmulatedLink::new(
        &client,
        &server,
        Pipe::new(100_000_000, ms(10)).queue_bytes(1_000_000),
    )?;
    let setup = Setup::new(
        r#"
[algorithms.window]
kind = "constant"
cwnd_packets = 20

[algorithms.rate]
kind = "constant"
rate_mbit = 30

[policy]
default = "window"
rule = [{ match = { netns = "any", dst_port = 5001 }, algorithm = "rate" }]
"#,
    );
    let daemon = setup.start(&client);
    let measure = |port: u16, seconds: u64| -> anyhow::Result<(f64, RunningFlow)> {
        let flow = Bulk::new(Until::Stopped)
            .congestion(setup.name())
            .port(port)
            .start(&client, &server, link.b_v4())?;
        daemon.await_flow(&flow, ms(2000), |line| line.state == "running");
        std::thread::sleep(ms(500));
        let (start, from) = (std::time::Instant::now(), flow.info()?.bytes_acked);
        std::thread::sleep(Duration::from_secs(seconds));
        let bytes = flow.info()?.bytes_acked - from;
        Ok((bytes as f64 * 8.0 / start.elapsed().as_secs_f64(), flow))
    };

    let (bps, flow) = measure(5000, 2)?;
    let info = flow.info()?;
    let window = f64::from(info.cwnd_packets * info.mss_bytes) * 8.0;
    let full = window / info.srtt.as_secs_f64();
    println!("window: {bps} of {full} bit/s, {info:?}");
    assert_eq!(info.cwnd_packets, 20);
    assert!((0.9 * full..1.1 * full).contains(&bps), "{bps} of {full}");
    drop(flow);

    let (bps, flow) = measure(5001, 2)?;
    println!("rate: {bps} bit/s, {:?}", flow.info()?);
    // The kernel counts some headers in the rate.
    assert!(
        (27.0 * MBIT..31.5 * MBIT).contains(&bps),
        "{bps} bit/s instead of 30 Mbit/s"
    );
    Ok(())
}
