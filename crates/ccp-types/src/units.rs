//! Units of what congestion control computes with. Bytes and bytes per second inside;
//! packets, bits per second and milliseconds only where a person reads or writes.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident, $suffix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The smallest value.
            pub const ZERO: Self = Self(0);
            /// The largest value; in the datapath language, `+infinity`.
            pub const MAX: Self = Self(u64::MAX);

            /// The sum, held at [`Self::MAX`].
            #[must_use]
            pub const fn saturating_add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }

            /// The difference, held at zero.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!("{}", $suffix), self.0)
            }
        }

        impl Add for $name {
            type Output = Self;
            /// Saturates: no quantity here has a meaning beyond its largest value.
            fn add(self, other: Self) -> Self {
                self.saturating_add(other)
            }
        }

        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }

        impl Sub for $name {
            type Output = Self;
            /// Saturates at zero.
            fn sub(self, other: Self) -> Self {
                self.saturating_sub(other)
            }
        }
    };
}

quantity!(
    /// A number of bytes: a window, an amount acknowledged, a segment size.
    Bytes,
    " B"
);
quantity!(
    /// Bytes per second: a pacing rate, a delivery rate.
    Rate,
    " B/s"
);
quantity!(
    /// A span of time in microseconds: a round-trip time, a reporting interval.
    Micros,
    " us"
);

impl Bytes {
    /// `count` packets of `mss` bytes each, held at [`Bytes::MAX`].
    #[must_use]
    pub const fn from_packets(count: u64, mss: u32) -> Self {
        Self(count.saturating_mul(mss as u64))
    }

    /// How many whole packets of `mss` bytes fit; an `mss` of 0 counts as 1.
    #[must_use]
    pub const fn packets(self, mss: u32) -> u64 {
        self.0 / if mss == 0 { 1 } else { mss as u64 }
    }
}

impl Rate {
    /// From megabits (10⁶ bits) per second, held at [`Rate::MAX`].
    #[must_use]
    pub const fn from_mbit(mbit: u64) -> Self {
        Self(mbit.saturating_mul(125_000))
    }

    /// From a fractional number of megabits per second. Negative and not-a-number give 0.
    #[must_use]
    pub fn from_mbit_f64(mbit: f64) -> Self {
        Self((mbit * 125_000.0) as u64)
    }

    /// In megabits per second, for people.
    #[must_use]
    pub fn as_mbit(self) -> f64 {
        self.0 as f64 / 125_000.0
    }

    /// What this rate carries in `span`, held at [`Bytes::MAX`].
    #[must_use]
    pub const fn over(self, span: Micros) -> Bytes {
        let bytes = self.0 as u128 * span.0 as u128 / 1_000_000;
        Bytes(if bytes > u64::MAX as u128 {
            u64::MAX
        } else {
            bytes as u64
        })
    }
}

impl Micros {
    /// From milliseconds, held at [`Micros::MAX`].
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms.saturating_mul(1_000))
    }

    /// From seconds, held at [`Micros::MAX`].
    #[must_use]
    pub const fn from_secs(s: u64) -> Self {
        Self(s.saturating_mul(1_000_000))
    }
}

#[cfg(test)]
mod tests {
    use super::{Bytes, Micros, Rate};

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        assert_eq!(Bytes::MAX + Bytes(1), Bytes::MAX);
        assert_eq!(Bytes(3) - Bytes(5), Bytes::ZERO);
        assert_eq!(Bytes::from_packets(u64::MAX, 1448), Bytes::MAX);
        assert_eq!(Rate::MAX.over(Micros::MAX), Bytes::MAX);
    }

    #[test]
    fn conversions_meet_people_half_way() {
        assert_eq!(Rate::from_mbit(50), Rate(6_250_000));
        assert_eq!(Rate::from_mbit_f64(0.5), Rate(62_500));
        assert_eq!(Rate::from_mbit_f64(f64::NAN), Rate::ZERO);
        assert_eq!(
            Rate::from_mbit(50).over(Micros::from_millis(20)),
            Bytes(125_000)
        );
        assert_eq!(Bytes(14_480).packets(1448), 10);
        assert_eq!(Bytes(10).packets(0), 10);
    }
}
