//! What waits for a flow's task: its reports, in a ring that is reused, and what else happened to it.
//!
//! A report that arrives while the ring is full pushes out the oldest ones; how many were pushed out
//! is told to the algorithm before the next one. So nothing waits for a flow that lags behind, and
//! what it gets when it catches up tells most of the present.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ccp_core::{Announced, Assigned, Delivery, Updates};
use ccp_wire::Totals;

use ring::Ring;

pub(crate) use ring::Head;

mod ring;

/// At most so many updates of other flows of the group wait; more are dropped, and their sender says so.
const MOST_FROM_GROUP: usize = 64;

/// What waits for a flow. To put something in wakes nobody: that, or to deal with it, is for who does so.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    /// Whether there may be something: what is put in sets it.
    any: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    missed: u64,
    reports: Ring,
    /// Not there for most flows.
    seldom: Option<Box<Seldom>>,
    closed: bool,
    stopped: bool,
}

/// What else than a report may wait.
#[derive(Debug, Default)]
struct Seldom {
    turn: Option<Turn>,
    assigned: Option<Box<Assigned>>,
    from_group: Vec<Updates>,
    /// What the datapath told of the flow with its end.
    totals: Option<Totals>,
}

impl Waiting {
    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }
}

/// The flow changed hands. It makes everything that waited before meaningless.
#[derive(Clone, Debug)]
pub(crate) enum Turn {
    /// The datapath steers it, until it announces it again.
    Suspended,
    /// The datapath announced it.
    Resumed(Box<Announced>),
}

/// The next thing for a flow's task to do.
#[derive(Debug)]
pub(crate) enum Next {
    /// The flow changed hands.
    Turn(Turn),
    /// The flow is to run something else.
    Assigned(Box<Assigned>),
    /// So many reports were pushed out.
    Missed(u64),
    /// A report; its fields are in the buffer that was given.
    Report(Head),
    /// Another flow of the group wants this.
    FromGroup(Updates),
    /// The flow ended. Always the last.
    Closed(Option<Totals>),
    /// The daemon stops. Always the last, whatever else waits.
    Stopped,
}

impl Inbox {
    /// A report arrived. Allocates only while the ring grows to its size.
    pub(crate) fn report(&self, report: &Delivery<'_>) {
        self.push(Head::of(report), report.measure.fields());
    }

    /// The same of a report with these fields.
    pub(crate) fn push(&self, head: Head, fields: impl ExactSizeIterator<Item = u64>) {
        let mut waiting = self.lock_to_put();
        if !waiting.closed {
            waiting.missed += waiting.reports.push(head, fields);
        }
    }

    /// The flow changed hands: what waited is about a time that is over.
    pub(crate) fn turn(&self, turn: Turn) {
        let mut waiting = self.lock_to_put();
        waiting.reports.clear();
        waiting.missed = 0;
        let seldom = waiting.seldom();
        seldom.from_group.clear();
        seldom.turn = Some(turn);
    }

    /// The flow is to run something else. The last word counts.
    pub(crate) fn assign(&self, assigned: Box<Assigned>) {
        self.lock_to_put().seldom().assigned = Some(assigned);
    }

    /// Another flow of the group wants `updates`. Returns whether there was room.
    pub(crate) fn group(&self, updates: Updates) -> bool {
        let mut waiting = self.lock_to_put();
        let from_group = &mut waiting.seldom().from_group;
        let room = from_group.len() < MOST_FROM_GROUP;
        if room {
            from_group.push(updates);
        }
        room
    }

    /// The flow ended.
    pub(crate) fn close(&self, totals: Option<Totals>) {
        let mut waiting = self.lock_to_put();
        waiting.closed = true;
        if totals.is_some() {
            waiting.seldom().totals = totals;
        }
    }

    /// The daemon stops.
    pub(crate) fn stop(&self) {
        self.lock_to_put().stopped = true;
    }

    /// Whether nothing is to be done any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.lock().stopped
    }

    /// Takes out what is to be done next. The fields of a report replace what is in `fields`.
    pub(crate) fn next(&self, fields: &mut Vec<u64>) -> Option<Next> {
        if self.is_empty() {
            return None;
        }
        let mut waiting = self.lock();
        if waiting.stopped {
            return Some(Next::Stopped);
        }
        if let Some(seldom) = &mut waiting.seldom {
            if let Some(turn) = seldom.turn.take() {
                return Some(Next::Turn(turn));
            }
            if let Some(assigned) = seldom.assigned.take() {
                return Some(Next::Assigned(assigned));
            }
        }
        if waiting.missed > 0 {
            return Some(Next::Missed(std::mem::take(&mut waiting.missed)));
        }
        if let Some(head) = waiting.reports.pop(fields) {
            return Some(Next::Report(head));
        }
        let seldom = waiting.seldom.as_mut();
        if let Some(seldom) = seldom.filter(|seldom| !seldom.from_group.is_empty()) {
            return Some(Next::FromGroup(seldom.from_group.remove(0)));
        }
        let seldom = waiting.seldom.take();
        if waiting.closed {
            return Some(Next::Closed(seldom.and_then(|seldom| seldom.totals)));
        }
        // Who puts something in holds the lock.
        self.any.store(false, Ordering::Relaxed);
        None
    }

    /// Whether nothing waits. Who puts something in at this moment sees to it that it is taken.
    pub(crate) fn is_empty(&self) -> bool {
        !self.any.load(Ordering::Acquire)
    }

    fn lock_to_put(&self) -> MutexGuard<'_, Waiting> {
        let waiting = self.lock();
        self.any.store(true, Ordering::Release);
        waiting
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing that holds the lock can leave it half done.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
