//! A control plane of one session and its flows under random events: it never fails, never loses
//! track of a flow, and never holds more than it was told to.

use std::collections::BTreeMap;
use std::panic;
use std::sync::{Arc, Once};

use ccp_core::{
    Algorithm, Bytes, Command, CompiledProgram, CongAlg, Event, Flow, FlowId, FlowIds, FlowInfo,
    FlowMode, FlowRunner, Match, NewFlow, Origin, Output, Plan, Policy, RawReport, Report,
    ReportField, Resume, Rule, RunnerOutput, Session, SessionOptions, SockId, Timestamp, Updates,
};
use ccp_program::{Limits, RegisterTable};
use ccp_wire::{Capabilities, Create, Encode, Frame, MeasureBuf, Message, Ready, ReportTrailer};
use proptest::prelude::*;

const MAX_FLOWS: usize = 4;

/// Does what its report says, which is wrong more often than not.
#[derive(Clone)]
struct Wild {
    program: CompiledProgram,
    what: ReportField<u64>,
}

impl Wild {
    fn named(name: &str) -> Algorithm {
        let source = format!(
            "(def (Report (what 0)) (gain 1)) (when (== Micros {0}) (:= Cwnd {0}) (fallthrough)) \
             (when true (:= Report.what gain) (report))",
            name.len()
        );
        let program = CompiledProgram::compile(name, &source).unwrap();
        let what = program.report("what").unwrap();
        Algorithm::new(name, "wild", Arc::new(Self { program, what }))
    }

    fn obey(&self, what: u64) -> Updates {
        match what % 11 {
            0 => panic!("wild"),
            1 => Updates::none().cwnd(Bytes(0)),
            2 => Updates::run(&self.program).cwnd(Bytes(what)),
            3 => Updates::none().to(FlowId(what)).cwnd(Bytes(1)),
            4 => Updates::none().wake_at(Timestamp(what)),
            5 => Updates::none()
                .cwnd(Bytes(what))
                .wake_at(Timestamp::default()),
            _ => Updates::none().cwnd(Bytes(what)),
        }
    }
}

impl CongAlg for Wild {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }
    fn new_flow(&self, flow: &NewFlow<'_>) -> Box<dyn Flow> {
        assert!(flow.info.mss != 13, "an unlucky segment size");
        Box::new(self.clone())
    }
}

impl Flow for Wild {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        assert!(resume.mss != 17, "another");
        Updates::run(&self.program)
    }
    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        self.obey(report.get(self.what))
    }
    fn on_timer(&mut self, now: Timestamp) -> Updates {
        self.obey(now.0)
    }
    fn on_event(&mut self, _now: Timestamp, event: &Event) -> Updates {
        match event {
            Event::MssChanged { mss } => self.obey(u64::from(*mss)),
            Event::Closed(totals) => self.obey(totals.reports),
            _ => Updates::none(),
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Ready {
        capable: bool,
    },
    Create {
        sock: u32,
        port: u16,
        mss: u32,
        generation: u32,
        origin: Origin,
        details: bool,
    },
    Measure {
        sock: u32,
        uid: u32,
        fields: Vec<u64>,
        generation: Option<u32>,
    },
    Bytes(Vec<u8>),
    Suspend(u32),
    Disconnect,
    Pass(u64),
    Mss {
        flow: usize,
        mss: u32,
    },
    Missed {
        flow: usize,
    },
    Switch {
        flow: usize,
        default: bool,
    },
}

fn op() -> impl Strategy<Value = Op> {
    let origin = prop_oneof![
        Just(Origin::New),
        Just(Origin::Adopted),
        Just(Origin::Resumed)
    ];
    let create = (
        0..6_u32,
        1..4_u16,
        0..20_u32,
        0..3_u32,
        origin,
        any::<bool>(),
    )
        .prop_map(
            |(sock, port, mss, generation, origin, details)| Op::Create {
                sock,
                port,
                mss,
                generation,
                origin,
                details,
            },
        );
    let measure = (
        0..6_u32,
        0..4_u32,
        prop::collection::vec(0..100_u64, 0..3),
        prop::option::of(0..3_u32),
    )
        .prop_map(|(sock, uid, fields, generation)| Op::Measure {
            sock,
            uid,
            fields,
            generation,
        });
    prop_oneof![
        1 => any::<bool>().prop_map(|capable| Op::Ready { capable }),
        8 => create,
        24 => measure,
        2 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Op::Bytes),
        1 => (1..9_u32).prop_map(Op::Suspend),
        1 => Just(Op::Disconnect),
        4 => (0..1_000_000_u64).prop_map(Op::Pass),
        2 => (any::<usize>(), 0..100_u32).prop_map(|(flow, mss)| Op::Mss { flow, mss }),
        1 => any::<usize>().prop_map(|flow| Op::Missed { flow }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(flow, default)| Op::Switch { flow, default }),
    ]
}

/// A daemon in miniature.
struct Plane {
    session: Session,
    runners: BTreeMap<FlowId, FlowRunner>,
    plan: Arc<Plan>,
    now: Timestamp,
    said: Vec<String>,
}

impl Plane {
    fn new(plan: &Arc<Plan>) -> Self {
        let options = SessionOptions {
            max_flows: MAX_FLOWS,
            ..SessionOptions::default()
        };
        Self {
            session: Session::new("ccp", plan.clone(), FlowIds::new(), options),
            runners: BTreeMap::new(),
            plan: plan.clone(),
            now: Timestamp(1),
            said: Vec::new(),
        }
    }

    fn message(&mut self, message: &Message<'_>) {
        if let Some(delivery) = self.session.on_message(message) {
            let fields: Vec<u64> = delivery.measure.fields().collect();
            let report = RawReport {
                program_uid: delivery.measure.program_uid,
                generation: delivery.generation,
                merged: delivery.merged,
                fields: &fields,
            };
            let runner = self.runners.get_mut(&delivery.flow);
            runner
                .expect("reports go to flows that were opened")
                .on_report(self.now, &report);
        }
        self.settle();
    }

    fn settle(&mut self) {
        let default = self.plan.policy().default_algorithm();
        while let Some(output) = self.session.poll() {
            self.said.push(format!("{output:?}"));
            match output {
                Output::Opened(opened) => {
                    let id = opened.flow;
                    let runner = FlowRunner::new(self.now, *opened, Some(default.clone()));
                    assert!(self.runners.insert(id, runner).is_none(), "a name twice");
                }
                Output::Resumed { flow, announced } => {
                    let runner = self.runners.get_mut(&flow);
                    runner.expect("known").on_resume(self.now, &announced);
                }
                Output::Suspended { flow } => {
                    self.runners.get_mut(&flow).expect("known").on_suspend();
                }
                Output::Closed { flow, .. } => {
                    let mut runner = self.runners.remove(&flow).expect("known, and closed once");
                    runner.close(self.now);
                    while let Some(output) = runner.poll() {
                        assert!(
                            !matches!(output, RunnerOutput::Command(_)),
                            "nothing is said of a flow that is gone"
                        );
                    }
                }
                Output::Command(command) => self.encode(&command),
                _ => {}
            }
        }
        let mut commands = Vec::new();
        for (id, runner) in &mut self.runners {
            while let Some(output) = runner.poll() {
                self.said.push(format!("{id:?} {output:?}"));
                if let RunnerOutput::Command(command) = output {
                    commands.push(command);
                }
            }
        }
        for command in &commands {
            self.encode(command);
        }
        self.check();
    }

    fn encode(&self, command: &Command) {
        let mut frames = bytes::BytesMut::new();
        let programs = self.session.programs();
        programs
            .encode(command, &mut frames)
            .expect("everything that is said can be written");
        if let Command::Update(update) = command {
            assert_ne!(update.cwnd(), Some(0));
            assert!(update.program_uid == 0 || programs.get(update.program_uid).is_some());
        }
    }

    fn check(&self) {
        assert_eq!(self.session.flow_count(), self.runners.len());
        assert!(self.runners.len() <= MAX_FLOWS);
        let stats = self.session.stats();
        assert_eq!(
            stats.flows_opened,
            stats.flows_closed + stats.flows_lost + self.runners.len() as u64
        );
        for runner in self.runners.values() {
            let status = runner.status();
            let left_alone = status.mode == FlowMode::Fallback;
            assert!(
                status.algorithm.is_some() || left_alone,
                "a flow without algorithm is with its datapath: {status:?}"
            );
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Ready { capable } => {
                let capabilities = Capabilities::new(RegisterTable::well_known(), Limits::MAX);
                let ready = Ready {
                    id: 1,
                    capabilities: capable.then_some(capabilities),
                };
                self.message(&Message::Ready(ready));
            }
            Op::Create {
                sock,
                port,
                mss,
                generation,
                origin,
                details,
            } => {
                let end = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
                let mut info =
                    FlowInfo::new(SockId(*sock), end(1), end(*port), *mss, Bytes(14_480));
                info.origin = *origin;
                let mut create = Create::from_flow_info(&info, *generation);
                if !details {
                    create.details = None;
                }
                self.message(&Message::Create(Box::new(create)));
            }
            Op::Measure {
                sock,
                uid,
                fields,
                generation,
            } => {
                let measure = MeasureBuf {
                    sock_id: SockId(*sock),
                    program_uid: *uid,
                    fields: fields.clone(),
                    trailer: generation.map(|generation| ReportTrailer {
                        generation,
                        merged: 1,
                    }),
                    totals: None,
                };
                let frame = measure.to_frame().unwrap();
                let (frame, _) = Frame::split(&frame).unwrap();
                self.message(&frame.message().unwrap());
            }
            Op::Bytes(bytes) => match Frame::split(bytes).map(|(frame, _)| frame.message()) {
                Ok(Ok(message)) => self.message(&message),
                _ => self.session.on_garbage(),
            },
            Op::Suspend(epoch) => self.session.suspend(*epoch),
            Op::Disconnect => self.session.disconnect(),
            Op::Pass(span) => {
                self.now.0 += span;
                for runner in self.runners.values_mut() {
                    let due = runner.wake_at().is_some_and(|time| time <= self.now);
                    runner.on_timer(self.now);
                    assert!(!due || runner.wake_at().is_none_or(|time| time > self.now));
                }
            }
            Op::Mss { flow, mss } => {
                let now = self.now;
                self.pick(*flow, |runner| {
                    runner.on_event(now, &Event::MssChanged { mss: *mss });
                });
            }
            Op::Missed { flow } => {
                let now = self.now;
                self.pick(*flow, |runner| runner.missed(now, 3));
            }
            Op::Switch { flow, default } => {
                let now = self.now;
                let place = usize::from(!*default);
                let algorithm = self.plan.algorithms()[place].clone();
                self.pick(*flow, |runner| runner.switch(now, &algorithm));
            }
        }
        self.settle();
    }

    fn pick(&mut self, place: usize, then: impl FnOnce(&mut FlowRunner)) {
        let count = self.runners.len().max(1);
        if let Some(runner) = self.runners.values_mut().nth(place % count) {
            then(runner);
        }
    }
}

/// Hundreds of expected panics would drown the output.
fn silence_wild_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let text = info.payload().downcast_ref::<&str>().unwrap_or(&"");
            if !["wild", "an unlucky segment size", "another"].contains(text) {
                before(info);
            }
        }));
    });
}

fn plan() -> Arc<Plan> {
    let matches: Match = toml::from_str("dst_port = \"2-3\"").unwrap();
    let rule = Rule {
        matches,
        given: Wild::named("tame").into(),
    };
    Plan::new(Policy::new(vec![rule], Wild::named("default")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn it_stands_whatever_happens(ops in prop::collection::vec(op(), 1..150)) {
        silence_wild_panics();
        let plan = plan();
        let mut first = Plane::new(&plan);
        let mut second = Plane::new(&plan);
        for op in &ops {
            first.run(op);
        }
        for op in &ops {
            second.run(op);
        }
        // The same input gives the same output.
        prop_assert_eq!(first.said, second.said);
    }
}
