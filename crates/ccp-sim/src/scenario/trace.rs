//! Traces of links whose rate changes, in Mahimahi's format.

use thiserror::Error;

use crate::time::Nanos;

/// Moments at which a packet's worth of bytes (1,504) can go; after the last they begin anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    times: Vec<Nanos>,
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TraceError {
    /// A line is no number.
    #[error("line {line}: must be a whole number of milliseconds from 0 to 86400000")]
    NotANumber {
        /// Which, from 1.
        line: usize,
    },
    /// A line is earlier than the one before.
    #[error("line {line}: must not be earlier than the line before")]
    Backwards {
        /// Which, from 1.
        line: usize,
    },
    /// There is no moment after 0.
    #[error("must have a line that is not 0: the last line is how long the trace lasts")]
    Empty,
}

/// The latest moment of a trace: a day, in milliseconds.
const LATEST_MS: u64 = 86_400_000;

impl Trace {
    /// Reads a trace: one line per opportunity, its time in milliseconds.
    ///
    /// # Errors
    /// If a line is no such time or earlier than the one before, or all are 0.
    pub fn parse(text: &str) -> Result<Self, TraceError> {
        let mut times = Vec::new();
        let mut last = 0;
        for (line, written) in (1..).zip(text.lines()) {
            let written = written.trim();
            if written.is_empty() {
                continue;
            }
            let ms = written.parse().ok().filter(|ms| *ms <= LATEST_MS);
            let ms: u64 = ms.ok_or(TraceError::NotANumber { line })?;
            if ms < last {
                return Err(TraceError::Backwards { line });
            }
            last = ms;
            times.push(Nanos::from_millis(ms));
        }
        if last == 0 {
            return Err(TraceError::Empty);
        }
        Ok(Self { times })
    }

    pub(crate) fn times(&self) -> &[Nanos] {
        &self.times
    }

    pub(crate) fn len(&self) -> u64 {
        self.times.len() as u64
    }

    /// How long it lasts.
    #[must_use]
    pub fn period(&self) -> Nanos {
        self.times.last().copied().unwrap_or(Nanos(1))
    }

    /// What it carries on average, in bytes per second.
    #[must_use]
    pub fn average(&self) -> u64 {
        let bytes = u128::from(self.len()) * 1_504 * 1_000_000_000;
        (bytes / u128::from(self.period().0)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::{Trace, TraceError};

    #[test]
    fn traces_are_milliseconds_that_do_not_go_back() {
        let trace = Trace::parse("0\n5\n5\n10\n").unwrap();
        assert_eq!(trace.len(), 4);
        assert_eq!(trace.average(), 601_600);
        let error = |text| Trace::parse(text).unwrap_err();
        assert_eq!(error("1\nx\n"), TraceError::NotANumber { line: 2 });
        assert_eq!(error("86400001"), TraceError::NotANumber { line: 1 });
        assert_eq!(error("-1"), TraceError::NotANumber { line: 1 });
        assert_eq!(error("1\n\n3\n2"), TraceError::Backwards { line: 4 });
        assert_eq!(error(""), TraceError::Empty);
        assert_eq!(error("0\n0\n"), TraceError::Empty);
    }
}
