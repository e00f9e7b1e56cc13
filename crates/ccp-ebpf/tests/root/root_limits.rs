//! Shares of the slots: per network namespace, per user.

use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::fchown;

use ccp_lab::{Namespace, congestion_of, set_congestion};

use crate::common::{Attached, skipped, wait};

struct Pair {
    stream: TcpStream,
    _other: TcpStream,
}

impl Pair {
    /// A connection within `ns` whose sending end belongs to `uid` and asks for `name`.
    fn new(ns: &Namespace, uid: u32, name: &str) -> Self {
        let (stream, other) = ns
            .run(|| {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                (stream, listener.accept().unwrap().0)
            })
            .unwrap();
        // What a socket made by that user has.
        fchown(&stream, Some(uid), None).unwrap();
        set_congestion(&stream, name).unwrap();
        Self {
            stream,
            _other: other,
        }
    }

    fn congestion(&self) -> String {
        congestion_of(&self.stream).unwrap()
    }
}

fn with_limits(per_namespace: Option<u32>, per_user: Option<u32>) -> Attached {
    Attached::with(|o| {
        o.max_flows_per_namespace = per_namespace;
        o.max_flows_per_user = per_user;
    })
}

#[test]
fn root_a_namespace_has_its_share_of_the_slots() {
    if skipped() {
        return;
    }
    let attached = with_limits(Some(2), None);
    let name = attached.name().to_owned();
    let (one, other) = (
        Namespace::new("one").unwrap(),
        Namespace::new("other").unwrap(),
    );
    let mut flows: Vec<Pair> = (0..3).map(|_| Pair::new(&one, 0, &name)).collect();
    let last = |flows: &[Pair]| flows.last().unwrap().congestion();
    assert_eq!(last(&flows), "cubic");
    let counters = attached.counters().unwrap();
    assert_eq!((counters.flows, counters.native_namespace_limit), (2, 1));
    // Others have theirs, whoever opens them.
    flows.push(Pair::new(&other, 1234, &name));
    assert_eq!(last(&flows), name);

    // Room that is given back can be taken again.
    flows.remove(0);
    wait("the slot", || attached.counters().unwrap().closed == 1);
    flows.push(Pair::new(&one, 0, &name));
    assert_eq!(last(&flows), name);
    flows.push(Pair::new(&one, 0, &name));
    assert_eq!(last(&flows), "cubic");
    assert_eq!(attached.counters().unwrap().native_namespace_limit, 2);
    // All gone, nothing is remembered.
    flows.clear();
    wait("the slots", || {
        attached.counters().unwrap().slots_in_use == 0
    });
    let flows: Vec<Pair> = (0..2).map(|_| Pair::new(&one, 0, &name)).collect();
    assert!(flows.iter().all(|f| f.congestion() == name));
}

#[test]
fn root_a_user_has_their_share_of_the_slots() {
    if skipped() {
        return;
    }
    let attached = with_limits(None, Some(2));
    let name = attached.name().to_owned();
    let (one, other) = (
        Namespace::new("one").unwrap(),
        Namespace::new("other").unwrap(),
    );
    // The same user, in two namespaces.
    let mut flows = vec![
        Pair::new(&one, 1234, &name),
        Pair::new(&other, 1234, &name),
        Pair::new(&one, 1234, &name),
    ];
    let last = |flows: &[Pair]| flows.last().unwrap().congestion();
    assert_eq!(last(&flows), "cubic");
    let counters = attached.counters().unwrap();
    assert_eq!((counters.flows, counters.native_user_limit), (2, 1));
    for uid in [1235, 0, 0, 0] {
        flows.push(Pair::new(&one, uid, &name));
        assert_eq!(last(&flows), name, "{uid}");
    }
    // A socket that changes hands still counts for the one who opened it.
    fchown(&flows[0].stream, Some(1235), None).unwrap();
    flows.remove(0);
    wait("the slot", || attached.counters().unwrap().closed == 1);
    flows.push(Pair::new(&one, 1234, &name));
    assert_eq!(last(&flows), name);
    flows.push(Pair::new(&one, 1234, &name));
    assert_eq!(last(&flows), "cubic");
}

/// The limits are for others than the initial namespace: nothing there is counted.
#[test]
fn root_the_initial_namespace_has_no_share() {
    if skipped() {
        return;
    }
    let inode = |path: &str| fs::read_link(path).ok();
    if inode("/proc/self/ns/net") != inode("/proc/1/ns/net") {
        eprintln!("SKIPPED: this is not the initial network namespace");
        return;
    }
    let attached = with_limits(Some(1), None);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut flows = Vec::new();
    for _ in 0..3 {
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set_congestion(&stream, attached.name()).unwrap();
        assert_eq!(congestion_of(&stream).unwrap(), attached.name());
        flows.push((stream, listener.accept().unwrap()));
    }
    assert_eq!(attached.counters().unwrap().native_namespace_limit, 0);
}
