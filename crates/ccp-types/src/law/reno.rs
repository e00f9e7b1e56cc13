//! Additive increase, multiplicative decrease as TCP does it. Source: RFC 5681.

use crate::Bytes;

/// The least slow-start threshold, in segments. Source: RFC 5681, equation (4).
pub const MIN_SSTHRESH_SEGMENTS: u64 = 2;

/// The window after `acked` bytes were acknowledged in slow start: it grows by what was
/// acknowledged and stops at `ssthresh`; the rest of `acked` is returned for congestion
/// avoidance. Source: RFC 5681, section 3.1, equation (2) with RFC 3465's byte counting.
#[must_use]
pub fn slow_start(cwnd: Bytes, ssthresh: Bytes, acked: Bytes) -> (Bytes, Bytes) {
    let room = ssthresh - cwnd;
    let used = acked.min(room);
    (cwnd + used, acked - used)
}

/// What congestion avoidance adds to `cwnd` for `acked` bytes: one segment per window.
/// `carry` keeps the remainder, in units of byte·byte, so that nothing is lost to rounding.
/// Source: RFC 5681, section 3.1, equation (3).
#[must_use]
pub fn congestion_avoidance(cwnd: Bytes, mss: u32, acked: Bytes, carry: &mut u64) -> Bytes {
    let window = u128::from(cwnd.0.max(1));
    let credit = u128::from(acked.0) * u128::from(mss) + u128::from(*carry);
    let grown = credit / window;
    *carry = u64::try_from(credit % window).unwrap_or(0);
    cwnd + Bytes(u64::try_from(grown).unwrap_or(u64::MAX))
}

/// The slow-start threshold after a loss with `flight` bytes outstanding.
/// Source: RFC 5681, section 3.1, equation (4).
#[must_use]
pub fn ssthresh_after_loss(flight: Bytes, mss: u32) -> Bytes {
    Bytes(flight.0 / 2).max(Bytes::from_packets(MIN_SSTHRESH_SEGMENTS, mss))
}

#[cfg(test)]
mod tests {
    use super::super::reno;
    use crate::Bytes;

    const MSS: u32 = 1000;

    #[test]
    fn slow_start_doubles_per_window_and_stops_at_the_threshold() {
        assert_eq!(
            reno::slow_start(Bytes(10_000), Bytes::MAX, Bytes(10_000)),
            (Bytes(20_000), Bytes(0))
        );
        assert_eq!(
            reno::slow_start(Bytes(10_000), Bytes(14_000), Bytes(10_000)),
            (Bytes(14_000), Bytes(6_000))
        );
        assert_eq!(
            reno::slow_start(Bytes(10_000), Bytes(5_000), Bytes(7)),
            (Bytes(10_000), Bytes(7))
        );
    }

    #[test]
    fn congestion_avoidance_adds_one_segment_per_window_however_it_is_cut() {
        let whole = reno::congestion_avoidance(Bytes(20_000), MSS, Bytes(20_000), &mut 0);
        assert_eq!(whole, Bytes(21_000));

        let mut carry = 0;
        let mut cwnd = Bytes(1_000_000);
        for _ in 0..1_000 {
            cwnd = reno::congestion_avoidance(cwnd, MSS, Bytes(1_000), &mut carry);
        }
        // One segment, less what the growing window takes off: never more, hardly less.
        assert!((999..=1_000).contains(&(cwnd.0 - 1_000_000)), "{cwnd}");
    }

    #[test]
    fn loss_halves_the_flight_but_leaves_two_segments() {
        assert_eq!(reno::ssthresh_after_loss(Bytes(40_000), MSS), Bytes(20_000));
        assert_eq!(reno::ssthresh_after_loss(Bytes(1_000), MSS), Bytes(2_000));
    }
}
