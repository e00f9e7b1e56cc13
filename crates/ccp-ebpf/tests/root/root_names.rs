//! Several names of one datapath: registered, adopted and removed together.

use std::net::Ipv4Addr;
use std::time::Duration;

use ccp_ebpf::{Mode, Name};
use ccp_lab::{
    Bulk, Direction, EmulatedLink, Namespace, Need, Pipe, RunningFlow, Until, skip_without,
};

use crate::common::{Attached, Daemon, compile, is_registered, skipped, still};

fn name(name: &str, ecn: bool) -> Name {
    Name {
        name: name.to_owned(),
        ecn,
    }
}

/// A datapath whose further names are its own with these ends.
fn attach(ends: &[(&str, bool)]) -> (Attached, Vec<String>) {
    let attached = Attached::with(|o| {
        o.fallback_after = Duration::from_millis(100);
        let more = |(end, ecn): &(&str, bool)| name(&format!("{}{end}", o.name), *ecn);
        o.more_names = ends.iter().map(more).collect();
    });
    let more = attached.options().more_names.iter();
    let mut names = vec![attached.name().to_owned()];
    names.extend(more.map(|n| n.name.clone()));
    (attached, names)
}

fn running(daemon: &Daemon) -> usize {
    let flows = daemon.datapath.flows();
    flows.filter(|f| f.mode == Mode::Running).count()
}

#[test]
fn root_names_come_stay_and_go_together() {
    if skipped() {
        return;
    }
    let (attached, names) = attach(&[("a", false), ("b", true)]);
    assert!(names.iter().all(|name| is_registered(name)), "{names:?}");
    let ns = Namespace::new("names").unwrap();
    let bulk = |name: &String| {
        Bulk::new(Until::Stopped)
            .congestion(name)
            .start(&ns, &ns, Ipv4Addr::LOCALHOST)
            .unwrap()
    };
    let flows: Vec<RunningFlow> = names.iter().map(bulk).collect();
    let mut daemon = Daemon::running(attached, &still(), &[]);
    daemon.until("all running", |d| running(d) == 3);
    for (flow, name) in flows.iter().zip(&names) {
        let create = daemon.seen.of(flow.local()).unwrap();
        assert_eq!(create.cong_alg.as_ref(), Some(name));
    }

    // A killed daemon; the next one has one name less, and still has that name's flow.
    let mut attached = daemon.datapath;
    attached.abandon();
    assert!(names.iter().all(|name| is_registered(name)), "{names:?}");
    attached.change(|o| o.more_names.retain(|n| !n.name.ends_with('a')));
    attached.attach_again();
    assert!(attached.adopted());
    assert!(!is_registered(&names[1]));
    assert!(is_registered(&names[0]) && is_registered(&names[2]));
    let mut daemon = Daemon::running(attached, &still(), &[]);
    daemon.until("all running again", |d| running(d) == 3);
    assert_eq!(flows[1].congestion().unwrap(), names[1]);

    let root = daemon.datapath.options().pin_root.clone();
    let left = daemon.datapath.detach();
    assert_eq!((left.refused, left.remaining), (0, 0), "{left:?}");
    assert!(!names.iter().any(|name| is_registered(name)), "{names:?}");
    assert!(!root.exists());
    for flow in flows {
        assert_eq!(flow.congestion().unwrap(), "cubic");
        flow.stop();
        flow.wait().unwrap();
    }
}

/// What a killed daemon left goes by its pins, whatever the configuration says now.
#[test]
fn root_leftover_names_are_cleaned_up() {
    if skipped() {
        return;
    }
    let (mut attached, names) = attach(&[("a", false)]);
    attached.abandon();
    attached.change(|o| o.more_names.clear());
    ccp_ebpf::clean_up(attached.options()).unwrap().unwrap();
    assert!(!names.iter().any(|name| is_registered(name)), "{names:?}");
    assert!(!attached.options().pin_root.exists());
}

/// ECN is negotiated for the name that wants it, and for no other; marks are counted.
#[test]
fn root_a_name_negotiates_ecn() {
    if skipped() || skip_without(&[Need::Tun]) {
        return;
    }
    let client = Namespace::new("client").unwrap();
    let server = Namespace::new("server").unwrap();
    let pipe = Pipe::new(20_000_000, Duration::from_millis(10))
        .queue_bytes(200_000)
        .mark_above(20_000);
    let link = EmulatedLink::new(&client, &server, pipe).unwrap();
    // What Linux does by default: accept, do not ask.
    for ns in [&client, &server] {
        ns.set_sysctl("net.ipv4.tcp_ecn", "2").unwrap();
    }
    let (attached, names) = attach(&[("e", true)]);
    let program = compile(
        "(def (Report (volatile ce 0) (volatile ece 0) (state 0)))
         (when true
             (:= Report.ce (+ Report.ce Ack.ecn_packets))
             (if Ack.ece (:= Report.ece (+ Report.ece 1)))
             (:= Report.state Flow.recovery_state)
             (if (&& (< Flow.recovery_state 2) Flow.cwnd_limited)
                 (:= Cwnd (+ Cwnd Ack.bytes_acked)))
             (report))",
    );
    let mut daemon = Daemon::running(attached, &program, &[]);
    // Linux takes a SYN that is itself marked as ECN-capable, as these are, only where the listening
    // socket wants ECN as well.
    server
        .set_sysctl("net.ipv4.tcp_congestion_control", &names[1])
        .unwrap();
    for (name, ecn) in names.iter().zip([false, true]) {
        daemon.seen.measures.clear();
        let marked = link.counters(Direction::AToB).marked_ce;
        let flow = Bulk::new(Until::Bytes(3_000_000))
            .congestion(name)
            .start(&client, &server, link.b_v4())
            .unwrap();
        while !flow.is_finished() {
            daemon.step();
            std::thread::sleep(Duration::from_millis(1));
        }
        let report = flow.wait().unwrap();
        daemon.until("close", |d| d.seen.closes().count() == 2);
        let marked = link.counters(Direction::AToB).marked_ce - marked;
        let sum = |i: usize| daemon.seen.reports().map(|r| r.fields[i]).sum::<u64>();
        let (ce, ece, kernel) = (sum(0), sum(1), u64::from(report.last.delivered_ce_packets));
        if !ecn {
            assert_eq!((marked, ce, ece, kernel), (0, 0, 0, 0), "{name}");
            continue;
        }
        // The receiver repeats ECE until it sees CWR: both we and the kernel count what is
        // acknowledged in between.
        assert!(marked > 0 && ce >= marked, "{ce} of {marked}");
        assert!(ce.abs_diff(kernel) <= kernel / 10 + 2, "{ce} of {kernel}");
        assert!(ece > 0 && ece <= ce + 10, "{ece} {ce}");
        assert!(daemon.seen.reports().any(|r| r.fields[2] == 2), "CWR");
    }
}
