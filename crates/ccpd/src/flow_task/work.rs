//! What is done for a flow in one go.

use std::ops::{Deref, DerefMut};

use ccp_control::FlowMode;
use ccp_core::{
    Algorithm, Command, Counts, Event, FlowRunner, Rate, RunnerOutput, SockId, Timestamp,
};
use tracing::warn;

use super::{FlowCell, Step, Waits};
use crate::feed::What;
use crate::inbox::{Head, Next, Turn};
use crate::metrics::{Count, CountedFlow};
use crate::outlet::{Haste, Sent};
use crate::shared::Shared;
use crate::watchdog::Call;

/// After so many reports in a row, others get their turn.
const BATCH: usize = 32;

/// What is kept of a flow besides.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sock_id: SockId,
    /// The algorithm has set a rate; else the rate that is observed is the datapath's own.
    pub(super) rate_set: bool,
    /// The largest segment that the algorithm knows of, in bytes.
    pub(super) mss: u32,
    /// Who steers the flow and how often its programs have faulted, as last seen.
    pub(super) seen: Option<(FlowMode, u32)>,
    /// A command that the datapath has not taken yet, and that is no update. Nothing else is sent before it.
    pub(super) held: Option<Box<Command>>,
    /// The datapath has not taken the last of what there was.
    pub(super) room: bool,
    /// When the last report was begun with, until somebody has looked how long ago that is.
    pub(super) reported: Option<Timestamp>,
    /// How many reports in a row took long.
    pub(super) strikes: u8,
    pub(super) counted: CountedFlow,
    /// For whom it is counted.
    pub(super) steered_by: Option<Algorithm>,
}

/// What is done for a flow in one go.
pub(super) struct Work<'a> {
    pub(super) cell: &'a FlowCell,
    pub(super) shared: &'a Shared,
    pub(super) state: &'a mut State,
    /// As long as it lasts, somebody watches whether it goes on.
    pub(super) call: &'a Call,
    /// How its datapath is told of updates.
    pub(super) haste: Haste,
}

impl Deref for Work<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state
    }
}

impl DerefMut for Work<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state
    }
}

impl Work<'_> {
    /// What has changed since the flow had counted `before` becomes part of the metrics.
    pub(super) fn count(&mut self, runner: &FlowRunner, before: &Counts) {
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
            self.cell.is_steered_by(self.steered_by.as_ref());
            let name = self.steered_by.as_ref().map(Algorithm::name);
            let algorithm = metrics.algorithm(name);
            self.counted.belongs_to(algorithm);
        }
    }

    pub(super) fn step_with(
        &mut self,
        runner: &mut FlowRunner,
        last: &mut Option<Head>,
        fields: &mut Vec<u64>,
        mut handed: Option<(Head, &[u64])>,
    ) -> Step {
        let mut now = self.shared.clock.now();
        runner.leave_quarantined(now);
        self.observe(runner);
        // Mostly there is no timer, and one report: the clock is not read again for it.
        let mut is_past = false;
        if let Some(wake_at) = runner.wake_at() {
            if wake_at <= now {
                self.tell_step(now, || What::Woken);
            }
            runner.on_timer(now);
            is_past = true;
        }
        let mut left = BATCH;
        while left > 0 {
            left -= 1;
            let next = match handed.take() {
                Some((head, values)) => {
                    fields.clear();
                    fields.extend_from_slice(values);
                    Next::Report(head)
                }
                None => match self.cell.inbox.next(fields) {
                    Some(next) => next,
                    None => break,
                },
            };
            if std::mem::replace(&mut is_past, true) {
                now = self.shared.clock.now();
                self.call.goes_on();
                runner.leave_quarantined(now);
            }
            match next {
                Next::Report(head) => {
                    *last = Some(head);
                    self.reported = Some(now);
                    let report = head.with(fields);
                    self.log_report(runner, &report);
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
                Next::Assigned(assigned) => {
                    self.cell.is_steered_by(assigned.algorithm.as_ref());
                    self.assign(runner, now, *assigned);
                    self.cell.is_steered_by(runner.algorithm());
                }
                Next::Stopped => return Step::Ended,
                Next::Closed(totals) => {
                    let last = self.last_status(runner, now);
                    runner.close(now);
                    self.held = None;
                    self.send(runner);
                    self.tell_closed(last, totals.as_ref(), now);
                    return Step::Ended;
                }
            }
        }
        // Otherwise the inbox has just said that there is nothing, and so that it is not stopped.
        if left == 0 && self.cell.inbox.is_stopped() {
            return Step::Ended;
        }
        self.send(runner);
        self.cell.outlet.handled(self.sock_id);
        match left {
            0 => Step::More,
            _ => Step::Idle(Waits {
                until: runner.wake_at(),
                room: self.room,
            }),
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
            let now = self.shared.clock.now();
            self.tell_step(now, || What::MssChanged { mss });
            runner.on_event(now, &Event::MssChanged { mss });
        }
    }

    /// Does what the runner wants done, as far as the datapath takes it.
    fn send(&mut self, runner: &mut FlowRunner) {
        self.room = false;
        if let Some(command) = self.held.take() {
            self.tell(runner, command);
        }
        while !self.room {
            if runner.update().is_some() {
                self.update(runner);
                continue;
            }
            match runner.poll() {
                None => break,
                Some(RunnerOutput::Command(command)) => self.tell(runner, Box::new(command)),
                Some(RunnerOutput::Forward { to, updates }) => {
                    let Some(other) = self.shared.board.flow(to) else {
                        continue;
                    };
                    if other.inbox.group(updates) {
                        other.wake();
                    } else {
                        self.shared.metrics.count(Count::GroupUpdatesDropped, 1);
                        warn!(
                            flow = to.0,
                            "too much waits for this flow: an update of its group was dropped"
                        );
                    }
                }
                Some(RunnerOutput::Notice(notice)) => self.note(notice),
                // What a later version of the core may want is not known here.
                Some(_) => {}
            }
        }
    }

    /// Tells the datapath the update that the runner has; if there is no room, that takes in what follows.
    fn update(&mut self, runner: &mut FlowRunner) {
        let Some(update) = runner.update() else {
            return;
        };
        if self
            .cell
            .outlet
            .update(runner.programs(), update, self.haste)
            == Sent::Full
        {
            self.room = true;
            return;
        }
        if let Some(rate) = update.rate() {
            self.rate_set = rate > 0;
        }
        self.tell_updated(runner, update);
        runner.update_taken();
    }

    fn tell(&mut self, runner: &FlowRunner, command: Box<Command>) {
        if self.cell.outlet.send(runner.programs(), &command) == Sent::Full {
            self.held = Some(command);
            self.room = true;
        }
    }
}
