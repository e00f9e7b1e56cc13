use ccp_core::testkit::{Ack, Setup, TestFlow};
use ccp_core::{Bytes, Micros, Origin, Params};
use ccp_program::RegisterTable;

use super::Cubic;

mod curves;
mod faults;
mod law;
mod parameters;
mod start;

const MSS: u64 = 1_000;

/// What a link holds on which nothing queues; its flow paces.
const UNLIMITED: u64 = u64::MAX / 4;

fn cubic(text: &str) -> Cubic {
    Cubic::from_params(&Params::parse_toml("cubic", text).unwrap()).unwrap()
}

/// Whether the datapath measures much and reduces by itself, or is one of libccp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Full,
    Base,
}

const BOTH: [Kind; 2] = [Kind::Full, Kind::Base];

/// One flow alone on a link, in rounds: a round-trip time that rises with the queue, losses when it
/// is full or a test wants one.
struct Link {
    flow: TestFlow,
    kind: Kind,
    /// Without a queue.
    rtt: Micros,
    /// Packets that the link holds, and its queue.
    holds: u64,
    queue: u64,
    rounds: u64,
}

impl Link {
    /// So long that nothing queues.
    fn long(kind: Kind, text: &str, packets: u64) -> Self {
        Self::new(kind, text, packets, Origin::Adopted, UNLIMITED)
    }

    fn new(kind: Kind, text: &str, packets: u64, origin: Origin, holds: u64) -> Self {
        let setup = Setup {
            cwnd: Bytes(packets * MSS),
            origin,
            registers: match kind {
                Kind::Full => RegisterTable::well_known(),
                Kind::Base => RegisterTable::libccp(),
            },
            ..Setup::default()
        };
        let mut flow = TestFlow::with(cubic(text), &setup);
        // The first acknowledgement starts the program.
        flow.ack(&Ack::of(0));
        Self {
            flow,
            kind,
            rtt: Micros::from_millis(100),
            holds,
            queue: holds / 2,
            rounds: 0,
        }
    }

    fn with_rtt(mut self, rtt: Micros) -> Self {
        self.rtt = rtt;
        self
    }

    fn packets(&self) -> u64 {
        self.flow.cwnd().0 / MSS
    }

    /// An acknowledgement of `packets`, of a window that is used, with nothing wrong.
    fn ack(&self, packets: u64) -> Ack {
        let window = self.packets().max(1);
        let rtt = Micros(
            self.rtt
                .0
                .max(self.rtt.0.saturating_mul(window) / self.holds.max(1)),
        );
        Ack::of(packets * MSS)
            .rtt(rtt)
            .set("Flow.srtt_us", rtt.0)
            .set("Flow.round_count", self.rounds)
            .set("Flow.min_rtt_us", self.rtt.0)
            .set("Flow.paced", u64::from(self.holds == UNLIMITED))
            .in_flight(Bytes((window - 1) * MSS))
    }

    /// A round: the window at its end. It loses a packet if the queue does not hold the window.
    fn round(&mut self) -> u64 {
        let window = self.packets().max(1);
        if window > self.holds + self.queue {
            return self.lose();
        }
        self.rounds += 1;
        // A window smaller than the link is acknowledged in a train, and then nothing.
        let gap = if self.holds == UNLIMITED {
            self.rtt.0 / window
        } else {
            self.rtt.0 / self.holds
        };
        let nothing = self.rtt.0.saturating_sub(gap * window);
        self.flow.pass(Micros(nothing));
        for _ in 0..window {
            self.flow.pass(Micros(gap));
            let ack = self.ack(1);
            self.flow.ack(&ack);
        }
        self.packets()
    }

    fn rounds(&mut self, count: usize) -> Vec<u64> {
        (0..count).map(|_| self.round()).collect()
    }

    /// A packet is lost; a round trip of recovery follows. Gives the window after it.
    fn lose(&mut self) -> u64 {
        let window = self.packets().max(1);
        self.rounds += 1;
        if self.kind == Kind::Full {
            self.flow.set_cwnd(Bytes((window / 2).max(2) * MSS));
        }
        self.flow.pass(Micros(self.rtt.0 / window));
        let found = self.ack(0).recovery_state(3).lost(1);
        self.flow.ack(&found.in_flight(Bytes((window - 1) * MSS)));
        for left in (0..window - 1).rev() {
            self.flow.pass(Micros(self.rtt.0 / window));
            let ack = self.ack(0).recovery_state(3).in_flight(Bytes(left * MSS));
            self.flow.ack(&ack);
        }
        let whole = self.ack(window).set("Ack.packets_acked", 1);
        self.flow.ack(&whole);
        self.packets()
    }

    /// The retransmission timer runs out: nothing has arrived. Gives the window at once.
    fn time_out(&mut self) -> u64 {
        if self.kind == Kind::Full {
            self.flow.set_cwnd(Bytes(MSS));
        }
        self.flow.pass(Micros::from_secs(1));
        self.flow
            .ack(&Ack::timeout().set("Flow.srtt_us", self.rtt.0));
        self.packets()
    }

    /// The rest of what was outstanding at a timeout arrives again; the window at the end.
    fn repair(&mut self, packets: u64) -> u64 {
        for left in (0..packets).rev() {
            self.flow.pass(Micros(1_000));
            let state = if left > 0 { 4 } else { 0 };
            let ack = self.ack(1).recovery_state(state);
            self.flow.ack(&ack);
        }
        self.packets()
    }

    /// A value of the last report; an acknowledgement of nothing brings one.
    fn reported(&mut self, name: &str) -> u64 {
        self.flow.pass(Micros::from_secs(20));
        let ack = self.ack(0).set("Flow.cwnd_limited", 0);
        let report = self.flow.ack(&ack).expect("a report");
        let value = report.iter().find(|(n, _)| n == name);
        value.unwrap_or_else(|| panic!("no {name}")).1
    }
}
