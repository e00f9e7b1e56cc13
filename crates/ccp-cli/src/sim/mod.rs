//! `ccp sim`: a scenario in virtual time, as tables, series and pictures.

mod plot;
mod table;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use ccp_core::{BuildError, SourceText};
use ccp_sim::{Outcome, Scenario, simulate};

use plot::chart;
pub(crate) use plot::write_chart;
use table::summary;

use crate::daemon::print;

/// Arguments of `ccp sim`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The scenario; `config/scenarios` has some, docs/simulator.md describes every key.
    #[arg(value_name = "FILE")]
    scenario: PathBuf,
    /// Where plots and series go; made if it is not there. Without it there is only the summary.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Where chance begins, instead of what the scenario says.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Prints the summary as JSON.
    #[arg(long)]
    json: bool,
}

/// Simulates. Exit code 2 if something is wrong with the scenario.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let path = &args.scenario;
    let text = fs::read_to_string(path)
        .with_context(|| format!("can't read the scenario {}", path.display()))?;
    let source = SourceText::new(&path.display().to_string(), &text);
    let mut load = |name: &str| load(path, name);
    let mut scenario = match Scenario::parse(&source, &mut load) {
        Ok(scenario) => scenario,
        Err(problems) => {
            eprintln!("{problems}");
            return Ok(ExitCode::from(2));
        }
    };
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    let outcome = match simulate(&scenario, &algs::registry()) {
        Ok(outcome) => outcome,
        Err(BuildError::Param(error)) => {
            eprintln!("{error}");
            return Ok(ExitCode::from(2));
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        print(&format!(
            "{}\n",
            serde_json::to_string_pretty(&outcome.summary)?
        ))?;
    } else {
        print(&summary(&outcome.summary))?;
    }
    if let Some(out) = &args.out {
        let files = write(out, &scenario, &outcome)?;
        if !args.json {
            print("\n")?;
            for file in files {
                print(&format!("{}\n", file.display()))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The trace called `name`, from the directory of the scenario.
fn load(scenario: &Path, name: &str) -> Result<String, String> {
    let path = scenario
        .parent()
        .unwrap_or_else(|| Path::new(""))
        .join(name);
    fs::read_to_string(&path).map_err(|error| format!("can't read {}: {error}", path.display()))
}

/// Pictures, series and summary. Returns their paths.
fn write(out: &Path, scenario: &Scenario, outcome: &Outcome) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(out)
        .with_context(|| format!("can't make the directory {}", out.display()))?;
    let mut files = write_chart(out, "sim", &chart(scenario, outcome))?;
    let summary = serde_json::to_string_pretty(&outcome.summary)?;
    for (name, text) in [
        ("flows.csv", outcome.flows_csv()),
        ("links.csv", outcome.links_csv()),
        ("summary.json", summary),
    ] {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("can't write {}", path.display()))?;
        files.push(path);
    }
    Ok(files)
}
