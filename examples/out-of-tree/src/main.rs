//! A congestion control of one's own, which keeps the delay low, and the daemon that runs it:
//! `out-of-tree ccpd.toml`, with `[algorithms.gentle]` in the file.

use ccp_core::{BuildError, Bytes, CompiledProgram, CongAlg, Flow, NewFlow, Params, Report};
use ccp_core::{ReportField, Resume, Timestamp, Updates};

const PROGRAM: &str = "
    (def (Report (rtt 0) (least +infinity)))
    (when true
        (:= Report.rtt Flow.rtt_sample_us)
        (:= Report.least (min Report.least Flow.rtt_sample_us))
        (fallthrough))
    (when (> Micros Report.rtt) (report) (reset))";

/// The program, the places of `rtt` and `least` in its reports, window and segment in bytes.
#[derive(Clone)]
struct Gentle(CompiledProgram, [ReportField<u64>; 2], u64, u64);

fn gentle(_: &Params) -> Result<Gentle, BuildError> {
    let program = CompiledProgram::compile("gentle", PROGRAM)?;
    let fields = [program.report("rtt")?, program.report("least")?];
    Ok(Gentle(program, fields, 0, 0))
}

impl CongAlg for Gentle {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.0.clone()]
    }
    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Gentle {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        (self.2, self.3) = (resume.state.cwnd.0, resume.mss.into());
        Updates::run(&self.0)
    }
    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        let Self(_, fields, cwnd, segment) = self;
        let [rtt, least] = fields.map(|field| report.get(field));
        *cwnd = match rtt > least / 4 * 5 {
            true => cwnd.saturating_sub(*segment).max(*segment),
            false => *cwnd + *segment,
        };
        Updates::none().cwnd(Bytes(*cwnd))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let file = std::env::args().nth(1).ok_or("usage: out-of-tree CONFIG")?;
    let config = ccpd::Config::load(file.as_ref())?;
    let builder = ccpd::Ccpd::builder().config(config).kind("gentle", gentle);
    let daemon = builder.spawn().await?;
    tokio::signal::ctrl_c().await?;
    daemon.stop();
    Ok(daemon.wait().await?)
}
