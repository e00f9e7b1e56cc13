//! The frame around every kernel test: may it run here, is it alone, does it end.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    sync::mpsc,
    time::Duration,
};

use ccp_lab::Need;
use rustix::{
    fs::{FlockOperation, flock},
    process::setpriority_process,
};

use crate::{binaries, host};

/// While it lives, no other kernel test runs on this machine.
#[derive(Debug)]
pub struct KernelTest {
    // Dropped first: an ended test is not late.
    _watchdog: mpsc::Sender<()>,
    _alone: File,
}

impl KernelTest {
    /// To be called first. `None` if the test cannot run here: it was said why, the test shall return.
    ///
    /// If the test is not over after `limit`, the whole test program ends with an error.
    ///
    /// # Panics
    ///
    /// If something is missing while the environment says `CI=true`; if the lock cannot be had.
    #[must_use]
    pub fn begin(limit: Duration) -> Option<Self> {
        if ccp_lab::skip_without(&[Need::Namespaces, Need::Tc, Need::Tun]) {
            return None;
        }
        let name = std::thread::current().name().unwrap_or("test").to_owned();
        if let Some(missing) = missing() {
            assert!(
                std::env::var_os("CI").is_none_or(|ci| ci != "true"),
                "{name}: {missing}; with CI=true no test may be skipped"
            );
            say(&format!("SKIPPED: {name}: {missing}\n"));
            return None;
        }
        // Building them is not part of any test's time.
        let _ = binaries::directory();
        let alone = File::create(lock_file()).expect("the lock file can be made");
        if flock(&alone, FlockOperation::NonBlockingLockExclusive).is_err() {
            say(&format!("{name} waits for another kernel test to end\n"));
            flock(&alone, FlockOperation::LockExclusive).expect("flock");
        }
        // Traffic, emulated links and daemons started by this thread inherit it: what else runs on the machine
        // shall not be seen in their round-trip times.
        let _ = setpriority_process(None, -15);
        // Only now: another test's daemon is not mistaken for a dead one's remains.
        host::sweep();
        let (watchdog, ended) = mpsc::channel();
        std::thread::spawn(move || {
            if ended.recv_timeout(limit) == Err(mpsc::RecvTimeoutError::Timeout) {
                say(&format!("{name} is not over after {limit:?}: giving up\n"));
                // Children die with this process; pins of killed daemons are swept by the next test.
                std::process::exit(101);
            }
        });
        Some(Self {
            _watchdog: watchdog,
            _alone: alone,
        })
    }
}

/// Past the test harness, which keeps what a test prints to itself.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn lock_file() -> PathBuf {
    // The same for every checkout and user: the kernel's registry of algorithms is one, too.
    let dir = Path::new("/run/lock");
    let dir = if dir.is_dir() { dir } else { Path::new("/tmp") };
    dir.join("ccp-kernel-tests.lock")
}

/// What ccpd would need, looked at without ccpd: a daemon that wrongly refuses must fail its tests, not skip
/// them.
fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("not root".to_owned());
    }
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        return Some("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF)".to_owned());
    }
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut numbers = release.split(['.', '-']).map_while(|n| n.parse().ok());
    let version: (u32, u32) = (numbers.next()?, numbers.next()?);
    // Links of struct_ops, as ccpd's documentation says.
    if version < (6, 4) {
        return Some(format!("Linux {release} is older than 6.4"));
    }
    if !host::has("bpftool") {
        return Some("no command `bpftool`".to_owned());
    }
    None
}
