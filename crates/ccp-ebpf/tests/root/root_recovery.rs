//! Losses, timeouts, marks: what programs see of them, and what happens by itself.

use std::io::{Read as _, Write as _};
use std::mem::offset_of;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use ccp_ebpf::layout::{Flow, LAYOUT_VERSION};
use ccp_lab::{
    Bulk, Direction, EmulatedLink, FlowReport, Namespace, Need, Pipe, RunningFlow, Until,
    skip_without,
};
use ccp_program::Program;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::common::{Attached, Daemon, compile, skipped};

/// Reno in the datapath: slow start to ssthresh, then a packet per window; the reduction is the
/// datapath's own.
const RENO: &str = "
    (def (Report (volatile acked 0) (volatile lost 0) (volatile timeouts 0) (volatile ce 0)
                 (volatile ece 0) (state 0) (cwnd 0) (undone 0)))
    (when true
        (:= Report.acked (+ Report.acked Ack.bytes_acked))
        (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
        (if Flow.was_timeout (:= Report.timeouts (+ Report.timeouts 1)))
        (:= Report.ce (+ Report.ce Ack.ecn_packets))
        (if Ack.ece (:= Report.ece (+ Report.ece 1)))
        (:= Report.state Flow.recovery_state)
        (:= Report.cwnd Cwnd)
        (if (&& Flow.cwnd_limited (|| (< Flow.recovery_state 2) (== Flow.recovery_state 4)))
            (:= Cwnd (if (< Cwnd Flow.ssthresh) (+ Cwnd Ack.bytes_acked)))
            (!if (< Cwnd Flow.ssthresh) (:= Cwnd (+ Cwnd (/ (* Flow.mss Ack.bytes_acked) Cwnd)))))
        (report))";

struct Lab {
    client: Namespace,
    server: Namespace,
    link: EmulatedLink,
}

fn lab(pipe: Pipe) -> Lab {
    let client = Namespace::new("client").unwrap();
    let server = Namespace::new("server").unwrap();
    let link = EmulatedLink::new(&client, &server, pipe).unwrap();
    Lab {
        client,
        server,
        link,
    }
}

fn skip() -> bool {
    skipped() || skip_without(&[Need::Namespaces, Need::Tun])
}

/// 20 Mbit/s, 20 ms, half a bandwidth-delay product of queue.
fn pipe() -> Pipe {
    Pipe::new(20_000_000, Duration::from_millis(10)).queue_bytes(25_000)
}

fn run(lab: &Lab, congestion: &str, bytes: u64, mut meanwhile: impl FnMut()) -> FlowReport {
    let flow = Bulk::new(Until::Bytes(bytes))
        .congestion(congestion)
        .start(&lab.client, &lab.server, lab.link.b_v4())
        .unwrap();
    while !flow.is_finished() {
        meanwhile();
        std::thread::sleep(Duration::from_millis(1));
    }
    flow.wait().unwrap()
}

/// Throughput and retransmissions of a loss-based control beside the kernel's.
#[test]
fn root_recovery_is_as_good_as_the_kernels() {
    if skip() {
        return;
    }
    let lab = lab(pipe());
    let mut daemon = Daemon::running(Attached::new(), &compile(RENO), &[]);
    let name = daemon.datapath.name().to_owned();
    let mut last = String::new();
    for _ in 0..3 {
        let kernel = run(&lab, "reno", 6_000_000, || daemon.step());
        let ours = run(&lab, &name, 6_000_000, || daemon.step());
        assert_eq!(ours.congestion, name);
        last = format!(
            "kernel {:.2} Mbit/s, {} retransmissions; ours {:.2} Mbit/s, {}",
            kernel.goodput_bps() / 1e6,
            kernel.last.retransmits,
            ours.goodput_bps() / 1e6,
            ours.last.retransmits,
        );
        eprintln!("{last}");
        if ours.goodput_bps() > 0.95 * kernel.goodput_bps()
            && f64::from(ours.last.retransmits) < 1.3 * f64::from(kernel.last.retransmits) + 5.0
        {
            let lost: u64 = daemon.seen.reports().map(|r| r.fields[1]).sum();
            assert!(lost > 0);
            assert!(
                daemon.seen.reports().any(|r| r.fields[5] == 3),
                "fast recovery was seen"
            );
            return;
        }
    }
    panic!("{last}");
}

/// One lost packet: the window halves, and nothing else happens.
#[test]
fn root_a_loss_halves_the_window() {
    if skip() {
        return;
    }
    let lab = lab(Pipe::new(50_000_000, Duration::from_millis(10))
        .queue_bytes(400_000)
        .drop_data([600]));
    // The window is as large as it is told, and recovery is the datapath's.
    let program = compile(
        "(def (Report (volatile lost 0) (state 0) (cwnd 0)))
         (when true
             (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
             (:= Report.state Flow.recovery_state)
             (:= Report.cwnd (/ Cwnd Flow.mss))
             (report))",
    );
    let mut daemon = Daemon::running(Attached::new(), &program, &[(0, 40 * 1448)]);
    let name = daemon.datapath.name().to_owned();
    let report = run(&lab, &name, 3_000_000, || daemon.step());
    // Where the machine stands still for a moment, a probe is sent as well (RFC 8985, section 7).
    assert!(
        (1..=2).contains(&report.last.retransmits),
        "{:?}",
        report.last
    );
    let reports: Vec<_> = daemon.seen.reports().map(|r| r.fields.clone()).collect();
    assert_eq!(reports.iter().map(|r| r[0]).sum::<u64>(), 1, "lost");
    let entered = reports.iter().position(|r| r[1] == 3).expect("recovery");
    let left = entered
        + reports[entered..]
            .iter()
            .position(|r| r[1] < 2)
            .expect("its end");
    let before = reports[entered - 1][2];
    assert!(
        reports[entered..].iter().all(|r| r[2] == before / 2),
        "{before} {:?}",
        &reports[entered..left]
    );
    assert_eq!(report.last.cwnd_packets as u64, before / 2);
    assert_eq!(
        report.last.ssthresh_packets.map(u64::from),
        Some(before / 2)
    );
    // Proportional rate reduction sends about every other packet: no burst, no silence. How many of the twenty or so
    // share an acknowledgement is the machine's affair.
    assert!(left - entered > 3, "{}", left - entered);
}

/// A program that grows its window on and on, and a route that allows 20 packets. `Cwnd` used to grow far beyond,
/// so that losses cost nothing.
#[test]
fn root_a_loss_halves_what_a_route_allows() {
    if skip() {
        return;
    }
    let lab = lab(Pipe::new(50_000_000, Duration::from_millis(10))
        .queue_bytes(400_000)
        .drop_data([600]));
    let to = lab.link.b_v4().to_string();
    let route = ["route", "add", &to, "dev", lab.link.device()];
    lab.client
        .ip(route.into_iter().chain(["cwnd", "lock", "20"]))
        .unwrap();
    // The kernel takes it from what an earlier connection left, if that was closed in order.
    lab.client
        .set_sysctl("net.ipv4.tcp_no_metrics_save", "0")
        .unwrap();
    let at = SocketAddr::new(lab.link.b_v4(), 0);
    let listener = lab.server.run(|| TcpListener::bind(at)).unwrap().unwrap();
    let at = listener.local_addr().unwrap();
    let mut sender = lab.client.run(|| TcpStream::connect(at)).unwrap().unwrap();
    let (mut receiver, _) = listener.accept().unwrap();
    sender.write_all(&[0; 10_000]).unwrap();
    drop(sender);
    receiver.read_to_end(&mut Vec::new()).unwrap();
    drop(receiver);
    let left = || lab.client.ip(["tcp_metrics", "show"]).unwrap();
    for _ in 0..200 {
        if left().contains("cwnd 20") {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(left().contains("cwnd 20"), "{}", left());
    let program = compile(
        "(def (Report (cwnd 0)))
         (when true
             (if (>= Flow.recovery_state 2) (:= lost 1))
             (if (== lost 0) (:= Cwnd (+ Cwnd Ack.bytes_acked)))
             (fallthrough))
         (when (> Micros 5000)
             (:= Report.cwnd (/ Cwnd Flow.mss))
             (report)
             (reset))",
    );
    let mut daemon = Daemon::running(Attached::new(), &program, &[]);
    let name = daemon.datapath.name().to_owned();
    let report = run(&lab, &name, 3_000_000, || daemon.step());
    let windows: Vec<u64> = daemon.seen.reports().map(|r| r.fields[0]).collect();
    // One acknowledgement's growth is still to be taken back.
    assert!(windows.iter().all(|w| *w <= 40), "{windows:?}");
    assert!(windows.iter().any(|w| *w >= 20), "{windows:?}");
    assert_eq!(report.last.cwnd_packets, 10, "{windows:?}");
}

/// One lost packet: the window goes where the program says in the moment that recovery begins.
#[test]
fn root_a_program_sets_the_target_of_a_reduction() {
    if skip() {
        return;
    }
    let lab = lab(Pipe::new(50_000_000, Duration::from_millis(10))
        .queue_bytes(400_000)
        .drop_data([600]));
    let program = compile(
        "(def (Report (state 0) (cwnd 0) (ssthresh 0) (entered 0)))
         (when true
             (if (&& (== Flow.recovery_state 3) (!= Report.state 3))
                 (:= Ssthresh (/ (* before 7) 10))
                 (:= Report.entered (+ Report.entered 1)))
             (:= Report.state Flow.recovery_state)
             (:= before Cwnd)
             (:= Report.cwnd (/ Cwnd Flow.mss))
             (:= Report.ssthresh (/ Ssthresh Flow.mss))
             (report))",
    );
    let mut daemon = Daemon::running(Attached::new(), &program, &[(0, 40 * 1448)]);
    let name = daemon.datapath.name().to_owned();
    let report = run(&lab, &name, 3_000_000, || daemon.step());
    assert_eq!(report.last.retransmits, 1);
    let reports: Vec<_> = daemon.seen.reports().map(|r| r.fields.clone()).collect();
    let entered = reports.iter().position(|r| r[0] == 3).expect("recovery");
    assert_eq!(reports.last().unwrap()[3], 1);
    // Before, there was none; the program's own from the acknowledgement on that began it.
    assert!(reports[entered - 1][2] > 1 << 30);
    assert_eq!(reports[entered][2], 28);
    // From the next one on it is what the window goes to, and stays at.
    let after = &reports[entered + 1..];
    assert!(
        after.len() > 100 && after.iter().all(|r| (r[1], r[2]) == (28, 28)),
        "{after:?}"
    );
    assert_eq!(report.last.cwnd_packets, 28);
    assert_eq!(report.last.ssthresh_packets, Some(28));
}

/// Everything is lost for a while: timeouts are seen once each, and the flow lives on.
#[test]
fn root_timeouts_are_seen_once() {
    if skip() {
        return;
    }
    let lab = lab(pipe());
    let mut daemon = Daemon::running(Attached::new(), &compile(RENO), &[]);
    let flow = Bulk::new(Until::Stopped)
        .congestion(daemon.datapath.name())
        .start(&lab.client, &lab.server, lab.link.b_v4())
        .unwrap();
    daemon.for_some(Duration::from_millis(600));
    // Data only: were acknowledgements lost, the kernel would find out and undo it.
    lab.link.set_loss(Direction::AToB, 1.0).unwrap();
    daemon.for_some(Duration::from_millis(900));
    lab.link.set_loss(Direction::AToB, 0.0).unwrap();
    let timeouts = |d: &Daemon| d.seen.reports().map(|r| r.fields[2]).sum::<u64>();
    let acked = flow.info().unwrap().bytes_acked;
    daemon.until("a timeout", |d| timeouts(d) > 0);
    daemon.until("more", |_| {
        flow.info().unwrap().bytes_acked > acked + 1_000_000
    });
    // Several timeouts without an ACK in between are one flag, and counted apart.
    assert_eq!(timeouts(&daemon), 1);
    let noted = daemon.datapath.flows().next().unwrap().timeouts;
    assert!((1..=4).contains(&noted), "{noted}");
    // The window began again at one packet; that ACK may have opened it again by what it covers.
    let first = daemon.seen.reports().find(|r| r.fields[2] > 0).unwrap();
    let (acked, cwnd) = (first.fields[0], first.fields[6]);
    assert!(cwnd <= 1448 + acked, "{cwnd} {acked}");
    flow.stop();
    flow.wait().unwrap();
}

/// Marks instead of losses: counted once, answered once per round trip.
#[test]
fn root_marks_are_counted_right() {
    if skip() {
        return;
    }
    let lab = lab(Pipe::new(20_000_000, Duration::from_millis(10))
        .queue_bytes(200_000)
        .mark_above(20_000));
    for ns in [&lab.client, &lab.server] {
        ns.set_sysctl("net.ipv4.tcp_ecn", "1").unwrap();
    }
    let mut daemon = Daemon::running(Attached::new(), &compile(RENO), &[]);
    let name = daemon.datapath.name().to_owned();
    let mut last = String::new();
    // The machine may be busy, and a link that is late makes the kernel probe: the best of three beside the kernel's for
    // the rate and for sending nothing twice, each of them for the counts.
    for _ in 0..3 {
        let kernel = run(&lab, "reno", 6_000_000, || daemon.step());
        let before = lab.link.counters(Direction::AToB).marked_ce;
        daemon.seen.measures.clear();
        let report = run(&lab, &name, 6_000_000, || daemon.step());
        daemon.until("close", |d| d.seen.closes().count() == 1);
        let marked = lab.link.counters(Direction::AToB).marked_ce - before;
        assert!(marked > 0);
        let sum = |i: usize| daemon.seen.reports().map(|r| r.fields[i]).sum::<u64>();
        // The receiver repeats ECE until it sees CWR: what is acknowledged in between counts too,
        // as the kernel counts it.
        let counted = u64::from(report.last.delivered_ce_packets);
        let (ce, ece) = (sum(3), sum(4));
        assert!(
            ce.abs_diff(counted) <= counted / 10 + 2,
            "{ce} of {counted}, {marked} marked"
        );
        assert!(ece > 0 && ece <= ce + 10, "{ece} {ce}");
        assert!(
            daemon.seen.reports().any(|r| r.fields[5] == 2),
            "CWR was seen"
        );
        let [kernel, ours] =
            [&kernel, &report].map(|r| (r.goodput_bps() / 1e6, r.last.retransmits));
        last = format!("Mbit/s and retransmissions: kernel {kernel:?}, ours {ours:?}");
        if ours.0 > 0.85 * kernel.0 && ours.1 <= kernel.1 {
            return;
        }
        eprintln!("again: {last}");
    }
    panic!("{last}");
}

/// The fallback, too, recovers from losses as the kernel does.
#[test]
fn root_the_fallback_is_as_good_as_the_kernels_cubic() {
    if skip() {
        return;
    }
    let lab = lab(pipe());
    let mut attached = Attached::new();
    let name = attached.name().to_owned();
    attached.abandon();
    std::thread::sleep(Duration::from_millis(1100));
    let mut last = String::new();
    for _ in 0..3 {
        let kernel = run(&lab, "cubic", 6_000_000, || ());
        let ours = run(&lab, &name, 6_000_000, || ());
        assert_eq!(ours.congestion, name);
        last = format!(
            "kernel {:.2} Mbit/s, {} retransmissions; ours {:.2} Mbit/s, {}",
            kernel.goodput_bps() / 1e6,
            kernel.last.retransmits,
            ours.goodput_bps() / 1e6,
            ours.last.retransmits,
        );
        eprintln!("{last}");
        if ours.goodput_bps() > 0.97 * kernel.goodput_bps()
            && f64::from(ours.last.retransmits) < 1.3 * f64::from(kernel.last.retransmits) + 5.0
        {
            return;
        }
    }
    panic!("{last}");
}

/// A delay that grows at once makes the kernel believe in a timeout; it takes that back (F-RTO),
/// and so does the window. A program that keeps its window in all this has nothing to take back.
#[test]
fn root_spurious_timeouts_are_undone() {
    if skip() {
        return;
    }
    let lab = lab(Pipe::new(20_000_000, Duration::from_millis(10)).queue_bytes(400_000));
    let program = compile(
        "(def (Report (cwnd 0) (state 0)))
         (when true (:= Report.cwnd (/ Cwnd Flow.mss)) (:= Report.state Flow.recovery_state) (report))",
    );
    for own_recovery in [false, true] {
        let program = Program {
            own_recovery,
            ..program.clone()
        };
        let mut daemon = Daemon::running(Attached::new(), &program, &[(0, 30 * 1448)]);
        lab.link
            .set_delay(Direction::AToB, Duration::from_millis(10));
        let flow = Bulk::new(Until::Stopped)
            .congestion(daemon.datapath.name())
            .start(&lab.client, &lab.server, lab.link.b_v4())
            .unwrap();
        daemon.for_some(Duration::from_millis(500));
        daemon.until("the window", |_| flow.info().unwrap().cwnd_packets == 30);
        assert!(!is_the_glues(&daemon, &flow));
        lab.link
            .set_delay(Direction::AToB, Duration::from_millis(450));
        daemon.until("a timeout", |d| d.datapath.flows().any(|f| f.timeouts > 0));
        daemon.until("open again", |_| {
            flow.info().unwrap().ca_state == 0 && flow.info().unwrap().cwnd_packets > 4
        });
        daemon.for_some(Duration::from_millis(100));
        assert_eq!(flow.info().unwrap().cwnd_packets, 30);
        let reports: Vec<_> = daemon.seen.reports().map(|r| r.fields.clone()).collect();
        assert_eq!(reports.last().unwrap()[0], 30);
        // Nothing of it stays that would cost each acknowledgement from now on.
        daemon.until("the short way", |d| !is_the_glues(d, &flow));
        flow.stop();
        drop(flow);
    }
}

/// Whether the glue looks at each acknowledgement of the flow before the program does.
fn is_the_glues(daemon: &Daemon, flow: &RunningFlow) -> bool {
    let options = daemon.datapath.options();
    let maps = options.pin_root.join(&options.name);
    let maps = maps.join(format!("v{LAYOUT_VERSION}"));
    let storage = MapHandle::from_pinned_path(maps.join("flows")).unwrap();
    let key = flow.as_fd().as_raw_fd().to_ne_bytes();
    let value = storage.lookup(&key, MapFlags::ANY).unwrap();
    let value = value.expect("a flow of ours");
    let at = offset_of!(Flow, due);
    let due = u32::from_ne_bytes(value[at..at + 4].try_into().unwrap());
    due != 0
}
