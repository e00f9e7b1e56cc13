//! The command `ccp`: what a running `ccpd` is doing, and changes to it, for people and for scripts.
//!
//! One file per subcommand; each has its arguments and a `run` that returns the exit code. Data goes
//! to standard output, errors to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not
//! possible here.

mod algorithms;
mod completions;
mod daemon;
mod demo;
mod flows;
mod lang;
mod log_level;
mod man;
mod policy;
mod programs;
mod record;
mod reload;
mod replay;
mod set;
mod show;
mod sim;
mod stats;
mod top;
mod units;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Asks a running ccpd what it is doing, and tells it what to do.
#[derive(Debug, Parser)]
#[command(name = "ccp", version)]
struct Cli {
    /// The control socket of the ccpd to ask (`ccpd.control` in its configuration).
    #[arg(long, global = true, value_name = "PATH", default_value = ccp_control::DEFAULT_SOCKET)]
    socket: PathBuf,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Lists the flows under control: algorithm, window, rate, round-trip time, state.
    Flows(flows::Args),
    /// Shows everything that is known of one flow.
    Show(show::Args),
    /// Shows the flows live: window, rate, round-trip time, loss, and how they change.
    Top(top::Args),
    /// Prints what happens to flows while it happens: come, gone, changed hands; with --reports each report.
    Watch(watch::Args),
    /// Records what happens to flows, with every report, into a file that `ccp replay` runs again.
    Record(record::Args),
    /// Runs recorded flows again, with their algorithm or another, and shows what it does. Needs no daemon.
    Replay(replay::Args),
    /// Checks, compiles, formats and runs programs of the datapath language. Needs no daemon.
    Lang(lang::Args),
    /// Lists the algorithms that flows may get, and which flows get them.
    Algorithms(algorithms::Args),
    /// Lists the programs that the datapaths run, or prints one.
    Programs(programs::Args),
    /// Says which algorithm the rules give a flow, and why.
    #[command(subcommand)]
    Policy(policy::Command),
    /// Gives one flow another algorithm, or other parameters, until the next reload.
    Set(set::Args),
    /// Reads the configuration file again and does what it says now. A wrong one changes nothing.
    Reload(reload::Args),
    /// Shows what the daemon has counted: flows, reports, refusals, faults, memory.
    Stats(stats::Args),
    /// Says what the daemon logs, or changes it until its next start.
    LogLevel(log_level::Args),
    /// Simulates flows, links and the control plane in virtual time. Needs no daemon, and no privileges.
    Sim(sim::Args),
    /// Steers real TCP flows in network namespaces of its own and plots what happens. Needs root, or --sim.
    Demo(demo::Args),
    /// Prints what a shell needs to complete this command.
    Completions(completions::Args),
    /// Writes the manual pages.
    Man(man::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Flows(args) => flows::run(&cli.socket, &args),
        Command::Lang(args) => lang::run(&args),
        Command::Algorithms(args) => algorithms::run(&cli.socket, &args),
        Command::Policy(command) => policy::run(&cli.socket, &command),
        Command::Set(args) => set::run(&cli.socket, &args),
        Command::Stats(args) => stats::run(&cli.socket, &args),
        Command::Reload(args) => reload::run(&cli.socket, &args),
        Command::Show(args) => show::run(&cli.socket, &args),
        Command::Top(args) => top::run(&cli.socket, &args),
        Command::Watch(args) => watch::run(&cli.socket, &args),
        Command::Record(args) => record::run(&cli.socket, &args),
        Command::Replay(args) => replay::run(&args),
        Command::Programs(args) => programs::run(&cli.socket, &args),
        Command::LogLevel(args) => log_level::run(&cli.socket, &args),
        Command::Completions(args) => completions::run(&args),
        Command::Man(args) => man::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Demo(args) => demo::run(&args),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("ccp: {error:#}");
            ExitCode::FAILURE
        }
    }
}
