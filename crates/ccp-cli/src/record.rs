//! `ccp record`: what happens to flows, into a file that `ccp replay` runs again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use ccp_control::recording::{Origin, RecordedAlgorithm, Writer, Written};
use ccp_control::{
    AlgorithmStatus, Announced, Client, ClientError, Event, FlowDetail, FlowOrigin, FlowStatus,
    Happened, Watch, What,
};
use serde::Serialize;

use crate::daemon::{json, over, print, runtime};
use crate::units::{data, duration};

/// What stands for the datapath's own algorithm.
pub(crate) const NATIVE: &str = "native";

/// Arguments of `ccp record`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these flows: numbers under FLOW in `ccp flows`. It ends when all of them have ended. Without
    /// any: all flows, also those to come.
    #[arg(value_name = "FLOW")]
    flows: Vec<u64>,

    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,

    /// End after this time: 500ms, 10s, 5min, 2h. Else with Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,

    /// Write over a file that is there.
    #[arg(long)]
    force: bool,

    /// Print a JSON object in the end: how much was recorded.
    #[arg(long)]
    json: bool,
}

/// What was recorded.
#[derive(Serialize)]
struct Done<'a> {
    file: &'a Path,
    flows: usize,
    reports: u64,
    events: u64,
    bytes: u64,
    lost: u64,
}

/// Records until there has been enough, or Ctrl-C.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(record(socket, args))?;
    Ok(ExitCode::SUCCESS)
}

async fn record(socket: &Path, args: &Args) -> anyhow::Result<()> {
    let mut ccpd = Client::connect(socket).await?;
    let mut recorder = Recorder::begin(socket, args).await?;
    let watch = Watch {
        flows: args.flows.clone(),
        reports: true,
        steps: true,
    };
    // Nothing that happens while it is seen which flows there are is missed.
    ccpd.watch(&watch).await?;
    recorder.alive(&args.flows).await?;
    let over = over(args.time);
    tokio::pin!(over);
    while args.flows.is_empty() || !recorder.open.is_empty() {
        let happened = tokio::select! {
            happened = ccpd.next() => happened,
            () = &mut over => break,
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("can't wait for signals")?;
                break;
            }
        };
        match happened {
            Ok(happened) => recorder.take(happened).await?,
            // What there is remains, and is whole.
            Err(error) => {
                recorder.end()?;
                return Err(error).context("the recording ends here");
            }
        }
    }
    recorder.end()
}

/// A recording under way.
struct Recorder<'a> {
    path: &'a Path,
    json: bool,
    writer: Writer<BufWriter<File>>,
    /// Asked while the other connection tells.
    look: Client,
    /// The algorithms as they were written last.
    algorithms: HashMap<String, RecordedAlgorithm>,
    /// The datapaths of flows, whose programs may have to be asked for.
    datapaths: HashMap<u64, String>,
    flows: BTreeSet<u64>,
    open: HashSet<u64>,
}

impl<'a> Recorder<'a> {
    async fn begin(socket: &Path, args: &'a Args) -> anyhow::Result<Self> {
        let look = Client::connect(socket).await?;
        let path = &*args.out;
        let mut options = OpenOptions::new();
        options.write(true);
        if args.force {
            options.create(true).truncate(true);
        } else {
            options.create_new(true);
        }
        let file = options.open(path).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => anyhow::anyhow!(
                "{} is there already; --force writes over it",
                path.display()
            ),
            _ => {
                anyhow::Error::new(error).context(format!("can't open {} to write", path.display()))
            }
        })?;
        let origin = Origin {
            release: look.release().to_owned(),
            time_us: now_us(),
        };
        let writer = Writer::new(BufWriter::new(file), origin);
        Ok(Self {
            path,
            json: args.json,
            writer: writer.with_context(|| failed(path))?,
            look,
            algorithms: HashMap::new(),
            datapaths: HashMap::new(),
            flows: BTreeSet::new(),
            open: HashSet::new(),
        })
    }

    /// Writes the flows that there are: all, or those of `named`.
    async fn alive(&mut self, named: &[u64]) -> anyhow::Result<()> {
        let mut flows: Vec<u64> = named.to_vec();
        if named.is_empty() {
            flows = self.look.flows().await?.iter().map(|f| f.flow).collect();
        }
        flows.sort_unstable();
        flows.dedup();
        for flow in flows {
            let detail = match self.look.show(flow).await {
                // It has ended since.
                Err(ClientError::Refused(_)) if named.is_empty() => continue,
                detail => detail.with_context(|| format!("can't record flow {flow}"))?,
            };
            self.learn(&detail.status).await?;
            let announced = as_announced(&detail);
            let written = self.writer.alive(now_us(), &detail.status, &announced);
            written.with_context(|| failed(self.path))?;
            self.flows.insert(flow);
            self.open.insert(flow);
        }
        self.flush()
    }

    /// Writes what happened.
    async fn take(&mut self, happened: Happened) -> anyhow::Result<()> {
        if happened.lost > 0 {
            let written = self.writer.lost(happened.lost);
            written.with_context(|| failed(self.path))?;
        }
        for event in happened.events {
            self.event(&event).await?;
        }
        self.flush()
    }

    async fn event(&mut self, event: &Event) -> anyhow::Result<()> {
        let flow = event.flow;
        self.flows.insert(flow);
        match &event.what {
            What::Opened { status, .. } => {
                self.open.insert(flow);
                self.learn(status).await?;
            }
            What::AlgorithmChanged { to, .. } => {
                if let Some(datapath) = self.datapaths.get(&flow).cloned() {
                    self.learn_of(flow, &datapath, to).await?;
                }
            }
            What::Closed { .. } => {
                self.open.remove(&flow);
                self.datapaths.remove(&flow);
            }
            _ => {}
        }
        self.writer.event(event).with_context(|| failed(self.path))
    }

    /// Writes what the flow's algorithm is: a reload may have changed it since another flow had it.
    async fn learn(&mut self, status: &FlowStatus) -> anyhow::Result<()> {
        self.datapaths.insert(status.flow, status.datapath.clone());
        let algorithm = &status.algorithm;
        self.learn_of(status.flow, &status.datapath, algorithm)
            .await
    }

    /// Writes what `algorithm`, which `flow` has, is now, unless that was written before.
    async fn learn_of(&mut self, flow: u64, datapath: &str, algorithm: &str) -> anyhow::Result<()> {
        if algorithm == NATIVE || algorithm.starts_with("native:") {
            return Ok(());
        }
        let configured = self.look.algorithms().await?;
        let found = configured.into_iter().find(|a| a.name == algorithm);
        let mut runs = None;
        let mut learnt = match found {
            Some(AlgorithmStatus {
                name,
                kind,
                parameters,
                ..
            }) => recorded(name, kind, parameters),
            // Given by hand, with other parameters.
            None => match self.look.show(flow).await {
                Ok(FlowDetail {
                    status,
                    kind: Some(kind),
                    parameters,
                    program_uid,
                    ..
                }) if status.algorithm == algorithm => {
                    runs = program_uid;
                    recorded(status.algorithm, kind, parameters)
                }
                // It has another one by now, or has ended: what it was can't be known any more.
                Ok(_) | Err(ClientError::Refused(_)) => return Ok(()),
                Err(error) => return Err(error.into()),
            },
        };
        if learnt.parameters.iter().any(|(key, _)| key == "file") {
            let programs = self.look.programs().await?.into_iter();
            let mut its_own: Vec<u32> = programs
                .filter(|p| p.datapath == datapath && p.algorithms.iter().any(|a| a == algorithm))
                .map(|p| p.uid)
                .collect();
            if its_own.is_empty() {
                its_own.extend(runs);
            }
            for number in its_own {
                let number = number.to_string();
                match self.look.program(&number, Some(datapath)).await {
                    Ok(detail) => {
                        let text = detail.source.map(|text| (detail.status.name, text));
                        learnt.sources.extend(text);
                    }
                    Err(ClientError::Refused(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
        }
        if self.algorithms.get(algorithm) != Some(&learnt) {
            let written = self.writer.algorithm(&learnt);
            written.with_context(|| failed(self.path))?;
            self.algorithms.insert(algorithm.to_owned(), learnt);
        }
        Ok(())
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        self.writer.flush().with_context(|| failed(self.path))
    }

    fn end(self) -> anyhow::Result<()> {
        let (written, _) = self.writer.end().with_context(|| failed(self.path))?;
        let Written {
            bytes,
            reports,
            events,
            lost,
        } = written;
        let flows = self.flows.len();
        if self.json {
            return print(&json(&Done {
                file: self.path,
                flows,
                reports,
                events,
                bytes,
                lost,
            })?);
        }
        let lost = match lost {
            0 => "nothing was lost".to_owned(),
            lost => {
                format!("{lost} events were lost: they came faster than they were taken")
            }
        };
        let path = self.path.display();
        print(&format!(
            "{path}: {flows} flows, {reports} reports, {events} other events, {}; {lost}\n",
            data(bytes)
        ))
    }
}

fn recorded(name: String, kind: String, parameters: Vec<(String, String)>) -> RecordedAlgorithm {
    RecordedAlgorithm {
        name,
        kind,
        parameters,
        sources: Vec::new(),
    }
}

/// How a flow is, as if its datapath announced it now.
fn as_announced(detail: &FlowDetail) -> Announced {
    Announced {
        origin: FlowOrigin::Adopted,
        generation: detail.generation,
        faults: 0,
        mss_bytes: detail.status.mss_bytes,
        init_cwnd_bytes: detail.init_cwnd_bytes,
        cwnd_bytes: detail.status.cwnd_bytes,
        rate_bytes_per_s: detail.status.rate_bytes_per_s,
        rtt_us: detail.status.rtt_us,
        min_rtt_us: detail.min_rtt_us,
    }
}

fn failed(path: &Path) -> String {
    format!("can't write {}", path.display())
}

/// Microseconds since 1970 (UTC).
fn now_us() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.ok()
        .and_then(|now| u64::try_from(now.as_micros()).ok())
        .unwrap_or(0)
}
