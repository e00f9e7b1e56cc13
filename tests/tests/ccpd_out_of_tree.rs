//! The crate in `examples/out-of-tree`: an algorithm and a daemon of one's own, in under 70 lines.

#[path = "ccpd_unix/fake.rs"]
#[allow(
    dead_code,
    reason = "shared with another test program, which needs more of it"
)]
mod fake;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ccp_tests::{FlowLine, binaries, within};
use fake::Fake;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(10);
const CRATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/out-of-tree");

/// Built as its author would, but into the directory where everything is built already.
fn build() -> PathBuf {
    let programs = binaries::directory();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let release = programs.file_name().is_some_and(|name| name == "release");
    let output = Command::new(cargo)
        .args(["build", "--quiet", "--manifest-path"])
        .arg(Path::new(CRATE).join("Cargo.toml"))
        .args(release.then_some("--release"))
        .arg("--target-dir")
        .arg(programs.parent().unwrap())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    programs.join("out-of-tree")
}

/// Killed when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn an_algorithm_of_ones_own_steers_a_flow() {
    let lines = std::fs::read_to_string(Path::new(CRATE).join("src/main.rs")).unwrap();
    assert!(lines.lines().count() < 60);

    let program = build();
    let dir = tempfile::tempdir().unwrap();
    let (control, datapath) = (dir.path().join("control.sock"), dir.path().join("d.sock"));
    let config = dir.path().join("ccpd.toml");
    std::fs::write(
        &config,
        format!(
            "[ccpd]\ncontrol = '{}'\n[[datapath]]\nkind = 'unix'\npath = '{}'\n\
             [algorithms.gentle]\n[policy]\ndefault = 'gentle'\n",
            control.display(),
            datapath.display()
        ),
    )
    .unwrap();
    let child = Command::new(program)
        .arg(&config)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let mut running = Running(child);
    within(PATIENCE, || datapath.exists().then_some(())).expect("the daemon's socket");

    let mut fake = Fake::ready(&datapath, "a");
    fake.open(1, 40_000);
    let (uid, window) = fake.started(1);
    assert_eq!(window, None, "it goes on with the window it has");
    // Reports are (rtt, least). Without a queue it grows by a segment, with one it shrinks.
    fake.report(1, uid, &[20_000, 20_000]);
    assert_eq!(fake.window(1), 14_480 + 1_448);
    fake.report(1, uid, &[25_000, 20_000]);
    assert_eq!(fake.window(1), 14_480 + 2 * 1_448);
    fake.report(1, uid, &[25_001, 20_000]);
    assert_eq!(fake.window(1), 14_480 + 1_448);

    let mut ccp = Command::new(binaries::ccp());
    ccp.arg("--socket").arg(&control).args(["flows", "--json"]);
    let flows: Vec<FlowLine> = serde_json::from_slice(&ccp.output().unwrap().stdout).unwrap();
    assert_eq!(flows.len(), 1);
    assert_eq!(
        (&flows[0].algorithm[..], flows[0].cwnd_bytes),
        ("gentle", 15_928)
    );
    assert_eq!((flows[0].reports, flows[0].updates), (3, 4));

    kill_process(Pid::from_child(&running.0), Signal::INT).unwrap();
    let ended = within(PATIENCE, || running.0.try_wait().unwrap());
    assert_eq!(ended.expect("it stops").code(), Some(0));
    assert!(!control.exists() && !datapath.exists());
}
