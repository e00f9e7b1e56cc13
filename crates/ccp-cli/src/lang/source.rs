//! Program text from files and standard input, and what is said about it.

use std::fs::File;
use std::io::{self, IsTerminal as _, Read};
use std::path::Path;

use anyhow::{Context as _, anyhow};
use ccp_lang::{Diagnostics, MAX_SOURCE};
use clap::ValueEnum;

/// A program's text and what it is called.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

impl Source {
    /// The text in the file `path`, or on standard input if it is `-`.
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let stdin = path.as_os_str() == "-";
        let name = if stdin {
            "<stdin>".to_owned()
        } else {
            path.display().to_string()
        };
        let mut bytes = Vec::new();
        // No more than can be a program, whatever the file is.
        let most = MAX_SOURCE as u64 + 1;
        let read = if stdin {
            io::stdin().lock().take(most).read_to_end(&mut bytes)
        } else {
            File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
        };
        read.with_context(|| format!("can't read {name}"))?;
        if bytes.len() > MAX_SOURCE {
            return Err(anyhow!(
                "{name} is longer than {MAX_SOURCE} bytes, the longest program there can be"
            ));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let before = String::from_utf8_lossy(&error.as_bytes()[..good]).into_owned();
            let line = before.matches('\n').count() + 1;
            let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
            anyhow!("{name}:{line}:{column}: this is not UTF-8, as program text has to be")
        })?;
        Ok(Self { name, text })
    }
}

/// How messages about a program are given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// With the marked source, to standard error; in colour on a terminal.
    #[default]
    Human,
    /// One line each, to standard error: `file:line:column: severity[code]: message`.
    Short,
    /// One JSON object per line, to standard output.
    Json,
}

/// What is wrong with programs, told one after the other.
#[derive(Debug, Default)]
pub(super) struct Teller {
    format: Format,
    told: bool,
}

impl Teller {
    pub(super) fn new(format: Format) -> Self {
        Self {
            format,
            told: false,
        }
    }

    /// Tells all of `diagnostics`.
    pub(super) fn tell(
        &mut self,
        diagnostics: &Diagnostics,
        source: &Source,
    ) -> anyhow::Result<()> {
        if diagnostics.is_empty() {
            return Ok(());
        }
        match self.format {
            Format::Json => return super::print(&diagnostics.render_json(&source.name)),
            Format::Short => eprint!("{}", diagnostics.render_short(&source.name)),
            Format::Human => {
                let apart = if self.told { "\n" } else { "" };
                eprint!("{apart}{}", human(diagnostics, source));
            }
        }
        self.told = true;
        Ok(())
    }
}

/// Messages with the marked source: in colour and as wide as the terminal, if it is one.
fn human(diagnostics: &Diagnostics, source: &Source) -> String {
    let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    if wanted && io::stderr().is_terminal() {
        let size = rustix::termios::tcgetwinsize(io::stderr());
        let width = size.map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { 120 } else { width };
        diagnostics.render_coloured(&source.text, &source.name, width)
    } else {
        diagnostics.render(&source.text, &source.name)
    }
}
