//! `ccp demo`: real TCP flows under `ccpd`, to look at.
//!
//! Two network namespaces joined by an emulated link; one flow held at a fixed rate, two under reno, and one
//! of the kernel's own for comparison; a daemon that is killed and comes back half-way. Everything belongs to
//! this process and is gone with it; what the daemon has in the kernel is removed by its clean stop.

mod cast;
mod daemon;
mod plot;
mod record;
mod simulated;
mod table;

use std::{
    fmt, fs,
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use ccp_control::{FlowMode, FlowStatus};
use ccp_lab::{Bulk, EmulatedLink, LabError, Namespace, Need, Pipe, RunningFlow, Sample, Until};
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::{
    cast::{ROLES, Role},
    daemon::Daemon,
    record::{Events, Record},
    table::{Live, Row, print},
};

/// Arguments of `ccp demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where plots, samples, configuration and log go; made if it is not there.
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    out: PathBuf,
    /// How long the flows run, in seconds.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(10..=600))]
    seconds: u32,
    /// Simulates the same in virtual time, where root or BPF is missing: not the kernel's TCP, but the same
    /// algorithms and control plane.
    #[arg(long)]
    sim: bool,
}

/// This machine or user cannot run it: what is missing, and what to do.
#[derive(Debug)]
struct NotHere(String);

impl fmt::Display for NotHere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotHere {}

/// Ended by the user.
#[derive(Debug)]
struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; everything is cleaned up")
    }
}

impl std::error::Error for Interrupted {}

/// Runs the demo. Exit code 3 if that is not possible here, 130 if it was interrupted.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.sim {
        simulated::run(args)?;
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start")?;
    let Err(error) = runtime.block_on(perform(args)) else {
        return Ok(ExitCode::SUCCESS);
    };
    if error.is::<NotHere>() {
        eprintln!("ccp demo: not possible here: {error}; `ccp demo --sim` simulates it");
        Ok(ExitCode::from(3))
    } else if error.is::<Interrupted>() {
        eprintln!("ccp demo: {error}");
        Ok(ExitCode::from(130))
    } else {
        Err(error)
    }
}

async fn perform(args: &Args) -> anyhow::Result<()> {
    match ccp_lab::require(&[Need::Namespaces, Need::Tun]) {
        Err(LabError::Unavailable(missing)) => {
            let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
            return Err(NotHere(missing.join("; ")).into());
        }
        other => other?,
    }
    let mut signals = Signals::new()?;
    fs::create_dir_all(&args.out)
        .with_context(|| format!("can't make the directory {}", args.out.display()))?;
    let out = fs::canonicalize(&args.out)
        .with_context(|| format!("can't find {}", args.out.display()))?;

    // Dropped in the opposite order: the daemon is stopped while its flows live, which it hands over.
    let scene = Scene::new()?;
    let mut show = Show {
        scene: &scene,
        daemon: Daemon::new(&out, &scene.client)?,
        length: Duration::from_secs(args.seconds.into()),
        live: Live::new(),
        events: Events::default(),
        start: Instant::now(),
        flows: Vec::new(),
    };
    let config = show.daemon.config();
    print(&format!(
        "{}:\n\n{}\n",
        config.display(),
        fs::read_to_string(&config)?
    ));
    let records = tokio::select! {
        records = show.perform() => records?,
        () = signals.recv() => return Err(Interrupted.into()),
    };
    let events = show.events;
    show.daemon.stop()?;

    print(&format!(
        "\n{}",
        table::summary(&records, &events, table::REAL)
    ));
    let samples = out.join("samples.csv");
    fs::write(&samples, record::csv(&records))
        .with_context(|| format!("can't write {}", samples.display()))?;
    let mut files = plot::write(&out, &records, &events, show.length, &plot::REAL)?;
    files.extend([samples, show.daemon.log()]);
    print("\n");
    for file in files {
        print(&format!("{}\n", file.display()));
    }
    Ok(())
}

/// What ends the demo before its time: Ctrl-C, `kill`, a closed terminal.
struct Signals([Signal; 3]);

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let on = |kind| signal(kind).context("can't watch for signals");
        Ok(Self([
            on(SignalKind::interrupt())?,
            on(SignalKind::terminate())?,
            on(SignalKind::hangup())?,
        ]))
    }

    async fn recv(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

/// Two hosts and the link between them.
struct Scene {
    client: Namespace,
    server: Namespace,
    link: EmulatedLink,
}

impl Scene {
    fn new() -> anyhow::Result<Self> {
        let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
        let pipe = Pipe::new(cast::RATE, cast::DELAY).queue_bytes(cast::QUEUE);
        let link = EmulatedLink::new(&client, &server, pipe)?;
        Ok(Self {
            client,
            server,
            link,
        })
    }

    fn start(&self, role: &Role) -> Result<RunningFlow, LabError> {
        Bulk::new(Until::Stopped)
            .congestion(role.congestion)
            .port(role.port)
            .sample_every(Duration::from_millis(20))
            .start(&self.client, &self.server, self.link.b_v4())
    }
}

/// How often the table is refreshed.
const TICK: Duration = Duration::from_millis(250);

struct Show<'s> {
    scene: &'s Scene,
    daemon: Daemon<'s>,
    length: Duration,
    live: Live,
    events: Events,
    start: Instant,
    flows: Vec<(Role, RunningFlow)>,
}

impl Show<'_> {
    /// From the daemon's start to the last byte.
    async fn perform(&mut self) -> anyhow::Result<Vec<Record>> {
        self.daemon.start()?;
        self.daemon.ready().await?;
        print(&format!(
            "A link of {} Mbit/s, {} ms there and back, {} packets of queue. Flows of `{}` are ccpd's.\n\n",
            cast::RATE / 1_000_000,
            2 * cast::DELAY.as_millis(),
            cast::QUEUE / 1500,
            cast::NAME,
        ));
        self.start = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        let mut waiting = ROLES.to_vec();
        loop {
            tick.tick().await;
            let now = self.start.elapsed();
            if now >= self.length {
                break;
            }
            let due = |role: &Role| now >= self.length.mul_f64(role.starts);
            for role in waiting.extract_if(.., |role| due(role)) {
                self.flows.push((role, self.scene.start(&role)?));
                self.flows.sort_by_key(|(role, _)| role.place());
            }
            if self.events.killed.is_none() && now >= self.length.mul_f64(cast::KILLED) {
                self.daemon.kill();
                self.events.killed = Some(self.start.elapsed());
                self.live.say(&format!(
                    "{:5.1} s  kill -9 of ccpd: its flows go on under the kernel's CUBIC",
                    now.as_secs_f64()
                ));
            }
            if self.events.back.is_none() && now >= self.length.mul_f64(cast::BACK) {
                self.bring_back().await?;
            }
            let status = self.daemon.flows().await.ok();
            let rows = self.rows(status.as_deref());
            let what = match (&self.events.killed, &self.events.back) {
                (None, _) => "ccpd steers",
                (Some(_), None) => "ccpd is dead",
                (Some(_), Some(_)) => "ccpd steers again",
            };
            self.live
                .show(self.start.elapsed(), self.length, what, &rows);
        }
        self.finish().await
    }

    /// Starts the daemon again, and notes when it has its flows.
    async fn bring_back(&mut self) -> anyhow::Result<()> {
        let back = self.start.elapsed();
        self.events.back = Some(back);
        self.daemon.start()?;
        self.daemon.ready().await?;
        let give_up = back + Duration::from_secs(2);
        while self.start.elapsed() < give_up {
            let status = self.daemon.flows().await?;
            if self.all_running(&status) {
                let adopted = self.start.elapsed();
                self.events.adopted = Some(adopted);
                self.live.say(&format!(
                    "{:5.1} s  ccpd is started again: {} ms later it steers all of its flows",
                    back.as_secs_f64(),
                    (adopted - back).as_millis()
                ));
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!(
            "ccpd was started again but has not taken over all of its flows within 2 s; see {}",
            self.daemon.log().display()
        )
    }

    fn all_running(&self, status: &[FlowStatus]) -> bool {
        let running = |flow: &RunningFlow| {
            let mut ours = status.iter().filter(|s| s.src == flow.local());
            ours.any(|s| s.state == FlowMode::Running)
        };
        let mut steered = self.flows.iter().filter(|(role, _)| role.is_steered());
        steered.all(|(_, flow)| running(flow))
    }

    fn rows(&self, status: Option<&[FlowStatus]>) -> Vec<Row> {
        let row = |(role, flow): &(Role, RunningFlow)| {
            let samples = flow.samples();
            let last = samples.last()?;
            // A second's throughput is readable; a shorter one flickers.
            let second = Duration::from_secs(1);
            let before = |s: &&Sample| s.at + second >= last.at;
            let first = samples.iter().find(before).unwrap_or(last);
            let known = status.and_then(|s| s.iter().find(|s| s.src == flow.local()));
            let state = match (role.is_steered(), status.is_some(), known) {
                (false, ..) => "kernel".to_owned(),
                (true, true, Some(status)) => status.state.to_string(),
                (true, true, None) => "new".to_owned(),
                (true, false, _) => "on its own".to_owned(),
            };
            Some(Row {
                label: role.label,
                state,
                packets: last.info.cwnd_packets,
                rtt_ms: last.info.srtt.as_secs_f64() * 1e3,
                mbit: record::mbit_between(first, last).unwrap_or(0.0),
                retransmits: last.info.retransmits,
                reports: known.map(|status| status.reports),
            })
        };
        self.flows.iter().filter_map(row).collect()
    }

    /// Ends the flows and waits for what is under way.
    async fn finish(&mut self) -> anyhow::Result<Vec<Record>> {
        let end = self.start.elapsed();
        for (_, flow) in &self.flows {
            flow.stop();
        }
        let mut records = Vec::new();
        for (role, flow) in self.flows.drain(..) {
            // On another thread, so that a signal is still heard.
            let report = tokio::task::spawn_blocking(|| flow.wait()).await??;
            records.push(Record::new(role, self.start, end, report));
        }
        Ok(records)
    }
}
