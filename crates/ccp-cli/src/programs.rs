//! `ccp programs`: what runs in the datapaths.

use std::path::Path;
use std::process::ExitCode;

use ccp_control::{ProgramDetail, ProgramStatus};

use crate::daemon::{ask, json, print, table};

/// Arguments of `ccp programs`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Print an array of JSON objects.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Prints the text of one program, with what is known of it as comments.
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct Show {
    /// Which program: its name, or its number.
    program: String,

    /// The datapath that runs it, where several have another one of this name or number.
    #[arg(long)]
    datapath: Option<String>,

    /// Print a JSON object.
    #[arg(long)]
    json: bool,
}

/// Asks for the programs, or for one, and prints what there is.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let text = match &args.command {
        Some(Command::Show(show)) => {
            let datapath = show.datapath.as_deref();
            let program = ask(socket, async |ccpd| {
                ccpd.program(&show.program, datapath).await
            })?;
            if show.json {
                json(&program)?
            } else {
                shown(&program)
            }
        }
        None => {
            let all = ask(socket, async |ccpd| ccpd.programs().await)?;
            if args.json { json(&all)? } else { listed(&all) }
        }
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn listed(all: &[ProgramStatus]) -> String {
    let rows: Vec<_> = all.iter().map(row).collect();
    let columns = [
        ("DATAPATH", false),
        ("NUMBER", true),
        ("PROGRAM", false),
        ("ALGORITHMS", false),
        ("INSTRUCTIONS", true),
        ("FLOWS", true),
        ("FAULTS", true),
        ("PEERS", true),
    ];
    table(columns, &rows)
}

fn row(program: &ProgramStatus) -> [String; 8] {
    [
        program.datapath.clone(),
        program.uid.to_string(),
        program.name.clone(),
        algorithms(program),
        program.instructions.to_string(),
        program.flows.to_string(),
        faults(program),
        program.peers.to_string(),
    ]
}

fn algorithms(program: &ProgramStatus) -> String {
    if program.algorithms.is_empty() {
        return "-".to_owned();
    }
    program.algorithms.join(", ")
}

fn faults(program: &ProgramStatus) -> String {
    program
        .faults
        .map_or_else(|| "-".to_owned(), |faults| faults.to_string())
}

/// A program in the language, with what is known of it in comments.
fn shown(program: &ProgramDetail) -> String {
    let status = &program.status;
    let names = |names: &[String]| match names {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    let mut text = format!(
        "# {}: number {} of {}, {} instructions, {} flows, faults: {}\n\
         # algorithms: {}\n# reports: {}\n# control variables: {}\n",
        status.name,
        status.uid,
        status.datapath,
        status.instructions,
        status.flows,
        faults(status),
        algorithms(status),
        names(&program.reports),
        names(&program.controls),
    );
    match &program.source {
        Some(source) => text.push_str(source),
        None => text.push_str("# its text is not known: its algorithm made it without one\n"),
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use ccp_control::{ProgramDetail, ProgramStatus};

    fn program(name: &str) -> ProgramStatus {
        ProgramStatus {
            datapath: "ccp".to_owned(),
            uid: 2,
            name: name.to_owned(),
            algorithms: vec!["web".to_owned(), "bulk".to_owned()],
            instructions: 117,
            flows: 65_536,
            faults: Some(3),
            peers: 1,
        }
    }

    #[test]
    fn what_runs_is_listed() {
        let mut left = program("old");
        left.algorithms.clear();
        left.faults = None;
        insta::assert_snapshot!(super::listed(&[program("cubic"), left]));
    }

    #[test]
    fn what_is_shown_is_a_program_again() {
        let source = "(def (Report (x 0)) (n 1))\n(when true (:= Report.x n) (report))";
        let detail = ProgramDetail {
            status: program("mine"),
            reports: vec!["x".to_owned()],
            controls: vec!["n".to_owned()],
            source: Some(source.to_owned()),
        };
        let text = super::shown(&detail);
        insta::assert_snapshot!(text);
        let registers = ccp_program::RegisterTable::well_known();
        assert!(ccp_lang::compile(&text, &registers).is_ok());
    }
}
