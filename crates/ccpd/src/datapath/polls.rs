//! When a ring of reports is looked at without being woken for it.
//!
//! Being woken for a report costs the kernel microseconds, and the daemon a few more. That is well
//! spent on a flow that reports a hundred times per second, and too much where thousands of reports come
//! per second: then the reader looks at a steady pace, and reports are not waited for any longer than
//! [`EVERY`].

use std::io;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The time between two looks. What a report waits is less, and half of it on average.
const EVERY: Duration = Duration::from_micros(200);
/// So many frames
const MANY: usize = 8;
/// within this time begin it,
const WITHIN: Duration = Duration::from_millis(2);
/// and so many looks in a row that find nothing end it.
const EMPTY_LOOKS: u32 = 2;

/// Whether to wait for reports, or to look for them.
#[derive(Debug)]
struct Habit {
    polls: bool,
    /// Frames since `since`.
    frames: usize,
    since: Instant,
    /// Looks in a row that found nothing.
    empty: u32,
}

impl Habit {
    const fn new(now: Instant) -> Self {
        Self {
            polls: false,
            frames: 0,
            since: now,
            empty: 0,
        }
    }

    /// Somebody looked and found `frames`. Whether to poll from now on.
    fn looked(&mut self, now: Instant, frames: usize) -> bool {
        if self.polls {
            self.empty = if frames == 0 { self.empty + 1 } else { 0 };
            self.polls = self.empty < EMPTY_LOOKS;
        } else {
            if now.saturating_duration_since(self.since) > WITHIN {
                self.since = now;
                self.frames = 0;
            }
            self.frames += frames;
            self.polls = self.frames >= MANY;
        }
        if self.polls {
            self.frames = 0;
        } else {
            self.empty = 0;
        }
        self.polls
    }
}

/// A timer for looks, finer than the runtime's, and when to use it.
#[derive(Debug)]
pub(crate) struct Polls {
    timer: AsyncFd<OwnedFd>,
    habit: Habit,
}

impl Polls {
    pub(crate) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        Ok(Self {
            timer: watch(timer)?,
            habit: Habit::new(Instant::now()),
        })
    }

    /// Ends when it is time for the look that [`looked`](Self::looked) asked for, if it did.
    pub(crate) async fn due(&mut self) -> io::Result<()> {
        // Setting the timer anew takes its expiration back: nothing is to be read.
        self.timer.readable().await?.clear_ready();
        Ok(())
    }

    pub(crate) const fn on(&self) -> bool {
        self.habit.polls
    }

    /// The ring was looked at and `frames` were found. Whether to look again by oneself; if so, the
    /// timer runs.
    pub(crate) fn looked(&mut self, now: Instant, frames: usize) -> io::Result<bool> {
        if !self.habit.looked(now, frames) {
            return Ok(false);
        }
        self.again()?;
        Ok(true)
    }

    /// Looks again, whatever the habit says: the ring was not empty.
    pub(crate) fn again(&mut self) -> io::Result<()> {
        self.habit.polls = true;
        self.habit.empty = 0;
        let time = Itimerspec {
            it_interval: Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
            it_value: Timespec {
                tv_sec: 0,
                tv_nsec: EVERY.subsec_nanos().into(),
            },
        };
        timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &time)?;
        Ok(())
    }
}

#[allow(
    unsafe_code,
    reason = "what the runtime asks of everything that it watches"
)]
fn watch(timer: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned, and never replaced or closed before the `AsyncFd` is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) };
    watched.map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_reports_are_waited_for() {
        let start = Instant::now();
        let mut habit = Habit::new(start);
        for i in 1..1000 {
            assert!(!habit.looked(start + Duration::from_millis(i), 1), "{i}");
        }
    }

    #[test]
    fn many_are_looked_for_until_none_come() {
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        let mut habit = Habit::new(start);
        for i in 1..8 {
            assert!(!habit.looked(at(50 * i), 1), "{i}");
        }
        assert!(habit.looked(at(400), 1));
        assert!(habit.looked(at(600), 4));
        assert!(habit.looked(at(800), 0));
        assert!(habit.looked(at(1000), 1));
        assert!(habit.looked(at(1200), 0));
        assert!(!habit.looked(at(1400), 0));
        // It begins anew.
        assert!(!habit.looked(at(1450), 7));
        assert!(habit.looked(at(1500), 1));
    }

    #[test]
    fn a_burst_begins_it_too() {
        let start = Instant::now();
        let mut habit = Habit::new(start);
        assert!(habit.looked(start + Duration::from_secs(3), 100));
    }

    #[tokio::test]
    async fn the_timer_runs_once_for_each_look() {
        let mut polls = Polls::new().unwrap();
        let start = Instant::now();
        assert!(polls.looked(start, MANY).unwrap());
        for _ in 0..3 {
            polls.due().await.unwrap();
            let again = tokio::time::timeout(Duration::from_millis(5), polls.due()).await;
            assert!(again.is_err(), "it was not set again");
            polls.again().unwrap();
        }
        assert!(start.elapsed() >= 3 * EVERY);
    }
}
