//! Namespaces, veth links and traffic on the real kernel. Need root.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use ccp_lab::{
    Bulk, LabError, Namespace, Need, ShortFlows, Until, VethLink, VethSpec, skip_without,
};

const NEEDS: &[Need] = &[Need::Namespaces, Need::Tc];

fn pair() -> Result<(Namespace, Namespace), LabError> {
    Ok((Namespace::new("client")?, Namespace::new("server")?))
}

#[test]
fn root_bulk_over_loopback_ipv4_and_ipv6() -> anyhow::Result<()> {
    if skip_without(NEEDS) {
        return Ok(());
    }
    let ns = Namespace::new("lo")?;
    for (ip, congestion) in [("127.0.0.1", "reno"), ("::1", "cubic")] {
        let ip: std::net::IpAddr = ip.parse()?;
        let bytes = 20_000_001;
        let flow = Bulk::new(Until::Bytes(bytes))
            .congestion(congestion)
            .start(&ns, &ns, ip)?;
        assert_eq!(flow.congestion()?, congestion);
        let report = flow.wait()?;
        assert_eq!(report.bytes, bytes);
        assert_eq!(report.congestion, congestion);
        assert_eq!(report.peer.ip(), ip);
        assert!(report.last.bytes_sent >= bytes, "{report:?}");
    }
    Ok(())
}

#[test]
fn root_veth_keeps_to_its_rate_and_follows_a_change() -> anyhow::Result<()> {
    if skip_without(NEEDS) {
        return Ok(());
    }
    let (client, server) = pair()?;
    let mut link = VethLink::new(&client, &server, VethSpec::limited(50_000_000))?;
    for to in [link.b_v4(), link.b_v6()] {
        let flow = Bulk::new(Until::Elapsed(Duration::from_secs(2)))
            .congestion("cubic")
            .start(&client, &server, to)?;
        let report = flow.wait()?;
        let mbit = report.goodput_bps() / 1e6;
        // 50 Mbit/s of Ethernet frames carry 47 to 48 of content; the bucket's start adds a little.
        assert!((45.0..50.0).contains(&mbit), "{mbit} Mbit/s to {to}");
    }

    let flow =
        Bulk::new(Until::Stopped)
            .congestion("cubic")
            .start(&client, &server, link.b_v4())?;
    std::thread::sleep(Duration::from_millis(1500));
    link.set_rate(10_000_000)?;
    std::thread::sleep(Duration::from_millis(2000));
    flow.stop();
    let report = flow.wait()?;
    let at = Duration::from_millis;
    let before = report.goodput_between(at(300), at(1400)).expect("samples") / 1e6;
    let after = report.goodput_between(at(2000), at(3400)).expect("samples") / 1e6;
    assert!((43.0..52.0).contains(&before), "{before} Mbit/s before");
    assert!((8.0..11.0).contains(&after), "{after} Mbit/s after");
    Ok(())
}

#[test]
fn root_parallel_and_short_flows() -> anyhow::Result<()> {
    if skip_without(NEEDS) {
        return Ok(());
    }
    let (client, server) = pair()?;
    let link = VethLink::new(&client, &server, VethSpec::unlimited())?;
    let flows = Bulk::new(Until::Bytes(1_000_000))
        .port(5001)
        .congestion("reno")
        .start_many(4, &client, &server, link.b_v4())?;
    for flow in flows {
        let report = flow.wait()?;
        assert_eq!((report.bytes, report.peer.port()), (1_000_000, 5001));
    }

    let report = ShortFlows::new(200, 30_000)
        .at_once(20)
        .congestion("reno")
        .run(&client, &server, link.b_v6())?;
    assert_eq!(
        (report.completed, report.bytes),
        (200, 6_000_000),
        "{:?}",
        report.failures
    );
    assert_eq!(report.congestion.get("reno"), Some(&200));
    assert_eq!(report.times.len(), 200);

    let report =
        ShortFlows::new(3, 1)
            .congestion("nosuchalgo")
            .run(&client, &server, link.b_v4())?;
    assert_eq!((report.completed, report.failures.len()), (0, 3));
    assert!(
        report.failures[0].contains("`nosuchalgo`"),
        "{:?}",
        report.failures
    );
    Ok(())
}

#[test]
fn root_an_unknown_algorithm_is_named() -> anyhow::Result<()> {
    if skip_without(NEEDS) {
        return Ok(());
    }
    let ns = Namespace::new("lo")?;
    let localhost = std::net::Ipv4Addr::LOCALHOST;
    let error = Bulk::new(Until::Bytes(1))
        .congestion("nosuchalgo")
        .start(&ns, &ns, localhost)
        .expect_err("there is none of that name");
    let text = error.to_string();
    assert!(
        text.contains("`nosuchalgo`") && text.contains("errno 2"),
        "{text}"
    );

    let error = ns
        .set_sysctl("net.ipv4.tcp_congestion_control", "nosuchalgo")
        .expect_err("no such");
    assert!(
        error
            .to_string()
            .contains("tcp_available_congestion_control"),
        "{error}"
    );
    let error = ns
        .set_sysctl("kernel.hostname", "x")
        .expect_err("not of a network namespace");
    assert!(error.to_string().contains("net."), "{error}");
    Ok(())
}

#[test]
fn root_settings_are_the_namespaces_own() -> anyhow::Result<()> {
    if skip_without(NEEDS) {
        return Ok(());
    }
    let key = "net.ipv4.tcp_congestion_control";
    let file = "/proc/sys/net/ipv4/tcp_congestion_control";
    let host = std::fs::read_to_string(file)?;
    let other = if host.trim() == "reno" {
        "cubic"
    } else {
        "reno"
    };
    let ns = Namespace::new("settings")?;
    ns.set_sysctl(key, other)?;
    assert_eq!(ns.sysctl(key)?, other);
    assert_eq!(
        std::fs::read_to_string(file)?,
        host,
        "the host's default must not move"
    );

    ns.set_sysctl("net.ipv4.tcp_rmem", "4096 50000 60000")?;
    assert_eq!(ns.sysctl("net.ipv4.tcp_rmem")?, "4096\t50000\t60000");
    let flow = Bulk::new(Until::Bytes(100_000)).start(&ns, &ns, std::net::Ipv4Addr::LOCALHOST)?;
    assert_eq!(
        flow.wait()?.congestion,
        other,
        "a new socket takes its namespace's default"
    );
    Ok(())
}

#[test]
fn root_ss_and_tcp_info_agree() -> anyhow::Result<()> {
    if skip_without(NEEDS) {
        return Ok(());
    }
    let (client, server) = pair()?;
    let link = VethLink::new(&client, &server, VethSpec::limited(20_000_000))?;
    let flow =
        Bulk::new(Until::Stopped)
            .congestion("cubic")
            .start(&client, &server, link.b_v6())?;
    std::thread::sleep(Duration::from_millis(500));
    let sockets = client.ss()?;
    let [socket] = &sockets[..] else {
        panic!("one socket: {sockets:#?}")
    };
    assert_eq!((socket.local, socket.peer), (flow.local(), flow.peer()));
    assert_eq!(
        (socket.state.as_str(), socket.congestion.as_deref()),
        ("ESTAB", Some("cubic"))
    );
    let info = flow.info()?;
    assert_eq!(socket.mss_bytes, Some(info.mss_bytes));
    assert!(
        socket
            .cwnd_packets
            .is_some_and(|n| n <= info.cwnd_packets || info.retransmits > 0)
    );
    assert!(
        socket.bytes_acked > 500_000 && socket.bytes_acked <= info.bytes_acked,
        "{socket:?}"
    );
    assert!(socket.srtt.is_some() && socket.min_rtt.is_some() && socket.pacing_bps.is_some());
    flow.stop();
    flow.wait()?;
    Ok(())
}

#[test]
fn root_a_stuck_link_neither_blocks_stop_nor_hides() -> anyhow::Result<()> {
    if skip_without(NEEDS) {
        return Ok(());
    }
    let (client, server) = pair()?;
    let link = VethLink::new(&client, &server, VethSpec::limited(100_000_000))?;
    let flow = Bulk::new(Until::Stopped)
        .drain_limit(Duration::from_millis(300))
        .start(&client, &server, link.b_v4())?;
    std::thread::sleep(Duration::from_millis(300));
    server.ip(["link", "set", link.device(), "down"])?;
    std::thread::sleep(Duration::from_millis(200));
    flow.stop();
    let started = Instant::now();
    let error = flow.wait().expect_err("the rest cannot arrive");
    assert!(matches!(error, LabError::Drain { .. }), "{error}");
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    Ok(())
}

#[test]
fn root_children_run_inside_and_end_with_their_owner() -> anyhow::Result<()> {
    if skip_without(NEEDS) {
        return Ok(());
    }
    let ns = Namespace::new("children")?;
    let link = ns.output("readlink", ["/proc/self/ns/net"])?;
    assert_eq!(link.trim(), format!("net:[{}]", ns.inode()));

    let error = ns
        .output("ip", ["link", "show", "nosuchdevice"])
        .expect_err("no such device");
    assert!(error.to_string().contains("nosuchdevice"), "{error}");
    assert!(ns.output("no-such-program", [""; 0]).is_err());

    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let child = ns.spawn(sleep)?;
    let process = format!("/proc/{}", child.id());
    assert!(std::path::Path::new(&process).exists());
    drop(child);
    assert!(
        !std::path::Path::new(&process).exists(),
        "killed and reaped"
    );

    let mut sleep = Command::new("sleep");
    sleep.arg("1000");
    let mut child = ns.spawn(sleep)?;
    assert!(child.try_wait()?.is_none());
    drop(ns);
    let status = child.wait_timeout(Duration::from_secs(2))?;
    assert!(status.is_some(), "ends with its namespace");
    Ok(())
}
