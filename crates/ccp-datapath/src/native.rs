//! What steers a flow that no program steers.

use ccp_types::law::cubic::{Acked, Cubic, Reduction, Shape};
use ccp_types::law::hystart::{HyStart, Phase};
use ccp_types::law::reno;
use ccp_types::{Bytes, Micros, Timestamp};

use crate::config::Native;

/// An acknowledgement, or a timeout, as a native law sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NativeAck {
    /// When.
    pub now: Timestamp,
    /// Bytes newly acknowledged.
    pub acked: Bytes,
    /// Bytes newly acknowledged behind a hole.
    pub misordered: Bytes,
    /// Packets found to be lost.
    pub lost: u64,
    /// Packets acknowledged with a congestion mark.
    pub marked: u64,
    /// The retransmission timer ran out.
    pub timeout: bool,
    /// Whether the transport recovers from a loss, a mark or a timeout; `None` where it does not tell.
    pub recovering: Option<Recovering>,
    /// Bytes outstanding, without what is lost or was acknowledged behind a hole; 0 where the transport
    /// does not tell.
    pub in_flight: Bytes,
    /// Whether the window, not the application, limits what is sent.
    pub limited: bool,
    /// The window.
    pub cwnd: Bytes,
    /// Largest segment, in bytes.
    pub mss: u32,
    /// Smoothed round-trip time; 0 before the first measurement.
    pub srtt: Micros,
    /// The round-trip time that this acknowledgement measures, if it does.
    pub rtt: Option<Micros>,
}

/// Where a transport that tells its state of recovery (`Flow.recovery_state`) stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovering {
    /// It does not recover from anything.
    No,
    /// Since this acknowledgement: the window is to be reduced, once.
    Begins,
    /// Since an earlier one: what is lost now is of the same event.
    Lasts,
}

/// A native control law: one object for each time that a flow becomes native.
pub trait NativeLaw: Send {
    /// The flow becomes native with the window `cwnd`. `found`: it has found its window already, and
    /// is not to look for it by doubling.
    fn start(&mut self, cwnd: Bytes, mss: u32, found: bool);

    /// The new window. Less than a segment is taken for a segment.
    fn on_ack(&mut self, ack: &NativeAck) -> Bytes;
}

pub(crate) fn new(native: &Native) -> Box<dyn NativeLaw> {
    match native {
        Native::Reno => Box::new(Window::new(Law::Reno { carry: 0 })),
        Native::Cubic => Box::new(Window::new(Law::Cubic {
            cubic: Cubic::new(Shape::default()),
            start: Some(Start::default()),
        })),
        Native::Own(make) => make(),
    }
}

/// Slow start, one reduction per loss event, one segment after a timeout; congestion avoidance is the
/// law's. Source: RFC 5681, RFC 9438.
struct Window {
    law: Law,
    ssthresh: Bytes,
    /// What was outstanding at the last loss and is not acknowledged in order yet: until then nothing
    /// grows, and no further loss counts, unless the transport says itself how long recovery lasts.
    left: Bytes,
    /// What was acknowledged behind a hole and not yet in order.
    behind: Bytes,
    /// The acknowledgement before was one of recovery.
    recovered: bool,
    /// After a timeout it does grow, by a segment at a time.
    slow: bool,
}

#[allow(
    clippy::large_enum_variant,
    reason = "it is boxed as a whole, and CUBIC is the default"
)]
enum Law {
    Reno {
        carry: u64,
    },
    Cubic {
        cubic: Cubic,
        /// The first slow start, while it lasts.
        start: Option<Start>,
    },
}

/// The first slow start, and where its rounds end. Source: RFC 9406.
#[derive(Default)]
struct Start {
    hystart: HyStart,
    /// What was outstanding when the round began and is not acknowledged yet.
    left: Bytes,
}

impl Start {
    fn on_ack(&mut self, ack: &NativeAck) -> Phase {
        let delivered = ack.acked + ack.misordered;
        let new_round = self.left == Bytes::ZERO;
        if new_round {
            self.left = match ack.in_flight {
                Bytes::ZERO => ack.cwnd,
                flight => flight + delivered,
            };
        }
        self.left = self.left - delivered;
        self.hystart.on_ack(ack.rtt, new_round)
    }
}

impl Window {
    const fn new(law: Law) -> Self {
        Self {
            law,
            ssthresh: Bytes::MAX,
            left: Bytes::ZERO,
            behind: Bytes::ZERO,
            recovered: false,
            slow: false,
        }
    }

    fn reduce(&mut self, ack: &NativeAck) {
        // What counts as outstanding in RFC 5681 is all that is not acknowledged in order.
        let out = match ack.in_flight {
            Bytes::ZERO => ack.cwnd,
            flight => flight + Bytes::from_packets(ack.lost, ack.mss),
        } + self.behind;
        let used = (out + ack.acked).min(ack.cwnd);
        let used = used.max(Bytes(u64::from(ack.mss)));
        self.left = out.max(used);
        self.ssthresh = match &mut self.law {
            Law::Reno { carry } => {
                *carry = 0;
                reno::ssthresh_after_loss(used, ack.mss)
            }
            Law::Cubic { cubic, start, .. } => {
                *start = None;
                let reduction = Reduction {
                    used,
                    cwnd: ack.cwnd,
                    ssthresh: self.ssthresh,
                    mss: ack.mss,
                };
                if ack.timeout {
                    cubic.on_timeout(&reduction)
                } else {
                    cubic.on_loss(&reduction)
                }
            }
        };
    }

    fn avoid(&mut self, ack: &NativeAck, cwnd: Bytes, acked: Bytes) -> Bytes {
        match &mut self.law {
            Law::Reno { carry } => reno::congestion_avoidance(cwnd, ack.mss, acked, carry),
            Law::Cubic { cubic, .. } => cubic.on_ack(&Acked {
                now: ack.now,
                bytes: acked,
                cwnd,
                mss: ack.mss,
                rtt: ack.srtt,
            }),
        }
    }
}

impl NativeLaw for Window {
    fn start(&mut self, cwnd: Bytes, mss: u32, found: bool) {
        if found {
            let two = Bytes::from_packets(reno::MIN_SSTHRESH_SEGMENTS, mss);
            self.ssthresh = cwnd.max(two);
            if let Law::Cubic { start, .. } = &mut self.law {
                *start = None;
            }
        }
    }

    fn on_ack(&mut self, ack: &NativeAck) -> Bytes {
        let waited = self.left > Bytes::ZERO;
        self.left = self.left - ack.acked;
        self.behind = self.behind - ack.acked + ack.misordered;
        let waits = self.left > Bytes::ZERO;
        // The acknowledgement that ends recovery is one of it.
        let (begins, recovers) = match ack.recovering {
            None => (
                !waits && (ack.lost > 0 || ack.marked > 0 || ack.timeout),
                waited || waits,
            ),
            Some(told) => (
                told == Recovering::Begins || ack.timeout && told == Recovering::No,
                std::mem::replace(&mut self.recovered, told != Recovering::No)
                    || told != Recovering::No,
            ),
        };
        if !recovers {
            self.slow = false;
        }
        if let Law::Cubic { cubic, start, .. } = &mut self.law
            && let Some(first) = start
            && ack.acked + ack.misordered > Bytes::ZERO
            && first.on_ack(ack) == Phase::Over
        {
            *start = None;
            if !begins {
                self.ssthresh = ack.cwnd;
                cubic.on_slow_start_end(ack.cwnd, false);
            }
        }
        let segment = Bytes(u64::from(ack.mss));
        if ack.timeout {
            if begins {
                self.reduce(ack);
            } else if let Law::Cubic { cubic, .. } = &mut self.law {
                cubic.on_timeout_again();
            }
            self.slow = true;
            return segment;
        }
        if begins {
            self.reduce(ack);
            return ack.cwnd.min(self.ssthresh);
        }
        let mut acked = ack.acked;
        if !ack.limited {
            acked = Bytes::ZERO;
            if let Law::Cubic { cubic, .. } = &mut self.law {
                cubic.pause(ack.now, ack.srtt);
            }
        }
        if recovers {
            acked = if self.slow {
                acked.min(segment)
            } else {
                Bytes::ZERO
            };
        }
        if acked == Bytes::ZERO {
            return ack.cwnd;
        }
        if let Law::Cubic {
            start: Some(first), ..
        } = &self.law
        {
            acked = first.hystart.growth(acked);
        }
        let (cwnd, rest) = reno::slow_start(ack.cwnd, self.ssthresh.max(ack.cwnd), acked);
        if rest == Bytes::ZERO {
            return cwnd;
        }
        self.avoid(ack, cwnd, rest)
    }
}

#[cfg(test)]
mod tests;
