//! When the phases of a cycle begin and end.

use ccp_program::Program;
use ccp_program::interp::Registers;

use super::good;

/// What `Rate` is at each acknowledgement of `(time, round-trip time)`.
fn rates(cycle: &str, acks: &[(u64, u64)]) -> Vec<u64> {
    let source = format!(
        "(def (Report (minrtt 0)) (bw 1000))
         (when true
             (:= Report.minrtt Flow.rtt_sample_us)
             (:= Rate {cycle})
             (report))"
    );
    let program = good(&source).program;
    let mut registers = Registers::new(&program, 0);
    acks.iter()
        .map(|(now, rtt)| {
            let measured = measured(&program, *now, *rtt);
            let outcome = registers.invoke(&program, &measured, *now);
            outcome.expect("no fault");
            registers.writable[1]
        })
        .collect()
}

fn measured(program: &Program, now: u64, rtt: u64) -> Vec<u64> {
    let value = |name: &str| match name {
        "Ack.now" => now,
        "Flow.rtt_sample_us" => rtt,
        _ => 0,
    };
    let names = program.primitives.iter().map(|p| p.name.as_ref());
    names.map(value).collect()
}

/// Acknowledgements every `step` µs from `start`, with one round-trip time.
fn every(start: u64, step: u64, count: u64, rtt: u64) -> Vec<(u64, u64)> {
    (0..count).map(|n| (start + n * step, rtt)).collect()
}

const BBR: &str = "(cycle bw (5/4 1rtt) (3/4 1rtt) (1 6rtt))";

#[test]
fn the_probing_cycle_of_bbr() {
    // Four acknowledgements in a round trip, three turns.
    let got = rates(BBR, &every(77, 10_000, 96, 40_000));
    let turn = [(1250, 4), (750, 4), (1000, 24)];
    let turn = turn.map(|(rate, acks)| vec![rate; acks]).concat();
    assert_eq!(got, turn.repeat(3));
}

#[test]
fn a_cycle_begins_whatever_the_clock_says() {
    for start in [0, 1, 40_000, u64::from(u32::MAX), u64::MAX - 1_000_000] {
        let got = rates(BBR, &every(start, 10_000, 9, 40_000));
        assert_eq!(
            got,
            [1250, 1250, 1250, 1250, 750, 750, 750, 750, 1000],
            "{start}"
        );
    }
}

#[test]
fn phases_in_time_and_in_round_trips() {
    let cycle = "(cycle bw (2 10ms) (0.5 2rtt) (1/3 500us))";
    let got = rates(cycle, &every(1, 2_500, 12, 5_000));
    let turn = [2000, 2000, 2000, 2000, 500, 500, 500, 500, 333];
    let expected: Vec<u64> = turn.iter().copied().cycle().take(12).collect();
    assert_eq!(got, expected);
}

#[test]
fn a_phase_lasts_until_the_first_acknowledgement_after_its_time() {
    let acks = [0, 9_999, 10_000, 19_999, 25_000, 34_999, 35_000].map(|now| (now, 0));
    let got = rates("(cycle bw (2 10ms) (1 10ms))", &acks);
    // The second phase, noticed late, begins late and lasts its time.
    assert_eq!(got, [2000, 2000, 1000, 1000, 2000, 2000, 1000]);
}

#[test]
fn a_gap_is_not_made_up_for() {
    let got = rates(
        BBR,
        &[(0, 100), (50, 100), (60_000_000, 100), (60_000_050, 100)],
    );
    assert_eq!(got, [1250, 1250, 750, 750]);
}

#[test]
fn a_clock_that_goes_back_does_not_stop_the_cycle() {
    let got = rates(BBR, &[(1_000_000, 100), (500, 100), (599, 100), (600, 100)]);
    assert_eq!(got, [1250, 750, 750, 1000]);
}

#[test]
fn the_first_phase_lasts_until_a_round_trip_is_known() {
    let unknown = u64::MAX;
    let acks = [(0, unknown), (10_000_000, unknown), (10_000_001, 40_000)];
    assert_eq!(rates(BBR, &acks), [1250, 1250, 750]);
    // The length follows the round trip as it is now.
    let acks = [
        (0, 1000),
        (999, 5000),
        (1000, 5000),
        (4999, 5000),
        (5000, 5000),
    ];
    assert_eq!(rates(BBR, &acks), [1250, 1250, 1250, 1250, 750]);
}

#[test]
fn what_a_round_trip_is_can_be_said() {
    let cycle = "(cycle bw (rtt (* 2 Report.minrtt)) (2 1rtt) (1 1rtt))";
    let got = rates(cycle, &every(0, 100, 8, 150));
    assert_eq!(got, [2000, 2000, 2000, 1000, 1000, 1000, 2000, 2000]);
}

#[test]
fn a_cycle_does_not_look_at_micros() {
    let source = "(def (Report (n 0)) (bw 1000))
        (when true (:= Rate (cycle bw (2 100us) (1 100us))) (reset) (report))";
    let program = good(source).program;
    let mut registers = Registers::new(&program, 0);
    let rates = [0, 60, 120, 180, 240].map(|now| {
        let measured = measured(&program, now, 0);
        registers
            .invoke(&program, &measured, now)
            .expect("no fault");
        registers.writable[1]
    });
    assert_eq!(rates, [2000, 2000, 1000, 1000, 2000]);
}

#[test]
fn each_cycle_keeps_its_own_time() {
    let source = "(def (Report (n 0)))
        (when true
            (:= Cwnd (max 10 (cycle 100 (2 100us) (1 100us))))
            (if (> Ack.now 150) (:= Rate (cycle (:= Report.n 7) (3 1s) (1 1s))))
            (report))";
    let program = good(source).program;
    let mut registers = Registers::new(&program, 0);
    let got = [0, 100, 200].map(|now| {
        let measured = measured(&program, now, 0);
        registers
            .invoke(&program, &measured, now)
            .expect("no fault");
        (registers.writable[0], registers.writable[1])
    });
    assert_eq!(got, [(200, 0), (100, 0), (200, 21)]);
}
