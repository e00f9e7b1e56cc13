//! The thread that carries packets between the two devices of a link.

use std::{
    num::NonZeroU64,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Instant,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    thread::set_current_timer_slack,
};

use super::{
    line::{Line, Nanos},
    tun::Tun,
};
use crate::{LabError, priority};

/// What the thread and the link's owner share.
#[derive(Debug)]
pub(super) struct Shared {
    /// From A to B, from B to A.
    pub(super) lines: Mutex<[Line; 2]>,
    stop: AtomicBool,
    wake: OwnedFd,
    epoch: Instant,
}

impl Shared {
    pub(super) fn new(lines: [Line; 2]) -> Result<Self, LabError> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|e| LabError::system("create an eventfd", e))?;
        let (stop, epoch) = (AtomicBool::new(false), Instant::now());
        Ok(Self {
            lines: Mutex::new(lines),
            stop,
            wake,
            epoch,
        })
    }

    pub(super) fn now(&self) -> Nanos {
        u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Has the thread look at the lines again. Fails only when it is due to wake anyway.
    pub(super) fn wake(&self) {
        let _ = rustix::io::write(&self.wake, &1u64.to_ne_bytes());
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake();
    }
}

/// Packets read from a device before the other one has its turn.
const BATCH: usize = 64;
/// Packet buffers kept for reuse.
const SPARE: usize = 1024;

pub(super) fn start(shared: Arc<Shared>, tuns: [Tun; 2]) -> Result<JoinHandle<()>, LabError> {
    thread::Builder::new()
        .name("link".to_owned())
        .spawn(move || {
            // Both only make it more precise, so refusal does not matter: wake-ups to the microsecond instead of
            // 50 µs late, and ahead of whatever keeps the CPUs busy.
            let _ = set_current_timer_slack(NonZeroU64::new(1));
            // The packets it delivers are processed by the kernel on its time, so this holds for both ends' TCP, too.
            priority::before_others(priority::LINKS);
            carry(&shared, &tuns);
        })
        .map_err(|e| LabError::system("start a thread", e))
}

fn carry(shared: &Shared, tuns: &[Tun; 2]) {
    let mut spare: Vec<Vec<u8>> = Vec::new();
    let mut readable = [true; 2];
    while !shared.stop.load(Ordering::Relaxed) {
        let next = {
            let mut lines = shared.lines.lock().unwrap_or_else(PoisonError::into_inner);
            for (from, line) in lines.iter_mut().enumerate() {
                if readable[from] {
                    receive(shared, &tuns[from], line, &mut spare);
                }
                while let Some(packet) = line.take_delivered(shared.now()) {
                    // Refused only while the device is down.
                    let _ = tuns[1 - from].write(&packet);
                    recycle(&mut spare, packet);
                }
            }
            lines.iter().filter_map(Line::next_delivery).min()
        };
        readable = wait(shared, tuns, next);
    }
}

fn receive(shared: &Shared, tun: &Tun, line: &mut Line, spare: &mut Vec<Vec<u8>>) {
    for _ in 0..BATCH {
        let mut buffer = spare.pop().unwrap_or_default();
        if tun.read(&mut buffer).is_err() {
            recycle(spare, buffer);
            return;
        }
        if let Some(dropped) = line.arrive(shared.now(), buffer) {
            recycle(spare, dropped);
        }
    }
}

fn recycle(spare: &mut Vec<Vec<u8>>, packet: Vec<u8>) {
    if spare.len() < SPARE {
        spare.push(packet);
    }
}

/// Sleeps until a device has a packet, one is due at `next`, or someone wakes us. Returns who is readable.
fn wait(shared: &Shared, tuns: &[Tun; 2], next: Option<Nanos>) -> [bool; 2] {
    let timeout = next.map(|at| {
        let rest = at.saturating_sub(shared.now());
        Timespec {
            tv_sec: (rest / 1_000_000_000).cast_signed(),
            tv_nsec: (rest % 1_000_000_000).cast_signed(),
        }
    });
    let mut fds = [
        PollFd::new(&tuns[0], PollFlags::IN),
        PollFd::new(&tuns[1], PollFlags::IN),
        PollFd::new(&shared.wake, PollFlags::IN),
    ];
    if poll(&mut fds, timeout.as_ref()).is_err() {
        // Interrupted by a signal.
        return [false; 2];
    }
    let readable = [0, 1].map(|i| fds[i].revents().contains(PollFlags::IN));
    if fds[2].revents().contains(PollFlags::IN) {
        let _ = rustix::io::read(&shared.wake, &mut [0u8; 8]);
    }
    readable
}
