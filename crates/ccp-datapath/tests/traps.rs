//! What goes wrong in libccp, and must not here: the ten traps, and what else was found in it.

mod common;

use bytes::BytesMut;
use ccp_datapath::{
    Config, Connection, Datapath, FlowSpec, FrameQueue, Measurements, MessageError, Mode,
    Primitive, Refused,
};
use ccp_program::{Program, RegisterTable};
use ccp_types::{Bytes, Micros, Origin, Timestamp};
use ccp_wire::{
    ChangeProg, ChangeProgExt, Create, Encode, Features, Field, FieldExt, FieldTarget, Hello,
    Install, InstallExt, Message, TargetExt, UpdateExt, UpdateFields, frames,
};

const MSS: u64 = 1_000;

/// A datapath with one flow, and a daemon that says what the test says.
struct Hand {
    now: Timestamp,
    datapath: Datapath,
    up: FrameQueue,
    measured: Measurements,
}

impl Hand {
    /// `epoch`: of a daemon that says HELLO; none for one that does not.
    fn new(config: Config, epoch: Option<u32>) -> Self {
        let datapath = Datapath::new(config);
        let mut hand = Self {
            now: Timestamp(1_000_000),
            measured: datapath.measurements(),
            datapath,
            up: FrameQueue::new(1_000),
        };
        hand.datapath.on_timer(hand.now, &mut hand.up);
        if let Some(epoch) = epoch {
            hand.hello(epoch);
        }
        hand
    }

    fn hello(&mut self, epoch: u32) {
        let hello = Hello {
            version: 1,
            features: Features::ALL,
            epoch,
            heartbeat: Micros::ZERO,
            fallback_after: Micros::ZERO,
        };
        self.say(&hello).unwrap();
    }

    fn say(&mut self, message: &impl Encode) -> Result<(), MessageError> {
        let frame = message.to_frame().unwrap();
        self.datapath.on_message(self.now, &frame).map(|_| ())
    }

    fn install(&mut self, uid: u32, source: &str) {
        let install = InstallExt::new(uid, &program(source)).unwrap();
        self.say(&install).unwrap();
    }

    fn install_legacy(&mut self, uid: u32, source: &str) {
        let bytecode = ccp_lang::libccp::lower(&program(source)).unwrap();
        let program_uid = uid;
        self.say(&Install {
            program_uid,
            bytecode,
        })
        .unwrap();
    }

    fn open(&mut self) -> Connection {
        let (src, dst) = (([192, 0, 2, 1], 5000), ([192, 0, 2, 2], 443));
        let spec = FlowSpec::new(src.into(), dst.into(), MSS as u32);
        self.datapath.open(self.now, spec, &mut self.up).unwrap()
    }

    /// Runs `uid` on the flow, whose announcement is read.
    fn run(&mut self, flow: &Connection, uid: u32) -> u32 {
        let create = self.created().pop().expect("it is announced");
        let generation = create.generation();
        self.say(&ChangeProgExt {
            sock_id: flow.sock_id(),
            generation,
            program_uid: uid,
            fields: vec![],
        })
        .unwrap();
        generation
    }

    fn ack(&mut self, flow: &mut Connection, bytes: u64) -> u64 {
        self.now.0 += 100;
        self.measured.clear();
        self.measured.set(Primitive::BYTES_ACKED, bytes);
        flow.on_ack(self.now, &self.measured, &mut self.up).cwnd.0
    }

    fn sent(&mut self) -> Vec<Vec<u8>> {
        std::iter::from_fn(|| self.up.pop()).collect()
    }

    fn created(&mut self) -> Vec<Create> {
        let sent = self.sent();
        let creates = sent.iter().filter_map(|frame| match message(frame) {
            Message::Create(create) => Some(*create),
            _ => None,
        });
        creates.collect()
    }

    fn reports(&mut self) -> Vec<Vec<u64>> {
        let sent = self.sent();
        let reports = sent.iter().filter_map(|frame| match message(frame) {
            Message::Measure(m) if !m.is_close() => Some(m.fields().collect()),
            _ => None,
        });
        reports.collect()
    }
}

fn message(frame: &[u8]) -> Message<'_> {
    frames(frame).next().unwrap().unwrap().message().unwrap()
}

fn program(source: &str) -> Program {
    let table = RegisterTable::libccp();
    let compiled = ccp_lang::compile(source, &table).unwrap_or_else(|e| panic!("{e:?}"));
    compiled.program.bind(&table).unwrap()
}

/// 1. A clause that fell through let every later one run.
#[test]
fn falling_through_ends_with_the_next_clause() {
    let source = "(def (Report (first 0) (second 0) (third 0)))
        (when true (:= Report.first (+ Report.first 1)) (fallthrough))
        (when true (:= Report.second (+ Report.second 1)) (report))
        (when true (:= Report.third (+ Report.third 1)))";
    let mut hand = Hand::new(Config::default(), Some(1));
    hand.install(1, source);
    let mut flow = hand.open();
    hand.run(&flow, 1);
    for n in 1..=3 {
        hand.ack(&mut flow, 0);
        assert_eq!(hand.reports(), [[n, n, 0]]);
    }
}

/// 2. What needed more than eight intermediate results came out as 0.
#[test]
fn deep_expressions_have_room() {
    let mut expression = String::from("Ack.bytes_acked");
    for _ in 0..24 {
        expression = format!("(+ (+ Ack.bytes_acked 1) {expression})");
    }
    let source =
        format!("(def (Report (sum 0))) (when true (:= Report.sum {expression}) (report))");
    let program = program(&source);
    assert!(program.temps > 8, "{}", program.temps);
    let mut hand = Hand::new(Config::default(), Some(1));
    hand.install(1, &source);
    let mut flow = hand.open();
    hand.run(&flow, 1);
    hand.ack(&mut flow, 10);
    assert_eq!(hand.reports(), [[24 * 11 + 10]]);
}

/// 3. A program of 256 instructions never ended.
#[test]
fn programs_of_any_allowed_length_end() {
    for count in [254, 255, 256, 257, 1_000, 4_000] {
        let body = "(:= Report.n (+ Report.n 1))".repeat(count);
        let source = format!("(def (Report (volatile n 0))) (when true {body} (report))");
        let mut hand = Hand::new(Config::default(), Some(1));
        hand.install(1, &source);
        let mut flow = hand.open();
        hand.run(&flow, 1);
        hand.ack(&mut flow, 0);
        assert_eq!(hand.reports(), [[count as u64]]);
    }
}

/// 4. An index of UPDATE was not looked at, and memory somewhere else was written.
#[test]
fn an_update_of_a_register_that_is_not_there_is_refused_as_a_whole() {
    let mut hand = Hand::new(Config::default(), Some(1));
    hand.install(
        1,
        "(def (Report (x 0)) (a 5)) (when true (:= Report.x a) (report))",
    );
    let mut flow = hand.open();
    let generation = hand.run(&flow, 1);
    hand.ack(&mut flow, 0);
    hand.sent();
    for target in [
        TargetExt::Control(1),
        TargetExt::Control(u16::MAX),
        TargetExt::Writable(2),
        TargetExt::Writable(u16::MAX),
    ] {
        let (good, bad) = (TargetExt::Control(0), target);
        let error = hand.say(&UpdateExt {
            sock_id: flow.sock_id(),
            generation,
            program_uid: 1,
            fields: [good, bad]
                .map(|target| FieldExt { target, value: 77 })
                .to_vec(),
        });
        assert!(
            matches!(error, Err(MessageError::NoRegister { .. })),
            "{error:?}"
        );
        hand.ack(&mut flow, 0);
        assert_eq!(hand.reports(), [[5]]);
    }
    // libccp's own message, beyond even its 110 registers: the frame itself is refused.
    let mut bytes = BytesMut::new();
    UpdateFields {
        sock_id: flow.sock_id(),
        fields: vec![Field {
            target: FieldTarget::Control {
                index: 109,
                volatile: false,
            },
            value: 77,
        }],
    }
    .encode(&mut bytes)
    .unwrap();
    hand.datapath.on_message(hand.now, &bytes).unwrap();
    hand.ack(&mut flow, 0);
    assert_eq!(hand.reports(), [[5]]);
    bytes[13..17].copy_from_slice(&200_u32.to_le_bytes());
    let error = hand.datapath.on_message(hand.now, &bytes);
    assert!(matches!(error, Err(MessageError::Decode(_))), "{error:?}");
}

/// 5. The sizes of INSTALL were checked before they were read.
#[test]
fn an_install_of_any_claimed_size_is_looked_at_first() {
    let mut hand = Hand::new(Config::default(), None);
    hand.install_legacy(1, "(def (Report (x 0))) (when true (report))");
    let mut flow = hand.open();
    for (expressions, instructions) in [(1, 602), (602, 1), (u32::MAX, 1), (1, u32::MAX), (1, 256)]
    {
        let body = 602 * 16;
        let mut frame = Vec::new();
        frame.extend(2_u16.to_le_bytes());
        frame.extend(((20 + body) as u16).to_le_bytes());
        frame.extend([0; 4]);
        for number in [2, expressions, instructions] {
            frame.extend(number.to_le_bytes());
        }
        frame.resize(20 + body, 0);
        let error = hand.datapath.on_message(hand.now, &frame);
        assert!(error.is_err(), "{expressions} {instructions}");
    }
    hand.ack(&mut flow, 1);
    assert_eq!(hand.datapath.stats().programs, 1);
}

/// 6. After a restart of the daemon, old flows ran whatever now had the number of their program.
#[test]
fn a_restarted_daemon_meets_no_flow_that_runs_what_it_was_not_given() {
    let one = "(def (Report (x 0))) (when true (:= Cwnd 50000) (:= Report.x 1) (report))";
    let other = "(def (Report (x 0))) (when true (:= Cwnd 1000000) (:= Report.x 2) (report))";
    let mut hand = Hand::new(Config::default(), Some(1));
    hand.install(1, one);
    let mut flow = hand.open();
    let before = hand.run(&flow, 1);
    assert_eq!(hand.ack(&mut flow, 0), 50_000);
    assert_eq!(flow.mode(), Mode::Running);
    hand.sent();

    hand.hello(2);
    hand.install(1, other);
    assert_eq!(hand.ack(&mut flow, 0), 50_000);
    assert_eq!((flow.mode(), flow.program_uid()), (Mode::Native, None));
    let create = hand.created().pop().expect("announced again");
    let details = create.details.unwrap();
    assert_eq!(details.origin, Origin::Adopted);
    assert_eq!(details.state.cwnd, Bytes(50_000));
    assert!(details.generation > before);
    // What the daemon of before still had under way is void.
    let late = hand.say(&ChangeProgExt {
        sock_id: flow.sock_id(),
        generation: before,
        program_uid: 1,
        fields: vec![],
    });
    assert!(matches!(late, Err(MessageError::Stale { .. })), "{late:?}");
    hand.say(&ChangeProgExt {
        sock_id: flow.sock_id(),
        generation: details.generation,
        program_uid: 1,
        fields: vec![],
    })
    .unwrap();
    assert_eq!(hand.ack(&mut flow, 0), 1_000_000);
    assert_eq!(hand.reports(), [[2]]);
}

/// 7. A daemon that was alive but hung was never noticed. With heartbeats: `daemon.rs`. Here one that
///    has none, and does not answer reports.
#[test]
fn a_hung_agent_without_heartbeats_is_noticed_by_its_silence() {
    let mut hand = Hand::new(Config::default(), None);
    hand.install_legacy(
        1,
        "(def (Report (x 0))) (when true (:= Report.x 1) (report))",
    );
    let mut flow = hand.open();
    hand.say(&ChangeProg {
        sock_id: flow.sock_id(),
        program_uid: 1,
        fields: vec![],
    })
    .unwrap();
    hand.ack(&mut flow, 1);
    assert_eq!(flow.mode(), Mode::Running);
    // As long as it answers now and then, all is well.
    for _ in 0..30 {
        hand.now.0 += 1_000_000;
        hand.ack(&mut flow, 1);
        hand.say(&UpdateFields {
            sock_id: flow.sock_id(),
            fields: vec![Field {
                target: FieldTarget::Cwnd,
                value: 20_000,
            }],
        })
        .unwrap();
    }
    assert_eq!(flow.mode(), Mode::Running);
    hand.sent();
    for _ in 0..12 {
        hand.now.0 += 1_000_000;
        hand.ack(&mut flow, 1);
    }
    assert_ne!(flow.mode(), Mode::Running);
    assert!(!hand.created().is_empty(), "and is announced again");
    // It steers itself: the window moves.
    let before = flow.decision().cwnd;
    for _ in 0..100 {
        hand.ack(&mut flow, MSS);
    }
    assert!(flow.decision().cwnd > before);
}

/// 8. CHANGE_PROG threw an UPDATE away that came just before it.
#[test]
fn an_update_followed_by_another_program_loses_nothing() {
    let source = "(def (Report (x 0)) (a 5)) (when true (:= Report.x a) (report))";
    for legacy in [false, true] {
        let mut hand = Hand::new(Config::default(), (!legacy).then_some(1));
        if legacy {
            hand.install_legacy(1, source);
            hand.install_legacy(2, source);
        } else {
            hand.install(1, source);
            hand.install(2, source);
        }
        let mut flow = hand.open();
        let sock_id = flow.sock_id();
        let generation = hand.created().pop().unwrap().generation();
        let control = FieldExt {
            target: TargetExt::Control(0),
            value: 9,
        };
        let cwnd = FieldExt {
            target: TargetExt::CWND,
            value: 77_000,
        };
        if legacy {
            let change = |program_uid| ChangeProg {
                sock_id,
                program_uid,
                fields: vec![],
            };
            hand.say(&change(1)).unwrap();
            hand.ack(&mut flow, 0);
            let target = FieldTarget::Cwnd;
            let value = 77_000;
            hand.say(&UpdateFields {
                sock_id,
                fields: vec![Field { target, value }],
            })
            .unwrap();
            hand.say(&change(2)).unwrap();
        } else {
            let change = |program_uid| ChangeProgExt {
                sock_id,
                generation,
                program_uid,
                fields: vec![],
            };
            hand.say(&change(1)).unwrap();
            hand.ack(&mut flow, 0);
            hand.say(&UpdateExt {
                sock_id,
                generation,
                program_uid: 1,
                fields: vec![cwnd, control],
            })
            .unwrap();
            hand.say(&change(2)).unwrap();
        }
        hand.sent();
        assert_eq!(hand.ack(&mut flow, 0), 77_000);
        assert_eq!(flow.program_uid(), Some(2));
        // The variable was the other program's.
        assert_eq!(hand.reports(), [[5]]);
    }
}

/// 9. A flow in a place that was given back less than 100 ms ago was not announced until then.
#[test]
fn a_place_used_again_at_once_is_announced_at_once() {
    let config = Config {
        max_flows: 1,
        ..Config::default()
    };
    let mut hand = Hand::new(config, Some(1));
    let mut last = None;
    for _ in 0..5_000 {
        let flow = hand.open();
        let created = hand.created();
        assert_eq!(created.len(), 1);
        assert_eq!(created[0].sock_id, flow.sock_id());
        assert_ne!(last, Some((flow.sock_id(), created[0].generation())));
        last = Some((flow.sock_id(), created[0].generation()));
        flow.close(None, &mut hand.up);
        assert_eq!(hand.sent().len(), 1);
    }
}

/// 10. `+infinity` became 2^32 - 1, and so did 1073741823.
#[test]
fn infinity_is_the_largest_number_and_1073741823_is_itself() {
    let source = "(def (Report (a +infinity) (b 1073741823)))
        (when true (:= Report.a (min Report.a 18446744073709551614)) (report))";
    let mut hand = Hand::new(Config::default(), Some(1));
    hand.install(1, source);
    let mut flow = hand.open();
    hand.run(&flow, 1);
    hand.ack(&mut flow, 0);
    assert_eq!(hand.reports(), [[u64::MAX - 1, 1_073_741_823]]);
}

/// A report that cannot be sent was lost; a fault left half of an invocation behind, for ever.
#[test]
fn what_cannot_be_sent_goes_into_the_next_report_and_a_fault_leaves_nothing() {
    let source = "(def (Report (volatile acked 0) (volatile n 0)))
        (when true
            (:= Report.acked (+ Report.acked Ack.bytes_acked))
            (:= Report.n (+ Report.n 1))
            (:= Cwnd (+ 40000 (/ 10000 (- 100 Ack.bytes_acked))))
            (report))";
    let mut hand = Hand::new(Config::default(), Some(1));
    hand.install(1, source);
    let mut flow = hand.open();
    hand.run(&flow, 1);
    let mut full = |_: &[u8]| Err(Refused::Full);
    for _ in 0..3 {
        hand.now.0 += 100;
        hand.measured.clear();
        hand.measured.set(Primitive::BYTES_ACKED, 10);
        flow.on_ack(hand.now, &hand.measured, &mut full);
    }
    hand.ack(&mut flow, 100);
    assert_eq!(hand.ack(&mut flow, 101), 40_111, "as before the faults");
    assert_eq!(flow.counts().faults, 2);
    hand.ack(&mut flow, 90);
    let sent = hand.sent();
    assert_eq!(sent.len(), 1);
    let Message::Measure(report) = message(&sent[0]) else {
        panic!("a report");
    };
    assert_eq!(report.fields().collect::<Vec<_>>(), [120, 4]);
    assert_eq!(report.trailer.unwrap().merged, 3);
}

/// A program that faults at every acknowledgement froze the flow.
#[test]
fn a_program_that_always_faults_is_taken_off_its_flow() {
    let mut hand = Hand::new(Config::default(), Some(1));
    hand.install(
        1,
        "(def (Report (x 0))) (when true (:= Report.x (- 5 6)) (report))",
    );
    let mut flow = hand.open();
    hand.run(&flow, 1);
    for _ in 0..16 {
        hand.ack(&mut flow, MSS);
    }
    assert_eq!(flow.mode(), Mode::Fallback);
    let before = flow.decision().cwnd;
    hand.sent();
    for _ in 0..50 {
        hand.ack(&mut flow, MSS);
    }
    assert!(flow.decision().cwnd > before);
    assert!(hand.created().is_empty(), "after a pause only");
    hand.now.0 += 1_000_000;
    hand.ack(&mut flow, MSS);
    let created = hand.created();
    assert_eq!(created[0].details.unwrap().origin, Origin::Resumed);
}

/// An agent that is not there was sent nothing any more, even when it came back.
#[test]
fn who_is_gone_is_looked_for() {
    let mut hand = Hand::new(Config::default(), None);
    hand.install_legacy(1, "(def (Report (x 0))) (when true (report))");
    let mut flow = hand.open();
    let change = ChangeProg {
        sock_id: flow.sock_id(),
        program_uid: 1,
        fields: vec![],
    };
    hand.say(&change).unwrap();
    hand.ack(&mut flow, 0);
    assert_eq!(flow.mode(), Mode::Running);
    let mut gone = |_: &[u8]| Err(Refused::Gone);
    hand.now.0 += 100;
    flow.on_ack(hand.now, &hand.measured, &mut gone);
    hand.ack(&mut flow, 0);
    assert_eq!(flow.mode(), Mode::Fallback);
    hand.sent();
    let at = hand.datapath.next_timer().unwrap();
    hand.now = hand.now.max(at);
    hand.datapath.on_timer(hand.now, &mut hand.up);
    assert!(matches!(message(&hand.sent()[0]), Message::Ready(_)));
    hand.install_legacy(7, "(def (Report (x 0))) (when true (report))");
    hand.ack(&mut flow, 0);
    assert_eq!(hand.created().len(), 1);
}

/// Times pass without acknowledgements, too.
#[test]
fn a_time_condition_fires_without_an_acknowledgement() {
    let source = "(def (Report (volatile n 0)) (every 42000))
        (when true (:= Report.n (+ Report.n Ack.bytes_acked)) (fallthrough))
        (when (> Micros every) (report) (:= Micros 0))";
    let mut hand = Hand::new(Config::default(), Some(1));
    hand.install(1, source);
    let mut flow = hand.open();
    hand.run(&flow, 1);
    hand.ack(&mut flow, 10);
    let start = hand.now;
    hand.sent();
    for n in 0..3 {
        let at = flow.next_timer().expect("it waits");
        assert_eq!(at.since(start).0, (n + 1) * 42_001);
        flow.on_timer(Timestamp(at.0 - 1), &mut hand.up);
        assert!(hand.up.is_empty());
        flow.on_timer(at, &mut hand.up);
        hand.now = at;
        let expected = if n == 0 { 10 } else { 0 };
        assert_eq!(hand.reports(), [[expected]]);
    }
}
