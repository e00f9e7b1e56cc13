//! The program against the laws of `ccp_types`, acknowledgement by acknowledgement.

use ccp_core::testkit::{Ack, Setup, TestFlow};
use ccp_core::{Bytes, Micros, Origin, Timestamp};
use ccp_types::law::cubic::{Acked, Cubic, Reduction, Shape};
use ccp_types::law::hystart::{HyStart, Phase, TRAIN_WINDOW, Train};
use ccp_types::law::reno;
use proptest::prelude::*;

use super::cubic;

/// Slow start and what is done when, around the laws: what a native datapath would do.
struct Model {
    cubic: Cubic,
    hystart: HyStart,
    /// Unless trains are left out.
    train: Option<Train>,
    round: u64,
    cwnd: Bytes,
    ssthresh: Bytes,
    mss: u32,
}

impl Model {
    fn on_ack(&mut self, now: Timestamp, bytes: Bytes, rtt: Micros, round: u64, used: bool) {
        let mut grow = bytes;
        if !used {
            self.cubic.pause(now, rtt);
            grow = Bytes::ZERO;
        }
        if self.ssthresh == Bytes::MAX {
            let new_round = std::mem::replace(&mut self.round, round) != round;
            let mut over = self.hystart.on_ack(Some(rtt), new_round) == Phase::Over;
            if let Some(train) = &mut self.train {
                let filled = train.on_ack(now, new_round, MIN_RTT, false);
                over |= filled && self.cwnd >= Bytes::from_packets(TRAIN_WINDOW, self.mss);
            }
            if over {
                self.ssthresh = self.cwnd;
                self.cubic
                    .on_slow_start_end(self.cwnd, self.train.is_some());
            }
            if !over {
                grow = self.hystart.growth(grow);
            }
        }
        let (cwnd, left) = reno::slow_start(self.cwnd, self.ssthresh, grow);
        self.cwnd = cwnd;
        if left > Bytes::ZERO {
            self.cwnd = self.cubic.on_ack(&Acked {
                now,
                bytes: left,
                cwnd,
                mss: self.mss,
                rtt,
            });
        }
    }

    fn reduction(&self) -> Reduction {
        Reduction {
            used: self.cwnd,
            cwnd: self.cwnd,
            ssthresh: self.ssthresh,
            mss: self.mss,
        }
    }
}

const MIN_RTT: Micros = Micros(20_000);

#[derive(Clone, Debug)]
enum Op {
    /// Acknowledgements of so many bytes, so far apart, with this round-trip time.
    Acks {
        count: u8,
        bytes: u64,
        gap: u64,
        rtt: u64,
        used: bool,
    },
    Lose {
        spurious: bool,
    },
    TimeOut {
        again: u8,
        spurious: bool,
    },
    /// After which the datapath has halved the window so often.
    Idle {
        halvings: u8,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![Just(1_448_u64), 1..70_000_u64, Just(2_896_000)];
    let gap = prop_oneof![0..3_000_u64, 0..400_000_u64, Just(900_000_000)];
    let rtt = prop_oneof![100..2_000_u64, 2_000..300_000_u64];
    let used = prop::bool::weighted(0.9);
    prop_oneof![
        8 => (1..60_u8, bytes, gap, rtt, used)
            .prop_map(|(count, bytes, gap, rtt, used)| Op::Acks { count, bytes, gap, rtt, used }),
        2 => prop::bool::weighted(0.3).prop_map(|spurious| Op::Lose { spurious }),
        1 => (0..3_u8, prop::bool::weighted(0.3))
            .prop_map(|(again, spurious)| Op::TimeOut { again, spurious }),
        1 => (0..9_u8).prop_map(|halvings| Op::Idle { halvings }),
    ]
}

/// Program and model side by side.
struct Pair {
    flow: TestFlow,
    model: Model,
    rtt: Micros,
    rounds: u64,
}

impl Pair {
    fn new(text: &str, shape: Shape, trains: bool, mss: u32, packets: u64) -> Self {
        let setup = Setup {
            mss,
            cwnd: Bytes::from_packets(packets, mss),
            origin: Origin::New,
            ..Setup::default()
        };
        let model = Model {
            cubic: Cubic::new(shape),
            hystart: HyStart::new(),
            train: trains.then(Train::new),
            round: 0,
            cwnd: setup.cwnd,
            ssthresh: Bytes::MAX,
            mss,
        };
        let mut pair = Self {
            flow: TestFlow::with(cubic(text), &setup),
            model,
            rtt: Micros(10_000),
            rounds: 0,
        };
        // The first acknowledgement starts the program.
        pair.nothing(0, 0);
        pair
    }

    /// What every acknowledgement here says.
    fn ack(&self, ack: Ack) -> Ack {
        ack.mss(self.model.mss)
            .rtt(self.rtt)
            .set("Flow.srtt_us", self.rtt.0)
            .set("Flow.round_count", self.rounds)
            .set("Flow.min_rtt_us", MIN_RTT.0)
            .in_flight(Bytes(1 << 30))
    }

    fn acked(&mut self, bytes: u64, packets: u64, used: bool) {
        let ack = self
            .ack(Ack::of(bytes))
            .set("Ack.packets_acked", packets)
            .set("Flow.cwnd_limited", u64::from(used));
        self.flow.ack(&ack);
        let now = self.flow.now();
        // What an acknowledgement covers beyond what is new had arrived before.
        let new = Bytes(bytes.min(packets * u64::from(self.model.mss)));
        self.model.on_ack(now, new, self.rtt, self.rounds, used);
    }

    /// An acknowledgement of nothing new, in this state of recovery.
    fn nothing(&mut self, state: u64, lost: u64) {
        self.flow.pass(Micros(1_000));
        let ack = self.ack(Ack::of(0).recovery_state(state).lost(lost));
        self.flow.ack(&ack);
    }

    fn timeout(&mut self) {
        self.flow.set_cwnd(Bytes(u64::from(self.model.mss)));
        self.flow.pass(Micros::from_secs(1));
        let ack = self.ack(Ack::timeout());
        self.flow.ack(&ack);
    }

    fn undo(&mut self, before: Bytes) {
        self.flow.set_cwnd(before);
        self.nothing(0, 0);
        let model = &mut self.model;
        if let Some((cwnd, ssthresh)) = model.cubic.undo(model.cwnd) {
            (model.cwnd, model.ssthresh) = (cwnd, ssthresh);
        } else {
            model.cwnd = before;
        }
    }

    fn run(&mut self, op: &Op) -> Result<(), TestCaseError> {
        let before = self.flow.cwnd();
        let mss = Bytes(u64::from(self.model.mss));
        match *op {
            Op::Acks {
                count,
                bytes,
                gap,
                rtt,
                used,
            } => {
                self.rtt = Micros(rtt);
                for nth in 0..count {
                    self.rounds += u64::from(nth % 10 == 0);
                    self.flow.pass(Micros(gap));
                    self.acked(bytes, bytes.div_ceil(mss.0), used);
                    prop_assert_eq!(
                        self.flow.cwnd(),
                        self.model.cwnd,
                        "after {} of {:?}",
                        nth,
                        op
                    );
                }
            }
            Op::Lose { spurious } => {
                let half = Bytes(before.0 / 2).max(mss + mss);
                self.flow.set_cwnd(half);
                self.nothing(3, 1);
                let reduction = self.model.reduction();
                self.model.ssthresh = self.model.cubic.on_loss(&reduction);
                self.model.cwnd = self.model.ssthresh;
                self.nothing(3, 0);
                if spurious {
                    self.undo(before);
                } else {
                    self.nothing(0, 0);
                }
            }
            Op::TimeOut { again, spurious } => {
                self.timeout();
                let reduction = self.model.reduction();
                self.model.ssthresh = self.model.cubic.on_timeout(&reduction);
                self.model.cwnd = mss;
                for _ in 0..again {
                    self.timeout();
                    self.model.cubic.on_timeout_again();
                }
                if spurious {
                    self.undo(before);
                } else {
                    self.flow.pass(Micros(1_000));
                    self.acked(10 * mss.0, 1, true);
                }
            }
            Op::Idle { halvings } => {
                let least = Bytes(10 * mss.0).min(before);
                let window = Bytes(before.0 >> halvings).max(least);
                self.flow.set_cwnd(window);
                self.flow.pass(Micros::from_secs(2));
                self.nothing(0, 0);
                self.model.cwnd = window;
                if window < before {
                    let kept = Bytes(before.0 / 4 * 3);
                    self.model.ssthresh = self.model.ssthresh.max(kept);
                }
            }
        }
        prop_assert_eq!(self.flow.cwnd(), self.model.cwnd, "after {:?}", op);
        let ssthresh = self.flow.control("ssthresh");
        prop_assert_eq!(ssthresh, Some(self.model.ssthresh.0), "after {:?}", op);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// To the byte.
    #[test]
    fn the_program_does_what_the_law_says(
        ops in prop::collection::vec(op(), 1..25),
        beta in 500..=900_u32, c in 40..=4_000_u32, fast_convergence: bool, trains: bool,
        mss in prop_oneof![Just(1_448_u32), Just(65_483), 100..65_535_u32], packets in 2..3_000_u64,
    ) {
        let shape = Shape { beta, c, fast_convergence };
        let text = format!(
            "beta = {}\nc = {}\nfast_convergence = {fast_convergence}\nack_trains = {trains}",
            f64::from(beta) / 1_000.0, f64::from(c) / 1_000.0,
        );
        let mut pair = Pair::new(&text, shape, trains, mss, packets);
        for op in &ops {
            pair.run(op)?;
        }
    }
}
