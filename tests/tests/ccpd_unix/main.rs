//! `ccpd` and libccp datapaths on a Unix datagram socket: what goes right, and what one that does wrong
//! costs the others.

mod beats;
mod fake;
mod kinds;
mod spins;
mod users;

use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ccp_control::{Attributes, Client, FlowMode, FlowStatus, Metric};
use ccp_wire::Encode as _;
use ccpd::{Ccpd, Config, Handle};
use fake::{Fake, Told, local, measure, together};
use kinds::{HANG, Manner, Missed, Test};

const PATIENCE: Duration = Duration::from_secs(10);
/// One for each algorithm, and the one that steers a libccp flow which nobody else does.
const PROGRAMS: usize = 6;

/// A daemon within this process, and its files.
struct Daemon {
    dir: tempfile::TempDir,
    handle: Handle,
    missed: Missed,
    config: Config,
}

impl Daemon {
    /// `echo` is what flows get; those to the ports of the rules get others.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = format!(
            "[ccpd]
             control = '{dir}/control.sock'
             algorithm_timeout_ms = 0
             [[datapath]]
             kind = 'unix'
             path = '{dir}/datapath.sock'
             [algorithms.echo]
             [algorithms.fragile]
             [algorithms.slow]
             [algorithms.ticks]
             [algorithms.hangs]
             [policy]
             default = 'echo'
             [[policy.rule]]
             match = {{ dst_port = 1003 }}
             algorithm = 'fragile'
             [[policy.rule]]
             match = {{ dst_port = 1004 }}
             algorithm = 'slow'
             [[policy.rule]]
             match = {{ dst_port = 1005 }}
             algorithm = 'ticks'
             [[policy.rule]]
             match = {{ dst_port = 1006 }}
             algorithm = 'hangs'",
            dir = dir.path().display()
        );
        let config: Config = text.parse().unwrap();
        let missed = Missed::default();
        let mut builder = Ccpd::builder().config(config.clone());
        for (kind, manner) in [
            ("echo", Manner::Echo),
            ("fragile", Manner::PanicsAtTheThird),
            ("slow", Manner::Slow),
            ("ticks", Manner::Ticks),
            ("hangs", Manner::Hangs),
        ] {
            let missed = missed.clone();
            builder = builder.kind(kind, move |params| Test::new(manner, &missed, params));
        }
        let handle = builder.spawn().await.unwrap();
        Self {
            dir,
            handle,
            missed,
            config,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn datapath(&self) -> PathBuf {
        self.path("datapath.sock")
    }

    async fn flows(&self) -> Vec<FlowStatus> {
        let mut client = Client::connect(self.path("control.sock")).await.unwrap();
        client.flows().await.unwrap()
    }

    /// The flows, once they are as `wanted`.
    async fn await_flows(&self, wanted: impl Fn(&[FlowStatus]) -> bool) -> Vec<FlowStatus> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let flows = self.flows().await;
            if wanted(&flows) {
                return flows;
            }
            assert!(Instant::now() < deadline, "still {flows:#?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn stop(self) {
        let files = [self.datapath(), self.path("control.sock")];
        self.handle.stop();
        self.handle.wait().await.unwrap();
        for file in files {
            assert!(!file.exists(), "{} is still there", file.display());
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_steered_and_listed() {
    let daemon = Daemon::start().await;
    assert_eq!(mode(&daemon.datapath()), 0o600);
    assert_eq!(mode(&daemon.path("control.sock")), 0o600);
    assert_eq!(daemon.flows().await, []);

    let mut fake = Fake::ready(&daemon.datapath(), "a");
    fake.open(5, 40_000);
    let (uid, window) = fake.started(5);
    assert_eq!(window, Some(14_480));
    assert_eq!(fake.installed, PROGRAMS, "the programs come first");
    for report in 1..=3 {
        fake.report(5, uid, &[20_000 + report]);
        assert_eq!(fake.window(5), 20_000 + report);
    }
    let flows = daemon.flows().await;
    let expected = FlowStatus {
        datapath: daemon.datapath().display().to_string(),
        flow: flows[0].flow,
        sock_id: 5,
        algorithm: "echo".to_owned(),
        program: Some("echo".to_owned()),
        src: local(40_000),
        dst: "192.0.2.1:443".parse().unwrap(),
        cwnd_bytes: 20_003,
        rate_bytes_per_s: 0,
        rtt_us: 0,
        mss_bytes: 1448,
        reports: 3,
        reports_missed: 0,
        updates: 4,
        state: FlowMode::Running,
        faults: 0,
        sent_bytes: None,
        delivered_bytes: None,
        lost_bytes: None,
        age_us: flows[0].age_us,
        attributes: Attributes::default(),
    };
    assert_eq!(flows, [expected]);

    fake.close(5);
    daemon.await_flows(<[_]>::is_empty).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_datapaths_use_the_same_names_at_once() {
    let daemon = Daemon::start().await;
    let mut one = Fake::ready(&daemon.datapath(), "one");
    let mut two = Fake::ready(&daemon.datapath(), "two");
    one.open(1, 1001);
    two.open(1, 2001);
    let (uid, _) = one.started(1);
    assert_eq!(two.started(1).0, uid);
    one.report(1, uid, &[111_111]);
    two.report(1, uid, &[222_222]);
    assert_eq!((one.window(1), two.window(1)), (111_111, 222_222));
    assert_eq!(daemon.flows().await.len(), 2);
    // One goes away: its flow ends, the other's does not.
    drop(one);
    let left = daemon.await_flows(|flows| flows.len() == 1).await;
    assert_eq!(left[0].src, local(2001));
    two.report(1, uid, &[333_333]);
    assert_eq!(two.window(1), 333_333);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_costs_its_own_flow_a_switch_to_the_default() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.datapath(), "a");
    fake.open_to(1, 1, 1003);
    let (fragile, _) = fake.started(1);
    fake.open_to(2, 2, 1003);
    assert_eq!(fake.started(2).0, fragile);
    fake.open(3, 3);
    let (echo, _) = fake.started(3);
    assert_ne!(fragile, echo);

    for report in 1..=2 {
        fake.report(1, fragile, &[30_000 + report]);
        assert_eq!(fake.window(1), 30_000 + report);
    }
    fake.report(1, fragile, &[99_999]);
    // The default takes over, from the window that it has.
    assert_eq!(fake.started(1), (echo, Some(30_002)));
    fake.report(1, echo, &[40_000]);
    assert_eq!(fake.window(1), 40_000);
    // The others notice nothing: neither the one of the same algorithm, nor the one of the default.
    for report in 1..=2 {
        fake.report(2, fragile, &[50_000 + report]);
        assert_eq!(fake.window(2), 50_000 + report);
        fake.report(3, echo, &[60_000 + report]);
        assert_eq!(fake.window(3), 60_000 + report);
    }
    let flows = daemon.flows().await;
    let shown: Vec<_> = flows.iter().map(|f| (&f.algorithm[..], f.state)).collect();
    let running = FlowMode::Running;
    assert_eq!(
        shown,
        [("echo", running), ("fragile", running), ("echo", running)]
    );
    daemon.stop().await;
}

/// While one datapath reads nothing, its reports are taken, others are answered at once, and what it finds
/// in the end is the newest value.
#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_costs_nobody_else() {
    let daemon = Daemon::start().await;
    let mut deaf = Fake::ready(&daemon.datapath(), "deaf");
    let mut other = Fake::ready(&daemon.datapath(), "other");
    deaf.open(1, 1);
    let (uid, _) = deaf.started(1);
    other.open(1, 2);
    assert_eq!(other.started(1).0, uid);
    const LAST: u64 = 20_000;
    for report in 1..=LAST {
        deaf.report(1, uid, &[report]);
        if report % 1_000 == 0 {
            let before = Instant::now();
            other.report(1, uid, &[report]);
            assert_eq!(other.window(1), report);
            assert!(
                before.elapsed() < Duration::from_secs(1),
                "{:?}",
                before.elapsed()
            );
        }
    }
    // So many were said to the daemon that all of them can't be lying in the socket.
    let mut windows = vec![deaf.window(1)];
    while *windows.last().unwrap() != LAST {
        windows.push(deaf.window(1));
    }
    assert!(
        windows.len() < 2_000,
        "{} updates for {LAST} reports",
        windows.len()
    );
    assert!(windows.is_sorted(), "no update overtakes another");
    // It is served on.
    deaf.report(1, uid, &[77_777]);
    assert_eq!(deaf.window(1), 77_777);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_without_a_socket_of_its_own() {
    let daemon = Daemon::start().await;
    let mut deaf = Fake::connected(&daemon.datapath(), "deaf");
    let mut other = Fake::ready(&daemon.datapath(), "other");
    deaf.open(1, 1);
    let (uid, _) = deaf.started(1);
    other.open(1, 2);
    assert_eq!(other.started(1).0, uid);
    const LAST: u64 = 5_000;
    for report in 1..=LAST {
        deaf.report(1, uid, &[report]);
    }
    other.report(1, uid, &[5]);
    assert_eq!(other.window(1), 5);
    while deaf.window(1) != LAST {}
    daemon.stop().await;
}

/// A datapath that asks again and again and never reads is hung up on; it does not fill the daemon's memory.
#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_never_reads_is_hung_up_on() {
    let daemon = Daemon::start().await;
    let mut other = Fake::ready(&daemon.datapath(), "other");
    other.open(1, 2);
    let (uid, _) = other.started(1);
    let deaf = Fake::ready(&daemon.datapath(), "deaf");
    deaf.open(7, 7);
    daemon.await_flows(|flows| flows.len() == 2).await;
    for _ in 0..2_000 {
        deaf.say(&ccp_wire::Ready {
            id: 0,
            capabilities: None,
        });
    }
    daemon.await_flows(|flows| flows.len() == 1).await;
    other.report(1, uid, &[5]);
    assert_eq!(other.window(1), 5);
    daemon.stop().await;
}

/// Each READY has all programs sent anew; a datagram has room for thousands.
#[tokio::test(flavor = "multi_thread")]
async fn datagrams_full_of_readys_hold_up_nobody_else() {
    let daemon = Daemon::start().await;
    let loud = Fake::ready(&daemon.datapath(), "loud");
    let ready = ccp_wire::Ready {
        id: 0,
        capabilities: None,
    };
    let many = ready.to_frame().unwrap().repeat(5_000);
    for _ in 0..20 {
        loud.send(&many);
    }
    let asked = Instant::now();
    let mut other = Fake::ready(&daemon.datapath(), "other");
    other.open(1, 2);
    other.started(1);
    assert_eq!(daemon.flows().await.len(), 1);
    let took = asked.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datapath_that_starts_again_gets_everything_again() {
    let daemon = Daemon::start().await;
    let mut first = Fake::ready(&daemon.datapath(), "a");
    first.open(1, 1);
    let (uid, _) = first.started(1);
    // Another process at the same path, before anybody noticed.
    let mut second = Fake::ready(&daemon.datapath(), "a");
    second.open(1, 2);
    assert_eq!(second.started(1).0, uid);
    assert_eq!(second.installed, PROGRAMS);
    let flows = daemon.await_flows(|flows| flows.len() == 1).await;
    assert_eq!(flows[0].src, local(2));
    second.report(1, uid, &[123_456]);
    assert_eq!(second.window(1), 123_456);
    std::mem::forget(first); // its path is the second's now
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_costs_nothing() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.datapath(), "a");
    fake.open(1, 1);
    let (uid, _) = fake.started(1);
    let good = measure(1, uid, &[50_000]);
    let frame = together(std::slice::from_ref(&good));
    for len in 0..frame.len() {
        fake.send(&frame[..len]);
    }
    let mut random = 1_u64;
    for len in 0..300_usize {
        let mut bytes = Vec::new();
        for _ in 0..len {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            bytes.push((random >> 56) as u8);
        }
        fake.send(&bytes);
        // A valid header, of any type but READY, then anything. It is about another flow.
        let kind = (random >> 40) as u8 % 5;
        let mut headed = vec![kind, 0, (len + 8) as u8, ((len + 8) >> 8) as u8, 9, 0, 0, 0];
        headed.extend(bytes);
        fake.send(&headed);
    }
    // From somebody who has no path.
    let nobody = std::os::unix::net::UnixDatagram::unbound().unwrap();
    nobody.send_to(&frame, daemon.datapath()).unwrap();
    // Reports of what does not exist, and of the wrong length.
    fake.report(99, uid, &[1]);
    fake.report(1, 77, &[1]);
    fake.report(1, uid, &[1, 2]);
    // Several in one datagram, an unknown type between them: each is taken.
    let mut several = together(&[measure(1, uid, &[60_000])]);
    several.extend_from_slice(&[9, 0, 12, 0, 1, 0, 0, 0, 1, 2, 3, 4]);
    several.extend_from_slice(&together(&[measure(1, uid, &[70_000])]));
    fake.send(&several);
    loop {
        match fake.told() {
            Told::Update(update) if update.sock_id.0 == 1 && update.fields[0].value == 70_000 => {
                break;
            }
            _ => {}
        }
    }
    let flows = daemon.flows().await;
    let flow = flows.iter().find(|flow| flow.sock_id == 1).unwrap();
    assert_eq!((flow.src, flow.reports), (local(1), 2));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_lags_behind_hears_how_much_it_missed() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.datapath(), "a");
    fake.open_to(1, 1, 1004);
    let (uid, _) = fake.started(1);
    const LAST: u64 = 3_000;
    for report in 1..=LAST {
        fake.report(1, uid, &[report]);
    }
    while fake.window(1) != LAST {}
    let flows = daemon.flows().await;
    let (got, missed) = (flows[0].reports, flows[0].reports_missed);
    assert_eq!(got + missed, LAST);
    assert!(missed > 0, "it got all {got}");
    assert_eq!(daemon.missed.load(Ordering::SeqCst), missed);
    daemon.stop().await;
}

/// An algorithm that does not come back holds up one thread, and nobody waits for that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_that_hangs_holds_up_no_other() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.datapath(), "one");
    fake.open_to(1, 1, 1006);
    let (hangs, _) = fake.started(1);
    fake.open(2, 2);
    let (echo, _) = fake.started(2);
    let began = Instant::now();
    fake.report(1, hangs, &[1]);
    std::thread::sleep(Duration::from_millis(50));
    for window in 2..20 {
        fake.report(2, echo, &[window]);
        assert_eq!(fake.window(2), window);
    }
    assert_eq!(daemon.flows().await.len(), 2);
    let took = began.elapsed();
    assert!(took < HANG / 2, "{took:?}");
    // Nor does a stop wait for it.
    let began = Instant::now();
    daemon.stop().await;
    let took = began.elapsed();
    assert!(took < HANG / 2, "{took:?}");
}

/// Nor do more of them than the daemon has threads otherwise.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_flows_that_hang_hold_up_no_other() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.datapath(), "one");
    fake.open(9, 9);
    let (echo, _) = fake.started(9);
    let began = Instant::now();
    for flow in 1..=6 {
        fake.open_to(flow, flow as u16, 1006);
        let (hangs, _) = fake.started(flow);
        // The flow's task has started it, and is done with that by then.
        std::thread::sleep(Duration::from_millis(20));
        fake.report(flow, hangs, &[1]);
        fake.report(9, echo, &[u64::from(flow)]);
        assert_eq!(fake.window(9), u64::from(flow));
    }
    assert_eq!(daemon.flows().await.len(), 7);
    let took = began.elapsed();
    assert!(took < HANG / 2, "{took:?}");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_is_woken_at_the_time_it_asks_for() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.datapath(), "a");
    fake.open_to(1, 1, 1005);
    fake.started(1);
    let before = Instant::now();
    for tick in 1..=50 {
        assert_eq!(fake.window(1), 100_000 + tick);
    }
    // Fifty times a millisecond; late wake-ups are the machine's.
    assert!(
        before.elapsed() >= Duration::from_millis(40),
        "{:?}",
        before.elapsed()
    );
    fake.close(1);
    daemon.await_flows(<[_]>::is_empty).await;
    while fake.told_within(Duration::from_millis(200)).is_some() {}
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_takes_everything_along() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.datapath(), "a");
    for flow in 1..=100 {
        fake.open(flow, flow as u16);
        fake.started(flow);
    }
    assert_eq!(daemon.flows().await.len(), 100);
    let before = Instant::now();
    daemon.stop().await;
    assert!(
        before.elapsed() < Duration::from_secs(2),
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_is_dropped_stops_the_daemon() {
    let Daemon { dir, handle, .. } = Daemon::start().await;
    let socket = dir.path().join("datapath.sock");
    assert!(socket.exists());
    drop(handle);
    let deadline = Instant::now() + PATIENCE;
    while socket.exists() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_daemons_do_not_share_a_socket() {
    let daemon = Daemon::start().await;
    let text = format!(
        "[ccpd]\ncontrol = '{control}'\n[[datapath]]\nkind = 'unix'\npath = '{datapath}'\n",
        control = daemon.path("other.sock").display(),
        datapath = daemon.datapath().display()
    );
    let config: Config = text.parse().unwrap();
    let error = Ccpd::builder().config(config).spawn().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is in use: another program listens on it"),
        "{error}"
    );
    assert_eq!(error.exit_code(), 1);
    // Nothing of the one that did not start is left, and the other goes on.
    assert!(!daemon.path("other.sock").exists());
    let mut fake = Fake::ready(&daemon.datapath(), "a");
    fake.open(1, 1);
    assert!(matches!(fake.told(), Told::ChangeProg(_)));
    daemon.stop().await;
}

/// What happened is counted where it belongs, and can be asked for.
#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_counted() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.datapath(), "one");
    fake.open_to(1, 1, 1003);
    let (fragile, _) = fake.started(1);
    fake.open(2, 2);
    let (echo, _) = fake.started(2);
    for window in 1..=32 {
        fake.report(2, echo, &[window]);
        assert_eq!(fake.window(2), window);
    }
    fake.report(2, 9_999, &[1]);
    fake.report(7, echo, &[1]);
    fake.send(b"\x00\x00");
    fake.send(b"\x03\x00\xff\x00\x01\x00\x00\x00");
    // More than a flow can have: it is lowered.
    fake.report(2, echo, &[u64::MAX]);
    assert_eq!(fake.window(2), ccp_core::MOST_PACKETS * 1448);
    for window in 1..=3 {
        fake.report(1, fragile, &[window]);
    }
    let path = daemon.datapath().display().to_string();
    let expected = [
        ("ccpd_reports_total", "", 36.0),
        ("ccpd_reports_dropped_total", "unknown_program", 1.0),
        ("ccpd_reports_dropped_total", "unknown_flow", 1.0),
        ("ccpd_reports_dropped_total", "missed", 0.0),
        ("ccpd_malformed_frames_total", "header", 1.0),
        ("ccpd_malformed_frames_total", "truncated", 1.0),
        ("ccpd_updates_bounded_total", "", 1.0),
        ("ccpd_algorithm_panics_total", "fragile", 1.0),
        ("ccpd_algorithm_flows", "fragile", 0.0),
        ("ccpd_algorithm_flows", "echo", 2.0),
        ("ccpd_flows", path.as_str(), 2.0),
        ("ccpd_flows_opened_total", path.as_str(), 2.0),
        ("ccpd_datapaths", "", 1.0),
        ("ccpd_report_latency_seconds", "", 2.0),
    ];
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::connect(daemon.path("control.sock")).await.unwrap();
        let metrics = client.metrics().await.unwrap();
        let wrong: Vec<_> = expected
            .iter()
            .map(|(name, of, wanted)| (name, of, wanted, value(&metrics, name, of)))
            .filter(|(_, _, wanted, got)| *got != Some(**wanted))
            .collect();
        if wrong.is_empty() {
            assert!(value(&metrics, "ccpd_updates_total", "").unwrap() >= 35.0);
            assert!(value(&metrics, "process_resident_memory_bytes", "").unwrap() > 1e6);
            break;
        }
        assert!(Instant::now() < deadline, "still {wrong:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fake.close(1);
    fake.close(2);
    daemon.await_flows(<[_]>::is_empty).await;
    let mut client = Client::connect(daemon.path("control.sock")).await.unwrap();
    let metrics = client.metrics().await.unwrap();
    assert_eq!(value(&metrics, "ccpd_algorithm_flows", "echo"), Some(0.0));
    assert_eq!(value(&metrics, "ccpd_flows", &path), Some(0.0));
    daemon.stop().await;
}

fn value(metrics: &[Metric], name: &str, of: &str) -> Option<f64> {
    let metric = metrics.iter().find(|m| m.name == name)?;
    let sample = metric.samples.iter().find(|s| match &s.label {
        None => of.is_empty(),
        Some((_, value)) => value == of,
    })?;
    Some(sample.value.number())
}

/// A port of this host that was free a moment ago.
fn free_port() -> u16 {
    let any = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    any.local_addr().unwrap().port()
}

fn scrape(port: u16) -> Option<String> {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    Some(answer)
}

/// A reload turns the Prometheus endpoint on, moves it and turns it off; one that is not possible changes
/// nothing.
#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_where_the_configuration_says() {
    let daemon = Daemon::start().await;
    let change = async |listen: Option<&str>| {
        let mut config = daemon.config.clone();
        config.metrics = listen.map(|listen| listen.parse().unwrap());
        daemon.handle.changer().change_to(config).await
    };
    let (first, second) = (free_port(), free_port());
    change(Some(&format!("127.0.0.1:{first}"))).await.unwrap();
    let answer = scrape(first).unwrap();
    assert!(answer.contains("\nccpd_build_info{version="), "{answer}");
    assert!(
        answer.contains("\nccpd_refusals_total{why=\"flows\"} 0\n"),
        "{answer}"
    );
    // The same port with another address.
    change(Some(&format!("127.0.0.2:{first}"))).await.unwrap();
    assert!(scrape(first).is_none());
    change(Some(&format!("127.0.0.1:{second}"))).await.unwrap();
    assert!(scrape(second).is_some());
    let taken = std::net::TcpListener::bind(("127.0.0.1", first)).unwrap();
    let error = change(Some(&format!("127.0.0.1:{first}")))
        .await
        .unwrap_err();
    let expected = format!("can't serve metrics on 127.0.0.1:{first} (`metrics.listen`)");
    assert_eq!(error.to_string(), expected);
    drop(taken);
    // An address of which this host has none.
    change(Some(&format!("192.0.2.1:{second}")))
        .await
        .unwrap_err();
    assert!(scrape(second).is_some());
    change(None).await.unwrap();
    assert!(scrape(second).is_none());
    change(Some(&format!("127.0.0.1:{second}"))).await.unwrap();
    daemon.stop().await;
    let deadline = Instant::now() + PATIENCE;
    while scrape(second).is_some() {
        assert!(Instant::now() < deadline, "it is still served");
    }
}
