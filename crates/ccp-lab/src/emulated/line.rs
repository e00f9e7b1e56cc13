//! One direction of a link as a model without clock and IO: packets in, packets out, in virtual time.

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use super::packet;
use crate::LabError;

/// Nanoseconds since the link was made.
pub(super) type Nanos = u64;

/// What one direction of an [`crate::EmulatedLink`] is like: a droptail queue, a transmitter with a rate, and
/// a delay behind it. All sizes are those of IP packets, headers included.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipe {
    rate_bps: Option<u64>,
    delay: Duration,
    queue_bytes: u64,
    mark_above: Option<u64>,
    loss: f64,
    seed: u64,
    drop_data: BTreeSet<u64>,
}

impl Pipe {
    /// `rate_bps` bits per second and `delay` one way. Queue: one bandwidth-delay product if the way back
    /// has the same delay, at least ten packets.
    #[must_use]
    pub fn new(rate_bps: u64, delay: Duration) -> Self {
        let bdp = u128::from(rate_bps) * 2 * delay.as_nanos() / 8_000_000_000;
        let queue_bytes = u64::try_from(bdp).unwrap_or(u64::MAX).max(15_000);
        Self {
            rate_bps: Some(rate_bps),
            queue_bytes,
            ..Self::unlimited(delay)
        }
    }

    /// No rate limit, `delay` one way.
    #[must_use]
    pub fn unlimited(delay: Duration) -> Self {
        Self {
            rate_bps: None,
            delay,
            queue_bytes: u64::MAX,
            mark_above: None,
            loss: 0.0,
            seed: 0,
            drop_data: BTreeSet::new(),
        }
    }

    /// Bytes that may wait, besides the packet being sent; a packet that does not fit is dropped.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: u64) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// Marks ECN-capable packets "congestion experienced" that arrive when more than `bytes` wait.
    #[must_use]
    pub fn mark_above(mut self, bytes: u64) -> Self {
        self.mark_above = Some(bytes);
        self
    }

    /// Loses each packet with this probability, 0 to 1, drawn from a generator with this seed.
    #[must_use]
    pub fn loss(mut self, probability: f64, seed: u64) -> Self {
        self.loss = probability;
        self.seed = seed;
        self
    }

    /// Drops TCP data packets by their number, the first being 1, retransmissions included.
    #[must_use]
    pub fn drop_data(mut self, numbers: impl IntoIterator<Item = u64>) -> Self {
        self.drop_data.extend(numbers);
        self
    }

    pub(super) fn way_back(&self) -> Self {
        let queue_bytes = self.rate_bps.map_or(u64::MAX, |bps| bps / 8).max(150_000);
        Self {
            rate_bps: self.rate_bps,
            queue_bytes,
            ..Self::unlimited(self.delay)
        }
    }
}

/// What has happened in one direction of a link. Bytes are those of IP packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Packets that came, dropped ones included.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
    /// TCP packets with content among them; the number of the latest one.
    pub data_packets: u64,
    /// Packets handed out at the far end.
    pub delivered_packets: u64,
    /// Their bytes.
    pub delivered_bytes: u64,
    /// Packets dropped because the queue was full.
    pub dropped_queue: u64,
    /// Packets dropped at random.
    pub dropped_random: u64,
    /// Packets dropped by their number.
    pub dropped_scripted: u64,
    /// Packets marked "congestion experienced".
    pub marked_ce: u64,
    /// Bytes waiting now.
    pub queue_bytes: u64,
    /// The most that ever waited.
    pub queue_high_bytes: u64,
}

impl Counters {
    /// Packets dropped for any reason.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_queue + self.dropped_random + self.dropped_scripted
    }
}

/// The model: queue, transmitter, delay.
#[derive(Debug)]
pub(super) struct Line {
    pipe: Pipe,
    random: u64,
    waiting: VecDeque<Vec<u8>>,
    sending: Option<(Nanos, Vec<u8>)>,
    flying: VecDeque<(Nanos, Vec<u8>)>,
    counters: Counters,
}

impl Line {
    pub(super) fn new(pipe: Pipe) -> Result<Self, LabError> {
        check_rate(pipe.rate_bps)?;
        check_loss(pipe.loss)?;
        Ok(Self {
            random: pipe.seed,
            pipe,
            waiting: VecDeque::new(),
            sending: None,
            flying: VecDeque::new(),
            counters: Counters::default(),
        })
    }

    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// A packet comes in at `now`. Gives it back if it is dropped.
    pub(super) fn arrive(&mut self, now: Nanos, mut packet: Vec<u8>) -> Option<Vec<u8>> {
        self.transmit(now);
        let size = packet.len() as u64;
        let is_data = packet::has_tcp_content(&packet);
        self.counters.packets += 1;
        self.counters.bytes += size;
        self.counters.data_packets += u64::from(is_data);
        if is_data && self.pipe.drop_data.remove(&self.counters.data_packets) {
            self.counters.dropped_scripted += 1;
            return Some(packet);
        }
        if self.pipe.loss > 0.0 && self.draw() < self.pipe.loss {
            self.counters.dropped_random += 1;
            return Some(packet);
        }
        if self.sending.is_none() {
            self.send(now, packet);
            return None;
        }
        let queue = self.counters.queue_bytes + size;
        if queue > self.pipe.queue_bytes {
            self.counters.dropped_queue += 1;
            return Some(packet);
        }
        if self
            .pipe
            .mark_above
            .is_some_and(|limit| self.counters.queue_bytes > limit)
        {
            self.counters.marked_ce += u64::from(packet::mark_ce(&mut packet));
        }
        self.counters.queue_bytes = queue;
        self.counters.queue_high_bytes = self.counters.queue_high_bytes.max(queue);
        self.waiting.push_back(packet);
        None
    }

    /// The packets that have reached the far end by `now`, in order.
    pub(super) fn take_delivered(&mut self, now: Nanos) -> Option<Vec<u8>> {
        self.transmit(now);
        if self.flying.front().is_none_or(|&(at, _)| at > now) {
            return None;
        }
        let (_, packet) = self.flying.pop_front()?;
        self.counters.delivered_packets += 1;
        self.counters.delivered_bytes += packet.len() as u64;
        Some(packet)
    }

    /// When the next packet reaches the far end, as far as known now.
    ///
    /// The end of a transmission needs no attention of its own: it is made up for, with its exact time,
    /// whenever the line is looked at next, which is at the latest when its packet is to be delivered.
    pub(super) fn next_delivery(&self) -> Option<Nanos> {
        let flying = self.flying.front().map(|&(at, _)| at);
        let sending = || self.sending.as_ref().map(|&(done, _)| done + self.delay());
        flying.or_else(sending)
    }

    pub(super) fn set_rate(&mut self, now: Nanos, rate_bps: Option<u64>) -> Result<(), LabError> {
        check_rate(rate_bps)?;
        self.transmit(now);
        let old = std::mem::replace(&mut self.pipe.rate_bps, rate_bps);
        if let Some((done, _)) = &mut self.sending {
            let rest = u128::from(*done - now);
            *done = match (old, rate_bps) {
                (Some(old), Some(new)) => {
                    let rest = rest * u128::from(old) / u128::from(new);
                    now.saturating_add(u64::try_from(rest).unwrap_or(u64::MAX))
                }
                _ => now,
            };
        }
        self.transmit(now);
        Ok(())
    }

    pub(super) fn set_delay(&mut self, delay: Duration) {
        self.pipe.delay = delay;
    }

    pub(super) fn set_queue(&mut self, bytes: u64) {
        self.pipe.queue_bytes = bytes;
    }

    pub(super) fn set_loss(&mut self, probability: f64) -> Result<(), LabError> {
        check_loss(probability)?;
        self.pipe.loss = probability;
        Ok(())
    }

    pub(super) fn set_mark_above(&mut self, bytes: Option<u64>) {
        self.pipe.mark_above = bytes;
    }

    pub(super) fn drop_data(&mut self, numbers: impl IntoIterator<Item = u64>) {
        self.pipe.drop_data.extend(numbers);
    }

    /// Ends the transmissions that are over by `now`; the next one begins when the one before has ended,
    /// not when somebody looks.
    pub(super) fn transmit(&mut self, now: Nanos) {
        while let Some((done, packet)) = self.sending.take_if(|(done, _)| *done <= now) {
            let last = self.flying.back().map_or(0, |&(at, _)| at);
            self.flying
                .push_back(((done + self.delay()).max(last), packet));
            if let Some(next) = self.waiting.pop_front() {
                self.counters.queue_bytes -= next.len() as u64;
                self.send(done, next);
            }
        }
    }

    fn send(&mut self, start: Nanos, packet: Vec<u8>) {
        let bits = packet.len() as u64 * 8;
        // Rounded up, so that the rate is never exceeded: less than 1 ns per packet.
        let time = self
            .pipe
            .rate_bps
            .map_or(0, |bps| (bits * 1_000_000_000).div_ceil(bps));
        self.sending = Some((start + time, packet));
        if time == 0 {
            self.transmit(start);
        }
    }

    fn delay(&self) -> Nanos {
        u64::try_from(self.pipe.delay.as_nanos()).unwrap_or(u64::MAX / 2)
    }

    /// A number in [0, 1). Generator: SplitMix64 (Steele, Lea, Flood 2014).
    fn draw(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}

fn check_rate(rate_bps: Option<u64>) -> Result<(), LabError> {
    match rate_bps {
        Some(0) => Err(LabError::Parameter {
            name: "rate_bps",
            value: "0".to_owned(),
            range: "at least 1, or no limit",
        }),
        _ => Ok(()),
    }
}

fn check_loss(probability: f64) -> Result<(), LabError> {
    if (0.0..=1.0).contains(&probability) {
        return Ok(());
    }
    Err(LabError::Parameter {
        name: "loss",
        value: probability.to_string(),
        range: "0 to 1",
    })
}

#[cfg(test)]
mod tests;
