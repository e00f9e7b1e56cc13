//! What has been sent and not yet acknowledged in sequence.

use std::collections::VecDeque;

use crate::time::Nanos;

/// A segment that is outstanding.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) len: u32,
    pub(super) sacked: bool,
    pub(super) lost: bool,
    /// It was sent again after it was taken for lost, and that is on its way.
    pub(super) resent: bool,
    /// It was ever sent again: its acknowledgement says nothing of the round-trip time.
    pub(super) ever_resent: bool,
    pub(super) app_limited: bool,
    /// When it was last sent.
    pub(super) sent: Nanos,
    /// How much had been delivered then, when the last of that was, and when that had been sent.
    pub(super) delivered: u64,
    pub(super) delivered_at: Nanos,
    pub(super) first_sent: Nanos,
}

/// All of them, in order, and how many are in which state.
#[derive(Debug, Default)]
pub(super) struct Board {
    segments: VecDeque<Segment>,
    /// The number of the first.
    una: u64,
    sacked: u32,
    lost: u32,
    resent: u32,
    /// One more than the highest that was acknowledged selectively.
    highest: u64,
    /// No segment before this one waits to be sent again.
    hint: u64,
}

impl Board {
    pub(super) const fn una(&self) -> u64 {
        self.una
    }

    pub(super) fn next(&self) -> u64 {
        self.una + self.segments.len() as u64
    }

    pub(super) const fn highest(&self) -> u64 {
        self.highest
    }

    pub(super) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Segments outstanding, whatever became of them.
    pub(super) fn out(&self) -> u32 {
        u32::try_from(self.segments.len()).unwrap_or(u32::MAX)
    }

    pub(super) const fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Segments that are taken to be on their way. Source: RFC 6675, section 4.
    pub(super) fn in_flight(&self) -> u32 {
        (self.out() + self.resent).saturating_sub(self.sacked + self.lost)
    }

    pub(super) const fn waits_to_be_resent(&self) -> bool {
        self.lost > self.resent
    }

    pub(super) fn first(&self) -> Option<&Segment> {
        self.segments.front()
    }

    pub(super) fn push(&mut self, segment: Segment) {
        self.segments.push_back(segment);
    }

    fn segment(&mut self, seq: u64) -> Option<&mut Segment> {
        let index = usize::try_from(seq.checked_sub(self.una)?).ok()?;
        self.segments.get_mut(index)
    }

    /// The first segment is acknowledged. Returns it as it was.
    pub(super) fn pop(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        self.una += 1;
        self.sacked -= u32::from(segment.sacked);
        self.lost -= u32::from(segment.lost);
        self.resent -= u32::from(segment.resent);
        Some(segment)
    }

    /// A segment is acknowledged selectively. Returns it as it was, if that is new.
    pub(super) fn sack(&mut self, seq: u64) -> Option<Segment> {
        let segment = self.segment(seq).filter(|segment| !segment.sacked)?;
        let before = *segment;
        (segment.sacked, segment.lost, segment.resent) = (true, false, false);
        self.sacked += 1;
        self.lost -= u32::from(before.lost);
        self.resent -= u32::from(before.resent);
        self.highest = self.highest.max(seq + 1);
        Some(before)
    }

    /// Takes for lost what `is_lost` says of the segments that are on their way, from the first to the
    /// one that it ends at (`None`). Returns how many were.
    pub(super) fn detect(&mut self, mut is_lost: impl FnMut(u64, &Segment) -> Option<bool>) -> u32 {
        let mut found = 0;
        for (seq, segment) in (self.una..).zip(&mut self.segments) {
            if segment.sacked || segment.lost && !segment.resent {
                continue;
            }
            match is_lost(seq, segment) {
                None => break,
                Some(false) => {}
                Some(true) => {
                    found += 1;
                    self.lost += u32::from(!segment.lost);
                    self.resent -= u32::from(segment.resent);
                    (segment.lost, segment.resent) = (true, false);
                    self.hint = self.hint.min(seq);
                }
            }
        }
        found
    }

    /// The first segment that waits to be sent again, for that purpose.
    pub(super) fn resend(&mut self) -> Option<(u64, &mut Segment)> {
        if !self.waits_to_be_resent() {
            return None;
        }
        let from = self.hint.max(self.una);
        let skipped = usize::try_from(from - self.una).ok()?;
        let mut waiting = (from..).zip(self.segments.iter_mut().skip(skipped));
        let (seq, segment) = waiting.find(|(_, s)| s.lost && !s.resent)?;
        self.hint = seq + 1;
        self.resent += 1;
        (segment.resent, segment.ever_resent) = (true, true);
        Some((seq, segment))
    }
}
