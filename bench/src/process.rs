//! Processes beside this one: started, pinned, watched, stopped.

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};
use std::{io, thread};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use rustix::thread::{CpuSet, sched_setaffinity};

/// How long a process may take to stop when it is asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// A child process. Asked to stop when dropped, and also when this process is killed, so that it
/// can clean up.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    pub(crate) fn start(command: &mut Command) -> Result<Self> {
        let parent = rustix::process::getpid();
        // SAFETY: between fork and exec only two system calls are made; no allocation, no lock.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::TERM))?;
                if rustix::process::getppid() != Some(parent) {
                    // This process went before the line above.
                    return Err(io::Error::from_raw_os_error(libc::ESRCH));
                }
                Ok(())
            });
        }
        let name = command.get_program().to_string_lossy().into_owned();
        let child = command.spawn();
        child.map(Self).with_context(|| format!("start {name}"))
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    /// CPU time of all its threads so far, user and system.
    pub(crate) fn cpu_time(&self) -> Result<Duration> {
        let pid = libc::pid_t::try_from(self.0.id())?;
        let mut clock = 0;
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: both write to the local variable that they are given.
        let failed = unsafe {
            libc::clock_getcpuclockid(pid, &raw mut clock) != 0
                || libc::clock_gettime(clock, &raw mut time) != 0
        };
        if failed {
            bail!("the CPU time of process {pid} is not known");
        }
        Ok(Duration::new(
            u64::try_from(time.tv_sec)?,
            u32::try_from(time.tv_nsec)?,
        ))
    }

    /// Memory that it has, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64> {
        let file = format!("/proc/{}/status", self.0.id());
        let text = std::fs::read_to_string(&file).with_context(|| format!("read {file}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
        let kib = kib.with_context(|| format!("{file} has no line `VmRSS: … kB`"))?;
        Ok(1024 * kib.trim().parse::<u64>()?)
    }

    /// Asks it to stop and waits for it.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        if let Some(status) = self.0.try_wait()? {
            return Ok(status);
        }
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.0.try_wait()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("process {} does not stop", self.0.id());
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.stop().is_err() {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Keeps the calling thread, and those that it starts from here on, on one CPU.
pub(crate) fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(None, &set).with_context(|| format!("stay on CPU {cpu}"))
}

/// The CPU for what is not measured, and that for what is: two if there are two.
pub(crate) fn cpus() -> (usize, usize) {
    let count = thread::available_parallelism().map_or(1, usize::from);
    (0, usize::from(count > 1))
}

/// Tries `attempt` until it gives something, for at most `limit`.
pub(crate) fn within<T>(limit: Duration, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = attempt() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}
