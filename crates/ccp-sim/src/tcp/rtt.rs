//! Round-trip times and the retransmission timeout. Source: RFC 6298.

use crate::time::Nanos;

/// The timeout before anything was measured. Source: RFC 6298, section 2.1.
const INITIAL: Nanos = Nanos::from_secs(1);
/// The longest timeout. Source: RFC 6298, section 2.5.
const LONGEST: Nanos = Nanos::from_secs(60);

/// What is known of the path's round-trip time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rtt {
    /// Smoothed, and its variation; `None` before the first sample.
    smoothed: Option<(Nanos, Nanos)>,
    least: Option<Nanos>,
    /// What four times the variation counts for at least in a timeout, as Linux has it: a sender whose
    /// round trips are all the same does not give up at once when one takes longer.
    floor: Nanos,
    /// How often the timer has expired in a row.
    backoff: u32,
}

impl Rtt {
    pub(super) const fn new(floor: Nanos) -> Self {
        Self {
            smoothed: None,
            least: None,
            floor,
            backoff: 0,
        }
    }

    pub(super) fn srtt(&self) -> Option<Nanos> {
        self.smoothed.map(|(srtt, _)| srtt)
    }

    pub(super) const fn least(&self) -> Option<Nanos> {
        self.least
    }

    /// A round trip took `sample`. Source: RFC 6298, sections 2.2 and 2.3.
    pub(super) fn on_sample(&mut self, sample: Nanos) {
        self.least = Some(self.least.map_or(sample, |least| least.min(sample)));
        self.smoothed = Some(match self.smoothed {
            None => (sample, Nanos(sample.0 / 2)),
            Some((srtt, var)) => {
                let away = srtt.0.abs_diff(sample.0);
                (
                    Nanos((7 * srtt.0 + sample.0) / 8),
                    Nanos((3 * var.0 + away) / 4),
                )
            }
        });
    }

    /// The timer has expired. Source: RFC 6298, section 5.5.
    pub(super) fn on_timeout(&mut self) {
        self.backoff = (self.backoff + 1).min(16);
    }

    /// Something new was acknowledged: timeouts are as long as they should be again.
    pub(super) const fn on_progress(&mut self) {
        self.backoff = 0;
    }

    /// How long to wait for an acknowledgement.
    pub(super) fn timeout(&self) -> Nanos {
        let once = self.smoothed.map_or(INITIAL, |(srtt, var)| {
            srtt + Nanos(4 * var.0).max(self.floor)
        });
        Nanos(once.0.saturating_mul(1 << self.backoff)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::Rtt;
    use crate::time::Nanos;

    #[test]
    fn the_timeout_follows_rfc_6298() {
        let mut rtt = Rtt::new(Nanos::from_millis(10));
        assert_eq!(rtt.timeout(), Nanos::from_secs(1));
        rtt.on_sample(Nanos::from_millis(100));
        // SRTT + 4 * RTTVAR = 100 + 4 * 50.
        assert_eq!(rtt.timeout(), Nanos::from_millis(300));
        rtt.on_sample(Nanos::from_millis(180));
        // SRTT = 7/8 * 100 + 1/8 * 180, RTTVAR = 3/4 * 50 + 1/4 * 80.
        assert_eq!(rtt.timeout(), Nanos::from_millis(110 + 4 * 57 + 2));
        for _ in 0..200 {
            rtt.on_sample(Nanos::from_millis(100));
        }
        assert_eq!(rtt.timeout().0 / 1_000_000, 110);
        rtt.on_timeout();
        rtt.on_timeout();
        assert_eq!(rtt.timeout().0 / 1_000_000, 440);
        for _ in 0..20 {
            rtt.on_timeout();
        }
        assert_eq!(rtt.timeout(), Nanos::from_secs(60));
        rtt.on_progress();
        assert_eq!(rtt.timeout().0 / 1_000_000, 110);
    }
}
