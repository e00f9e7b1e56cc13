//! CUBIC with HyStart++: what Linux does by default, as the RFCs have it today.
//!
//! Sources: RFC 9438 (CUBIC), RFC 9406 (HyStart++). The laws themselves, with what they compute in
//! which units, are [`ccp_types::law::cubic`] and [`ccp_types::law::hystart`].
//!
//! # Who does what
//!
//! The *program* in the datapath does nearly all of it: slow start and its end, the curve, the
//! Reno-friendly window, what a loss or a timeout costs, and the way back from a spurious one. The
//! curve is evaluated in the program, in integers, and its K comes from a cube root there. So
//! neither growth nor the answer to a loss waits for a report, and the window is the same whatever
//! the interval of reports. As in Linux, the curve is looked at when the window takes a step and 32
//! times a second; on the acknowledgements in between the program counts bytes and does nothing else.
//!
//! The *agent* chooses the program, gives it its parameters and tells what happens to the flow. A
//! flow that comes back from somebody else begins congestion avoidance at the window it has; one that an
//! idle time had closed, at the threshold to which slow start was to lead it back.
//!
//! The *datapath*, where it can, spreads a reduction over the round trip, towards the `Ssthresh` that
//! the program sets in the moment that recovery begins.
//!
//! For datapaths that measure only what libccp does there is a second program, within libccp's 255
//! instructions. It answers losses alone; spurious ones it does not hear of. K it finds in as many
//! acknowledgements as the cube root takes, fifteen or so. HyStart++ is the agent's there: in the
//! first slow start such a flow reports once per round-trip time, and what follows from a round is
//! known in the next; trains are not looked at.
//!
//! # What is added
//!
//! As Linux has it: the first slow start also ends when the acknowledgements of a round come in one
//! train as long as half of the path, or all of it if the sender paces; and after a slow start
//! that ended without a loss the window grows by a twentieth per round trip at least until there is
//! one. [`Config::ack_trains`] leaves both out.
//!
//! # What is left out
//!
//! - L of RFC 9406, a limit on what one acknowledgement makes the window grow by in slow start, is
//!   infinite: to pace is the datapath's.
//! - After marks the window stops at two segments, as Linux has it; RFC 9438 would go to one.
//! - The restart of RFC 5681 section 4.1 after an idle time: it is the datapath's, since nothing runs
//!   while a flow is idle. Slow start then leads back to three quarters of the window (RFC 2861) where
//!   the program is not libccp's. The curve does not go on in that time, nor while the application has
//!   less to send than the window allows; afterwards it goes on from where it was, and so does the
//!   Reno-friendly window: what is missing comes back within some round trips.

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, ControlField, Controls, Event, Flow, FlowState,
    Micros, NewFlow, Origin, Params, Rate, Report, Reports, Resume, Timestamp, Updates,
};
use ccp_types::law::cubic::{MIN_SSTHRESH_SEGMENTS, Shape};
use ccp_types::law::hystart::HyStart;
use serde::Deserialize;

use crate::interval::{Interval, Pace};
use crate::variants::{self, Variants};

mod start;

use start::{Heard, Start};

/// The parameters of a [`Cubic`].
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How often flows report: `"rtt"` (the default), `"ack"`, or a time such as `"10ms"`. The
    /// window does not depend on it; losses are always reported at once.
    pub report: Interval,
    /// What a loss leaves of the window (β): 0.5 to 0.9; 0.7 by default, as in RFC 9438. Three
    /// decimals count.
    pub beta: f64,
    /// How fast the window returns (C), in segments per cubic second: 0.04 to 4; 0.4 by default, as
    /// in RFC 9438. Three decimals count.
    pub c: f64,
    /// Whether a flow that loses below its former maximum gives up more, so that a new one gets its
    /// share sooner. True by default.
    pub fast_convergence: bool,
    /// Whether HyStart++ ends the first slow start before something is lost. True by default.
    pub hystart: bool,
    /// Whether, besides the round-trip time that HyStart++ looks at, acknowledgements that come in
    /// one train as long as half of the path end it as well, after which the window grows by a
    /// twentieth per round trip at least until there is a loss. Linux does that, RFC 9406 does not;
    /// without it, a sender that does not pace fills a short queue before round-trip times tell.
    /// True by default; without effect if `hystart` is false, or on datapaths that measure no more
    /// than libccp does.
    pub ack_trains: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            report: Interval::default(),
            beta: 0.7,
            c: 0.4,
            fast_convergence: true,
            hystart: true,
            ack_trains: true,
        }
    }
}

/// The algorithm with its two programs.
#[derive(Clone, Debug)]
pub struct Cubic {
    settings: Settings,
    programs: Variants<Program>,
}

/// [`Config`], checked, as the programs take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Settings {
    report: Interval,
    shape: Shape,
    hystart: bool,
    ack_trains: bool,
}

/// A program, and where its fields are.
#[derive(Clone, Debug)]
struct Program {
    code: CompiledProgram,
    seen: Reports<Seen>,
    knobs: Knobs,
    start: Start,
}

/// What the agent needs of a report; the rest is for whoever watches the flow.
#[derive(Debug, Report)]
#[ccp(partial)]
struct Seen {
    cwnd: Bytes,
    rtt: Micros,
    /// Only where the datapath tells it.
    mss: Option<u64>,
}

/// What the agent sets.
#[derive(Clone, Copy, Debug, Controls)]
struct Knobs {
    /// Only where the datapath does not tell it.
    segment: Option<ControlField<u64>>,
    ssthresh: ControlField<Bytes>,
    beta: ControlField<u64>,
    c: ControlField<u64>,
    alpha: ControlField<u64>,
    shrink: ControlField<u64>,
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
            start: Start::new(&code)?,
            code,
        })
    }

    /// The parameters, as the program knows them, but for how often to report.
    fn set(&self, updates: Updates, settings: &Settings) -> Updates {
        let Shape { beta, c, .. } = settings.shape;
        let updates = updates
            .set(self.knobs.beta, u64::from(beta))
            .set(self.knobs.c, u64::from(c))
            .set(self.knobs.alpha, settings.shape.alpha())
            .set(self.knobs.shrink, settings.shape.shrink());
        match self.start {
            Start::Program(own) => updates
                .set(own.hystart, settings.hystart)
                .set(own.trains, settings.ack_trains),
            Start::Agent(_) => updates,
        }
    }

    fn segment(&self, updates: Updates, mss: u32) -> Updates {
        match self.knobs.segment {
            Some(segment) => updates.set(segment, u64::from(mss.clamp(1, MOST_SEGMENT))),
            None => updates,
        }
    }
}

/// The largest segment that the programs reckon with.
const MOST_SEGMENT: u32 = 65_535;

impl Cubic {
    /// The algorithm with the parameters `config`, which are parameters of `params`.
    fn new(config: Config, params: &Params) -> Result<Self, BuildError> {
        let thousandths = |value: f64| (value * 1_000.0).round() as u32;
        let shape = Shape {
            beta: thousandths(params.check("beta", config.beta, 0.5..=0.9)?),
            c: thousandths(params.check("c", config.c, 0.04..=4.0)?),
            fast_convergence: config.fast_convergence,
        };
        let compile = |name, source| Program::new(CompiledProgram::compile(name, source)?);
        Ok(Self {
            settings: Settings {
                report: config.report,
                shape,
                hystart: config.hystart,
                ack_trains: config.ack_trains,
            },
            programs: Variants {
                full: compile("cubic", include_str!("cubic/full.ccp"))?,
                base: compile("cubic_base", include_str!("cubic/base.ccp"))?,
            },
        })
    }

    /// The algorithm with the parameters `params`.
    ///
    /// # Errors
    /// If a parameter is wrong or out of its range.
    pub fn from_params(params: &Params) -> Result<Self, BuildError> {
        Self::new(params.parse()?, params)
    }
}

impl CongAlg for Cubic {
    fn programs(&self) -> Vec<CompiledProgram> {
        self.programs.programs()
    }

    fn fits(&self, runs: &dyn Fn(&CompiledProgram) -> bool) -> bool {
        self.programs.fits(runs)
    }

    fn new_flow(&self, flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(CubicFlow {
            settings: self.settings,
            program: self.programs.choose(flow).clone(),
            start: None,
            mss: flow.info.mss,
            state: flow.info.state,
        })
    }
}

/// One flow.
#[derive(Debug)]
struct CubicFlow {
    settings: Settings,
    program: Program,
    /// The first slow start, while the agent looks after it.
    start: Option<HyStart>,
    /// Largest segment, in bytes.
    mss: u32,
    state: FlowState,
}

impl CubicFlow {
    /// How often to report now: as it was configured; or, while the agent looks after the first
    /// slow start, hardly ever besides its rounds, which the program reports anyway.
    fn interval(&self, updates: Updates) -> Updates {
        let interval = match self.start {
            Some(_) => Interval::Every(Micros::from_secs(10)),
            None => self.settings.report,
        };
        self.program.knobs.pace.set(updates, interval)
    }
}

impl Flow for CubicFlow {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        self.mss = resume.mss;
        self.state = resume.state;
        let new = resume.origin == Origin::New;
        let agent = matches!(self.program.start, Start::Agent(_));
        self.start = (new && agent && self.settings.hystart).then(HyStart::new);
        let p = &self.program;
        let updates = p.set(Updates::run(&p.code), &self.settings);
        let mut updates = self.interval(p.segment(updates, self.mss));
        if !new {
            // It has found its window already: to double it again would flood the path.
            let two = Bytes::from_packets(MIN_SSTHRESH_SEGMENTS, self.mss);
            updates = updates.set(p.knobs.ssthresh, self.state.cwnd.max(two));
            // An algorithm before this one may have set a rate.
            updates = updates.rate(Rate::ZERO);
        }
        updates
    }

    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        let p = &self.program;
        let seen = report.read(p.seen);
        self.state.cwnd = seen.cwnd;
        self.state.srtt = seen.rtt;
        if let Some(mss) = seen.mss {
            self.mss = u32::try_from(mss).map_or(self.mss, |mss| mss.max(1));
        }
        let (Some(hystart), Start::Agent(rounds)) = (&mut self.start, p.start) else {
            return Updates::none();
        };
        let heard = rounds.hear(hystart, report, self.state.cwnd);
        let updates = rounds.answer(Updates::none(), heard);
        if matches!(heard, Heard::Over { .. }) {
            self.start = None;
            return self.interval(updates);
        }
        updates
    }

    fn on_event(&mut self, _now: Timestamp, event: &Event) -> Updates {
        match event {
            Event::MssChanged { mss } => {
                self.mss = *mss;
                self.program.segment(Updates::none(), *mss)
            }
            _ => Updates::none(),
        }
    }

    fn reconfigure(&mut self, _now: Timestamp, alg: &dyn CongAlg) -> Option<Updates> {
        let alg: &dyn std::any::Any = alg;
        self.settings = alg.downcast_ref::<Cubic>()?.settings;
        let p = &self.program;
        let mut updates = p.set(Updates::none(), &self.settings);
        if let (Start::Agent(rounds), false) = (p.start, self.settings.hystart) {
            self.start = None;
            updates = rounds.forget(updates);
        }
        Some(self.interval(updates))
    }

    fn state(&self) -> Option<FlowState> {
        Some(self.state)
    }
}

#[cfg(test)]
mod tests;
