//! The way down from a window to a smaller one, for transports that have none: RFC 9937.

use ccp_types::Bytes;
use ccp_types::law::prr::Prr;

pub use ccp_types::law::prr::Delivered;

/// Says how much may be in flight while the transport recovers from a loss, or reduces its window after a mark:
/// what is sent is in proportion to what is delivered, instead of nothing for half a round trip and then all at
/// once (proportional rate reduction, RFC 9937). Where it leads to is the window that was decided.
///
/// For each acknowledgement: [`Connection::on_ack`](crate::Connection::on_ack), then [`on_ack`](Self::on_ack) with the
/// window that came of it; send up to [`window`](Self::window), and tell of each packet with
/// [`on_sent`](Self::on_sent). Outside of a reduction the window is the one decided, and the others do nothing.
#[derive(Clone, Debug, Default)]
pub struct Reduction {
    prr: Option<Prr>,
    /// What may be in flight; as much as was decided if nothing was delivered yet.
    allowed: Option<Bytes>,
}

impl Reduction {
    /// A reduction begins: the transport has found a loss or heard of a mark, and was not reducing. `outstanding`:
    /// what is sent and not acknowledged in sequence, lost or not.
    ///
    /// Not for a retransmission timeout, after which the window grows from a segment; and not while a program steers
    /// the flow that [has recovery to itself](crate::Connection::has_own_recovery).
    pub fn begin(&mut self, outstanding: Bytes) {
        self.prr = Some(Prr::new(outstanding));
        self.allowed = None;
    }

    /// The reduction is over: what was outstanding when it began is acknowledged, or the retransmission timer ran
    /// out.
    pub const fn end(&mut self) {
        self.prr = None;
        self.allowed = None;
    }

    /// An acknowledgement came.
    pub fn on_ack(&mut self, ack: &Delivered) {
        if let Some(prr) = &mut self.prr
            && let Some(window) = prr.on_ack(ack)
        {
            self.allowed = Some(window);
        }
    }

    /// Something was sent, new or again.
    #[inline]
    pub fn on_sent(&mut self, bytes: Bytes) {
        if let Some(prr) = &mut self.prr {
            prr.on_sent(bytes);
        }
    }

    /// How much may be in flight now, if `decided` is the window that was decided.
    #[inline]
    #[must_use]
    pub fn window(&self, decided: Bytes) -> Bytes {
        self.allowed.unwrap_or(decided)
    }
}

#[cfg(test)]
mod tests {
    use super::{Delivered, Reduction};
    use crate::{Config, Connection, Datapath, FlowSpec, Native, Primitive};
    use ccp_types::{Bytes, Timestamp};

    const MSS: u64 = 1_000;

    fn flow(window: u64) -> (Datapath, Connection) {
        let datapath = Datapath::new(Config {
            native: Native::Reno,
            ..Config::default()
        });
        let (src, dst) = (([192, 0, 2, 1], 1), ([192, 0, 2, 2], 443));
        let mut spec = FlowSpec::new(src.into(), dst.into(), MSS as u32);
        spec.init_cwnd = Bytes(window * MSS);
        let mut nowhere = |_: &[u8]| Ok(());
        let flow = datapath.open(Timestamp(1), spec, &mut nowhere).unwrap();
        (datapath, flow)
    }

    /// A window of 20 packets, the first of which is lost, which the fourth acknowledgement tells; the lost one is
    /// sent again when first something may be sent. How many were sent after each of the others, and what was
    /// decided.
    fn recovery(mut reduction: Option<Reduction>) -> (Vec<u64>, u64) {
        let (datapath, mut flow) = flow(20);
        let mut measured = datapath.measurements();
        let mut flight = 20;
        let mut sent = Vec::new();
        for nth in 2..=20_u64 {
            flight -= 1;
            measured.clear();
            measured.set(Primitive::BYTES_MISORDERED, MSS);
            if nth == 4 {
                flight -= 1;
                measured.set(Primitive::LOST_PACKETS, 1);
                if let Some(reduction) = &mut reduction {
                    reduction.begin(Bytes(20 * MSS));
                }
            }
            measured.set(Primitive::BYTES_IN_FLIGHT, flight * MSS);
            let now = Timestamp(20_000 + nth * 1_000);
            let decision = flow.on_ack(now, &measured, &mut |_: &[u8]| Ok(()));
            let mut window = decision.cwnd;
            if let Some(reduction) = &mut reduction {
                reduction.on_ack(&Delivered {
                    bytes: Bytes(MSS),
                    in_flight: Bytes(flight * MSS),
                    safe: false,
                    target: decision.cwnd,
                    mss: MSS as u32,
                });
                window = reduction.window(decision.cwnd);
            }
            if nth < 4 {
                // Nothing is known yet, and the window is full by the two that may only be late.
                continue;
            }
            let before = flight;
            while (flight + 1) * MSS <= window.0 {
                flight += 1;
                if let Some(reduction) = &mut reduction {
                    reduction.on_sent(Bytes(MSS));
                }
            }
            sent.push(flight - before);
        }
        (sent, flow.decision().cwnd.0 / MSS)
    }

    fn longest_silence(sent: &[u64]) -> usize {
        let silences = sent.split(|n| *n > 0).map(<[u64]>::len);
        silences.max().unwrap_or(0)
    }

    #[test]
    fn the_flow_goes_on_sending_on_its_way_to_half_the_window() {
        let (sent, window) = recovery(None);
        assert_eq!(window, 10);
        // The retransmission too has to wait until half of the window has drained.
        assert!(sent[0] == 0 && longest_silence(&sent) >= 6, "{sent:?}");

        let (sent, window) = recovery(Some(Reduction::default()));
        assert_eq!(window, 10);
        assert_eq!(sent[0], 1, "{sent:?}");
        assert!(sent.iter().all(|n| *n <= 1) && longest_silence(&sent) <= 2);
        let all = sent.iter().sum::<u64>();
        assert!((9..=11).contains(&all), "{sent:?}");
    }

    #[test]
    fn outside_of_a_reduction_the_window_is_what_was_decided() {
        let mut reduction = Reduction::default();
        let ack = Delivered {
            bytes: Bytes(MSS),
            in_flight: Bytes(15 * MSS),
            safe: true,
            target: Bytes(10 * MSS),
            mss: MSS as u32,
        };
        reduction.on_sent(Bytes(MSS));
        reduction.on_ack(&ack);
        assert_eq!(reduction.window(Bytes(10 * MSS)), Bytes(10 * MSS));
        reduction.begin(Bytes(20 * MSS));
        assert_eq!(reduction.window(Bytes(10 * MSS)), Bytes(10 * MSS));
        reduction.on_ack(&ack);
        assert_eq!(reduction.window(Bytes(10 * MSS)), Bytes(16 * MSS));
        // An acknowledgement that delivers nothing changes nothing.
        reduction.on_sent(Bytes(MSS));
        reduction.on_ack(&Delivered {
            bytes: Bytes::ZERO,
            ..ack
        });
        assert_eq!(reduction.window(Bytes(10 * MSS)), Bytes(16 * MSS));
        reduction.end();
        assert_eq!(reduction.window(Bytes(10 * MSS)), Bytes(10 * MSS));
    }
}
