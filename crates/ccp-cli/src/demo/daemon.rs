//! The demo's `ccpd`: a process that is started, killed and started again.

use std::{
    fs::{self, File},
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use ccp_control::{Client, FlowStatus};
use ccp_lab::{Namespace, NsChild};
use rustix::process::Signal;

use super::{NotHere, cast};

/// How long it may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(10);

/// Files and process of the demo's `ccpd`. Dropped, it is stopped cleanly and leaves nothing.
#[derive(Debug)]
pub(super) struct Daemon<'s> {
    program: PathBuf,
    dir: PathBuf,
    ns: &'s Namespace,
    process: Option<NsChild>,
    /// It was killed and has left things in the kernel, for the next one to take over.
    killed: bool,
}

impl<'s> Daemon<'s> {
    /// Writes the configuration; nothing runs yet. `dir` holds configuration, log and control socket; the
    /// process will run in `ns`.
    pub(super) fn new(dir: &Path, ns: &'s Namespace) -> anyhow::Result<Self> {
        let ours = std::env::current_exe().context("can't find the path of this program")?;
        let program = ours.with_file_name("ccpd");
        if !program.is_file() {
            bail!(
                "there is no ccpd beside this program ({}): build it, as `make build` does, or put both in \
                 one directory",
                program.display()
            );
        }
        let daemon = Self {
            program,
            dir: dir.to_owned(),
            ns,
            process: None,
            killed: false,
        };
        fs::write(daemon.config(), cast::config(&daemon.socket()))
            .with_context(|| format!("can't write {}", daemon.config().display()))?;
        let _ = fs::remove_file(daemon.log());
        Ok(daemon)
    }

    pub(super) fn config(&self) -> PathBuf {
        self.dir.join("ccpd.toml")
    }

    fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("ccpd.log")
    }

    /// Starts the process.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        let log = self.log();
        let log = File::options()
            .create(true)
            .append(true)
            .open(&log)
            .with_context(|| format!("can't write {}", log.display()))?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.config());
        command
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C is for the demo, which stops the daemon when the flows have ended.
            .process_group(0);
        self.process = Some(self.ns.spawn(command)?);
        self.killed = false;
        Ok(())
    }

    /// Waits until it answers.
    pub(super) async fn ready(&mut self) -> anyhow::Result<()> {
        let ready = async {
            loop {
                if let Some(status) = self.process.as_mut().and_then(|p| p.try_wait().ok()?) {
                    let log = fs::read_to_string(self.log()).unwrap_or_default();
                    let log = log.trim().to_owned();
                    // The daemon has said what is missing and what to do.
                    if status.code() == Some(3) {
                        return Err(NotHere(log).into());
                    }
                    bail!("ccpd ended ({status}) instead of starting:\n{log}");
                }
                if self.flows().await.is_ok() {
                    return Ok(());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, ready).await {
            Ok(result) => result,
            Err(_) => bail!("ccpd does not answer; see {}", self.log().display()),
        }
    }

    /// What it says of its flows; an error while it does not run.
    pub(super) async fn flows(&self) -> anyhow::Result<Vec<FlowStatus>> {
        let ask = async { Client::connect(self.socket()).await?.flows().await };
        Ok(tokio::time::timeout(Duration::from_millis(200), ask).await??)
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        self.process = None;
        self.killed = true;
    }

    /// Removes what a killed one has left: a new one takes it over, to be stopped cleanly.
    fn clear(&mut self) -> anyhow::Result<()> {
        self.start()?;
        let deadline = Instant::now() + PATIENCE;
        // Before it listens, a signal could find it without its way to stop.
        while UnixStream::connect(self.socket()).is_err() {
            let ended = self.process.as_mut().map(NsChild::try_wait).transpose()?;
            if ended.flatten().is_some() || Instant::now() > deadline {
                bail!("ccpd does not start; see {}", self.log().display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.stop()
    }

    /// A clean stop, after which nothing of it is left in the kernel.
    pub(super) fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        process.signal(Signal::TERM)?;
        match process.wait_timeout(PATIENCE)? {
            Some(status) if status.success() => Ok(()),
            Some(status) => bail!("ccpd ended with {status}; see {}", self.log().display()),
            None => bail!(
                "ccpd did not stop and was killed; see {}",
                self.log().display()
            ),
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let cleared = if self.killed {
            self.clear()
        } else {
            self.stop()
        };
        if let Err(error) = cleared {
            eprintln!(
                "ccp demo: {error:#}; what is left in the kernel goes with /sys/fs/bpf/ccpd/{}, or with the next \
                 demo",
                cast::NAME
            );
        }
        let _ = fs::remove_file(self.socket());
    }
}
