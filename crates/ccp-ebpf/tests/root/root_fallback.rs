//! Nobody there, and back again.

use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use ccp_ebpf::{FlowSnapshot, Mode};
use ccp_lab::{
    Bulk, EmulatedLink, Namespace, Need, Pipe, RunningFlow, TcpInfo, Until, congestion_of,
    set_congestion, skip_without,
};
use ccp_program::Program;
use ccp_types::Origin;

use crate::common::{Attached, Daemon, bound, compile, skipped, still, wait};

fn start(daemon: &Daemon, ns: &Namespace) -> RunningFlow {
    let flow = Bulk::new(Until::Stopped)
        .congestion(daemon.datapath.name())
        .start(ns, ns, Ipv4Addr::LOCALHOST)
        .unwrap();
    // The loopback's MSS doubles when the receiver shows a larger window; windows in packets halve
    // then, on a slow machine as late as in the midst of a test.
    wait("the whole MSS", || flow.info().unwrap().mss_bytes > 60_000);
    flow
}

fn snapshot(daemon: &Daemon) -> FlowSnapshot {
    daemon.datapath.flows().next().expect("a flow")
}

#[test]
fn root_without_a_heartbeat_flows_run_natively_and_come_back() {
    if skipped() {
        return;
    }
    let limit = Duration::from_millis(200);
    let attached = Attached::with(|o| o.fallback_after = limit);
    let mut daemon = Daemon::running(attached, &still(), &[]);
    let ns = Namespace::new("beat").unwrap();
    let flow = start(&daemon, &ns);
    daemon.until("running", |d| snapshot(d).mode == Mode::Running);
    daemon.until("5 packets", |d| {
        let info = flow.info().unwrap();
        d.write(flow.local(), None, &[(0, 5 * u64::from(info.mss_bytes))]);
        info.cwnd_packets == 5
    });

    let last_beat = Instant::now();
    daemon.step();
    let announced = daemon.seen.creates.len();
    wait("the fallback", || snapshot(&daemon).mode == Mode::Fallback);
    let after = last_beat.elapsed();
    assert!(after >= limit, "{after:?}");
    assert!(after < limit + Duration::from_secs(2), "{after:?}");
    // From the present window, as if ssthresh had just been reached: growing, but not by doubling.
    // How far by now is the machine's affair.
    let info = flow.info().unwrap();
    assert!(info.cwnd_packets >= 5, "{info:?}");
    assert_eq!(info.ssthresh_packets, Some(5), "{info:?}");
    wait("growth", || flow.info().unwrap().cwnd_packets > 8);
    // What is written now is void when it comes back.
    daemon.write(flow.local(), None, &[(0, 1)]);
    daemon.answer = None;
    let native = flow.info().unwrap().cwnd_packets;
    daemon.until("announced", |d| d.seen.creates.len() == announced + 1);
    let [.., first, again] = &daemon.seen.creates[..] else {
        panic!("two announcements");
    };
    assert_eq!(first.sock_id, again.sock_id);
    assert_eq!(again.generation(), first.generation() + 1);
    let details = again.details.unwrap();
    assert_eq!(details.origin, Origin::Resumed);
    let announced = details.state.cwnd.0 / u64::from(again.mss);
    assert!(announced >= u64::from(native), "{announced} {native}");
    assert!(details.state.srtt.0 > 0 && details.state.rate.0 > 0);
    // Native until it is answered; then from the window it has.
    daemon.for_some(Duration::from_millis(20));
    assert_eq!(snapshot(&daemon).mode, Mode::Native);
    let before = flow.info().unwrap().cwnd_packets;
    daemon.write(flow.local(), Some(1), &[]);
    daemon.until("running", |d| snapshot(d).mode == Mode::Running);
    let after = flow.info().unwrap().cwnd_packets;
    assert!(
        (before..before + 100).contains(&after),
        "{before} -> {after}"
    );
    thread::sleep(Duration::from_millis(20));
    assert_eq!(
        flow.info().unwrap().cwnd_packets,
        after,
        "nobody grows it now"
    );
    let counters = daemon.datapath.counters().unwrap();
    assert!(
        counters.fallbacks >= 1 && counters.fault_fallbacks == 0,
        "{counters:?}"
    );
    flow.stop();
    flow.wait().unwrap();
}

/// A daemon that has been away calls everybody to the roll.
#[test]
fn root_a_new_epoch_announces_everything_again() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::running(Attached::new(), &still(), &[]);
    let ns = Namespace::new("epoch").unwrap();
    let flow = start(&daemon, &ns);
    daemon.until("running", |d| snapshot(d).mode == Mode::Running);
    let old = daemon.seen.creates[0].generation();
    daemon.datapath.bump_epoch();
    daemon.until("announced", |d| d.seen.creates.len() == 2);
    assert_eq!(
        daemon.seen.creates[1].details.unwrap().origin,
        Origin::Adopted
    );
    daemon.until("running", |d| snapshot(d).mode == Mode::Running);
    // Stale updates are refused.
    let cwnd = flow.info().unwrap().cwnd_packets;
    let id = daemon.seen.creates[0].sock_id.0;
    let mailbox = daemon.datapath.mailbox();
    mailbox.write(id, old, None, &[(0, 1)]).unwrap();
    daemon.until("a refusal", |d| {
        d.datapath.counters().unwrap().refused_generation == 1
    });
    assert_eq!(flow.info().unwrap().cwnd_packets, cwnd);
    flow.stop();
    flow.wait().unwrap();
}

/// A flow that is left native on purpose is not announced again and again.
#[test]
fn root_an_answer_without_a_program_is_an_answer() {
    if skipped() {
        return;
    }
    let mut daemon = Daemon::new(Attached::new());
    let ns = Namespace::new("native").unwrap();
    let flow = start(&daemon, &ns);
    daemon.until("announced", |d| !d.seen.creates.is_empty());
    daemon.until("announced twice", |d| {
        d.datapath.counters().unwrap().announced >= 3
    });
    daemon.write(flow.local(), None, &[]);
    daemon.for_some(Duration::from_millis(50));
    let n = daemon.datapath.counters().unwrap().announced;
    daemon.for_some(Duration::from_millis(300));
    assert_eq!(daemon.datapath.counters().unwrap().announced, n);
    assert_eq!(snapshot(&daemon).mode, Mode::Native);
    // A program, and back to none, from the window of the program.
    let refused = daemon.datapath.install(ccp_ebpf::NATIVE, &bound(&still()));
    assert!(refused.unwrap_err().to_string().contains("native"));
    daemon.datapath.install(1, &bound(&still())).unwrap();
    daemon.until("7 packets", |d| {
        let info = flow.info().unwrap();
        d.write(flow.local(), Some(1), &[(0, 7 * u64::from(info.mss_bytes))]);
        info.cwnd_packets == 7
    });
    daemon.write(flow.local(), Some(ccp_ebpf::NATIVE), &[]);
    daemon.until("native", |d| snapshot(d).mode == Mode::Native);
    assert_eq!(flow.info().unwrap().ssthresh_packets, Some(7));
    assert_eq!(daemon.datapath.counters().unwrap().announced, n);
    flow.stop();
    flow.wait().unwrap();
}

/// What was said, or not said, in a pause counts from the first ACK after it.
#[test]
fn root_the_first_ack_after_a_pause_looks() {
    if skipped() {
        return;
    }
    let limit = Duration::from_secs(1);
    let attached = Attached::with(|o| o.fallback_after = limit);
    let program = Program {
        own_recovery: true,
        ..compile("(def (Report (acks 0))) (when true (:= Report.acks (+ Report.acks 1)) (report))")
    };
    let mut daemon = Daemon::running(attached, &program, &[]);
    let ns = Namespace::new("pause").unwrap();
    let (mut stream, _other) = ns
        .run(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (stream, listener.accept().unwrap().0)
        })
        .unwrap();
    set_congestion(&stream, daemon.datapath.name()).unwrap();
    let local = stream.local_addr().unwrap();
    let acks = |d: &Daemon| d.seen.reports().last().map_or(0, |r| r.fields[0]);
    let acked = |s: &TcpStream| TcpInfo::of(s).unwrap().unacked_packets == 0;
    daemon.until("a running flow", |d| {
        stream.write_all(&[0]).unwrap();
        acks(d) > 3
    });
    for round in 0..20_u32 {
        daemon.until("an answer", |_| acked(&stream));
        daemon.for_some(Duration::from_millis(10));
        let (before, packets) = (acks(&daemon), 20 + round);
        let mss = TcpInfo::of(&stream).unwrap().mss_bytes;
        daemon.write(local, None, &[(0, u64::from(packets) * u64::from(mss))]);
        stream.write_all(&[0]).unwrap();
        daemon.until("an ACK", |d| acks(d) > before);
        assert_eq!(acks(&daemon), before + 1);
        let window = TcpInfo::of(&stream).unwrap().cwnd_packets;
        assert_eq!(window, packets, "round {round}");
    }
    // Nor does a program run any more that nobody listens to.
    daemon.until("an answer", |_| acked(&stream));
    let last_beat = Instant::now();
    thread::sleep(limit + Duration::from_millis(50));
    assert!(last_beat.elapsed() > limit);
    assert_eq!(snapshot(&daemon).mode, Mode::Running);
    stream.write_all(&[0]).unwrap();
    wait("an ACK", || acked(&stream));
    assert_eq!(snapshot(&daemon).mode, Mode::Fallback);
    let reports = daemon.seen.reports().count();
    assert_eq!(snapshot(&daemon).reports as usize, reports);
}

/// After a pause the fallback's window closes, as the kernel's does.
#[test]
fn root_the_fallback_restarts_after_idle() {
    if skipped() || skip_without(&[Need::Namespaces, Need::Tun]) {
        return;
    }
    let mut attached = Attached::with(|o| o.fallback_after = Duration::from_millis(10));
    let name = attached.name().to_owned();
    attached.abandon();
    let (here, there) = (
        Namespace::new("here").unwrap(),
        Namespace::new("there").unwrap(),
    );
    let pipe = Pipe::new(50_000_000, Duration::from_millis(10)).queue_bytes(400_000);
    let link = EmulatedLink::new(&here, &there, pipe).unwrap();
    let mut windows = Vec::new();
    for name in ["cubic", &name] {
        let listener = here
            .run(|| TcpListener::bind((link.a_v4(), 0)).unwrap())
            .unwrap();
        set_congestion(&listener, name).unwrap();
        let to = listener.local_addr().unwrap();
        let client = there.run(|| TcpStream::connect(to).unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        assert_eq!(congestion_of(&server).unwrap(), name);
        let reader = thread::spawn(move || {
            let mut client = client;
            std::io::copy(&mut client, &mut std::io::sink()).unwrap()
        });
        let data = vec![0; 3_000_000];
        server.write_all(&data).unwrap();
        wait("quiet", || {
            TcpInfo::of(&server).unwrap().unacked_packets == 0
        });
        let before = TcpInfo::of(&server).unwrap().cwnd_packets;
        thread::sleep(Duration::from_millis(900));
        server.write_all(&data[..100]).unwrap();
        let after = TcpInfo::of(&server).unwrap();
        windows.push((before, after.cwnd_packets));
        assert!(before > 12, "{before}");
        drop(server);
        assert_eq!(reader.join().unwrap(), 3_000_100);
    }
    let halved = |(before, after): (u32, u32)| after <= before / 2 && after >= 10;
    assert!(windows.iter().copied().all(halved), "{windows:?}");
}
