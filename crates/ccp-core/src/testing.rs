//! What the tests of several modules share.

use std::sync::{Arc, Mutex};

use ccp_types::{Bytes, FlowInfo, SockId, Timestamp};

use crate::alg::{CongAlg, Event, Flow, FlowId, NewFlow, Resume};
use crate::program::{CompiledProgram, ControlField, ReportField};
use crate::registry::Algorithm;
use crate::report::Report;
use crate::update::Updates;

/// An algorithm that does nothing.
pub(crate) struct Idle;

impl CongAlg for Idle {
    fn programs(&self) -> Vec<CompiledProgram> {
        Vec::new()
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(Self)
    }
}

impl Flow for Idle {
    fn on_resume(&mut self, _now: Timestamp, _resume: &Resume) -> Updates {
        Updates::none()
    }

    fn on_report(&mut self, _now: Timestamp, _report: &Report<'_>) -> Updates {
        Updates::none()
    }
}

/// An algorithm that has a program, and does nothing.
pub(crate) struct Only(pub(crate) CompiledProgram);

impl CongAlg for Only {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.0.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(Idle)
    }
}

/// An algorithm that starts a program for packets of 1,000 bytes, and leaves it alone.
pub(crate) struct Starts(pub(crate) CompiledProgram);

impl CongAlg for Starts {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.0.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(Self(self.0.clone()))
    }
}

impl Flow for Starts {
    fn on_resume(&mut self, _now: Timestamp, _resume: &Resume) -> Updates {
        let segment = self.0.control::<u64>("segment").unwrap();
        Updates::run(&self.0).set(segment, 1_000)
    }

    fn on_report(&mut self, _now: Timestamp, _report: &Report<'_>) -> Updates {
        Updates::none()
    }
}

/// An algorithm whose reports say what it is to do, and that writes down what it hears.
#[derive(Clone)]
pub(crate) struct Puppet {
    pub(crate) program: CompiledProgram,
    pub(crate) other: CompiledProgram,
    pub(crate) what: ReportField<u64>,
    pub(crate) gain: ControlField<u64>,
    pub(crate) other_only: ControlField<u64>,
    pub(crate) heard: Arc<Mutex<Vec<String>>>,
}

/// What a [`Puppet`] does when its report says so.
pub(crate) mod order {
    pub(crate) const PANIC: u64 = 1;
    pub(crate) const ZERO_WINDOW: u64 = 2;
    pub(crate) const NO_SUCH_CONTROL: u64 = 3;
    pub(crate) const NO_SUCH_REGISTER: u64 = 4;
    pub(crate) const FOREIGN_PROGRAM: u64 = 5;
    pub(crate) const OTHER_FLOW: u64 = 6;
    pub(crate) const OTHER_PROGRAM: u64 = 7;
    pub(crate) const SLEEP: u64 = 8;
    pub(crate) const SLEEP_NOT: u64 = 9;
    pub(crate) const PANIC_IN_TIMER: u64 = 10;
    /// Anything from here on is a window in bytes.
    pub(crate) const CWND: u64 = 1_000;
}

impl Puppet {
    pub(crate) fn new() -> Self {
        Self::with("puppet", "")
    }

    /// With more text in its program, so that it is not the program of another one.
    pub(crate) fn with(name: &str, more: &str) -> Self {
        let program = format!(
            "(def (Report (what 0)) (gain 7)) {more} (when true (:= Report.what gain) (report))"
        );
        let other = "(def (Report (what 0)) (gain 8) (more 9)) (when true (:= Report.what more) \
                     (:= Cwnd (+ Cwnd gain)) (report))";
        let program = CompiledProgram::compile(name, &program).unwrap();
        let other = CompiledProgram::compile("other", other).unwrap();
        Self {
            what: program.report("what").unwrap(),
            gain: program.control("gain").unwrap(),
            other_only: other.control("more").unwrap(),
            program,
            other,
            heard: Arc::default(),
        }
    }

    pub(crate) fn named(&self, name: &str) -> Algorithm {
        Algorithm::new(name, "puppet", Arc::new(self.clone()))
    }

    pub(crate) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.heard.lock().unwrap())
    }

    fn hear(&self, what: String) {
        self.heard.lock().unwrap().push(what);
    }
}

impl CongAlg for Puppet {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone(), self.other.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Puppet {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        self.hear(format!("{:?} {}", resume.origin, resume.state.cwnd));
        Updates::run(&self.program)
    }

    fn on_report(&mut self, now: Timestamp, report: &Report<'_>) -> Updates {
        let what = report.get(self.what);
        match what {
            order::PANIC => panic!("as told"),
            order::ZERO_WINDOW => Updates::none().cwnd(Bytes(0)),
            order::NO_SUCH_CONTROL => Updates::none().cwnd(Bytes(5)).set(self.other_only, 1),
            order::NO_SUCH_REGISTER => {
                let mut updates = Updates::none();
                updates.add(crate::update::Change::Writable(9, 5));
                updates
            }
            order::FOREIGN_PROGRAM => {
                let foreign = "(def (Report (x 0))) (when true (report))";
                Updates::run(&CompiledProgram::compile("foreign", foreign).unwrap())
            }
            order::OTHER_FLOW => Updates::none().cwnd(Bytes(5)).to(FlowId(99)).cwnd(Bytes(6)),
            order::OTHER_PROGRAM => Updates::none()
                .set(self.gain, 1)
                .cwnd(Bytes(50))
                .program(&self.other)
                .set(self.other_only, 2),
            order::SLEEP => Updates::none().wake_at(Timestamp(now.0 + 5_000)),
            order::SLEEP_NOT => Updates::none().wake_at(Timestamp(0)),
            order::PANIC_IN_TIMER => Updates::none()
                .set(self.gain, order::PANIC_IN_TIMER)
                .wake_at(now),
            cwnd if cwnd >= order::CWND => Updates::none().cwnd(Bytes(cwnd)),
            gain => Updates::none().set(self.gain, gain),
        }
    }

    fn on_timer(&mut self, now: Timestamp) -> Updates {
        self.hear(format!("timer {now}"));
        Updates::none()
    }

    fn reconfigure(&mut self, _now: Timestamp, alg: &dyn CongAlg) -> Option<Updates> {
        let alg: &dyn std::any::Any = alg;
        let same = alg.downcast_ref::<Self>()?;
        self.program
            .same(&same.program)
            .then(|| Updates::none().set(self.gain, 77))
    }

    fn on_event(&mut self, _now: Timestamp, event: &Event) -> Updates {
        self.hear(format!("{event:?}"));
        if *event == (Event::ProgramFault { count: 666 }) {
            panic!("at an event");
        }
        Updates::none()
    }
}

pub(crate) fn info(sock_id: u32, port: u16) -> FlowInfo {
    let end = |port: u16| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    FlowInfo::new(
        SockId(sock_id),
        end(40_000),
        end(port),
        1_000,
        Bytes(10_000),
    )
}
