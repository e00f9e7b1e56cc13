//! The agents that are measured, each in a process of its own: `ccpd` as a library with algorithms
//! made for measuring, and portus.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use ccpd::{Ccpd, Config};
use clap::Subcommand;
use tokio::signal::unix::{SignalKind, signal};

use crate::process::pin;

pub(crate) mod answer;
pub(crate) mod echo;
mod idle;
pub(crate) mod portus;

/// Which agent.
#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// The daemon with the kinds `answer`, `echo` and `idle`.
    Ccpd {
        #[arg(long)]
        config: PathBuf,
        /// The only CPU that it may use.
        #[arg(long)]
        cpu: Option<usize>,
    },
    /// portus with the same algorithm as `answer`.
    Portus {
        /// The name of its socket.
        #[arg(long)]
        bind: String,
        /// The only CPU that it may use.
        #[arg(long)]
        cpu: Option<usize>,
    },
}

impl Agent {
    pub(crate) fn run(self) -> Result<()> {
        match self {
            Self::Ccpd { config, cpu } => {
                cpu.map(pin).transpose()?;
                run_ccpd(&config)
            }
            Self::Portus { bind, cpu } => {
                cpu.map(pin).transpose()?;
                portus::run(&bind)
            }
        }
    }
}

/// As the program `ccpd` does it; in the end what `echo` has seen goes to the standard output.
fn run_ccpd(config: &Path) -> Result<()> {
    let config = Config::load(config)?;
    let pings = echo::Log::default();
    let log = pings.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let daemon = Ccpd::builder()
            .config(config)
            .kind("answer", answer::Answer::from_params)
            .kind("echo", move |params| {
                echo::Echo::from_params(params, log.clone())
            })
            .kind("idle", idle::Idle::from_params)
            .spawn()
            .await?;
        let stopper = daemon.stopper();
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stopper.stop();
        });
        daemon.wait().await?;
        anyhow::Ok(())
    })?;
    serde_json::to_writer(std::io::stdout().lock(), &*pings.lock())
        .context("write what was measured")
}
