//! What the end-to-end, interop and kernel tests in `tests/` have in common.
//!
//! A kernel test is named `root_…` and starts with [`KernelTest::begin`], which leaves it out (loudly, and
//! never with `CI=true`) where it cannot run, lets one run at a time on the whole machine, and bounds its
//! time. It runs the real programs `ccpd` and `ccp` ([`binaries`]) on real traffic (`ccp_lab`); what it
//! started is gone when it ends, however it ends.

pub mod binaries;
mod cgroup;
pub mod crowd;
mod daemon;
mod flows;
pub mod host;
mod kernel_test;
mod process;
mod trace;

pub use cgroup::Cgroup;
pub use daemon::{Daemon, Ended, Setup, unique_name};
pub use flows::FlowLine;
pub use kernel_test::KernelTest;
pub use process::Process;
pub use trace::{Reduction, Trace};

use std::time::{Duration, Instant};

/// Asks `poll` every 20 ms until it gives something; `None` if it has not after `limit`.
pub fn within<T>(limit: Duration, mut poll: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = poll() {
            return Some(value);
        }
        if Instant::now() >= deadline {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
