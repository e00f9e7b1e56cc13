//! How fast a link empties its queue.

use std::sync::Arc;

use crate::scenario::Trace;
use crate::time::Nanos;

/// How long `bytes` take at `rate` bytes per second, with the remainder of earlier divisions in
/// `carry`, so that nothing is lost to rounding. A rate of 0 counts as 1.
pub(crate) fn serialization(bytes: u32, rate: u64, carry: &mut u64) -> Nanos {
    let rate = u128::from(rate.max(1));
    let whole = u128::from(bytes) * 1_000_000_000 + u128::from(*carry);
    *carry = (whole % rate) as u64;
    Nanos(u64::try_from(whole / rate).unwrap_or(u64::MAX))
}

/// So many bytes per second.
#[derive(Debug)]
pub(super) struct Steady {
    rate: u64,
    carry: u64,
}

impl Steady {
    pub(super) const fn new(rate: u64) -> Self {
        Self { rate, carry: 0 }
    }

    pub(super) fn time_for(&mut self, bytes: u32) -> Nanos {
        serialization(bytes, self.rate, &mut self.carry)
    }
}

/// What an opportunity of a trace carries, in bytes. Source: Mahimahi, `mm-link(1)`.
const OPPORTUNITY: u32 = 1_504;

/// A trace: moments at which a packet's worth of bytes can go, again and again. An opportunity that
/// nothing waits for is lost.
#[derive(Debug)]
pub(super) struct Opportunities {
    trace: Arc<Trace>,
    /// The first that is neither over nor booked.
    next: u64,
}

impl Opportunities {
    pub(super) const fn new(trace: Arc<Trace>) -> Self {
        Self { trace, next: 0 }
    }

    fn time(&self, nth: u64) -> Option<Nanos> {
        let round = nth / self.trace.len();
        let within = usize::try_from(nth % self.trace.len()).ok()?;
        let base = self.trace.period().0.checked_mul(round)?;
        Some(Nanos(base) + *self.trace.times().get(within)?)
    }

    /// The next opportunity from `now` on.
    pub(super) fn book(&mut self, now: Nanos) -> Option<Nanos> {
        // One round early: the last opportunity of a round is at the beginning of the next.
        let round = (now.0 / self.trace.period().0.max(1)).saturating_sub(1);
        self.next = self.next.max(round.saturating_mul(self.trace.len()));
        loop {
            let time = self.time(self.next)?;
            if time >= now {
                return Some(time);
            }
            self.next += 1;
        }
    }

    /// The booked one has come: how many bytes may go.
    pub(super) const fn take(&mut self) -> u32 {
        self.next += 1;
        OPPORTUNITY
    }
}
