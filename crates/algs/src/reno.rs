//! Reno: additive increase, multiplicative decrease, as TCP has done it for decades.
//!
//! Sources: RFC 5681 (slow start, congestion avoidance, loss), RFC 6582 (NewReno: one reduction per
//! loss event), RFC 3465 (the window grows by bytes acknowledged, not by acknowledgements).
//!
//! # Who does what
//!
//! The *program* in the datapath grows the window at every acknowledgement. So growth is that of a
//! native implementation whatever the interval of reports: with growth per report, slow start
//! lags by up to half of its window. It also holds still at once when something is lost. On ordinary
//! acknowledgements of congestion avoidance it counts bytes and does nothing else.
//!
//! The *agent* decides what a loss costs: it answers the report of a loss with the new slow-start
//! threshold, which names the loss it is the answer to. An answer that another loss has overtaken
//! has no effect; neither does a late one raise the window again.
//!
//! The *datapath*, where it can, reduces the window by itself in the same moment and spreads the
//! reduction over the round trip. For those that only have libccp's measurements there is a second
//! program, which halves the window itself: a loss is answered also when no agent is there.
//!
//! The restart of RFC 5681 section 4.1 after an idle time is the datapath's, since nothing runs while
//! a flow is idle. Slow start then leads back to three quarters of the window (RFC 2861) where the
//! program is not libccp's.

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, ControlField, Controls, Event, Flow, FlowState,
    Micros, NewFlow, Origin, Params, Rate, Report, Reports, Resume, Timestamp, Updates,
};
use ccp_types::law::reno;
use serde::Deserialize;

use crate::interval::{Interval, Pace};
use crate::variants::{self, Variants};

/// The parameters of a [`Reno`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often flows report: `"rtt"` (the default), `"ack"`, or a time such as `"10ms"`. Growth
    /// does not depend on it; losses are always reported at once.
    pub report: Interval,
}

/// The algorithm with its two programs.
#[derive(Clone, Debug)]
pub struct Reno {
    config: Config,
    programs: Variants<Program>,
}

/// A program, and where its fields are.
#[derive(Clone, Debug)]
struct Program {
    code: CompiledProgram,
    seen: Reports<Seen>,
    knobs: Knobs,
}

/// What the agent needs of a report; the rest is for whoever watches the flow.
#[derive(Debug, Report)]
#[ccp(partial)]
struct Seen {
    event: u64,
    flight: Bytes,
    cwnd: Bytes,
    rtt: Micros,
    mss: u64,
}

/// What the agent sets.
#[derive(Clone, Copy, Debug, Controls)]
struct Knobs {
    ssthresh: ControlField<Bytes>,
    answered: ControlField<u64>,
    target: ControlField<Bytes>,
    /// Only where the datapath does not tell it.
    segment: Option<ControlField<u64>>,
    #[ccp(flatten)]
    pace: Pace,
}

impl variants::Program for Program {
    fn code(&self) -> &CompiledProgram {
        &self.code
    }
}

impl Program {
    fn new(code: CompiledProgram) -> Result<Self, BuildError> {
        Ok(Self {
            seen: code.reports()?,
            knobs: code.controls()?,
            code,
        })
    }
}

impl Reno {
    /// The algorithm with the parameters `config`.
    ///
    /// # Errors
    /// If its programs do not compile.
    pub fn new(config: Config) -> Result<Self, BuildError> {
        let compile = |name, source| Program::new(CompiledProgram::compile(name, source)?);
        Ok(Self {
            config,
            programs: Variants {
                full: compile("reno", include_str!("reno/full.ccp"))?,
                base: compile("reno_base", include_str!("reno/base.ccp"))?,
            },
        })
    }

    /// The algorithm with the parameters `params`.
    ///
    /// # Errors
    /// If a parameter is wrong.
    pub fn from_params(params: &Params) -> Result<Self, BuildError> {
        Self::new(params.parse()?)
    }
}

impl CongAlg for Reno {
    fn programs(&self) -> Vec<CompiledProgram> {
        self.programs.programs()
    }

    fn fits(&self, runs: &dyn Fn(&CompiledProgram) -> bool) -> bool {
        self.programs.fits(runs)
    }

    fn new_flow(&self, flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(RenoFlow {
            config: self.config,
            program: self.programs.choose(flow).clone(),
            mss: flow.info.mss,
            event: 0,
            state: flow.info.state,
        })
    }
}

/// One flow.
#[derive(Debug)]
struct RenoFlow {
    config: Config,
    program: Program,
    /// Largest segment, in bytes.
    mss: u32,
    /// The last loss event that was answered.
    event: u64,
    state: FlowState,
}

impl Flow for RenoFlow {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        self.mss = resume.mss;
        self.state = resume.state;
        self.event = 0;
        let knobs = &self.program.knobs;
        let run = Updates::run(&self.program.code);
        let mut updates = knobs.pace.set(run, self.config.report);
        if let Some(segment) = knobs.segment {
            updates = updates.set(segment, u64::from(self.mss));
        }
        if resume.origin != Origin::New {
            // It has found its window already: to double it again would flood the path.
            let two = Bytes::from_packets(reno::MIN_SSTHRESH_SEGMENTS, self.mss);
            updates = updates.set(knobs.ssthresh, self.state.cwnd.max(two));
            // An algorithm before this one may have set a rate.
            updates = updates.rate(Rate::ZERO);
        }
        updates
    }

    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        let seen = report.read(self.program.seen);
        self.state.cwnd = seen.cwnd;
        self.state.srtt = seen.rtt;
        self.mss = u32::try_from(seen.mss).map_or(self.mss, |mss| mss.max(1));
        if seen.event == self.event {
            return Updates::none();
        }
        self.event = seen.event;
        let knobs = &self.program.knobs;
        Updates::none().set(knobs.answered, seen.event).set(
            knobs.target,
            reno::ssthresh_after_loss(seen.flight, self.mss),
        )
    }

    fn on_event(&mut self, _now: Timestamp, event: &Event) -> Updates {
        match (event, self.program.knobs.segment) {
            (Event::MssChanged { mss }, Some(segment)) => {
                self.mss = *mss;
                Updates::none().set(segment, u64::from(*mss))
            }
            _ => Updates::none(),
        }
    }

    fn reconfigure(&mut self, _now: Timestamp, alg: &dyn CongAlg) -> Option<Updates> {
        let alg: &dyn std::any::Any = alg;
        self.config = alg.downcast_ref::<Reno>()?.config;
        let pace = self.program.knobs.pace;
        Some(pace.set(Updates::none(), self.config.report))
    }

    fn state(&self) -> Option<FlowState> {
        Some(self.state)
    }
}

#[cfg(test)]
mod tests;
