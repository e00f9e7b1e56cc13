//! One task per flow: it takes what came for the flow, lets the algorithm decide, and writes what is to
//! be told to the datapath itself.
//!
//! While the datapath does not take anything, changes gather in the runner and become one update;
//! the newest value of each register is what is sent in the end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::time::Duration;

use ccp_control::FlowMode;
use ccp_core::{
    Algorithm, Command, CompiledProgram, Counts, Event, FlowId, FlowRunner, Opened, Rate,
    RawReport, RunnerNotice, RunnerOutput, SockId, Timestamp,
};
use tracing::{error, trace, warn};

use crate::inbox::{Head, Inbox, Next, Turn};
use crate::metrics::{Count, CountedFlow, DatapathMetrics, OfAlgorithm};
use crate::outlet::{Outlet, Sent};
use crate::shared::Shared;
use crate::turns::give_way;

mod show;
mod tell;

pub(crate) use show::{Shown, instructions};

/// After so many reports in a row, others get their turn.
const BATCH: usize = 32;

/// What a flow's task shares with those who bring it reports and ask how it is.
#[derive(Debug)]
pub(crate) struct FlowCell {
    id: FlowId,
    outlet: Arc<dyn Outlet>,
    /// What waits for the task.
    pub(crate) inbox: Inbox,
    /// When a report came whose way is measured, in nanoseconds of the clock; 0 if none has.
    read_at: AtomicU64,
    /// Held while the algorithm is at work. Empty until the task has begun.
    steered: Mutex<Option<Steered>>,
    /// What was last shown.
    shown: Mutex<ccp_control::FlowStatus>,
}

/// A flow under its algorithm.
#[derive(Debug)]
struct Steered {
    runner: FlowRunner,
    /// The report that came last, and its values.
    last: Option<Head>,
    fields: Vec<u64>,
}

impl FlowCell {
    pub(crate) fn new(opened: &Opened, outlet: Arc<dyn Outlet>) -> Arc<Self> {
        Arc::new(Self {
            id: opened.flow,
            outlet,
            inbox: Inbox::default(),
            read_at: AtomicU64::new(0),
            steered: Mutex::new(None),
            shown: Mutex::new(show::first_status(opened)),
        })
    }

    pub(crate) const fn id(&self) -> FlowId {
        self.id
    }

    /// The report that is about to come, at `nanos` of the clock, is one whose way is measured.
    pub(crate) fn measure(&self, nanos: u64) {
        if self.read_at.load(Ordering::Relaxed) == 0 {
            self.read_at.store(nanos, Ordering::Relaxed);
        }
    }

    /// The datapath, and the program that the flow runs there; nothing while its algorithm is at work.
    pub(crate) fn runs(&self) -> Option<(Arc<str>, u32, CompiledProgram)> {
        let steered = match self.steered.try_lock() {
            Ok(steered) => steered,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let runner = &steered.as_ref()?.runner;
        let (uid, program) = runner.program()?;
        Some((Arc::clone(runner.datapath()), uid, program.clone()))
    }

    fn with_steered<T>(&self, work: impl FnOnce(&mut Steered) -> T) -> Option<T> {
        let mut steered = self.steered.lock().unwrap_or_else(PoisonError::into_inner);
        steered.as_mut().map(work)
    }
}

/// `RUST_LOG=ccpd::report=trace` shows every report with the names of its values.
fn log_report(runner: &FlowRunner, report: &RawReport<'_>, flow: FlowId) {
    if !tracing::enabled!(target: "ccpd::report", tracing::Level::TRACE) {
        return;
    }
    let Some((uid, program)) = runner.program() else {
        return;
    };
    if uid != report.program_uid {
        return;
    }
    let values = program.ir().reports.iter().zip(report.fields);
    let values: Vec<String> = values
        .map(|(v, value)| format!("{}={value}", v.name))
        .collect();
    trace!(
        target: "ccpd::report",
        flow = flow.0,
        algorithm = runner.algorithm().map(Algorithm::name),
        program = program.name(),
        "{}",
        values.join(" ")
    );
}

/// A flow's task, before it is spawned.
#[derive(Debug)]
pub(crate) struct FlowTask {
    pub(crate) cell: Arc<FlowCell>,
    pub(crate) opened: Opened,
    pub(crate) default: Option<Algorithm>,
    pub(crate) datapath: Arc<DatapathMetrics>,
    pub(crate) shared: Arc<Shared>,
}

/// How a step of the task ended.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// There may be more to do.
    More,
    /// Nothing to do before the time, if there is one, or until something comes.
    Idle(Option<Timestamp>),
    /// The flow has ended, or the daemon stops.
    Ended,
}

impl FlowTask {
    /// Runs until the flow ends or the daemon stops.
    pub(crate) async fn run(self) {
        let Self {
            cell,
            opened,
            default,
            datapath,
            shared,
        } = self;
        let outlet = &*cell.outlet;
        let sock_id = opened.announced.info.sock_id;
        let mss = opened.announced.info.mss;
        let _listed = Listed {
            shared: &shared,
            id: cell.id,
        };
        let (origin, rule) = (opened.announced.info.origin, opened.rule);
        let runner = FlowRunner::new(shared.clock.now(), opened, default);
        let metrics = &shared.metrics;
        metrics.flow(&Counts::default(), runner.counts());
        let steered_by = runner.algorithm().cloned();
        let counted = CountedFlow::new(
            datapath,
            metrics.algorithm(steered_by.as_ref().map(Algorithm::name)),
        );
        let steered = Steered {
            runner,
            last: None,
            fields: Vec::new(),
        };
        *cell.steered.lock().unwrap_or_else(PoisonError::into_inner) = Some(steered);
        let mut work = Work {
            cell: &cell,
            sock_id,
            rate_set: false,
            mss,
            seen: None,
            shared: &shared,
            held: None,
            counted,
            steered_by,
        };
        work.tell_opened(origin, rule);
        loop {
            let wake_at = match work.step() {
                Step::Ended => break,
                Step::More => {
                    give_way().await;
                    continue;
                }
                Step::Idle(wake_at) => wake_at,
            };
            let timer = async {
                match wake_at.and_then(|time| shared.clock.instant(time)) {
                    Some(instant) => tokio::time::sleep_until(instant).await,
                    None => std::future::pending().await,
                }
            };
            let ready = async {
                match work.held {
                    Some(_) => outlet.ready().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = cell.inbox.wait() => {}
                () = timer => {}
                () = ready => {}
            }
        }
    }
}

/// Takes the flow off the board, whatever its task ends by.
struct Listed<'a> {
    shared: &'a Shared,
    id: FlowId,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.shared.board.remove(self.id);
        if std::thread::panicking() {
            // Algorithms' panics are caught before: this one is ours.
            error!(
                flow = self.id.0,
                "the flow's task failed; its datapath steers it by itself"
            );
        }
    }
}

struct Work<'a> {
    cell: &'a FlowCell,
    sock_id: SockId,
    /// The algorithm has set a rate; else the rate that is observed is the datapath's own.
    rate_set: bool,
    /// The largest segment that the algorithm knows of, in bytes.
    mss: u32,
    /// Who steers the flow and how often its programs have faulted, as last seen.
    seen: Option<(FlowMode, u32)>,
    shared: &'a Shared,
    /// A command that the datapath has not taken yet. Nothing else is sent before it.
    held: Option<Command>,
    counted: CountedFlow,
    /// For whom it is counted.
    steered_by: Option<Algorithm>,
}

impl Work<'_> {
    fn step(&mut self) -> Step {
        let cell = self.cell;
        cell.with_steered(|steered| {
            let before = *steered.runner.counts();
            // Looked at first: what comes meanwhile is not dealt with yet.
            let read_at = cell.read_at.load(Ordering::Relaxed);
            let step = self.step_with(steered);
            self.count(&steered.runner, &before);
            if read_at != 0 {
                cell.read_at.store(0, Ordering::Relaxed);
                let took = self.shared.clock.nanos().saturating_sub(read_at);
                self.shared.metrics.answered(Duration::from_nanos(took));
            }
            step
        })
        .unwrap_or(Step::Ended)
    }

    /// What has changed since the flow had counted `before` becomes part of the metrics.
    fn count(&mut self, runner: &FlowRunner, before: &Counts) {
        let metrics = &self.shared.metrics;
        metrics.flow(before, runner.counts());
        self.counted.is_in(runner.mode());
        let same = match (&self.steered_by, runner.algorithm()) {
            (Some(before), Some(now)) => before.same(now),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.steered_by = runner.algorithm().cloned();
            let name = self.steered_by.as_ref().map(Algorithm::name);
            self.counted.belongs_to(metrics.algorithm(name));
        }
    }

    fn step_with(&mut self, steered: &mut Steered) -> Step {
        let Steered {
            runner,
            last,
            fields,
        } = steered;
        self.observe(runner);
        runner.on_timer(self.shared.clock.now());
        let mut left = BATCH;
        while left > 0 {
            left -= 1;
            let Some(next) = self.cell.inbox.next(fields) else {
                break;
            };
            let now = self.shared.clock.now();
            match next {
                Next::Report(head) => {
                    *last = Some(head);
                    let report = head.with(fields);
                    log_report(runner, &report, self.cell.id());
                    self.report(runner, now, &report);
                }
                Next::Missed(count) => {
                    runner.missed(now, count);
                    self.tell_missed(now, count);
                }
                Next::FromGroup(updates) => runner.from_group(now, updates),
                Next::Turn(turn) => {
                    // It is about a time that is over.
                    self.held = None;
                    match turn {
                        Turn::Suspended => {
                            runner.on_suspend();
                            self.tell_suspended(now);
                        }
                        Turn::Resumed(announced) => {
                            self.mss = announced.info.mss;
                            self.tell_resumed(runner, now, &announced);
                            runner.on_resume(now, &announced);
                        }
                    }
                }
                Next::Assigned(assigned) => self.assign(runner, now, *assigned),
                Next::Stopped => return Step::Ended,
                Next::Closed => {
                    runner.close(now);
                    self.held = None;
                    self.send(runner);
                    self.tell_closed(runner, now);
                    return Step::Ended;
                }
            }
        }
        self.send(runner);
        self.cell.outlet.handled(self.sock_id);
        match left {
            0 => Step::More,
            _ => Step::Idle(runner.wake_at()),
        }
    }

    /// The runner hears how the flow really is, where the datapath lets one look.
    fn observe(&mut self, runner: &mut FlowRunner) {
        let Some(mut observed) = self.cell.outlet.observe(self.sock_id) else {
            return;
        };
        if !self.rate_set {
            observed.state.rate = Rate::ZERO;
        }
        runner.observe(observed.state);
        let seen = Some((observed.mode, observed.faults));
        if seen != self.seen {
            self.tell_seen(runner, &observed);
            self.seen = seen;
        }
        let mss = observed.mss;
        if mss != 0 && mss != self.mss {
            self.mss = mss;
            runner.on_event(self.shared.clock.now(), &Event::MssChanged { mss });
        }
    }

    /// Does what the runner wants done, as far as the datapath takes it.
    fn send(&mut self, runner: &mut FlowRunner) {
        if let Some(command) = self.held.take() {
            self.tell(runner, command);
        }
        while self.held.is_none() {
            match runner.poll() {
                None => break,
                Some(RunnerOutput::Command(command)) => self.tell(runner, command),
                Some(RunnerOutput::Forward { to, updates }) => {
                    if let Some(other) = self.shared.board.flow(to)
                        && !other.inbox.group(updates)
                    {
                        self.shared.metrics.count(Count::GroupUpdatesDropped, 1);
                        warn!(
                            flow = to.0,
                            "too much waits for this flow: an update of its group was dropped"
                        );
                    }
                }
                Some(RunnerOutput::Notice(notice)) => {
                    self.log(&notice);
                    self.tell_notice(notice);
                }
                // What a later version of the core may want is not known here.
                Some(_) => {}
            }
        }
    }

    fn tell(&mut self, runner: &FlowRunner, command: Command) {
        if let Command::Update(update) = &command
            && let Some(rate) = update.rate()
        {
            self.rate_set = rate > 0;
        }
        if self.cell.outlet.send(runner.programs(), &command) == Sent::Full {
            self.held = Some(command);
        }
    }

    fn log(&self, notice: &RunnerNotice) {
        let flow = self.cell.id.0;
        match notice {
            RunnerNotice::Panicked {
                algorithm,
                message,
                now,
            } => {
                let of = self.shared.metrics.algorithm(Some(algorithm));
                of.count(OfAlgorithm::Panics);
                let now = now.as_deref().unwrap_or("its datapath");
                error!(
                    flow,
                    algorithm,
                    panic = message,
                    now,
                    "an algorithm panicked"
                );
            }
            RunnerNotice::TakenOver { algorithm, now } => {
                self.shared.metrics.count(Count::FlowsTakenOver, 1);
                let now = now.as_deref().unwrap_or("its datapath");
                error!(
                    flow,
                    algorithm,
                    now,
                    "the datapath took the flow over again and again (its program faults, or the algorithm does not come back): the algorithm is given up for this flow"
                );
            }
            RunnerNotice::Refused { algorithm, error } => {
                warn!(flow, algorithm, %error, "an algorithm's update was refused");
            }
            other => warn!(flow, notice = ?other, "about a flow"),
        }
    }
}
