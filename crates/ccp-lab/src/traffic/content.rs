//! A deterministic pseudo-random stream: the sender produces it, the receiver knows what must come.

/// A position in the stream of a seed. Byte `n` depends only on the seed and `n`, so a lost, doubled,
/// moved or altered byte is seen at its place.
#[derive(Debug, Clone)]
pub(super) struct Content {
    seed: u64,
    position: u64,
    scratch: Vec<u8>,
}

/// The first byte that is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) offset: u64,
    pub(super) expected: u8,
    pub(super) got: u8,
}

impl Content {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            seed,
            position: 0,
            scratch: Vec::new(),
        }
    }

    /// Writes the next bytes of the stream.
    pub(super) fn fill(&mut self, buffer: &mut [u8]) {
        let mut index = self.position / 8;
        let skip = (self.position % 8) as usize;
        self.position += buffer.len() as u64;
        let mut rest = buffer;
        if skip != 0 {
            let bytes = self.word(index);
            let n = rest.len().min(8 - skip);
            let (head, tail) = rest.split_at_mut(n);
            head.copy_from_slice(&bytes[skip..skip + n]);
            rest = tail;
            index += 1;
        }
        let mut words = rest.chunks_exact_mut(8);
        for chunk in &mut words {
            chunk.copy_from_slice(&self.word(index));
            index += 1;
        }
        let last = words.into_remainder();
        last.copy_from_slice(&self.word(index)[..last.len()]);
    }

    /// Compares the next bytes of the stream with `got`.
    pub(super) fn check(&mut self, got: &[u8]) -> Result<(), Mismatch> {
        let start = self.position;
        let mut expected = std::mem::take(&mut self.scratch);
        expected.resize(got.len().max(expected.len()), 0);
        self.fill(&mut expected[..got.len()]);
        let same = expected[..got.len()] == *got;
        let mismatch = (!same)
            .then(|| expected.iter().zip(got).position(|(a, b)| a != b))
            .flatten()
            .map(|at| Mismatch {
                offset: start + at as u64,
                expected: expected[at],
                got: got[at],
            });
        self.scratch = expected;
        mismatch.map_or(Ok(()), Err)
    }

    /// SplitMix64 (Steele, Lea, Flood 2014) at position `index`.
    fn word(&self, index: u64) -> [u8; 8] {
        let mut z = self
            .seed
            .wrapping_add(index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_length_give_one_stream() {
        let mut whole = vec![0; 4096];
        Content::new(7).fill(&mut whole);
        for piece in [1, 3, 7, 8, 9, 64, 1000] {
            let mut stream = Content::new(7);
            let mut got = Vec::new();
            while got.len() < whole.len() {
                let mut part = vec![0; piece.min(whole.len() - got.len())];
                stream.fill(&mut part);
                got.extend(part);
            }
            assert!(got == whole, "pieces of {piece}");
        }
        assert_ne!(whole[..2048], whole[2048..]);
    }

    #[test]
    fn the_first_wrong_byte_is_named() {
        let mut data = vec![0; 1000];
        Content::new(1).fill(&mut data);
        let mut receiver = Content::new(1);
        assert_eq!(receiver.check(&data[..333]), Ok(()));
        let good = data[777];
        data[777] ^= 0x10;
        data[900] ^= 1;
        let mismatch = Mismatch {
            offset: 777,
            expected: good,
            got: good ^ 0x10,
        };
        assert_eq!(receiver.check(&data[333..]), Err(mismatch));
    }

    #[test]
    fn a_missing_byte_and_another_seed_are_seen() {
        let mut data = vec![0; 100];
        Content::new(1).fill(&mut data);
        assert!(Content::new(1).check(&data[1..]).is_err());
        assert!(Content::new(2).check(&data).is_err());
    }
}
