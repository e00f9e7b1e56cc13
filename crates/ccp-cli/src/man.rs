//! `ccp man`: the manual, from the same text as `--help`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::CommandFactory as _;

use crate::daemon::print;

/// Arguments of `ccp man`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where the pages go, one for each subcommand (ccp.1, ccp-flows.1, …); made if it is not there.
    /// Without it, the page of `ccp` goes to standard output.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the pages.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    // Every subcommand gets the options that they all have, and a page of its own.
    let mut command = crate::Cli::command().disable_help_subcommand(true);
    let Some(dir) = &args.dir else {
        let mut page = Vec::new();
        clap_mangen::Man::new(command)
            .render(&mut page)
            .context("can't write the page")?;
        print(&String::from_utf8_lossy(&page))?;
        return Ok(ExitCode::SUCCESS);
    };
    command.build();
    fs::create_dir_all(dir)
        .and_then(|()| clap_mangen::generate_to(command, dir))
        .with_context(|| format!("can't write pages to {}", dir.display()))?;
    Ok(ExitCode::SUCCESS)
}
