//! A constant window, a constant rate, or both, whatever the path does.
//!
//! For links whose share is fixed by contract or by hand, and for measurements. It does not answer
//! losses: on a shared link it takes what it was given from everybody else.

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, ControlField, Controls, Event, Flow, FlowState,
    Micros, NewFlow, Params, Rate, Report, Reports, Resume, Timestamp, Updates,
};
use serde::Deserialize;

use crate::variants::{self, Variants};

/// The parameters of a [`Constant`]. At least one must be given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The window in packets of the flow's largest segment, 1 to 1,000,000. Without it, as much as
    /// the rate needs: what it sends in two round-trip times, and ten packets.
    pub cwnd_packets: Option<u64>,
    /// The pacing rate in megabits (10⁶ bits) per second, 0.001 to 10,000,000, fractions allowed.
    /// Without it, the datapath paces by itself.
    pub rate_mbit: Option<f64>,
}

/// The algorithm with its two programs.
#[derive(Clone, Debug)]
pub struct Constant {
    /// 0 if the window follows from the rate.
    packets: u64,
    /// 0 if the datapath paces.
    rate: Rate,
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
    cwnd: Bytes,
    rtt: Micros,
}

/// What the agent sets.
#[derive(Clone, Copy, Debug, Controls)]
struct Knobs {
    packets: ControlField<u64>,
    pace: ControlField<Rate>,
    /// Only where the datapath does not tell it.
    segment: Option<ControlField<u64>>,
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

/// What both programs are, but for where they know the segment size and the round-trip time from.
/// It multiplies no more than 10 Tbit/s by 4 s, so nothing overflows.
const PROGRAM: &str = include_str!("constant/constant.ccp");

impl Constant {
    /// The algorithm with the parameters `config`, which are parameters of `params`.
    fn new(config: Config, params: &Params) -> Result<Self, BuildError> {
        let packets = config
            .cwnd_packets
            .map(|packets| params.check("cwnd_packets", packets, 1..=1_000_000))
            .transpose()?;
        let rate = config
            .rate_mbit
            .map(|mbit| params.check("rate_mbit", mbit, 0.001..=10_000_000.0))
            .transpose()?;
        if packets.is_none() && rate.is_none() {
            let reason = "needs `cwnd_packets`, `rate_mbit` or both";
            return Err(params.refuse_all(reason).into());
        }
        let compile = |name, segment: &str, rtt: &str, more: &str| {
            let source = PROGRAM
                .replace("SEGMENT", segment)
                .replace("RTT", rtt)
                .replace("(pace 0)", &format!("(pace 0) {more}"));
            Program::new(CompiledProgram::compile(name, &source)?.with_own_recovery())
        };
        Ok(Self {
            packets: packets.unwrap_or(0),
            rate: rate.map_or(Rate::ZERO, Rate::from_mbit_f64),
            programs: Variants {
                full: compile("constant", "Flow.mss", "Flow.srtt_us", "")?,
                base: compile(
                    "constant_base",
                    "segment",
                    "Flow.rtt_sample_us",
                    "(segment 1)",
                )?,
            },
        })
    }

    /// The algorithm with the parameters `params`.
    ///
    /// # Errors
    /// If a parameter is out of its range or both are missing.
    pub fn from_params(params: &Params) -> Result<Self, BuildError> {
        Self::new(params.parse()?, params)
    }
}

impl CongAlg for Constant {
    fn programs(&self) -> Vec<CompiledProgram> {
        self.programs.programs()
    }

    fn fits(&self, runs: &dyn Fn(&CompiledProgram) -> bool) -> bool {
        self.programs.fits(runs)
    }

    fn new_flow(&self, flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(ConstantFlow {
            packets: self.packets,
            rate: self.rate,
            program: self.programs.choose(flow).clone(),
            state: flow.info.state,
        })
    }
}

/// One flow.
#[derive(Debug)]
struct ConstantFlow {
    packets: u64,
    rate: Rate,
    program: Program,
    state: FlowState,
}

impl ConstantFlow {
    /// Window and rate as they are to be.
    fn set(&mut self, updates: Updates, mss: Option<u32>) -> Updates {
        let knobs = &self.program.knobs;
        let mut updates = updates
            .set(knobs.packets, self.packets)
            .set(knobs.pace, self.rate)
            .rate(self.rate);
        self.state.rate = self.rate;
        if let Some(mss) = mss {
            if let Some(segment) = knobs.segment {
                updates = updates.set(segment, u64::from(mss));
            }
            if self.packets > 0 {
                // The program would do it at the next acknowledgement; this is sooner.
                self.state.cwnd = Bytes::from_packets(self.packets, mss);
                updates = updates.cwnd(self.state.cwnd);
            }
        }
        updates
    }
}

impl Flow for ConstantFlow {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        self.state = resume.state;
        let run = Updates::run(&self.program.code);
        self.set(run, Some(resume.mss.max(1)))
    }

    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        let seen = report.read(self.program.seen);
        self.state.cwnd = seen.cwnd;
        self.state.srtt = seen.rtt;
        Updates::none()
    }

    fn on_event(&mut self, _now: Timestamp, event: &Event) -> Updates {
        match (event, self.program.knobs.segment) {
            (Event::MssChanged { mss }, Some(segment)) => {
                Updates::none().set(segment, u64::from((*mss).max(1)))
            }
            _ => Updates::none(),
        }
    }

    fn reconfigure(&mut self, _now: Timestamp, alg: &dyn CongAlg) -> Option<Updates> {
        let alg: &dyn std::any::Any = alg;
        let alg = alg.downcast_ref::<Constant>()?;
        (self.packets, self.rate) = (alg.packets, alg.rate);
        Some(self.set(Updates::none(), None))
    }

    fn state(&self) -> Option<FlowState> {
        Some(self.state)
    }
}

#[cfg(test)]
mod tests;
