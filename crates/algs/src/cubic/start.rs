//! The first slow start: HyStart++ in the program, or in the agent where the program has no room
//! for it.

use ccp_core::{
    Bytes, CompiledProgram, ControlField, Micros, NoSuchField, Report, ReportField, Updates,
};
use ccp_types::law::hystart::{CSS_GROWTH_DIVISOR, HyStart, N_RTT_SAMPLE, Phase};

/// Longer round-trip times are not believed; a datapath that has none gives the largest number.
const LONGEST_RTT: Micros = Micros::from_secs(60);

/// How a program has HyStart++.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// In itself, if these are true: HyStart++, and besides it trains of acknowledgements.
    Program {
        hystart: ControlField<bool>,
        trains: ControlField<bool>,
    },
    /// From the agent, which sees rounds from outside.
    Agent(Rounds),
}

/// What the agent sees of a round of slow start, and what it answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    event: ReportField<u64>,
    least: ReportField<Micros>,
    samples: ReportField<u64>,
    slower: ControlField<u64>,
    limit: ControlField<Bytes>,
}

impl Start {
    pub(super) fn new(code: &CompiledProgram) -> Result<Self, NoSuchField> {
        if let Ok(hystart) = code.control("hystart") {
            let trains = code.control("trains")?;
            return Ok(Self::Program { hystart, trains });
        }
        Ok(Self::Agent(Rounds {
            event: code.report("event")?,
            least: code.report("least")?,
            samples: code.report("samples")?,
            slower: code.control("slower")?,
            limit: code.control("limit")?,
        }))
    }
}

/// What a report said of the first slow start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// It goes on as before.
    Nothing,
    /// Its window grows slower by this factor from now on.
    Slower(u64),
    /// It is over: by itself, or by a loss.
    Over {
        /// Where, if the program does not know.
        limit: Option<Bytes>,
    },
}

impl Rounds {
    /// A report of one round: what it says, with `cwnd` the window at its end.
    pub(super) fn hear(self, hystart: &mut HyStart, report: &Report<'_>, cwnd: Bytes) -> Heard {
        if report.get(self.event) > 0 {
            return Heard::Over { limit: None };
        }
        let least = report.get(self.least);
        let rtt = (least < LONGEST_RTT).then_some(least);
        let before = hystart.phase();
        // More of them than are needed say no more.
        for nth in 0..report.get(self.samples).min(N_RTT_SAMPLE) {
            hystart.on_ack(rtt, nth == 0);
        }
        match hystart.phase() {
            Phase::Over => Heard::Over { limit: Some(cwnd) },
            phase if phase == before => Heard::Nothing,
            Phase::Conservative => Heard::Slower(CSS_GROWTH_DIVISOR),
            Phase::SlowStart => Heard::Slower(1),
        }
    }

    pub(super) fn answer(self, updates: Updates, heard: Heard) -> Updates {
        match heard {
            Heard::Nothing | Heard::Over { limit: None } => updates,
            Heard::Slower(factor) => updates.set(self.slower, factor),
            Heard::Over { limit: Some(limit) } => updates.set(self.limit, limit),
        }
    }

    /// HyStart++ is given up.
    pub(super) fn forget(self, updates: Updates) -> Updates {
        updates.set(self.slower, 1)
    }
}
