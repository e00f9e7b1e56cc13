//! The registers of one flow.

/// One flat array, of the least size that its program fits: within a size, a place is made to fit by
/// masking, which the compiler knows to be within the array.
#[derive(Clone, Debug)]
pub(crate) enum File {
    R32(Box<[u64; 32]>),
    R64(Box<[u64; 64]>),
    R128(Box<[u64; 128]>),
    R256(Box<[u64; 256]>),
    /// For programs with more than 256 places: any length.
    Wide(Box<[u64]>),
}

impl File {
    /// Registers with these values; further ones, up to the size, are 0.
    pub(super) fn new(values: &[u64]) -> Self {
        fn sized<const N: usize>(values: &[u64]) -> Box<[u64; N]> {
            let mut file = Box::new([0; N]);
            for (place, value) in file.iter_mut().zip(values) {
                *place = *value;
            }
            file
        }
        match values.len() {
            0..=32 => Self::R32(sized(values)),
            33..=64 => Self::R64(sized(values)),
            65..=128 => Self::R128(sized(values)),
            129..=256 => Self::R256(sized(values)),
            _ => Self::Wide(values.into()),
        }
    }

    pub(crate) fn all(&self) -> &[u64] {
        match self {
            Self::R32(file) => &file[..],
            Self::R64(file) => &file[..],
            Self::R128(file) => &file[..],
            Self::R256(file) => &file[..],
            Self::Wide(file) => file,
        }
    }

    pub(crate) fn all_mut(&mut self) -> &mut [u64] {
        match self {
            Self::R32(file) => &mut file[..],
            Self::R64(file) => &mut file[..],
            Self::R128(file) => &mut file[..],
            Self::R256(file) => &mut file[..],
            Self::Wide(file) => file,
        }
    }

    /// The register at `place`; 0 if there is none.
    #[inline]
    pub(crate) fn get(&self, place: usize) -> u64 {
        self.all().get(place).copied().unwrap_or(0)
    }

    /// Sets the register at `place`, if there is one.
    #[inline]
    pub(crate) fn set(&mut self, place: usize, value: u64) {
        if let Some(register) = self.all_mut().get_mut(place) {
            *register = value;
        }
    }
}

/// Registers as operations reach them.
pub(super) trait Registers {
    fn get(&self, place: usize) -> u64;
    fn set(&mut self, place: usize, value: u64);
}

macro_rules! masked {
    ($($n:literal)*) => {$(
        impl Registers for [u64; $n] {
            #[inline(always)]
            #[allow(clippy::indexing_slicing, reason = "the mask keeps it within the array")]
            fn get(&self, place: usize) -> u64 {
                self[place & ($n - 1)]
            }
            #[inline(always)]
            #[allow(clippy::indexing_slicing, reason = "the mask keeps it within the array")]
            fn set(&mut self, place: usize, value: u64) {
                self[place & ($n - 1)] = value;
            }
        }
    )*};
}
masked!(32 64 128 256);

impl Registers for [u64] {
    #[inline(always)]
    fn get(&self, place: usize) -> u64 {
        <[u64]>::get(self, place).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn set(&mut self, place: usize, value: u64) {
        if let Some(register) = self.get_mut(place) {
            *register = value;
        }
    }
}
