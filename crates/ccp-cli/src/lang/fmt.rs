//! `ccp lang fmt`: programs in their usual shape.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use super::source::{Format, Source, Teller};

/// Arguments of `ccp lang fmt`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Program files, which are changed in place; `-` reads standard input and prints the result.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// Change nothing: print the names of the files that are not in shape, and fail if there are
    /// any.
    #[arg(long)]
    check: bool,
}

/// Formats the files, all of them.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut teller = Teller::new(Format::Human);
    let mut good = true;
    for file in &args.files {
        match one(file, args.check, &mut teller) {
            Ok(fine) => good &= fine,
            Err(error) => {
                eprintln!("ccp: {error:#}");
                good = false;
            }
        }
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Says whether all is well with the file.
fn one(file: &Path, check: bool, teller: &mut Teller) -> anyhow::Result<bool> {
    let source = Source::read(file)?;
    let formatted = match ccp_lang::format(&source.text) {
        Ok(formatted) => formatted,
        Err(errors) => {
            teller.tell(&errors, &source)?;
            return Ok(false);
        }
    };
    let same = formatted == source.text;
    if check {
        if !same {
            super::print(&format!("{}\n", source.name))?;
        }
        return Ok(same);
    }
    if file.as_os_str() == "-" {
        super::print(&formatted)?;
    } else if !same {
        replace(file, &formatted).with_context(|| format!("can't write {}", source.name))?;
    }
    Ok(true)
}

/// Puts `text` into the file as a whole or not at all; its rights stay, and a link stays a link.
fn replace(file: &Path, text: &str) -> anyhow::Result<()> {
    let file = file.canonicalize()?;
    let rights = file.metadata()?.permissions();
    let folder = file.parent().context("it is in no directory")?;
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    whole.write_all(text.as_bytes())?;
    whole.as_file().set_permissions(rights)?;
    whole.persist(&file)?;
    Ok(())
}
