//! `ccp completions`: what a shell needs to complete this command.

use std::process::ExitCode;

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::daemon::print;

/// Arguments of `ccp completions`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell.
    shell: Shell,
}

/// Prints the shell's script.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Cli::command(), "ccp", &mut script);
    print(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
