//! `ccpd`: the daemon with the algorithms that come with it.
//!
//! Exit codes: 0 stopped as asked, or the configuration is right; 1 failed; 2 wrong usage or
//! configuration; 3 what the configuration asks for is not possible here.

mod handover;
mod service;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write as _};
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use ccpd::{
    Builder, Ccpd, Changer, Exhaustion, Liveness, LogFilter, LogLimit, LogWriter, PassedSocket,
    StartError, Stopper, in_full,
};
use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;
use handover::Successor;
use service::Service;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tracing::{error, info};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

/// A clean stop that takes longer does not come to an end.
const STOP_WITHIN: Duration = Duration::from_secs(20);

/// What is left of the log when the process ends is waited for so long.
const LOG_WITHIN: Duration = Duration::from_secs(1);

/// So many threads take the place of those that algorithms hold up; they sleep until then.
const SPARE_THREADS: usize = 4;

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

    /// Print what a shell needs to complete this command, and exit.
    #[arg(long, value_name = "SHELL", exclusive = true)]
    completions: Option<Shell>,

    /// Print the manual page, and exit.
    #[arg(long, exclusive = true)]
    man: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut log = Log(None);
    let ended = run(&cli, &mut log.0);
    match &ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Where and what comes first: each line of a wrong configuration stands by itself.
            let text = in_full(error.as_ref());
            match &log.0 {
                // Whoever reads it may have stopped to.
                Some(log) => log.say(&text, LOG_WITHIN),
                None => eprintln!("{text}"),
            }
            let started = error.downcast_ref::<StartError>();
            ExitCode::from(started.map_or(1, StartError::exit_code))
        }
    }
}

/// What writes the log, once something does. What is left of it is waited for when this is dropped: also when
/// the process ends by a panic, which is told nowhere else.
struct Log(Option<LogWriter>);

impl Drop for Log {
    fn drop(&mut self) {
        if let Some(log) = &self.0 {
            log.flush(LOG_WITHIN);
        }
    }
}

/// What it logs is written by what is put into `log`.
fn run(cli: &Cli, log: &mut Option<LogWriter>) -> anyhow::Result<()> {
    if let Some(shell) = cli.completions {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Cli::command(), "ccpd", &mut script);
        return Ok(io::stdout().write_all(&script)?);
    }
    if cli.man {
        return Ok(clap_mangen::Man::new(Cli::command()).render(&mut io::stdout())?);
    }
    let mut builder = Ccpd::builder();
    if let Some(file) = &cli.config {
        builder = builder.config_file(file).map_err(StartError::from)?;
    }
    if cli.check {
        for warning in builder.check()? {
            eprintln!("{warning}");
        }
        return Ok(());
    }
    let writer = LogWriter::start(builder.log_format())?;
    let (filter, limit) = start_log(&writer);
    *log = Some(writer.clone());
    builder = builder
        .log_filter(filter)
        .log_limit(limit)
        .log_writer(writer.clone());
    if cli.cleanup {
        for name in builder.clean_up()? {
            info!(datapath = %name, "removed what was left");
        }
        return Ok(());
    }
    let successor = Successor::of_this()?;
    builder = builder
        .sockets(handover::passed()?)
        .spare_threads(SPARE_THREADS);
    // Before anything is there that a signal would leave behind.
    let replaced = Arc::new(AtomicBool::new(false));
    let obeys = obey_signals(successor.clone(), Arc::clone(&replaced), writer.clone())?;
    // At least two: one goes on while an algorithm holds up the other.
    let threads = thread::available_parallelism().map_or(2, |n| n.get().max(2));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads + SPARE_THREADS)
        .enable_all()
        .build()?;
    let ended = runtime.block_on(serve(builder, obeys));
    // Does not wait for an algorithm that never comes back.
    runtime.shutdown_timeout(Duration::from_secs(1));
    let sockets = ended?;
    if replaced.load(Ordering::Relaxed) {
        writer.flush(LOG_WITHIN);
        return Err(successor.take_over(sockets)).context("the new program can't be started");
    }
    Ok(())
}

/// Gives the sockets of the daemon that has ended.
async fn serve(
    builder: Builder,
    obeys: oneshot::Sender<Reins>,
) -> anyhow::Result<Vec<PassedSocket>> {
    let mut daemon = builder.spawn().await?;
    let sockets = daemon.take_sockets();
    Service::from_environment().keep(&sockets);
    // Who listens to signals does so as long as the process lives.
    let _ = obeys.send(Reins {
        stopper: daemon.stopper(),
        changer: daemon.changer(),
        liveness: daemon.liveness(),
        exhaustion: daemon.exhaustion(),
    });
    daemon.wait().await?;
    Ok(sockets)
}

/// How the daemon ends, by which signal.
enum Ending {
    /// It leaves nothing behind.
    Stop(&'static str),
    /// It leaves everything to the next one, which somebody else starts.
    Leave(&'static str),
    /// The same, and this process becomes the next one.
    Replace(&'static str),
}

/// What signals act on.
struct Reins {
    stopper: Stopper,
    changer: Changer,
    liveness: Liveness,
    exhaustion: Exhaustion,
}

/// From now on signals stop the daemon whose reins are given, have it read its configuration again, leave what
/// it has to the next one, or be replaced by `successor`, which is then noted. On a thread of their own:
/// algorithms can hold up all of the daemon's.
fn obey_signals(
    successor: Successor,
    replaced: Arc<AtomicBool>,
    log: LogWriter,
) -> io::Result<oneshot::Sender<Reins>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let within = runtime.enter();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut leave = signal(SignalKind::user_defined1())?;
    let mut replace = signal(SignalKind::user_defined2())?;
    drop(within);
    let (give, reins) = oneshot::channel::<Reins>();
    let obey = async move {
        // None are given if the daemon does not start. Signals that came before wait.
        let Ok(mut reins) = reins.await else { return };
        let service = Service::from_environment();
        service.ready(&reins.liveness);
        let ending = loop {
            tokio::select! {
                // A service manager sends SIGTERM right after having asked to leave.
                biased;
                _ = leave.recv() => break Ending::Leave("SIGUSR1"),
                _ = terminate.recv() => break Ending::Stop("SIGTERM"),
                _ = interrupt.recv() => break Ending::Stop("SIGINT"),
                _ = replace.recv() => match successor.check().await {
                    Ok(()) => break Ending::Replace("SIGUSR2"),
                    Err(error) => error!("the program is not replaced: {error:#}"),
                },
                _ = hangup.recv() => {
                    // Without a file to read again: of a terminal that was closed.
                    if !reins.changer.can_reload() {
                        break Ending::Stop("SIGHUP");
                    }
                    service.reloading();
                    // What it reads may be anything: a pipe that nobody writes to, a disk that is away.
                    tokio::select! {
                        () = reload(&reins.changer) => {}
                        _ = terminate.recv() => break Ending::Stop("SIGTERM"),
                        _ = interrupt.recv() => break Ending::Stop("SIGINT"),
                    }
                    // Also with the configuration of before, if the new one is wrong.
                    service.ready(&reins.liveness);
                }
                () = reins.exhaustion.reached() => {
                    error!(
                        "ending to begin anew: flows go on natively until the next start takes them back"
                    );
                    log.flush(LOG_WITHIN);
                    std::process::exit(1);
                }
                () = service.due() => service.pulse(&reins.liveness).await,
            }
        };
        match ending {
            Ending::Stop(signal) => {
                info!(signal, "stopping");
                service.stopping();
                service.forget();
                reins.stopper.stop();
            }
            Ending::Leave(signal) => {
                info!(
                    signal,
                    "ending, and leaving flows and sockets to the next ccpd"
                );
                service.stopping();
                reins.stopper.leave();
            }
            Ending::Replace(signal) => {
                info!(signal, "being replaced by the program that is there now");
                service.reloading();
                replaced.store(true, Ordering::Relaxed);
                reins.stopper.leave();
            }
        }
        tokio::time::sleep(STOP_WITHIN).await;
        error!(
            "algorithms that do not come back hold up every thread: ending without a clean stop; \
             flows go on natively, `--cleanup` or the next start finds what is left"
        );
        log.flush(LOG_WITHIN);
        std::process::exit(1);
    };
    thread::Builder::new()
        .name("ccpd-signals".to_owned())
        .spawn(move || runtime.block_on(obey))?;
    Ok(give)
}
/// What there is to say of it when it is done is logged where it is done.
async fn reload(changer: &Changer) {
    if let Err(error) = changer.reload().await {
        error!("the configuration is not read again: {}", in_full(&error));
    }
}

/// Has `writer` write the log; `RUST_LOG` says what, by default lines of weight `info` and more. Gives what changes
/// that under way, and what counts lines that are too many of one cause.
fn start_log(writer: &LogWriter) -> (LogFilter, LogLimit) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let (layer, filter) = LogFilter::layer(filter);
    let limit = LogLimit::default();
    tracing_subscriber::registry()
        .with(layer)
        .with(writer.layer().with_filter(limit.clone()))
        .init();
    // What panics says so in the log: standard error may be held up, and whoever waits for it with it.
    panic::set_hook(Box::new(|panic| {
        let trace = Backtrace::capture();
        let trace = (trace.status() == BacktraceStatus::Captured).then(|| trace.to_string());
        let thread = thread::current();
        error!(thread = thread.name(), trace, "{panic}");
    }));
    (filter, limit)
}
