//! The first slow start: HyStart++ in the program, or in the agent where the program has no room
//! for it.

use ccp_core::{
    BuildError, Bytes, CompiledProgram, ControlField, Controls, Micros, Report, Reports, Updates,
};
use ccp_types::law::hystart::{CSS_GROWTH_DIVISOR, HyStart, N_RTT_SAMPLE, Phase};

/// Longer round-trip times are not believed; a datapath that has none gives the largest number.
const LONGEST_RTT: Micros = Micros::from_secs(60);

/// How a program has HyStart++.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// In itself.
    Program(Own),
    /// From the agent, which sees rounds from outside.
    Agent(Rounds),
}

/// What a program does by itself if these are true: HyStart++, and besides it trains of
/// acknowledgements.
#[derive(Clone, Copy, Debug, Controls)]
pub(super) struct Own {
    pub(super) hystart: ControlField<bool>,
    pub(super) trains: ControlField<bool>,
}

/// What the agent sees of a round of slow start, and what it answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rounds {
    round: Reports<Round>,
    answer: Answer,
}

#[derive(Debug, Report)]
#[ccp(partial)]
struct Round {
    event: u64,
    least: Micros,
    samples: u64,
}

#[derive(Clone, Copy, Debug, Controls)]
struct Answer {
    slower: ControlField<u64>,
    limit: ControlField<Bytes>,
}

impl Start {
    pub(super) fn new(code: &CompiledProgram) -> Result<Self, BuildError> {
        if let Ok(own) = code.controls() {
            return Ok(Self::Program(own));
        }
        Ok(Self::Agent(Rounds {
            round: code.reports()?,
            answer: code.controls()?,
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
        let round = report.read(self.round);
        if round.event > 0 {
            return Heard::Over { limit: None };
        }
        let rtt = (round.least < LONGEST_RTT).then_some(round.least);
        let before = hystart.phase();
        // More of them than are needed say no more.
        for nth in 0..round.samples.min(N_RTT_SAMPLE) {
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
            Heard::Slower(factor) => updates.set(self.answer.slower, factor),
            Heard::Over { limit: Some(limit) } => updates.set(self.answer.limit, limit),
        }
    }

    /// HyStart++ is given up.
    pub(super) fn forget(self, updates: Updates) -> Updates {
        updates.set(self.answer.slower, 1)
    }
}
