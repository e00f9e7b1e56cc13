//! Program text → INSTALL message, beside portus' compiler in the same run.
//!
//! `cargo bench -p ccp-lang` measures time. For instruction counts, which do not drift, run
//! `cargo bench -p ccp-lang --bench compile -- --count ours 3 1000` under callgrind: it compiles
//! the 3-clause program 1,000 times and does nothing else; the difference to 2,000 is the cost.

use std::hint::black_box;

use ccp_lang::{RegisterTable, compile, libccp};
use ccp_wire::{Encode, Install};
use criterion::Criterion;

/// Programs of two, three and four clauses: a minimum over an interval, what Reno and CUBIC fold,
/// BBR's gain cycle. Without what portus does not take.
const PROGRAMS: [(&str, &str); 3] = [
    ("2", include_str!("../tests/programs/portus_ecn.ccp")),
    ("3", include_str!("../tests/programs/gca_interval.ccp")),
    ("4", include_str!("../tests/programs/bbr_probe_bw.ccp")),
];

/// The program with that many clauses, without the comment before `def`.
fn source(clauses: &str) -> &'static str {
    let (_, text) = PROGRAMS
        .iter()
        .find(|(name, _)| *name == clauses)
        .unwrap_or(&PROGRAMS[0]);
    &text[text.find("(def").unwrap_or(0)..]
}

fn ours(source: &str, table: &RegisterTable) -> usize {
    let compiled = compile(source, table).expect("it compiles");
    let bytecode = libccp::lower(&compiled.program).expect("it fits libccp");
    let install = Install {
        program_uid: 1,
        bytecode,
    };
    install.to_frame().expect("it fits a message").len()
}

fn portus(source: &str) -> usize {
    let (bytes, _) =
        portus::lang::compile_and_serialize(source.as_bytes(), &[]).expect("it compiles");
    bytes.len()
}

fn count(mut args: impl Iterator<Item = String>) {
    let who = args.next().unwrap_or_default();
    let source = source(&args.next().unwrap_or_default());
    let times: u32 = args.next().and_then(|n| n.parse().ok()).unwrap_or(1000);
    let table = RegisterTable::libccp();
    for _ in 0..times {
        match who.as_str() {
            "portus" => portus(black_box(source)),
            _ => ours(black_box(source), &table),
        };
    }
}

fn main() {
    let mut args = std::env::args().skip_while(|arg| arg != "--count");
    if args.next().is_some() {
        return count(args);
    }
    let mut criterion = Criterion::default().configure_from_args();
    let table = RegisterTable::libccp();
    for (clauses, _) in PROGRAMS {
        let source = source(clauses);
        let mut group = criterion.benchmark_group(format!("{clauses} clauses"));
        group.bench_function("ours", |b| b.iter(|| ours(black_box(source), &table)));
        group.bench_function("portus", |b| b.iter(|| portus(black_box(source))));
        group.finish();
    }
    criterion.final_summary();
}
