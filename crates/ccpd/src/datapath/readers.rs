//! Threads that read a socket and do at once what there is to do for a flow.
//!
//! A thread of its own waits in the system call that also reads: a report is in hand when it wakes, and
//! is answered before it waits again. With the runtime between, each report would cost it asking what is
//! ready, trying to read when nothing is left, and waking the flow's task.
//!
//! An algorithm that does not come back keeps the thread that it was called on. Another one then reads on.

use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tracing::{error, warn};

use crate::flow_task::FlowCell;

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
    /// What a thread reads into.
    type Buffer;

    /// Such a buffer.
    fn buffer(&self) -> Self::Buffer;

    /// Waits for the next message, and deals with it, or hands it to the flow that it is for and returns
    /// that flow.
    fn take(&self, buffer: &mut Self::Buffer) -> io::Result<Option<Arc<FlowCell>>>;

    /// Brings a thread back that waits for a message.
    fn rouse(&self);
}

/// The threads that read a source: one, and those which algorithms keep.
pub(super) struct Readers<S> {
    name: String,
    source: Arc<S>,
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
        let mut readers = Self {
            name: name.to_owned(),
            source,
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
struct Reader<S> {
    desk: Arc<Desk>,
    source: Arc<S>,
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
        let mut buffer = self.source.buffer();
        let mut turns = 0;
        while !self.desk.replaced.load(Ordering::Relaxed) {
            match self.source.take(&mut buffer) {
                Ok(None) => {}
                Ok(Some(flow)) => {
                    self.desk.turns.store(turns + 1, Ordering::Relaxed);
                    serve(&flow);
                    turns += 2;
                    self.desk.turns.store(turns, Ordering::Relaxed);
                }
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn serve(flow: &Arc<FlowCell>) {
    // Algorithms' panics are caught before.
    if catch_unwind(AssertUnwindSafe(|| flow.serve())).is_err() {
        error!(
            flow = flow.id().0,
            "a flow failed, which is an error in ccpd; its datapath steers it by itself"
        );
        flow.give_up();
    }
}
