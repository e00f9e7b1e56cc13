//! Sees algorithms that do not come back from their work, and what becomes of them and their threads.
//!
//! Rust cannot end a thread, so what an algorithm holds up is lost until it comes back by itself. The
//! algorithm is *quarantined*: no flow gets it any more. Another thread takes the place of the one that is
//! lost. When there is none left, somebody is told so that the process can begin anew.
//!
//! Who calls algorithms notes it with two writes to memory of its own thread, and reads no clock.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use ccp_core::{Algorithm, FlowId};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tracing::{error, info, warn};

use crate::metrics::{Count, Metrics, OfAlgorithm};
use crate::shared::Shared;

/// It is looked so often within the time that an algorithm may take, but not less often than
const LOOKS: u32 = 8;
/// this, and not more often than
const SELDOM: Duration = Duration::from_millis(100);
/// this.
const OFTEN: Duration = Duration::from_millis(10);
/// When so many calls of one algorithm last longer than two looks, it is not waited for the rest of the time:
/// else it takes every thread until then.
const AT_ONCE: usize = 4;
/// When so many threads outside of the runtime, which read sockets, are with algorithms that do not come
/// back, it is time to begin anew.
const MOST_READERS: usize = 16;

/// Sees algorithms that do not come back.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// Which of this process.
    id: u64,
    /// One for each thread that has called an algorithm.
    desks: Mutex<Vec<Arc<Desk>>>,
    /// How long an algorithm may take, in milliseconds; 0 for ever.
    timeout_ms: AtomicU64,
    spares: Arc<Spares>,
    exhausted: watch::Sender<bool>,
    metrics: Arc<Metrics>,
}

/// What a thread notes.
#[derive(Debug)]
struct Desk {
    /// Odd while an algorithm is at work; another number for each call.
    turns: AtomicU64,
    /// For which flow.
    flow: AtomicU64,
    /// Whether it is one of the runtime's.
    of_the_runtime: bool,
}

thread_local! {
    /// This thread's, and whose it is: in tests there are several daemons in one process.
    static DESK: RefCell<Option<(u64, Arc<Desk>)>> = const { RefCell::new(None) };
}

/// An algorithm is at work on this thread, until this is dropped.
#[derive(Debug)]
pub(crate) struct Call(PhantomData<*const ()>);

impl Call {
    /// It has come back, and is called again.
    pub(crate) fn goes_on(&self) {
        turn(2);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        turn(1);
    }
}

fn turn(by: u64) {
    DESK.with_borrow(|desk| {
        if let Some((_, desk)) = desk {
            // Nobody else writes it.
            let turns = desk.turns.load(Ordering::Relaxed);
            desk.turns.store(turns.wrapping_add(by), Ordering::Release);
        }
    });
}

impl Watchdog {
    pub(crate) fn new(metrics: Arc<Metrics>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            desks: Mutex::default(),
            timeout_ms: AtomicU64::new(0),
            spares: Arc::default(),
            exhausted: watch::Sender::new(false),
            metrics,
        }
    }

    /// Algorithms are at work for `flow` from now on.
    pub(crate) fn enter(&self, flow: FlowId) -> Call {
        DESK.with_borrow_mut(|desk| {
            let desk = match desk {
                Some((of, desk)) if *of == self.id => desk,
                other => &other.insert((self.id, self.new_desk())).1,
            };
            desk.flow.store(flow.0, Ordering::Relaxed);
        });
        turn(1);
        Call(PhantomData)
    }

    #[cold]
    fn new_desk(&self) -> Arc<Desk> {
        let desk = Arc::new(Desk {
            turns: AtomicU64::new(0),
            flow: AtomicU64::new(0),
            of_the_runtime: tokio::task::try_id().is_some(),
        });
        self.desks().push(Arc::clone(&desk));
        desk
    }

    /// How long an algorithm may take from now on; `None` for ever.
    pub(crate) fn set_timeout(&self, timeout: Option<Duration>) {
        let ms = timeout.map_or(0, |timeout| timeout.as_millis());
        let ms = u64::try_from(ms).unwrap_or(u64::MAX);
        self.timeout_ms.store(ms, Ordering::Relaxed);
    }

    fn timeout(&self) -> Option<Duration> {
        let ms = self.timeout_ms.load(Ordering::Relaxed);
        (ms > 0).then(|| Duration::from_millis(ms))
    }

    /// Tells when every thread is lost.
    pub(crate) fn exhaustion(&self) -> Exhaustion {
        Exhaustion(self.exhausted.subscribe())
    }

    /// Flows get `algorithm` again.
    pub(crate) fn release(&self, algorithm: &Algorithm) {
        let of = self.metrics.algorithm(Some(algorithm.name()));
        of.set(OfAlgorithm::Quarantined, false);
        if algorithm.release() {
            info!(
                algorithm = algorithm.name(),
                "an algorithm has left its quarantine"
            );
        }
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Arc<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Tells when algorithms that do not come back hold up every thread of a daemon: what is left is to end the
/// process, and to start it again.
#[derive(Clone, Debug)]
pub struct Exhaustion(watch::Receiver<bool>);

impl Exhaustion {
    /// Waits until it is so; for ever if it never is.
    pub async fn reached(&mut self) {
        if self.0.wait_for(|exhausted| *exhausted).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Threads of the runtime that wait until they are needed: each is held by a task that does nothing else.
#[derive(Debug, Default)]
struct Spares {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// So many wait,
    waiting: usize,
    /// of which so many may go,
    released: usize,
    /// or all.
    open: bool,
}

impl Spares {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the present thread until it is needed.
    fn wait(&self, metrics: &Metrics) {
        let mut state = self.lock();
        if state.open {
            return;
        }
        state.waiting += 1;
        metrics.count(Count::ThreadsSpare, 1);
        while !state.open && state.released == 0 {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        state.released = state.released.saturating_sub(1);
        state.waiting -= 1;
        metrics.uncount(Count::ThreadsSpare);
    }

    /// One is needed.
    fn release(&self) {
        let mut state = self.lock();
        if state.released < state.waiting {
            state.released += 1;
            self.changed.notify_one();
        }
    }

    /// How many still wait.
    fn left(&self) -> usize {
        let state = self.lock();
        state.waiting - state.released.min(state.waiting)
    }

    /// None is kept any more.
    fn open(&self) {
        self.lock().open = true;
        self.changed.notify_all();
    }
}

/// Begins to watch, on a thread of its own, until the daemon stops. So many of the runtime's threads are kept
/// in reserve.
///
/// # Panics
/// Outside a Tokio runtime.
pub(crate) fn start(shared: &Arc<Shared>, spare_threads: usize) {
    let runtime = Handle::current();
    let workers = runtime.metrics().num_workers();
    // Two work in any case.
    for _ in 0..spare_threads.min(workers.saturating_sub(2)) {
        keep_in_reserve(&runtime, shared);
    }
    let rounds = Rounds {
        shared: Arc::downgrade(shared),
        spares: Arc::clone(&shared.watchdog.spares),
        workers,
        runtime,
        seen: Vec::new(),
    };
    let thread = thread::Builder::new().name("ccpd-watchdog".to_owned());
    if let Err(error) = thread.spawn(move || rounds.run()) {
        shared.watchdog.spares.open();
        warn!(%error, "no thread to see algorithms that do not come back");
    }
}

fn keep_in_reserve(runtime: &Handle, shared: &Shared) {
    let spares = Arc::clone(&shared.watchdog.spares);
    let metrics = Arc::clone(&shared.metrics);
    // It holds the thread up on purpose.
    runtime.spawn(async move { spares.wait(&metrics) });
}

/// What the watchdog has seen.
struct Rounds {
    shared: Weak<Shared>,
    spares: Arc<Spares>,
    /// How many threads the runtime has.
    workers: usize,
    runtime: Handle,
    seen: Vec<Seen>,
}

/// A thread.
struct Seen {
    desk: Arc<Desk>,
    turns: u64,
    /// For so long the same call lasts.
    lasts: Duration,
    /// It is not waited for any more.
    lost: bool,
}

impl Rounds {
    fn run(mut self) {
        let mut last = Instant::now();
        loop {
            let Some(shared) = self.shared.upgrade().filter(|s| !s.stop.is_cancelled()) else {
                return;
            };
            let timeout = shared.watchdog.timeout();
            let every = timeout.map_or(SELDOM, |t| (t / LOOKS).clamp(OFTEN, SELDOM));
            // Nothing of the daemon is kept while it sleeps.
            drop(shared);
            thread::sleep(every);
            // What lasts much longer was a sleep of the whole process: nobody else came further either.
            let passed = last.elapsed().min(2 * every);
            last = Instant::now();
            if let Some(shared) = self.shared.upgrade() {
                self.look(&shared, passed, timeout, every);
            }
        }
    }

    fn look(
        &mut self,
        shared: &Arc<Shared>,
        passed: Duration,
        timeout: Option<Duration>,
        every: Duration,
    ) {
        for desk in shared.watchdog.desks().drain(..) {
            self.seen.push(Seen {
                desk,
                turns: 0,
                lasts: Duration::ZERO,
                lost: false,
            });
        }
        let mut back = 0;
        for seen in &mut self.seen {
            let turns = seen.desk.turns.load(Ordering::Acquire);
            if turns == seen.turns && turns % 2 == 1 {
                seen.lasts += passed;
                continue;
            }
            seen.turns = turns;
            seen.lasts = Duration::ZERO;
            if std::mem::take(&mut seen.lost) {
                back += 1;
                shared.metrics.uncount(Count::ThreadsHeldUp);
                if seen.desk.of_the_runtime {
                    keep_in_reserve(&self.runtime, shared);
                }
            }
        }
        if back > 0 {
            info!(threads = back, "algorithms have come back after all");
        }
        // Nobody writes to the desk of a thread that has ended.
        self.seen
            .retain(|seen| Arc::strong_count(&seen.desk) > 1 || seen.turns % 2 == 1);
        if let Some(timeout) = timeout {
            self.lose(shared, timeout, every);
        }
    }

    /// Gives up the threads whose algorithms take too long.
    fn lose(&mut self, shared: &Arc<Shared>, timeout: Duration, every: Duration) {
        let mut long: Vec<(usize, FlowId, Option<Algorithm>)> = Vec::new();
        for (place, seen) in self.seen.iter().enumerate() {
            if !seen.lost && seen.lasts > 2 * every {
                let flow = FlowId(seen.desk.flow.load(Ordering::Relaxed));
                let cell = shared.board.flow(flow);
                long.push((place, flow, cell.and_then(|cell| cell.steered_by())));
            }
        }
        let mut any = false;
        for (place, flow, algorithm) in &long {
            let same = |other: &Option<Algorithm>| match (other, algorithm) {
                (Some(a), Some(b)) => a.same(b),
                _ => false,
            };
            let at_once = long.iter().filter(|(_, _, other)| same(other)).count();
            let Some(seen) = self.seen.get_mut(*place) else {
                continue;
            };
            if seen.lasts < timeout && at_once < AT_ONCE {
                continue;
            }
            any = true;
            seen.lost = true;
            shared.metrics.count(Count::ThreadsHeldUp, 1);
            if seen.desk.of_the_runtime {
                self.spares.release();
            }
            match algorithm {
                Some(algorithm) => quarantine(shared, algorithm, *flow, seen.lasts),
                None => error!(flow = flow.0, "a flow's task does not come back"),
            }
            let (shared, flow) = (Arc::clone(shared), *flow);
            self.runtime.spawn(async move {
                if shared.orders.restart(flow).await.is_err() {
                    warn!(
                        flow = flow.0,
                        "a flow is left to its datapath, which does not answer"
                    );
                }
            });
        }
        if any {
            self.count(shared);
        }
    }

    /// Says so if no thread is left.
    fn count(&self, shared: &Shared) {
        let lost = |of_the_runtime| {
            let lost = self.seen.iter().filter(|s| s.lost);
            lost.filter(|s| s.desk.of_the_runtime == of_the_runtime)
                .count()
        };
        let no_worker = lost(true) + self.spares.left() >= self.workers && self.spares.left() == 0;
        if no_worker || lost(false) >= MOST_READERS {
            error!("algorithms that do not come back hold up every thread");
            shared.watchdog.exhausted.send_replace(true);
        }
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        self.spares.open();
    }
}

/// No flow gets `algorithm` any more, which has not come back from `flow` for so long.
fn quarantine(shared: &Shared, algorithm: &Algorithm, flow: FlowId, lasts: Duration) {
    if !algorithm.quarantine() {
        return;
    }
    let name = algorithm.name();
    let of = shared.metrics.algorithm(Some(name));
    of.count(OfAlgorithm::Quarantines);
    of.set(OfAlgorithm::Quarantined, true);
    error!(
        algorithm = name,
        flow = flow.0,
        milliseconds = lasts.as_millis(),
        "an algorithm does not come back from its work: it is quarantined, its flows get the default, or \
         their datapath's own; a reload ends that"
    );
    for cell in shared.board.all() {
        if cell.steered_by().is_some_and(|of| of.same(algorithm)) {
            cell.wake();
        }
    }
}
