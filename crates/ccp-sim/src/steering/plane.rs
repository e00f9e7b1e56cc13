//! The control plane: what `ccpd` does, without its tasks and sockets.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::BytesMut;
use ccp_core::{
    Algorithm, BuildError, Command, FlowId, FlowIds, FlowRunner, Match, Output, Plan, Policy,
    ProgramTable, RawReport, Registry, Rule, RunnerOutput, Session, SessionOptions, Timestamp,
};
use ccp_types::Micros;
use ccp_wire::{Encode as _, Heartbeat, frames};

use crate::record::ControlSummary;
use crate::scenario::Scenario;
use crate::time::Nanos;

/// What control planes are started from, one after the other.
pub(super) struct Plans {
    plan: Option<Arc<Plan>>,
    default: Option<Algorithm>,
    ids: FlowIds,
    options: SessionOptions,
    started: u32,
    /// What those before counted.
    before: ControlSummary,
}

impl Plans {
    pub(super) fn new(scenario: &Scenario, registry: &Registry) -> Result<Self, BuildError> {
        let built = scenario.algorithms.iter().map(|p| registry.build(p));
        let algorithms: Vec<Algorithm> = built.collect::<Result<_, _>>()?;
        // A flow asks for its algorithm by name.
        let rule = |algorithm: &Algorithm| {
            let mut matches = Match::default();
            matches.requested = Some(algorithm.name().to_owned());
            Rule {
                matches,
                given: algorithm.clone().into(),
            }
        };
        let rules = algorithms.iter().map(rule).collect();
        let default = algorithms.into_iter().next();
        let fallback_after = scenario.control.fallback_after.micros();
        Ok(Self {
            plan: default
                .clone()
                .map(|default| Plan::new(Policy::new(rules, default))),
            default,
            ids: FlowIds::new(),
            options: SessionOptions {
                // As ccpd: four signs of life in the time after which there is none.
                heartbeat: Micros(fallback_after.0 / 4),
                fallback_after,
                ..SessionOptions::default()
            },
            started: 0,
            before: ControlSummary::default(),
        })
    }

    /// A control plane that has not heard of anything; none if no flow has an algorithm.
    pub(super) fn start(&mut self, now: Nanos) -> Option<Plane> {
        let plan = self.plan.clone()?;
        self.started += 1;
        let options = SessionOptions {
            epoch: self.started,
            ..self.options
        };
        Some(Plane {
            session: Session::new("sim", plan, self.ids.clone(), options),
            runners: BTreeMap::new(),
            default: self.default.clone(),
            alarms: BTreeSet::new(),
            options,
            beat: 0,
            next_beat: now + Nanos::from_micros(options.heartbeat.0),
            out: VecDeque::new(),
            fields: Vec::new(),
            counts: ControlSummary::default(),
        })
    }

    /// A control plane is gone; what it counted is not.
    pub(super) fn keep(&mut self, plane: Plane) {
        plane.add_to(&mut self.before);
    }

    pub(super) fn summary(&self) -> ControlSummary {
        self.before.clone()
    }
}

/// A control plane and its flows.
pub(super) struct Plane {
    session: Session,
    runners: BTreeMap<FlowId, FlowRunner>,
    default: Option<Algorithm>,
    /// When algorithms want to be called.
    alarms: BTreeSet<(Timestamp, FlowId)>,
    options: SessionOptions,
    beat: u32,
    next_beat: Nanos,
    out: VecDeque<BytesMut>,
    fields: Vec<u64>,
    counts: ControlSummary,
}

impl Plane {
    /// Frames from the datapath.
    pub(super) fn on_frame(&mut self, now: Nanos, bytes: &[u8]) {
        for frame in frames(bytes) {
            let Ok(message) = frame.and_then(|frame| frame.message()) else {
                self.session.on_garbage();
                continue;
            };
            if let Some(delivery) = self.session.on_message(&message) {
                self.fields.clear();
                self.fields.extend(delivery.measure.fields());
                let report = RawReport {
                    program_uid: delivery.measure.program_uid,
                    generation: delivery.generation,
                    merged: delivery.merged,
                    fields: &self.fields,
                };
                if let Some(runner) = self.runners.get_mut(&delivery.flow) {
                    let alarm = runner.wake_at();
                    runner.on_report(now.timestamp(), &report);
                    self.settle(now, delivery.flow, alarm);
                }
            }
            self.drain(now);
        }
    }

    /// Signs of life, and algorithms that want to be called.
    pub(super) fn on_timer(&mut self, now: Nanos) {
        while self.next_beat <= now {
            self.next_beat += Nanos::from_micros(self.options.heartbeat.0.max(1));
            self.beat = self.beat.wrapping_add(1);
            let beat = Heartbeat {
                epoch: self.options.epoch,
                beat: self.beat,
            };
            // It is of fixed size, and has its place in every frame.
            if let Ok(frame) = beat.to_frame() {
                self.out.push_back(frame);
            }
        }
        while let Some((time, id)) = self.alarms.first().copied() {
            if time > now.timestamp() {
                break;
            }
            self.alarms.pop_first();
            if let Some(runner) = self.runners.get_mut(&id) {
                runner.on_timer(now.timestamp());
                self.settle(now, id, None);
            }
        }
    }

    /// When [`on_timer`](Self::on_timer) is to be called.
    pub(super) fn wake_at(&self) -> Option<Nanos> {
        let alarm = self.alarms.first().map(|(time, _)| Nanos::of(*time));
        Some(alarm.map_or(self.next_beat, |alarm| alarm.min(self.next_beat)))
    }

    pub(super) fn take_frames(&mut self, mut send: impl FnMut(&[u8])) {
        while let Some(frame) = self.out.pop_front() {
            send(&frame);
        }
    }

    pub(super) fn add_to(&self, summary: &mut ControlSummary) {
        summary.reports += self.counts.reports + self.session.stats().reports;
        summary.updates += self.counts.updates;
        summary.notices.extend(self.counts.notices.iter().cloned());
    }

    /// Does what the session wants done.
    fn drain(&mut self, now: Nanos) {
        let time = now.timestamp();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Command(command) => {
                    let programs = self.session.programs();
                    self.send(&programs, &command);
                }
                Output::Opened(opened) => {
                    let id = opened.flow;
                    let runner = FlowRunner::new(time, *opened, self.default.clone());
                    self.runners.insert(id, runner);
                    self.settle(now, id, None);
                }
                Output::Resumed { flow, announced } => {
                    if let Some(runner) = self.runners.get_mut(&flow) {
                        let alarm = runner.wake_at();
                        runner.on_resume(time, &announced);
                        self.settle(now, flow, alarm);
                    }
                }
                Output::Suspended { flow } => {
                    if let Some(runner) = self.runners.get_mut(&flow) {
                        runner.on_suspend();
                    }
                }
                Output::Closed { flow, .. } => {
                    if let Some(mut runner) = self.runners.remove(&flow) {
                        runner.close(time);
                    }
                }
                Output::Notice(notice) => match notice {
                    ccp_core::SessionNotice::Ready { .. } => {}
                    other => self.counts.notices.push(format!("{other:?}")),
                },
                _ => {}
            }
        }
    }

    /// Does what a runner wants done, and what others want then.
    fn settle(&mut self, now: Nanos, id: FlowId, alarm: Option<Timestamp>) {
        let mut forwards = Vec::new();
        let mut commands = Vec::new();
        let Some(runner) = self.runners.get_mut(&id) else {
            return;
        };
        while let Some(output) = runner.poll() {
            match output {
                RunnerOutput::Command(command) => commands.push(command),
                RunnerOutput::Forward { to, updates } => forwards.push((to, updates)),
                RunnerOutput::Notice(notice) => {
                    self.counts.notices.push(format!("{id:?}: {notice:?}"));
                }
                _ => {}
            }
        }
        let programs = Arc::clone(runner.programs());
        if alarm != runner.wake_at() {
            if let Some(alarm) = alarm {
                self.alarms.remove(&(alarm, id));
            }
            self.alarms.extend(runner.wake_at().map(|time| (time, id)));
        }
        for command in commands {
            self.send(&programs, &command);
        }
        for (to, updates) in forwards {
            if let Some(other) = self.runners.get_mut(&to) {
                let alarm = other.wake_at();
                other.from_group(now.timestamp(), updates);
                self.settle(now, to, alarm);
            }
        }
    }

    fn send(&mut self, programs: &ProgramTable, command: &Command) {
        let mut frame = BytesMut::new();
        match programs.encode(command, &mut frame) {
            Ok(true) => {
                if matches!(command, Command::Update(_)) {
                    self.counts.updates += 1;
                }
                self.out.push_back(frame);
            }
            Ok(false) => {}
            Err(error) => self.counts.notices.push(error.to_string()),
        }
    }
}
