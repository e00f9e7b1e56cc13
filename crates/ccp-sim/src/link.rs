//! A link: a queue, a rate at which it empties, a line of some length behind it, and bad luck.

use std::collections::VecDeque;

use crate::agenda::{Agenda, Event};
use crate::packet::{Body, Ecn, Packet};
use crate::random::Random;
use crate::scenario::{LinkSpec, RateSpec};
use crate::time::Nanos;

mod loss;
mod queue;
mod rate;

use loss::Loss;
use queue::Queue;
pub(crate) use rate::serialization;
use rate::{Opportunities, Steady};

/// What happened to the packets of a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LinkCounts {
    /// Bytes that it has put on the line.
    pub(crate) bytes: u64,
    /// Packets that the queue dropped, for want of room or to signal congestion.
    pub(crate) dropped: u64,
    /// Packets that it marked.
    pub(crate) marked: u64,
    /// Packets that were lost on the line.
    pub(crate) lost: u64,
    /// The most that was in the queue, in bytes.
    pub(crate) most_queued: u64,
}

#[derive(Debug)]
enum Server {
    Steady(Steady),
    Trace(Opportunities),
}

#[derive(Debug)]
pub(crate) struct Link {
    index: u16,
    delay: Nanos,
    jitter: Nanos,
    reorders: bool,
    queue: Queue,
    server: Server,
    /// What is being put on the line, and how many bytes of it are still to come.
    serving: Option<(Packet, u32)>,
    line: VecDeque<(Nanos, Packet)>,
    loss: Loss,
    random: Random,
    counts: LinkCounts,
}

impl Link {
    pub(crate) fn new(index: u16, spec: &LinkSpec, seed: u64) -> Self {
        Self {
            index,
            delay: spec.delay,
            jitter: spec.jitter,
            reorders: spec.reorders,
            queue: Queue::new(&spec.queue),
            server: match &spec.rate {
                RateSpec::Steady(rate) => Server::Steady(Steady::new(*rate)),
                RateSpec::Trace(trace) => Server::Trace(Opportunities::new(trace.clone())),
            },
            serving: None,
            line: VecDeque::new(),
            loss: Loss::new(&spec.loss),
            random: Random::new(seed, u64::from(index)),
            counts: LinkCounts::default(),
        }
    }

    pub(crate) const fn counts(&self) -> &LinkCounts {
        &self.counts
    }

    /// What waits, in bytes.
    pub(crate) const fn queued(&self) -> u64 {
        self.queue.bytes()
    }

    /// A packet comes.
    pub(crate) fn enqueue(&mut self, now: Nanos, packet: Packet, agenda: &mut Agenda) {
        if !self.queue.push(now, packet, &mut self.counts) {
            return;
        }
        self.counts.most_queued = self.counts.most_queued.max(self.queue.bytes());
        if self.serving.is_none() {
            self.serve(now, agenda);
        }
    }

    /// Takes the next packet from the queue. To be called when nothing is being served.
    fn serve(&mut self, now: Nanos, agenda: &mut Agenda) {
        let sent = Event::Sent(self.index);
        match &mut self.server {
            Server::Steady(steady) => {
                if let Some(packet) = self.queue.pop(now, &mut self.counts) {
                    agenda.at(now + steady.time_for(packet.size), sent);
                    self.serving = Some((packet, packet.size));
                }
            }
            // What a trace lets through is taken from the queue when it does.
            Server::Trace(trace) => {
                if let Some(time) = trace.book(now) {
                    agenda.at(time, sent);
                }
            }
        }
    }

    /// A packet is on the line as a whole, or a trace has an opportunity.
    pub(crate) fn on_sent(&mut self, now: Nanos, agenda: &mut Agenda) {
        match &mut self.server {
            Server::Steady(_) => {
                if let Some((packet, _)) = self.serving.take() {
                    self.put_on_line(now, packet, agenda);
                }
                self.serve(now, agenda);
            }
            Server::Trace(trace) => {
                let mut budget = trace.take();
                while budget > 0 {
                    let next = self.serving.take().or_else(|| {
                        let packet = self.queue.pop(now, &mut self.counts)?;
                        Some((packet, packet.size))
                    });
                    let Some((packet, left)) = next else {
                        break;
                    };
                    if left > budget {
                        self.serving = Some((packet, left - budget));
                        break;
                    }
                    budget -= left;
                    self.put_on_line(now, packet, agenda);
                }
                if self.serving.is_some() || self.queue.bytes() > 0 {
                    self.serve(now, agenda);
                }
            }
        }
    }

    fn put_on_line(&mut self, now: Nanos, packet: Packet, agenda: &mut Agenda) {
        self.counts.bytes += u64::from(packet.size);
        if self.loss.takes(now, &packet, &mut self.random) {
            self.counts.lost += 1;
            return;
        }
        let mut arrives = now + self.delay;
        if self.jitter > Nanos::ZERO {
            arrives += Nanos(self.random.up_to(self.jitter.0));
        }
        let last = self.line.back().map_or(Nanos::ZERO, |(time, _)| *time);
        let place = if arrives >= last {
            self.line.len()
        } else if self.reorders {
            self.line.partition_point(|(time, _)| *time <= arrives)
        } else {
            arrives = last;
            self.line.len()
        };
        self.line.insert(place, (arrives, packet));
        if place == 0 {
            agenda.at(arrives, Event::Arrived(self.index));
        }
    }

    /// The first packet on the line arrives.
    pub(crate) fn on_arrived(&mut self, now: Nanos, agenda: &mut Agenda) -> Option<Packet> {
        // One that was overtaken has been noted too early.
        self.line.front().filter(|(time, _)| *time <= now)?;
        let (_, packet) = self.line.pop_front()?;
        if let Some((next, _)) = self.line.front() {
            agenda.at(*next, Event::Arrived(self.index));
        }
        Some(packet)
    }
}

/// Marks a packet; whether that was possible.
fn mark(packet: &mut Packet) -> bool {
    let able = packet.ecn != Ecn::NotEct;
    if able {
        packet.ecn = Ecn::Ce;
    }
    able
}

/// Whether it is data.
const fn is_data(packet: &Packet) -> bool {
    matches!(packet.body, Body::Data(_))
}
