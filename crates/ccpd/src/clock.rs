//! The only clock of the daemon.

use std::time::{Duration, Instant};

use ccp_core::Timestamp;

/// Gives the time since the daemon started, which never goes back and does not stop while the machine
/// is busy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    pub(crate) fn now(&self) -> Timestamp {
        let micros = self.start.elapsed().as_micros();
        Timestamp(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// When it will be `time`; `None` if that is out of reach.
    pub(crate) fn instant(&self, time: Timestamp) -> Option<tokio::time::Instant> {
        let instant = self.start.checked_add(Duration::from_micros(time.0))?;
        Some(tokio::time::Instant::from_std(instant))
    }
}
