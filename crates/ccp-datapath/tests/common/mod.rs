//! A daemon without tasks and sockets: the session and the flows of `ccp-core`, in virtual time.

#![allow(dead_code, reason = "each test uses its part")]

use std::collections::{HashMap, VecDeque};

use bytes::BytesMut;
use ccp_core::{
    Algorithm, Command, FlowId, FlowIds, FlowMode, FlowRunner, Micros, Output, Params, Plan,
    Policy, RawReport, Registry, RunnerOutput, Session, SessionOptions, Timestamp,
};
use ccp_datapath::{Connection, Datapath, FlowSpec, FrameQueue, Measurements, Primitive};
use ccp_wire::{Encode as _, Heartbeat, frames};

pub(crate) const HEARTBEAT: Micros = Micros(100_000);
pub(crate) const FALLBACK_AFTER: Micros = Micros(500_000);

pub(crate) fn algorithm(kind: &str) -> Algorithm {
    let mut registry = Registry::new();
    algs::register(&mut registry).unwrap();
    registry.build(&Params::empty(kind)).unwrap()
}

pub(crate) struct Daemon {
    session: Session,
    pub(crate) runners: HashMap<FlowId, FlowRunner>,
    default: Algorithm,
    pub(crate) frames: VecDeque<Vec<u8>>,
    epoch: u32,
    beat: u32,
}

impl Daemon {
    pub(crate) fn new(kind: &str, epoch: u32) -> Self {
        Self::with(vec![algorithm(kind)], epoch)
    }

    /// The first is the default; programs of all are installed.
    pub(crate) fn with(algorithms: Vec<Algorithm>, epoch: u32) -> Self {
        let default = algorithms[0].clone();
        let policy = Policy::new(vec![], default.clone());
        let options = SessionOptions {
            epoch,
            heartbeat: HEARTBEAT,
            fallback_after: FALLBACK_AFTER,
            max_flows: 1 << 20,
            ..SessionOptions::default()
        };
        let plan = Plan::with_algorithms(policy, algorithms);
        Self {
            session: Session::new("test", plan, FlowIds::new(), options),
            runners: HashMap::new(),
            default,
            frames: VecDeque::new(),
            epoch,
            beat: 0,
        }
    }

    pub(crate) fn receive(&mut self, now: Timestamp, datagram: &[u8]) {
        for frame in frames(datagram) {
            let message = frame.unwrap().message().unwrap();
            if let Some(delivery) = self.session.on_message(&message) {
                let fields: Vec<u64> = delivery.measure.fields().collect();
                let report = RawReport {
                    program_uid: delivery.measure.program_uid,
                    generation: delivery.generation,
                    merged: delivery.merged,
                    fields: &fields,
                };
                let runner = self.runners.get_mut(&delivery.flow).unwrap();
                runner.on_report(now, &report);
            }
            self.settle(now);
        }
    }

    pub(crate) fn beat(&mut self) {
        self.beat += 1;
        let beat = Heartbeat {
            epoch: self.epoch,
            beat: self.beat,
        };
        self.frames.push_back(beat.to_frame().unwrap().to_vec());
    }

    pub(crate) fn timers(&mut self, now: Timestamp) {
        for runner in self.runners.values_mut() {
            runner.on_timer(now);
        }
        self.settle(now);
    }

    fn settle(&mut self, now: Timestamp) {
        let mut commands: Vec<Command> = Vec::new();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Command(command) => commands.push(command),
                Output::Opened(opened) => {
                    let flow = opened.flow;
                    let runner = FlowRunner::new(now, *opened, Some(self.default.clone()));
                    self.runners.insert(flow, runner);
                }
                Output::Resumed { flow, announced } => {
                    self.runners
                        .get_mut(&flow)
                        .unwrap()
                        .on_resume(now, &announced);
                }
                Output::Suspended { flow } => self.runners.get_mut(&flow).unwrap().on_suspend(),
                Output::Closed { flow, .. } => {
                    self.runners.remove(&flow).unwrap().close(now);
                }
                Output::Notice(_) => {}
                other => panic!("{other:?}"),
            }
        }
        for runner in self.runners.values_mut() {
            while let Some(output) = runner.poll() {
                if let RunnerOutput::Command(command) = output {
                    commands.push(command);
                }
            }
        }
        for command in commands {
            let mut frame = BytesMut::new();
            if self
                .session
                .programs()
                .encode(&command, &mut frame)
                .unwrap()
            {
                self.frames.push_back(frame.to_vec());
            }
        }
    }

    pub(crate) fn modes(&self) -> Vec<FlowMode> {
        self.runners.values().map(|r| r.status().mode).collect()
    }
}

/// A datapath, its way to a daemon, and the time.
pub(crate) struct World {
    pub(crate) now: Timestamp,
    pub(crate) datapath: Datapath,
    pub(crate) up: FrameQueue,
    pub(crate) daemon: Option<Daemon>,
    /// The daemon is there, but does nothing.
    pub(crate) hung: bool,
    last_beat: Timestamp,
}

impl World {
    pub(crate) fn new(datapath: Datapath, daemon: Option<Daemon>) -> Self {
        Self {
            now: Timestamp(1_000_000),
            datapath,
            up: FrameQueue::new(1 << 20),
            daemon,
            hung: false,
            last_beat: Timestamp(0),
        }
    }

    /// Time passes, and everything that is under way arrives.
    pub(crate) fn pass(&mut self, span: u64) {
        self.now.0 += span;
        self.deliver();
    }

    pub(crate) fn deliver(&mut self) {
        if self.datapath.next_timer().is_some_and(|at| at <= self.now) {
            self.datapath.on_timer(self.now, &mut self.up);
        }
        if self.hung {
            return;
        }
        let Some(daemon) = &mut self.daemon else {
            while self.up.pop().is_some() {}
            return;
        };
        if self.now.since(self.last_beat) >= HEARTBEAT {
            self.last_beat = self.now;
            daemon.beat();
        }
        for _ in 0..4 {
            while let Some(frame) = self.up.pop() {
                daemon.receive(self.now, &frame);
            }
            daemon.timers(self.now);
            while let Some(frame) = daemon.frames.pop_front() {
                // What is refused is counted.
                let _ = self.datapath.on_message(self.now, &frame);
            }
        }
    }
}

pub(crate) const MSS: u32 = 1000;
pub(crate) const RTT: u64 = 10_000;

/// A flow over a path without queue, one acknowledgement per packet.
pub(crate) struct Peer {
    pub(crate) flow: Connection,
    pub(crate) measured: Measurements,
}

impl Peer {
    pub(crate) fn open(world: &mut World, port: u16) -> Self {
        let spec = FlowSpec::new(
            ([192, 0, 2, 1], port).into(),
            ([192, 0, 2, 2], 443).into(),
            MSS,
        );
        let flow = world.datapath.open(world.now, spec, &mut world.up).unwrap();
        world.deliver();
        Self {
            flow,
            measured: world.datapath.measurements(),
        }
    }

    pub(crate) fn packets(&self) -> u64 {
        self.flow.decision().cwnd.0 / u64::from(MSS)
    }

    /// One round trip: the window is sent and acknowledged, but for `lost` packets of it.
    pub(crate) fn round(&mut self, world: &mut World, lost: u64) -> u64 {
        let sent = self.packets();
        for nth in 0..sent {
            world.pass(RTT / sent);
            // Whatever the window allows has been sent before the acknowledgement.
            let out = self.packets() - 1;
            let m = &mut self.measured;
            m.clear();
            m.set(Primitive::BYTES_ACKED, u64::from(MSS))
                .set(Primitive::PACKETS_ACKED, 1)
                .set(Primitive::BYTES_IN_FLIGHT, out * u64::from(MSS))
                .set(Primitive::PACKETS_IN_FLIGHT, out)
                .set(Primitive::RTT_SAMPLE_US, RTT);
            if nth == 0 {
                m.set(Primitive::LOST_PACKETS, lost);
            }
            self.flow.on_ack(world.now, m, &mut world.up);
            world.deliver();
        }
        self.packets()
    }

    pub(crate) fn rounds(&mut self, world: &mut World, rounds: u64) -> u64 {
        (0..rounds)
            .map(|_| self.round(world, 0))
            .last()
            .unwrap_or(0)
    }
}
