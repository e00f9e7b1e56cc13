//! Reports the minimum round-trip time of every 42 ms and leaves the window alone.

use ccp_core::{CompiledProgram, CongAlg, Flow, Micros, NewFlow, Report, ReportField, Resume};
use ccp_core::{Timestamp, Updates};

const PROGRAM: &str = "
    (def (Report (volatile minrtt +infinity)))
    (when true
        (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
        (fallthrough))
    (when (> Micros 42000)
        (report)
        (reset))
";

#[derive(Clone)]
struct MinRtt {
    program: CompiledProgram,
    minrtt: ReportField<Micros>,
}

impl MinRtt {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let program = CompiledProgram::compile("min_rtt", PROGRAM)?;
        let minrtt = program.report("minrtt")?;
        Ok(Self { program, minrtt })
    }
}

impl CongAlg for MinRtt {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for MinRtt {
    fn on_resume(&mut self, _now: Timestamp, _resume: &Resume) -> Updates {
        Updates::run(&self.program)
    }

    fn on_report(&mut self, now: Timestamp, report: &Report<'_>) -> Updates {
        println!("{now} minimum RTT {}", report.get(self.minrtt));
        Updates::none()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    MinRtt::new().map(|_| ())
}
