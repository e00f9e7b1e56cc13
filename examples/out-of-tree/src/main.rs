//! A congestion control of one's own, which keeps the delay low, and the daemon that runs it:
//! `out-of-tree ccpd.toml`, with `[algorithms.gentle]` in the file.

use ccp_core::{BuildError, Bytes, CompiledProgram, CongAlg, Flow, NewFlow, Params, Report};
use ccp_core::{Reports, Resume, Timestamp, Updates};

const PROGRAM: &str = "
    (def (Report (rtt 0) (least +infinity)))
    (when true
        (:= Report.rtt Flow.rtt_sample_us)
        (:= Report.least (min Report.least Flow.rtt_sample_us))
        (fallthrough))
    (when (> Micros Report.rtt) (report) (reset))";

#[derive(Report)]
struct Seen {
    rtt: u64,
    least: u64,
}

/// The program, where its reports have what, window and segment in bytes.
#[derive(Clone)]
struct Gentle(CompiledProgram, Reports<Seen>, u64, u64);

fn gentle(_: &Params) -> Result<Gentle, BuildError> {
    let program = CompiledProgram::compile("gentle", PROGRAM)?;
    let seen = program.reports()?;
    Ok(Gentle(program, seen, 0, 0))
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
        let Self(_, seen, cwnd, segment) = self;
        let seen = report.read(*seen);
        *cwnd = match seen.rtt > seen.least / 4 * 5 {
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
