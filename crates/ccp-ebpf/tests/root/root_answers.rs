//! Flows whose reports nobody handles.

use std::net::Ipv4Addr;
use std::time::Duration;

use ccp_ebpf::{FlowSnapshot, Mode};
use ccp_lab::{Bulk, Namespace, RunningFlow, Until};
use ccp_types::{Origin, SockId};

use crate::common::{Attached, Daemon, compile, skipped};

/// Reports all the time.
const REPORTS: &str = "
    (def (Report (volatile acked 0)))
    (when true (:= Report.acked (+ Report.acked Ack.bytes_acked)) (fallthrough))
    (when (> Micros 2000) (report) (reset))";
/// Reports once.
const ONCE: &str = "
    (def (Report (n 0)))
    (when (== Report.n 0) (:= Report.n 1) (report))";

fn snapshot(daemon: &Daemon, flow: &RunningFlow) -> FlowSnapshot {
    let id = daemon.seen.of(flow.local()).expect("announced").sock_id;
    daemon.datapath.flow(id.0).expect("a flow")
}

fn start(daemon: &Daemon, ns: &Namespace) -> RunningFlow {
    Bulk::new(Until::Stopped)
        .congestion(daemon.datapath.name())
        .start(ns, ns, Ipv4Addr::LOCALHOST)
        .unwrap()
}

fn handle(daemon: &Daemon, ids: &[SockId]) {
    let mailbox = daemon.datapath.mailbox();
    ids.iter().for_each(|id| mailbox.handled(id.0));
}

#[test]
fn root_a_flow_whose_reports_lie_falls_back_alone() {
    if skipped() {
        return;
    }
    let limit = Duration::from_millis(200);
    let attached = Attached::with(|o| o.unanswered_after = Some(limit));
    let mut daemon = Daemon::running(attached, &compile(REPORTS), &[]);
    let ns = Namespace::new("answers").unwrap();
    let flows = [start(&daemon, &ns), start(&daemon, &ns)];
    daemon.until("both announced", |d| {
        flows.iter().all(|f| d.seen.of(f.local()).is_some())
    });
    let ids = flows
        .each_ref()
        .map(|f| daemon.seen.of(f.local()).unwrap().sock_id);
    let mode = |d: &Daemon, i: usize| snapshot(d, &flows[i]).mode;
    daemon.until("both running", |d| {
        handle(d, &ids);
        (0..2).all(|i| mode(d, i) == Mode::Running)
    });
    // Handled, they stay; a late task is no dead one.
    let begun = std::time::Instant::now();
    while begun.elapsed() < 3 * limit {
        daemon.step();
        handle(&daemon, &ids);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(daemon.datapath.counters().unwrap().unanswered, 0);

    let announced = daemon.seen.creates.len();
    daemon.until("the fallback of one", |d| {
        handle(d, &ids[1..]);
        mode(d, 0) == Mode::Fallback
    });
    assert_eq!(mode(&daemon, 1), Mode::Running);
    // It goes on, and is left alone.
    let before = flows[0].bytes_received();
    daemon.until("bytes", |d| {
        handle(d, &ids[1..]);
        flows[0].bytes_received() > before + 10_000_000
    });
    assert_eq!(daemon.datapath.counters().unwrap().unanswered, 1);
    assert_eq!(daemon.seen.creates.len(), announced);

    // Somebody comes back: the flow does so too.
    daemon.until("the return", |d| {
        handle(d, &ids);
        mode(d, 0) == Mode::Running
    });
    let create = daemon.seen.of(flows[0].local()).unwrap();
    assert_eq!(create.details.unwrap().origin, Origin::Resumed);
    assert_eq!(daemon.seen.creates.len(), announced + 1);
    assert_eq!(daemon.datapath.counters().unwrap().unanswered, 1);
    for flow in flows {
        flow.stop();
        flow.wait().unwrap();
    }
}

/// A report that was handled at once, and no other after it, is no reason to fall back.
#[test]
fn root_a_flow_that_reports_once_stays() {
    if skipped() {
        return;
    }
    let attached = Attached::with(|o| o.unanswered_after = Some(Duration::from_millis(100)));
    let mut daemon = Daemon::running(attached, &compile(ONCE), &[]);
    let ns = Namespace::new("once").unwrap();
    let flow = start(&daemon, &ns);
    daemon.until("the report", |d| d.seen.reports().next().is_some());
    let id = daemon.seen.reports().next().unwrap().sock_id;
    handle(&daemon, &[id]);
    daemon.for_some(Duration::from_millis(500));
    assert_eq!(snapshot(&daemon, &flow).mode, Mode::Running);
    assert_eq!(daemon.datapath.counters().unwrap().unanswered, 0);
    flow.stop();
    flow.wait().unwrap();
}
