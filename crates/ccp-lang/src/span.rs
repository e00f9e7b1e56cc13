//! Places in the source text.

use std::ops::Range;

use crate::scan::BYTE_ORDER_MARK;

/// A range of bytes of the source, `start` included, `end` not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    pub(crate) fn new(start: usize, end: usize) -> Self {
        // Sources are at most `scan::MAX_SOURCE` bytes long.
        let narrow = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            start: narrow(start),
            end: narrow(end),
        }
    }

    /// Where it begins in `source`.
    #[must_use]
    pub fn position(self, source: &str) -> Position {
        Lines::new(source).position(self.start)
    }

    /// From the beginning of `self` to the end of `last`.
    pub(crate) fn to(self, last: Self) -> Self {
        Self {
            start: self.start,
            end: last.end.max(self.start),
        }
    }
}

/// A line and a column as a person counts them, both from 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

/// Where each line of a source begins.
pub(crate) struct Lines<'s> {
    source: &'s str,
    starts: Vec<usize>,
}

impl<'s> Lines<'s> {
    pub(crate) fn new(source: &'s str) -> Self {
        let after_breaks = source.bytes().enumerate();
        // Editors do not count the mark.
        let mark = source.starts_with(BYTE_ORDER_MARK);
        let first = if mark { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        let starts = std::iter::once(first)
            .chain(after_breaks.filter_map(|(at, byte)| (byte == b'\n').then_some(at + 1)))
            .collect();
        Self { source, starts }
    }

    /// The position of the byte at `offset`; the end of the source if it lies beyond.
    pub(crate) fn position(&self, offset: u32) -> Position {
        let mut offset = (offset as usize).min(self.source.len());
        while !self.source.is_char_boundary(offset) {
            offset -= 1;
        }
        let line = self.starts.partition_point(|start| *start <= offset);
        let line = line.max(1);
        let start = self.start(line);
        let before = self.source.get(start..offset).unwrap_or_default();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position {
            line: count(line),
            column: count(before.chars().count() + 1),
        }
    }

    /// The bytes of a line, counted from 1, without its end.
    pub(crate) fn bounds(&self, line: u32) -> Range<usize> {
        let start = self.start(line as usize);
        let rest = self.source.get(start..).unwrap_or_default();
        let text = rest.split('\n').next().unwrap_or_default();
        let text = text.strip_suffix('\r').unwrap_or(text);
        start..start + text.len()
    }

    fn start(&self, line: usize) -> usize {
        let known = line.checked_sub(1).and_then(|l| self.starts.get(l));
        known.copied().unwrap_or(self.source.len())
    }
}
