//! A `ccpd` process of a test's own.

use std::{
    fs::{self, File},
    io,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use ccp_lab::{Namespace, NsChild, RunningFlow};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{FlowLine, binaries, host, within};

pub(crate) const PREFIX: &str = "ct";

/// How long a daemon may take to be ready or to stop. Its own promise is far shorter; this is where a test
/// gives up.
const PATIENCE: Duration = Duration::from_secs(15);

/// A name for a datapath that no other daemon has: `ct<pid>_<n>`, hexadecimal, at most 15 bytes.
#[must_use]
pub fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed) & 0xfff;
    format!("{PREFIX}{:x}_{n:x}", std::process::id())
}

/// The files of a daemon: configuration, control socket, log. A daemon can be started from it again and again.
#[derive(Debug)]
pub struct Setup {
    name: String,
    dir: TempDir,
}

impl Setup {
    /// A TCP datapath that takes the flows of any network namespace. `rest` is the rest of the file:
    /// algorithms and policy.
    #[must_use]
    pub fn new(rest: &str) -> Self {
        Self::with_datapath("namespaces = \"any\"", rest)
    }

    /// A TCP datapath with these further keys.
    ///
    /// # Panics
    ///
    /// If no temporary directory can be made.
    #[must_use]
    pub fn with_datapath(keys: &str, rest: &str) -> Self {
        let name = unique_name();
        let dir = tempfile::Builder::new()
            .prefix("ccp-test-")
            .tempdir()
            .expect("a temporary directory");
        let setup = Self { name, dir };
        setup.write(keys, rest);
        setup
    }

    /// Writes the configuration anew, for the next start.
    ///
    /// # Panics
    ///
    /// If the file cannot be written.
    pub fn write(&self, keys: &str, rest: &str) {
        let text = format!(
            "[ccpd]\ncontrol = \"{}\"\n\n[[datapath]]\nkind = \"tcp\"\nname = \"{}\"\n{keys}\n\n{rest}\n",
            self.socket().display(),
            self.name
        );
        fs::write(self.config(), text).expect("the configuration can be written");
    }

    /// What sockets ask for.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of its files. Only root may enter it.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.dir.path().join("ccpd.toml")
    }

    /// The control socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("control.sock")
    }

    fn log_file(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What the daemons started from this have printed so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_file()).unwrap_or_default()
    }

    /// `ccpd --config …`, printing into the log.
    fn command(&self) -> io::Result<Command> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())?;
        let mut command = Command::new(binaries::ccpd());
        command.arg("--config").arg(self.config());
        command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(command)
    }

    /// The same after `wrapper`, a program that changes what the daemon may or sees and becomes it.
    fn wrapped(&self, wrapper: &[&str]) -> Command {
        let command = self.command().expect("the log can be opened");
        let [program, args @ ..] = wrapper else {
            return command;
        };
        let mut wrapped = Command::new(program);
        wrapped.args(args).arg(command.get_program());
        wrapped.args(command.get_args());
        let log = File::options().append(true).open(self.log_file());
        let log = log.expect("the log can be opened");
        wrapped
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log);
        wrapped
    }

    /// Starts a daemon in `ns` and waits until it is ready: it answers, and sockets may ask for its name.
    ///
    /// # Panics
    ///
    /// If it ends or is not ready in time; with its log.
    pub fn start<'s>(&'s self, ns: &Namespace) -> Daemon<'s> {
        self.start_within(ns, &[])
    }

    /// As [`Self::start`], with the daemon's command line after `wrapper`, a program that changes what the
    /// daemon may or sees and becomes it.
    ///
    /// # Panics
    ///
    /// As [`Self::start`].
    pub fn start_within<'s>(&'s self, ns: &Namespace, wrapper: &[&str]) -> Daemon<'s> {
        let command = self.wrapped(wrapper);
        let child = ns.spawn(command).expect("ccpd can be started");
        let mut daemon = Daemon { setup: self, child };
        let ready = within(PATIENCE, || {
            if let Some(status) = daemon.child.try_wait().expect("ccpd's status") {
                panic!("ccpd ended ({status}) instead of starting:\n{}", self.log());
            }
            (host::is_available(&self.name) && UnixStream::connect(self.socket()).is_ok())
                .then_some(())
        });
        assert!(
            ready.is_some(),
            "ccpd is not ready after {PATIENCE:?}:\n{}",
            self.log()
        );
        daemon
    }

    /// Starts a daemon in `ns` that is expected to refuse, and waits for its end.
    ///
    /// # Panics
    ///
    /// If it goes on.
    #[must_use]
    pub fn refused(&self, ns: &Namespace) -> Ended {
        self.refused_within(ns, &[])
    }

    /// As [`Self::refused`], with the daemon's command line after `wrapper`, a program that changes what the
    /// daemon may or sees and becomes it.
    ///
    /// # Panics
    ///
    /// If it goes on.
    #[must_use]
    pub fn refused_within(&self, ns: &Namespace, wrapper: &[&str]) -> Ended {
        let before = self.log().len();
        let command = self.wrapped(wrapper);
        let mut child = ns.spawn(command).expect("ccpd can be started");
        let status = child.wait_timeout(PATIENCE).expect("ccpd's status");
        let log = self.log().split_off(before);
        let status = status.unwrap_or_else(|| panic!("ccpd runs instead of refusing:\n{log}"));
        Ended { status, log }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "--- configuration\n{}--- log of ccpd\n{}---",
                fs::read_to_string(self.config()).unwrap_or_default(),
                self.log()
            );
        }
        // What a killed daemon leaves on purpose. After a clean stop there is nothing.
        host::remove_pins(&self.name);
    }
}

/// A daemon that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// What it printed.
    pub log: String,
}

impl Ended {
    /// Its exit code; −1 if a signal killed it.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }
}

/// A running daemon; killed on drop.
#[derive(Debug)]
pub struct Daemon<'s> {
    setup: &'s Setup,
    child: NsChild,
}

impl Daemon<'_> {
    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `ccp flows --json`.
    ///
    /// # Panics
    ///
    /// If the command fails or prints something else than promised.
    #[must_use]
    pub fn flows(&self) -> Vec<FlowLine> {
        let output = self.ccp(&["flows", "--json"]);
        serde_json::from_str(&output).unwrap_or_else(|e| panic!("ccp flows --json: {e}:\n{output}"))
    }

    /// What the daemon says of the flow whose local end is that of `flow`.
    #[must_use]
    pub fn flow(&self, flow: &RunningFlow) -> Option<FlowLine> {
        self.flows().into_iter().find(|f| f.src == flow.local())
    }

    /// Waits until what it says of `flow` is as `wanted`, and returns that.
    ///
    /// # Panics
    ///
    /// If that takes longer than `limit`; with the last it said.
    pub fn await_flow(
        &self,
        flow: &RunningFlow,
        limit: Duration,
        wanted: impl Fn(&FlowLine) -> bool,
    ) -> FlowLine {
        let mut last = None;
        within(limit, || {
            last = self.flow(flow);
            last.clone().filter(&wanted)
        })
        .unwrap_or_else(|| panic!("after {limit:?} `ccp flows` still says {last:#?}"))
    }

    /// Runs `ccp --socket … ARGS` and returns its standard output.
    ///
    /// # Panics
    ///
    /// If it fails.
    #[must_use]
    pub fn ccp(&self, args: &[&str]) -> String {
        let output = Command::new(binaries::ccp())
            .arg("--socket")
            .arg(self.setup.socket())
            .args(args)
            .output()
            .expect("ccp can be started");
        assert!(
            output.status.success(),
            "ccp {args:?}: {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Has it read its configuration again (SIGHUP).
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn hang_up(&mut self) {
        self.signal(Signal::HUP);
    }

    /// Has it become the program that is installed now, its own file (SIGUSR2).
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn replace(&mut self) {
        self.signal(Signal::USR2);
    }

    /// Stops its process where it is (SIGSTOP).
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Panics
    ///
    /// If it has ended.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        let ended = self.child.try_wait().expect("ccpd's status");
        assert!(
            ended.is_none(),
            "ccpd has ended ({ended:?}):\n{}",
            self.setup.log()
        );
        self.child
            .signal(signal)
            .expect("ccpd can be sent a signal");
    }

    /// `kill -9`, without a chance to clean up.
    ///
    /// # Panics
    ///
    /// If it had already ended.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.child
            .wait_timeout(PATIENCE)
            .expect("ccpd's status")
            .expect("SIGKILL ends a process");
    }

    /// A clean stop (SIGTERM).
    ///
    /// # Panics
    ///
    /// If it does not end in time, or had already ended.
    pub fn stop(self) -> Ended {
        self.stop_by(Signal::TERM)
    }

    /// A clean stop by this signal.
    ///
    /// # Panics
    ///
    /// If it does not end in time, or had already ended.
    pub fn stop_by(mut self, signal: Signal) -> Ended {
        self.signal(signal);
        let status = self.child.wait_timeout(PATIENCE).expect("ccpd's status");
        let log = self.setup.log();
        let status = status.unwrap_or_else(|| panic!("ccpd does not stop:\n{log}"));
        Ended { status, log }
    }
}
