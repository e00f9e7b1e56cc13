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

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::CommandFactory as _;
    use clap_complete::Shell;

    /// The commands that ask or change a daemon.
    const DAEMON: [&str; 10] = [
        "flows",
        "show",
        "top",
        "watch",
        "algorithms",
        "programs",
        "set",
        "reload",
        "log-level",
        "policy",
    ];

    #[test]
    fn help_is_as_it_was() {
        let mut command = crate::Cli::command().term_width(100);
        command.build();
        let help = DAEMON.map(|name| {
            let part = command.find_subcommand_mut(name).unwrap();
            format!("$ ccp {name} --help\n{}", part.render_long_help())
        });
        insta::assert_snapshot!("help", help.join("\n"));
    }

    #[test]
    fn every_command_has_a_page_and_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let pages = dir.path().join("man1");
        super::run(&super::Args {
            dir: Some(pages.clone()),
        })
        .unwrap();
        let mut scripts = Vec::new();
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut crate::Cli::command(), "ccp", &mut script);
            scripts.push(String::from_utf8(script).unwrap());
        }
        for command in crate::Cli::command().get_subcommands() {
            let name = command.get_name();
            let page = fs::read_to_string(pages.join(format!("ccp-{name}.1"))).unwrap();
            assert!(page.contains("\\-\\-socket"), "the options of all: {page}");
            for script in &scripts {
                assert!(script.contains(name), "{name}");
            }
        }
        let page = fs::read_to_string(pages.join("ccp.1")).unwrap();
        assert!(
            page.contains(".TH ccp 1") && page.contains("ccp\\-flows(1)"),
            "{page}"
        );
        assert!(pages.join("ccp-policy-explain.1").exists());
        assert!(pages.join("ccp-programs-show.1").exists());
    }
}
