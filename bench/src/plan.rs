//! How long and how often everything is measured.

use std::path::PathBuf;
use std::time::Duration;

/// How long and how often everything is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// A smoke run: everything once and briefly. Its numbers mean nothing.
    pub(crate) quick: bool,
    /// The daemon's program.
    pub(crate) ccpd: PathBuf,
}

impl Plan {
    /// How often to measure what a real run measures `times` times.
    pub(crate) const fn times(&self, times: usize) -> usize {
        if self.quick { 1 } else { times }
    }

    /// How long to measure what a real run measures for `time`.
    pub(crate) fn time(&self, time: Duration) -> Duration {
        if self.quick {
            time.min(Duration::from_millis(200))
        } else {
            time
        }
    }
}
