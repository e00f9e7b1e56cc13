//! A path in rounds: for curves of a window over time, with losses where a script says.

use ccp_types::{Bytes, Micros};

use super::{Ack, TestFlow};

/// A path whose round-trip time does not change. In every round the flow sends its window, or what
/// its application has, and gets one acknowledgement per packet.
///
/// A loss is found at the first acknowledgement of a round. If the program leaves recovery to the
/// datapath, the window is halved then and there, as Linux does it on the eBPF datapath, and the
/// round is recovery: nothing is acknowledged until everything is, at its end.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    /// Largest segment, in bytes.
    pub mss: u32,
    /// Round-trip time.
    pub rtt: Micros,
    /// Whether the datapath reduces the window by itself on loss and timeout.
    pub reduces: bool,
}

/// What happens in one round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// So many packets of the round before are found to be lost.
    pub lost: u64,
    /// The retransmission timer runs out at the beginning of the round.
    pub timeout: bool,
    /// The application has no more than so many packets.
    pub only: Option<u64>,
}

impl Round {
    /// `lost` packets are found to be lost.
    #[must_use]
    pub fn lose(lost: u64) -> Self {
        Self {
            lost,
            ..Self::default()
        }
    }

    /// The retransmission timer runs out.
    #[must_use]
    pub fn timeout() -> Self {
        Self {
            timeout: true,
            ..Self::default()
        }
    }

    /// The application has no more than `packets`.
    #[must_use]
    pub fn only(packets: u64) -> Self {
        Self {
            only: Some(packets),
            ..Self::default()
        }
    }
}

impl Default for Path {
    fn default() -> Self {
        Self {
            mss: 1_000,
            rtt: Micros(10_000),
            reduces: true,
        }
    }
}

impl Path {
    /// One round of `flow`. Returns the window at its end, in whole packets.
    pub fn round(&self, flow: &mut TestFlow, round: Round) -> u64 {
        let mss = u64::from(self.mss);
        let window = flow.cwnd().packets(self.mss).max(1);
        let sent = round.only.unwrap_or(u64::MAX).min(window);
        let limited = sent == window;
        if round.timeout {
            self.timeout(flow, sent);
        } else if round.lost > 0 {
            self.recovery(flow, sent, round.lost, limited);
        } else {
            for _ in 0..sent {
                self.next(flow, sent);
                // Whatever the window allows has been sent before the acknowledgement.
                let out = if limited {
                    flow.cwnd().packets(self.mss)
                } else {
                    sent
                };
                let ack = self.ack(mss).in_flight(Bytes(out.saturating_sub(1) * mss));
                flow.ack(&if limited { ack } else { ack.app_limited() });
            }
        }
        flow.cwnd().packets(self.mss)
    }

    /// The window after each of `rounds`.
    pub fn run(&self, flow: &mut TestFlow, rounds: impl IntoIterator<Item = Round>) -> Vec<u64> {
        rounds
            .into_iter()
            .map(|round| self.round(flow, round))
            .collect()
    }

    fn recovery(&self, flow: &mut TestFlow, sent: u64, lost: u64, limited: bool) {
        let mss = u64::from(self.mss);
        if self.reduces && flow.datapath_recovers() {
            let half = Bytes(flow.cwnd().0 / 2).max(Bytes(2 * mss));
            flow.set_cwnd(half);
        }
        for nth in 0..sent {
            self.next(flow, sent);
            let left = Bytes(sent.saturating_sub(nth + 1) * mss);
            let ack = self.ack(0).in_flight(left).recovery_state(3);
            let ack = if limited { ack } else { ack.app_limited() };
            flow.ack(&match nth {
                0 => ack.lost(lost),
                _ => ack.set("Ack.packets_misordered", 1),
            });
        }
        flow.ack(&self.ack(sent * mss).set("Ack.packets_acked", lost));
    }

    fn timeout(&self, flow: &mut TestFlow, sent: u64) {
        let mss = u64::from(self.mss);
        if self.reduces && flow.datapath_recovers() {
            flow.set_cwnd(Bytes(mss));
        }
        flow.pass(self.rtt);
        flow.ack(&Ack::timeout().rtt(self.rtt).mss(self.mss));
        // The first packet is sent again; its acknowledgement covers everything that had arrived.
        flow.pass(self.rtt);
        flow.ack(&self.ack(sent * mss));
    }

    fn next(&self, flow: &mut TestFlow, packets: u64) {
        flow.pass(Micros(self.rtt.0 / packets.max(1)));
    }

    fn ack(&self, bytes: u64) -> Ack {
        Ack::of(bytes).rtt(self.rtt).mss(self.mss)
    }
}
