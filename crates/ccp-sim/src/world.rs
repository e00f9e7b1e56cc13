//! The simulation itself: takes one event after the other and lets links, senders and receivers do
//! their part.

use std::collections::VecDeque;

use ccp_core::{BuildError, Registry};

use crate::agenda::{Agenda, Event, Timer};
use crate::app::App;
use crate::link::Link;
use crate::packet::{Ack, Body, Ecn, Packet};
use crate::random::Random;
use crate::record::{FlowRecord, FlowSample, Histogram, LinkRecord, LinkSample, Outcome, Summary};
use crate::scenario::{FlowSpec, Scenario};
use crate::steering::{Steered, Steering};
use crate::tcp::{Answer, Heard, Receiver, Sender};
use crate::time::Nanos;

/// One flow: both of its ends, and what is its own between them and the links.
#[derive(Debug)]
pub(crate) struct Flow {
    pub(crate) spec: FlowSpec,
    index: u32,
    pub(crate) sender: Sender,
    pub(crate) receiver: Receiver,
    pub(crate) app: App,
    /// Behind the last link, and on the way back.
    forward: VecDeque<(Nanos, Packet)>,
    back: VecDeque<(Nanos, Ack)>,
    back_delay: Nanos,
    timer: Timer,
    pace: Timer,
    delayed_ack: Timer,
    program: Timer,
    pub(crate) steered: bool,
    pub(crate) active: bool,
    pub(crate) ended: Option<Nanos>,
    pub(crate) rtts: Histogram,
    samples: Vec<FlowSample>,
}

/// A simulation under way.
pub(crate) struct World {
    scenario: Scenario,
    agenda: Agenda,
    links: Vec<Link>,
    link_samples: Vec<Vec<LinkSample>>,
    flows: Vec<Flow>,
    steering: Steering,
    control: Timer,
    fingerprint: Fingerprint,
    events: u64,
}

/// Acknowledgements beside their headers have nothing.
const ACK_HEADER: u32 = 52;
/// Streams of chance: links have theirs by their places, these are for the rest.
const FLOW_STREAM: u64 = 1 << 32;
pub(crate) const CONTROL_STREAM: u64 = 1 << 33;

impl World {
    pub(crate) fn new(scenario: &Scenario, registry: &Registry) -> Result<Self, BuildError> {
        let steering = Steering::new(scenario, registry)?;
        let seed = scenario.seed;
        let links: Vec<Link> = (0..)
            .zip(&scenario.links)
            .map(|(index, spec)| Link::new(index, spec, seed))
            .collect();
        let delay_of = |path: &[u16]| {
            let delays = path.iter().filter_map(|link| {
                let link = scenario.links.get(usize::from(*link))?;
                Some(link.delay.0)
            });
            Nanos(delays.sum())
        };
        let mut agenda = Agenda::default();
        let flow = |(index, spec): (u32, &FlowSpec)| {
            agenda.at(spec.start, Event::Start(index));
            if let Some(stop) = spec.stop {
                agenda.at(stop, Event::Stop(index));
            }
            let back_delay = if spec.back.is_empty() {
                delay_of(&spec.path)
            } else {
                Nanos::ZERO
            };
            Flow {
                index,
                sender: Sender::new(&spec.tcp),
                receiver: Receiver::new(spec.tcp.ack_every, spec.tcp.ack_delay),
                app: App::new(spec.app, Random::new(seed, FLOW_STREAM + u64::from(index))),
                forward: VecDeque::new(),
                back: VecDeque::new(),
                back_delay: back_delay + spec.delay,
                timer: Timer::default(),
                pace: Timer::default(),
                delayed_ack: Timer::default(),
                program: Timer::default(),
                steered: false,
                active: false,
                ended: None,
                rtts: Histogram::default(),
                samples: Vec::new(),
                spec: spec.clone(),
            }
        };
        let flows = (0..).zip(&scenario.flows).map(flow).collect();
        agenda.at(Nanos::ZERO, Event::Sample);
        let mut control = Timer::default();
        control.set(Some(Nanos::ZERO), &mut agenda, Event::Control);
        Ok(Self {
            link_samples: vec![Vec::new(); links.len()],
            scenario: scenario.clone(),
            agenda,
            links,
            flows,
            steering,
            control,
            fingerprint: Fingerprint::new(),
            events: 0,
        })
    }

    /// Everything until the end of the scenario.
    pub(crate) fn run(mut self) -> Outcome {
        while let Some((now, event)) = self.agenda.next() {
            if now > self.scenario.duration {
                break;
            }
            self.events += 1;
            self.happen(now, event);
        }
        self.finish()
    }

    fn happen(&mut self, now: Nanos, event: Event) {
        match event {
            Event::Sent(link) => {
                if let Some(link) = self.links.get_mut(usize::from(link)) {
                    link.on_sent(now, &mut self.agenda);
                }
            }
            Event::Arrived(link) => {
                let link = self.links.get_mut(usize::from(link));
                if let Some(packet) = link.and_then(|l| l.on_arrived(now, &mut self.agenda)) {
                    self.forward(now, packet);
                }
            }
            Event::Control => {
                if self.control.expired(now, &mut self.agenda, event) {
                    self.steering.run(now);
                    while let Some(flow) = self.steering.touched() {
                        self.look_at(now, flow);
                    }
                    self.book_control();
                }
            }
            Event::Sample => {
                self.sample(now);
                self.agenda.at(now + self.scenario.sample, Event::Sample);
            }
            Event::Received(flow)
            | Event::Acked(flow)
            | Event::Timer(flow)
            | Event::Pace(flow)
            | Event::Program(flow)
            | Event::DelayedAck(flow)
            | Event::App(flow)
            | Event::Start(flow)
            | Event::Stop(flow) => self.happen_to_flow(now, event, flow),
        }
    }

    fn happen_to_flow(&mut self, now: Nanos, event: Event, index: u32) {
        let Some(flow) = self.flows.get_mut(index as usize) else {
            return;
        };
        let agenda = &mut self.agenda;
        match event {
            Event::Received(_) => {
                if let Some((_, packet)) = flow.forward.pop_front() {
                    if let Some((next, _)) = flow.forward.front() {
                        agenda.at(*next, event);
                    }
                    self.receive(now, packet);
                }
            }
            Event::Acked(_) => {
                if let Some((_, ack)) = flow.back.pop_front() {
                    if let Some((next, _)) = flow.back.front() {
                        agenda.at(*next, event);
                    }
                    self.on_ack(now, index, &ack);
                }
            }
            Event::Timer(_) => {
                if flow.timer.expired(now, agenda, event) && flow.active {
                    self.on_timer(now, index);
                }
            }
            Event::Pace(_) => {
                if flow.pace.expired(now, agenda, event) {
                    self.send(now, index);
                }
            }
            Event::Program(_) => {
                if flow.program.expired(now, agenda, event) {
                    self.look_at(now, index);
                }
            }
            Event::DelayedAck(_) => {
                if flow.delayed_ack.expired(now, agenda, event) && flow.receiver.owes() {
                    self.acknowledge(now, index);
                }
            }
            Event::App(_) => {
                if flow.active {
                    if let Some(next) = flow.app.run(now, &mut flow.sender) {
                        agenda.at(next, event);
                    }
                    self.send(now, index);
                }
            }
            Event::Start(_) => {
                flow.active = true;
                self.steering.open(now, index, &flow.spec);
                agenda.at(now, Event::App(index));
                self.book_control();
            }
            Event::Stop(_) => self.end(now, index),
            Event::Sent(_) | Event::Arrived(_) | Event::Control | Event::Sample => {}
        }
    }

    /// A packet has passed a link.
    fn forward(&mut self, now: Nanos, mut packet: Packet) {
        let Some(flow) = self.flows.get_mut(packet.flow as usize) else {
            return;
        };
        packet.hop += 1;
        let path = match packet.body {
            Body::Data(_) => &flow.spec.path,
            Body::Ack(_) => &flow.spec.back,
        };
        let link = path.get(usize::from(packet.hop)).copied();
        if let Some(link) = link.and_then(|l| self.links.get_mut(usize::from(l))) {
            link.enqueue(now, packet, &mut self.agenda);
            return;
        }
        match packet.body {
            Body::Data(_) if flow.spec.delay == Nanos::ZERO => self.receive(now, packet),
            Body::Data(_) => {
                let time = now + flow.spec.delay;
                if flow.forward.is_empty() {
                    self.agenda.at(time, Event::Received(flow.index));
                }
                flow.forward.push_back((time, packet));
            }
            Body::Ack(ack) => flow.go_back(now, ack, &mut self.agenda),
        }
    }

    /// A packet of data has arrived.
    fn receive(&mut self, now: Nanos, packet: Packet) {
        let Body::Data(data) = packet.body else {
            return;
        };
        let Some(flow) = self.flows.get_mut(packet.flow as usize) else {
            return;
        };
        self.fingerprint.add(now.0);
        self.fingerprint
            .add(u64::from(packet.flow) << 48 ^ data.seq << 2 ^ packet.ecn as u64);
        let event = Event::DelayedAck(packet.flow);
        match flow.receiver.on_data(now, &data, packet.ecn) {
            Answer::Now => self.acknowledge(now, packet.flow),
            Answer::At(time) => flow.delayed_ack.set(Some(time), &mut self.agenda, event),
        }
    }

    fn acknowledge(&mut self, now: Nanos, index: u32) {
        let Some(flow) = self.flows.get_mut(index as usize) else {
            return;
        };
        flow.delayed_ack
            .set(None, &mut self.agenda, Event::DelayedAck(index));
        let ack = flow.receiver.acknowledge();
        let link = flow.spec.back.first().copied();
        match link.and_then(|link| self.links.get_mut(usize::from(link))) {
            None => flow.go_back(now, ack, &mut self.agenda),
            Some(link) => {
                let packet = Packet {
                    flow: index,
                    size: ACK_HEADER,
                    hop: 0,
                    ecn: Ecn::NotEct,
                    body: Body::Ack(ack),
                };
                link.enqueue(now, packet, &mut self.agenda);
            }
        }
    }

    fn on_ack(&mut self, now: Nanos, index: u32, ack: &Ack) {
        let Some(flow) = self.flows.get_mut(index as usize) else {
            return;
        };
        if !flow.active {
            return;
        }
        let before = flow.sender.last_rtt();
        let measured = flow.sender.on_ack(now, ack);
        self.fingerprint.add(now.0 ^ ack.next << 32);
        if measured.packets_acked + measured.packets_misordered > 0
            && let Some(rtt) = flow.sender.last_rtt().or(before)
        {
            flow.rtts.add(rtt.micros().0);
        }
        let primitives = flow.sender.primitives(now, &measured);
        let steered = self.steering.on_ack(now, index, &primitives);
        flow.take(steered);
        if let Some(next) = flow.app.on_ack(now, &flow.sender) {
            self.agenda.at(next, Event::App(index));
        }
        let finished = flow.app.finished().is_some();
        self.send(now, index);
        if finished {
            self.end(now, index);
        }
        self.book_control();
    }

    fn on_timer(&mut self, now: Nanos, index: u32) {
        let Some(flow) = self.flows.get_mut(index as usize) else {
            return;
        };
        let heard = flow.sender.on_timer(now);
        if heard == Heard::Timeout {
            let measured = flow.sender.take_untold();
            let primitives = flow.sender.primitives(now, &measured);
            let steered = self.steering.on_timeout(now, index, &primitives);
            flow.take(steered);
        } else if heard == Heard::Reduction {
            let measured = flow.sender.take_untold();
            let primitives = flow.sender.primitives(now, &measured);
            let steered = self.steering.on_ack(now, index, &primitives);
            flow.take(steered);
        }
        self.send(now, index);
        self.book_control();
    }

    /// A program waits for this time, or the control plane has said something.
    fn look_at(&mut self, now: Nanos, index: u32) {
        if let Some(flow) = self.flows.get_mut(index as usize)
            && flow.active
            && let Some(Steered {
                cwnd,
                rate,
                own_recovery,
            }) = self.steering.on_timer(now, index)
        {
            flow.sender.steer(cwnd, rate, own_recovery);
            self.send(now, index);
            self.book_control();
        }
    }

    /// Sends what may be sent, and sets the timers.
    fn send(&mut self, now: Nanos, index: u32) {
        let Some(flow) = self.flows.get_mut(index as usize) else {
            return;
        };
        if !flow.active {
            return;
        }
        let tcp = &flow.spec.tcp;
        let link = flow.spec.path.first();
        let Some(link) = link.and_then(|link| self.links.get_mut(usize::from(*link))) else {
            return;
        };
        let ecn = if tcp.ecn { Ecn::Ect } else { Ecn::NotEct };
        while let Some(data) = flow.sender.next_segment(now) {
            let packet = Packet {
                flow: index,
                size: data.len + tcp.header,
                hop: 0,
                ecn,
                body: Body::Data(data),
            };
            link.enqueue(now, packet, &mut self.agenda);
        }
        let paced = flow.sender.paced_until(now);
        flow.pace.set(paced, &mut self.agenda, Event::Pace(index));
        let program = self.steering.flow_timer(now, index);
        flow.program
            .set(program, &mut self.agenda, Event::Program(index));
        let deadline = flow.sender.deadline();
        flow.timer
            .set(deadline, &mut self.agenda, Event::Timer(index));
    }

    fn end(&mut self, now: Nanos, index: u32) {
        let Some(flow) = self.flows.get_mut(index as usize) else {
            return;
        };
        if std::mem::take(&mut flow.active) {
            flow.ended = Some(now);
            flow.sample(now);
            self.steering.close(now, index);
            self.book_control();
        }
    }

    fn book_control(&mut self) {
        let due = self.steering.wake_at();
        self.control.set(due, &mut self.agenda, Event::Control);
    }

    fn sample(&mut self, now: Nanos) {
        for flow in &mut self.flows {
            if flow.active {
                flow.steered = self.steering.is_running(flow.index);
                flow.sample(now);
            }
        }
        for (link, samples) in self.links.iter().zip(&mut self.link_samples) {
            let counts = link.counts();
            samples.push(LinkSample {
                at: now,
                queued: link.queued(),
                sent: counts.bytes,
                dropped: counts.dropped,
                marked: counts.marked,
                lost: counts.lost,
            });
        }
    }

    fn finish(mut self) -> Outcome {
        let end = self.scenario.duration;
        for flow in &mut self.flows {
            if flow.active && flow.samples.last().is_none_or(|last| last.at < end) {
                flow.sample(end);
            }
        }
        let mut flows = Vec::new();
        for flow in &mut self.flows {
            flows.push(FlowRecord {
                name: flow.spec.name.clone(),
                samples: std::mem::take(&mut flow.samples),
            });
        }
        let records = self.scenario.links.iter().zip(self.link_samples);
        let links = records
            .map(|(spec, samples)| LinkRecord {
                name: spec.name.clone(),
                samples,
            })
            .collect();
        let summary = Summary::new(
            &self.scenario,
            &self.flows,
            &flows,
            &self.links,
            self.steering.counts(),
            self.fingerprint.0,
            self.events,
        );
        Outcome {
            flows,
            links,
            summary,
        }
    }
}

impl Flow {
    fn go_back(&mut self, now: Nanos, ack: Ack, agenda: &mut Agenda) {
        let time = now + self.back_delay;
        if self.back.is_empty() {
            agenda.at(time, Event::Acked(self.index));
        }
        self.back.push_back((time, ack));
    }

    /// What congestion control wants from now on.
    fn take(&mut self, steered: Option<Steered>) {
        if let Some(Steered {
            cwnd,
            rate,
            own_recovery,
        }) = steered
        {
            self.sender.steer(cwnd, rate, own_recovery);
        }
        self.sender.settle();
    }

    fn sample(&mut self, now: Nanos) {
        let us = |time: Option<Nanos>| time.map_or(0, |time| time.micros().0);
        let sender = &self.sender;
        self.samples.push(FlowSample {
            at: now,
            cwnd: sender.cwnd().0,
            rate: sender.rate().0,
            rtt_us: us(sender.last_rtt()),
            srtt_us: us(sender.srtt()),
            in_flight: sender.in_flight().0,
            received: self.receiver.bytes(),
            lost: sender.counts.lost_packets,
            marked: sender.counts.marked,
            recovery: sender.state() as u8,
            steered: self.steered,
        });
    }
}

/// What happened, as one number: different, most likely, if anything was.
#[derive(Clone, Copy, Debug)]
struct Fingerprint(u64);

impl Fingerprint {
    const fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    const fn add(&mut self, value: u64) {
        let mixed = (self.0 ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ mixed >> 29;
    }
}
