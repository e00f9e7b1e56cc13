//! What is to happen, in the order of time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Nanos;

/// Something that happens at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Event {
    /// A link has put a packet on the line, or may begin to.
    Sent(u16),
    /// The first packet on a link's line arrives.
    Arrived(u16),
    /// The first packet on a flow's own way to its receiver arrives.
    Received(u32),
    /// The first acknowledgement on a flow's own way back arrives.
    Acked(u32),
    /// A flow's retransmission or reordering timer.
    Timer(u32),
    /// A flow may send its next packet.
    Pace(u32),
    /// A flow's program wants to run without an acknowledgement.
    Program(u32),
    /// A receiver's acknowledgement has waited long enough.
    DelayedAck(u32),
    /// A flow's application wants to do something.
    App(u32),
    /// A flow begins.
    Start(u32),
    /// A flow ends.
    Stop(u32),
    /// The control plane, or the way to it.
    Control,
    /// Everything is written down.
    Sample,
}

/// What is to happen. Events of one moment happen in the order in which they were noted.
///
/// Whatever is under way on a line is not in here, only its first packet: so the heap has a few entries
/// per link and flow, however many packets there are.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    heap: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    noted: u64,
}

impl Agenda {
    pub(crate) fn at(&mut self, time: Nanos, event: Event) {
        self.noted += 1;
        self.heap.push(Reverse((time, self.noted, event)));
    }

    pub(crate) fn next(&mut self) -> Option<(Nanos, Event)> {
        let Reverse((time, _, event)) = self.heap.pop()?;
        Some((time, event))
    }
}

/// A timer that is set anew more often than it expires: it has one entry in the agenda at a time,
/// which is moved on when it comes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timer {
    due: Option<Nanos>,
    /// The entry in the agenda.
    noted: Option<Nanos>,
}

impl Timer {
    /// To expire at `due`, or not at all; `event` is what the agenda is to say.
    pub(crate) fn set(&mut self, due: Option<Nanos>, agenda: &mut Agenda, event: Event) {
        self.due = due;
        if let Some(due) = due
            && self.noted.is_none_or(|noted| noted > due)
        {
            self.noted = Some(due);
            agenda.at(due, event);
        }
    }

    /// An entry of the agenda has come: has the timer expired? It is off then.
    pub(crate) fn expired(&mut self, now: Nanos, agenda: &mut Agenda, event: Event) -> bool {
        if self.noted != Some(now) {
            // The timer was set to an earlier time since, and has that entry.
            return false;
        }
        self.noted = None;
        match self.due {
            Some(due) if due <= now => {
                self.due = None;
                true
            }
            due => {
                self.set(due, agenda, event);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Agenda, Event, Timer};
    use crate::time::Nanos;

    #[test]
    fn events_of_one_moment_keep_their_order() {
        let mut agenda = Agenda::default();
        agenda.at(Nanos(5), Event::Stop(1));
        agenda.at(Nanos(5), Event::Acked(1));
        agenda.at(Nanos(3), Event::Sample);
        agenda.at(Nanos(5), Event::Pace(1));
        let order: Vec<_> = std::iter::from_fn(|| agenda.next())
            .map(|(_, e)| e)
            .collect();
        let expected = [
            Event::Sample,
            Event::Stop(1),
            Event::Acked(1),
            Event::Pace(1),
        ];
        assert_eq!(order, expected);
    }

    #[test]
    fn a_timer_expires_once_when_it_is_due() {
        let mut agenda = Agenda::default();
        let mut timer = Timer::default();
        let set = |timer: &mut Timer, agenda: &mut Agenda, due: Option<u64>| {
            timer.set(due.map(Nanos), agenda, Event::Timer(0));
        };
        set(&mut timer, &mut agenda, Some(10));
        set(&mut timer, &mut agenda, Some(30));
        set(&mut timer, &mut agenda, Some(20));
        let mut expired = Vec::new();
        while let Some((now, event)) = agenda.next() {
            if timer.expired(now, &mut agenda, event) {
                expired.push(now.0);
            }
        }
        assert_eq!(expired, [20]);

        set(&mut timer, &mut agenda, Some(50));
        set(&mut timer, &mut agenda, Some(40));
        set(&mut timer, &mut agenda, None);
        while let Some((now, event)) = agenda.next() {
            assert!(!timer.expired(now, &mut agenda, event));
        }
    }
}
