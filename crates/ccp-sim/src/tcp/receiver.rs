//! The other end: what has arrived, and when to say so.

use crate::packet::{Ack, Data, Ecn};
use crate::time::Nanos;

/// When a receiver wants to acknowledge a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Now,
    /// At that time, unless it was done before.
    At(Nanos),
}

/// Counts and acknowledges what arrives.
#[derive(Debug)]
pub(crate) struct Receiver {
    next: u64,
    /// Segments beyond, as ranges with their bytes; what arrived last comes first.
    beyond: Vec<Range>,
    /// Segments that nothing was said of yet.
    unanswered: u32,
    every: u32,
    delay: Nanos,
    /// A mark was seen, and the sender has not yet said that it knows. Source: RFC 3168, section 6.1.3.
    echo: bool,
    one_way: Nanos,
    /// What the application could read: in sequence, once.
    bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Range {
    first: u64,
    end: u64,
    bytes: u64,
}

impl Receiver {
    /// A receiver that acknowledges `every` segments together, the first of them no later than after
    /// `delay`.
    pub(crate) fn new(every: u32, delay: Nanos) -> Self {
        Self {
            next: 0,
            beyond: Vec::new(),
            unanswered: 0,
            every: every.max(1),
            delay,
            echo: false,
            one_way: Nanos::ZERO,
            bytes: 0,
        }
    }

    /// What the application could read so far, in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// A segment arrives. Source: RFC 5681, section 4.2.
    pub(crate) fn on_data(&mut self, now: Nanos, data: &Data, ecn: Ecn) -> Answer {
        self.one_way = now.since(data.sent);
        let echoed = self.echo;
        self.echo = (self.echo && !data.cwr) || ecn == Ecn::Ce;
        // A change is told at once.
        let mut at_once = self.echo != echoed;
        let has = |range: &Range| (range.first..range.end).contains(&data.seq);
        if data.seq == self.next {
            self.next += 1;
            self.bytes += u64::from(data.len);
            at_once |= !self.beyond.is_empty();
            if let Some(place) = self.beyond.iter().position(|r| r.first == self.next) {
                let range = self.beyond.remove(place);
                self.next = range.end;
                self.bytes += range.bytes;
            }
        } else {
            at_once = true;
            if data.seq > self.next && !self.beyond.iter().any(has) {
                self.insert(data);
            }
        }
        self.unanswered += 1;
        if at_once || self.unanswered >= self.every {
            Answer::Now
        } else {
            Answer::At(now + self.delay)
        }
    }

    /// Whether there is something to acknowledge.
    pub(crate) const fn owes(&self) -> bool {
        self.unanswered > 0
    }

    /// The acknowledgement of everything so far.
    pub(crate) fn acknowledge(&mut self) -> Ack {
        self.unanswered = 0;
        let mut sacks = [(0, 0); 3];
        for (sack, range) in sacks.iter_mut().zip(&self.beyond) {
            let short = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
            *sack = (
                short(range.first - self.next),
                short(range.end - range.first),
            );
        }
        Ack {
            next: self.next,
            sacks,
            ece: self.echo,
            one_way: self.one_way,
        }
    }

    fn insert(&mut self, data: &Data) {
        let mut joined = Range {
            first: data.seq,
            end: data.seq + 1,
            bytes: u64::from(data.len),
        };
        self.beyond.retain(|range| {
            let joins = range.end == joined.first || range.first == joined.end;
            if joins {
                joined.first = joined.first.min(range.first);
                joined.end = joined.end.max(range.end);
                joined.bytes += range.bytes;
            }
            !joins
        });
        self.beyond.insert(0, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::{Answer, Receiver};
    use crate::packet::{Data, Ecn};
    use crate::time::Nanos;

    fn receive(receiver: &mut Receiver, seq: u64, ecn: Ecn, cwr: bool) -> Answer {
        let data = Data {
            seq,
            len: 100,
            cwr,
            sent: Nanos(0),
        };
        receiver.on_data(Nanos(7), &data, ecn)
    }

    #[test]
    fn every_second_segment_and_whatever_is_out_of_order_is_acknowledged_at_once() {
        let mut receiver = Receiver::new(2, Nanos(40));
        let mut get = |seq| receive(&mut receiver, seq, Ecn::NotEct, false);
        assert_eq!(get(0), Answer::At(Nanos(47)));
        for seq in [2, 5, 4, 8, 8] {
            assert_eq!(get(seq), Answer::Now);
        }
        let ack = receiver.acknowledge();
        assert_eq!(ack.next, 1);
        // The last first. Source: RFC 2018, section 4.
        assert_eq!(ack.sacks, [(7, 1), (3, 2), (1, 1)]);
        assert_eq!(receiver.bytes(), 100);

        for seq in [1, 3, 6, 7] {
            assert_eq!(receive(&mut receiver, seq, Ecn::NotEct, false), Answer::Now);
        }
        let ack = receiver.acknowledge();
        assert_eq!((ack.next, ack.sacks), (9, [(0, 0); 3]));
        assert_eq!(receiver.bytes(), 900);
        assert!(!receiver.owes());
    }

    #[test]
    fn marks_are_echoed_until_the_sender_knows() {
        let mut receiver = Receiver::new(2, Nanos(40));
        assert_eq!(receive(&mut receiver, 0, Ecn::Ce, false), Answer::Now);
        assert!(receiver.acknowledge().ece);
        receive(&mut receiver, 1, Ecn::Ect, false);
        assert!(receiver.acknowledge().ece);
        assert_eq!(receive(&mut receiver, 2, Ecn::Ect, true), Answer::Now);
        assert!(!receiver.acknowledge().ece);
    }
}
