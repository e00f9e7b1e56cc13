//! A daemon that steers kernel TCP under a name of its own.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, io::Read as _};

use anyhow::{Context as _, Result, bail};
use ccp_control::{Client, FlowStatus};
use tempfile::TempDir;

use crate::plan::Plan;
use crate::process::{Process, within};

/// How long a daemon may take to be ready.
const PATIENCE: Duration = Duration::from_secs(15);
/// Where ccpd pins, one directory per name.
const PINS: &str = "/sys/fs/bpf/ccpd";

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// `ccpd` as it is.
    Ccpd,
    /// The same with the algorithms made for measuring.
    Agent,
}

/// A running daemon.
pub(crate) struct Daemon {
    process: Process,
    name: String,
    dir: TempDir,
}

impl Daemon {
    /// Starts a daemon that takes flows of every network namespace. `rest` is the rest of its
    /// configuration: algorithms and policy.
    pub(crate) fn start(plan: &Plan, program: Program, rest: &str) -> Result<Self> {
        let name = unique_name();
        let dir = tempfile::Builder::new().prefix("ccp-bench-").tempdir()?;
        let config = dir.path().join("ccpd.toml");
        let text = format!(
            "[ccpd]\ncontrol = \"{}\"\n\n[[datapath]]\nkind = \"tcp\"\nname = \"{name}\"\n\
             namespaces = \"any\"\n\n{rest}\n",
            dir.path().join("control").display(),
        );
        fs::write(&config, text)?;
        let mut command = match program {
            Program::Ccpd => Command::new(&plan.ccpd),
            Program::Agent => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["agent", "ccpd"]);
                command
            }
        };
        command
            .arg("--config")
            .arg(&config)
            .env("NO_COLOR", "1")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(fs::File::create(dir.path().join("out"))?)
            .stderr(fs::File::create(dir.path().join("log"))?);
        let mut daemon = Self {
            process: Process::start(&mut command)?,
            name,
            dir,
        };
        let ready = within(PATIENCE, || {
            if !matches!(daemon.process.ended(), Ok(None)) {
                return Some(false);
            }
            let there = is_available(&daemon.name) && UnixStream::connect(daemon.control()).is_ok();
            there.then_some(true)
        });
        if ready != Some(true) {
            bail!("the daemon does not start:\n{}", daemon.read("log"));
        }
        Ok(daemon)
    }

    /// What sockets ask for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) const fn process(&self) -> &Process {
        &self.process
    }

    /// The directory of its pinned maps.
    pub(crate) fn pins(&self) -> PathBuf {
        Path::new(PINS).join(&self.name)
    }

    fn control(&self) -> PathBuf {
        self.dir.path().join("control")
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.dir.path().join(file)).unwrap_or_default()
    }

    /// What it says of its flows.
    pub(crate) fn flows(&self) -> Result<Vec<FlowStatus>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let control = self.control();
        Ok(runtime.block_on(async {
            let mut client = Client::connect(&control).await?;
            client.flows().await
        })?)
    }

    /// Waits until `wanted` flows run their program, and returns what it says of them.
    pub(crate) fn await_running(&self, wanted: usize) -> Result<Vec<FlowStatus>> {
        let mut last = Ok(Vec::new());
        let running = within(PATIENCE, || {
            last = self.flows();
            let flows = last.as_ref().ok()?;
            let running = |flow: &&FlowStatus| flow.state == ccp_control::FlowMode::Running;
            (flows.iter().filter(running).count() >= wanted).then_some(())
        });
        running.with_context(|| format!("{wanted} flows do not run their program: {last:?}"))?;
        last
    }

    /// Stops it and returns what it has printed.
    pub(crate) fn stop(mut self) -> Result<String> {
        let status = self.process.stop()?;
        if !status.success() {
            bail!("the daemon ended with {status}:\n{}", self.read("log"));
        }
        let mut text = String::new();
        fs::File::open(self.dir.path().join("out"))?.read_to_string(&mut text)?;
        Ok(text)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After a clean stop there is nothing left; unlinking a pin gives up the object.
        let _ = self.process.stop();
        let _ = fs::remove_dir_all(self.pins());
    }
}

/// A name that nothing else on this machine has: at most 15 bytes.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed) & 0xfff;
    format!("cb{:x}_{n:x}", std::process::id())
}

/// Whether sockets may ask for `name` now.
pub(crate) fn is_available(name: &str) -> bool {
    let path = "/proc/sys/net/ipv4/tcp_available_congestion_control";
    let names = fs::read_to_string(path).unwrap_or_default();
    names.split_whitespace().any(|known| known == name)
}
