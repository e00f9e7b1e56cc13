//! Nearly every acknowledgement is an ordinary one, which `reno` and `cubic` are done with in their
//! first clause. What that leaves out must not be missed.

use std::collections::HashSet;

use ccp_core::testkit::{Ack, Setup, TestFlow};
use ccp_core::{Algorithm, Bytes, Micros, Origin, Params};
use ccp_program::interp::Registers;
use ccp_program::{BinaryOp, Inst, Operand, Program, Reg};
use proptest::prelude::*;

const KINDS: [&str; 2] = ["reno", "cubic"];

fn algorithm(kind: &str, text: &str) -> Algorithm {
    let params = Params::parse_toml(kind, text).unwrap();
    algs::registry().build(&params).unwrap()
}

/// What happens to a flow.
#[derive(Clone, Debug)]
enum Op {
    /// Acknowledgements, so many, of so much, so far apart, on a path of such a round-trip time.
    Acks {
        count: u8,
        bytes: u64,
        gap: u64,
        rtt: u64,
    },
    /// The same of an application that has less to send than the window allows.
    Limited {
        count: u8,
        gap: u64,
        flight: u64,
    },
    /// Recovery, of so many acknowledgements; before it the datapath may have reduced the window.
    Lose {
        packets: u64,
        acks: u8,
        reduced: bool,
    },
    /// Something counts as lost, but the window is not reduced.
    LoseOne,
    TimeOut,
    /// The datapath has closed the window after an idle time.
    Idle {
        halvings: u8,
    },
    /// Somebody sets the window.
    Window(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let bytes = prop_oneof![4 => Just(2_896_u64), 1 => 1..70_000_u64, 1 => Just(0)];
    let gap = prop_oneof![0..3_000_u64, 0..100_000_u64];
    let rtt = prop_oneof![100..2_000_u64, 2_000..300_000_u64];
    let limited = (1..40_u8, 0..50_000_u64, 0..200_000_u64);
    prop_oneof![
        10 => (1..250_u8, bytes, gap, rtt)
            .prop_map(|(count, bytes, gap, rtt)| Op::Acks { count, bytes, gap, rtt }),
        1 => limited.prop_map(|(count, gap, flight)| Op::Limited { count, gap, flight }),
        2 => (0..5_u64, 0..9_u8, prop::bool::weighted(0.7))
            .prop_map(|(packets, acks, reduced)| Op::Lose { packets, acks, reduced }),
        1 => Just(Op::LoseOne),
        1 => Just(Op::TimeOut),
        1 => (0..5_u8).prop_map(|halvings| Op::Idle { halvings }),
        1 => (2..400_u64).prop_map(|packets| Op::Window(packets * 1_448)),
    ]
}

/// What a flow did.
#[derive(Default)]
struct Trace {
    /// Window and threshold after each acknowledgement.
    windows: Vec<(Bytes, Option<u64>)>,
    /// The sums of what was reported: bytes acknowledged and packets lost.
    acked: u64,
    lost: u64,
    /// The last report's.
    event: u64,
    cwnd: u64,
}

fn trace(algorithm: &Algorithm, origin: Origin, ops: &[Op]) -> Trace {
    let setup = Setup {
        mss: 1_448,
        cwnd: Bytes(20 * 1_448),
        origin,
        ..Setup::default()
    };
    let mut flow = TestFlow::of(algorithm, &setup);
    let (mut rtt, mut rounds) = (10_000, 0);
    let mut trace = Trace::default();
    let mut ack = |flow: &mut TestFlow, rtt: u64, gap: u64, ack: Ack| {
        rounds += 1;
        flow.pass(Micros(gap));
        let ack = ack.mss(1_448).rtt(Micros(rtt)).set("Flow.srtt_us", rtt);
        for (name, value) in flow
            .ack(&ack.set("Flow.round_count", rounds / 10))
            .unwrap_or_default()
        {
            match name.as_str() {
                "acked" => trace.acked += value,
                "lost" => trace.lost += value,
                "event" => trace.event = value,
                "cwnd" => trace.cwnd = value,
                _ => {}
            }
        }
        trace.windows.push((flow.cwnd(), flow.control("ssthresh")));
    };
    for op in ops {
        let half = Bytes(flow.cwnd().0 / 2).max(Bytes(2 * 1_448));
        match *op {
            Op::Acks {
                count,
                bytes,
                gap,
                rtt: now,
            } => {
                rtt = now;
                for _ in 0..count {
                    ack(&mut flow, rtt, gap, Ack::of(bytes));
                }
            }
            Op::Limited { count, gap, flight } => {
                for _ in 0..count {
                    let one = Ack::of(1_448).app_limited();
                    ack(&mut flow, rtt, gap, one.in_flight(Bytes(flight)));
                }
            }
            Op::Lose {
                packets,
                acks,
                reduced,
            } => {
                if reduced {
                    flow.set_cwnd(half);
                }
                let found = Ack::of(0).recovery_state(3).lost(packets);
                ack(&mut flow, rtt, 500, found);
                for _ in 0..acks {
                    ack(&mut flow, rtt, 500, Ack::of(0).recovery_state(3));
                }
            }
            Op::LoseOne => ack(&mut flow, rtt, 500, Ack::of(1_448).lost(1)),
            Op::TimeOut => {
                flow.set_cwnd(Bytes(1_448));
                ack(&mut flow, rtt, 300_000, Ack::timeout());
            }
            Op::Idle { halvings } => {
                let window = Bytes(flow.cwnd().0 >> halvings).max(Bytes(2 * 1_448));
                flow.set_cwnd(window);
                ack(&mut flow, rtt, 5_000_000, Ack::of(1_448));
            }
            Op::Window(bytes) => {
                flow.set_cwnd(Bytes(bytes));
                ack(&mut flow, rtt, 500, Ack::of(1_448));
            }
        }
    }
    // Long enough that both report.
    ack(&mut flow, rtt, 20_000_000, Ack::of(0));
    trace
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// A flow that reports at every acknowledgement has no ordinary ones; windows, thresholds and the
    /// sums that it reports are the same to the byte.
    #[test]
    fn the_short_way_leads_to_the_same_window(
        ops in prop::collection::vec(op(), 1..20), new: bool,
    ) {
        let origin = if new { Origin::New } else { Origin::Adopted };
        for kind in KINDS {
            let [long, short] = ["ack", "10000ms"].map(|interval| {
                trace(&algorithm(kind, &format!("report = '{interval}'")), origin, &ops)
            });
            for (nth, (long, short)) in long.windows.iter().zip(&short.windows).enumerate() {
                prop_assert_eq!(long, short, "{}, acknowledgement {}", kind, nth);
            }
            let [long, short] = [long, short].map(|t| [t.acked, t.lost, t.event, t.cwnd]);
            prop_assert_eq!(long, short, "{}", kind);
        }
    }
}

/// The program that the algorithm runs where everything is measured.
fn program(kind: &str) -> Program {
    let programs = algorithm(kind, "").alg().programs();
    let full = programs.iter().find(|p| p.name() == kind);
    full.unwrap().ir().clone()
}

#[test]
fn an_ordinary_acknowledgement_touches_few_registers_and_divides_by_nothing() {
    for kind in KINDS {
        let program = program(kind);
        let clause = &program.clauses[0];
        let (mut registers, mut measured) = (HashSet::new(), HashSet::new());
        let mut mention = |operand: Operand| match operand {
            Operand::Reg(reg) if !matches!(reg, Reg::Temp(_)) => drop(registers.insert(reg)),
            Operand::Primitive(place) => drop(measured.insert(place)),
            _ => {}
        };
        let insts = || clause.condition.iter().chain(&clause.body);
        for inst in insts() {
            match *inst {
                Inst::Binary { op, dst, a, b } => {
                    assert_ne!(op, BinaryOp::Div, "{kind}");
                    [dst.into(), a, b].into_iter().for_each(&mut mention);
                }
                // Neither a report nor another clause.
                other => panic!("{kind}: {other:?}"),
            }
        }
        assert!(registers.len() <= 4, "{kind}: {registers:?}");
        assert!(measured.len() <= 5, "{kind}: {measured:?}");
        assert!(insts().count() <= 12, "{kind}: {}", insts().count());
    }
}

#[test]
fn most_acknowledgements_of_congestion_avoidance_are_ordinary() {
    // 100 packets, 40 ms, an acknowledgement for every two segments.
    for kind in KINDS {
        let program = program(kind);
        let mut registers = Registers::new(&program, 0);
        let place = program.controls.iter().position(|v| v.name == "ssthresh");
        registers.control[place.unwrap()] = 144_800;
        registers.writable = vec![0; program.writables.len()];
        registers.writable[0] = 144_800;
        let mut ordinary = 0;
        let all = 10_000;
        for nth in 0..all {
            let now = 1_000_000 + nth * 800;
            let value = |name: &str| match name {
                "Ack.bytes_acked" => 2_896,
                "Ack.packets_acked" => 2,
                "Ack.now" => now,
                "Flow.mss" => 1_448,
                "Flow.srtt_us" | "Flow.rtt_sample_us" | "Flow.min_rtt_us" => 40_000,
                "Flow.cwnd_limited" => 1,
                "Flow.ssthresh" => u64::MAX,
                _ => 0,
            };
            let measured: Vec<u64> = program.primitives.iter().map(|p| value(&p.name)).collect();
            let before = registers.clone();
            let outcome = registers.invoke(&program, &measured, now).unwrap();
            // The ordinary one counts down, and that is all.
            let changed = registers.local.iter().zip(&before.local);
            ordinary += u64::from(
                changed.filter(|(now, before)| now != before).count() == 1
                    && registers.writable == before.writable
                    && registers.report == before.report,
            );
            if outcome.report {
                registers.reported(&program);
            }
        }
        println!("{kind}: {ordinary} of {all}");
        assert!(ordinary * 100 >= all * 94, "{kind}: {ordinary} of {all}");
    }
}
