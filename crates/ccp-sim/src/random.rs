//! Chance, from a seed.

use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::Rng as _;

/// A generator with the same numbers on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Random(Pcg64Mcg);

impl Random {
    /// The generator number `stream` of the simulation with the seed `seed`. Each part of a simulation
    /// has its own, so that a change of one does not shift the luck of the others.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        // Seeds that people choose differ in a few low bits; spread them over the whole state.
        let mut state = u128::from(seed) << 64 | u128::from(stream);
        state = state.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        state ^= state >> 67;
        Self(Pcg64Mcg::new(state | 1))
    }

    /// A whole number from 0 to `most`, all equally likely but for one part in 2⁶⁴.
    pub(crate) fn up_to(&mut self, most: u64) -> u64 {
        let wide = u128::from(self.0.next_u64()) * (u128::from(most) + 1);
        (wide >> 64) as u64
    }

    /// Whether something of this chance happens.
    pub(crate) fn happens(&mut self, chance: Chance) -> bool {
        // Without drawing, so that a chance of none is the same as none given.
        chance.0 > 0 && u128::from(self.0.next_u64()) < chance.0
    }
}

/// A probability, exactly, in parts of 2⁶⁴.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chance(u128);

impl Chance {
    /// Never.
    pub const NEVER: Self = Self(0);
    /// Always.
    pub const ALWAYS: Self = Self(1 << 64);

    /// From a number between 0 and 1; what is outside counts as the nearer of the two.
    #[must_use]
    pub fn new(probability: f64) -> Self {
        // Multiplying by a power of two is exact; so is this on every machine.
        Self((probability.clamp(0.0, 1.0) * (1u128 << 64) as f64) as u128)
    }
}

#[cfg(test)]
mod tests {
    use super::{Chance, Random};

    #[test]
    fn numbers_are_the_same_everywhere() {
        let mut random = Random::new(1, 0);
        let drawn: Vec<u64> = (0..4).map(|_| random.up_to(999_999)).collect();
        insta::assert_debug_snapshot!(drawn);
    }

    #[test]
    fn seeds_and_streams_differ_and_chances_hold() {
        let mut several: Vec<u64> = (0..4)
            .flat_map(|seed| (0..4).map(move |stream| Random::new(seed, stream).up_to(u64::MAX)))
            .collect();
        several.sort_unstable();
        several.dedup();
        assert_eq!(several.len(), 16);

        let mut random = Random::new(7, 7);
        let mut of = |p| {
            (0..100_000)
                .filter(|_| random.happens(Chance::new(p)))
                .count()
        };
        assert_eq!((of(0.0), of(1.0)), (0, 100_000));
        assert!((9_500..10_500).contains(&of(0.1)));
    }
}
