//! What counts as one loss.

use ccp_types::{Bytes, Micros, Timestamp};

use super::{NativeAck, Recovering, new};
use crate::config::Native;

const MSS: u32 = 1_000;

fn ack(cwnd: Bytes) -> NativeAck {
    NativeAck {
        now: Timestamp(1_000_000),
        acked: Bytes::ZERO,
        misordered: Bytes::ZERO,
        lost: 0,
        marked: 0,
        timeout: false,
        recovering: None,
        in_flight: cwnd,
        limited: true,
        cwnd,
        mss: MSS,
        srtt: Micros(20_000),
        rtt: None,
    }
}

/// 100 segments are out. One in two of the first forty is lost and found to be by and by, as those
/// behind are acknowledged; then the repetitions arrive. Returns the windows.
fn losses_one_by_one(native: &Native, told: bool) -> Vec<u64> {
    let mut law = new(native);
    let mut cwnd = Bytes(100 * u64::from(MSS));
    law.start(cwnd, MSS, true);
    let mut windows = vec![cwnd.0];
    let mut flight = cwnd;
    for n in 0..20_u64 {
        // Segment 2n is lost, 2n + 1 arrives.
        flight = flight - Bytes(2 * u64::from(MSS));
        let mut now = ack(cwnd);
        now.misordered = Bytes(u64::from(MSS));
        now.lost = 1;
        now.in_flight = flight;
        now.recovering = told.then_some(if n == 0 {
            Recovering::Begins
        } else {
            Recovering::Lasts
        });
        cwnd = law.on_ack(&now);
        windows.push(cwnd.0);
    }
    // Each repetition fills a hole; after the first ten another loss shows, of the same flight.
    for n in 0..20_u64 {
        let mut now = ack(cwnd);
        now.acked = Bytes(2 * u64::from(MSS));
        now.in_flight = flight;
        now.lost = u64::from(n == 10);
        now.recovering = told.then_some(Recovering::Lasts);
        cwnd = law.on_ack(&now);
        windows.push(cwnd.0);
    }
    // The sixty behind, in order, and the last of them is lost.
    let mut now = ack(cwnd);
    now.acked = Bytes(59 * u64::from(MSS));
    now.lost = 1;
    now.in_flight = Bytes(30 * u64::from(MSS));
    now.recovering = told.then_some(Recovering::Lasts);
    cwnd = law.on_ack(&now);
    windows.push(cwnd.0);
    windows
}

#[test]
fn losses_of_one_flight_count_once() {
    for (native, left) in [(Native::Reno, 50_000), (Native::Cubic, 70_000)] {
        for told in [true, false] {
            let windows = losses_one_by_one(&native, told);
            assert!(
                windows[1..].iter().all(|w| *w == left),
                "{native:?}, told: {told}: {windows:?}"
            );
        }
    }
}

#[test]
fn the_next_flight_may_lose_again() {
    for told in [true, false] {
        let mut law = new(&Native::Reno);
        let mut cwnd = Bytes(100 * u64::from(MSS));
        law.start(cwnd, MSS, true);
        for expected in [50_000, 25_000] {
            let mut now = ack(cwnd);
            now.lost = 1;
            now.misordered = Bytes(3 * u64::from(MSS));
            now.in_flight = cwnd - Bytes(4 * u64::from(MSS));
            now.recovering = told.then_some(Recovering::Begins);
            let flight = cwnd;
            cwnd = law.on_ack(&now);
            assert_eq!(cwnd, Bytes(expected), "told: {told}");
            let mut now = ack(cwnd);
            now.acked = flight;
            now.recovering = told.then_some(Recovering::No);
            assert_eq!(law.on_ack(&now), cwnd, "the end of recovery: no growth yet");
        }
        let mut now = ack(cwnd);
        now.acked = cwnd;
        now.recovering = told.then_some(Recovering::No);
        assert_eq!(
            law.on_ack(&now),
            cwnd + Bytes(u64::from(MSS)),
            "told: {told}"
        );
    }
}

#[test]
fn what_the_transport_tells_counts_and_not_what_is_lost_besides() {
    let mut law = new(&Native::Cubic);
    let cwnd = Bytes(100 * u64::from(MSS));
    law.start(cwnd, MSS, true);
    // Of a segment lost that turned up again the transport made nothing.
    let mut now = ack(cwnd);
    now.lost = 1;
    now.recovering = Some(Recovering::No);
    assert_eq!(law.on_ack(&now), cwnd);
    // Of a mark it does, though it shows no packets.
    now.lost = 0;
    now.recovering = Some(Recovering::Begins);
    assert_eq!(law.on_ack(&now), Bytes(70 * u64::from(MSS)));
}

#[test]
fn a_timeout_while_the_transport_recovers_is_not_another_reduction() {
    let mut law = new(&Native::Reno);
    let mut cwnd = Bytes(64 * u64::from(MSS));
    law.start(cwnd, MSS, true);
    let mut now = ack(cwnd);
    now.lost = 1;
    now.recovering = Some(Recovering::Begins);
    cwnd = law.on_ack(&now);
    let mut now = ack(cwnd);
    now.timeout = true;
    now.recovering = Some(Recovering::Lasts);
    cwnd = law.on_ack(&now);
    assert_eq!(cwnd, Bytes(u64::from(MSS)));
    // Slow start by a segment at a time while it recovers, then to the half of 64.
    for expected in [2_000, 3_000] {
        let mut now = ack(cwnd);
        now.acked = Bytes(5_000);
        now.recovering = Some(Recovering::Lasts);
        cwnd = law.on_ack(&now);
        assert_eq!(cwnd, Bytes(expected));
    }
    let mut now = ack(cwnd);
    now.recovering = Some(Recovering::No);
    assert_eq!(law.on_ack(&now), cwnd);
    now.acked = Bytes(29_000);
    assert_eq!(law.on_ack(&now), Bytes(32_000));
}

/// Rounds of a slow start with these round-trip times, in ms; the window after each, in segments.
fn rounds(native: &Native, times: &[u64]) -> Vec<u64> {
    let mut law = new(native);
    let mut cwnd = Bytes(16 * u64::from(MSS));
    law.start(cwnd, MSS, false);
    let mut windows = Vec::new();
    for rtt in times {
        let flight = cwnd;
        for _ in 0..flight.0 / u64::from(MSS) {
            let mut now = ack(cwnd);
            now.acked = Bytes(u64::from(MSS));
            now.rtt = Some(Micros(rtt * 1_000));
            now.in_flight = flight - now.acked;
            cwnd = law.on_ack(&now);
        }
        windows.push(cwnd.0 / u64::from(MSS));
    }
    windows
}

#[test]
fn the_first_slow_start_ends_when_the_path_fills() {
    let steady = rounds(&Native::Cubic, &[20; 4]);
    assert_eq!(steady, [32, 64, 128, 256]);
    let fills = rounds(&Native::Cubic, &[20, 20, 40, 40, 40, 40, 40, 40, 40]);
    assert_eq!(&fills[..2], [32, 64]);
    // Conservative for five rounds, at a quarter; then congestion avoidance.
    assert!((84..=90).contains(&fills[2]), "{fills:?}");
    let rounds_of = |pair: &[u64]| pair[1] as f64 / pair[0] as f64;
    for pair in fills[2..6].windows(2) {
        assert!((1.2..1.35).contains(&rounds_of(pair)), "{fills:?}");
    }
    for pair in fills[7..].windows(2) {
        assert!(rounds_of(pair) < 1.1, "{fills:?}");
    }
    // It does not look at round-trip times.
    assert_eq!(rounds(&Native::Reno, &[20, 20, 40]), [32, 64, 128]);
}
