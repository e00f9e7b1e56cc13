//! HyStart++: the end of the first slow start before it floods the path. Source: RFC 9406.
//!
//! When the round-trip time of a round is clearly above that of the round before, the window grows
//! by a quarter only (*conservative slow start*). If the time falls again it was a false alarm; if
//! not, after five rounds congestion avoidance begins.
//!
//! What the RFC calls L, a limit on what one acknowledgement makes the window grow by, is infinite
//! here, as the RFC has it for senders that pace: limiting bursts is the transport's.

use crate::{Bytes, Micros, Timestamp};

/// The least increase of the round-trip time that counts.
pub const MIN_RTT_THRESH: Micros = Micros(4_000);
/// The increase that always counts.
pub const MAX_RTT_THRESH: Micros = Micros(16_000);
/// The increase that counts, as a part of the round-trip time of the round before.
pub const MIN_RTT_DIVISOR: u64 = 8;
/// How many samples of a round are needed.
pub const N_RTT_SAMPLE: u64 = 8;
/// By how much slower the window grows in conservative slow start.
pub const CSS_GROWTH_DIVISOR: u64 = 4;
/// How many rounds conservative slow start lasts; the one in which it begins counts.
pub const CSS_ROUNDS: u64 = 5;

/// How the window grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// By what is acknowledged.
    SlowStart,
    /// By a quarter of that.
    Conservative,
    /// Slow start is over: the slow-start threshold is the present window.
    Over,
}

/// The first slow start of one flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HyStart {
    /// Least round-trip time of the round before; 0 if it had none.
    before: Micros,
    /// Least round-trip time of this round.
    this: Micros,
    samples: u64,
    /// Rounds of conservative slow start that are left; 0 outside it.
    css: u64,
    /// Least round-trip time when it began.
    baseline: Micros,
    over: bool,
}

impl HyStart {
    /// A flow that begins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An acknowledgement of new data, with its round-trip time if it has one. `new_round`: it is
    /// the first for something sent in a new round. Source: RFC 9406, section 4.2.
    pub fn on_ack(&mut self, rtt: Option<Micros>, new_round: bool) -> Phase {
        if new_round && !self.over {
            self.before = if self.samples > 0 {
                self.this
            } else {
                Micros::ZERO
            };
            self.samples = 0;
            if self.css > 0 {
                self.css -= 1;
                self.over = self.css == 0;
            }
        }
        if self.over {
            return Phase::Over;
        }
        if let Some(rtt) = rtt {
            self.this = if self.samples == 0 {
                rtt
            } else {
                self.this.min(rtt)
            };
            self.samples += 1;
        }
        if self.samples >= N_RTT_SAMPLE {
            if self.css > 0 && self.this < self.baseline {
                self.css = 0;
            } else if self.css == 0
                && self.before > Micros::ZERO
                && self.this >= self.before + Self::threshold(self.before)
            {
                self.css = CSS_ROUNDS;
                self.baseline = self.this;
            }
        }
        self.phase()
    }

    /// The increase of the round-trip time `before` that counts.
    #[must_use]
    pub fn threshold(before: Micros) -> Micros {
        Micros(before.0 / MIN_RTT_DIVISOR).clamp(MIN_RTT_THRESH, MAX_RTT_THRESH)
    }

    /// How the window grows.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        match (self.over, self.css) {
            (true, _) => Phase::Over,
            (false, 0) => Phase::SlowStart,
            (false, _) => Phase::Conservative,
        }
    }

    /// What `acked` bytes make the window grow by in slow start.
    #[must_use]
    pub const fn growth(&self, acked: Bytes) -> Bytes {
        match self.phase() {
            Phase::Conservative => Bytes(acked.0 / CSS_GROWTH_DIVISOR),
            Phase::SlowStart | Phase::Over => acked,
        }
    }
}

/// Acknowledgements further apart than this are no longer of one train.
pub const TRAIN_GAP: Micros = Micros(2_000);
/// What a train may be longer than the path, for segments that are acknowledged in batches.
pub const TRAIN_SLACK: Micros = Micros(1_000);
/// The least window, in segments, that is taken to fill a path.
pub const TRAIN_WINDOW: u64 = 16;

/// The other sign that slow start has gone far enough, from HyStart, the predecessor, and what Linux
/// has: a round's acknowledgements come in one train, and it is as long as the path. Of a round that
/// is sent in a burst, half as long is enough: the round after it, of twice the size, fills the
/// path. Source: S. Ha, I. Rhee, "Taming the elephants: New TCP slow start", 2011, section 4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Train {
    began: Timestamp,
    last: Timestamp,
}

impl Train {
    /// A flow that begins.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An acknowledgement of new data: is the path full? `min_rtt` is the least round-trip time of the
    /// path, `paced` whether what is sent is spread out.
    pub fn on_ack(
        &mut self,
        now: Timestamp,
        new_round: bool,
        min_rtt: Micros,
        paced: bool,
    ) -> bool {
        if new_round {
            (self.began, self.last) = (now, now);
        }
        if now.since(self.last) > TRAIN_GAP {
            return false;
        }
        self.last = now;
        let path = min_rtt + TRAIN_SLACK;
        let enough = if paced { path } else { Micros(path.0 / 2) };
        now.since(self.began) > enough
    }
}

#[cfg(test)]
mod tests;
