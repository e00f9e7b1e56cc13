//! What ends the process by a panic stands in its log, which another thread writes.

use std::fs::{Permissions, copy, set_permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// A user that has no threads but those of one test: it may have so many.
const MOST_THREADS: u32 = 3;
/// The log was written in time more often than not.
const TIMES: u32 = 8;

/// Where the system gives no thread to work with, the runtime panics. The process used to end while the log's
/// thread had not yet written why.
#[test]
fn why_it_ended_is_told() {
    if !rustix::process::geteuid().is_root() {
        eprintln!(
            "left out: to limit threads, one has to become another user, which only root can"
        );
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
    // Where it was built others may not be able to look.
    let ccpd = dir.path().join("ccpd");
    copy(env!("CARGO_BIN_EXE_ccpd"), &ccpd).unwrap();
    for time in 1..=TIMES {
        let output = Command::new("prlimit")
            .arg(format!("--nproc={MOST_THREADS}"))
            .arg(&ccpd)
            .env("RUST_BACKTRACE", "0")
            .uid(50_000 + std::process::id() % 10_000)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(101), "{told}");
        assert!(told.contains("panicked at"), "time {time}: {told:?}");
    }
}
