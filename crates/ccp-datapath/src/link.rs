//! What every connection looks at, at every acknowledgement: is the daemon there, and is it the one
//! that knows the flow?

use ccp_types::{Micros, Timestamp};

use crate::sync::{AtomicU32, AtomicU64, Ordering};

/// The state of the way to the daemon. Written seldom, read by all threads without a lock.
#[derive(Debug)]
pub(crate) struct Link {
    /// Goes up when flows have to be announced again; 0 until a daemon was heard of.
    epoch: AtomicU32,
    /// Until when the daemon counts as alive; all ones without a watchdog, 0 if it is gone.
    alive_until: AtomicU64,
    /// For how long reports of a flow may go unanswered; 0 for ever.
    unanswered: AtomicU64,
    /// When the next announcement may go out, if none is saved up.
    next_announcement: AtomicU64,
    between: u64,
    saved_up: u64,
}

impl Link {
    pub(crate) fn new(announcements_per_second: u32) -> Self {
        let between = 1_000_000 / u64::from(announcements_per_second.clamp(1, 1_000_000));
        Self {
            epoch: AtomicU32::new(0),
            alive_until: AtomicU64::new(0),
            unanswered: AtomicU64::new(0),
            next_announcement: AtomicU64::new(0),
            between,
            // A tenth of a second's worth at once.
            saved_up: 100_000,
        }
    }

    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Ordering::Relaxed)
    }

    #[inline]
    pub(crate) fn alive_until(&self) -> Timestamp {
        Timestamp(self.alive_until.load(Ordering::Relaxed))
    }

    /// Whether a daemon is there and alive.
    pub(crate) fn is_alive(&self, now: Timestamp) -> bool {
        self.epoch() != 0 && now <= self.alive_until()
    }

    pub(crate) fn set_alive_until(&self, until: Timestamp) {
        self.alive_until.store(until.0, Ordering::Relaxed);
    }

    /// Nobody takes frames.
    pub(crate) fn gone(&self) {
        self.alive_until.store(0, Ordering::Relaxed);
    }

    /// Every flow is to be announced again.
    pub(crate) fn announce_all(&self) {
        let next = |epoch: u32| Some(epoch.wrapping_add(1).max(1));
        let order = Ordering::Relaxed;
        // It never refuses.
        let _ = self.epoch.fetch_update(order, order, next);
    }

    pub(crate) fn unanswered(&self) -> Micros {
        Micros(self.unanswered.load(Ordering::Relaxed))
    }

    pub(crate) fn set_unanswered(&self, limit: Micros) {
        self.unanswered.store(limit.0, Ordering::Relaxed);
    }

    /// Whether a flow may be announced again now: so many per second, over all threads.
    pub(crate) fn may_announce(&self, now: Timestamp) -> bool {
        let next = |last: u64| {
            let next = last.max(now.0).saturating_add(self.between);
            (next - now.0 <= self.between + self.saved_up).then_some(next)
        };
        let order = Ordering::Relaxed;
        self.next_announcement
            .fetch_update(order, order, next)
            .is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::{Link, Timestamp};

    #[test]
    fn announcements_are_so_many_per_second() {
        let link = Link::new(1_000);
        let start = 5_000_000;
        let allowed = |from: u64, to: u64| {
            let all = (from..to).step_by(10);
            all.filter(|now| link.may_announce(Timestamp(*now))).count()
        };
        let first = allowed(start, start + 1_000_000);
        assert!((1_090..=1_102).contains(&first), "{first}");
        let second = allowed(start + 1_000_000, start + 2_000_000);
        assert!((998..=1_002).contains(&second), "{second}");
    }
}
