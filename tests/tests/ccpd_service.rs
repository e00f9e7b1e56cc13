//! What a service manager hears of `ccpd`. The test plays the manager's side of sd_notify(3).

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use ccp_tests::binaries;
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(10);

struct Manager {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
    ccpd: Child,
}

impl Manager {
    /// Starts a daemon that has to give a sign of life every `watchdog`.
    fn start(watchdog: Option<Duration>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        configure(dir.path(), 5);
        let notify = dir.path().join("notify");
        let socket = UnixDatagram::bind(&notify).unwrap();
        let mut command = Command::new(binaries::ccpd());
        command
            .arg("--config")
            .arg(dir.path().join("ccpd.toml"))
            .env("NOTIFY_SOCKET", &notify)
            .stdin(Stdio::null())
            .stderr(Stdio::null());
        if let Some(watchdog) = watchdog {
            command.env("WATCHDOG_USEC", watchdog.as_micros().to_string());
        }
        let ccpd = command.spawn().unwrap();
        Self { dir, socket, ccpd }
    }

    /// What is told next.
    fn told_within(&self, limit: Duration) -> Option<String> {
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = [0; 4096];
        let len = self.socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8(buffer[..len].to_vec()).unwrap())
    }

    /// What is told next, but for the sockets that are to be kept.
    fn told(&self) -> String {
        loop {
            let told = self.told_within(PATIENCE).expect("it says something");
            if !told.starts_with("FDSTORE") {
                return told;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.ccpd), signal).unwrap();
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = self.ccpd.kill();
        let _ = self.ccpd.wait();
    }
}

fn configure(dir: &Path, packets: u32) {
    let text = format!(
        "[ccpd]\ncontrol = '{at}/control.sock'\n[[datapath]]\nkind = 'unix'\npath = '{at}/datapath.sock'\n\
         [algorithms.fixed]\nkind = 'constant'\ncwnd_packets = {packets}\n[policy]\ndefault = 'fixed'\n",
        at = dir.display()
    );
    std::fs::write(dir.join("ccpd.toml"), text).unwrap();
}

#[test]
fn it_is_ready_when_its_datapaths_are_and_says_when_it_reloads_and_stops() {
    let mut manager = Manager::start(None);
    let ready = manager.told();
    assert_eq!(
        ready.trim_end(),
        "READY=1\nSTATUS=steering 0 flows of 1 datapath"
    );
    assert!(manager.dir.path().join("datapath.sock").exists());
    assert!(manager.dir.path().join("control.sock").exists());

    for packets in [6, 0] {
        // The second is wrong: it goes on with the one before.
        configure(manager.dir.path(), packets);
        manager.signal(Signal::HUP);
        let reloading = manager.told();
        assert!(
            reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="),
            "{reloading}"
        );
        assert!(manager.told().starts_with("READY=1\n"));
    }
    manager.signal(Signal::TERM);
    assert!(manager.told().starts_with("STOPPING=1\n"));
    assert!(manager.ccpd.wait().unwrap().success());
}

#[test]
fn it_gives_signs_of_life_as_often_as_it_has_to() {
    let manager = Manager::start(Some(Duration::from_millis(400)));
    assert!(manager.told().starts_with("READY=1\n"));
    for _ in 0..3 {
        assert_eq!(
            manager.told().trim_end(),
            "WATCHDOG=1\nSTATUS=steering 0 flows of 1 datapath"
        );
    }
    // A daemon that is stopped gives none.
    manager.signal(Signal::STOP);
    let until = Instant::now() + Duration::from_millis(300);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        // One may have been under way.
        let _ = manager.told_within(left.max(Duration::from_millis(1)));
    }
    assert_eq!(manager.told_within(Duration::from_millis(600)), None);
    manager.signal(Signal::CONT);
    assert!(manager.told().starts_with("WATCHDOG=1\n"));
}

/// `systemd-analyze`, or nothing where it is missing.
fn analyze(arguments: &[&str], units: &[PathBuf]) -> Option<Output> {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .args(units)
        .env("SYSTEMD_PAGER", "")
        .output();
    if output.is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "systemd-analyze is missing"
        );
        eprintln!("SKIPPED: there is no systemd-analyze here");
    }
    output.ok()
}

fn assert_fine(output: &Output) {
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
}

fn config(file: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../config")).join(file)
}

/// The unit is as closed as it is meant to be.
#[test]
fn the_unit_is_closed() {
    // As docs/operating.md says, in tenths.
    let arguments = ["security", "--offline=true", "--threshold=17"];
    if let Some(output) = analyze(&arguments, &[config("ccpd.service")]) {
        assert_fine(&output);
    }
}

/// The units, also with the drop-ins, are such that systemd understands all of it.
#[test]
fn the_units_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("ccpd.service.d")).unwrap();
    for (file, to) in [
        ("ccpd.service", "ccpd.service"),
        ("ccpd.socket", "ccpd.socket"),
        ("drop-ins/namespaces.conf", "ccpd.service.d/namespaces.conf"),
        ("drop-ins/metrics.conf", "ccpd.service.d/metrics.conf"),
    ] {
        // A program that is missing is the machine's affair.
        let text = std::fs::read_to_string(config(file)).unwrap();
        let ccpd = binaries::ccpd().display().to_string();
        let text = text.replace("/usr/local/bin/ccpd", &ccpd);
        std::fs::write(dir.path().join(to), text).unwrap();
    }
    let units = ["ccpd.service", "ccpd.socket"].map(|unit| dir.path().join(unit));
    if let Some(output) = analyze(&["verify", "--man=no"], &units) {
        assert_fine(&output);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    }
}
