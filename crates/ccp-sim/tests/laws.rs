//! What theory and RFCs say of algorithms, on simulated paths. Everything is exact: the same on every
//! machine.

use std::fmt::Write as _;

use ccp_core::SourceText;
use ccp_sim::{Outcome, Scenario, simulate};

/// Segments of 1,448 bytes.
const MSS: f64 = 1448.0;

fn run(text: &str) -> Outcome {
    let text = SourceText::new("test.toml", text);
    let scenario = Scenario::parse(&text, &mut |_| Err("there are no files here".to_owned()));
    simulate(&scenario.unwrap(), &algs::registry()).unwrap()
}

/// One flow of `kind` for `seconds` on a path that it never fills, of `rtt_ms`, with `more` said of
/// the link.
fn alone(kind: &str, seconds: u32, rtt_ms: f64, more: &str) -> Outcome {
    run(&format!(
        "[scenario]\nduration_s = {seconds}\n[algorithms.{kind}]\n[[link]]\nname = 'path'\nrate_mbit = 10000\n\
         delay_ms = {}\nqueue_packets = 10000\n{more}\n[[flow]]\nname = 'flow'\nalgorithm = '{kind}'\n",
        rtt_ms / 2.0
    ))
}

/// The average window in packets, after the first tenth of the time.
fn average_window(outcome: &Outcome) -> f64 {
    let samples = &outcome.flows[0].samples;
    let later = &samples[samples.len() / 10..];
    later.iter().map(|s| s.cwnd as f64 / MSS).sum::<f64>() / later.len() as f64
}

/// The window in whole packets, every second.
fn windows(outcome: &Outcome) -> String {
    let mut text = String::new();
    for sample in outcome.flows[0].samples.iter().step_by(10) {
        let packets = sample.cwnd as f64 / MSS;
        writeln!(text, "{:>4.0} s {packets:>6.1}", sample.at.as_secs()).unwrap();
    }
    text
}

const LOSSES: &str = "lose_at_s = [0.45, 10, 14, 30]";

#[test]
fn the_same_seed_gives_the_same_trace_and_another_one_another() {
    let run = |seed| {
        run(&format!(
            "[scenario]\nduration_s = 5\nseed = {seed}\n[algorithms.reno]\n[algorithms.cubic]\n\
             [[link]]\nname = 'l'\nrate_mbit = 20\ndelay_ms = 5\njitter_ms = 2\nreorders = true\nloss = 0.001\n\
             discipline = 'codel'\n\
             [[flow]]\nname = 'a'\nalgorithm = 'reno'\necn = true\n\
             [[flow]]\nname = 'b'\nalgorithm = 'cubic'\napp = 'on-off'\non_s = 0.4\noff_s = 0.3\nrandom = true\n\
             [[flow]]\nname = 'c'\napp = 'responses'\nsize_kb = 50\nthink_ms = 20\n\
             [[flow]]\nname = 'd'\nalgorithm = 'cubic'\napp = 'limited'\nrate_mbit = 1\n\
             [control]\ndelay_ms = 3\nloss = 0.1\n"
        ))
    };
    let [one, same, other] = [run(1), run(1), run(2)].map(|outcome| outcome.summary);
    assert_eq!(one, same);
    assert_ne!(one.fingerprint, other.fingerprint);
}

/// This number is the same on every machine. It changes with the simulator, and with what the datapath
/// does before its first program.
#[test]
fn the_trace_is_the_same_on_every_machine() {
    let outcome = run(
        "[scenario]\nduration_s = 5\n[algorithms.fixed]\nkind = 'constant'\ncwnd_packets = 60\nrate_mbit = 12\n\
         [[link]]\nname = 'l'\nrate_mbit = 10\ndelay_ms = 5\njitter_ms = 2\nreorders = true\nloss = 0.01\n\
         queue_packets = 50\n[[flow]]\nname = 'a'\nalgorithm = 'fixed'\n",
    );
    let summary = &outcome.summary;
    insta::assert_snapshot!(format!(
        "{} after {} events",
        summary.fingerprint, summary.events
    ));
}

#[test]
fn reno_after_losses() {
    let outcome = alone("reno", 45, 100.0, LOSSES);
    insta::assert_snapshot!(windows(&outcome));
}

#[test]
fn cubic_after_losses() {
    let outcome = alone("cubic", 45, 100.0, LOSSES);
    insta::assert_snapshot!(windows(&outcome));
}

/// W = 1.22 / sqrt(p). Source: M. Mathis and others, "The macroscopic behavior of the TCP congestion
/// avoidance algorithm", 1997; RFC 5348.
#[test]
fn renos_response_function() {
    for every in [200, 500, 2_000] {
        let outcome = alone("reno", 200, 50.0, &format!("lose_every = {every}"));
        let (window, theory) = (average_window(&outcome), (1.5 * f64::from(every)).sqrt());
        println!("reno 1/p = {every}: {window:.1} packets, {theory:.1} in theory");
        assert!(
            (window / theory - 1.0).abs() < 0.15,
            "{every}: {window} {theory}"
        );
    }
}

/// W = (C (3 + β) / (4 (1 − β)))^(1/4) · (RTT / p)^(3/4). Source: RFC 9438, section 5.1, equation (6).
#[test]
fn cubics_response_function() {
    for (every, rtt) in [(3_000, 0.1), (10_000, 0.1)] {
        let outcome = alone("cubic", 200, rtt * 1e3, &format!("lose_every = {every}"));
        let window = average_window(&outcome);
        let theory = (0.4_f64 * 3.7 / 1.2).powf(0.25) * (rtt * f64::from(every)).powf(0.75);
        println!("cubic 1/p = {every}, {rtt} s: {window:.1} packets, {theory:.1} in theory");
        assert!(
            (window / theory - 1.0).abs() < 0.15,
            "{every} {rtt}: {window} {theory}"
        );
    }
}

/// Where Reno would be faster, CUBIC is as fast. Source: RFC 9438, section 4.3.
#[test]
fn cubic_is_as_fast_as_reno_where_that_is_faster() {
    let more = "lose_every = 200";
    let [reno, cubic] = ["reno", "cubic"].map(|kind| average_window(&alone(kind, 100, 20.0, more)));
    println!("reno {reno:.1}, cubic {cubic:.1}");
    assert!((cubic / reno - 1.0).abs() < 0.15, "{cubic} {reno}");
}

/// Two flows of `kind` with these round-trip times, on 20 Mbit/s.
fn two(kind: &str, seconds: u32, rtts_ms: [u32; 2], later_s: u32) -> Outcome {
    let extra = rtts_ms.map(|rtt| (rtt - 20) / 2);
    run(&format!(
        "[scenario]\nduration_s = {seconds}\n[algorithms.{kind}]\n[[link]]\nname = 'path'\nrate_mbit = 20\n\
         delay_ms = 10\nqueue_packets = 60\n\
         [[flow]]\nname = 'a'\nalgorithm = '{kind}'\ndelay_ms = {}\n\
         [[flow]]\nname = 'b'\nalgorithm = '{kind}'\ndelay_ms = {}\nstart_s = {later_s}\n",
        extra[0], extra[1]
    ))
}

#[test]
fn two_flows_converge() {
    for kind in ["reno", "cubic"] {
        let outcome = two(kind, 100, [40, 40], 10);
        let jain = outcome.summary.jain.unwrap();
        let used = outcome.summary.links[0].used;
        println!("{kind}: Jain {jain:.4}, {used:.3} of the link");
        assert!(jain > 0.97, "{kind}: {jain}");
        assert!(used > 0.97, "{kind}: {used}");
    }
}

#[test]
fn round_trip_times_and_shares() {
    let share = |kind| {
        let outcome = two(kind, 150, [40, 120], 0);
        let later = |n: usize| outcome.summary.flows[n].later_throughput_mbit.unwrap();
        later(0) / later(1)
    };
    let (reno, cubic) = (share("reno"), share("cubic"));
    println!(
        "three times the round-trip time, of the throughput: reno 1/{reno:.2}, cubic 1/{cubic:.2}"
    );
    assert!(reno > 1.5, "{reno}");
    assert!(cubic > 1.0, "{cubic}");
}
