//! Measures the way from a report to its effect and back.
//!
//! The program sends a report that carries the time of the acknowledgement that caused it
//! (`Ack.now`), and waits. The algorithm answers by setting the control variable `echo` to that
//! time. The first acknowledgement at which the program finds its own time in `echo` ends the
//! measurement: the difference between the times of the two acknowledgements goes into the next
//! report, which begins the next measurement.
//!
//! Both times are `tcp_mstamp`, the kernel's CLOCK_MONOTONIC as it begins to process an
//! acknowledgement. The algorithm reads the same clock when it is called, which divides the way in two.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, ControlField, Flow, Micros, NewFlow, Params, Rate,
    Report, ReportField, Resume, Timestamp, Updates,
};
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};

/// A ping that is not answered for 200 ms (its report or its answer was replaced by a newer one) is
/// given up; its `lag` is 0.
const PROGRAM: &str = "
    (def (Report (sent 0) (lag 0)) (echo 1))
    (when (&& (== echo Report.sent) (> Ack.now Report.sent))
        (:= Report.lag (- Ack.now Report.sent))
        (:= Report.sent Ack.now)
        (report))
    (when (> Ack.now (+ Report.sent 200000))
        (:= Report.lag 0)
        (:= Report.sent Ack.now)
        (report))
";

/// One way there and back, in microseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Ping {
    /// From the acknowledgement that caused the report to the call of the algorithm.
    pub(crate) to_algorithm: u64,
    /// From there to the acknowledgement that found the answer.
    pub(crate) to_program: u64,
}

/// Everything measured by the flows of a daemon.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Ping>>>);

impl Log {
    pub(super) fn lock(&self) -> MutexGuard<'_, Vec<Ping>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Parameters of `kind = "echo"`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    /// The window in packets.
    cwnd_packets: u64,
    /// The pacing rate; without one the datapath's own.
    rate_mbit: Option<u64>,
}

#[derive(Debug, Clone)]
pub(super) struct Echo {
    config: Config,
    program: CompiledProgram,
    sent: ReportField<Micros>,
    lag: ReportField<Micros>,
    echo: ControlField<Micros>,
    log: Log,
}

impl Echo {
    pub(super) fn from_params(params: &Params, log: Log) -> Result<Self, BuildError> {
        let program = CompiledProgram::compile("echo", PROGRAM)?;
        Ok(Self {
            config: params.parse()?,
            sent: program.report("sent")?,
            lag: program.report("lag")?,
            echo: program.control("echo")?,
            program,
            log,
        })
    }
}

impl CongAlg for Echo {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }

    fn new_flow(&self, _: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(EchoFlow {
            alg: self.clone(),
            last: None,
        })
    }
}

struct EchoFlow {
    alg: Echo,
    /// The last report's time, and when the algorithm was called with it.
    last: Option<(u64, u64)>,
}

impl Flow for EchoFlow {
    fn on_resume(&mut self, _: Timestamp, resume: &Resume) -> Updates {
        let Config {
            cwnd_packets,
            rate_mbit,
        } = self.alg.config;
        self.last = None;
        Updates::run(&self.alg.program)
            .cwnd(Bytes::from_packets(cwnd_packets, resume.mss))
            .rate(rate_mbit.map_or(Rate::ZERO, Rate::from_mbit))
    }

    fn on_report(&mut self, _: Timestamp, report: &Report<'_>) -> Updates {
        let called = monotonic_us();
        let (sent, lag) = (report.get(self.alg.sent), report.get(self.alg.lag));
        if let Some((before, heard)) = self.last
            && lag.0 > 0
            && before + lag.0 == sent.0
        {
            self.alg.log.lock().push(Ping {
                to_algorithm: heard.saturating_sub(before),
                to_program: sent.0.saturating_sub(heard),
            });
        }
        self.last = Some((sent.0, called));
        Updates::none().set(self.alg.echo, sent)
    }
}

fn monotonic_us() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let part = |n: i64| u64::try_from(n).unwrap_or(0);
    part(now.tv_sec) * 1_000_000 + part(now.tv_nsec) / 1_000
}
