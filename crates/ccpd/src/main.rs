//! `ccpd`: the daemon with the algorithms that come with it.
//!
//! Exit codes: 0 stopped as asked, or the configuration is right; 1 failed; 2 wrong usage or
//! configuration; 3 what the configuration asks for is not possible here.

use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use ccpd::{Builder, Ccpd, Config, StartError};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tracing::info;
use tracing_subscriber::EnvFilter;

/// The daemon of the congestion control plane: steers the flows of its datapaths.
#[derive(Debug, Parser)]
#[command(name = "ccpd", version)]
struct Cli {
    /// The configuration file. Without one: kernel TCP under the name `ccp`, steered by `reno`.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Check the configuration, say what is wrong with it, and exit.
    #[arg(long)]
    check: bool,

    /// Remove what a killed ccpd left in the kernel for this configuration, and exit. Not needed before
    /// a start, which takes over what was left.
    #[arg(long, conflicts_with = "check")]
    cleanup: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where and what comes first: each line of a wrong configuration stands by itself.
            eprintln!("{error:#}");
            let started = error.downcast_ref::<StartError>();
            ExitCode::from(started.map_or(1, StartError::exit_code))
        }
    }
}

fn run(cli: &Cli) -> anyhow::Result<()> {
    let builder = Ccpd::builder().config(load(cli.config.as_deref())?);
    if cli.check {
        return Ok(builder.check()?);
    }
    log_to_standard_error();
    if cli.cleanup {
        for name in builder.clean_up()? {
            info!(datapath = %name, "removed what was left");
        }
        return Ok(());
    }
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(serve(builder))
}

fn load(path: Option<&Path>) -> Result<Config, StartError> {
    Ok(path.map(Config::load).transpose()?.unwrap_or_default())
}

async fn serve(builder: Builder) -> anyhow::Result<()> {
    // Before anything is there that a signal would leave behind.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // Of a terminal that was closed.
    let mut hangup = signal(SignalKind::hangup())?;
    let daemon = builder.spawn().await?;
    let stopper = daemon.stopper();
    tokio::spawn(async move {
        let signal = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => "SIGHUP",
        };
        info!(signal, "stopping");
        stopper.stop();
    });
    Ok(daemon.wait().await?)
}

/// Human-readable lines; `RUST_LOG` says which, by default those of weight `info` and more.
fn log_to_standard_error() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
}
