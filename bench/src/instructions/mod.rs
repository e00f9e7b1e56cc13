//! Instructions of our code and portus' for the same work, counted by valgrind: a number that does
//! not depend on what else the machine does.

use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::sample::number;

pub(crate) use probe::Probe;
use probe::{CLAUSES, FIELDS, sizes};

mod probe;

pub(crate) const SECTION: &str = "instructions";

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new(["work", "ours", "portus", "ours / portus"]);
    let (fields, clauses) = if plan.quick {
        (FIELDS.get(..1), CLAUSES.get(..1))
    } else {
        (Some(&FIELDS[..]), Some(&CLAUSES[..]))
    };
    let mut row = |name: String, key: String, work: &[&str], many: u64| -> Result<()> {
        interrupt::check()?;
        let many = if plan.quick { many.min(20) } else { many };
        let [ours, portus] = ["ours", "portus"].map(|whose| count(work, whose, many));
        let (ours, portus) = (ours?, portus?);
        outcome.value(format!("{key}.ours"), ours);
        outcome.value(format!("{key}.portus"), portus);
        let ratio = number(ours / portus);
        table.row([name, number(ours), number(portus), ratio]);
        Ok(())
    };
    for n in fields.unwrap_or_default() {
        let (name, key) = (
            format!("read a MEASURE of {n} fields and sum them"),
            format!("measure_{n}"),
        );
        row(name, key, &["measure", "WHOSE", &n.to_string()], 10_000)?;
    }
    let name = "write an UPDATE_FIELDS of window and rate";
    row(name.into(), "update".into(), &["update", "WHOSE"], 10_000)?;
    for n in clauses.unwrap_or_default() {
        let [ours, portus] = sizes(*n)?;
        let (name, key) = (
            format!("source → INSTALL, {n} clauses ({ours} and {portus} instructions)"),
            format!("compile_{n}"),
        );
        row(name, key, &["compile", "WHOSE", &n.to_string()], 200)?;
    }
    outcome.tables.push(table);
    Ok(outcome)
}

/// Instructions of one piece of work: the difference between doing it `many` times more often, so that
/// starting the program and the like do not count.
fn count(work: &[&str], whose: &str, many: u64) -> Result<f64> {
    const FEW: u64 = 5;
    let few = callgrind(work, whose, FEW)?;
    let more = callgrind(work, whose, FEW + many)?;
    Ok(more.saturating_sub(few) as f64 / many as f64)
}

fn callgrind(work: &[&str], whose: &str, count: u64) -> Result<u64> {
    let mut command = Command::new("valgrind");
    command
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe()?)
        .arg("probe");
    for word in work {
        command.arg(if *word == "WHOSE" { whose } else { word });
    }
    command.arg(count.to_string()).stdin(Stdio::null());
    let output = command.output().context("start valgrind")?;
    let text = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        bail!("valgrind ended with {}:\n{text}", output.status);
    }
    collected(&text).with_context(|| format!("valgrind did not tell a number:\n{text}"))
}

/// The line `==1234== Collected : 567`.
pub(crate) fn collected(text: &str) -> Option<u64> {
    let mut lines = text
        .lines()
        .filter_map(|line| line.split_once("Collected :"));
    lines.next()?.1.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::collected;

    #[test]
    fn the_number_is_found() {
        let text = "==7== Events    : Ir\n==7== Collected : 1234567\n==7== \n";
        assert_eq!(collected(text), Some(1_234_567));
        assert_eq!(collected("==7== \n"), None);
    }
}
