//! Keeps one flow alive, whatever its algorithm does.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use ccp_types::{FlowInfo, FlowState, Micros, Origin, Timestamp};

use crate::alg::{Event, FlowId, Resume, Totals};
use crate::command::{Command, FlowUpdate, Place};
use crate::policy::Native;
use crate::program::CompiledProgram;
use crate::registry::{Algorithm, panic_message};
use crate::report::Report;
use crate::session::{Announced, Opened};
use crate::table::ProgramTable;
use crate::update::{Change, Target, Updates};

mod output;
mod staging;
mod status;
mod steering;

pub use output::{RawReport, RunnerNotice, RunnerOutput};
pub use staging::UpdateError;
pub use status::{Counts, FlowMode, FlowStatus};

use staging::Staging;
use steering::{Steering, TakenOver, drop_quietly};

/// The shortest time that a flow can sleep: one that asks for less is woken then, so that no
/// algorithm keeps time from going on.
pub const MIN_SLEEP: Micros = Micros(100);

/// The largest window in segments; what an algorithm asks for beyond it is lowered to it. Kernel TCP has the
/// same limit.
pub const MOST_PACKETS: u64 = 1 << 20;

/// One flow with the algorithm that steers it.
///
/// Give it what happens (`on_…`), then call [`poll`](Self::poll) until there is nothing more; at
/// the time [`wake_at`](Self::wake_at) call [`on_timer`](Self::on_timer). It performs no IO and
/// reads no clock. A report costs no allocation once the flow is under way.
///
/// A panic of the algorithm moves the flow to the default algorithm, from its present window; a
/// panic of the default algorithm leaves it to the datapath. The same goes for a program that
/// faults so often that the datapath takes over again and again. An update that cannot be is dropped
/// as a whole, and the flow stays as it was.
pub struct FlowRunner {
    id: FlowId,
    datapath: Arc<str>,
    info: Arc<FlowInfo>,
    generation: u32,
    programs: Arc<ProgramTable>,
    default: Option<Algorithm>,
    /// What the flow was last given, whatever became of it.
    assigned: Option<Algorithm>,
    steering: Option<Steering>,
    running: Option<(u32, CompiledProgram)>,
    mode: FlowMode,
    /// Nothing that comes is believed until the flow is announced again.
    suspended: bool,
    closed: bool,
    /// Window, rate and round-trip times as far as they were told or set.
    known: FlowState,
    /// `known` is what the datapath says, not what was set.
    observed: bool,
    now: Timestamp,
    opened_at: Timestamp,
    wake_at: Option<Timestamp>,
    pending: FlowUpdate,
    /// The datapath is yet to be told that nobody steers the flow.
    native: bool,
    /// How it is to steer the flow if that was given to nobody else.
    left_to: Native,
    /// Nobody steers the flow because everything that could has failed.
    given_up: bool,
    /// Not there for most flows.
    seldom: Option<Box<Seldom>>,
    counts: Counts,
}

/// What few flows need.
#[derive(Default)]
struct Seldom {
    group: Vec<FlowId>,
    forwards: VecDeque<(FlowId, Updates)>,
    notices: VecDeque<RunnerNotice>,
    taken_over: TakenOver,
}

impl FlowRunner {
    /// Takes on the flow `opened`. `default` is what it gets if its algorithm fails.
    #[must_use]
    pub fn new(now: Timestamp, opened: Opened, default: Option<Algorithm>) -> Self {
        let Opened {
            flow: id,
            datapath,
            announced: Announced {
                info, generation, ..
            },
            algorithm,
            native: left_to,
            programs,
            ..
        } = opened;
        let mut runner = Self {
            id,
            datapath,
            generation,
            programs,
            default,
            assigned: algorithm.clone(),
            steering: None,
            running: None,
            mode: FlowMode::Native,
            suspended: false,
            closed: false,
            known: info.state,
            observed: false,
            now,
            opened_at: now,
            wake_at: None,
            pending: FlowUpdate {
                flow: id,
                sock_id: info.sock_id,
                generation,
                program_uid: 0,
                change_program: false,
                fields: smallvec::SmallVec::new(),
            },
            native: false,
            left_to,
            given_up: false,
            seldom: None,
            counts: Counts::default(),
            info,
        };
        match algorithm {
            Some(algorithm) => {
                let origin = runner.info.origin;
                runner.start(now, &algorithm, origin);
            }
            // Also the answer that ends the announcements.
            None => runner.native = true,
        }
        runner
    }

    /// The program that runs in the datapath, and its number there.
    #[must_use]
    pub fn program(&self) -> Option<(u32, &CompiledProgram)> {
        let (uid, program) = self.running.as_ref()?;
        Some((*uid, program))
    }

    /// The program reported.
    pub fn on_report(&mut self, now: Timestamp, report: &RawReport<'_>) {
        let now = self.advance(now);
        let fits = !self.suspended && !self.closed && report.generation == self.generation;
        let report = match &self.running {
            Some((uid, program)) if fits && *uid == report.program_uid => {
                Report::new(program, report.fields, report.merged)
            }
            _ => None,
        };
        let (Some(report), Some(steering)) = (report, &mut self.steering) else {
            self.counts.stale += 1;
            return;
        };
        self.counts.reports += 1;
        self.counts.merged += report.merged();
        let flow = &mut steering.flow;
        let done = catch_unwind(AssertUnwindSafe(|| flow.on_report(now, &report)));
        self.finish(now, done);
    }

    /// Time has gone on. Does nothing before [`wake_at`](Self::wake_at).
    pub fn on_timer(&mut self, now: Timestamp) {
        let now = self.advance(now);
        if self.wake_at.is_some_and(|wake_at| wake_at <= now) {
            self.wake_at = None;
            self.call(now, |flow| flow.on_timer(now));
        }
    }

    /// Something happened to the flow. For its end there is [`close`](Self::close), for reports
    /// that were dropped [`missed`](Self::missed).
    pub fn on_event(&mut self, now: Timestamp, event: &Event) {
        let now = self.advance(now);
        if let Event::MssChanged { mss } = event {
            Arc::make_mut(&mut self.info).mss = *mss;
        }
        self.call(now, |flow| flow.on_event(now, event));
    }

    /// `count` reports came faster than they could be handed on, and were dropped.
    pub fn missed(&mut self, now: Timestamp, count: u64) {
        self.counts.missed += count;
        self.on_event(now, &Event::ReportsMissed { count });
    }

    /// The datapath announced the flow again: it is as `announced` says, and no program runs. If the
    /// program that ran before faulted, the algorithm hears of that ([`Event::ProgramFault`]), so that it
    /// can choose another; what it answers to the event is void.
    pub fn on_resume(&mut self, now: Timestamp, announced: &Announced) {
        let now = self.advance(now);
        if self.closed {
            return;
        }
        let again = !self.suspended
            && announced.info.origin == Origin::Resumed
            && announced.generation != self.generation;
        if announced.generation != self.generation && announced.faults > 0 {
            let count = u64::from(announced.faults);
            self.counts.faults += count;
            self.call(now, |flow| {
                drop(flow.on_event(now, &Event::ProgramFault { count }));
                Updates::none()
            });
        }
        self.info = Arc::clone(&announced.info);
        self.known = announced.info.state;
        self.generation = announced.generation;
        self.forget();
        self.suspended = false;
        self.mode = FlowMode::Native;
        let Some(steering) = &self.steering else {
            self.native = true;
            if self.given_up {
                self.mode = FlowMode::Fallback;
            }
            return;
        };
        if again {
            let algorithm = steering.algorithm.clone();
            if self.seldom().taken_over.too_often(now) {
                return self.give_up(now, &algorithm, |algorithm, now| RunnerNotice::TakenOver {
                    algorithm,
                    now,
                });
            }
        }
        let resume = Resume::new(self.info.origin, self.known, self.info.mss);
        self.call(now, |flow| flow.on_resume(now, &resume));
    }

    /// The control plane was not there for a while, so the datapath has taken over: nothing that
    /// comes is believed until [`on_resume`](Self::on_resume).
    pub fn on_suspend(&mut self) {
        self.suspended = true;
        self.mode = FlowMode::Fallback;
        self.forget();
    }

    /// Another flow of the group says what this one is to do.
    pub fn from_group(&mut self, now: Timestamp, updates: Updates) {
        let now = self.advance(now);
        if !self.suspended && !self.closed {
            self.apply(now, &updates);
        }
    }

    /// The flows whose updates may be addressed to this one's and the other way round. Without
    /// this, a flow steers itself only.
    pub fn set_group(&mut self, group: Vec<FlowId>) {
        self.seldom().group = group;
    }

    fn is_of_group(&self, flow: FlowId) -> bool {
        let seldom = self.seldom.as_ref();
        seldom.is_some_and(|seldom| seldom.group.contains(&flow))
    }

    fn seldom(&mut self) -> &mut Seldom {
        self.seldom.get_or_insert_default()
    }

    /// The flow ended: the algorithm hears of it, nothing is sent any more.
    pub fn close(&mut self, now: Timestamp) {
        if self.closed {
            return;
        }
        let now = self.advance(now);
        let totals = Totals::new(self.counts.reports, self.counts.updates);
        if let Some(Steering {
            algorithm,
            mut flow,
            ..
        }) = self.steering.take()
        {
            let last = AssertUnwindSafe(|| {
                let _ = flow.on_event(now, &Event::Closed(totals));
                drop(flow);
            });
            if let Err(panic) = catch_unwind(last) {
                self.counts.panics += 1;
                self.seldom().notices.push_back(RunnerNotice::Panicked {
                    algorithm: algorithm.name().to_owned(),
                    message: panic_message(&*panic).to_owned(),
                    now: None,
                });
            }
        }
        self.closed = true;
        self.forget();
        self.native = false;
    }

    /// The next thing to be done.
    pub fn poll(&mut self) -> Option<RunnerOutput> {
        let seldom = self.seldom.as_mut();
        if let Some(notice) = seldom.and_then(|seldom| seldom.notices.pop_front()) {
            return Some(RunnerOutput::Notice(notice));
        }
        if std::mem::take(&mut self.native) {
            return Some(RunnerOutput::Command(Command::Native {
                flow: self.id,
                sock_id: self.info.sock_id,
                generation: self.generation,
                mss: self.info.mss.max(1),
                // Whose algorithm failed is kept.
                by: match self.assigned {
                    None => self.left_to.clone(),
                    Some(_) => Native::Own,
                },
            }));
        }
        if !self.pending.is_empty() {
            let update = self.pending.clone();
            self.update_taken();
            return Some(RunnerOutput::Command(Command::Update(update)));
        }
        let (to, updates) = self.seldom.as_mut()?.forwards.pop_front()?;
        Some(RunnerOutput::Forward { to, updates })
    }

    /// The update that [`poll`](Self::poll) would return next, if it is an update. Once the datapath has it, say
    /// so ([`update_taken`](Self::update_taken)); until then it takes in what else is decided.
    #[must_use]
    pub fn update(&self) -> Option<&FlowUpdate> {
        let noticed = self.seldom.as_ref().is_some_and(|s| !s.notices.is_empty());
        (!self.pending.is_empty() && !self.native && !noticed).then_some(&self.pending)
    }

    /// The datapath has been told the [`update`](Self::update).
    pub fn update_taken(&mut self) {
        self.counts.updates += 1;
        self.pending.fields.clear();
        // What a start sets is more than what a report does.
        self.pending.fields.shrink_to_fit();
        self.pending.change_program = false;
    }

    /// When [`on_timer`](Self::on_timer) is to be called.
    #[must_use]
    pub const fn wake_at(&self) -> Option<Timestamp> {
        self.wake_at
    }

    /// The datapath tells by itself what it does: this is what [`status`](Self::status) shows and
    /// what a next algorithm starts from.
    pub const fn observe(&mut self, state: FlowState) {
        self.known = state;
        self.observed = true;
    }

    /// The flow's name in the control plane.
    #[must_use]
    pub const fn id(&self) -> FlowId {
        self.id
    }

    /// The name of its datapath.
    #[must_use]
    pub const fn datapath(&self) -> &Arc<str> {
        &self.datapath
    }

    /// The programs of its datapath, which also know how to encode commands for it.
    #[must_use]
    pub const fn programs(&self) -> &Arc<ProgramTable> {
        &self.programs
    }

    /// What was counted of it.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Who decides on its window.
    #[must_use]
    pub const fn mode(&self) -> FlowMode {
        self.mode
    }

    /// The algorithm that steers the flow; `None` if the datapath does.
    #[must_use]
    pub fn algorithm(&self) -> Option<&Algorithm> {
        self.steering.as_ref().map(|s| &s.algorithm)
    }

    /// What the flow was last given, whatever became of it; `None`: to be left to its datapath.
    #[must_use]
    pub const fn assigned(&self) -> Option<&Algorithm> {
        self.assigned.as_ref()
    }

    /// The flow as it was last announced.
    #[must_use]
    pub fn info(&self) -> &FlowInfo {
        &self.info
    }

    /// Which announcement of the flow is in force; 0 where its datapath does not count.
    #[must_use]
    pub const fn generation(&self) -> u32 {
        self.generation
    }

    /// Does what an algorithm wants, or nothing of it.
    fn apply(&mut self, now: Timestamp, updates: &Updates) {
        if let Some(time) = updates.wake() {
            self.wake_at = Some(time.max(now + MIN_SLEEP));
        }
        if let Err(error) = Staging::new(self).check(updates) {
            return self.refuse(error);
        }
        let was_empty = self.pending.is_empty();
        let (mut own, mut bounded) = (false, false);
        for update in updates.iter() {
            match update.flow {
                Target::Flow(to) if to != self.id => self.forward(to, update.change.clone()),
                _ => {
                    own = true;
                    bounded |= self.change(&update.change);
                }
            }
        }
        self.counts.coalesced += u64::from(own && !was_empty);
        self.counts.bounded += u64::from(bounded);
        if own && !self.observed {
            self.known.cwnd.0 = self.pending.cwnd().unwrap_or(self.known.cwnd.0);
            self.known.rate.0 = self.pending.rate().unwrap_or(self.known.rate.0);
        }
    }

    /// Makes a change that can be; returns whether the window was beyond the largest, and is that now.
    fn change(&mut self, change: &Change) -> bool {
        match *change {
            Change::Program(ref program) => {
                if let Some(uid) = self.programs.uid(program) {
                    self.pending.start(uid);
                    self.running = Some((uid, program.clone()));
                    self.mode = FlowMode::Running;
                    self.native = false;
                }
            }
            Change::Writable(place, value) => {
                let most = match place {
                    0 => MOST_PACKETS.saturating_mul(self.info.mss.max(1).into()),
                    _ => u64::MAX,
                };
                self.pending.set(Place::Writable(place), value.min(most));
                return value > most;
            }
            Change::Control(place, value) => self.pending.set(Place::Control(place), value),
        }
        false
    }

    #[cold]
    fn refuse(&mut self, error: UpdateError) {
        self.counts.refused += 1;
        if let Some(steering) = &mut self.steering
            && !std::mem::replace(&mut steering.told_of_refusal, true)
        {
            let algorithm = steering.algorithm.name().to_owned();
            self.seldom()
                .notices
                .push_back(RunnerNotice::Refused { algorithm, error });
        }
    }

    fn forward(&mut self, to: FlowId, change: Change) {
        let forwards = &mut self.seldom().forwards;
        match forwards.back_mut() {
            Some((last, updates)) if *last == to => updates.add(change),
            _ => {
                let mut updates = Updates::none();
                updates.add(change);
                forwards.push_back((to, updates));
            }
        }
    }

    /// Nothing runs, nothing is waited for, nothing is to be sent.
    fn forget(&mut self) {
        self.running = None;
        self.wake_at = None;
        self.pending.fields.clear();
        self.pending.change_program = false;
        self.pending.program_uid = 0;
        self.pending.generation = self.generation;
        self.pending.sock_id = self.info.sock_id;
    }

    /// Takes over what the algorithm knows of the flow, where the datapath does not tell.
    fn refresh(&mut self) {
        self.known = self.present();
    }

    fn present(&self) -> FlowState {
        let told = match &self.steering {
            Some(steering) if !self.observed => {
                let flow = &*steering.flow;
                catch_unwind(AssertUnwindSafe(|| flow.state())).unwrap_or_default()
            }
            _ => None,
        };
        told.unwrap_or(self.known)
    }

    /// Time never goes back.
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    /// How the flow is.
    #[must_use]
    pub fn status(&self) -> FlowStatus {
        let state = self.present();
        FlowStatus {
            id: self.id,
            datapath: self.datapath.clone(),
            sock_id: self.info.sock_id,
            src: self.info.src,
            dst: self.info.dst,
            algorithm: self.steering.as_ref().map(|s| s.algorithm.clone()),
            program: self.running.as_ref().map(|(_, program)| program.clone()),
            mode: self.mode,
            mss: self.info.mss,
            state,
            attributes: self.info.attributes.clone(),
            counts: self.counts,
            opened_at: self.opened_at,
        }
    }
}

impl Drop for FlowRunner {
    fn drop(&mut self) {
        drop_quietly(self.steering.take());
    }
}

impl std::fmt::Debug for FlowRunner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FlowRunner")
            .field("id", &self.id)
            .field("sock_id", &self.info.sock_id)
            .field("algorithm", &self.steering.as_ref().map(|s| &s.algorithm))
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
