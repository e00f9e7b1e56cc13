//! One flow is run again.

use std::sync::Arc;

use ccp_control::recording::{Entry, RecordedReport, Shape};
use ccp_control::{Announced, AttributeValue, FlowOrigin, FlowStatus, What, Why};
use ccp_core::{
    Algorithm, Assigned, Attribute, Bytes, Command, Event, FlowId, FlowInfo, FlowRunner, FlowState,
    Micros, Opened, Origin, ProgramTable, Rate, RawReport, RunnerNotice, RunnerOutput, SockId,
    Timestamp,
};
use ccp_program::{Limits, RegisterTable};
use ccp_wire::Capabilities;

use super::algorithms::Algorithms;
use super::compare::Decision;
use super::hints::{FlowHints, Hints};
use super::outcome::{Compared, FlowOutcome, Side};
use crate::record::NATIVE;

/// The time before the recording in virtual time, in microseconds: no algorithm begins at 0.
const BEFORE: u64 = 1_000_000;

/// A flow is woken at most so often: a recording may say that years pass.
const MOST_WAKES: u64 = 10_000_000;

/// A flow under way.
pub(super) struct FlowReplay<'a> {
    flow: u64,
    hints: Option<&'a FlowHints>,
    /// The time that is 0 in virtual time.
    epoch_us: u64,
    /// Told last; the flow opens or returns with it.
    announced: Option<Announced>,
    /// As it was told first.
    begun: Option<Begun>,
    runner: Option<FlowRunner>,
    /// Where the values of the program are among those that were recorded.
    mapped: Option<Mapped>,
    /// `Some` while everything that the algorithm gets is as recorded, and so what it decides should be.
    exact: Option<Compared>,
    compared: Option<Compared>,
    wakes: u64,
    recorded: Side,
    replayed: Side,
    refused: Option<String>,
    notes: Vec<String>,
}

/// How a flow was when it was first told of.
struct Begun {
    status: Box<FlowStatus>,
    announced: Announced,
}

struct Mapped {
    shape: Arc<Shape>,
    program: u32,
    places: Vec<usize>,
}

impl<'a> FlowReplay<'a> {
    pub(super) fn new(flow: u64, hints: &'a Hints) -> Self {
        Self {
            flow,
            hints: hints.flow(flow),
            epoch_us: hints.first_us.saturating_sub(BEFORE),
            announced: None,
            begun: None,
            runner: None,
            mapped: None,
            exact: None,
            compared: None,
            wakes: 0,
            recorded: Side::default(),
            replayed: Side::default(),
            refused: None,
            notes: Vec::new(),
        }
    }

    /// The next that was recorded of it.
    pub(super) fn take(&mut self, algorithms: &mut Algorithms, entry: Entry) {
        match entry {
            Entry::Alive {
                time_us,
                status,
                announced,
            } => {
                self.note("it was there before the recording began: the replay starts from what it was then, and is not compared");
                self.begin(algorithms, time_us, status, announced, false);
            }
            Entry::Report {
                time_us, report, ..
            } => self.report(time_us, &report),
            Entry::Event(event) => self.event(algorithms, event.time_us, event.what),
            Entry::Algorithm(_) | Entry::Lost(_) => {}
        }
    }

    /// So many events are missing here, of this flow or others.
    pub(super) fn lost(&mut self, events: u64) {
        if self.runner.is_some() {
            let text = format!("{events} events of this or other flows are missing");
            self.goes_its_own_way();
            self.note(&text);
        }
    }

    pub(super) fn finish(mut self) -> FlowOutcome {
        self.compared = self.exact.take().or(self.compared);
        if self.begun.is_none() {
            self.note("its beginning is missing: it can't be run again");
        }
        FlowOutcome {
            flow: self.flow,
            mss: self.begun.as_ref().map_or(0, |b| b.announced.mss_bytes),
            recorded: self.recorded,
            replayed: self.replayed,
            compared: self.compared,
            refused: self.refused,
            notes: self.notes,
        }
    }

    fn event(&mut self, algorithms: &mut Algorithms, time_us: u64, what: What) {
        match what {
            What::Opened { status, origin, .. } => {
                let told = self.announced.take();
                let announced = told.unwrap_or_else(|| from_status(&status, origin));
                let exact = told.is_some() && algorithms.is_as_recorded();
                self.begin(algorithms, time_us, status, announced, exact);
            }
            What::Announced(announced) => match &mut self.runner {
                None => self.announced = Some(announced),
                Some(_) => self.resume(algorithms, time_us, &announced),
            },
            What::AlgorithmChanged { to, .. } if algorithms.follows_changes() => {
                self.goes_its_own_way();
                self.note(&format!(
                    "its algorithm was changed to {to}: from there on it is not compared"
                ));
                self.change(algorithms, time_us, &to);
            }
            What::Updated { program, fields } => self.updated(time_us, program, fields),
            What::Woken if self.exact.is_some() => {
                let now = self.at(time_us);
                if let Some(runner) = &mut self.runner {
                    runner.on_timer(now);
                }
            }
            What::MssChanged { mss_bytes } => {
                let mss = mss_bytes.max(1);
                self.call(time_us, |runner, now| {
                    runner.on_event(now, &Event::MssChanged { mss });
                });
            }
            What::ReportsMissed { count } => {
                self.call(time_us, |runner, now| runner.missed(now, count));
            }
            What::FellBack {
                why: Why::DaemonAway,
            } => self.call(time_us, |runner, _| runner.on_suspend()),
            What::Closed { .. } => {
                self.call(time_us, |runner, now| runner.close(now));
                self.runner = None;
            }
            _ => {}
        }
    }

    /// The flow comes under an algorithm.
    fn begin(
        &mut self,
        algorithms: &mut Algorithms,
        time_us: u64,
        status: Box<FlowStatus>,
        announced: Announced,
        exact: bool,
    ) {
        self.recorded = Side {
            algorithm: status.algorithm.clone(),
            ..Side::default()
        };
        self.replayed = Side::default();
        self.compared = None;
        self.exact = exact.then(Compared::default);
        let name = status.algorithm.clone();
        self.begun = Some(Begun { status, announced });
        self.start(algorithms, time_us, &name, announced);
    }

    /// A new runner takes on the flow that had the algorithm `name`.
    fn start(
        &mut self,
        algorithms: &mut Algorithms,
        time_us: u64,
        name: &str,
        announced: Announced,
    ) {
        self.runner = None;
        self.mapped = None;
        let Some(Begun { status, .. }) = &self.begun else {
            return;
        };
        if is_native(name) && algorithms.follows_changes() {
            return;
        }
        let algorithm = match algorithms.instead_of(name) {
            Ok(algorithm) => algorithm,
            Err(error) => return self.refuse(format!("{error:#}")),
        };
        self.replayed.algorithm = algorithm.name().to_owned();
        let announced = as_core(status, &announced);
        let now = Timestamp(time_us.saturating_sub(self.epoch_us));
        let runners = tables(&algorithm).map(|table| {
            let opened = Opened::new(
                FlowId(self.flow),
                &status.datapath,
                announced.clone(),
                Some(algorithm.clone()),
                Arc::new(table),
            );
            FlowRunner::new(now, opened, None)
        });
        self.runner = choose(runners, self.hints);
        if self.exact.is_none() {
            self.send(time_us);
        }
    }

    fn change(&mut self, algorithms: &mut Algorithms, time_us: u64, to: &str) {
        if is_native(to) {
            self.runner = None;
            return;
        }
        let now = self.at(time_us);
        let Some(runner) = &mut self.runner else {
            let Some(Begun { announced, .. }) = &self.begun else {
                return;
            };
            let window = self.recorded.seen.last().map(|(_, window)| *window);
            let announced = Announced {
                origin: FlowOrigin::Adopted,
                cwnd_bytes: window.unwrap_or(announced.cwnd_bytes),
                ..*announced
            };
            return self.start(algorithms, time_us, to, announced);
        };
        match algorithms.instead_of(to) {
            Ok(algorithm) => {
                self.replayed.algorithm = algorithm.name().to_owned();
                let programs = runner.programs().extended(std::slice::from_ref(&algorithm));
                let assigned =
                    Assigned::new(Some(algorithm.clone()), algorithm, Arc::new(programs));
                runner.assign(now, assigned);
                self.send(time_us);
            }
            Err(error) => self.refuse(format!("{error:#}")),
        }
    }

    fn resume(&mut self, algorithms: &Algorithms, time_us: u64, announced: &Announced) {
        let Some(Begun { status, .. }) = &self.begun else {
            return;
        };
        let mut announced = as_core(status, announced);
        if !algorithms.is_as_recorded() {
            // Faults and being taken over are of the program that was recorded.
            announced.faults = 0;
            Arc::make_mut(&mut announced.info).origin = Origin::Adopted;
        }
        self.call(time_us, |runner, now| runner.on_resume(now, &announced));
    }

    fn report(&mut self, time_us: u64, report: &RecordedReport) {
        self.recorded.reports += 1;
        self.recorded.seen.push((time_us, report.cwnd_bytes));
        if self.refused.is_some() {
            return;
        }
        self.wake(time_us);
        let now = self.at(time_us);
        let Some(runner) = &mut self.runner else {
            return;
        };
        let Some((program_uid, _)) = runner.program() else {
            return;
        };
        let fits = self.mapped.as_ref().is_some_and(|mapped| {
            mapped.program == program_uid && Arc::ptr_eq(&mapped.shape, &report.shape)
        });
        if !fits {
            match map(runner, &report.shape) {
                Ok(mapped) => self.mapped = Some(mapped),
                Err(refusal) => return self.refuse(refusal),
            }
        }
        let places = self.mapped.iter().flat_map(|mapped| &mapped.places);
        let values = places.map(|place| report.values.get(*place).copied().unwrap_or(0));
        let values: Vec<u64> = values.collect();
        runner.on_report(
            now,
            &RawReport {
                program_uid,
                generation: runner.generation(),
                merged: report.merged,
                fields: &values,
            },
        );
        self.replayed.reports += 1;
        if self.exact.is_none() {
            self.send(time_us);
        }
    }

    /// The recording has an update: the replay should have the same one.
    fn updated(&mut self, time_us: u64, program: Option<String>, fields: Vec<(String, u64)>) {
        self.recorded.updated(time_us, &fields);
        if self.exact.is_some() && self.refused.is_none() {
            let replayed = self.send(time_us);
            let recorded = Decision::new(program, fields);
            if let Some(compared) = &mut self.exact {
                compared.compare(time_us, &recorded, replayed.as_ref());
            }
        }
    }

    /// Something happens to the flow.
    fn call(&mut self, time_us: u64, call: impl FnOnce(&mut FlowRunner, Timestamp)) {
        self.wake(time_us);
        let now = self.at(time_us);
        if let Some(runner) = &mut self.runner {
            call(runner, now);
            if self.exact.is_none() {
                self.send(time_us);
            }
        }
    }

    /// The algorithm is woken at the times it asks for, up to `time_us`. While it does what was recorded,
    /// it is woken when it was.
    fn wake(&mut self, time_us: u64) {
        if self.exact.is_some() {
            return;
        }
        let until = self.at(time_us);
        while let Some(at) = self.runner.as_ref().and_then(FlowRunner::wake_at)
            && at <= until
        {
            if self.wakes == MOST_WAKES {
                self.note("its algorithm wants to be woken too often: it is not any more");
                return;
            }
            self.wakes += 1;
            if let Some(runner) = &mut self.runner {
                runner.on_timer(at);
            }
            self.send(at.0.saturating_add(self.epoch_us));
        }
    }

    /// Takes what the algorithm wants done. Returns what its datapath would be told.
    fn send(&mut self, time_us: u64) -> Option<Decision> {
        let mut decision = None;
        while let Some(output) = self.runner.as_mut().and_then(FlowRunner::poll) {
            match output {
                RunnerOutput::Command(Command::Update(update)) => {
                    let programs = self.runner.as_ref().map(FlowRunner::programs)?;
                    let fields = programs.named(&update);
                    let program = programs.started_by(&update).map(str::to_owned);
                    self.replayed.updated(time_us, &fields);
                    decision = Some(Decision::new(program, fields));
                }
                RunnerOutput::Notice(notice) => self.notice(notice),
                RunnerOutput::Forward { .. } => {
                    self.note("it has something to say to other flows: they are not told");
                }
                _ => {}
            }
        }
        decision
    }

    fn notice(&mut self, notice: RunnerNotice) {
        match notice {
            RunnerNotice::Panicked {
                algorithm, message, ..
            } => self.note(&format!("{algorithm} panicked in the replay: {message}")),
            RunnerNotice::Refused { algorithm, error } => {
                self.note(&format!("an update of {algorithm} was refused: {error}"));
            }
            RunnerNotice::TakenOver { algorithm, .. } => {
                self.note(&format!("{algorithm} was given up: its program faults"));
            }
            _ => {}
        }
    }

    /// From here on the algorithm may decide otherwise, and is not compared.
    fn goes_its_own_way(&mut self) {
        if let Some(compared) = self.exact.take() {
            self.compared = Some(compared);
        }
    }

    fn refuse(&mut self, why: String) {
        self.runner = None;
        self.refused.get_or_insert(why);
    }

    /// Each is told once.
    fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            self.notes.push(note.to_owned());
        }
    }

    const fn at(&self, time_us: u64) -> Timestamp {
        Timestamp(time_us.saturating_sub(self.epoch_us))
    }
}

fn is_native(algorithm: &str) -> bool {
    algorithm == NATIVE || algorithm.starts_with("native:")
}

/// The programs as each kind of datapath would have them: one with everything, and libccp.
fn tables(algorithm: &Algorithm) -> [ProgramTable; 2] {
    let all = Capabilities::new(RegisterTable::well_known(), Limits::MAX);
    let algorithms = std::slice::from_ref(algorithm);
    [Some(&all), None].map(|capabilities| ProgramTable::new(algorithms, capabilities))
}

/// The first that runs what the flow's datapath ran, or else whose program reports what was recorded,
/// or else any.
fn choose(runners: [FlowRunner; 2], hints: Option<&FlowHints>) -> Option<FlowRunner> {
    let ran = |runner: &FlowRunner| {
        let program = runner.program().map(|(_, program)| program.name());
        let known = hints.map(|hints| &hints.programs);
        program.is_some_and(|name| known.is_some_and(|known| known.contains(name)))
    };
    let fed = |runner: &FlowRunner| {
        let shape = hints.and_then(|hints| hints.shape.as_ref());
        shape.is_some_and(|shape| map(runner, shape).is_ok())
    };
    let place = runners
        .iter()
        .position(ran)
        .or_else(|| runners.iter().position(fed))
        .unwrap_or(0);
    runners.into_iter().nth(place)
}

/// Where the values that the runner's program reports are in reports of this shape.
fn map(runner: &FlowRunner, shape: &Arc<Shape>) -> Result<Mapped, String> {
    let Some((number, program)) = runner.program() else {
        return Err("it runs no program".to_owned());
    };
    let (mut places, mut missing) = (Vec::new(), Vec::new());
    for variable in &program.ir().reports {
        match shape.fields.iter().position(|name| *name == variable.name) {
            Some(place) => places.push(place),
            None => missing.push(variable.name.as_str()),
        }
    }
    if missing.is_empty() {
        return Ok(Mapped {
            shape: Arc::clone(shape),
            program: number,
            places,
        });
    }
    Err(format!(
        "its program `{}` needs {}, which `{}` did not report ({}): record flows whose program reports it",
        program.name(),
        missing.join(", "),
        shape.program,
        shape.fields.join(", ")
    ))
}

/// How a flow is announced of which only this is known.
const fn from_status(status: &FlowStatus, origin: FlowOrigin) -> Announced {
    Announced {
        origin,
        generation: 0,
        faults: 0,
        mss_bytes: status.mss_bytes,
        init_cwnd_bytes: status.cwnd_bytes,
        cwnd_bytes: status.cwnd_bytes,
        rate_bytes_per_s: status.rate_bytes_per_s,
        rtt_us: status.rtt_us,
        min_rtt_us: 0,
    }
}

/// The flow as its algorithm is told of it.
fn as_core(status: &FlowStatus, announced: &Announced) -> ccp_core::Announced {
    let mut info = FlowInfo::new(
        SockId(status.sock_id),
        status.src,
        status.dst,
        announced.mss_bytes.max(1),
        Bytes(announced.init_cwnd_bytes),
    );
    info.origin = match announced.origin {
        FlowOrigin::New => Origin::New,
        FlowOrigin::Adopted => Origin::Adopted,
        FlowOrigin::Resumed => Origin::Resumed,
    };
    info.state = FlowState {
        cwnd: Bytes(announced.cwnd_bytes),
        rate: Rate(announced.rate_bytes_per_s),
        srtt: Micros(announced.rtt_us),
        min_rtt: Micros(announced.min_rtt_us),
    };
    let attributes = status.attributes.0.iter();
    info.attributes = attributes
        .map(|(name, value)| match value {
            AttributeValue::Number(number) => Attribute::number(name.clone(), *number),
            AttributeValue::Text(text) => Attribute::text(name.clone(), text.as_str()),
        })
        .collect();
    ccp_core::Announced {
        info: info.into(),
        generation: announced.generation,
        faults: announced.faults,
    }
}
