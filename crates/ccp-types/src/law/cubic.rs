//! CUBIC: after a reduction the window returns along a cubic curve that is flat where the loss was.
//! Source: RFC 9438.
//!
//! All arithmetic is on 64-bit integers and neither overflows nor divides by zero, so that a
//! program in a datapath can do the same, operation by operation. Windows are in bytes, times
//! within the curve in milliseconds. Up to [`MOST_WINDOW`] (at least 2²⁰ segments of a megabyte) and
//! [`LONGEST_MS`] from its flat part the curve is the RFC's but for less than a byte in each
//! thousand of the segment size; beyond, a window does not grow and the curve does not get steeper.

use crate::{Bytes, Micros, Timestamp};

/// The least slow-start threshold, in segments. Source: RFC 9438, section 4.6.
pub const MIN_SSTHRESH_SEGMENTS: u64 = 2;

/// The largest window that grows.
pub const MOST_WINDOW: Bytes = Bytes(1 << 40);

/// How far from its flat part the curve is evaluated, in milliseconds: 262 s. A window of 2²⁰
/// segments comes back in less for every β and C that [`Shape`] allows.
pub const LONGEST_MS: u64 = 1 << 18;

/// How often the curve is evaluated at least, while a window grows: with every step of the window,
/// and after so much time. As in Linux. In between, the window grows as fast as it was to grow then;
/// what the curve rises by in this time it is late at most.
pub const EVALUATION: Micros = Micros(31_250);

/// The part of the window that [`Cubic::on_slow_start_end`] can have it grow by per round trip.
pub const PROBE: u64 = 20;

/// The largest segment that is reckoned with; larger ones count as this.
const MOST_SEGMENT: u64 = 65_535;
/// What one acknowledgement can make the window grow by, before the factor.
const MOST_ACKED: u64 = u32::MAX as u64;
/// No acknowledgement comes as late.
const NEVER: Timestamp = Timestamp(u64::MAX);
/// The unit of [`Cubic`]'s gain: growth in bytes per byte acknowledged, of this.
const GAIN: u64 = 1 << 24;
/// The largest distance from the flat part that counts, in thousandths of a segment.
const MOST_DISTANCE: u64 = 1 << 31;

/// The parameters of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// What a loss leaves of the window (β), in thousandths; 500 to 900. RFC 9438: 700.
    pub beta: u32,
    /// How fast the curve moves (C), in thousandths of a segment per cubic second; 40 to 4,000.
    /// RFC 9438: 400.
    pub c: u32,
    /// Whether a flow that loses below its former maximum gives up more, for those that come new.
    pub fast_convergence: bool,
}

impl Default for Shape {
    /// As RFC 9438 recommends.
    fn default() -> Self {
        Self {
            beta: 700,
            c: 400,
            fast_convergence: true,
        }
    }
}

impl Shape {
    /// The same with every parameter in its range, as all of the laws take it.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            beta: self.beta.clamp(500, 900),
            c: self.c.clamp(40, 4_000),
            ..self
        }
    }

    fn beta(self) -> u64 {
        u64::from(self.clamped().beta)
    }

    fn c(self) -> u64 {
        u64::from(self.clamped().c)
    }

    /// What a window in the Reno-friendly region grows by per round trip (α), in thousandths of a
    /// segment: as much as makes it equal to Reno's on average. Source: RFC 9438, section 4.3.
    #[must_use]
    pub fn alpha(self) -> u64 {
        3_000 * (1_000 - self.beta()) / (1_000 + self.beta())
    }

    /// The slow-start threshold after a reduction of a window of which `used` was in use.
    /// Source: RFC 9438, section 4.6.
    #[must_use]
    pub fn ssthresh(self, used: Bytes, mss: u32) -> Bytes {
        let left = used.min(MOST_WINDOW).0 * self.beta() / 1_000;
        Bytes(left).max(Bytes::from_packets(MIN_SSTHRESH_SEGMENTS, mss))
    }

    /// What is left, in thousandths, of a maximum that lies below the one before it.
    /// Source: RFC 9438, section 4.7.
    #[must_use]
    pub fn shrink(self) -> u64 {
        if self.fast_convergence {
            (1_000 + self.beta()) / 2
        } else {
            1_000
        }
    }

    /// Where the curve is to be flat after a reduction of a window of which `used` was in use, and
    /// which was to be flat at `before`. Source: RFC 9438, section 4.7.
    ///
    /// A window is below its former maximum if a whole segment is missing, as for Linux, which counts
    /// in segments. Otherwise every loss before the flat part, which the curve reaches at last by
    /// fractions of one, would have the flow give up more.
    #[must_use]
    pub fn w_max(self, used: Bytes, before: Bytes, mss: u32) -> Bytes {
        let used = used.min(MOST_WINDOW);
        if used.0 + segment(mss) <= before.0 {
            Bytes(used.0 * self.shrink() / 1_000)
        } else {
            used
        }
    }

    /// K: the time in milliseconds that the curve takes from `start` to its flat part at `w_max`; at
    /// most [`LONGEST_MS`]. Source: RFC 9438, section 4.2, equation (2).
    #[must_use]
    pub fn k_ms(self, w_max: Bytes, start: Bytes, mss: u32) -> u64 {
        let distance = (w_max.min(MOST_WINDOW) - start).0 * 1_000 / segment(mss);
        let cube = distance.min(MOST_DISTANCE) * 1_000_000_000 / self.c();
        root(cube).min(LONGEST_MS)
    }

    /// The curve: the window `t_ms` after it began. Source: RFC 9438, section 4.2, equation (1).
    #[must_use]
    pub fn window(self, w_max: Bytes, k_ms: u64, t_ms: u64, mss: u32) -> Bytes {
        let t = t_ms.abs_diff(k_ms).min(LONGEST_MS);
        let away = t * t * t / 1_000_000 * (segment(mss) * self.c()) / 1_000_000;
        if t_ms < k_ms {
            w_max - Bytes(away)
        } else {
            w_max + Bytes(away)
        }
    }
}

fn segment(mss: u32) -> u64 {
    u64::from(mss).clamp(1, MOST_SEGMENT)
}

/// The cube root, rounded down.
#[must_use]
pub fn root(cube: u64) -> u64 {
    if cube == 0 {
        return 0;
    }
    // From above, Newton's steps go down and only down, until they are there.
    let mut guess = 1 << (u64::BITS - cube.leading_zeros()).div_ceil(3);
    loop {
        let next = (2 * guess + cube / (guess * guess)) / 3;
        if next >= guess {
            return guess;
        }
        guess = next;
    }
}

/// What an acknowledgement tells congestion avoidance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Acked {
    /// When it came.
    pub now: Timestamp,
    /// How much it acknowledged, of a window that is used.
    pub bytes: Bytes,
    /// The window.
    pub cwnd: Bytes,
    /// Largest segment, in bytes.
    pub mss: u32,
    /// Smoothed round-trip time; one that is not known counts as 0.
    pub rtt: Micros,
}

/// A reduction, before it takes place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reduction {
    /// How much of the window was in use.
    pub used: Bytes,
    /// The window, to go back to if the reduction was spurious.
    pub cwnd: Bytes,
    /// The slow-start threshold, likewise.
    pub ssthresh: Bytes,
    /// Largest segment, in bytes.
    pub mss: u32,
}

/// Congestion avoidance of one flow. Slow start is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cubic {
    shape: Shape,
    curve: Curve,
    /// The window before the last reduction, up to which the Reno-friendly estimate grows slowly.
    prior: Bytes,
    /// Until when time on the curve has been counted; the end of time while it stands still.
    seen: Timestamp,
    /// When the curve is to be evaluated again, the window for which it was the last time, and what
    /// came out.
    again: Timestamp,
    evaluated: Bytes,
    target: Bytes,
    /// By how much of each byte acknowledged the window grows; of [`GAIN`].
    gain: u64,
    /// What is acknowledged and not yet a segment of growth: times `gain`, and for the
    /// Reno-friendly estimate times α.
    credit: u64,
    est_credit: u64,
    saved: Option<(Reduction, Curve, Bytes)>,
}

/// Where the curve is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Curve {
    w_max: Bytes,
    k_ms: u64,
    /// How long congestion avoidance has lasted, without pauses; `None` if it has not begun.
    elapsed: Option<Micros>,
    /// What Reno's window would be.
    w_est: Bytes,
    /// Whether to grow by [`PROBE`] at least.
    probing: bool,
}

impl Cubic {
    /// A flow without history: where its curve is flat is where congestion avoidance begins.
    #[must_use]
    pub fn new(shape: Shape) -> Self {
        Self {
            shape: shape.clamped(),
            curve: Curve::default(),
            prior: Bytes::ZERO,
            seen: NEVER,
            again: Timestamp::default(),
            evaluated: Bytes::ZERO,
            target: Bytes::ZERO,
            gain: 0,
            credit: 0,
            est_credit: 0,
            saved: None,
        }
    }

    /// Where the curve is flat; 0 before that is known.
    #[must_use]
    pub const fn w_max(&self) -> Bytes {
        self.curve.w_max
    }

    /// The time from the beginning of the curve to its flat part, in milliseconds.
    #[must_use]
    pub const fn k_ms(&self) -> u64 {
        self.curve.k_ms
    }

    /// What Reno's window would be.
    #[must_use]
    pub const fn w_est(&self) -> Bytes {
        self.curve.w_est
    }

    /// An acknowledgement in congestion avoidance: gives the new window, never a smaller one.
    /// Source: RFC 9438, sections 4.2 to 4.5.
    ///
    /// What it acknowledges counts at the rate of growth that was found before. Only when that makes
    /// the window or the Reno-friendly estimate take a step, when somebody else has changed the window,
    /// or when [`EVALUATION`] is over, there is more to do: a program can count bytes down until then.
    #[must_use]
    pub fn on_ack(&mut self, ack: &Acked) -> Bytes {
        let mut cwnd = ack.cwnd;
        if cwnd >= MOST_WINDOW {
            return cwnd;
        }
        let mss = segment(ack.mss);
        let bytes = ack.bytes.0.min(MOST_ACKED);
        if self.curve.elapsed.is_none() {
            self.begin(ack);
        }
        self.seen = self.seen.min(ack.now);
        let changed = cwnd != self.evaluated;
        if changed {
            self.gain = 0;
        }

        let mut stepped = false;
        self.credit += bytes * self.gain;
        if self.credit >= mss * GAIN {
            let grown = self.credit / GAIN;
            self.credit -= grown * GAIN;
            cwnd = (cwnd + Bytes(grown)).min(self.target.max(cwnd));
            stepped = true;
        }

        let reached = self.curve.w_est >= self.prior;
        self.est_credit += bytes * if reached { 1_000 } else { self.shape.alpha() };
        let window = cwnd.0.max(1) * 1_000;
        if self.est_credit >= window {
            let segments = self.est_credit / window;
            self.est_credit -= segments * window;
            self.curve.w_est += Bytes(segments * mss);
            stepped = true;
        }
        if changed || stepped || ack.now >= self.again {
            // What Reno's window is ahead by more than a step of its own is made up for in a round trip.
            if self.curve.w_est <= cwnd + Bytes(mss) {
                cwnd = cwnd.max(self.curve.w_est);
            }
            self.evaluate(ack, cwnd);
        }
        cwnd
    }

    fn begin(&mut self, ack: &Acked) {
        self.curve.elapsed = Some(Micros::ZERO);
        self.curve.w_est = ack.cwnd;
        self.curve.k_ms = self.shape.k_ms(self.curve.w_max, ack.cwnd, ack.mss);
        self.curve.w_max = self.curve.w_max.max(ack.cwnd);
        self.seen = ack.now;
        self.evaluated = Bytes::ZERO;
        self.credit = 0;
        self.est_credit = 0;
    }

    /// What the window is to be a round trip from now, and how fast to get there.
    fn evaluate(&mut self, ack: &Acked, cwnd: Bytes) {
        self.count(ack.now, ack.rtt);
        self.seen = ack.now;
        let elapsed = self.curve.elapsed.unwrap_or_default();
        let t_ms = (elapsed + ack.rtt).0 / 1_000;
        let Curve { w_max, k_ms, .. } = self.curve;
        let most = Bytes(cwnd.0 + cwnd.0 / 2);
        let curve = self.shape.window(w_max, k_ms, t_ms, ack.mss);
        let least = if self.curve.probing {
            cwnd.0 / PROBE
        } else {
            0
        };
        let target = curve.max(self.curve.w_est).max(cwnd + Bytes(least));
        self.target = target.min(most);
        self.gain = (self.target - cwnd).0 * GAIN / cwnd.0.max(1);
        self.again = ack.now + EVALUATION;
        self.evaluated = cwnd;
    }

    /// Time goes on along the curve up to `now`, by no more than passes between two evaluations while
    /// acknowledgements come: what is beyond was spent idle.
    fn count(&mut self, now: Timestamp, rtt: Micros) {
        let span = now.since(self.seen).min(EVALUATION + rtt);
        self.curve.elapsed = self.curve.elapsed.map(|elapsed| elapsed + span);
    }

    /// From `now` on, until the next acknowledgement in congestion avoidance, time does not count: the
    /// application has less to send than the window allows. `rtt` is the smoothed round-trip time. To be
    /// told at every acknowledgement for which that holds; without effect outside congestion avoidance.
    /// Source: RFC 9438, section 5.8.
    pub fn pause(&mut self, now: Timestamp, rtt: Micros) {
        self.count(now, rtt);
        self.seen = NEVER;
    }

    /// A loss or a mark: gives the new slow-start threshold, which is the new window as well.
    /// Source: RFC 9438, sections 4.6 and 4.7.
    #[must_use]
    pub fn on_loss(&mut self, reduction: &Reduction) -> Bytes {
        self.saved = Some((*reduction, self.curve, self.prior));
        self.prior = reduction.used.min(MOST_WINDOW);
        self.curve.w_max = self
            .shape
            .w_max(reduction.used, self.curve.w_max, reduction.mss);
        self.curve.elapsed = None;
        self.curve.probing = false;
        self.shape.ssthresh(reduction.used, reduction.mss)
    }

    /// A retransmission timeout that no recovery was under way before: gives the new slow-start
    /// threshold. Source: RFC 9438, section 4.8.
    #[must_use]
    pub fn on_timeout(&mut self, reduction: &Reduction) -> Bytes {
        let ssthresh = self.on_loss(reduction);
        self.forget();
        ssthresh
    }

    /// A retransmission timeout in recovery, or after another one: it belongs to the same loss.
    pub fn on_timeout_again(&mut self) {
        self.forget();
    }

    /// The curve after a timeout is flat where congestion avoidance begins.
    fn forget(&mut self) {
        self.curve.w_max = Bytes::ZERO;
        self.curve.elapsed = None;
    }

    /// The last reduction was spurious: everything is as before it. Gives the window and the
    /// slow-start threshold from before; `None` if there was no reduction, or if the window has
    /// grown back to what it was. The time that the reduction took does not count on the curve.
    /// Source: RFC 9438, section 4.9.
    pub fn undo(&mut self, cwnd: Bytes) -> Option<(Bytes, Bytes)> {
        let (reduction, curve, prior) = self.saved.take()?;
        if cwnd >= reduction.cwnd {
            return None;
        }
        self.curve = curve;
        self.prior = prior;
        self.seen = NEVER;
        self.evaluated = Bytes::ZERO;
        Some((reduction.cwnd, reduction.ssthresh))
    }

    /// Slow start has ended without a loss. Source: RFC 9438, section 4.10.
    ///
    /// Nothing is known then of what the path holds, and the curve, flat where it begins, takes its
    /// time. With `probe` the window grows by a twentieth per round trip at least until there is a
    /// loss, as Linux has it; the RFC does not.
    pub fn on_slow_start_end(&mut self, cwnd: Bytes, probe: bool) {
        self.prior = cwnd;
        self.forget();
        self.curve.probing = probe;
    }
}

#[cfg(test)]
mod tests;
