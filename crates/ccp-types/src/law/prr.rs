//! Proportional rate reduction: how a sender gets from the window that it lost something with to the
//! one that congestion control wants, spread over the round trip of the recovery. Source: RFC 9937
//! (and RFC 6937 before it).

use crate::Bytes;

/// One fast recovery, or one reduction after a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prr {
    /// What was outstanding when it began, RecoverFS; not 0.
    prior: u64,
    /// What has been delivered since.
    delivered: u64,
    /// What has been sent since.
    out: u64,
}

/// What an acknowledgement in recovery tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// How much it newly delivers, cumulatively or selectively.
    pub bytes: Bytes,
    /// What is in flight once it has been counted, without what is lost.
    pub in_flight: Bytes,
    /// It acknowledges more in sequence and shows no further loss.
    pub safe: bool,
    /// The window to arrive at. It may change while recovery lasts.
    pub target: Bytes,
    /// Largest segment, in bytes.
    pub mss: u32,
}

impl Prr {
    /// A recovery that begins with `outstanding` sent and not acknowledged in sequence.
    #[must_use]
    pub fn new(outstanding: Bytes) -> Self {
        Self {
            prior: outstanding.0.max(1),
            delivered: 0,
            out: 0,
        }
    }

    /// An acknowledgement: gives the window until the next. `None` if it delivers nothing: the window
    /// stays as it is then. Source: RFC 9937, section 5.
    pub fn on_ack(&mut self, ack: &Delivered) -> Option<Bytes> {
        if ack.bytes == Bytes::ZERO {
            return None;
        }
        self.delivered = self.delivered.saturating_add(ack.bytes.0);
        let mss = u64::from(ack.mss.max(1));
        let mut send = if ack.in_flight > ack.target {
            let whole = u128::from(self.delivered) * u128::from(ack.target.0);
            let due = whole.div_ceil(u128::from(self.prior));
            u64::try_from(due)
                .unwrap_or(u64::MAX)
                .saturating_sub(self.out)
        } else {
            let behind = self.delivered.saturating_sub(self.out).max(ack.bytes.0);
            let more = if ack.safe { mss } else { 0 };
            behind
                .saturating_add(more)
                .min((ack.target - ack.in_flight).0)
        };
        if self.out == 0 {
            // The fast retransmission goes out whatever the window says.
            send = send.max(mss);
        }
        Some(ack.in_flight + Bytes(send))
    }

    /// Something was sent, new or again.
    pub fn on_sent(&mut self, bytes: Bytes) {
        self.out = self.out.saturating_add(bytes.0);
    }
}

#[cfg(test)]
mod tests {
    use super::{Delivered, Prr};
    use crate::Bytes;

    const MSS: u64 = 1_000;

    /// A window of 20 packets, of which the first `lost` are lost and the rest arrive one by one; sends
    /// whatever it may. Returns how many packets were sent after each acknowledgement.
    fn recovery(lost: u64, target: u64) -> Vec<u64> {
        let mut prr = Prr::new(Bytes(20 * MSS));
        let mut flight = (20 - lost) * MSS;
        (lost..20)
            .map(|_| {
                flight -= MSS;
                let ack = Delivered {
                    bytes: Bytes(MSS),
                    in_flight: Bytes(flight),
                    safe: false,
                    target: Bytes(target * MSS),
                    mss: MSS as u32,
                };
                let window = prr.on_ack(&ack).unwrap_or_default();
                let mut sent = 0;
                while flight + MSS <= window.0 {
                    flight += MSS;
                    prr.on_sent(Bytes(MSS));
                    sent += 1;
                }
                sent
            })
            .collect()
    }

    #[test]
    fn one_loss_sends_every_second_time_and_arrives_at_the_target() {
        let sent = recovery(1, 10);
        assert_eq!(sent.iter().sum::<u64>(), 10, "{sent:?}");
        // No burst and no pause: what RFC 9937 is about.
        assert!(sent.iter().all(|n| *n <= 1), "{sent:?}");
        assert!(
            sent.windows(2).all(|pair| pair.iter().sum::<u64>() <= 2),
            "{sent:?}"
        );
    }

    #[test]
    fn heavy_loss_sends_no_more_than_is_delivered() {
        // Four of twenty arrive: what is in flight is below the target from the beginning.
        let sent = recovery(16, 10);
        assert_eq!(sent, [1, 1, 1, 1]);
    }

    #[test]
    fn an_acknowledgement_that_is_safe_may_grow_by_a_segment_up_to_the_target() {
        let mut prr = Prr::new(Bytes(20 * MSS));
        prr.on_sent(Bytes(MSS));
        let mut ack = Delivered {
            bytes: Bytes(MSS),
            in_flight: Bytes(5 * MSS),
            safe: true,
            target: Bytes(10 * MSS),
            mss: MSS as u32,
        };
        assert_eq!(prr.on_ack(&ack), Some(Bytes(7 * MSS)));
        ack.target = Bytes(6 * MSS);
        assert_eq!(prr.on_ack(&ack), Some(Bytes(6 * MSS)));
    }

    #[test]
    fn nothing_delivered_changes_nothing_and_nothing_overflows() {
        let mut prr = Prr::new(Bytes::ZERO);
        let mut ack = Delivered {
            bytes: Bytes::ZERO,
            in_flight: Bytes::MAX,
            safe: true,
            target: Bytes::MAX,
            mss: u32::MAX,
        };
        assert_eq!(prr.on_ack(&ack), None);
        ack.bytes = Bytes::MAX;
        assert_eq!(prr.on_ack(&ack), Some(Bytes::MAX));
        prr.on_sent(Bytes::MAX);
        ack.in_flight = Bytes::ZERO;
        assert!(prr.on_ack(&ack).is_some());
    }
}
