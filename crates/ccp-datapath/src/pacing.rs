//! Pacing for transports that have none: a token bucket in bytes and nanoseconds.

use ccp_types::Rate;

/// Says when the next packet may be sent so that, over time, no more than a rate is sent, and no more than
/// a burst at once.
///
/// Times are nanoseconds of any clock that does not go back.
#[derive(Clone, Debug)]
pub struct Pacer {
    /// Bytes per second; 0 for no limit.
    rate: u64,
    /// Bytes that may be sent at once.
    burst: u64,
    /// What may be sent now, in bytes times 10⁹; below 0 after a packet larger than what was there.
    tokens: i128,
    at: u64,
}

/// Nanoseconds per second.
const SECOND: i128 = 1_000_000_000;

impl Pacer {
    /// No limit yet. `burst`: how many bytes may be sent at once, at least one packet's worth.
    #[must_use]
    pub fn new(burst: u64) -> Self {
        let burst = burst.max(1);
        Self {
            rate: 0,
            burst,
            tokens: i128::from(burst) * SECOND,
            at: 0,
        }
    }

    /// From now on, so fast. A rate of 0 sets no limit. What was saved up stays.
    pub fn set_rate(&mut self, now_ns: u64, rate: Rate) {
        self.refill(now_ns);
        self.rate = rate.0;
    }

    /// A packet of `bytes` is sent, whether it may be or not.
    pub fn sent(&mut self, now_ns: u64, bytes: u64) {
        self.refill(now_ns);
        // Without a limit nothing is owed.
        if self.rate != 0 {
            self.tokens = self.tokens.saturating_sub(i128::from(bytes) * SECOND);
        }
    }

    /// When the next packet may be sent; now or earlier if at once.
    ///
    /// A packet may go as long as anything is saved up, so one that is larger than the burst goes, too;
    /// what it takes too much is made up for afterwards.
    #[must_use]
    pub fn next_send(&self) -> u64 {
        if self.rate == 0 || self.tokens > 0 {
            return self.at;
        }
        let wait = (1 - self.tokens).div_euclid(i128::from(self.rate)) + 1;
        self.at
            .saturating_add(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    /// Whether a packet may be sent at `now_ns`.
    #[must_use]
    pub fn may_send(&self, now_ns: u64) -> bool {
        now_ns >= self.next_send()
    }

    fn refill(&mut self, now_ns: u64) {
        let elapsed = now_ns.saturating_sub(self.at);
        self.at = self.at.max(now_ns);
        let more = i128::from(elapsed) * i128::from(self.rate);
        let most = i128::from(self.burst) * SECOND;
        self.tokens = self.tokens.saturating_add(more).min(most);
    }
}

#[cfg(test)]
mod tests {
    use super::{Pacer, Rate};

    fn send(pacer: &mut Pacer, from: u64, to: u64, packet: u64) -> u64 {
        let (mut now, mut sent) = (from, 0);
        loop {
            now = now.max(pacer.next_send());
            if now >= to {
                return sent;
            }
            assert!(pacer.may_send(now));
            pacer.sent(now, packet);
            sent += packet;
        }
    }

    #[test]
    fn what_is_sent_is_the_rate_and_one_burst() {
        for (rate, packet) in [
            (1_000, 100),
            (1_250_000, 1_448),
            (12_500_000_000, 65_536),
            (1, 9_000),
        ] {
            let mut pacer = Pacer::new(10 * packet);
            pacer.set_rate(0, Rate(rate));
            let second = 1_000_000_000;
            let first = send(&mut pacer, 0, second, packet);
            assert!(
                first >= rate && first <= rate + 11 * packet,
                "{rate}: {first}"
            );
            let second = send(&mut pacer, second, 2 * second, packet);
            assert!(second <= rate + packet, "{rate}: {second}");
        }
    }

    #[test]
    fn no_more_than_a_burst_is_saved_up() {
        let mut pacer = Pacer::new(3_000);
        pacer.set_rate(0, Rate(1_000_000));
        pacer.sent(0, 3_000);
        let mut burst = 0;
        let later = 3_600_000_000_000;
        pacer.sent(later, 0);
        while pacer.may_send(later) {
            pacer.sent(later, 1_000);
            burst += 1;
        }
        assert_eq!(burst, 3);
    }

    #[test]
    fn a_rate_of_0_is_no_limit() {
        let mut pacer = Pacer::new(1);
        pacer.sent(5, u64::MAX);
        assert!(pacer.may_send(5));
        pacer.set_rate(5, Rate(u64::MAX));
        pacer.sent(5, u64::MAX);
        assert!(!pacer.may_send(5) && pacer.next_send() <= 1_000_000_010);
        assert!(pacer.may_send(pacer.next_send()));
    }
}
