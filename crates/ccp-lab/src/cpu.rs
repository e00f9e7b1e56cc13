//! CPU time spent by this process and by the whole machine, for cost measurements.

use std::{
    fs, io,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};

use crate::LabError;

/// Measures CPU time from [`CpuMeter::start`] to [`CpuMeter::stop`].
#[derive(Debug, Clone)]
pub struct CpuMeter {
    started: Instant,
    process: Duration,
    machine: Machine,
}

/// CPU time spent in an interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CpuUse {
    /// Length of the interval.
    pub wall: Duration,
    /// CPU time of this process, all threads, user and system.
    pub process: Duration,
    /// CPU time of the whole machine, all CPUs, that was not idle, waiting for IO or stolen.
    pub machine: Duration,
    /// The share of [`Self::machine`] spent in software interrupts (network receive, mostly).
    pub softirq: Duration,
}

impl CpuUse {
    /// Busy CPUs of the whole machine on average; 1.0 is one CPU.
    #[must_use]
    pub fn machine_cpus(&self) -> f64 {
        self.machine.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }

    /// CPUs kept busy by this process on average.
    #[must_use]
    pub fn process_cpus(&self) -> f64 {
        self.process.as_secs_f64() / self.wall.as_secs_f64().max(1e-9)
    }
}

impl CpuMeter {
    /// Starts measuring.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if `/proc/stat` cannot be read.
    pub fn start() -> Result<Self, LabError> {
        Ok(Self {
            started: Instant::now(),
            process: process_time(),
            machine: Machine::read()?,
        })
    }

    /// CPU time since the start. The machine's values move in steps of a clock tick (10 ms).
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if `/proc/stat` cannot be read.
    pub fn stop(&self) -> Result<CpuUse, LabError> {
        let machine = Machine::read()?;
        Ok(CpuUse {
            wall: self.started.elapsed(),
            process: process_time().saturating_sub(self.process),
            machine: machine.busy.saturating_sub(self.machine.busy),
            softirq: machine.softirq.saturating_sub(self.machine.softirq),
        })
    }
}

fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        time.tv_sec.try_into().unwrap_or(0),
        time.tv_nsec.try_into().unwrap_or(0),
    )
}

#[derive(Debug, Clone, Copy)]
struct Machine {
    busy: Duration,
    softirq: Duration,
}

impl Machine {
    fn read() -> Result<Self, LabError> {
        let text =
            fs::read_to_string("/proc/stat").map_err(|e| LabError::system("read /proc/stat", e))?;
        let ticks_per_second = rustix::param::clock_ticks_per_second();
        Self::parse(&text, ticks_per_second).ok_or_else(|| {
            LabError::system(
                "read /proc/stat",
                io::Error::other("no line `cpu` with 8 numbers"),
            )
        })
    }

    /// First line: `cpu user nice system idle iowait irq softirq steal guest guest_nice`, in ticks; guest
    /// time is part of user time already. Source: proc_stat(5).
    fn parse(text: &str, ticks_per_second: u64) -> Option<Self> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let ticks: Vec<u64> = line
            .split_whitespace()
            .map_while(|n| n.parse().ok())
            .collect();
        let [user, nice, system, _idle, _iowait, irq, softirq, ..] = ticks[..] else {
            return None;
        };
        let time = |ticks: u64| Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64);
        Some(Self {
            busy: time(user + nice + system + irq + softirq),
            softirq: time(softirq),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_iowait_and_steal_are_not_busy() {
        let text = "cpu  100 20 30 4000 500 6 7 800 90 10\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let machine = Machine::parse(text, 100).expect("a cpu line");
        assert_eq!(machine.busy, Duration::from_millis(1630));
        assert_eq!(machine.softirq, Duration::from_millis(70));
        assert!(Machine::parse("intr 5\n", 100).is_none());
    }

    #[test]
    fn own_work_is_seen() {
        let meter = CpuMeter::start().expect("/proc/stat");
        let end = Instant::now() + Duration::from_millis(200);
        while Instant::now() < end {
            std::hint::spin_loop();
        }
        let used = meter.stop().expect("/proc/stat");
        // Other processes may take the CPU away, but not all of it for so long.
        assert!(used.process > Duration::from_millis(20), "{used:?}");
        assert!(used.process <= used.wall * 64, "{used:?}");
    }
}
