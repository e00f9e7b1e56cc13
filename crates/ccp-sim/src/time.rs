//! Virtual time.

use std::ops::{Add, AddAssign};

use ccp_types::{Micros, Timestamp};

/// A point in virtual time, or a span of it, in nanoseconds. A simulation starts at 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nanos(pub u64);

/// What [`Nanos::timestamp`] gives at the start: no algorithm shall take the first moment for "never".
const START: Timestamp = Timestamp(1_000_000);

impl Nanos {
    /// The start.
    pub const ZERO: Self = Self(0);
    /// The end of time.
    pub const MAX: Self = Self(u64::MAX);

    /// From microseconds, held at [`Nanos::MAX`].
    #[must_use]
    pub const fn from_micros(us: u64) -> Self {
        Self(us.saturating_mul(1_000))
    }

    /// From milliseconds, held at [`Nanos::MAX`].
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000_000))
    }

    /// From seconds, held at [`Nanos::MAX`].
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000_000))
    }

    /// The span since `earlier`, or none if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }

    /// In whole microseconds.
    #[must_use]
    pub const fn micros(self) -> Micros {
        Micros(self.0 / 1_000)
    }

    /// In seconds, for people.
    #[must_use]
    pub const fn as_secs(self) -> f64 {
        self.0 as f64 / 1e9
    }

    /// In milliseconds, for people.
    #[must_use]
    pub const fn as_millis(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// The same point of time as algorithms get to know it.
    #[must_use]
    pub const fn timestamp(self) -> Timestamp {
        Timestamp(START.0 + self.0 / 1_000)
    }

    /// The first point of time that algorithms know as `timestamp`.
    #[must_use]
    pub const fn of(timestamp: Timestamp) -> Self {
        Self::from_micros(timestamp.0.saturating_sub(START.0))
    }
}

impl Add for Nanos {
    type Output = Self;
    /// Saturates at the end of time.
    fn add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }
}

impl AddAssign for Nanos {
    fn add_assign(&mut self, span: Self) {
        *self = *self + span;
    }
}
