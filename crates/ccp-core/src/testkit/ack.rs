//! One acknowledgement, as a script says it.

use std::borrow::Cow;

use ccp_program::Program;
use ccp_types::{Bytes, Micros, Timestamp};

/// One acknowledgement: the measurements of its moment. What is not said is 0, but for
/// `Ack.now`, the round-trip time (10 ms) and `Flow.mss` (1,000 bytes).
#[derive(Clone, Debug)]
pub struct Ack {
    values: Vec<(Cow<'static, str>, u64)>,
}

impl Ack {
    /// `bytes` more have been acknowledged, one packet's worth or more; the window limits what is
    /// in flight.
    #[must_use]
    pub fn of(bytes: u64) -> Self {
        Self { values: Vec::new() }
            .set("Flow.rtt_sample_us", 10_000)
            .set("Flow.mss", 1_000)
            .set("Flow.cwnd_limited", 1)
            .set("Ack.bytes_acked", bytes)
            .set("Ack.packets_acked", bytes.div_ceil(1_000))
    }

    /// No acknowledgement at all: the retransmission timer has run out. The window is not touched;
    /// that is for the test to say.
    #[must_use]
    pub fn timeout() -> Self {
        Self::of(0)
            .set("Flow.was_timeout", 1)
            .set("Flow.recovery_state", 4)
    }

    /// The round-trip time.
    #[must_use]
    pub fn rtt(self, rtt: Micros) -> Self {
        self.set("Flow.rtt_sample_us", rtt.0)
    }

    /// The largest segment, in bytes.
    #[must_use]
    pub fn mss(self, mss: u32) -> Self {
        self.set("Flow.mss", u64::from(mss))
    }

    /// `packets` have been found to be lost.
    #[must_use]
    pub fn lost(self, packets: u64) -> Self {
        self.set("Ack.lost_pkts_sample", packets)
    }

    /// This much is still outstanding.
    #[must_use]
    pub fn in_flight(self, bytes: Bytes) -> Self {
        self.set("Flow.bytes_in_flight", bytes.0)
    }

    /// The application, not the window, limits what is in flight.
    #[must_use]
    pub fn app_limited(self) -> Self {
        self.set("Flow.cwnd_limited", 0).set("Flow.app_limited", 1)
    }

    /// The state of loss recovery, in Linux' numbers: 0 open, 1 disorder, 2 CWR, 3 recovery,
    /// 4 loss (after a timeout).
    #[must_use]
    pub fn recovery_state(self, state: u64) -> Self {
        self.set("Flow.recovery_state", state)
    }

    /// Any measurement by its name.
    #[must_use]
    pub fn set(mut self, name: impl Into<Cow<'static, str>>, value: u64) -> Self {
        let name = name.into();
        match self.values.iter_mut().find(|(n, _)| *n == name) {
            Some((_, old)) => *old = value,
            None => self.values.push((name, value)),
        }
        self
    }

    pub(super) fn primitives(&self, program: &Program, now: Timestamp) -> Vec<u64> {
        let value = |name: &str| {
            let said = self.values.iter().find(|(n, _)| n == name);
            match said {
                Some((_, value)) => *value,
                None if name == "Ack.now" => now.0,
                None => 0,
            }
        };
        program
            .primitives
            .iter()
            .map(|primitive| value(&primitive.name))
            .collect()
    }
}
