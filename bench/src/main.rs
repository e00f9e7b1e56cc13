//! What `make bench` and `make bench-kernel` run: measures our side beside portus, or beside the kernel's
//! own algorithms, interleaved in one run, and rewrites those tables of `docs/benchmarks.md`.
//!
//! Exit codes: 0 measured; 1 failed, and the document is as it was; 2 wrong usage; 3 something that is
//! needed is missing here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;
use std::{fs, io};

use anyhow::{Context as _, Result, bail};
use clap::{Parser, Subcommand};

use agent::Agent;
use instructions::Probe;
use outcome::Outcome;
use plan::Plan;
use rustix::process::setpriority_process;

mod ack_cost;
mod agent;
mod contenders;
mod cpu;
mod daemon;
mod datapath_cost;
mod document;
mod fidelity;
mod instructions;
mod interrupt;
mod kernel_reports;
mod latency;
mod machine;
mod outcome;
mod plan;
mod process;
mod programs;
mod rounds;
mod sample;
mod scale;
mod short_flows;
mod throughput;
mod unix_reports;

/// What is measured in one run, by one command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
    /// What the way through the daemon costs, beside portus: `make bench`.
    Plane,
    /// Fidelity and cost beside the kernel's own algorithms: `make bench-kernel`.
    Kernel,
}

impl Suite {
    /// What the markers around the description of the machine in the document say.
    pub(crate) const fn machine(self) -> &'static str {
        match self {
            Self::Plane => "machine",
            Self::Kernel => "machine-kernel",
        }
    }

    const fn command(self) -> &'static str {
        match self {
            Self::Plane => "make bench",
            Self::Kernel => "make bench-kernel",
        }
    }
}

/// A part of the benchmarks.
pub(crate) struct Section {
    /// What `--only` and the markers in the document call it.
    pub(crate) name: &'static str,
    suite: Suite,
    run: fn(&Plan) -> Result<Outcome>,
}

/// All parts, in the order in which they are measured.
pub(crate) const SECTIONS: &[Section] = &[
    Section {
        name: fidelity::SECTION,
        suite: Suite::Kernel,
        run: fidelity::run,
    },
    Section {
        name: short_flows::SECTION,
        suite: Suite::Kernel,
        run: short_flows::run,
    },
    Section {
        name: throughput::SECTION,
        suite: Suite::Kernel,
        run: throughput::run,
    },
    Section {
        name: cpu::SECTION,
        suite: Suite::Kernel,
        run: cpu::run,
    },
    Section {
        name: ack_cost::SECTION,
        suite: Suite::Kernel,
        run: ack_cost::run,
    },
    Section {
        name: scale::SECTION,
        suite: Suite::Kernel,
        run: scale::run,
    },
    Section {
        name: latency::SECTION,
        suite: Suite::Plane,
        run: latency::run,
    },
    Section {
        name: kernel_reports::SECTION,
        suite: Suite::Plane,
        run: kernel_reports::run,
    },
    Section {
        name: unix_reports::SECTION,
        suite: Suite::Plane,
        run: unix_reports::run,
    },
    Section {
        name: unix_reports::crowd::SECTION,
        suite: Suite::Plane,
        run: unix_reports::crowd::run,
    },
    Section {
        name: instructions::SECTION,
        suite: Suite::Plane,
        run: instructions::run,
    },
    Section {
        name: datapath_cost::SECTION,
        suite: Suite::Plane,
        run: datapath_cost::run,
    },
];

/// Measures, and rewrites the tables of `docs/benchmarks.md`.
#[derive(Debug, Parser)]
#[command(name = "ccp-bench", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,

    /// What is measured beside the kernel's own algorithms, instead of what is measured beside portus.
    #[arg(long, conflicts_with = "only")]
    kernel: bool,

    /// A smoke run of about a minute, whose numbers mean nothing; rewrites nothing.
    #[arg(long)]
    quick: bool,

    /// Only these sections, whatever they are measured beside; rewrites nothing.
    #[arg(long, value_name = "SECTION", value_delimiter = ',')]
    only: Vec<String>,

    /// Print what was measured as JSON instead of Markdown.
    #[arg(long)]
    json: bool,

    /// Also write every picture as PNG into this directory.
    #[arg(long, value_name = "DIR")]
    png: Option<PathBuf>,

    /// The daemon's program. Default: `ccpd` beside this one.
    #[arg(long, value_name = "FILE")]
    ccpd: Option<PathBuf>,

    /// The directory of `benchmarks.md`.
    #[arg(long, value_name = "DIR", default_value = "docs")]
    docs: PathBuf,
}

/// What the benchmarks start this program as.
#[derive(Debug, Subcommand)]
#[command(hide = true)]
enum Part {
    /// An agent.
    #[command(subcommand, hide = true)]
    Agent(Agent),
    /// A piece of work whose instructions are counted.
    #[command(subcommand, hide = true)]
    Probe(Probe),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.part {
        Some(Part::Agent(agent)) => agent.run(),
        Some(Part::Probe(probe)) => probe.run(),
        None => measure(&cli),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ccp-bench: {error:#}");
            let missing = error
                .chain()
                .filter_map(|cause| cause.downcast_ref::<ccp_lab::LabError>())
                .any(|cause| matches!(cause, ccp_lab::LabError::Unavailable(_)));
            ExitCode::from(if missing { 3 } else { 1 })
        }
    }
}

fn measure(cli: &Cli) -> Result<()> {
    let plan = Plan {
        quick: cli.quick,
        ccpd: cli.ccpd.clone().map_or_else(beside, Ok)?,
    };
    if let Some(unknown) = cli
        .only
        .iter()
        .find(|name| SECTIONS.iter().all(|section| section.name != **name))
    {
        let known: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
        bail!(
            "there is no section `{unknown}`; there is {}",
            known.join(", ")
        );
    }
    let suite = if cli.kernel {
        Suite::Kernel
    } else {
        Suite::Plane
    };
    let wanted = |section: &&Section| {
        if cli.only.is_empty() {
            section.suite == suite
        } else {
            cli.only.iter().any(|only| only == section.name)
        }
    };
    let file = cli.docs.join("benchmarks.md");
    let write = !cli.quick && cli.only.is_empty();
    // Before minutes are spent.
    let document = if write {
        fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?
    } else {
        String::new()
    };
    let load = machine::load();
    interrupt::listen()?;
    // What else runs on the machine shall not be seen in what is measured; children inherit it. Not
    // possible without rights, and then not needed.
    let _ = setpriority_process(None, -15);

    let started = Instant::now();
    let mut outcomes = Vec::new();
    for section in SECTIONS.iter().filter(wanted) {
        eprintln!("ccp-bench: {} …", section.name);
        let begun = Instant::now();
        let outcome = (section.run)(&plan).with_context(|| format!("section {}", section.name))?;
        let seconds = begun.elapsed().as_secs_f64();
        eprintln!("ccp-bench: {} measured in {seconds:.1} s", section.name);
        if !cli.json {
            println!("## {}\n\n{}", section.name, outcome.markdown());
        }
        outcomes.push(outcome);
    }
    if cli.json {
        serde_json::to_writer_pretty(io::stdout().lock(), &outcomes)?;
        println!();
    }
    if let Some(directory) = &cli.png {
        fs::create_dir_all(directory)?;
        for chart in outcomes.iter().flat_map(|outcome| &outcome.charts) {
            let file = directory.join(&chart.file).with_extension("png");
            fs::write(&file, chart.picture.to_png()?)
                .with_context(|| format!("write {}", file.display()))?;
        }
    }
    if write {
        rewrite(suite, &cli.docs, &file, document, &load, &outcomes)?;
        let seconds = started.elapsed().as_secs_f64();
        eprintln!(
            "ccp-bench: rewrote the tables of {} after {seconds:.0} s",
            file.display()
        );
    }
    Ok(())
}

/// All or nothing, so that what stands side by side comes from the same run.
fn rewrite(
    suite: Suite,
    docs: &Path,
    file: &Path,
    mut document: String,
    load: &str,
    outcomes: &[Outcome],
) -> Result<()> {
    let machine = format!(
        "Measured by `{}` on a {}. What else ran there before the run: a load average of {load}.",
        suite.command(),
        machine::describe()
    );
    document = document::replace(&document, suite.machine(), &machine)?;
    for outcome in outcomes {
        document = document::replace(&document, outcome.section, &outcome.markdown())?;
    }
    let pictures = docs.join("img");
    fs::create_dir_all(&pictures)?;
    for chart in outcomes.iter().flat_map(|outcome| &outcome.charts) {
        let picture = pictures.join(&chart.file).with_extension("svg");
        fs::write(&picture, chart.picture.to_svg())
            .with_context(|| format!("write {}", picture.display()))?;
    }
    fs::write(file, document).with_context(|| format!("write {}", file.display()))
}

/// The daemon that was built together with this program.
fn beside() -> Result<PathBuf> {
    let file = std::env::current_exe()?.with_file_name("ccpd");
    if !file.is_file() {
        bail!(
            "no program {}: build it (`make bench` does), or name another with --ccpd",
            file.display()
        );
    }
    Ok(file)
}
