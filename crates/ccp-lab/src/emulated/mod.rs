//! A link of any rate, delay and loss: two TUN devices, one in each namespace, between which a thread
//! of ours carries packets.
//!
//! Unlike [`crate::VethLink`], it queues and drops outside the sender's stack, as a router on the path
//! does. Its schedule is kept in virtual time, so a late wake-up of the thread delays single packets but
//! does not lower the rate.

mod engine;
mod line;
mod packet;
mod tun;

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError},
    thread::JoinHandle,
    time::Duration,
};

pub use line::{Counters, Pipe};

use self::{engine::Shared, line::Line, tun::Tun};
use crate::{
    LabError, Namespace, Subnet,
    namespace::Entrance,
    veth::{DeviceNumber, address},
};

/// A direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From end A to end B.
    AToB,
    /// From end B to end A.
    BToA,
}

/// What an [`EmulatedLink`] is like; made from a [`Pipe`] for the way from A to B.
#[derive(Debug, Clone, PartialEq)]
pub struct EmulatedSpec {
    forward: Pipe,
    reverse: Pipe,
    mtu: u16,
    subnet: Option<Subnet>,
}

impl From<Pipe> for EmulatedSpec {
    /// The way back has the same rate and delay, no loss, and a queue for a second of its rate.
    fn from(forward: Pipe) -> Self {
        let reverse = forward.way_back();
        Self {
            forward,
            reverse,
            mtu: 1500,
            subnet: None,
        }
    }
}

impl EmulatedSpec {
    /// The way from B to A.
    #[must_use]
    pub fn reverse(mut self, pipe: Pipe) -> Self {
        self.reverse = pipe;
        self
    }

    /// Largest IP packet in bytes (default 1500).
    #[must_use]
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.mtu = bytes;
        self
    }

    /// Addresses of the ends (default: the next free number).
    #[must_use]
    pub fn subnet(mut self, subnet: Subnet) -> Self {
        self.subnet = Some(subnet);
        self
    }
}

/// Two namespaces joined by a link of our own making; removed on drop.
#[derive(Debug)]
pub struct EmulatedLink {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    ends: [Entrance; 2],
    device: String,
    subnet: Subnet,
}

impl EmulatedLink {
    /// Joins `a` and `b`. Ready to use on return, IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// [`LabError::Parameter`] if a pipe's value is out of range, [`LabError::System`] or
    /// [`LabError::Command`] if a device cannot be made.
    pub fn new(
        a: &Namespace,
        b: &Namespace,
        spec: impl Into<EmulatedSpec>,
    ) -> Result<Self, LabError> {
        let spec = spec.into();
        let subnet = spec.subnet.unwrap_or_else(Subnet::next);
        let device = format!("tun-{}", DeviceNumber::next());
        let lines = [Line::new(spec.forward)?, Line::new(spec.reverse)?];
        let ends = [a.entrance()?, b.entrance()?];
        let addresses = [
            (subnet.a_v4().into(), subnet.a_v6().into()),
            (subnet.b_v4().into(), subnet.b_v6().into()),
        ];
        let mut tuns = Vec::with_capacity(2);
        for (ns, (v4, v6)) in [a, b].into_iter().zip(addresses) {
            tuns.push(ns.run(|| Tun::create(&device, spec.mtu))??);
            ns.ip([
                "link",
                "set",
                &device,
                "mtu",
                &spec.mtu.to_string(),
                "txqueuelen",
                "20000",
            ])?;
            address(ns, &device, v4, v6)?;
        }
        let tuns = <[Tun; 2]>::try_from(tuns).expect("one for each of two ends");
        let shared = Arc::new(Shared::new(lines)?);
        let thread = engine::start(Arc::clone(&shared), tuns)?;
        Ok(Self {
            shared,
            thread: Some(thread),
            ends,
            device,
            subnet,
        })
    }

    /// Changes the rate (bits per second of IP packets; `None`: no limit). The packet being sent continues
    /// at the new rate.
    ///
    /// # Errors
    ///
    /// [`LabError::Parameter`] if it is 0.
    pub fn set_rate(
        &self,
        direction: Direction,
        rate_bps: impl Into<Option<u64>>,
    ) -> Result<(), LabError> {
        let (rate_bps, now) = (rate_bps.into(), self.shared.now());
        self.change(direction, |line| line.set_rate(now, rate_bps))
    }

    /// Changes the one-way delay, for packets that leave the queue from now on. When it becomes shorter,
    /// they wait for those before them: packets are never reordered.
    pub fn set_delay(&self, direction: Direction, delay: Duration) {
        self.change(direction, |line| line.set_delay(delay));
    }

    /// Changes the queue limit; what waits already stays.
    pub fn set_queue(&self, direction: Direction, bytes: u64) {
        self.change(direction, |line| line.set_queue(bytes));
    }

    /// Changes the probability of random loss, 0 to 1; the generator goes on from where it is.
    ///
    /// # Errors
    ///
    /// [`LabError::Parameter`] if it is outside that.
    pub fn set_loss(&self, direction: Direction, probability: f64) -> Result<(), LabError> {
        self.change(direction, |line| line.set_loss(probability))
    }

    /// Changes the queue length in bytes above which ECN-capable packets are marked (`None`: never).
    pub fn set_mark_above(&self, direction: Direction, bytes: impl Into<Option<u64>>) {
        let bytes = bytes.into();
        self.change(direction, |line| line.set_mark_above(bytes));
    }

    /// Drops TCP data packets by their number in this direction since the link was made, the first
    /// being 1, retransmissions included (see [`Counters::data_packets`]). Adds to what was asked before.
    pub fn drop_data(&self, direction: Direction, numbers: impl IntoIterator<Item = u64>) {
        let numbers: Vec<u64> = numbers.into_iter().collect();
        self.change(direction, |line| line.drop_data(numbers));
    }

    /// Drops the next `n` TCP data packets.
    pub fn drop_next_data(&self, direction: Direction, n: u64) {
        self.change(direction, |line| {
            let next = line.counters().data_packets + 1;
            line.drop_data(next..next + n);
        });
    }

    /// What has happened in one direction so far.
    #[must_use]
    pub fn counters(&self, direction: Direction) -> Counters {
        let now = self.shared.now();
        self.change(direction, |line| {
            line.transmit(now);
            line.counters()
        })
    }

    /// Packets that a device dropped before they reached this link because its thread did not read them in
    /// time: 0 unless the machine is badly overloaded.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if `/proc/net/dev` cannot be read in the namespace.
    pub fn overruns(&self, direction: Direction) -> Result<u64, LabError> {
        let end = &self.ends[direction as usize];
        let text = end
            .run(|| std::fs::read_to_string("/proc/thread-self/net/dev"))?
            .map_err(|e| LabError::system("read /proc/thread-self/net/dev", e))?;
        let prefix = format!("{}:", self.device);
        let line = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix(&prefix));
        // Eight columns of receiving, then bytes, packets, errors and drops of sending.
        let drops = line
            .and_then(|line| line.split_whitespace().nth(11))
            .map(str::parse);
        Ok(drops.and_then(Result::ok).unwrap_or(0))
    }

    /// The device's name, the same at both ends.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// IPv4 address of end A.
    #[must_use]
    pub fn a_v4(&self) -> IpAddr {
        self.subnet.a_v4().into()
    }

    /// IPv4 address of end B.
    #[must_use]
    pub fn b_v4(&self) -> IpAddr {
        self.subnet.b_v4().into()
    }

    /// IPv6 address of end A.
    #[must_use]
    pub fn a_v6(&self) -> IpAddr {
        self.subnet.a_v6().into()
    }

    /// IPv6 address of end B.
    #[must_use]
    pub fn b_v6(&self) -> IpAddr {
        self.subnet.b_v6().into()
    }

    fn change<R>(&self, direction: Direction, f: impl FnOnce(&mut Line) -> R) -> R {
        let mut lines = self
            .shared
            .lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let result = f(&mut lines[direction as usize]);
        drop(lines);
        self.shared.wake();
        result
    }
}

impl Drop for EmulatedLink {
    fn drop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
