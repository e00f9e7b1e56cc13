//! The only clock of the daemon.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ccp_core::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// Gives the time since the daemon started, which never goes back and does not stop while the machine
/// is busy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// The same in nanoseconds of the system's clock for such times: cheaper to read.
    start_ns: u64,
    /// What the system's clock showed then, in microseconds since 1970 (UTC).
    started_at_us: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            start_ns: monotonic_ns(),
            started_at_us: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .ok()
                .and_then(|since| u64::try_from(since.as_micros()).ok())
                .unwrap_or(0),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        Timestamp(monotonic_ns().saturating_sub(self.start_ns) / 1_000)
    }

    /// `time` in microseconds since 1970 (UTC), as if nobody had set the system's clock since the start.
    pub(crate) const fn wall_us(&self, time: Timestamp) -> u64 {
        self.started_at_us.saturating_add(time.0)
    }

    /// The time since the start in nanoseconds, and never 0.
    pub(crate) fn nanos(&self) -> u64 {
        monotonic_ns().saturating_sub(self.start_ns).max(1)
    }

    /// When it will be `time`; `None` if that is out of reach.
    pub(crate) fn instant(&self, time: Timestamp) -> Option<tokio::time::Instant> {
        let instant = self.start.checked_add(Duration::from_micros(time.0))?;
        Some(tokio::time::Instant::from_std(instant))
    }
}

fn monotonic_ns() -> u64 {
    // Every Linux has this clock.
    let Ok(now) = clock_gettime(ClockId::CLOCK_MONOTONIC) else {
        return 0;
    };
    // Neither is ever negative, and centuries fit.
    (now.tv_sec() as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(now.tv_nsec() as u64)
}
