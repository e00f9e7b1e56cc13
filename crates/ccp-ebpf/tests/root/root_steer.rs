//! Flows under programs.

use std::net::Ipv4Addr;
use std::time::Duration;

use ccp_lab::{Bulk, Namespace, Until};
use ccp_program::{Clause, Program, RegisterTable};

use crate::common::{Attached, Daemon, skipped};

/// Does nothing: the window is what updates say.
fn idle() -> Program {
    let table = RegisterTable::libccp();
    Program {
        primitives: vec![],
        writables: table.writables().to_vec(),
        clauses: vec![Clause::default()],
        own_recovery: true,
        ..Program::default()
    }
}

#[test]
fn root_a_flow_announces_itself_and_takes_a_window() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::running(Attached::new(), &idle(), &[]);
    let ns = Namespace::new("one").unwrap();
    let flow = Bulk::new(Until::Stopped)
        .congestion(daemon.datapath.name())
        .start(&ns, &ns, Ipv4Addr::LOCALHOST)
        .unwrap();
    daemon.until("CREATE", |d| !d.seen.creates.is_empty());
    let create = daemon.seen.creates[0].clone();
    assert_eq!(create.details.unwrap().addresses.unwrap().0.to_string(), "127.0.0.1");
    assert_eq!(create.dst_port, u32::from(flow.peer().port()));
    assert_eq!(create.src_port, u32::from(flow.local().port()));

    daemon.for_some(Duration::from_millis(50));
    let mss = u64::from(flow.info().unwrap().mss_bytes);
    daemon.write(0, None, &[(0, 17 * mss + mss / 2)]);
    daemon.until("17 packets", |_| flow.info().unwrap().cwnd_packets == 17);
    let snapshot = daemon.datapath.flow(create.sock_id.0).unwrap();
    assert_eq!(snapshot.mode, ccp_ebpf::Mode::Running);
    flow.stop();
    let report = flow.wait().unwrap();
    assert!(report.bytes > 0);
    daemon.until("close", |d| d.seen.closes().count() == 1);
    let counters = daemon.datapath.counters().unwrap();
    assert_eq!((counters.flows, counters.closed, counters.slots_in_use), (1, 1, 0), "{counters:?}");
}
