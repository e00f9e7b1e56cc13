//! A `ccpd` process without kernel TCP: for datapaths on sockets. Needs no privilege of its own.

use std::{
    fs::{self, File},
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use ccp_lab::Namespace;
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use tempfile::TempDir;

use crate::{FlowLine, binaries, within};

const PATIENCE: Duration = Duration::from_secs(15);

/// A running `ccpd`, and its files; killed when dropped.
#[derive(Debug)]
pub struct Process {
    dir: TempDir,
    child: Child,
}

impl Process {
    /// Starts `ccpd` and waits until it answers. `rest` is its configuration apart from the control socket; in
    /// it `{dir}` is the directory of its files. In `namespace`, if there is one.
    ///
    /// # Panics
    ///
    /// If it does not start; with its log.
    #[must_use]
    pub fn start(rest: &str, namespace: Option<&Namespace>) -> Self {
        let mut ccpd = Self::launch(rest, namespace, |_| {});
        let ready = within(PATIENCE, || {
            if let Some(status) = ccpd.child.try_wait().expect("ccpd's status") {
                panic!("ccpd ended ({status}) instead of starting:\n{}", ccpd.log());
            }
            UnixStream::connect(ccpd.path("control.sock")).ok()
        });
        assert!(ready.is_some(), "ccpd is not ready:\n{}", ccpd.log());
        ccpd
    }

    /// The same with a command that `change` has changed, and without waiting for anything.
    ///
    /// # Panics
    ///
    /// If it can't be started.
    #[must_use]
    pub fn launch(
        rest: &str,
        namespace: Option<&Namespace>,
        change: impl FnOnce(&mut Command),
    ) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let beside = dir.path().display().to_string();
        let text = format!("[ccpd]\ncontrol = '{{dir}}/control.sock'\n{rest}\n");
        let config = dir.path().join("ccpd.toml");
        fs::write(&config, text.replace("{dir}", &beside)).expect("its configuration");
        let log = File::create(dir.path().join("log")).expect("its log");
        let mut command = Command::new(binaries::ccpd());
        command
            .arg("--config")
            .arg(&config)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        change(&mut command);
        let child = match namespace {
            // The namespace is that of the thread which starts it; so is the parent by whose end it is killed,
            // which is why that is the process here.
            Some(namespace) => namespace.run(|| command.spawn()).expect("the namespace"),
            None => {
                // SAFETY: `prctl` is one system call, allowed between `fork` and `exec`.
                unsafe {
                    command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
                }
                command.spawn()
            }
        };
        let child = child.expect("ccpd can be started");
        Self { dir, child }
    }

    /// A file of its.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The directory of its files.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until it has logged `text`.
    ///
    /// # Panics
    ///
    /// If it does not; with what it logged.
    pub fn await_log(&self, text: &str) {
        let found = within(PATIENCE, || self.log().contains(text).then_some(()));
        assert!(found.is_some(), "no `{text}` in:\n{}", self.log());
    }

    /// `ccp ARGS`: its standard output.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[must_use]
    pub fn ccp(&self, args: &[&str]) -> String {
        let mut command = Command::new(binaries::ccp());
        command.arg("--socket").arg(self.path("control.sock"));
        let output = command.args(args).output().expect("ccp can be started");
        assert!(output.status.success(), "ccp {args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// `ccp flows --json`.
    ///
    /// # Panics
    ///
    /// If that fails or prints something else than promised.
    #[must_use]
    pub fn flows(&self) -> Vec<FlowLine> {
        serde_json::from_str(&self.ccp(&["flows", "--json"])).expect("flows")
    }

    /// The flows, once they are as `wanted`.
    ///
    /// # Panics
    ///
    /// If they do not become so.
    pub fn await_flows(&self, wanted: impl Fn(&[FlowLine]) -> bool) -> Vec<FlowLine> {
        let mut last = Vec::new();
        let found = within(PATIENCE, || {
            last = self.flows();
            wanted(&last).then_some(())
        });
        if found.is_none() {
            let shown: Vec<_> = last.iter().take(5).collect();
            panic!("{} flows: {shown:#?}…\n{}", last.len(), self.log());
        }
        last
    }

    /// Memory of the process that is in RAM, in KiB.
    ///
    /// # Panics
    ///
    /// If it has ended.
    #[must_use]
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|n| n.parse().ok()).expect("a number")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn signal(&mut self, signal: Signal) {
        let ended = self.child.try_wait().expect("ccpd's status");
        assert!(ended.is_none(), "it has ended ({ended:?}):\n{}", self.log());
        kill_process(Pid::from_child(&self.child), signal).expect("a signal");
    }

    /// Waits for its end.
    ///
    /// # Panics
    ///
    /// If it goes on; with its log.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = within(PATIENCE, || self.child.try_wait().expect("its status"));
        ended.unwrap_or_else(|| panic!("it does not end:\n{}", self.log()))
    }

    /// A clean stop, which has to succeed.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of ccpd\n{}---", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
