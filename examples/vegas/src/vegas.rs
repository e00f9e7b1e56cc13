//! TCP Vegas: keeps a few packets of its own in the queue, whatever the buffer.
//!
//! Source: Brakmo and Peterson, "TCP Vegas: End to End Congestion Avoidance on a Global Internet",
//! 1995. Slow start grows by half per round trip where Vegas doubles every other one.

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, ControlField, Controls, Flow, Micros, NewFlow,
    Origin, Params, Report, Reports, Resume, Timestamp, Updates,
};

/// `[algorithms.NAME]` with `kind = "vegas"`.
#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(default)]
struct Config {
    /// Fewer packets than this in the queue: one packet more. 1 to 1,000; default 2.
    alpha_packets: u64,
    /// More than this: one packet less. `alpha_packets` to 1,000; default 4.
    beta_packets: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            alpha_packets: 2,
            beta_packets: 4,
        }
    }
}

/// What the program reports.
#[derive(Debug, Report)]
struct Seen {
    rtt: Micros,
    lost: u64,
    limited: bool,
    cwnd: Bytes,
    mss: Bytes,
}

/// What the flow sets.
#[derive(Clone, Copy, Debug, Controls)]
struct Knobs {
    slow_start: ControlField<bool>,
}

/// The algorithm: parameters, program, and where the program's variables are.
#[derive(Clone, Debug)]
pub struct Vegas {
    config: Config,
    program: CompiledProgram,
    seen: Reports<Seen>,
    knobs: Knobs,
}

impl Vegas {
    /// The algorithm with the parameters `params`.
    ///
    /// # Errors
    /// If a parameter is out of its range.
    pub fn from_params(params: &Params) -> Result<Self, BuildError> {
        let config: Config = params.parse()?;
        params.check("alpha_packets", config.alpha_packets, 1..=1_000)?;
        let beta = config.alpha_packets..=1_000;
        params.check("beta_packets", config.beta_packets, beta)?;
        let program = CompiledProgram::compile("vegas", include_str!("vegas.ccp"))?;
        Ok(Self {
            config,
            seen: program.reports()?,
            knobs: program.controls()?,
            program,
        })
    }
}

impl CongAlg for Vegas {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(VegasFlow {
            alg: self.clone(),
            base_rtt: Micros::MAX,
            slow_start: true,
        })
    }
}

/// One flow.
struct VegasFlow {
    alg: Vegas,
    /// The least round-trip time seen: that of the empty path.
    base_rtt: Micros,
    slow_start: bool,
}

impl Flow for VegasFlow {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        // A flow that was alive before has found its window already.
        self.slow_start = resume.origin == Origin::New;
        if resume.state.min_rtt > Micros::ZERO {
            self.base_rtt = self.base_rtt.min(resume.state.min_rtt);
        }
        Updates::run(&self.alg.program).set(self.alg.knobs.slow_start, self.slow_start)
    }

    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        let seen = report.read(self.alg.seen);
        let (rtt, packet) = (seen.rtt, seen.mss);
        self.base_rtt = self.base_rtt.min(rtt);
        if seen.lost > 0 {
            // The datapath has halved the window.
            return self.leave_slow_start(Updates::none());
        }
        if rtt == Micros::MAX || rtt == Micros::ZERO || packet == Bytes::ZERO {
            return Updates::none();
        }
        let queued = u128::from(seen.cwnd.0) * u128::from((rtt - self.base_rtt).0);
        let queued = queued / u128::from(rtt.0) / u128::from(packet.0);
        let (alpha, beta) = (self.alg.config.alpha_packets, self.alg.config.beta_packets);
        if queued > u128::from(beta) {
            let less = (seen.cwnd - packet).max(packet + packet);
            self.leave_slow_start(Updates::none().cwnd(less))
        } else if !self.slow_start && queued < u128::from(alpha) && seen.limited {
            Updates::none().cwnd(seen.cwnd + packet)
        } else {
            Updates::none()
        }
    }
}

impl VegasFlow {
    fn leave_slow_start(&mut self, updates: Updates) -> Updates {
        if !std::mem::take(&mut self.slow_start) {
            return updates;
        }
        updates.set(self.alg.knobs.slow_start, false)
    }
}

#[cfg(test)]
mod tests {
    use ccp_core::testkit::{Ack, TestFlow};
    use ccp_core::{Bytes, Micros, Params};

    use super::Vegas;

    fn vegas(parameters: &str) -> Result<Vegas, String> {
        let params = Params::parse_toml("vegas", parameters).map_err(|e| e.to_string())?;
        Vegas::from_params(&params).map_err(|e| e.to_string())
    }

    /// Ten packets of 1,000 bytes, past slow start, on a path of 10 ms.
    fn flow() -> TestFlow {
        let mut flow = TestFlow::new(vegas("").unwrap());
        let start = [
            ("rtt", 10_000),
            ("cwnd", 10_000),
            ("mss", 1_000),
            ("lost", 1),
        ];
        flow.report(&start);
        assert_eq!(flow.control("slow_start"), Some(0));
        flow
    }

    /// The algorithm alone: what a report does to the window.
    #[test]
    fn it_keeps_two_to_four_packets_in_the_queue() {
        // Of 10 packets, so many are in the queue: 10 * (rtt - 10 ms) / rtt.
        for (rtt, cwnd) in [(10_000, 11_000), (13_000, 10_000), (20_000, 9_000)] {
            let mut flow = flow();
            flow.report(&[
                ("rtt", rtt),
                ("cwnd", 10_000),
                ("mss", 1_000),
                ("limited", 1),
            ]);
            assert_eq!(flow.cwnd(), Bytes(cwnd), "at a round-trip time of {rtt} us");
        }
    }

    #[test]
    fn it_does_not_grow_while_the_application_is_the_limit() {
        let mut flow = flow();
        flow.report(&[("rtt", 10_000), ("cwnd", 10_000), ("mss", 1_000)]);
        assert_eq!(flow.cwnd(), Bytes(10_000));
    }

    /// Program and algorithm together, acknowledgement by acknowledgement.
    #[test]
    fn slow_start_ends_when_a_queue_builds_up() {
        let mut flow = TestFlow::new(vegas("").unwrap());
        let ack = |rtt| Ack::of(1_000).rtt(Micros(rtt)).set("Flow.srtt_us", 10_000);
        for _ in 0..20 {
            flow.pass(Micros(1_000)).ack(&ack(10_000));
        }
        assert_eq!(flow.cwnd(), Bytes(20_000));
        assert_eq!(flow.control("slow_start"), Some(1));
        for _ in 0..20 {
            flow.pass(Micros(1_000)).ack(&ack(20_000));
        }
        assert_eq!(flow.control("slow_start"), Some(0));
        assert!(flow.cwnd() < Bytes(30_000), "{flow:?}");
    }

    #[test]
    fn wrong_parameters_are_refused_with_their_place() {
        assert_eq!(
            vegas("alpha_packets = 5").unwrap_err(),
            "parameters of `vegas`:1:1: algorithms.vegas.beta_packets: must be 5 to 1000"
        );
        let unknown = vegas("gamma = 1").unwrap_err();
        assert!(
            unknown.contains("algorithms.vegas.gamma: no such key"),
            "{unknown}"
        );
    }
}
