//! Keeps a peer from filling the log.

use std::time::{Duration, Instant};

/// So many lines at once...
const BURST: u32 = 20;
/// ...and then one more after each such time.
const REFILL: Duration = Duration::from_secs(1);

/// Allows a burst of lines, then one per second; counts what it swallowed.
#[derive(Debug)]
pub(super) struct LogLimit {
    left: u32,
    refilled: Instant,
    swallowed: u64,
}

/// A line may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// How many lines were swallowed since the last, if any.
    pub(super) swallowed: Option<u64>,
}

impl LogLimit {
    pub(super) const fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            refilled: now,
            swallowed: 0,
        }
    }

    /// Whether a line may be written now.
    pub(super) fn line(&mut self, now: Instant) -> Option<Line> {
        let due = now.duration_since(self.refilled).as_nanos() / REFILL.as_nanos();
        if due > 0 {
            let due = u32::try_from(due).unwrap_or(BURST);
            self.left = self.left.saturating_add(due).min(BURST);
            self.refilled = now;
        }
        if self.left == 0 {
            self.swallowed += 1;
            return None;
        }
        self.left -= 1;
        let swallowed = std::mem::take(&mut self.swallowed);
        Some(Line {
            swallowed: (swallowed > 0).then_some(swallowed),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{BURST, LogLimit};

    #[test]
    fn a_flood_becomes_one_line_per_second() {
        let start = Instant::now();
        let mut limit = LogLimit::new(start);
        let written = (0..1_000).filter(|_| limit.line(start).is_some()).count();
        assert_eq!(written, BURST as usize);
        assert_eq!(limit.line(start + Duration::from_millis(999)), None);
        let swallowed = 1_000 - u64::from(BURST) + 1;
        let line = limit.line(start + Duration::from_secs(1)).unwrap();
        assert_eq!(line.swallowed, Some(swallowed));
        assert_eq!(limit.line(start + Duration::from_secs(1)), None);
        // Rest brings the burst back, and no more than that.
        let later = start + Duration::from_secs(3_600);
        let written = (0..1_000).filter(|_| limit.line(later).is_some()).count();
        assert_eq!(written, BURST as usize);
    }
}
