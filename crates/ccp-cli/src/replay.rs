//! `ccp replay`: recorded flows run again, with their algorithm or another one.
//!
//! Nothing but the recording and the arguments decides what comes out: times are the recorded ones.

mod algorithms;
mod compare;
mod flow;
mod hints;
mod outcome;
mod plot;
mod table;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use ccp_control::recording::{Entry, Reader};

use algorithms::{Algorithms, Choice};
use flow::FlowReplay;
use hints::Hints;
use outcome::{Outcome, Source};

use crate::daemon::{json, print};
use crate::set::parameter;

/// Arguments of `ccp replay`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// What `ccp record` wrote.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Other values for the algorithm's parameters, as in the configuration.
    #[arg(value_name = "KEY=VALUE", value_parser = parameter)]
    parameters: Vec<(String, String)>,

    /// Only this flow.
    #[arg(long, value_name = "N")]
    flow: Option<u64>,

    /// What flows get instead of their own algorithm: a kind of algorithm, or the name that one was
    /// recorded under.
    #[arg(long, value_name = "NAME")]
    algorithm: Option<String>,

    /// Print JSON.
    #[arg(long)]
    json: bool,

    /// Where pictures go, of each flow; made if it is not there.
    #[arg(long, value_name = "DIR")]
    plot: Option<PathBuf>,
}

/// Runs the recording again. Exit code 1 if something differs from what was recorded though nothing was
/// changed, or a flow can't be run again.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let outcome = replay(args)?;
    print(&if args.json {
        json(&outcome.summary())?
    } else {
        outcome.table()
    })?;
    if let Some(out) = &args.plot {
        let files = plot::write(out, &outcome)?;
        if !args.json {
            for file in files {
                print(&format!("{}\n", file.display()))?;
            }
        }
    }
    Ok(match outcome.is_good() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

fn replay(args: &Args) -> anyhow::Result<Outcome> {
    let path = &args.file;
    let mut reader = open(path)?;
    let hints = Hints::collect(&mut reader).with_context(|| unreadable(path))?;
    let choice = match &args.algorithm {
        Some(name) => Choice::Other(name.clone()),
        None if args.parameters.is_empty() => Choice::AsRecorded,
        None => Choice::Changed,
    };
    let mut algorithms = Algorithms::new(choice, &args.parameters, &hints)?;
    let source = Source {
        file: path.display().to_string(),
        release: reader.origin().release.clone(),
        first_us: hints.first_us,
        last_us: hints.last_us,
        lost: hints.lost,
        whole: reader.is_whole(),
    };
    let mut reader = open(path)?;
    let mut flows: BTreeMap<u64, FlowReplay<'_>> = BTreeMap::new();
    let wanted = |flow: u64| args.flow.is_none_or(|only| only == flow);
    while let Some(entry) = reader.next_entry().with_context(|| unreadable(path))? {
        let flow = match &entry {
            Entry::Algorithm(algorithm) => {
                algorithms.learn(algorithm);
                continue;
            }
            Entry::Lost(events) => {
                for flow in flows.values_mut() {
                    flow.lost(*events);
                }
                continue;
            }
            Entry::Alive { status, .. } => status.flow,
            Entry::Report { flow, .. } => *flow,
            Entry::Event(event) => event.flow,
        };
        if wanted(flow) {
            let replay = flows
                .entry(flow)
                .or_insert_with(|| FlowReplay::new(flow, &hints));
            replay.take(&mut algorithms, entry);
        }
    }
    if let (Some(flow), true) = (args.flow, flows.is_empty()) {
        anyhow::bail!("{}: flow {flow} is not in the recording", path.display());
    }
    let flows = flows.into_values().map(FlowReplay::finish).collect();
    Ok(Outcome {
        source,
        as_recorded: algorithms.is_as_recorded(),
        flows,
    })
}

fn open(path: &Path) -> anyhow::Result<Reader<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("can't open {}", path.display()))?;
    Reader::new(BufReader::new(file)).with_context(|| unreadable(path))
}

fn unreadable(path: &Path) -> String {
    format!("can't read the recording {}", path.display())
}

#[cfg(test)]
mod tests;
