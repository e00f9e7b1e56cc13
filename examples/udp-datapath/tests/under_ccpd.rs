//! The example sends under a real daemon, without one, and while one is replaced.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use ccp_tests::binaries;

struct Daemon(Child);

impl Daemon {
    fn start(dir: &Path) -> Self {
        let dir_text = dir.display();
        let config = format!(
            "[ccpd]\ncontrol = '{dir_text}/control.sock'\n[[datapath]]\nkind = 'unix'\n\
             path = '{dir_text}/datapath.sock'\n[algorithms.reno]\n[policy]\ndefault = 'reno'\n"
        );
        let file = dir.join("ccpd.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(binaries::ccpd());
        command.arg("--config").arg(file).stdin(Stdio::null());
        let daemon = Self(command.spawn().unwrap());
        let begun = Instant::now();
        while std::os::unix::net::UnixStream::connect(dir.join("control.sock")).is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is not ready");
            sleep(Duration::from_millis(20));
        }
        daemon
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A directory that is removed.
struct Dir(PathBuf);

impl Dir {
    fn new(name: &str) -> Self {
        let name = format!("udp-datapath-test-{}-{name}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn example(dir: &Path, seconds: u32) -> Child {
    Command::new(env!("CARGO_BIN_EXE_udp-datapath"))
        .arg(dir.join("datapath.sock"))
        .arg(seconds.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What it said; it has sent something.
fn said(example: Child) -> String {
    let output = example.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    let bytes: u64 = text.split(' ').next().unwrap().parse().unwrap();
    assert!(bytes > 100_000, "{text}");
    text
}

#[test]
fn it_is_steered() {
    let dir = Dir::new("steered");
    let _daemon = Daemon::start(&dir.0);
    let text = said(example(&dir.0, 2));
    assert!(text.contains("at the end: true"), "{text}");
    assert!(!text.contains(" 0 reports"), "{text}");
}

#[test]
fn it_sends_without_a_daemon() {
    let dir = Dir::new("alone");
    let text = said(example(&dir.0, 1));
    assert!(text.contains("at the end: false"), "{text}");
}

#[test]
fn a_killed_daemon_is_replaced() {
    let dir = Dir::new("killed");
    let daemon = Daemon::start(&dir.0);
    let example = example(&dir.0, 5);
    sleep(Duration::from_millis(1_000));
    drop(daemon);
    sleep(Duration::from_millis(500));
    let _daemon = Daemon::start(&dir.0);
    let text = said(example);
    assert!(text.contains("at the end: true"), "{text}");
}
