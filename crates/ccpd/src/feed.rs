//! What happens to flows, told to whoever wants to know while it happens.
//!
//! Flows' tasks tell; who listens has a queue of its own. Nobody waits for a listener: what does not
//! fit its queue is lost to it, and counted. While nobody listens, telling costs reading one number, and
//! nothing is allocated.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use ccp_control::{FlowOrigin, FlowStatus, Why};
use ccp_core::{CompiledProgram, FlowId, FlowUpdate, ProgramTable, Timestamp};
use tokio::sync::mpsc;

/// So many events wait for a listener; further ones are lost to it.
const QUEUE: usize = 2048;

/// Kinds of what is told, for which one can listen separately.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Topic {
    /// Flows come, go and change hands.
    Changes = 1,
    /// Every report.
    Reports = 2,
    /// What else algorithms get, and what they decide.
    Steps = 4,
}

/// One thing that happened.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) at: Timestamp,
    pub(crate) flow: FlowId,
    pub(crate) what: What,
}

/// What happened. As [`ccp_control::What`], but cheap to make: names are looked up by the listener.
#[derive(Clone, Debug)]
pub(crate) enum What {
    Opened {
        status: Box<FlowStatus>,
        origin: FlowOrigin,
        rule: Option<usize>,
    },
    Closed {
        status: Box<FlowStatus>,
    },
    AlgorithmChanged {
        from: String,
        to: String,
        why: Why,
    },
    FellBack {
        why: Why,
    },
    Returned {
        cwnd_bytes: u64,
    },
    ProgramFaults {
        program: Option<String>,
        count: u64,
    },
    Panicked {
        algorithm: String,
        message: String,
    },
    UpdateRefused {
        algorithm: String,
        why: String,
    },
    Report(Box<Reported>),
    ReportsMissed {
        count: u64,
    },
    Announced(ccp_control::Announced),
    Woken,
    MssChanged {
        mss: u32,
    },
    Updated(Box<Updated>),
}

/// An update that is on its way, with the programs that name what it sets.
#[derive(Clone, Debug)]
pub(crate) struct Updated {
    pub(crate) update: FlowUpdate,
    pub(crate) programs: Arc<ProgramTable>,
}

/// A report that was answered.
#[derive(Clone, Debug)]
pub(crate) struct Reported {
    pub(crate) algorithm: String,
    pub(crate) program: CompiledProgram,
    pub(crate) merged: u64,
    pub(crate) cwnd_bytes: u64,
    pub(crate) rate_bytes_per_s: u64,
    pub(crate) values: Vec<u64>,
}

/// Where flows' tasks tell and others listen.
#[derive(Debug, Default)]
pub(crate) struct Feed {
    /// The topics that somebody listens to.
    wanted: AtomicU8,
    listeners: RwLock<Vec<Arc<Listener>>>,
}

#[derive(Debug)]
struct Listener {
    topics: u8,
    /// In order; empty for all.
    flows: Vec<FlowId>,
    queue: mpsc::Sender<(u64, Told)>,
    /// What did not fit since the last that did.
    lost: AtomicU64,
}

/// Somebody listens, until this is dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    feed: Arc<Feed>,
    listener: Arc<Listener>,
    told: mpsc::Receiver<(u64, Told)>,
    /// Taken from the queue; so many were lost before it.
    next: Option<(u64, Told)>,
}

impl Feed {
    /// Whether anybody listens to `topic`. To be asked before what is told is made.
    pub(crate) fn wants(&self, topic: Topic) -> bool {
        self.wanted.load(Ordering::Relaxed) & topic as u8 != 0
    }

    /// Tells what happened to `flow` at the time `at`. Never waits.
    pub(crate) fn tell(&self, topic: Topic, at: Timestamp, flow: FlowId, what: What) {
        let listeners = self
            .listeners
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let mut hear = listeners.iter().filter(|l| l.hears(topic, flow)).peekable();
        let mut told = Some(Told { at, flow, what });
        while let Some(listener) = hear.next() {
            // The last one gets the thing itself.
            let told = match hear.peek() {
                Some(_) => told.clone(),
                None => told.take(),
            };
            if let Some(told) = told {
                listener.take(told);
            }
        }
    }

    /// Listens to `topics`, of `flows` only if there are any among them.
    pub(crate) fn listen(
        self: &Arc<Self>,
        topics: &[Topic],
        mut flows: Vec<FlowId>,
    ) -> Subscription {
        flows.sort_unstable();
        let (queue, told) = mpsc::channel(QUEUE);
        let listener = Arc::new(Listener {
            topics: topics.iter().fold(0, |all, topic| all | *topic as u8),
            flows,
            queue,
            lost: AtomicU64::new(0),
        });
        self.change(|listeners| listeners.push(Arc::clone(&listener)));
        Subscription {
            feed: Arc::clone(self),
            listener,
            told,
            next: None,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Listener>>)) {
        let mut listeners = self
            .listeners
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        change(&mut listeners);
        let wanted = listeners.iter().fold(0, |all, l| all | l.topics);
        self.wanted.store(wanted, Ordering::Relaxed);
    }
}

impl Listener {
    fn hears(&self, topic: Topic, flow: FlowId) -> bool {
        self.topics & topic as u8 != 0
            && (self.flows.is_empty() || self.flows.binary_search(&flow).is_ok())
    }

    fn take(&self, told: Told) {
        let Ok(place) = self.queue.try_reserve() else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        place.send((self.lost.swap(0, Ordering::Relaxed), told));
    }
}

impl Subscription {
    /// What is told next, and how many were lost before it; nothing if only that is to be told. Safe to
    /// cancel.
    pub(crate) async fn next(&mut self) -> (u64, Option<Told>) {
        loop {
            if let Some((lost, told)) = self.next.take().or_else(|| self.told.try_recv().ok()) {
                return (lost, Some(told));
            }
            // What was lost after the last that fitted.
            match self.listener.lost.swap(0, Ordering::Relaxed) {
                0 => self.next = self.told.recv().await,
                lost => return (lost, None),
            }
        }
    }

    /// What was told already, if nothing was lost before it.
    pub(crate) fn more(&mut self) -> Option<Told> {
        let (lost, told) = self.next.take().or_else(|| self.told.try_recv().ok())?;
        if lost > 0 {
            self.next = Some((lost, told));
            return None;
        }
        Some(told)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let gone = &self.listener;
        self.feed
            .change(|listeners| listeners.retain(|l| !Arc::ptr_eq(l, gone)));
    }
}

#[cfg(test)]
mod tests;
