//! `ccp lang run`: a program over recorded acknowledgements.
//!
//! The program means what `ccp_program::interp` says, as on every datapath. It is installed at the
//! time of the first acknowledgement. Rows are read, run and printed one by one.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, anyhow, bail};
use ccp_lang::Compiled;
use ccp_program::interp::Registers;
use ccp_program::{Fault, Program, RegisterTable, Type, Variable};
use clap::ValueEnum;
use serde_json::json;

use super::source::{Format, Source, Teller};
use super::target::{Code, Target};
use super::trace::Trace;

/// Arguments of `ccp lang run`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The program file; `-` is standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Acknowledgements: a CSV file, `-` is standard input. Its first line names the columns after
    /// the measurements, such as `Ack.bytes_acked`; `Ack.now` is the time in microseconds. One row
    /// per acknowledgement.
    #[arg(long, value_name = "CSV")]
    acks: PathBuf,

    /// The congestion window at the beginning, in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 14_480)]
    cwnd: u64,

    /// The pacing rate at the beginning, in bytes per second; 0 is none.
    #[arg(long, value_name = "BYTES/S", default_value_t = 0)]
    rate: u64,

    /// Gives a control variable another value than its default, as an agent would. May be repeated.
    #[arg(long, value_name = "NAME=VALUE", value_parser = assignment)]
    set: Vec<(String, String)>,

    /// Takes measurements that the table lacks for 0 (or false) instead of refusing to run.
    #[arg(long)]
    missing_as_zero: bool,

    /// How results are printed, one line per acknowledgement.
    #[arg(long, value_enum, default_value_t)]
    format: Output,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table with a first line of names: time, window, rate, fault, and the report variables
    /// where there is a report.
    #[default]
    Csv,
    /// One JSON object per line.
    Json,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
        None => Err("must be NAME=VALUE".to_owned()),
    }
}

/// Runs the program.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    if args.file.as_os_str() == "-" && args.acks.as_os_str() == "-" {
        eprintln!("ccp: the program and the acknowledgements can't both be standard input");
        return Ok(ExitCode::from(2));
    }
    let source = Source::read(&args.file)?;
    let mut teller = Teller::new(Format::Human);
    let (compiled, code) = match Target::Ccp.compile(&source.text) {
        Ok(done) => done,
        Err(errors) => {
            teller.tell(&errors, &source)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    teller.tell(&compiled.warnings, &source)?;
    let Code::Whole(program) = code else {
        bail!("the program has no form that can be run here");
    };
    let table = Target::Ccp.table();
    let trace = open(args, &table)?;
    columns(args, &trace, &compiled, &source)?;
    let controls = controls(args, &program)?;
    over(args, &program, &controls, trace)?;
    Ok(ExitCode::SUCCESS)
}

fn open(args: &Args, table: &RegisterTable) -> anyhow::Result<Trace<BufReader<Box<dyn Read>>>> {
    let (name, input): (_, Box<dyn Read>) = if args.acks.as_os_str() == "-" {
        ("<stdin>".to_owned(), Box::new(io::stdin()))
    } else {
        let name = args.acks.display().to_string();
        let file = File::open(&args.acks).with_context(|| format!("can't read {name}"))?;
        (name, Box::new(file))
    };
    Trace::new(name, BufReader::new(input), table)
}

/// Says which columns are not what the program reads.
fn columns<R: io::BufRead>(
    args: &Args,
    trace: &Trace<R>,
    compiled: &Compiled,
    source: &Source,
) -> anyhow::Result<()> {
    let name = trace.name();
    for column in trace.unknown() {
        eprintln!("note: {name}: the column `{column}` is no measurement and is not looked at");
    }
    let mut missing = Vec::new();
    for def in &compiled.program.primitives {
        if trace.has(&def.name) {
            continue;
        }
        let place = compiled.map.register(&def.name).unwrap_or_default();
        let place = place.position(&source.text);
        let what = format!(
            "`{}`, which {}:{}:{} reads",
            def.name, source.name, place.line, place.column
        );
        if args.missing_as_zero {
            eprintln!("note: {name} has no column {what}: it is taken for 0");
        } else {
            missing.push(what);
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "{name} has no column {}; `--missing-as-zero` takes what is missing for 0",
        missing.join(", nor ")
    );
}

/// The control variables with the values that were asked for.
fn controls(args: &Args, program: &Program) -> anyhow::Result<Vec<u64>> {
    let mut values: Vec<u64> = program.controls.iter().map(|v| v.default).collect();
    for (name, text) in &args.set {
        let found = program.controls.iter().zip(&mut values);
        let Some((variable, value)) = found.into_iter().find(|(v, _)| v.name == *name) else {
            let known: Vec<_> = program.controls.iter().map(|v| v.name.as_str()).collect();
            let known = if known.is_empty() {
                "it has none".to_owned()
            } else {
                format!("it has {}", known.join(", "))
            };
            bail!("the program has no control variable `{name}`: {known}");
        };
        *value = match (variable.ty, text.as_str()) {
            (Type::Bool, "true") => 1,
            (Type::Bool, "false") => 0,
            (Type::Bool, _) => bail!("`{name}` = `{text}`: must be true or false"),
            (Type::Num, "+infinity") => u64::MAX,
            (Type::Num, text) => text
                .parse()
                .map_err(|_| anyhow!("`{name}` = `{text}`: must be a whole number"))?,
        };
    }
    Ok(values)
}

/// Runs the program over each acknowledgement and prints what comes of it.
fn over<R: io::BufRead>(
    args: &Args,
    program: &Program,
    controls: &[u64],
    mut trace: Trace<R>,
) -> anyhow::Result<()> {
    let mut out = Printer {
        out: BufWriter::new(io::stdout().lock()),
        format: args.format,
        reports: &program.reports,
    };
    if let Err(error) = out.head() {
        return super::finish(Err(error));
    }
    let mut values = vec![0; program.primitives.len()];
    let mut registers: Option<Registers> = None;
    loop {
        let now = match trace.next(&mut values) {
            Ok(Some(now)) => now,
            Ok(None) => break,
            Err(error) => {
                // What came before is right.
                super::finish(out.out.flush())?;
                return Err(error);
            }
        };
        let registers = registers.get_or_insert_with(|| {
            let mut registers = Registers::new(program, now);
            let first = registers.writable.iter_mut().zip([args.cwnd, args.rate]);
            first.for_each(|(register, value)| *register = value);
            registers.control.copy_from_slice(controls);
            registers
        });
        let outcome = registers.invoke(program, &values, now);
        let report = outcome.is_ok_and(|outcome| outcome.report);
        let row = Row {
            now,
            cwnd: registers.writable.first().copied().unwrap_or(0),
            rate: registers.writable.get(1).copied().unwrap_or(0),
            fault: outcome.err(),
            report: report.then_some(registers.report.as_slice()),
        };
        if let Err(error) = out.row(&row) {
            return super::finish(Err(error));
        }
        if report {
            registers.reported(program);
        }
    }
    super::finish(out.out.flush())
}

/// What one acknowledgement led to.
struct Row<'r> {
    now: u64,
    cwnd: u64,
    rate: u64,
    fault: Option<Fault>,
    report: Option<&'r [u64]>,
}

struct Printer<'p, W: Write> {
    out: W,
    format: Output,
    reports: &'p [Variable],
}

impl<W: Write> Printer<'_, W> {
    fn head(&mut self) -> io::Result<()> {
        if self.format == Output::Json {
            return Ok(());
        }
        write!(self.out, "Ack.now,Cwnd,Rate,fault")?;
        for variable in self.reports {
            write!(self.out, ",Report.{}", variable.name)?;
        }
        writeln!(self.out)
    }

    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        match self.format {
            Output::Csv => self.csv(row),
            Output::Json => self.json(row),
        }
    }

    fn csv(&mut self, row: &Row<'_>) -> io::Result<()> {
        write!(self.out, "{},{},{},", row.now, row.cwnd, row.rate)?;
        if let Some(fault) = row.fault {
            write!(self.out, "{fault}")?;
        }
        for (place, variable) in self.reports.iter().enumerate() {
            let value = row.report.and_then(|report| report.get(place));
            match (variable.ty, value) {
                (_, None) => write!(self.out, ",")?,
                (Type::Bool, Some(value)) => write!(self.out, ",{}", *value != 0)?,
                (Type::Num, Some(&u64::MAX)) => write!(self.out, ",+infinity")?,
                (Type::Num, Some(value)) => write!(self.out, ",{value}")?,
            }
        }
        writeln!(self.out)
    }

    fn json(&mut self, row: &Row<'_>) -> io::Result<()> {
        let report = row.report.map(|values| {
            let named = self.reports.iter().zip(values);
            let value = |(variable, value): (&Variable, &u64)| {
                let value = match variable.ty {
                    Type::Bool => json!(*value != 0),
                    Type::Num => json!(value),
                };
                (variable.name.clone(), value)
            };
            named.map(value).collect::<serde_json::Map<_, _>>()
        });
        let json = json!({
            "now": row.now,
            "cwnd": row.cwnd,
            "rate": row.rate,
            "fault": row.fault.map(|fault| fault.to_string()),
            "report": report,
        });
        writeln!(self.out, "{json}")
    }
}
