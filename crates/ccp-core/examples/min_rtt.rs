//! Reports the minimum round-trip time of every 42 ms and leaves the window alone.

use ccp_core::{CompiledProgram, CongAlg, Flow, Micros, NewFlow, Report, Reports, Resume};
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

#[derive(Report)]
struct Seen {
    minrtt: Micros,
}

#[derive(Clone)]
struct MinRtt {
    program: CompiledProgram,
    seen: Reports<Seen>,
}

impl MinRtt {
    fn new() -> Result<Self, Box<dyn std::error::Error>> {
        let program = CompiledProgram::compile("min_rtt", PROGRAM)?;
        let seen = program.reports()?;
        Ok(Self { program, seen })
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
        let Seen { minrtt } = report.read(self.seen);
        println!("{now} minimum RTT {minrtt}");
        Updates::none()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    MinRtt::new().map(|_| ())
}
