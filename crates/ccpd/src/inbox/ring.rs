//! Reports one behind the other in a ring of words.

use ccp_core::{Delivery, RawReport};

/// The ring holds at most so many words of eight bytes: 512 reports without a field, or nine with as
/// many fields as there may be.
const MOST_WORDS: usize = 1024;
/// It starts with so many, and doubles when they are not enough: many flows report little, and are answered
/// before they report again.
const FIRST_WORDS: usize = 8;
/// Before the fields of each report: their number and the program; generation and merged count.
const HEAD_WORDS: usize = 2;

/// What is known of a report besides its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) program_uid: u32,
    pub(crate) generation: u32,
    pub(crate) merged: u32,
}

impl Head {
    /// Of a report on its way.
    pub(crate) fn of(report: &Delivery<'_>) -> Self {
        Self {
            program_uid: report.measure.program_uid,
            generation: report.generation,
            merged: u32::try_from(report.merged).unwrap_or(u32::MAX),
        }
    }

    /// The report with its `fields`.
    pub(crate) const fn with<'a>(&self, fields: &'a [u64]) -> RawReport<'a> {
        RawReport {
            program_uid: self.program_uid,
            generation: self.generation,
            merged: self.merged as u64,
            fields,
        }
    }
}

/// A ring of reports.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Its length is 0 or a power of two.
    words: Vec<u64>,
    /// Where the oldest report begins. Goes on for ever; the place is its remainder.
    first: usize,
    /// How many words are in use.
    used: usize,
}

impl Ring {
    /// Takes a report; returns how many had to go for it.
    pub(super) fn push(&mut self, head: Head, fields: impl ExactSizeIterator<Item = u64>) -> u64 {
        let len = fields.len();
        let needed = HEAD_WORDS + len;
        if needed > MOST_WORDS {
            // No datapath's report is so long: what came in a frame was bounded there.
            return 1;
        }
        while self.words.len() - self.used < needed && self.words.len() < MOST_WORDS {
            self.grow();
        }
        let mut gone = 0;
        while self.words.len() - self.used < needed {
            self.drop_first();
            gone += 1;
        }
        self.put(len as u64 | u64::from(head.program_uid) << 32);
        self.put(u64::from(head.generation) | u64::from(head.merged) << 32);
        // Exactly as many words as were announced, whatever the iterator does.
        for field in fields.chain(std::iter::repeat(0)).take(len) {
            self.put(field);
        }
        gone
    }

    /// Takes out the oldest report, its fields into `fields`.
    pub(super) fn pop(&mut self, fields: &mut Vec<u64>) -> Option<Head> {
        if self.used == 0 {
            return None;
        }
        let (len, head) = self.take_head();
        fields.clear();
        for _ in 0..len {
            let field = self.take();
            fields.push(field);
        }
        Some(head)
    }

    pub(super) const fn clear(&mut self) {
        self.used = 0;
    }

    fn drop_first(&mut self) {
        let (len, _) = self.take_head();
        self.first = self.first.wrapping_add(len);
        self.used -= len;
    }

    fn take_head(&mut self) -> (usize, Head) {
        let (one, two) = (self.take(), self.take());
        let head = Head {
            program_uid: (one >> 32) as u32,
            generation: two as u32,
            merged: (two >> 32) as u32,
        };
        (one as u32 as usize, head)
    }

    fn put(&mut self, word: u64) {
        let place = self.place(self.used);
        self.words[place] = word;
        self.used += 1;
    }

    fn take(&mut self) -> u64 {
        let word = self.words[self.place(0)];
        self.first = self.first.wrapping_add(1);
        self.used -= 1;
        word
    }

    /// The place of the word `after` the first.
    const fn place(&self, after: usize) -> usize {
        self.first.wrapping_add(after) & (self.words.len() - 1)
    }

    fn grow(&mut self) {
        let len = (self.words.len() * 2).clamp(FIRST_WORDS, MOST_WORDS);
        let mut words = Vec::with_capacity(len);
        words.extend((0..self.used).map(|after| self.words[self.place(after)]));
        words.resize(len, 0);
        self.words = words;
        self.first = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::{HEAD_WORDS, Head, MOST_WORDS, Ring};

    fn push(ring: &mut Ring, uid: u32, fields: &[u64]) -> u64 {
        let head = Head {
            program_uid: uid,
            generation: uid.wrapping_add(1),
            merged: uid.wrapping_add(2),
        };
        ring.push(head, fields.iter().copied())
    }

    #[test]
    fn what_goes_in_comes_out() {
        let mut ring = Ring::default();
        let mut fields = Vec::new();
        assert_eq!(ring.pop(&mut fields), None);
        assert_eq!(push(&mut ring, u32::MAX - 2, &[1, u64::MAX, 3]), 0);
        let head = ring.pop(&mut fields).unwrap();
        let out = head.with(&fields);
        assert_eq!(out.program_uid, u32::MAX - 2);
        assert_eq!(out.generation, u32::MAX - 1);
        assert_eq!(out.merged, u64::from(u32::MAX));
        assert_eq!(out.fields, [1, u64::MAX, 3]);
        assert_eq!(ring.pop(&mut fields), None);
    }

    #[test]
    fn a_full_ring_loses_the_oldest_and_counts_them() {
        let mut ring = Ring::default();
        let fields = [7; 30];
        let fit = (MOST_WORDS / (HEAD_WORDS + fields.len())) as u32;
        for uid in 0..fit {
            assert_eq!(push(&mut ring, uid, &fields), 0);
        }
        assert_eq!(push(&mut ring, fit, &fields), 1);
        // Four small ones take the place of another old one.
        assert_eq!(push(&mut ring, fit + 1, &[1; 6]), 1);
        assert_eq!(push(&mut ring, fit + 2, &[1; 6]), 0);
        let mut out = Vec::new();
        let first = ring.pop(&mut out).unwrap();
        assert_eq!((first.with(&[]).program_uid, &out[..]), (2, &fields[..]));
    }

    #[test]
    fn a_report_longer_than_the_ring_is_counted_and_changes_nothing() {
        let mut ring = Ring::default();
        push(&mut ring, 1, &[5]);
        assert_eq!(push(&mut ring, 2, &[0; MOST_WORDS]), 1);
        let mut out = Vec::new();
        assert_eq!(ring.pop(&mut out).unwrap().with(&[]).program_uid, 1);
    }

    /// Against a plain queue, over many sizes and any interleaving of pushes and pops.
    #[test]
    fn it_is_a_queue_of_bounded_size() {
        let mut ring = Ring::default();
        let mut model: VecDeque<(u32, Vec<u64>)> = VecDeque::new();
        let mut random = 1_u64;
        let mut next = || {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            random >> 33
        };
        for uid in 0..20_000 {
            let fields: Vec<u64> = (0..next() % 111).map(|_| next()).collect();
            let gone = push(&mut ring, uid, &fields);
            model.push_back((uid, fields));
            for _ in 0..gone {
                model.pop_front();
            }
            let words: usize = model.iter().map(|(_, f)| HEAD_WORDS + f.len()).sum();
            assert!(words <= MOST_WORDS);
            let mut out = Vec::new();
            for _ in 0..next() % 3 {
                let popped = ring
                    .pop(&mut out)
                    .map(|h| (h.with(&[]).program_uid, out.clone()));
                assert_eq!(popped, model.pop_front());
            }
        }
    }

    #[test]
    fn it_allocates_nothing_once_it_has_its_size() {
        let mut ring = Ring::default();
        let mut out = Vec::new();
        for _ in 0..100 {
            push(&mut ring, 1, &[0; 110]);
        }
        let (words, capacity) = (ring.words.as_ptr(), ring.words.capacity());
        for _ in 0..1_000 {
            push(&mut ring, 1, &[0; 110]);
            ring.pop(&mut out);
        }
        assert_eq!(
            (ring.words.as_ptr(), ring.words.capacity()),
            (words, capacity)
        );
    }
}
