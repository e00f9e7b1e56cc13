//! What is done for a flow: what came for it is taken, the algorithm decides, and what is to be told is
//! written to the datapath.
//!
//! Who brings something for a flow may do at once what there is to do ([`FlowCell::serve`]): then no other
//! task has to be woken for it. Else the flow's task does ([`FlowCell::wake`]), which also waits for the time
//! that the algorithm asked for, and for room at the datapath. It is made when it is first needed: most flows of a socket
//! never need one. Nobody waits for who is at a flow already: that one has the task look again when it is done.
//!
//! While the datapath does not take anything, changes gather in the runner and become one update;
//! the newest value of each register is what is sent in the end.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use ccp_core::{
    Algorithm, CompiledProgram, Counts, FlowId, FlowInfo, FlowRunner, Micros, Opened, Timestamp,
};
use tokio::sync::Notify;
use tracing::error;

use crate::datapath::room::Place;
use crate::feed::What;
use crate::inbox::{Head, Inbox};
use crate::metrics::{CountedFlow, DatapathMetrics};
use crate::outlet::{Haste, Outlet};
use crate::shared::Shared;
use crate::turns::give_way;
use crate::watchdog::Call;

mod show;
mod tell;
mod work;

pub(crate) use show::{Shown, instructions};

use work::{State, Work};

/// A flow whose algorithm took longer for a report
const CHEAP: Micros = Micros(100);
/// so many times in a row (once may be the machine's doing)
const STRIKES: u8 = 3;
/// does not hold up who brings reports for so many of them: its task takes those.
const ASIDE: u32 = 100;

/// A flow, for those who bring it something, ask how it is, or wait for it.
#[derive(Debug)]
pub(crate) struct FlowCell {
    id: FlowId,
    outlet: Arc<dyn Outlet>,
    shared: Arc<Shared>,
    /// What waits for the flow.
    pub(crate) inbox: Inbox,
    /// When a report came whose way is measured, in nanoseconds of the clock; 0 if none has.
    read_at: AtomicU64,
    /// Held while the algorithm is at work.
    life: Mutex<Life>,
    /// Somebody wanted to do something while another was at it.
    again: AtomicBool,
    /// Whether it has a task, which waits here.
    has_task: AtomicBool,
    woken: Notify,
    /// Who steers it, for those who can't look inside: its algorithm may not come back.
    steered_by: Mutex<Option<Algorithm>>,
    /// So many further reports are for the flow's task.
    aside: AtomicU32,
    /// Its datapath, and what it was announced as: so much is shown of one whose algorithm has been at work
    /// since.
    datapath: Arc<str>,
    info: Arc<FlowInfo>,
    /// What was last shown, if anybody has asked.
    shown: Mutex<Option<Box<ccp_control::FlowStatus>>>,
    /// What its datapath's metrics are counted in.
    metrics: Arc<DatapathMetrics>,
    /// What it has of its datapath's limits.
    _place: Option<Place>,
}

/// How far a flow has come.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "it is what all flows are most of the time"
)]
enum Life {
    /// It may not begin yet: its datapath has yet to take the programs.
    Awaited,
    /// It is to begin.
    Announced(Box<Opened>),
    Steered(Steered),
    /// It has ended, or the daemon stops.
    Over,
}

/// A flow under its algorithm.
#[derive(Debug)]
struct Steered {
    runner: FlowRunner,
    /// The report that came last, and its values.
    last: Option<Head>,
    fields: Vec<u64>,
    state: State,
    /// What the flow's task waits for.
    waits: Waits,
}

impl FlowCell {
    /// The flow `opened`, which does nothing until it is to [begin](Self::begin).
    pub(crate) fn new(
        opened: &Opened,
        outlet: Arc<dyn Outlet>,
        shared: &Arc<Shared>,
        metrics: &Arc<DatapathMetrics>,
        place: Option<Place>,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: opened.flow,
            outlet,
            shared: Arc::clone(shared),
            inbox: Inbox::default(),
            read_at: AtomicU64::new(0),
            life: Mutex::new(Life::Awaited),
            again: AtomicBool::new(false),
            has_task: AtomicBool::new(false),
            woken: Notify::new(),
            steered_by: Mutex::new(opened.algorithm.clone()),
            aside: AtomicU32::new(0),
            datapath: Arc::clone(&opened.datapath),
            info: Arc::clone(&opened.announced.info),
            shown: Mutex::new(None),
            metrics: Arc::clone(metrics),
            _place: place,
        })
    }

    /// It begins the next time that somebody does something for it.
    pub(crate) fn begin(&self, opened: Box<Opened>) {
        *self.life.lock().unwrap_or_else(PoisonError::into_inner) = Life::Announced(opened);
    }

    /// The flow's task is to do what there is to do for it.
    pub(crate) fn wake(self: &Arc<Self>) {
        let has_task =
            self.has_task.load(Ordering::Relaxed) || self.has_task.swap(true, Ordering::Relaxed);
        if has_task {
            self.woken.notify_one();
        } else {
            let task = run(Arc::clone(self));
            self.shared.flows.spawn_on(task, &self.shared.runtime);
        }
    }

    pub(crate) const fn id(&self) -> FlowId {
        self.id
    }

    /// The algorithm that is at work for it, or last was.
    pub(crate) fn steered_by(&self) -> Option<Algorithm> {
        let steered_by = self.steered_by.lock();
        steered_by.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_steered_by(&self, algorithm: Option<&Algorithm>) {
        let steered_by = self.steered_by.lock();
        *steered_by.unwrap_or_else(PoisonError::into_inner) = algorithm.cloned();
    }

    /// The report that is about to come, at `nanos` of the clock, is one whose way is measured.
    pub(crate) fn measure(&self, nanos: u64) {
        if self.read_at.load(Ordering::Relaxed) == 0 {
            self.read_at.store(nanos, Ordering::Relaxed);
        }
    }

    /// The datapath, and the program that the flow runs there; nothing while its algorithm is at work.
    pub(crate) fn runs(self: &Arc<Self>) -> Option<(Arc<str>, u32, CompiledProgram)> {
        let inside = self.enter()?;
        let runner = &inside.steered()?.runner;
        let (uid, program) = runner.program()?;
        Some((Arc::clone(runner.datapath()), uid, program.clone()))
    }

    /// Takes the flow into one's hands, if nobody has it: who has it wakes the flow's task afterwards.
    fn enter<'a>(self: &'a Arc<Self>) -> Option<Inside<'a>> {
        self.try_enter().or_else(|| {
            // Whoever sees it sees also what was put into the inbox.
            self.again.store(true, Ordering::Release);
            // Either who is inside sees the note when leaving, or has left by now.
            fence(Ordering::SeqCst);
            self.try_enter()
        })
    }

    fn try_enter<'a>(self: &'a Arc<Self>) -> Option<Inside<'a>> {
        let life = Some(self.try_lock()?);
        Some(Inside { cell: self, life })
    }

    fn try_lock(&self) -> Option<MutexGuard<'_, Life>> {
        match self.life.try_lock() {
            Ok(life) => Some(life),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Something has come for the flow: this report, or what is in its inbox. Does what there is to do for it,
    /// here and now, unless somebody is at it or its algorithm takes its time. What is to be done later is left to
    /// the flow's task. Its datapath is told with this `haste`. Returns whether it was done quickly.
    pub(crate) fn serve(
        self: &Arc<Self>,
        mut report: Option<(Head, &[u64])>,
        haste: Haste,
    ) -> bool {
        let aside = self.aside.load(Ordering::Relaxed);
        if aside > 0 {
            self.aside.store(aside - 1, Ordering::Relaxed);
            self.put_in(report);
            self.wake();
            return true;
        }
        let inside = self.try_enter().or_else(|| {
            self.put_in(report.take());
            self.enter()
        });
        let Some(mut inside) = inside else {
            return true;
        };
        if !self.inbox.is_empty() || inside.steered().is_none() {
            // It is not its turn.
            self.put_in(report.take());
        }
        let known = inside.steered().map_or_else(Waits::default, |s| s.waits);
        let step = inside.step(report, haste);
        let steered = inside.steered_mut();
        let quick = steered.is_none_or(|steered| self.note_cost(&mut steered.state));
        drop(inside);
        match step {
            Step::Idle(waits) if known.covers(waits) => {}
            // It needs no task any more. If it has one, that is to hear of it.
            Step::Ended if !self.has_task.load(Ordering::Relaxed) => {}
            _ => self.wake(),
        }
        quick
    }

    fn put_in(&self, report: Option<(Head, &[u64])>) {
        if let Some((head, fields)) = report {
            self.inbox.push(head, fields.iter().copied());
        }
    }

    /// Sends what its datapath was to be told soon.
    pub(crate) fn flush(&self) {
        self.outlet.flush();
    }

    /// Whose algorithm takes its time with reports is set aside. Returns whether it did not.
    fn note_cost(&self, state: &mut State) -> bool {
        let Some(begun) = state.reported.take() else {
            return true;
        };
        if self.shared.clock.now().since(begun) <= CHEAP {
            state.strikes = 0;
            return true;
        }
        state.strikes += 1;
        if state.strikes == STRIKES {
            state.strikes -= 1;
            self.aside.store(ASIDE, Ordering::Relaxed);
        }
        false
    }

    /// The same by the flow's task, which then waits for what it is told. `None` if somebody is at it,
    /// who wakes the task.
    fn serve_by_task(self: &Arc<Self>) -> Option<Step> {
        let mut inside = self.enter()?;
        let step = inside.step(None, Haste::Now);
        if let (Step::Idle(waits), Some(steered)) = (&step, inside.steered_mut()) {
            steered.waits = *waits;
        }
        Some(step)
    }

    /// Gives up the flow after an error in this program, or because it is not to begin at all: its datapath
    /// steers it by itself.
    pub(crate) fn give_up(self: &Arc<Self>) {
        self.end(&mut self.life.lock().unwrap_or_else(PoisonError::into_inner));
        if self.has_task.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    fn end(&self, life: &mut Life) {
        *life = Life::Over;
        self.shared.board.remove(self.id);
    }
}

/// A flow in somebody's hands.
struct Inside<'a> {
    cell: &'a Arc<FlowCell>,
    /// There until it is dropped.
    life: Option<MutexGuard<'a, Life>>,
}

impl Inside<'_> {
    fn steered(&self) -> Option<&Steered> {
        match self.life.as_deref()? {
            Life::Steered(steered) => Some(steered),
            _ => None,
        }
    }

    fn steered_mut(&mut self) -> Option<&mut Steered> {
        match self.life.as_deref_mut()? {
            Life::Steered(steered) => Some(steered),
            _ => None,
        }
    }

    fn step(&mut self, report: Option<(Head, &[u64])>, haste: Haste) -> Step {
        let cell = self.cell;
        let Some(life) = self.life.as_deref_mut() else {
            return Step::Ended;
        };
        let call = match life {
            Life::Awaited => return Step::Idle(Waits::default()),
            Life::Over => return Step::Ended,
            _ => cell.shared.watchdog.enter(cell.id),
        };
        if let Life::Announced(_) = life
            && let Life::Announced(opened) = std::mem::replace(life, Life::Awaited)
        {
            *life = Life::Steered(cell.take_on(*opened, &call));
        }
        let Life::Steered(steered) = life else {
            return Step::Ended;
        };
        let Steered {
            runner,
            last,
            fields,
            state,
            ..
        } = steered;
        let shared = &cell.shared;
        let before = *runner.counts();
        // Looked at first: what comes meanwhile is not dealt with yet.
        let read_at = cell.read_at.load(Ordering::Relaxed);
        let mut work = Work {
            cell,
            shared,
            state,
            call: &call,
            haste,
        };
        let step = work.step_with(runner, last, fields, report);
        work.count(runner, &before);
        if read_at != 0 {
            cell.read_at.store(0, Ordering::Relaxed);
            let took = shared.clock.nanos().saturating_sub(read_at);
            shared.metrics.answered(Duration::from_nanos(took));
        }
        if step == Step::Ended {
            cell.end(life);
        }
        step
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.life = None;
        fence(Ordering::SeqCst);
        if self.cell.again.load(Ordering::Relaxed) && self.cell.again.swap(false, Ordering::Acquire)
        {
            self.cell.wake();
        }
    }
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There may be more to do.
    More,
    /// Nothing to do before something comes, or what is waited for.
    Idle(Waits),
    /// The flow has ended, or the daemon stops.
    Ended,
}

/// What is waited for besides what comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Waits {
    /// The time that the algorithm asked for.
    until: Option<Timestamp>,
    /// That the datapath takes something again.
    room: bool,
}

impl Waits {
    /// Whether who waits for `self` is there in time for `other`.
    fn covers(self, other: Self) -> bool {
        let in_time = other
            .until
            .is_none_or(|time| self.until.is_some_and(|until| until <= time));
        in_time && (self.room || !other.room)
    }
}

/// A flow's task: runs until the flow ends or the daemon stops.
async fn run(cell: Arc<FlowCell>) {
    let _listed = Listed(&cell);
    loop {
        let waits = match cell.serve_by_task() {
            Some(Step::Ended) => break,
            Some(Step::More) => {
                give_way().await;
                continue;
            }
            Some(Step::Idle(waits)) => waits,
            None => Waits::default(),
        };
        let timer = async {
            match waits.until.and_then(|time| cell.shared.clock.instant(time)) {
                // Most flows have no timer: those shall not pay for one.
                Some(instant) => Box::pin(tokio::time::sleep_until(instant)).await,
                None => std::future::pending().await,
            }
        };
        let ready = async {
            match waits.room {
                true => cell.outlet.ready().await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            () = cell.woken.notified() => {}
            () = timer => {}
            () = ready => {}
        }
    }
}

impl FlowCell {
    /// The flow `opened` gets its algorithm.
    fn take_on(&self, opened: Opened, call: &Call) -> Steered {
        let (origin, rule) = (opened.announced.info.origin, opened.rule);
        let (sock_id, mss) = (opened.announced.info.sock_id, opened.announced.info.mss);
        let now = self.shared.clock.now();
        let announced = tell::announced_as(&opened.announced);
        let default = self.shared.plan().policy().default_algorithm().clone();
        let runner = FlowRunner::new(now, opened, Some(default));
        let metrics = &self.shared.metrics;
        metrics.flow(&Counts::default(), runner.counts());
        let steered_by = runner.algorithm().cloned();
        let counted = CountedFlow::new(
            Arc::clone(&self.metrics),
            metrics.algorithm(steered_by.as_ref().map(Algorithm::name)),
        );
        let mut state = State {
            sock_id,
            rate_set: false,
            mss,
            seen: None,
            held: None,
            room: false,
            reported: None,
            strikes: 0,
            counted,
            steered_by,
        };
        let work = Work {
            cell: self,
            shared: &self.shared,
            state: &mut state,
            call,
            haste: Haste::Now,
        };
        work.tell_step(now, || What::Announced(announced));
        work.tell_opened(&runner, now, origin, rule);
        Steered {
            runner,
            last: None,
            fields: Vec::new(),
            state,
            waits: Waits::default(),
        }
    }
}

/// Takes the flow off the board, whatever its task ends by.
struct Listed<'a>(&'a FlowCell);

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        let id = self.0.id;
        self.0.shared.board.remove(id);
        if std::thread::panicking() {
            // Algorithms' panics are caught before: this one is ours.
            error!(
                flow = id.0,
                "the flow's task failed; its datapath steers it by itself"
            );
        }
    }
}
