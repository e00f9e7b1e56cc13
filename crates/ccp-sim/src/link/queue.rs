//! What waits for a link.

use std::collections::VecDeque;

use crate::packet::Packet;
use crate::scenario::{QueueKind, QueueSpec};
use crate::time::Nanos;

use super::{LinkCounts, mark};

/// A queue with room for so many bytes, that drops or marks.
#[derive(Debug)]
pub(super) struct Queue {
    waiting: VecDeque<(Nanos, Packet)>,
    bytes: u64,
    limit: u64,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    DropTail { mark_above: Option<u64> },
    CoDel(CoDel),
}

impl Queue {
    pub(super) fn new(spec: &QueueSpec) -> Self {
        Self {
            waiting: VecDeque::new(),
            bytes: 0,
            limit: spec.limit,
            kind: match spec.kind {
                QueueKind::DropTail { mark_above } => Kind::DropTail { mark_above },
                QueueKind::CoDel { target, interval } => Kind::CoDel(CoDel::new(target, interval)),
            },
        }
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there was room for `packet`.
    pub(super) fn push(&mut self, now: Nanos, mut packet: Packet, counts: &mut LinkCounts) -> bool {
        let size = u64::from(packet.size);
        // A packet that is larger than the queue goes through when nothing waits.
        if self.bytes + size > self.limit && !self.waiting.is_empty() {
            counts.dropped += 1;
            return false;
        }
        if let Kind::DropTail {
            mark_above: Some(threshold),
        } = self.kind
            && self.bytes > threshold
            && mark(&mut packet)
        {
            counts.marked += 1;
        }
        self.bytes += size;
        self.waiting.push_back((now, packet));
        true
    }

    /// The next packet that is to be sent.
    pub(super) fn pop(&mut self, now: Nanos, counts: &mut LinkCounts) -> Option<Packet> {
        match &mut self.kind {
            Kind::DropTail { .. } => {
                let (_, packet) = self.waiting.pop_front()?;
                self.bytes -= u64::from(packet.size);
                Some(packet)
            }
            Kind::CoDel(codel) => codel.pop(now, &mut self.waiting, &mut self.bytes, counts),
        }
    }
}

/// Controlled delay: signals congestion when packets have waited longer than a target for an
/// interval, then faster and faster until they do not. Source: RFC 8289.
#[derive(Debug)]
struct CoDel {
    target: Nanos,
    interval: Nanos,
    /// When packets will have waited too long for an interval; `None` while they do not.
    first_above: Option<Nanos>,
    dropping: bool,
    drop_next: Nanos,
    count: u64,
    last_count: u64,
}

/// A queue of no more than that is no queue, in bytes.
const MTU: u64 = 1_500;

impl CoDel {
    const fn new(target: Nanos, interval: Nanos) -> Self {
        Self {
            target,
            interval,
            first_above: None,
            dropping: false,
            drop_next: Nanos::ZERO,
            count: 0,
            last_count: 0,
        }
    }

    /// When to signal again after `from`. Source: RFC 8289, section 5.3.
    fn control_law(&self, from: Nanos) -> Nanos {
        // The square root with 16 binary digits after the point.
        let root = (self.count.clamp(1, u64::from(u32::MAX)) << 32).isqrt();
        from + Nanos(((u128::from(self.interval.0) << 16) / u128::from(root)) as u64)
    }

    /// Takes the first packet. The flag: it may be dropped.
    fn take(
        &mut self,
        now: Nanos,
        waiting: &mut VecDeque<(Nanos, Packet)>,
        bytes: &mut u64,
    ) -> Option<(Packet, bool)> {
        let Some((since, packet)) = waiting.pop_front() else {
            self.first_above = None;
            return None;
        };
        *bytes -= u64::from(packet.size);
        let mut may_drop = false;
        if now.since(since) < self.target || *bytes <= MTU {
            self.first_above = None;
        } else {
            match self.first_above {
                None => self.first_above = Some(now + self.interval),
                Some(time) => may_drop = now >= time,
            }
        }
        Some((packet, may_drop))
    }

    fn pop(
        &mut self,
        now: Nanos,
        waiting: &mut VecDeque<(Nanos, Packet)>,
        bytes: &mut u64,
        counts: &mut LinkCounts,
    ) -> Option<Packet> {
        let Some((mut packet, mut may_drop)) = self.take(now, waiting, bytes) else {
            self.dropping = false;
            return None;
        };
        if self.dropping {
            self.dropping = may_drop;
            while self.dropping && now >= self.drop_next {
                self.count += 1;
                if mark(&mut packet) {
                    counts.marked += 1;
                    self.drop_next = self.control_law(self.drop_next);
                    break;
                }
                counts.dropped += 1;
                let Some(next) = self.take(now, waiting, bytes) else {
                    self.dropping = false;
                    return None;
                };
                (packet, may_drop) = next;
                self.dropping = may_drop;
                if self.dropping {
                    self.drop_next = self.control_law(self.drop_next);
                }
            }
        } else if may_drop {
            let marked = mark(&mut packet);
            let next = if marked {
                counts.marked += 1;
                Some(packet)
            } else {
                counts.dropped += 1;
                self.take(now, waiting, bytes).map(|(packet, _)| packet)
            };
            self.dropping = true;
            // Dropping began a moment ago: go on at the rate that was right then.
            let since = self.count - self.last_count;
            let lately = now.since(self.drop_next) < Nanos(16 * self.interval.0);
            self.count = if since > 1 && lately { since } else { 1 };
            self.drop_next = self.control_law(now);
            self.last_count = self.count;
            return next;
        }
        Some(packet)
    }
}
