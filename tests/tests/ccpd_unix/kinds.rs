//! Algorithms that do what a test needs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, Event, Flow, Micros, NewFlow, Params, Report,
    ReportField, Resume, Timestamp, Updates,
};

/// How long an algorithm that hangs does so.
pub(crate) const HANG: Duration = Duration::from_secs(6);

/// What its flows do with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// They set the window to what was reported.
    Echo,
    /// The same, but the third report kills them.
    PanicsAtTheThird,
    /// The same, but they take their time.
    Slow,
    /// The same, but each report keeps them busy for [`HANG`].
    Hangs,
    /// They set the window by themselves every millisecond, one byte more each time.
    Ticks,
}

/// How many reports algorithms were told that they missed.
pub(crate) type Missed = Arc<AtomicU64>;

#[derive(Clone)]
pub(crate) struct Test {
    manner: Manner,
    program: CompiledProgram,
    value: ReportField<u64>,
    missed: Missed,
}

impl Test {
    pub(crate) fn new(
        manner: Manner,
        missed: &Missed,
        params: &Params,
    ) -> Result<Self, BuildError> {
        // One program for each table: two algorithms do not share it.
        let tag = params.name().len() * 31 + usize::from(params.name().as_bytes()[0]);
        let text = format!(
            "(def (Report (volatile value 0)) (tag {tag}))
             (when true (:= Report.value Ack.bytes_acked) (report))"
        );
        let program = CompiledProgram::compile(params.name(), &text)?;
        let value = program.report("value")?;
        Ok(Self {
            manner,
            program,
            value,
            missed: Arc::clone(missed),
        })
    }
}

impl CongAlg for Test {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(TestFlow {
            alg: self.clone(),
            reports: 0,
            ticks: 0,
        })
    }
}

struct TestFlow {
    alg: Test,
    reports: u64,
    ticks: u64,
}

impl Flow for TestFlow {
    fn on_resume(&mut self, now: Timestamp, resume: &Resume) -> Updates {
        let updates = Updates::run(&self.alg.program).cwnd(resume.state.cwnd);
        match self.alg.manner {
            Manner::Ticks => updates.wake_at(now + Micros::from_millis(1)),
            _ => updates,
        }
    }

    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        self.reports += 1;
        match self.alg.manner {
            Manner::PanicsAtTheThird if self.reports == 3 => panic!("three is too many"),
            Manner::Slow => std::thread::sleep(Duration::from_millis(1)),
            Manner::Hangs => std::thread::sleep(HANG),
            _ => {}
        }
        Updates::none().cwnd(Bytes(report.get(self.alg.value)))
    }

    fn on_timer(&mut self, now: Timestamp) -> Updates {
        self.ticks += 1;
        Updates::none()
            .cwnd(Bytes(100_000 + self.ticks))
            .wake_at(now + Micros::from_millis(1))
    }

    fn on_event(&mut self, _now: Timestamp, event: &Event) -> Updates {
        if let Event::ReportsMissed { count } = event {
            self.alg.missed.fetch_add(*count, Ordering::SeqCst);
        }
        Updates::none()
    }
}
