//! `ccp algorithms`: what flows may get.

use std::path::Path;
use std::process::ExitCode;

use ccp_control::AlgorithmStatus;

use crate::daemon::{ask, json, print, table};

/// Arguments of `ccp algorithms`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print an array of JSON objects.
    #[arg(long)]
    json: bool,
}

/// Asks for the algorithms and prints them.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let all = ask(socket, async |ccpd| ccpd.algorithms().await)?;
    let text = if args.json { json(&all)? } else { listed(&all) };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn listed(all: &[AlgorithmStatus]) -> String {
    let rows: Vec<_> = all.iter().map(row).collect();
    table(
        [
            ("ALGORITHM", false),
            ("KIND", false),
            ("FOR", false),
            ("PROGRAMS", false),
        ],
        &rows,
    )
}

fn row(algorithm: &AlgorithmStatus) -> [String; 4] {
    let rules: Vec<String> = algorithm.rules.iter().map(ToString::to_string).collect();
    let rules = match rules.as_slice() {
        [] => None,
        [one] => Some(format!("rule {one}")),
        many => Some(format!("rules {}", many.join(", "))),
    };
    let default = algorithm.default.then(|| "all others".to_owned());
    let flows: Vec<String> = rules.into_iter().chain(default).collect();
    [
        algorithm.name.clone(),
        algorithm.kind.clone(),
        match flows.join("; ") {
            _ if algorithm.quarantined => "nobody: quarantined".to_owned(),
            nobody if nobody.is_empty() => "-".to_owned(),
            flows => flows,
        },
        algorithm.programs.join(", "),
    ]
}

#[cfg(test)]
mod tests {
    use ccp_control::AlgorithmStatus;

    #[test]
    fn the_table_says_which_flows_get_it() {
        let algorithm = |name: &str, default, rules: &[u32]| AlgorithmStatus {
            name: name.to_owned(),
            kind: "cubic".to_owned(),
            programs: vec!["cubic".to_owned()],
            parameters: Vec::new(),
            default,
            rules: rules.to_vec(),
            quarantined: name == "stuck",
        };
        let all = [
            algorithm("web", true, &[1, 3]),
            algorithm("bulk", false, &[2]),
            algorithm("spare", false, &[]),
            algorithm("stuck", false, &[4]),
        ];
        assert_eq!(
            super::listed(&all),
            "ALGORITHM  KIND   FOR                     PROGRAMS\n\
             web        cubic  rules 1, 3; all others  cubic\n\
             bulk       cubic  rule 2                  cubic\n\
             spare      cubic  -                       cubic\n\
             stuck      cubic  nobody: quarantined     cubic\n"
        );
    }
}
