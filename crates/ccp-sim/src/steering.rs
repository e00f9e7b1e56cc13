//! Who steers: a datapath with a connection per flow, the control plane, and the way between them.
//! The only place that knows either.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use ccp_core::{BuildError, Registry};
use ccp_datapath::{
    Config, Connection, Datapath, Decision, FlowSpec, Measurements, Mode, Primitive, Refused,
    Touched,
};
use ccp_program::RegisterTable;
use ccp_types::{Bytes, Micros, Rate, SockId};

use crate::random::{Chance, Random};
use crate::record::ControlSummary;
use crate::scenario::{FlowSpec as Spec, Scenario};
use crate::time::Nanos;
use crate::world::CONTROL_STREAM;

mod plane;

use plane::Plane;

/// What a sender is to do until the next acknowledgement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steered {
    pub(crate) cwnd: Bytes,
    pub(crate) rate: Rate,
    /// The program has recovery to itself: nothing spreads its reductions.
    pub(crate) own_recovery: bool,
}

/// Frames on their way in one direction.
#[derive(Debug)]
struct Way {
    delay: Nanos,
    loss: Chance,
    random: Random,
    under_way: VecDeque<(Nanos, Vec<u8>)>,
    sent: u64,
    lost: u64,
}

impl Way {
    fn new(delay: Nanos, loss: Chance, random: Random) -> Self {
        Self {
            delay,
            loss,
            random,
            under_way: VecDeque::new(),
            sent: 0,
            lost: 0,
        }
    }

    fn send(&mut self, now: Nanos, frame: &[u8]) {
        self.sent += 1;
        if self.random.happens(self.loss) {
            self.lost += 1;
        } else {
            self.under_way.push_back((now + self.delay, frame.to_vec()));
        }
    }

    fn next(&self) -> Option<Nanos> {
        self.under_way.front().map(|(time, _)| *time)
    }

    fn arrived(&mut self, now: Nanos) -> Option<Vec<u8>> {
        self.next().filter(|time| *time <= now)?;
        self.under_way.pop_front().map(|(_, frame)| frame)
    }
}

/// The datapath, the control plane, and what is between them.
pub(crate) struct Steering {
    /// Where flows with an algorithm are, and where those without are: nobody talks to that one.
    datapath: Datapath,
    alone: Datapath,
    measurements: Measurements,
    primitives: Vec<Primitive>,
    flows: Vec<Option<Connection>>,
    by_sock_id: BTreeMap<SockId, u32>,
    up: Way,
    down: Way,
    plans: plane::Plans,
    plane: Option<Plane>,
    /// When the control plane goes or comes, in order.
    turns: VecDeque<Nanos>,
    /// When the datapath itself wants to be called.
    look: Option<Nanos>,
    /// Flows that have something new.
    touched: Vec<u32>,
}

impl Steering {
    pub(crate) fn new(scenario: &Scenario, registry: &Registry) -> Result<Self, BuildError> {
        let control = &scenario.control;
        let registers = RegisterTable::well_known();
        let config = Config {
            registers: registers.clone(),
            ready_every: Micros::from_millis(100),
            ..Config::default()
        };
        let datapath = Datapath::new(config.clone());
        let defs = registers.primitives().iter();
        let primitives = defs
            .filter_map(|def| datapath.primitive(&def.name))
            .collect();
        let random = |stream| Random::new(scenario.seed, CONTROL_STREAM + stream);
        let mut plans = plane::Plans::new(scenario, registry)?;
        Ok(Self {
            measurements: datapath.measurements(),
            alone: Datapath::new(config),
            primitives,
            flows: std::iter::repeat_with(|| None)
                .take(scenario.flows.len())
                .collect(),
            by_sock_id: BTreeMap::new(),
            up: Way::new(control.delay, control.loss, random(0)),
            down: Way::new(control.delay, control.loss, random(1)),
            plane: plans.start(Nanos::ZERO),
            plans,
            turns: control.away.iter().flat_map(|(a, b)| [*a, *b]).collect(),
            look: Some(Nanos::ZERO),
            touched: Vec::new(),
            datapath,
        })
    }

    /// A flow begins.
    pub(crate) fn open(&mut self, now: Nanos, index: u32, spec: &Spec) {
        let port = 5_000 + (index % 50_000) as u16;
        let flow = FlowSpec {
            init_cwnd: Bytes::from_packets(u64::from(spec.tcp.initial_window), spec.tcp.mss),
            requested: spec.algorithm.as_deref().map(Into::into),
            ..FlowSpec::new(
                SocketAddr::from(([10, 0, 0, 1], port)),
                SocketAddr::from(([10, 0, 0, 2], port)),
                spec.tcp.mss,
            )
        };
        let datapath = if spec.algorithm.is_some() {
            &self.datapath
        } else {
            &self.alone
        };
        let up = &mut self.up;
        let mut sink = |frame: &[u8]| -> Result<(), Refused> {
            up.send(now, frame);
            Ok(())
        };
        // There is room for a hundred times as many flows as a scenario may have.
        let Ok(connection) = datapath.open(now.timestamp(), flow, &mut sink) else {
            return;
        };
        if spec.algorithm.is_some() {
            self.by_sock_id.insert(connection.sock_id(), index);
        }
        if let Some(place) = self.flows.get_mut(index as usize) {
            *place = Some(connection);
        }
        self.look_again();
    }

    /// A flow ends.
    pub(crate) fn close(&mut self, now: Nanos, index: u32) {
        let flow = self.flows.get_mut(index as usize);
        if let Some(connection) = flow.and_then(Option::take) {
            self.by_sock_id.remove(&connection.sock_id());
            let up = &mut self.up;
            let mut sink = |frame: &[u8]| -> Result<(), Refused> {
                up.send(now, frame);
                Ok(())
            };
            connection.close(None, &mut sink);
        }
        self.look_again();
    }

    /// An acknowledgement, or something was found to be lost. `values`: as
    /// [`RegisterTable::well_known`] has them.
    pub(crate) fn on_ack(&mut self, now: Nanos, index: u32, values: &[u64; 30]) -> Option<Steered> {
        self.measure(values);
        self.call(index, now, |connection, measurements, sink| {
            connection.on_ack(now.timestamp(), measurements, sink)
        })
    }

    /// A retransmission timer has run out.
    pub(crate) fn on_timeout(
        &mut self,
        now: Nanos,
        index: u32,
        values: &[u64; 30],
    ) -> Option<Steered> {
        self.measure(values);
        self.call(index, now, |connection, measurements, sink| {
            connection.on_timeout(now.timestamp(), measurements, sink)
        })
    }

    /// The time has come that [`flow_timer`](Self::flow_timer) named, or there is something new.
    pub(crate) fn on_timer(&mut self, now: Nanos, index: u32) -> Option<Steered> {
        self.call(index, now, |connection, _, sink| {
            connection.on_timer(now.timestamp(), sink)
        })
    }

    /// When [`on_timer`](Self::on_timer) is to be called for a flow.
    pub(crate) fn flow_timer(&self, now: Nanos, index: u32) -> Option<Nanos> {
        let connection = self.flows.get(index as usize)?.as_ref()?;
        let due = Nanos::of(connection.next_timer()?);
        // Time goes on.
        Some(due.max(now + Nanos::from_micros(1)))
    }

    fn measure(&mut self, values: &[u64; 30]) {
        for (primitive, value) in self.primitives.iter().zip(values) {
            self.measurements.set(*primitive, *value);
        }
    }

    fn call(
        &mut self,
        index: u32,
        now: Nanos,
        call: impl FnOnce(&mut Connection, &Measurements, &mut dyn ccp_datapath::Sink) -> Decision,
    ) -> Option<Steered> {
        let connection = self.flows.get_mut(index as usize)?.as_mut()?;
        let up = &mut self.up;
        let mut sink = |frame: &[u8]| -> Result<(), Refused> {
            up.send(now, frame);
            Ok(())
        };
        let decision = call(connection, &self.measurements, &mut sink);
        Some(Steered {
            cwnd: decision.cwnd,
            rate: decision.rate,
            own_recovery: connection.has_own_recovery(),
        })
    }

    /// Whether a program steers a flow.
    pub(crate) fn is_running(&self, index: u32) -> bool {
        let flow = self.flows.get(index as usize).and_then(Option::as_ref);
        flow.is_some_and(|connection| connection.mode() == Mode::Running)
    }

    /// Does what is due in the control plane and on the way to it.
    pub(crate) fn run(&mut self, now: Nanos) {
        while self.turns.front().is_some_and(|time| *time <= now) {
            self.turns.pop_front();
            self.plane = match self.plane.take() {
                Some(plane) => {
                    self.plans.keep(plane);
                    None
                }
                None => self.plans.start(now),
            };
        }
        while let Some(frame) = self.up.arrived(now) {
            if let Some(plane) = &mut self.plane {
                plane.on_frame(now, &frame);
            }
        }
        if let Some(plane) = &mut self.plane {
            plane.on_timer(now);
            let down = &mut self.down;
            plane.take_frames(|frame| down.send(now, frame));
        }
        while let Some(frame) = self.down.arrived(now) {
            // What is not obeyed is counted by the datapath.
            let received = self.datapath.on_message(now.timestamp(), &frame);
            match received.map(|received| received.touched) {
                Ok(Touched::None) => {}
                Ok(Touched::Flow(sock_id)) => self.touched.extend(self.by_sock_id.get(&sock_id)),
                Ok(Touched::All) | Err(_) => self.touched.extend(self.by_sock_id.values()),
            }
        }
        let up = &mut self.up;
        let mut sink = |frame: &[u8]| -> Result<(), Refused> {
            up.send(now, frame);
            Ok(())
        };
        self.datapath.on_timer(now.timestamp(), &mut sink);
        self.look_again();
    }

    /// A flow for which there is something new, to be looked at with [`on_timer`](Self::on_timer).
    pub(crate) fn touched(&mut self) -> Option<u32> {
        self.touched.pop()
    }

    /// When [`run`](Self::run) is to be called.
    pub(crate) fn wake_at(&self) -> Option<Nanos> {
        let plane = self.plane.as_ref().and_then(Plane::wake_at);
        let turn = self.turns.front().copied();
        [self.up.next(), self.down.next(), plane, turn, self.look]
            .into_iter()
            .flatten()
            .min()
    }

    fn look_again(&mut self) {
        self.look = self.datapath.next_timer().map(Nanos::of);
    }

    /// What was counted.
    pub(crate) fn counts(&self) -> ControlSummary {
        let mut summary = self.plans.summary();
        if let Some(plane) = &self.plane {
            plane.add_to(&mut summary);
        }
        summary.frames_up = self.up.sent;
        summary.frames_down = self.down.sent;
        summary.frames_lost = self.up.lost + self.down.lost;
        let stats = self.datapath.stats();
        summary.fallbacks = stats.fallbacks + stats.fault_fallbacks;
        summary
    }
}
