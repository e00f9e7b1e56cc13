//! `ccp lang compile`: what a program becomes.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use bytes::BytesMut;
use ccp_lang::libccp;
use ccp_program::{Program, Type, Variable};
use ccp_wire::{Encode as _, Install, InstallExt};
use clap::ValueEnum;
use serde_json::json;

use super::source::{Format, Source, Teller};
use super::target::{Code, Target};

/// Arguments of `ccp lang compile`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The program file; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// What to print.
    #[arg(long, value_enum, default_value_t)]
    emit: Emit,

    /// What the program is for.
    #[arg(long, value_enum, default_value_t)]
    target: Target,

    /// The number by which the datapath is to know the program, in the bytes that install it.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    uid: u32,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Emit {
    /// Its variables and instructions, to be read.
    #[default]
    Listing,
    /// The message that installs it, as hexadecimal digits: INSTALL for libccp, otherwise
    /// INSTALL_EXT.
    Hex,
    /// Its variables, instructions and that message, as one JSON object.
    Json,
}

/// Compiles the file.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let source = Source::read(&args.file)?;
    let mut teller = Teller::new(Format::Human);
    let (compiled, code) = match args.target.compile(&source.text) {
        Ok(done) => done,
        Err(errors) => {
            teller.tell(&errors, &source)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    teller.tell(&compiled.warnings, &source)?;
    let text = match args.emit {
        Emit::Listing => listing(&code),
        Emit::Hex => format!("{}\n", hex(&install(args.uid, &code)?)),
        Emit::Json => {
            let json = json(&compiled.program, &code, &hex(&install(args.uid, &code)?));
            format!("{json:#}\n")
        }
    };
    super::print(&text)?;
    Ok(ExitCode::SUCCESS)
}

fn listing(code: &Code) -> String {
    match code {
        Code::Whole(program) => ccp_lang::listing(program),
        Code::Bytecode(bytecode) => libccp::listing(bytecode),
    }
}

/// What is known of the program, and what installs it. `docs/language.md` lists the fields.
fn json(program: &Program, code: &Code, install: &str) -> serde_json::Value {
    let variables = |variables: &[Variable]| -> Vec<_> {
        let one = |v: &Variable| {
            let default = match v.ty {
                Type::Num => v.default.into(),
                Type::Bool => (v.default != 0).into(),
            };
            let default: serde_json::Value = default;
            json!({ "name": v.name, "type": v.ty.to_string(), "volatile": v.volatile,
                    "default": default })
        };
        variables.iter().map(one).collect()
    };
    let reads: Vec<_> = program.primitives.iter().map(|def| &*def.name).collect();
    let instructions = match code {
        Code::Whole(program) => program.len(),
        Code::Bytecode(bytecode) => bytecode.instructions.len(),
    };
    json!({
        "reports": variables(&program.reports),
        "controls": variables(&program.controls),
        "reads": reads,
        "clauses": program.clauses.len(),
        "instructions": instructions,
        "listing": listing(code).lines().collect::<Vec<_>>(),
        "install": install,
    })
}

/// The message that installs the program under the number `uid`.
fn install(uid: u32, code: &Code) -> anyhow::Result<BytesMut> {
    let mut frame = BytesMut::new();
    match code {
        Code::Whole(program) => InstallExt::new(uid, program)
            .and_then(|install| install.encode(&mut frame))
            .context("the program does not fit a message")?,
        Code::Bytecode(bytecode) => Install {
            program_uid: uid,
            bytecode: bytecode.clone(),
        }
        .encode(&mut frame)
        .context("the program does not fit a message")?,
    }
    Ok(frame)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a `String` cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
