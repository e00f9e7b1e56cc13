//! Anything that can happen, in any order: what must always hold.

mod common;

use ccp_datapath::{
    Config, Connection, Datapath, FlowSpec, Measurements, Mode, Native, Primitive, Refused,
};
use ccp_program::testing::{self, Rng, Shape};
use ccp_program::{RegisterTable, libccp};
use ccp_types::{Bytes, Micros, SockId, Timestamp};
use ccp_wire::{
    ChangeProg, ChangeProgExt, Encode, Features, Field, FieldExt, FieldTarget, Heartbeat, Hello,
    Install, InstallExt, Message, TargetExt, UpdateExt, UpdateFields, frames,
};

const MOST_FLOWS: usize = 8;

struct Model {
    rng: Rng,
    now: Timestamp,
    datapath: Datapath,
    flows: Vec<(Connection, Measurements)>,
    /// What the daemon was told last of each flow it knows: its generation.
    known: std::collections::BTreeMap<SockId, u32>,
    epoch: u32,
    table: RegisterTable,
}

impl Model {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let mut table = RegisterTable::libccp();
        if rng.percent(50) {
            table = RegisterTable::well_known();
        }
        let native = if rng.percent(50) {
            Native::Reno
        } else {
            Native::Cubic
        };
        let config = Config {
            registers: table.clone(),
            max_flows: MOST_FLOWS,
            max_programs: 4,
            native,
            max_fault_run: rng.pick(&[0, 1, 16]),
            unanswered_after: Micros(rng.pick(&[0, 50_000])),
            ..Config::default()
        };
        Self {
            rng,
            now: Timestamp(1),
            datapath: Datapath::new(config),
            flows: Vec::new(),
            known: std::collections::BTreeMap::new(),
            epoch: 1,
            table,
        }
    }

    fn step(&mut self) {
        let span = self.rng.pick(&[0, 1, 100, 10_000, 1_000_000]);
        self.now.0 += self.rng.bits() % (span + 1);
        match self.rng.below(20) {
            0 | 1 => self.open(),
            2 => self.close(),
            3 => self.epoch += self.rng.bits() as u32 % 2,
            4 => self.hello(),
            5 => {
                let epoch = self.epoch;
                let beat = 1;
                self.say(&Heartbeat { epoch, beat });
            }
            6 | 7 => self.install(),
            8 | 9 => self.change(),
            10 => self.update(),
            11 => self.garbage(),
            12 => {
                let full = self.rng.percent(20);
                let (datapath, now) = (self.datapath.clone(), self.now);
                datapath.on_timer(now, &mut |frame: &[u8]| heard(&mut self.known, full, frame));
            }
            _ => self.event(),
        }
        self.check();
    }

    fn open(&mut self) {
        let (src, dst) = (([192, 0, 2, 1], 5000), ([192, 0, 2, 2], 443));
        let mut spec = FlowSpec::new(src.into(), dst.into(), self.rng.bits() as u32 % 70_000);
        if self.rng.percent(20) {
            spec.init_cwnd = Bytes(testing::value(&mut self.rng));
            spec.requested = Some("x".repeat(self.rng.below(80)).into());
        }
        let full = self.rng.percent(20);
        let known = &mut self.known;
        let opened = self.datapath.open(self.now, spec, &mut |frame: &[u8]| {
            heard(known, full, frame)
        });
        assert_eq!(opened.is_ok(), self.flows.len() < MOST_FLOWS);
        if let Ok(flow) = opened {
            assert!(
                self.flows
                    .iter()
                    .all(|(f, _)| f.sock_id() != flow.sock_id())
            );
            self.flows.push((flow, self.datapath.measurements()));
        }
    }

    fn close(&mut self) {
        if self.flows.is_empty() {
            return;
        }
        let (flow, _) = self.flows.swap_remove(self.rng.below(self.flows.len()));
        let full = self.rng.percent(20);
        let known = &mut self.known;
        match self.rng.below(3) {
            0 => drop(flow),
            _ => flow.close(None, &mut |frame: &[u8]| heard(known, full, frame)),
        }
    }

    fn hello(&mut self) {
        let lasts = self.rng.pick(&[0, 300_000]);
        self.say(&Hello {
            version: 1,
            features: Features::ALL,
            epoch: self.epoch,
            heartbeat: Micros(lasts / 3),
            fallback_after: Micros(lasts),
        });
    }

    fn install(&mut self) {
        let uid = 1 + self.rng.bits() as u32 % 6;
        let shape = Shape {
            table: self.table.clone(),
            ..Shape::random(&mut self.rng, 40)
        };
        let program = testing::program(&mut self.rng, &shape);
        if self.rng.percent(20) {
            if let Ok(bytecode) = ccp_lang::libccp::lower(&program) {
                let program_uid = uid;
                self.say(&Install {
                    program_uid,
                    bytecode: libccp::Bytecode::clone(&bytecode),
                });
            }
        } else {
            self.say(&InstallExt::new(uid, &program).unwrap());
        }
    }

    fn some_flow(&mut self) -> (SockId, u32) {
        let any = self.rng.percent(10);
        let all: Vec<_> = self
            .known
            .iter()
            .map(|(id, generation)| (*id, *generation))
            .collect();
        if any || all.is_empty() {
            return (SockId(self.rng.bits() as u32), self.rng.bits() as u32);
        }
        self.rng.pick(&all)
    }

    fn fields(&mut self) -> Vec<FieldExt> {
        (0..self.rng.below(4))
            .map(|_| FieldExt {
                target: match self.rng.below(3) {
                    0 => TargetExt::Writable(self.rng.bits() as u16 % 3),
                    _ => TargetExt::Control(self.rng.bits() as u16 % 5),
                },
                value: testing::value(&mut self.rng),
            })
            .collect()
    }

    fn change(&mut self) {
        let (sock_id, generation) = self.some_flow();
        let program_uid = self.rng.bits() as u32 % 7;
        if self.rng.percent(10) {
            self.say(&ChangeProg {
                sock_id,
                program_uid,
                fields: vec![],
            });
        } else {
            let fields = self.fields();
            self.say(&ChangeProgExt {
                sock_id,
                generation,
                program_uid,
                fields,
            });
        }
    }

    fn update(&mut self) {
        let (sock_id, generation) = self.some_flow();
        let fields = self.fields();
        if self.rng.percent(20) {
            let value = testing::value(&mut self.rng);
            let target = FieldTarget::Cwnd;
            self.say(&UpdateFields {
                sock_id,
                fields: vec![Field { target, value }],
            });
        } else {
            let program_uid = self.rng.bits() as u32 % 7;
            self.say(&UpdateExt {
                sock_id,
                generation,
                program_uid,
                fields,
            });
        }
    }

    fn garbage(&mut self) {
        let mut bytes: Vec<u8> = (0..self.rng.below(60))
            .map(|_| self.rng.bits() as u8)
            .collect();
        if let (Some(kind), true) = (bytes.first_mut(), self.rng.percent(70)) {
            *kind = self.rng.pick(&[2, 3, 4, 0x40, 0x41, 0x42, 0x43, 0x44]);
        }
        let _ = self.datapath.on_message(self.now, &bytes);
    }

    fn say(&mut self, message: &impl Encode) {
        if let Ok(frame) = message.to_frame() {
            let _ = self.datapath.on_message(self.now, &frame);
        }
    }

    fn event(&mut self) {
        if self.flows.is_empty() {
            return;
        }
        let at = self.rng.below(self.flows.len());
        let full = self.rng.percent(20);
        let gone = self.rng.percent(1);
        let known = &mut self.known;
        let mut sink = |frame: &[u8]| {
            if gone {
                return Err(Refused::Gone);
            }
            heard(known, full, frame)
        };
        let (flow, measured) = &mut self.flows[at];
        measured.clear();
        for index in 0..self.table.primitives().len() {
            if self.rng.percent(60) {
                let name = &self.table.primitives()[index].name;
                let primitive = self.datapath.primitive(name).unwrap();
                let value = match self.rng.below(3) {
                    0 => testing::value(&mut self.rng),
                    _ => self.rng.bits() % 20_000,
                };
                measured.set(primitive, value);
            }
        }
        let (rng, now) = (&mut self.rng, self.now);
        match rng.below(12) {
            0 => {
                let _ = flow.on_timeout(now, measured, &mut sink);
            }
            1 => {
                let _ = flow.on_send(now, measured, &mut sink);
            }
            2 => {
                let _ = flow.on_timer(now, &mut sink);
            }
            3 => flow.set_mss(rng.bits() as u32 % 9_000),
            4 => flow.set_cwnd(Bytes(testing::value(rng))),
            5 if rng.percent(20) => {
                let (src, dst) = (([192, 0, 2, 7], 5000), ([192, 0, 2, 8], 443));
                flow.change_path(
                    src.into(),
                    dst.into(),
                    rng.bits() as u32 % 9_000,
                    Bytes(10_000),
                );
            }
            _ => {
                measured.set(Primitive::BYTES_ACKED, rng.bits() % 100_000);
                {
                    let _ = flow.on_ack(now, measured, &mut sink);
                };
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.datapath.flow_count(), self.flows.len());
        for (flow, _) in &self.flows {
            let decision = flow.decision();
            assert!(decision.cwnd.0 >= u64::from(flow.mss()), "{flow:?}");
            assert_eq!(decision.mode == Mode::Running, flow.program_uid().is_some());
            assert!(flow.memory() < 20_000);
            // Who waits is called again, and not at once for ever.
            if let Some(at) = flow.next_timer() {
                assert!(at.0 > 0);
            }
        }
    }

    /// A daemon that does what it should gets every flow, and nothing but those.
    fn settles(mut self) {
        for round in 0..400 {
            self.now.0 += 20_000;
            let (datapath, now) = (self.datapath.clone(), self.now);
            let known = &mut self.known;
            let mut ready = false;
            let mut sink = |frame: &[u8]| {
                let message = frames(frame).next().unwrap().unwrap().message().unwrap();
                if matches!(message, Message::Ready(_)) {
                    ready = true;
                }
                heard(known, false, frame)
            };
            datapath.on_timer(now, &mut sink);
            for (flow, measured) in &mut self.flows {
                measured.clear();
                flow.on_ack(now, measured, &mut sink);
            }
            if ready || round == 0 {
                self.known.clear();
                self.epoch += 1;
                self.hello_with_heartbeat();
                let table = &self.table;
                let source = "(def (Report (x 0))) (when true (:= Cwnd 123456789))";
                let program = ccp_lang::compile(source, table).unwrap().program;
                let bound = program.bind(table).unwrap();
                self.say(&InstallExt::new(3, &bound).unwrap());
            }
            let epoch = self.epoch;
            self.say(&Heartbeat { epoch, beat: 1 });
            for (sock_id, generation) in self.known.clone() {
                self.say(&ChangeProgExt {
                    sock_id,
                    generation,
                    program_uid: 3,
                    fields: vec![],
                });
            }
        }
        let mut ours: Vec<_> = self.flows.iter().map(|(flow, _)| flow.sock_id()).collect();
        ours.sort_unstable();
        assert_eq!(self.known.keys().copied().collect::<Vec<_>>(), ours);
        for (flow, _) in &self.flows {
            assert_eq!(
                (flow.mode(), flow.program_uid()),
                (Mode::Running, Some(3)),
                "{flow:?}"
            );
        }
    }

    fn hello_with_heartbeat(&mut self) {
        self.say(&Hello {
            version: 1,
            features: Features::ALL,
            epoch: self.epoch,
            heartbeat: Micros(100_000),
            fallback_after: Micros(300_000),
        });
    }
}

/// What a daemon learns from a frame. Every frame is a whole message of a kind that datapaths send.
fn heard(
    known: &mut std::collections::BTreeMap<SockId, u32>,
    full: bool,
    frame: &[u8],
) -> Result<(), Refused> {
    let mut all = frames(frame);
    let message = all.next().unwrap().unwrap().message().unwrap();
    assert!(all.next().is_none());
    if full {
        return Err(Refused::Full);
    }
    match message {
        Message::Create(create) => {
            assert!(create.generation() > 0);
            known.insert(create.sock_id, create.generation());
        }
        Message::Measure(measure) if measure.is_close() => {
            known.remove(&measure.sock_id);
        }
        Message::Measure(_) => {}
        Message::Ready(_) => known.clear(),
        other => panic!("{other:?}"),
    }
    Ok(())
}

#[test]
fn no_sequence_breaks_it_and_every_flow_comes_back() {
    // More seeds find more: raise this number.
    for seed in 0..25 {
        let mut model = Model::new(seed);
        for _ in 0..600 {
            model.step();
        }
        model.settles();
    }
}
