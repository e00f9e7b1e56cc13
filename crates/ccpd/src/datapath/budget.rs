//! How much of what makes no sense one datapath may send.

use std::time::{Duration, Instant};

/// Each time it is whole again.
const PERIOD: Duration = Duration::from_secs(1);

/// So much per second, and no more.
#[derive(Debug)]
pub(super) struct Budget {
    whole: u32,
    left: u32,
    since: Instant,
}

impl Budget {
    pub(super) const fn new(whole: u32, now: Instant) -> Self {
        Self {
            whole,
            left: whole,
            since: now,
        }
    }

    /// Spends `cost`; returns whether there was so much.
    pub(super) fn spend(&mut self, cost: u32, now: Instant) -> bool {
        if now.duration_since(self.since) >= PERIOD {
            self.left = self.whole;
            self.since = now;
        }
        let left = self.left.checked_sub(cost);
        self.left = left.unwrap_or(0);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Budget;

    #[test]
    fn a_second_brings_it_back() {
        let start = Instant::now();
        let mut budget = Budget::new(100, start);
        assert!(budget.spend(60, start) && budget.spend(40, start));
        assert!(!budget.spend(1, start + Duration::from_millis(999)));
        let later = start + Duration::from_secs(1);
        assert!(!budget.spend(101, later));
        assert!(!budget.spend(1, later));
        assert!(budget.spend(100, later + Duration::from_secs(60)));
    }
}
