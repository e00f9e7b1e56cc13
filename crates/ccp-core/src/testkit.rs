//! One flow of an algorithm by itself, for tests: scripted reports in, updates out, or scripted
//! acknowledgements through the algorithm's own program.
//!
//! ```
//! # use ccp_core::{BuildError, CompiledProgram, CongAlg, Flow, NewFlow, Report, Resume, Updates};
//! # use ccp_core::{Bytes, Reports, Timestamp};
//! use ccp_core::testkit::{Ack, TestFlow};
//! # #[derive(Report)]
//! # struct Seen { lost: u64 }
//! # #[derive(Clone)]
//! # struct Halver { program: CompiledProgram, seen: Reports<Seen>, cwnd: Bytes }
//! # impl Halver {
//! #     fn new() -> Result<Self, BuildError> {
//! #         let program = CompiledProgram::compile("halver", "
//! #             (def (Report (volatile lost 0)))
//! #             (when (> Ack.lost_pkts_sample 0)
//! #                 (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
//! #                 (report))
//! #         ")?;
//! #         Ok(Self { seen: program.reports()?, program, cwnd: Bytes(0) })
//! #     }
//! # }
//! # impl CongAlg for Halver {
//! #     fn programs(&self) -> Vec<CompiledProgram> { vec![self.program.clone()] }
//! #     fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> { Box::new(self.clone()) }
//! # }
//! # impl Flow for Halver {
//! #     fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
//! #         self.cwnd = resume.state.cwnd;
//! #         Updates::run(&self.program)
//! #     }
//! #     fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
//! #         if report.read(self.seen).lost > 0 { self.cwnd.0 /= 2; }
//! #         Updates::none().cwnd(self.cwnd)
//! #     }
//! # }
//!
//! // 10 packets of 1,000 bytes.
//! let mut flow = TestFlow::new(Halver::new()?);
//!
//! // The algorithm alone: a report by the names of its variables.
//! flow.report(&[("lost", 1)]);
//! assert_eq!(flow.cwnd(), Bytes(5_000));
//!
//! // Program and algorithm together.
//! flow.ack(&Ack::of(1_000));
//! assert_eq!(flow.reports(), 1);
//! flow.ack(&Ack::of(1_000).lost(2));
//! assert_eq!(flow.reports(), 2);
//! assert_eq!(flow.cwnd(), Bytes(2_500));
//! # Ok::<(), BuildError>(())
//! ```
//!
//! Everything is refused loudly here that a runner would count and drop: an update that cannot be,
//! a panic of the algorithm, a fault of its program.

use std::net::SocketAddr;
use std::sync::Arc;

use ccp_program::interp::Registers;
use ccp_program::{Limits, RegisterTable};
use ccp_types::{Bytes, FlowInfo, FlowState, Micros, Origin, Rate, SockId, Timestamp};
use ccp_wire::Capabilities;

use crate::alg::{CongAlg, Event, FlowId};
use crate::command::{Command, FlowUpdate, Place};
use crate::program::CompiledProgram;
use crate::registry::Algorithm;
use crate::runner::{FlowRunner, FlowStatus, RawReport, RunnerOutput};
use crate::session::{Announced, Opened};
use crate::table::ProgramTable;

mod ack;
mod path;

pub use ack::Ack;
pub use path::{Path, Round};

/// What a flow under test is like.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Largest segment, in bytes.
    pub mss: u32,
    /// The window at the beginning.
    pub cwnd: Bytes,
    /// Why the flow comes.
    pub origin: Origin,
    /// What its datapath measures and lets be written.
    pub registers: RegisterTable,
}

impl Default for Setup {
    /// A new flow with a window of ten packets of 1,000 bytes, on a datapath that measures
    /// everything well known.
    fn default() -> Self {
        Self {
            mss: 1_000,
            cwnd: Bytes(10_000),
            origin: Origin::New,
            registers: RegisterTable::well_known(),
        }
    }
}

/// One flow under test. Time starts at 1 s and goes on as the test says.
///
/// # Panics
/// All methods do if the algorithm panics, wants something that cannot be, or its program faults:
/// here is where to find out.
pub struct TestFlow {
    runner: FlowRunner,
    table: RegisterTable,
    running: Option<(u32, CompiledProgram, Registers)>,
    cwnd: Bytes,
    rate: Rate,
    staged: Vec<FlowUpdate>,
    updates: Vec<FlowUpdate>,
    now: Timestamp,
    reports: u64,
}

/// The first moment of every test.
const START: Timestamp = Timestamp(1_000_000);

impl TestFlow {
    /// A new flow with a window of ten packets of 1,000 bytes, on a datapath that measures
    /// everything well known.
    #[must_use]
    pub fn new(alg: impl CongAlg) -> Self {
        Self::with(alg, &Setup::default())
    }

    /// A flow as `setup` says.
    #[must_use]
    pub fn with(alg: impl CongAlg, setup: &Setup) -> Self {
        Self::of(&Algorithm::new("tested", "tested", Arc::new(alg)), setup)
    }

    /// A flow of an algorithm from a registry.
    #[must_use]
    pub fn of(algorithm: &Algorithm, setup: &Setup) -> Self {
        let capabilities = Capabilities::new(setup.registers.clone(), Limits::MAX);
        let programs = Arc::new(ProgramTable::new(
            std::slice::from_ref(algorithm),
            Some(&capabilities),
        ));
        assert!(
            programs.fits(algorithm),
            "the datapath does not run what the algorithm needs: {:?}",
            programs.refused()
        );
        let end = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let mut info = FlowInfo::new(SockId(1), end(40_000), end(443), setup.mss, setup.cwnd);
        info.origin = setup.origin;
        let announced = Announced {
            info: info.into(),
            generation: 1,
            faults: 0,
        };
        let opened = Opened::new(
            FlowId(1),
            "test",
            announced,
            Some(algorithm.clone()),
            programs,
        );
        let mut flow = Self {
            runner: FlowRunner::new(START, opened, None),
            table: setup.registers.clone(),
            running: None,
            cwnd: setup.cwnd,
            rate: Rate::ZERO,
            staged: Vec::new(),
            updates: Vec::new(),
            now: START,
            reports: 0,
        };
        flow.settle();
        flow
    }

    /// Delivers a report of the program that runs: `fields` by name, the rest as when the program
    /// starts. What the algorithm answers has taken effect when this returns.
    pub fn report(&mut self, fields: &[(&str, u64)]) -> &mut Self {
        self.apply();
        let (uid, program) = self.program();
        let variables = &program.ir().reports;
        for (name, _) in fields {
            assert!(
                variables.iter().any(|v| v.name == *name),
                "program `{}` reports no `{name}`",
                program.name()
            );
        }
        let values: Vec<u64> = variables
            .iter()
            .map(|variable| {
                let given = fields.iter().find(|(name, _)| *name == variable.name);
                given.map_or(variable.default, |(_, value)| *value)
            })
            .collect();
        self.deliver(uid, &values);
        self.apply();
        self
    }

    /// An acknowledgement arrives: what is staged takes effect, the program runs over it, and if
    /// it reports, the algorithm hears of it. Returns the values of the report, by name.
    pub fn ack(&mut self, ack: &Ack) -> Option<Vec<(String, u64)>> {
        self.apply();
        let cwnd = self.cwnd;
        let (uid, program, registers) = self.running.as_mut()?;
        registers.writable.resize(program.ir().writables.len(), 0);
        for (place, value) in registers
            .writable
            .iter_mut()
            .zip([self.cwnd.0, self.rate.0])
        {
            *place = value;
        }
        let primitives = ack.primitives(program.ir(), self.now);
        let outcome = match registers.invoke(program.ir(), &primitives, self.now.0) {
            Ok(outcome) => outcome,
            Err(fault) => panic!("program `{}`: {fault} at {ack:?}", program.name()),
        };
        let written = registers.writable.iter().copied();
        let mut written = written.chain([cwnd.0, 0]);
        self.cwnd = Bytes(written.next().unwrap_or(cwnd.0));
        self.rate = Rate(written.next().unwrap_or(0));
        if !outcome.report {
            return None;
        }
        let values = registers.report.clone();
        registers.reported(program.ir());
        let names = program.ir().reports.iter().map(|v| v.name.clone());
        let named = names.zip(values.iter().copied()).collect();
        let uid = *uid;
        self.deliver(uid, &values);
        Some(named)
    }

    /// Time goes on by `span`; timers that come due run.
    pub fn pass(&mut self, span: Micros) -> &mut Self {
        let end = self.now + span;
        while let Some(time) = self.runner.wake_at().filter(|time| *time <= end) {
            self.now = self.now.max(time);
            self.runner.on_timer(self.now);
            self.settle();
        }
        self.now = end;
        self
    }

    /// Something happens to the flow.
    pub fn event(&mut self, event: &Event) -> &mut Self {
        self.runner.on_event(self.now, event);
        self.settle();
        self.apply();
        self
    }

    /// The datapath gives the flow back with the window `cwnd`; no program runs.
    pub fn resume(&mut self, origin: Origin, cwnd: Bytes) -> &mut Self {
        let mut info = FlowInfo::clone(self.runner.info());
        (info.init_cwnd, info.origin) = (cwnd, origin);
        info.state = FlowState {
            cwnd,
            ..FlowState::default()
        };
        let announced = Announced {
            info: info.into(),
            generation: 1,
            faults: 0,
        };
        self.running = None;
        self.staged.clear();
        self.cwnd = cwnd;
        self.runner.on_resume(self.now, &announced);
        self.settle();
        self.apply();
        self
    }

    /// The configuration changes: the algorithm is `alg` from now on, of the same kind.
    pub fn reconfigure(&mut self, alg: impl CongAlg) -> &mut Self {
        let algorithm = Algorithm::new("tested", "tested", Arc::new(alg));
        self.runner.reconfigure(self.now, &algorithm);
        self.settle();
        self.apply();
        self
    }

    /// The datapath changes the window by itself.
    pub const fn set_cwnd(&mut self, cwnd: Bytes) -> &mut Self {
        self.cwnd = cwnd;
        self
    }

    /// The window.
    #[must_use]
    pub fn cwnd(&self) -> Bytes {
        let staged = self.staged.iter().rev().find_map(FlowUpdate::cwnd);
        staged.map_or(self.cwnd, Bytes)
    }

    /// The pacing rate; 0 if none is set.
    #[must_use]
    pub fn rate(&self) -> Rate {
        let staged = self.staged.iter().rev().find_map(FlowUpdate::rate);
        staged.map_or(self.rate, Rate)
    }

    /// The value of a control variable of the program that runs.
    #[must_use]
    pub fn control(&mut self, name: &str) -> Option<u64> {
        self.apply();
        let (_, program, registers) = self.running.as_ref()?;
        let place = program.ir().controls.iter().position(|v| v.name == name)?;
        registers.control.get(place).copied()
    }

    /// The time.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// How many reports the algorithm got.
    #[must_use]
    pub const fn reports(&self) -> u64 {
        self.reports
    }

    /// The updates since this was last called.
    pub fn take_updates(&mut self) -> Vec<FlowUpdate> {
        std::mem::take(&mut self.updates)
    }

    /// What the flow's runner says of it.
    #[must_use]
    pub fn status(&self) -> FlowStatus {
        self.runner.status()
    }

    /// Whether the program that runs leaves losses to the datapath.
    #[must_use]
    pub fn datapath_recovers(&self) -> bool {
        let recovers = |p: &CompiledProgram| !p.ir().own_recovery;
        self.running.as_ref().is_some_and(|(_, p, _)| recovers(p))
    }

    /// Whether the datapath has the primitive `name`.
    #[must_use]
    pub fn measures(&self, name: &str) -> bool {
        self.table.primitive(name).is_some()
    }

    fn program(&self) -> (u32, CompiledProgram) {
        match &self.running {
            Some((uid, program, _)) => (*uid, program.clone()),
            None => panic!("the algorithm has not started a program"),
        }
    }

    fn deliver(&mut self, program_uid: u32, fields: &[u64]) {
        self.reports += 1;
        let report = RawReport {
            program_uid,
            generation: 1,
            merged: 0,
            fields,
        };
        self.runner.on_report(self.now, &report);
        self.settle();
    }

    /// Takes what the runner says.
    fn settle(&mut self) {
        while let Some(output) = self.runner.poll() {
            match output {
                RunnerOutput::Command(Command::Update(update)) => {
                    self.updates.push(update.clone());
                    self.staged.push(update);
                }
                RunnerOutput::Notice(notice) => panic!("{notice:?}"),
                other => panic!("one flow alone cannot do this: {other:?}"),
            }
        }
    }

    /// What is staged takes effect, as it does before a program runs.
    fn apply(&mut self) {
        for update in std::mem::take(&mut self.staged) {
            if update.change_program {
                let installed = self.runner.programs().get(update.program_uid);
                self.running = installed.map(|installed| {
                    let registers = Registers::new(installed.program.ir(), self.now.0);
                    (installed.uid, installed.program.clone(), registers)
                });
            }
            for (place, value) in &update.fields {
                match (*place, &mut self.running) {
                    (Place::Writable(0), _) => self.cwnd = Bytes(*value),
                    (Place::Writable(1), _) => self.rate = Rate(*value),
                    (Place::Writable(_), _) | (Place::Control(_), None) => {}
                    (Place::Control(place), Some((_, _, registers))) => {
                        if let Some(control) = registers.control.get_mut(usize::from(place)) {
                            *control = *value;
                        }
                    }
                }
            }
        }
    }
}

impl std::fmt::Debug for TestFlow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TestFlow")
            .field("now", &self.now)
            .field("cwnd", &self.cwnd())
            .field("rate", &self.rate())
            .field("reports", &self.reports)
            .finish_non_exhaustive()
    }
}
