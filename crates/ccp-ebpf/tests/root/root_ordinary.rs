//! Ordinary acknowledgements, of which the socket's storage hears nothing: what programs measure there, and
//! that it happens.

use std::mem::offset_of;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use ccp_ebpf::layout::{Flow, LAYOUT_VERSION};
use ccp_lab::{Bulk, EmulatedLink, Namespace, Need, Pipe, RunningFlow, Until, skip_without};
use ccp_program::Program;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::common::{Attached, Daemon, compile, skipped};

const RATE: u64 = 50_000_000;
const DELAY: Duration = Duration::from_millis(5);
/// A good deal more than the path holds: the queue is never empty.
const WINDOW: u64 = 150_000;

struct Lab {
    client: Namespace,
    server: Namespace,
    link: EmulatedLink,
}

impl Lab {
    fn new() -> Self {
        let (client, server) = (
            Namespace::new("client").unwrap(),
            Namespace::new("server").unwrap(),
        );
        let pipe = Pipe::new(RATE, DELAY).queue_bytes(1_000_000);
        let link = EmulatedLink::new(&client, &server, pipe).unwrap();
        Self {
            client,
            server,
            link,
        }
    }

    fn start(&self, daemon: &Daemon, until: Until) -> RunningFlow {
        Bulk::new(until)
            .congestion(daemon.datapath.name())
            .start(&self.client, &self.server, self.link.b_v4())
            .unwrap()
    }
}

/// Every twentieth of a second, what was measured on the acknowledgement before the one that reports, and on
/// that one.
fn twice(names: &[&str]) -> Program {
    let (mut report, mut first, mut last) = (String::new(), String::new(), String::new());
    for (i, name) in names.iter().enumerate() {
        let is_bool = ["Flow.cwnd_limited", "Flow.paced"].contains(name);
        let default = if is_bool { "false" } else { "0" };
        report += &format!("(before{i} {default}) (now{i} {default}) ");
        first += &format!("(:= Report.now{i} {name}) (:= Report.before{i} last{i}) ");
        last += &format!("(:= last{i} {name}) ");
    }
    compile(&format!(
        "(def (Report {report}))
         (when true {first} {last} (fallthrough))
         (when (>= Micros 50000) (report) (reset))",
    ))
}

/// How often the storage is behind the socket: of so many looks.
fn behind(daemon: &mut Daemon, flow: &RunningFlow) -> (u32, u32) {
    let options = daemon.datapath.options();
    let maps = options.pin_root.join(&options.name);
    let maps = maps.join(format!("v{LAYOUT_VERSION}"));
    let storage = MapHandle::from_pinned_path(maps.join("flows")).unwrap();
    let key = flow.as_fd().as_raw_fd().to_ne_bytes();
    let at = offset_of!(Flow, last_bytes_acked);
    let (mut behind, looks) = (0, 200);
    for _ in 0..looks {
        daemon.for_some(Duration::from_millis(1));
        // In this order: if each acknowledgement were seen there, the storage would never be behind.
        let acked = flow.info().unwrap().bytes_acked;
        let value = storage.lookup(&key, MapFlags::ANY).unwrap();
        let value = value.expect("a flow of ours");
        let seen = u64::from_ne_bytes(value[at..at + 8].try_into().unwrap());
        behind += u32::from(seen < acked);
    }
    (behind, looks)
}

#[test]
fn root_ordinary_acknowledgements_measure_what_others_do() {
    if skipped() || skip_without(&[Need::Namespaces, Need::Tun]) {
        return;
    }
    let lab = Lab::new();
    for names in [
        ["Flow.mss", "Flow.srtt_us", "Flow.min_rtt_us", "Ack.now"],
        [
            "Flow.bytes_in_flight",
            "Flow.packets_in_flight",
            "Flow.bytes_pending",
            "Flow.bytes_sent",
        ],
        [
            "Flow.rttvar_us",
            "Flow.pacing_rate",
            "Flow.paced",
            "Flow.bytes_retransmitted",
        ],
        [
            "Flow.cwnd_limited",
            "Flow.ssthresh",
            "Flow.rtt_sample_us",
            "Ack.packets_acked",
        ],
    ] {
        let mut daemon = Daemon::running(Attached::new(), &twice(&names), &[(0, WINDOW)]);
        let flow = lab.start(&daemon, Until::Stopped);
        daemon.until("reports", |d| d.seen.reports().count() > 8);
        let (behind, looks) = behind(&mut daemon, &flow);
        assert!(behind * 2 > looks, "{names:?}: {behind} of {looks}");
        daemon.until("more reports", |d| d.seen.reports().count() > 20);
        flow.stop();
        flow.wait().unwrap();
        let reports: Vec<_> = daemon.seen.reports().skip(4).collect();
        for (i, name) in names.into_iter().enumerate() {
            let pairs = reports
                .iter()
                .map(|r| (r.fields[2 * i], r.fields[2 * i + 1]));
            let pairs: Vec<(u64, u64)> = pairs.collect();
            let near = |most: fn(u64) -> u64| {
                // One in a while has another reason.
                let near = pairs.iter().filter(|(a, b)| a.abs_diff(*b) <= most(*b));
                assert!(near.count() * 5 >= pairs.len() * 4, "{name}: {pairs:?}");
            };
            match name {
                "Flow.mss"
                | "Flow.paced"
                | "Flow.bytes_retransmitted"
                | "Flow.ssthresh"
                | "Flow.cwnd_limited" => near(|_| 0),
                "Flow.min_rtt_us" | "Flow.srtt_us" | "Flow.rtt_sample_us" => near(|b| b / 4),
                "Flow.pacing_rate" => near(|b| b / 4),
                "Flow.bytes_in_flight" => near(|_| 10 * 1500),
                "Flow.packets_in_flight" | "Ack.packets_acked" => near(|_| 10),
                "Flow.bytes_sent" => near(|_| 100_000),
                "Ack.now" | "Flow.rttvar_us" => near(|_| 20_000),
                _ => near(|_| 4_000_000),
            }
            // And they are something.
            let is_nothing = |&(a, b): &(u64, u64)| a == 0 && b == 0;
            let may_be = ["Flow.paced", "Flow.bytes_retransmitted"].contains(&name);
            assert!(may_be || !pairs.iter().all(is_nothing), "{name}");
        }
    }
}

#[test]
fn root_what_ordinary_acknowledgements_add_is_not_lost() {
    if skipped() || skip_without(&[Need::Namespaces, Need::Tun]) {
        return;
    }
    let lab = Lab::new();
    let program = compile(
        "(def (Report (acked 0) (packets 0) (rounds 0)) (x 7))
         (when true
             (:= Report.acked (+ Report.acked Ack.bytes_acked))
             (:= Report.packets (+ Report.packets Ack.packets_acked))
             (fallthrough))
         (when (|| (!= x seen) (>= Micros 100000))
             (:= seen x)
             (:= Report.rounds Flow.round_count)
             (report)
             (reset))",
    );
    let mut daemon = Daemon::running(Attached::new(), &program, &[(0, WINDOW)]);
    let bytes = 12_000_000;
    let flow = lab.start(&daemon, Until::Bytes(bytes));
    daemon.until("reports", |d| d.seen.reports().count() > 2);
    let (behind, looks) = behind(&mut daemon, &flow);
    assert!(behind * 2 > looks, "{behind} of {looks}");
    // An update is seen within a round trip, and in a report that comes at once.
    let (local, before) = (flow.local(), daemon.seen.reports().count());
    for x in 0..20 {
        daemon.write(local, None, &[(2, 1000 + x)]);
        daemon.for_some(Duration::from_millis(10));
    }
    let more = daemon.seen.reports().count() - before;
    assert!(more >= 10, "{more} reports after 20 updates");
    daemon.until("the end", |_| flow.is_finished());
    let last = flow.wait().unwrap().last;
    daemon.until("close", |d| d.seen.closes().count() == 1);
    let reports: Vec<_> = daemon.seen.reports().map(|r| r.fields.clone()).collect();
    // At the beginning, where the sender fills its buffer, some packets are not full.
    let (first, end) = (&reports[1], reports.last().unwrap());
    let (acked, packets) = (end[0] - first[0], end[1] - first[1]);
    let mss = u64::from(last.mss_bytes);
    // All that was acknowledged between the two, in full packets.
    assert!(
        acked.abs_diff(packets * mss) <= mss,
        "{acked} bytes in {packets} packets of {mss}"
    );
    assert!(
        acked > bytes / 2 && end[0] <= bytes + 1,
        "{acked} of {bytes}"
    );
    // A round trip has the window's time on the link.
    let rounds = end[2] - first[2];
    let expected = acked / WINDOW;
    assert!(
        rounds.abs_diff(expected) * 5 <= expected,
        "{rounds} instead of {expected}"
    );
}
