//! What the datapath library costs beside the C library: instructions counted by valgrind, times
//! interleaved, memory of the whole process.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::instructions::collected;
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::sample::number;

pub(crate) const SECTION: &str = "datapath";

const CLAUSES: [usize; 3] = [2, 3, 4];
const WHOSE: [&str; 2] = ["ours", "libccp"];

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let mut outcome = Outcome::new(SECTION);
    let mut acks = Table::new([
        "one acknowledgement",
        "ours: instructions",
        "libccp",
        "ours / libccp",
        "ours: ns",
        "libccp",
    ]);
    let clauses = if plan.quick {
        &CLAUSES[..1]
    } else {
        &CLAUSES[..]
    };
    for reports in [false, true] {
        for n in clauses {
            interrupt::check()?;
            let n = n.to_string();
            let mut work = vec!["invoke", "WHOSE", &n];
            if reports {
                work.push("--reports");
            }
            let key = format!("invoke_{n}{}", if reports { "_reports" } else { "" });
            let mut cells = vec![format!(
                "program of {n} clauses, {}",
                if reports {
                    "a report every tenth time"
                } else {
                    "no report"
                }
            )];
            let many = if plan.quick { 100 } else { 10_000 };
            let [ours, libccp] = WHOSE.map(|whose| instructions(&work, whose, many));
            let (ours, libccp) = (ours?, libccp?);
            cells.extend([number(ours), number(libccp), number(ours / libccp)]);
            let count = if plan.quick { 1_000 } else { 2_000_000 };
            let times = median(plan.times(5), &work, count)?;
            for ((whose, ns), ir) in WHOSE.iter().zip(times).zip([ours, libccp]) {
                outcome.value(format!("{key}.{whose}.instructions"), ir);
                outcome.value(format!("{key}.{whose}.ns"), ns);
                cells.push(number(ns));
            }
            acks.row(cells);
        }
    }
    let mut others = Table::new(["", "ours", "libccp"]);
    let few = if plan.quick { 10 } else { 100_000 };
    for flows in [10, few] {
        interrupt::check()?;
        let flows_text = flows.to_string();
        let work = ["open", "WHOSE", &flows_text];
        // libccp looks at every place of its table, so many take it a while.
        let count = if plan.quick { 100 } else { 20_000 };
        let times = median(plan.times(5), &work, count)?;
        let per_second = times.map(|ns| 1e9 / ns);
        for (whose, value) in WHOSE.iter().zip(per_second) {
            outcome.value(format!("open_{flows}.{whose}.per_s"), value);
        }
        others.row([
            format!("flows closed and opened per second, {flows} of them there"),
            number(per_second[0]),
            format!(
                "{}{}",
                number(per_second[1]),
                if flows > 10_000 { " (of 10,000)" } else { "" }
            ),
        ]);
    }
    let flows = if plan.quick { "5000" } else { "50000" };
    let mut cells = vec!["bytes of memory per flow, program of 4 clauses".to_owned()];
    for whose in WHOSE {
        let bytes = printed(&["memory", "WHOSE", "4"], whose, flows)?;
        outcome.value(format!("memory.{whose}.bytes"), bytes);
        cells.push(number(bytes));
    }
    others.row(cells);
    outcome.tables.push(acks);
    outcome.tables.push(others);
    Ok(outcome)
}

/// Ours and theirs, one after the other, so often.
fn median(times: usize, work: &[&str], count: u64) -> Result<[f64; 2]> {
    let mut all = [const { Vec::new() }; 2];
    for _ in 0..times {
        for (whose, into) in WHOSE.iter().zip(&mut all) {
            into.push(printed(work, whose, &count.to_string())?);
        }
    }
    Ok(all.map(|mut values| {
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
    }))
}

/// Instructions of one: the difference between few and many.
fn instructions(work: &[&str], whose: &str, many: u64) -> Result<f64> {
    const FEW: u64 = 100;
    let [few, more] = [FEW, FEW + many].map(|count| -> Result<u64> {
        let mut command = Command::new("valgrind");
        command
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program()?);
        let output = with(command, work, whose, &count.to_string())?;
        collected(&output.1).with_context(|| format!("valgrind told no number:\n{}", output.1))
    });
    Ok(more?.saturating_sub(few?) as f64 / many as f64)
}

fn printed(work: &[&str], whose: &str, count: &str) -> Result<f64> {
    let (out, _) = with(Command::new(program()?), work, whose, count)?;
    out.trim()
        .parse()
        .with_context(|| format!("not a number: {out}"))
}

fn with(mut command: Command, work: &[&str], whose: &str, count: &str) -> Result<(String, String)> {
    for word in work {
        command.arg(if *word == "WHOSE" { whose } else { word });
    }
    command.arg(count).stdin(Stdio::null());
    let output = command
        .output()
        .with_context(|| format!("start {command:?}"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    if !output.status.success() {
        bail!("{command:?} ended with {}:\n{error}", output.status);
    }
    Ok((out, error))
}

/// The program that does the work: beside this one.
fn program() -> Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("datapath-cost");
    if !path.exists() {
        bail!(
            "{} is missing: build it with `cargo build --release -p ccp-datapath-cost`",
            path.display()
        );
    }
    Ok(path)
}
