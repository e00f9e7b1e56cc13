//! A program that does nothing: what remains is what the datapath does for any program.

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, Flow, NewFlow, Params, Report, Resume, Timestamp,
    Updates,
};

const PROGRAM: &str = "
    (def (Report (now 0)))
    (when (== Ack.now 0)
        (:= Report.now Ack.now)
        (report))
";

#[derive(Debug, Clone)]
pub(super) struct Idle(CompiledProgram);

impl Idle {
    pub(super) fn from_params(_: &Params) -> Result<Self, BuildError> {
        Ok(Self(CompiledProgram::compile("idle", PROGRAM)?))
    }
}

impl CongAlg for Idle {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.0.clone()]
    }

    fn new_flow(&self, _: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Idle {
    fn on_resume(&mut self, _: Timestamp, resume: &Resume) -> Updates {
        let window = Bytes::from_packets(200, resume.mss);
        Updates::run(&self.0).cwnd(window)
    }

    fn on_report(&mut self, _: Timestamp, _: &Report<'_>) -> Updates {
        Updates::none()
    }
}
