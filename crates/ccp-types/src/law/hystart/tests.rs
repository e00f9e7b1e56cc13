use super::{HyStart, Phase, Train};
use crate::{Bytes, Micros, Timestamp};

const MS: u64 = 1_000;

/// A round of `samples` acknowledgements with these round-trip times at least.
fn round(hystart: &mut HyStart, samples: u64, least: Micros) -> Phase {
    let mut phase = hystart.phase();
    for nth in 0..samples {
        phase = hystart.on_ack(Some(least + Micros(nth)), nth == 0);
    }
    phase
}

#[test]
fn the_round_trip_time_must_rise_by_an_eighth_but_at_least_4_ms_and_at_most_16() {
    for (before, rise) in [(1, 4), (32, 4), (80, 10), (128, 16), (500, 16)] {
        let before = Micros(before * MS);
        let mut almost = HyStart::new();
        round(&mut almost, 10, before);
        let mut enough = almost;
        let less = before + Micros(rise * MS - 1);
        assert_eq!(round(&mut almost, 10, less), Phase::SlowStart);
        let more = before + Micros(rise * MS);
        assert_eq!(round(&mut enough, 10, more), Phase::Conservative);
    }
}

#[test]
fn a_rise_in_the_first_round_or_of_few_samples_says_nothing() {
    let mut first = HyStart::new();
    assert_eq!(round(&mut first, 20, Micros(90 * MS)), Phase::SlowStart);

    let mut few = HyStart::new();
    round(&mut few, 10, Micros(10 * MS));
    assert_eq!(round(&mut few, 7, Micros(90 * MS)), Phase::SlowStart);
    // The round after is compared with that one.
    assert_eq!(round(&mut few, 8, Micros(90 * MS)), Phase::SlowStart);
    assert_eq!(round(&mut few, 8, Micros(102 * MS)), Phase::Conservative);
}

#[test]
fn acknowledgements_without_a_sample_do_not_count() {
    let mut hystart = HyStart::new();
    round(&mut hystart, 10, Micros(10 * MS));
    for nth in 0..7 {
        let rtt = Some(Micros(50 * MS));
        assert_eq!(hystart.on_ack(rtt, nth == 0), Phase::SlowStart);
        assert_eq!(hystart.on_ack(None, false), Phase::SlowStart);
    }
    let eighth = hystart.on_ack(Some(Micros(50 * MS)), false);
    assert_eq!(eighth, Phase::Conservative);
    // A round without any sample leaves nothing to compare the next with.
    let mut hystart = HyStart::new();
    round(&mut hystart, 10, Micros(10 * MS));
    hystart.on_ack(None, true);
    assert_eq!(round(&mut hystart, 10, Micros(90 * MS)), Phase::SlowStart);
}

#[test]
fn after_five_rounds_of_conservative_slow_start_it_is_over() {
    let mut hystart = HyStart::new();
    round(&mut hystart, 10, Micros(20 * MS));
    // The first of the five: it began in the middle of it.
    assert_eq!(
        round(&mut hystart, 10, Micros(25 * MS)),
        Phase::Conservative
    );
    assert_eq!(hystart.growth(Bytes(4_000)), Bytes(1_000));
    for _ in 0..4 {
        let phase = round(&mut hystart, 10, Micros(30 * MS));
        assert_eq!(phase, Phase::Conservative);
    }
    assert_eq!(hystart.on_ack(None, true), Phase::Over);
    assert_eq!(hystart.growth(Bytes(4_000)), Bytes(4_000));
    // For good.
    assert_eq!(round(&mut hystart, 10, Micros(20 * MS)), Phase::Over);
}

#[test]
fn a_false_alarm_is_taken_back() {
    let mut hystart = HyStart::new();
    round(&mut hystart, 10, Micros(20 * MS));
    round(&mut hystart, 10, Micros(26 * MS));
    let seven = round(&mut hystart, 7, Micros(20 * MS));
    assert_eq!(seven, Phase::Conservative);
    assert_eq!(
        hystart.on_ack(Some(Micros(25 * MS)), false),
        Phase::SlowStart
    );
    // And can be raised again, for another five rounds.
    round(&mut hystart, 10, Micros(20 * MS));
    round(&mut hystart, 10, Micros(26 * MS));
    for _ in 0..4 {
        let phase = round(&mut hystart, 10, Micros(30 * MS));
        assert_eq!(phase, Phase::Conservative);
    }
    assert_eq!(hystart.on_ack(None, true), Phase::Over);
}

/// How long a train of acknowledgements, `gap` apart, is when the path is said to be full.
fn full_after(gap: u64, min_rtt: Micros, paced: bool) -> Option<u64> {
    let mut train = Train::new();
    let start = 5_000_000;
    (0..2_000)
        .map(|nth| nth * gap)
        .find(|at| train.on_ack(Timestamp(start + at), *at == 0, min_rtt, paced))
}

#[test]
fn a_train_half_as_long_as_the_path_fills_it_or_a_whole_one_if_it_is_paced() {
    let rtt = Micros(100 * MS);
    assert_eq!(full_after(100, rtt, false), Some(50_600));
    assert_eq!(full_after(100, rtt, true), Some(101_100));
    assert_eq!(full_after(100, Micros(0), false), Some(600));
    assert_eq!(full_after(2_000, rtt, false), Some(52_000));
    // That is no train.
    assert_eq!(full_after(2_001, rtt, false), None);
    // A path without a round-trip time yet is not full.
    assert_eq!(full_after(100, Micros::MAX, false), None);
}

#[test]
fn a_train_that_was_interrupted_counts_no_more_until_the_next_round() {
    let rtt = Micros(10 * MS);
    let mut train = Train::new();
    train.on_ack(Timestamp(1), true, rtt, false);
    for at in (3_000..100_000).step_by(100) {
        assert!(!train.on_ack(Timestamp(at), false, rtt, false));
    }
    train.on_ack(Timestamp(100_000), true, rtt, false);
    assert!((100_100..110_000).step_by(100).any(|at| train.on_ack(
        Timestamp(at),
        false,
        rtt,
        false
    )));
}
