//! Flows under programs: window, rate, reports, updates.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ccp_ebpf::{MailboxError, Mode, Namespaces};
use ccp_lab::{Bulk, Namespace, ShortFlows, Until, congestion_of, set_congestion};

use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::common::{Attached, Daemon, compile, skipped, still, wait};

const LOOPBACK: Ipv4Addr = Ipv4Addr::LOCALHOST;

fn bulk(daemon: &Daemon) -> Bulk {
    Bulk::new(Until::Stopped).congestion(daemon.datapath.name())
}

#[test]
fn root_a_flow_announces_itself_and_takes_a_window() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::running(Attached::new(), &still(), &[]);
    let ns = Namespace::new("one").unwrap();
    for (n, ip) in [IpAddr::from(LOOPBACK), Ipv6Addr::LOCALHOST.into()]
        .into_iter()
        .enumerate()
    {
        let flow = bulk(&daemon).start(&ns, &ns, ip).unwrap();
        daemon.until("CREATE", |d| d.seen.of(flow.local()).is_some());
        let create = daemon.seen.of(flow.local()).unwrap().clone();
        let info = create.to_flow_info(ccp_wire::PortOrder::Network).unwrap();
        assert_eq!((info.src, info.dst), (flow.local(), flow.peer()));
        assert_eq!(info.origin, ccp_types::Origin::New);
        assert_eq!(info.init_cwnd.0, 10 * u64::from(info.mss));
        assert!(info.state.srtt.0 > 0);

        daemon.until("running", |d| {
            d.datapath
                .flow(create.sock_id.0)
                .is_some_and(|f| f.mode == Mode::Running)
        });
        // Half a packet more counts for nothing. (The MSS settles during the first ACKs.)
        daemon.until("17 packets", |d| {
            let info = flow.info().unwrap();
            let mss = u64::from(info.mss_bytes);
            d.write(flow.local(), None, &[(0, 17 * mss + mss / 2)]);
            info.cwnd_packets == 17
        });
        let snapshot = daemon.datapath.flow(create.sock_id.0).unwrap();
        assert_eq!(
            (snapshot.program_uid, snapshot.netns),
            (1, ns.inode() as u32)
        );
        flow.stop();
        let report = flow.wait().unwrap();
        assert!(report.bytes > 0);
        daemon.until("close", |d| d.seen.closes().count() == n + 1);
        let close = daemon.seen.closes().last().unwrap();
        assert_eq!(close.sock_id, create.sock_id);
        let totals = close.totals.unwrap();
        assert!(
            totals.sent.0 >= report.bytes && totals.delivered.0 >= report.bytes,
            "{totals:?} {}",
            report.bytes
        );
    }
    let counters = daemon.datapath.counters().unwrap();
    assert_eq!(
        (counters.flows, counters.closed, counters.slots_in_use),
        (2, 2, 0),
        "{counters:?}"
    );
    assert_eq!(
        counters.refused_generation + counters.refused_program + counters.fallbacks,
        0
    );
}

/// IPv4 through an IPv6 socket is announced as IPv4.
#[test]
fn root_mapped_addresses_are_ipv4() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::new(Attached::new());
    let name = daemon.datapath.name().to_owned();
    let ns = Namespace::new("mapped").unwrap();
    let streams = ns
        .run(|| {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap();
            set_congestion(&listener, &name).unwrap();
            let client =
                TcpStream::connect((LOOPBACK, listener.local_addr().unwrap().port())).unwrap();
            let (server, _) = listener.accept().unwrap();
            (client, server)
        })
        .unwrap();
    daemon.until("CREATE", |d| !d.seen.creates.is_empty());
    let info = daemon.seen.creates[0]
        .to_flow_info(ccp_wire::PortOrder::Network)
        .unwrap();
    assert_eq!(info.src.ip(), IpAddr::from(LOOPBACK));
    assert_eq!(info.dst, streams.0.local_addr().unwrap());
    // A listener's name is inherited, and found by setsockopt on the way as well.
    assert_eq!(congestion_of(&streams.1).unwrap(), name);
}

#[test]
fn root_a_rate_limits() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::running(Attached::new(), &still(), &[(1, 12_500_000)]);
    let ns = Namespace::new("rate").unwrap();
    let flow = bulk(&daemon).start(&ns, &ns, LOOPBACK).unwrap();
    daemon.until("the rate", |_| {
        flow.info().unwrap().pacing_rate == Some(12_500_000)
    });
    daemon.for_some(Duration::from_millis(300));
    let before = flow.bytes_received();
    daemon.for_some(Duration::from_secs(1));
    let mbit = (flow.bytes_received() - before) as f64 * 8e-6;
    assert!((85.0..115.0).contains(&mbit), "{mbit} of 100 Mbit/s");
    // No rate again: the kernel's formula.
    daemon.write(flow.local(), None, &[(1, 0)]);
    daemon.until("another rate", |_| {
        flow.info().unwrap().pacing_rate.unwrap() > 100_000_000
    });
    // Nonsense cannot stop it: one packet per second is the least, one packet the smallest window.
    daemon.write(flow.local(), None, &[(0, 0), (1, 1)]);
    daemon.until("one packet", |_| flow.info().unwrap().cwnd_packets == 1);
    let info = flow.info().unwrap();
    assert_eq!(info.pacing_rate, Some(u64::from(info.mss_bytes)));
    daemon.write(flow.local(), None, &[(0, u64::MAX), (1, u64::MAX)]);
    daemon.until("the largest window", |_| {
        flow.info().unwrap().cwnd_packets == 1 << 20
    });
    flow.stop();
    flow.wait().unwrap();
}

/// What programs count per ACK adds up to what was sent, whatever the MSS.
#[test]
fn root_reports_on_every_ack_add_up() {
    if skipped() {
        return;
    }
    let program = compile(
        "(def (Report (volatile acked 0) (volatile acks 0) (mss 0) (delivered 0) (rtt +infinity) (sent 0) (pending 0)) (most 0))
         (when true
             (:= Report.acked (+ Report.acked Ack.bytes_acked))
             (:= Report.acks (+ Report.acks 1))
             (:= Report.mss Flow.mss)
             (:= Report.delivered Flow.bytes_delivered)
             (:= Report.rtt (min Report.rtt Flow.rtt_sample_us))
             (:= Report.sent Flow.bytes_sent)
             (:= Report.pending Flow.bytes_pending)
             (report))",
    );
    let mut daemon = Daemon::running(Attached::new(), &program, &[(0, 2_000_000)]);
    let ns = Namespace::new("acks").unwrap();
    for mtu in [65_536, 1500, 576] {
        ns.ip(["link", "set", "lo", "mtu", &mtu.to_string()])
            .unwrap();
        let flow = Bulk::new(Until::Bytes(20_000_000))
            .congestion(daemon.datapath.name())
            .start(&ns, &ns, LOOPBACK)
            .unwrap();
        let peer = flow.peer();
        daemon.until("the end", |_| flow.is_finished());
        let report = flow.wait().unwrap();
        assert_eq!(report.bytes, 20_000_000);
        daemon.until("close", |d| d.seen.closes().count() == 1);
        let seen = std::mem::take(&mut daemon.seen);
        daemon.reset();
        let reports: Vec<_> = seen.reports().collect();
        let sum = |field: usize| reports.iter().map(|r| r.fields[field]).sum::<u64>();
        let counters = daemon.datapath.counters().unwrap();
        // The acknowledgements until the first program ran are not in there.
        let acked = sum(0);
        assert!(
            (15_000_000..=20_000_002).contains(&acked),
            "mtu {mtu}: {acked} {counters:?}"
        );
        let merged: u64 = reports
            .iter()
            .map(|r| u64::from(r.trailer.unwrap().merged))
            .sum();
        assert_eq!(
            sum(1),
            reports.len() as u64 + merged,
            "an ACK per report, but for merged ones"
        );
        let last = reports.last().unwrap();
        let mss = report.last.mss_bytes;
        assert_eq!(last.fields[2], u64::from(mss), "peer {peer}");
        let delivered = last.fields[3];
        assert!(
            (19_900_000..=20_000_001).contains(&delivered),
            "{delivered} at {mss}"
        );
        assert!(last.fields[4] < 100_000, "{} µs", last.fields[4]);
        assert!(last.fields[5] >= 19_000_000);
        let generations: Vec<_> = reports
            .iter()
            .map(|r| r.trailer.unwrap().generation)
            .collect();
        assert!(generations.iter().all(|g| *g == generations[0]));
    }
}

/// A ring nobody reads: reports merge, nothing is lost.
#[test]
fn root_a_full_ring_merges() {
    if skipped() {
        return;
    }
    let program = compile(
        "(def (Report (volatile acked 0) (delivered 0)))
         (when true
             (:= Report.acked (+ Report.acked Ack.bytes_acked))
             (:= Report.delivered Flow.bytes_delivered)
             (report))",
    );
    let attached = Attached::with(|o| {
        o.ring_bytes = 4096;
        o.fallback_after = Duration::from_secs(60);
    });
    let mut daemon = Daemon::running(attached, &program, &[(0, 1_000_000)]);
    let ns = Namespace::new("full").unwrap();
    let flow = bulk(&daemon).start(&ns, &ns, LOOPBACK).unwrap();
    daemon.until("reports", |d| d.seen.reports().count() > 10);
    // Nobody reads.
    wait("a full ring", || {
        daemon.datapath.flows().any(|f| f.ring_full > 200)
    });
    daemon.until("a merged one", |d| {
        d.seen.reports().any(|r| r.trailer.unwrap().merged > 100)
    });
    daemon.until("one after it", |d| {
        d.seen.reports().last().unwrap().trailer.unwrap().merged == 0
    });
    let reports: Vec<_> = daemon.seen.reports().map(|r| r.fields.clone()).collect();
    let [first, .., last] = &reports[..] else {
        panic!("many reports");
    };
    let sum: u64 = reports.iter().map(|r| r[0]).sum();
    assert_eq!(
        sum,
        last[1] - (first[1] - first[0]),
        "every byte is in one report"
    );
    flow.stop();
    flow.wait().unwrap();
    daemon.until("close", |d| d.seen.closes().count() == 1);
    let counters = daemon.datapath.counters().unwrap();
    assert!(counters.ring_full > 100, "{counters:?}");
}

/// Window and rate survive a change of program, variables start anew.
#[test]
fn root_programs_can_be_changed() {
    if skipped() {
        return;
    }
    let report_c = |default| {
        compile(&format!(
            "(def (Report (value 0) (clock 0)) (c {default}))
             (when (> Micros 1000) (:= Report.value c) (:= Report.clock Micros) (:= Micros 0) (report))"
        ))
    };
    let mut daemon = Daemon::running(Attached::new(), &report_c(7), &[(0, 500_000)]);
    daemon.datapath.install(2, &report_c(9)).unwrap();
    let ns = Namespace::new("change").unwrap();
    let flow = bulk(&daemon).start(&ns, &ns, LOOPBACK).unwrap();
    let last = |d: &Daemon| {
        d.seen
            .reports()
            .last()
            .map(|r| (r.program_uid, r.fields[0]))
    };
    daemon.until("the first program", |d| last(d) == Some((1, 7)));
    daemon.write(flow.local(), None, &[(2, 8)]);
    daemon.until("the update", |d| last(d) == Some((1, 8)));
    let info = flow.info().unwrap();
    let cwnd = info.cwnd_packets;
    assert_eq!(u64::from(cwnd), 500_000 / u64::from(info.mss_bytes));
    daemon.write(flow.local(), Some(2), &[]);
    daemon.until("the second program", |d| last(d) == Some((2, 9)));
    assert_eq!(flow.info().unwrap().cwnd_packets, cwnd);
    daemon.write(flow.local(), Some(1), &[(2, 10)]);
    daemon.until("the first again", |d| last(d) == Some((1, 10)));
    assert!(
        daemon.seen.reports().all(|r| r.fields[1] > 1000),
        "the clock starts at 0"
    );

    // Taken away under it: native, announced again, and steered again.
    assert!(daemon.datapath.remove(1).unwrap());
    assert!(!daemon.datapath.remove(1).unwrap());
    daemon.answer = Some((2, vec![]));
    daemon.until("announced again", |d| d.seen.creates.len() == 2);
    daemon.until("the second program", |d| last(d) == Some((2, 9)));
    let gone = daemon.datapath.mailbox().write(0, 0, Some(1), &[]);
    assert_eq!(gone, Err(MailboxError::NoProgram { uid: 1 }));
    flow.stop();
    flow.wait().unwrap();
}

/// Programs in places that are reached by direct jumps, and beyond them: each flow runs its own.
#[test]
fn root_every_place_is_reached() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::new(Attached::new());
    let uids = 1..=20;
    for uid in uids.clone() {
        let program = compile(&format!(
            "(def (Report (me 0)) (c 0)) (when (> Micros 1000) (:= Report.me {uid}) (:= Micros 0) (report))"
        ));
        daemon.datapath.install(uid, &program).unwrap();
    }
    daemon.answer = Some((1, vec![]));
    let ns = Namespace::new("places").unwrap();
    let flow = bulk(&daemon).start(&ns, &ns, LOOPBACK).unwrap();
    daemon.until("the first program", |d| d.seen.reports().count() > 0);
    for uid in uids {
        daemon.write(flow.local(), Some(uid), &[]);
        let of_it = |d: &Daemon| d.seen.reports().filter(|r| r.program_uid == uid).count();
        daemon.until("its reports", |d| of_it(d) >= 5);
    }
    for report in daemon.seen.reports() {
        assert_eq!(report.fields[0], u64::from(report.program_uid));
    }
    let counters = daemon.datapath.counters().unwrap();
    assert_eq!((counters.no_program, counters.faults), (0, 0));
    flow.stop();
    flow.wait().unwrap();
}

/// A program that faults has no effect; after a run of faults the flow goes native for a while.
#[test]
fn root_faults_lead_to_the_fallback() {
    if skipped() {
        return;
    }
    let program = compile(
        "(def (Report (value 0)))
         (when true (:= Cwnd 3000000) (:= Report.value (/ 1 0)) (report))",
    );
    let mut daemon = Daemon::running(Attached::new(), &program, &[]);
    let ns = Namespace::new("faults").unwrap();
    let flow = bulk(&daemon).start(&ns, &ns, LOOPBACK).unwrap();
    daemon.until("the fallback", |d| {
        d.datapath.counters().unwrap().fault_fallbacks == 1
    });
    daemon.for_some(Duration::from_millis(200));
    let counters = daemon.datapath.counters().unwrap();
    assert_eq!(
        (counters.fault_fallbacks, counters.faults, counters.reports),
        (1, 16, 0)
    );
    assert_eq!(daemon.seen.reports().count(), 0);
    assert_eq!(daemon.datapath.flows().next().unwrap().mode, Mode::Fallback);
    assert_eq!(daemon.datapath.faults().unwrap(), [(1, 16)]);
    // It is offered again, and it is said why.
    daemon.datapath.install(2, &still()).unwrap();
    daemon.answer = Some((2, vec![(0, 700_000)]));
    daemon.until("resumed", |d| {
        d.datapath
            .flows()
            .next()
            .is_some_and(|f| (f.mode, f.program_uid) == (Mode::Running, 2))
    });
    let told = |c: &ccp_wire::Create| c.faults();
    let sending: Vec<u16> = daemon
        .seen
        .creates
        .iter()
        .filter(|c| c.src_port == u32::from(flow.local().port()))
        .map(told)
        .collect();
    assert_eq!(sending, [0, 16]);
    assert_eq!(daemon.datapath.faults().unwrap(), [(1, 16), (2, 0)]);
    flow.stop();
    flow.wait().unwrap();
}

#[test]
fn root_other_namespaces_run_natively() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::new(Attached::with(|o| o.namespaces = Namespaces::Initial));
    let name = daemon.datapath.name().to_owned();
    let ns = Namespace::new("other").unwrap();
    let flow = bulk(&daemon).start(&ns, &ns, LOOPBACK).unwrap();
    assert_eq!(flow.congestion().unwrap(), "cubic");
    flow.stop();
    flow.wait().unwrap();
    let counters = daemon.datapath.counters().unwrap();
    assert_eq!(
        (counters.native_namespace, counters.flows),
        (1, 0),
        "{counters:?}"
    );

    // The tests' own namespace is the initial one.
    let listener = TcpListener::bind((LOOPBACK, 0)).unwrap();
    set_congestion(&listener, &name).unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (server, _) = listener.accept().unwrap();
    assert_eq!(congestion_of(&server).unwrap(), name);
    daemon.until("CREATE", |d| d.seen.creates.len() == 1);
    drop(client);
}

#[test]
fn root_flows_beyond_the_slots_run_natively() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::running(Attached::with(|o| o.max_flows = 2), &still(), &[]);
    let ns = Namespace::new("slots").unwrap();
    let start = |d: &Daemon| bulk(d).start(&ns, &ns, LOOPBACK).unwrap();
    let first = start(&daemon);
    let second = start(&daemon);
    let third = start(&daemon);
    assert_eq!(third.congestion().unwrap(), "cubic");
    let gone = first.local();
    daemon.until("CREATE", |d| d.seen.of(gone).is_some());
    first.stop();
    first.wait().unwrap();
    daemon.until("close", |d| d.seen.closes().count() == 1);
    // The slot is used again, for a flow of another number.
    let fourth = start(&daemon);
    daemon.until("CREATE", |d| d.seen.of(fourth.local()).is_some());
    let [before, after] = [gone, fourth.local()].map(|a| daemon.seen.of(a).unwrap().sock_id.0);
    assert_eq!(before & 0xffff, after & 0xffff);
    assert_ne!(before, after);
    // What was meant for the first flow does not reach it.
    daemon.write(gone, None, &[(0, 3)]);
    daemon.for_some(Duration::from_millis(50));
    assert!(fourth.info().unwrap().cwnd_packets > 3);
    let counters = daemon.datapath.counters().unwrap();
    assert_eq!(
        (counters.native_limit, counters.slots_in_use),
        (1, 2),
        "{counters:?}"
    );
    for flow in [second, third, fourth] {
        flow.stop();
        flow.wait().unwrap();
    }
    let no_slot = daemon.datapath.mailbox().write(2, 1, None, &[]);
    assert_eq!(
        no_slot,
        Err(MailboxError::NoSlot {
            sock_id: 2,
            slots: 2
        })
    );
}

#[test]
fn root_many_short_flows_come_and_go() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::running(
        Attached::with(|o| o.max_flows = 64),
        &still(),
        &[(0, 1_000_000)],
    );
    let ns = Namespace::new("many").unwrap();
    let running = ShortFlows::new(1000, 20_000)
        .at_once(20)
        .congestion(daemon.datapath.name())
        .start(&ns, &ns, LOOPBACK)
        .unwrap();
    daemon.until("all of them", |d| d.seen.closes().count() == 1000);
    let report = running.wait();
    assert_eq!((report.completed, report.failures.len()), (1000, 0));
    let counters = daemon.datapath.counters().unwrap();
    assert_eq!(
        (counters.flows, counters.closed),
        (1000, 1000),
        "{counters:?}"
    );
    assert_eq!(daemon.seen.creates.len(), 1000);
    assert_eq!(
        (
            counters.native_limit,
            counters.slot_leaked,
            counters.slots_in_use
        ),
        (0, 0, 0)
    );
    assert_eq!(daemon.datapath.flows().count(), 0);
}

/// Short flows take slots over from each other while long ones keep theirs: each is told what was meant for it, in two
/// namespaces that have the same addresses.
#[test]
fn root_long_flows_keep_their_own_among_short_ones() {
    if skipped() {
        return;
    }
    let short = 30 * 1448;
    let mut daemon = Daemon::running(
        Attached::with(|o| {
            o.max_flows = 32;
            // Late on a busy machine is not gone.
            o.fallback_after = Duration::from_secs(60);
        }),
        &still(),
        &[(0, short)],
    );
    let spaces = [
        Namespace::new("here").unwrap(),
        Namespace::new("there").unwrap(),
    ];
    let mut long = Vec::new();
    for (i, ns) in spaces.iter().enumerate() {
        ns.ip(["link", "set", "lo", "mtu", "1500"]).unwrap();
        for j in 0..2 {
            let known = daemon.seen.creates.len();
            let flow = bulk(&daemon).start(ns, ns, LOOPBACK).unwrap();
            daemon.until("CREATE", |d| {
                d.seen.creates[known..]
                    .iter()
                    .any(|c| c.src_port == u32::from(flow.local().port()))
            });
            let found = daemon.seen.creates[known..].iter();
            let create = found
                .rev()
                .find(|c| c.dst_port == u32::from(flow.peer().port()));
            let (id, generation) = create.map(|c| (c.sock_id.0, c.generation())).unwrap();
            let packets = 41 + 2 * i as u32 + j;
            let own = [(0, u64::from(packets) * 1448)];
            daemon.until("running", |d| {
                d.datapath.flow(id).is_some_and(|f| f.mode == Mode::Running)
            });
            let mailbox = daemon.datapath.mailbox();
            mailbox.write(id, generation, None, &own).unwrap();
            daemon.until("its window", |_| {
                flow.info().unwrap().cwnd_packets == packets
            });
            long.push((flow, id, packets, ns.inode() as u32));
        }
    }
    let before: Vec<u64> = long.iter().map(|(f, ..)| f.bytes_received()).collect();
    let running = spaces.each_ref().map(|ns| {
        ShortFlows::new(150, 20_000)
            .at_once(8)
            .congestion(daemon.datapath.name())
            .start(ns, ns, LOOPBACK)
            .unwrap()
    });
    daemon.until("all of them", |d| {
        for (flow, id, packets, netns) in &long {
            assert_eq!(flow.info().unwrap().cwnd_packets, *packets);
            let known = d.datapath.flow(*id).expect("it keeps its number");
            assert_eq!((known.mode, known.netns), (Mode::Running, *netns));
        }
        d.seen.closes().count() == 300
    });
    for flows in running {
        let report = flows.wait();
        assert_eq!((report.completed, report.failures.len()), (150, 0));
    }
    for ((flow, ..), before) in long.iter().zip(before) {
        assert!(flow.bytes_received() > before, "it went on");
    }
    // Slots were used again; numbers were not.
    let mut ids: Vec<u32> = daemon.seen.creates.iter().map(|c| c.sock_id.0).collect();
    assert_eq!(ids.len(), 304);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 304, "each has a number of its own");
    assert!(ids.iter().all(|id| id & 0xffff < 32));
    let counters = daemon.datapath.counters().unwrap();
    assert_eq!(
        (counters.native_limit, counters.slots_in_use),
        (0, 4),
        "{counters:?}"
    );
    for (flow, ..) in long {
        flow.stop();
        flow.wait().unwrap();
    }
}

/// A writer that never rests: no flow ever sees half of a write, and the last one arrives.
#[test]
fn root_updates_do_not_tear() {
    if skipped() {
        return;
    }
    let program = compile(
        "(def (Report (torn 0) (changes 0) (last 0)) (a 0) (b 0) (c 0) (before 0))
         (when (|| (!= a b) (!= b c)) (:= Report.torn (+ Report.torn 1)) (fallthrough))
         (when (!= a before) (:= Report.changes (+ Report.changes 1)) (:= before a) (fallthrough))
         (when (> Micros 5000) (:= Micros 0) (:= Report.last a) (report))",
    );
    // The writer may leave this thread without a processor; the flow shall stay with its program all the same.
    let attached = Attached::with(|o| o.fallback_after = Duration::from_secs(60));
    let mut daemon = Daemon::running(attached, &program, &[(0, 1_000_000)]);
    let ns = Namespace::new("torn").unwrap();
    ns.ip(["link", "set", "lo", "mtu", "1500"]).unwrap();
    let flow = bulk(&daemon).start(&ns, &ns, LOOPBACK).unwrap();
    daemon.until("running", |d| d.seen.reports().count() > 0);
    let create = daemon.seen.of(flow.local()).unwrap();
    let (id, generation) = (create.sock_id.0, create.generation());
    let mailbox = daemon.datapath.mailbox();
    let stop = AtomicBool::new(false);
    let report = |d: &Daemon| d.seen.reports().last().unwrap().fields.clone();
    let last = thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                i += 1;
                let all = [(2, i), (3, i), (4, i)];
                mailbox.write(id, generation, None, &all).unwrap();
            }
            i
        });
        // As long as it takes to see some: how often a read meets the writer is the machine's affair.
        let start = Instant::now();
        while report(&daemon)[1] <= 50 && start.elapsed() < Duration::from_secs(15) {
            daemon.for_some(Duration::from_millis(200));
        }
        stop.store(true, Ordering::Relaxed);
        writer.join().unwrap()
    });
    daemon.until("the last write", |d| report(d)[2] == last);
    let fields = report(&daemon);
    assert_eq!(fields[0], 0, "torn of {} changes", fields[1]);
    assert!(fields[1] > 50, "{} changes of {last} writes", fields[1]);
    flow.stop();
    flow.wait().unwrap();
}

/// Whatever is in the shared memory: the flow goes on.
#[test]
fn root_nonsense_in_the_mailbox_stops_nobody() {
    if skipped() {
        return;
    }
    let program = compile(
        "(def (Report (volatile acks 0)) (a 0))
         (when true (:= Report.acks (+ Report.acks 1)) (:= Rate (/ a 2)) (report))",
    );
    let mut daemon = Daemon::running(Attached::new(), &program, &[]);
    let ns = Namespace::new("nonsense").unwrap();
    let flow = bulk(&daemon).start(&ns, &ns, LOOPBACK).unwrap();
    daemon.until("running", |d| d.seen.reports().count() > 0);
    let slot = daemon.seen.of(flow.local()).unwrap().sock_id.0 & 0xffff;
    let pin = daemon
        .datapath
        .options()
        .pin_root
        .join(daemon.datapath.name());
    let maps = format!("v{}", ccp_ebpf::layout::LAYOUT_VERSION);
    let mailbox = MapHandle::from_pinned_path(pin.join(maps).join("mailbox")).unwrap();
    let mut rng = ccp_program::testing::Rng::new(7);
    let before = flow.info().unwrap().bytes_acked;
    let heard = |d: &Daemon| {
        let counters = d.datapath.counters().unwrap();
        counters.refused_program > 20 && counters.updates > 20
    };
    for round in 0..50_000 {
        if round % 500 == 499 && heard(&daemon) {
            break;
        }
        let mut bytes = vec![0; 256];
        for word in bytes.chunks_mut(8) {
            word.copy_from_slice(&rng.bits().to_ne_bytes());
        }
        // A generation that is taken, everything newer than seen, some windows of nothing. (Rates
        // of next to nothing make ACKs, and with them this test, slow.)
        if rng.percent(20) {
            bytes[16..24].fill(0);
        }
        let create = daemon.seen.of(flow.local()).unwrap();
        let seq: u32 = 2 * round + 1_000_000;
        bytes[..4].copy_from_slice(&seq.to_ne_bytes());
        bytes[4..8].copy_from_slice(&create.generation().to_ne_bytes());
        mailbox
            .update(&slot.to_ne_bytes(), &bytes, MapFlags::ANY)
            .unwrap();
        daemon.step();
        thread::sleep(Duration::from_micros(300));
    }
    assert!(heard(&daemon), "{:?}", daemon.datapath.counters());
    // What it may have been left with is a slow rate: a sane one brings it back.
    daemon.until("to be heard", |d| {
        d.write(
            flow.local(),
            Some(1),
            &[(0, 1_000_000), (1, 0), (2, 1 << 40)],
        );
        flow.info().unwrap().bytes_acked > before + 10_000_000
    });
    flow.stop();
    flow.wait().unwrap();
}
