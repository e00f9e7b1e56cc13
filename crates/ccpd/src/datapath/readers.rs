//! Threads that read a socket and do at once what there is to do for a flow.
//!
//! A thread of its own waits in the system call that also reads: a report is in hand when it wakes, and
//! is answered before it waits again. With the runtime between, each report would cost it asking what is
//! ready, trying to read when nothing is left, and waking the flow's task.
//!
//! What waits is read together, and answered together when all of it has been dealt with: who sent it is then
//! woken once. What comes alone is answered at once, and so is everything before when an algorithm takes its time.
//!
//! An algorithm that does not come back keeps the thread that it was called on. Another one then goes on with
//! what was read, and reads on.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::thread;
use std::time::Duration;

use smallvec::SmallVec;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{error, warn};

use super::link::Handed;
use crate::flow_task::FlowCell;
use crate::inbox::Head;
use crate::outlet::Haste;

/// How often [`Readers::look`] is to be called. A thread that is at the same flow for so long, or twice as
/// long, is replaced.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(50);
/// So many threads may be with algorithms that do not come back. When there are more, nobody reads until
/// one of them does.
const MOST_KEPT: usize = 16;
/// So long does a stop wait for a thread that does not come back.
const ENDS_WITHIN: Duration = Duration::from_millis(200);

/// What threads read.
pub(super) trait Source: Send + Sync + 'static {
    /// Messages that were read together.
    type Batch: Send + 'static;

    /// Room for some.
    fn batch(&self) -> Self::Batch;

    /// Waits for messages and reads those that wait. There is none left in `batch`.
    fn read(&self, batch: &mut Self::Batch) -> io::Result<()>;

    /// Takes the next message out. Deals with it, or returns the flow that it is for. `None` if
    /// there is none left.
    fn take<'b>(&self, batch: &'b mut Self::Batch) -> Option<Option<Handed<'b>>>;

    /// Whether there is none left.
    fn is_empty(&self, batch: &Self::Batch) -> bool;

    /// Brings a thread back that waits for messages.
    fn rouse(&self);
}

/// What was read.
struct Work<B> {
    batch: B,
    /// Flows whose answers are still to be sent.
    answered: SmallVec<[Arc<FlowCell>; 8]>,
}

impl<B> Work<B> {
    fn send_answers(&mut self) {
        for flow in self.answered.drain(..) {
            flow.flush();
        }
    }
}

/// The threads that read a source: one, and those which algorithms keep.
pub(super) struct Readers<S: Source> {
    name: String,
    source: Arc<S>,
    /// Whoever reads has it, but not while an algorithm is at work.
    work: Arc<Mutex<Work<S::Batch>>>,
    present: Arc<Desk>,
    /// How far it had come when it was last looked.
    seen: u64,
    /// One for each thread, and one here.
    threads: Arc<()>,
    fail: mpsc::Sender<io::Error>,
    failed: mpsc::Receiver<io::Error>,
}

/// What is known of a thread.
#[derive(Debug, Default)]
struct Desk {
    /// How often it has begun or ended to work for a flow: odd while it does.
    turns: AtomicU64,
    /// Another one reads instead.
    replaced: AtomicBool,
}

impl<S: Source> Readers<S> {
    /// Begins to read `source`, for the datapath `name`.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub(super) fn start(name: &str, source: Arc<S>) -> io::Result<Self> {
        let (fail, failed) = mpsc::channel(1);
        let work = Work {
            batch: source.batch(),
            answered: SmallVec::new(),
        };
        let mut readers = Self {
            name: name.to_owned(),
            source,
            work: Arc::new(Mutex::new(work)),
            present: Arc::default(),
            seen: 0,
            threads: Arc::default(),
            fail,
            failed,
        };
        readers.replace()?;
        Ok(readers)
    }

    /// Has another thread read from now on.
    fn replace(&mut self) -> io::Result<()> {
        let desk = Arc::new(Desk::default());
        let thread = Reader {
            desk: Arc::clone(&desk),
            source: Arc::clone(&self.source),
            work: Arc::clone(&self.work),
            runtime: Handle::current(),
            fail: self.fail.clone(),
            _counted: Arc::clone(&self.threads),
        };
        thread::Builder::new()
            .name("ccpd-reader".to_owned())
            .spawn(move || thread.run())?;
        self.present.replaced.store(true, Ordering::Relaxed);
        self.present = desk;
        self.seen = 0;
        Ok(())
    }

    /// Looks whether an algorithm keeps the thread that reads, and has another one read then. Returns
    /// whether somebody reads.
    pub(super) fn look(&mut self) -> bool {
        let turns = self.present.turns.load(Ordering::Relaxed);
        if turns.is_multiple_of(2) || turns != self.seen {
            self.seen = turns;
            return true;
        }
        self.send_answers();
        if Arc::strong_count(&self.threads) > MOST_KEPT {
            return false;
        }
        match self.replace() {
            Ok(()) => {
                warn!(datapath = %self.name, "an algorithm does not come back: another thread reads on");
                true
            }
            Err(error) => {
                warn!(datapath = %self.name, %error, "no thread to read on while an algorithm does not come back");
                false
            }
        }
    }

    /// Sends what was answered of what was read with what an algorithm does not come back from: whoever reads
    /// on may be held up by the next one, or there may be nobody.
    fn send_answers(&self) {
        if let Some(mut work) = try_lock(&self.work) {
            work.send_answers();
        }
    }

    /// Waits for the source to fail.
    pub(super) async fn failed(&mut self) -> io::Error {
        // There is always a sender: this one's.
        let failed = self.failed.recv().await;
        failed.unwrap_or_else(|| ErrorKind::BrokenPipe.into())
    }

    /// Has nobody read any more. Does not wait for algorithms that do not come back.
    pub(super) async fn stop(self) {
        let Self {
            present,
            source,
            fail,
            mut failed,
            ..
        } = self;
        present.replaced.store(true, Ordering::Relaxed);
        source.rouse();
        drop(fail);
        let ended = async { while failed.recv().await.is_some() {} };
        let _ = tokio::time::timeout(ENDS_WITHIN, ended).await;
    }
}

/// One thread.
struct Reader<S: Source> {
    desk: Arc<Desk>,
    source: Arc<S>,
    work: Arc<Mutex<Work<S::Batch>>>,
    runtime: Handle,
    fail: mpsc::Sender<io::Error>,
    _counted: Arc<()>,
}

impl<S: Source> Reader<S> {
    fn run(self) {
        // Flows' tasks are started from here.
        let _within = self.runtime.enter();
        let read = catch_unwind(AssertUnwindSafe(|| self.read()));
        let failed = match read {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(_) => io::Error::other("the thread that reads panicked: this is an error in ccpd"),
        };
        // If there is one already, that one is told.
        let _ = self.fail.try_send(failed);
    }

    fn read(&self) -> io::Result<()> {
        // What is read lies in memory that whoever goes on needs.
        let mut fields = Vec::new();
        while !self.desk.replaced.load(Ordering::Relaxed) {
            let mut work = self.lock();
            if self.desk.replaced.load(Ordering::Relaxed) {
                // While it waited for who reads instead.
                break;
            }
            if self.source.is_empty(&work.batch) {
                work.send_answers();
                self.wait(&mut work)?;
            }
            let Some(Some(handed)) = self.source.take(&mut work.batch) else {
                continue;
            };
            let Handed { flow, report } = handed;
            let head = report.map(|report| {
                fields.clear();
                fields.extend(report.measure.fields());
                Head::of(&report)
            });
            let alone = work.answered.is_empty() && self.source.is_empty(&work.batch);
            drop(work);
            self.serve(flow, head.map(|head| (head, &*fields)), alone);
        }
        Ok(())
    }

    fn wait(&self, work: &mut Work<S::Batch>) -> io::Result<()> {
        match self.source.read(&mut work.batch) {
            Err(error)
                if !matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) =>
            {
                Err(error)
            }
            _ => Ok(()),
        }
    }

    /// Does what there is to do for a flow. It is answered at once if nothing was read with it.
    fn serve(&self, flow: Arc<FlowCell>, report: Option<(Head, &[u64])>, alone: bool) {
        let haste = if alone { Haste::Now } else { Haste::Soon };
        self.turn();
        let quick = serve(&flow, report, haste);
        self.turn();
        if alone {
            return;
        }
        // Somebody else may have the others by now, and wait for messages with them in hand.
        let work = match self.desk.replaced.load(Ordering::Relaxed) {
            true => None,
            false => try_lock(&self.work),
        };
        let Some(mut work) = work else {
            return flow.flush();
        };
        work.answered.push(flow);
        if !quick {
            work.send_answers();
        }
    }

    /// Nobody else writes it.
    fn turn(&self) {
        let turns = self.desk.turns.load(Ordering::Relaxed);
        self.desk.turns.store(turns + 1, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Work<S::Batch>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What `mutex` holds, if nobody has it.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    match mutex.try_lock() {
        Ok(held) => Some(held),
        Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
        Err(TryLockError::WouldBlock) => None,
    }
}

/// Returns whether it was done quickly.
fn serve(flow: &Arc<FlowCell>, report: Option<(Head, &[u64])>, haste: Haste) -> bool {
    // Algorithms' panics are caught before.
    catch_unwind(AssertUnwindSafe(|| flow.serve(report, haste))).unwrap_or_else(|_| {
        error!(
            flow = flow.id().0,
            "a flow failed, which is an error in ccpd; its datapath steers it by itself"
        );
        flow.give_up();
        false
    })
}

#[cfg(test)]
mod tests;
