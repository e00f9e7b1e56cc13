//! `ccp lang check`: what is wrong with programs.

use std::path::PathBuf;
use std::process::ExitCode;

use ccp_lang::{Diagnostics, Severity};

use super::source::{Format, Source, Teller};
use super::target::Target;

/// Arguments of `ccp lang check`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Program files; `-` is standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Treat warnings as errors.
    #[arg(long)]
    deny_warnings: bool,

    /// How messages are given.
    #[arg(long, value_enum, default_value_t)]
    format: Format,

    /// What the programs are for: what it lacks or has no room for is an error.
    #[arg(long, value_enum, default_value_t)]
    target: Target,
}

/// Checks the files, all of them.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut teller = Teller::new(args.format);
    let mut counts = Counts::default();
    for file in &args.files {
        let source = match Source::read(file) {
            Ok(source) => source,
            // The others are checked all the same.
            Err(error) => {
                eprintln!("ccp: {error:#}");
                counts.errors += 1;
                continue;
            }
        };
        let found = match args.target.compile(&source.text) {
            Ok((compiled, _)) => compiled.warnings,
            Err(errors) => errors,
        };
        counts.add(&found);
        teller.tell(&found, &source)?;
    }
    if args.format == Format::Human && (counts.errors > 0 || counts.warnings > 0) {
        eprintln!("\n{counts}");
    }
    let bad = counts.errors > 0 || args.deny_warnings && counts.warnings > 0;
    Ok(if bad {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

#[derive(Default)]
struct Counts {
    errors: usize,
    warnings: usize,
}

impl Counts {
    fn add(&mut self, found: &Diagnostics) {
        for diagnostic in found {
            match diagnostic.severity {
                Severity::Error => self.errors += 1,
                Severity::Warning => self.warnings += 1,
            }
        }
    }
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut between = "";
        for (count, what) in [(self.errors, "error"), (self.warnings, "warning")] {
            if count > 0 {
                let s = if count == 1 { "" } else { "s" };
                write!(f, "{between}{count} {what}{s}")?;
                between = ", ";
            }
        }
        Ok(())
    }
}
