//! Every measurement that a program can read, beside what the link and the kernel say.

use std::net::IpAddr;
use std::time::Duration;

use ccp_ebpf::TcpDatapath;
use ccp_lab::{
    Bulk, Direction, EmulatedLink, EmulatedSpec, FlowReport, Namespace, Need, Pipe, Until,
    skip_without,
};
use ccp_program::Type;

use crate::common::{Attached, Daemon, compile, skipped};

const RATE: u64 = 20_000_000;
/// There and back, without a queue.
const DELAY_US: u64 = 20_000;
/// 1.7 times what the path holds: the link is full, and its queue holds no more than 15 ms.
const WINDOW: u64 = 87_000;
const BYTES: u64 = 4_000_000;

/// Counts of an ACK are added up by the program; everything else is as the last ACK had it.
const SUMS: [&str; 7] = [
    "Ack.bytes_acked",
    "Ack.bytes_misordered",
    "Ack.ecn_bytes",
    "Ack.ecn_packets",
    "Ack.lost_pkts_sample",
    "Ack.packets_acked",
    "Ack.packets_misordered",
];
/// The names of all measurements.
fn names() -> Vec<String> {
    let table = TcpDatapath::register_table();
    let names = table.primitives().iter().map(|def| def.name.to_string());
    names.collect()
}

/// A program that reports these measurements at every ACK, and reads no others.
fn reporting(names: &[String]) -> String {
    let (mut report, mut code) = (String::new(), String::new());
    let table = TcpDatapath::register_table();
    for (i, name) in names.iter().enumerate() {
        let name = name.as_str();
        let mut defs = table.primitives().iter();
        let ty = defs.find(|def| *def.name == *name).expect("a name").ty;
        let default = if ty == Type::Bool { "false" } else { "0" };
        if SUMS.contains(&name) {
            report += &format!("(volatile v{i} 0) ");
            code += &format!("(:= Report.v{i} (+ Report.v{i} {name})) ");
        } else {
            report += &format!("(v{i} {default}) ");
            code += &format!("(:= Report.v{i} {name}) ");
        }
    }
    format!("(def (Report {report})) (when true {code} (report))")
}

/// The reports of one flow, each with these measurements.
struct Seen(Vec<Vec<u64>>, Vec<String>);

impl Seen {
    /// The course of one measurement.
    fn of(&self, name: &str) -> Vec<u64> {
        let place = self.1.iter().position(|n| n == name).expect("reported");
        self.0.iter().map(|fields| fields[place]).collect()
    }

    fn sum(&self, name: &str) -> u64 {
        self.of(name).iter().sum()
    }

    fn last(&self, name: &str) -> u64 {
        *self.of(name).last().expect("reports")
    }

    /// The median while the link was full and nothing had been lost yet.
    fn median(&self, name: &str) -> u64 {
        let lost = self.of("Ack.lost_pkts_sample");
        let until = lost.iter().position(|&n| n > 0).expect("a loss");
        let mut values = self.of(name)[until / 3..until].to_vec();
        values.sort_unstable();
        values[values.len() / 2]
    }
}

/// A flow of so many bytes through a full link, with one packet lost on the way, of which the program reads these
/// measurements. `rate` in bytes per second; 0: none is set.
fn run(names: Vec<String>, bytes: u64, mtu: u16, v6: bool, rate: u64) -> (Seen, FlowReport) {
    let (client, server) = (
        Namespace::new("client").unwrap(),
        Namespace::new("server").unwrap(),
    );
    let lost = bytes / u64::from(mtu) / 2;
    let pipe = Pipe::new(RATE, Duration::from_micros(DELAY_US / 2))
        .queue_bytes(400_000)
        .drop_data([lost]);
    let link = EmulatedLink::new(&client, &server, EmulatedSpec::from(pipe).mtu(mtu)).unwrap();
    let to: IpAddr = if v6 { link.b_v6() } else { link.b_v4() };
    let program = compile(&reporting(&names));
    let mut daemon = Daemon::running(Attached::new(), &program, &[(0, WINDOW), (1, rate)]);
    let flow = Bulk::new(Until::Bytes(bytes))
        .congestion(daemon.datapath.name())
        .start(&client, &server, to)
        .unwrap();
    daemon.until("the end", |_| flow.is_finished());
    let report = flow.wait().unwrap();
    daemon.until("close", |d| d.seen.closes().count() == 1);
    let counters = link.counters(Direction::AToB);
    assert_eq!((counters.dropped(), counters.dropped_scripted), (1, 1));
    let reports = daemon.seen.reports();
    let reports = reports.map(|r| r.fields.clone()).collect();
    (Seen(reports, names), report)
}

fn near(what: &str, got: u64, wanted: u64, percent: u64) {
    let off = got.abs_diff(wanted) * 100;
    assert!(
        off <= wanted * percent,
        "{what}: {got} instead of {wanted}, more than {percent} % off"
    );
}

#[test]
fn root_every_measurement_is_what_the_kernel_and_the_link_say() {
    if skipped() || skip_without(&[Need::Namespaces, Need::Tun]) {
        return;
    }
    for (mtu, v6) in [(1500, false), (1280, true), (9000, false)] {
        let (seen, report) = run(names(), BYTES, mtu, v6, 0);
        let (last, mss) = (&report.last, u64::from(report.last.mss_bytes));
        let micros = |time: Duration| time.as_micros() as u64;
        println!("MTU {mtu}: MSS {mss}, {} reports, {last:?}", seen.0.len());
        for name in names() {
            println!("{name}: {} … {}", seen.median(&name), seen.last(&name));
        }
        assert_eq!(last.retransmits, 1);

        // Sizes. The first window was on its way before the program ran.
        assert_eq!(seen.last("Flow.mss"), mss);
        let first = 10 * mss + WINDOW;
        let acked = seen.sum("Ack.bytes_acked");
        assert!((BYTES - first..=BYTES + 1).contains(&acked), "{acked}");
        let delivered = seen.last("Flow.bytes_delivered");
        assert!((BYTES..=BYTES + 1).contains(&delivered), "{delivered}");
        assert_eq!(seen.last("Flow.bytes_sent"), last.bytes_sent);
        let packets = seen.sum("Ack.packets_acked") + seen.sum("Ack.packets_misordered");
        // And the SYN.
        let all = BYTES.div_ceil(mss) + 1;
        assert!((all - first / mss..=all).contains(&packets), "{packets}");

        // One loss: what came after it was acknowledged selectively, until it was repaired.
        let misordered = seen.sum("Ack.packets_misordered");
        assert!(
            (2..=WINDOW / mss + 1).contains(&misordered),
            "{misordered} misordered"
        );
        assert_eq!(seen.sum("Ack.bytes_misordered"), misordered * mss);
        assert_eq!(seen.sum("Ack.lost_pkts_sample"), 1);
        assert_eq!(seen.last("Flow.bytes_lost"), mss);
        assert_eq!(
            seen.last("Flow.bytes_retransmitted"),
            last.bytes_retransmitted
        );
        assert!(seen.of("Flow.recovery_state").contains(&3));
        assert_eq!(seen.last("Flow.recovery_state"), 0);
        let ssthresh = last.ssthresh_packets.map(|n| u64::from(n) * mss);
        assert_eq!(Some(seen.last("Flow.ssthresh")), ssthresh);
        assert_eq!(seen.of("Flow.ssthresh")[0], u64::MAX, "none before it");
        assert_eq!(seen.sum("Flow.was_timeout") + seen.last("Flow.timeouts"), 0);
        let marks = ["Ack.ecn_bytes", "Ack.ecn_packets", "Ack.ece"].map(|name| seen.sum(name));
        assert_eq!((marks, seen.last("Flow.bytes_ce")), ([0; 3], 0));

        // What is under way: the window, less what this ACK has just made room for.
        let flight = seen.median("Flow.packets_in_flight");
        let window = WINDOW / mss;
        assert!((window - 3..=window).contains(&flight), "{flight}");
        assert_eq!(seen.median("Flow.bytes_in_flight"), flight * mss);
        assert!(seen.median("Flow.bytes_pending") > 0);
        assert_eq!(seen.last("Flow.packets_in_flight"), 0);
        assert_eq!(seen.last("Flow.bytes_pending"), 0);
        assert_eq!(seen.median("Flow.cwnd_limited"), 1);
        assert_eq!(seen.median("Flow.app_limited"), 0);

        // Rates: the link's, of which headers take their share.
        let content = RATE / 8 * mss / u64::from(mtu);
        near("in", seen.median("Flow.rate_incoming"), content, 10);
        near("out", seen.median("Flow.rate_outgoing"), content, 15);

        // Times: the path's and the queue's, which holds what the path does not.
        let on_wire = WINDOW / mss * u64::from(mtu);
        let queued = on_wire * 8 * 1_000_000 / RATE;
        for name in ["Flow.rtt_sample_us", "Flow.srtt_us"] {
            near(name, seen.median(name), queued.max(DELAY_US), 20);
        }
        let min_rtt = last.min_rtt.map(micros).expect("measured");
        near("least", seen.last("Flow.min_rtt_us"), min_rtt, 10);
        assert!((DELAY_US..2 * DELAY_US).contains(&seen.last("Flow.min_rtt_us")));
        // Asked when the last byte had arrived and its acknowledgement was still under way.
        near("srtt", seen.last("Flow.srtt_us"), micros(last.srtt), 30);
        // The path is steady; the kernel's other variable would say 50 ms, for the sake of RTO.
        let deviation = seen.median("Flow.rttvar_us");
        assert!(deviation < DELAY_US / 4, "{deviation}");
        assert!(seen.of("Flow.rttvar_us").iter().any(|&us| us > 0));
        let now = seen.of("Ack.now");
        assert!(now.is_sorted());
        let took = now[now.len() - 1] - now[0];
        near("time", took, micros(report.duration), 20);
        let rounds = seen.last("Flow.round_count");
        let steps = now.windows(2).zip(seen.of("Flow.srtt_us"));
        let passed: f64 = steps
            .map(|(at, srtt)| (at[1] - at[0]) as f64 / srtt as f64)
            .sum();
        near("rounds", rounds, passed as u64, 15);

        // No rate is set: 1.2 or twice a window per round-trip time.
        let pace = WINDOW * 1_000_000 / seen.median("Flow.srtt_us");
        let paced = seen.median("Flow.pacing_rate");
        assert!((pace..=2 * pace + pace / 4).contains(&paced), "{paced}");
        assert_eq!(seen.sum("Flow.paced"), 0);
    }
}

#[test]
fn root_a_flow_with_a_rate_is_paced() {
    if skipped() || skip_without(&[Need::Namespaces, Need::Tun]) {
        return;
    }
    let rate = RATE / 8 * 9 / 10;
    let (seen, _) = run(names(), BYTES, 1500, false, rate);
    assert_eq!(seen.median("Flow.pacing_rate"), rate);
    // From the acknowledgement on at which it was set.
    let paced = seen.of("Flow.paced");
    assert_eq!(
        (paced[0], seen.sum("Flow.paced")),
        (0, paced.len() as u64 - 1)
    );
}

/// What a program does not read is not measured: what it does read is right all the same.
#[test]
fn root_measurements_read_by_themselves_are_what_the_kernel_says() {
    if skipped() || skip_without(&[Need::Namespaces, Need::Tun]) {
        return;
    }
    const BYTES: u64 = 600_000;
    let of = |names: &[&str]| {
        let names = names.iter().map(|&name| name.to_owned()).collect();
        run(names, BYTES, 1500, false, 0)
    };
    let mss = |report: &FlowReport| u64::from(report.last.mss_bytes);
    // What was under way before the program ran.
    let first = |report: &FlowReport| 10 * mss(report) + WINDOW;

    let (seen, report) = of(&["Ack.bytes_acked"]);
    let acked = seen.sum("Ack.bytes_acked");
    assert!(
        (BYTES - first(&report)..=BYTES + 1).contains(&acked),
        "{acked}"
    );

    // Both halves come from the same differences, and each without the other.
    let (seen, report) = of(&["Ack.packets_acked", "Flow.bytes_delivered"]);
    let in_order = seen.sum("Ack.packets_acked");
    let delivered = seen.last("Flow.bytes_delivered");
    assert!((BYTES..=BYTES + 1).contains(&delivered), "{delivered}");
    let packets = u64::from(report.last.delivered_packets);
    assert!(in_order < packets, "{in_order} of {packets}");

    let (seen, report) = of(&["Ack.bytes_misordered", "Flow.bytes_lost"]);
    let misordered = seen.sum("Ack.bytes_misordered");
    assert_eq!(misordered % mss(&report), 0);
    assert!(
        (2 * mss(&report)..=WINDOW + mss(&report)).contains(&misordered),
        "{misordered}"
    );
    assert_eq!(seen.last("Flow.bytes_lost"), mss(&report));

    let (seen, report) = of(&["Ack.lost_pkts_sample", "Flow.bytes_retransmitted"]);
    assert_eq!(seen.sum("Ack.lost_pkts_sample"), 1);
    assert_eq!(
        seen.last("Flow.bytes_retransmitted"),
        report.last.bytes_retransmitted
    );

    let (seen, report) = of(&["Flow.ssthresh", "Flow.recovery_state"]);
    let ssthresh = report
        .last
        .ssthresh_packets
        .map(|n| u64::from(n) * mss(&report));
    assert_eq!(Some(seen.last("Flow.ssthresh")), ssthresh);
    assert!(seen.of("Flow.recovery_state").contains(&3));

    let (seen, report) = of(&["Flow.bytes_sent", "Flow.min_rtt_us"]);
    assert_eq!(seen.last("Flow.bytes_sent"), report.last.bytes_sent);
    let min_rtt = report.last.min_rtt.expect("measured").as_micros() as u64;
    near("least", seen.last("Flow.min_rtt_us"), min_rtt, 10);

    // Rates and round trips have the same sample; the link is full, and what does not fit it waits.
    let middle = |seen: &Seen, name: &str| {
        let mut values = seen.of(name);
        values.sort_unstable();
        values[values.len() / 2]
    };
    let content = RATE / 8 * 1448 / 1500;
    let (seen, _) = of(&["Flow.rate_incoming"]);
    near("in", middle(&seen, "Flow.rate_incoming"), content, 20);
    let (seen, _) = of(&["Flow.rate_outgoing"]);
    near("out", middle(&seen, "Flow.rate_outgoing"), content, 30);
    let (seen, report) = of(&["Flow.round_count"]);
    let rounds = seen.last("Flow.round_count");
    let most = (report.duration.as_micros() as u64).div_ceil(DELAY_US) + 1;
    assert!((3..=most).contains(&rounds), "{rounds} of {most}");
    let (seen, _) = of(&["Flow.packets_in_flight"]);
    let flight = seen.of("Flow.packets_in_flight");
    let most = WINDOW / 1448 + 1;
    assert!(flight.iter().all(|&n| n <= most), "{flight:?}");
    assert_eq!(flight.last(), Some(&0));
}
