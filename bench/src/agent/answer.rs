//! Answers each report with a window: the least that an algorithm can do for each.

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, Flow, NewFlow, Params, Report, ReportField,
    Resume, Timestamp, Updates,
};

/// What both agents install.
pub(crate) const PROGRAM: &str = "
    (def (Report (volatile acked 0) (rtt 0)))
    (when true
        (:= Report.acked (+ Report.acked Ack.bytes_acked))
        (:= Report.rtt Flow.rtt_sample_us)
        (report))
";

/// How many values a report of [`PROGRAM`] has.
pub(crate) const FIELDS: u64 = 2;

#[derive(Debug, Clone)]
pub(super) struct Answer {
    program: CompiledProgram,
    acked: ReportField<Bytes>,
}

impl Answer {
    pub(super) fn from_params(_: &Params) -> Result<Self, BuildError> {
        let program = CompiledProgram::compile("answer", PROGRAM)?;
        let acked = program.report("acked")?;
        Ok(Self { program, acked })
    }
}

impl CongAlg for Answer {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }

    fn new_flow(&self, _: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Answer {
    fn on_resume(&mut self, _: Timestamp, _: &Resume) -> Updates {
        Updates::run(&self.program)
    }

    fn on_report(&mut self, _: Timestamp, report: &Report<'_>) -> Updates {
        Updates::none().cwnd(Bytes(window(report.get(self.acked).0)))
    }
}

/// The window after `acked` bytes: another one each time, of about ten packets, so that a hundred flows
/// do not overflow the loopback device's queue.
pub(super) const fn window(acked: u64) -> u64 {
    14_480 + (acked & 0x7ff)
}
