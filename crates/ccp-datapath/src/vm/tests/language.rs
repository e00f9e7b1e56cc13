//! Random programs from text: what the text means, what its intermediate form means, and what the
//! machine does are the same.
//!
//! `CCP_LANG_PROGRAMS=n` runs that many (default 1000), `CCP_LANG_SEED=n` starts elsewhere.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ccp_lang::testing::{Reference, measurements, program, shrink};
use ccp_lang::{RegisterTable, compile};
use ccp_program::Type;
use ccp_program::testing::{Rng, value};

use super::Pair;

#[derive(Debug, Default)]
struct Seen {
    runs: usize,
    faults: usize,
    reports: usize,
}

/// One flow three times. Whether `source` compiles; panics where they differ.
fn compare(source: &str, seed: u64, seen: &mut Seen) -> bool {
    let table = RegisterTable::well_known();
    let Ok(compiled) = compile(source, &table) else {
        return false;
    };
    let program = compiled.program.bind(&table).unwrap();
    let controls = program.controls.clone();
    let mut rng = Rng::new(seed);
    let mut now = value(&mut rng);
    let mut pair = Pair::new(program, now);
    let mut reference = Reference::new(source, &table, now).unwrap();
    for step in 0..20 {
        now = now.wrapping_add(rng.bits() % 10_000);
        let measured = measurements(&mut rng, &table, now);
        if rng.percent(20) {
            let value = value(&mut rng);
            match rng.below(2 + controls.len()) {
                i @ (0 | 1) => {
                    pair.judge.writable[i] = value;
                    pair.file.set(i, value);
                    reference.set(["Cwnd", "Rate"][i], value);
                }
                i => {
                    let i = i - 2;
                    let value = match controls[i].ty {
                        Type::Bool => value % 2,
                        Type::Num => value,
                    };
                    pair.judge.control[i] = value;
                    pair.file.set(usize::from(pair.code.controls[i]), value);
                    reference.set(&controls[i].name, value);
                }
            }
        }
        let defs = pair.program.primitives.iter();
        let values: Vec<u64> = defs.map(|def| measured[&*def.name]).collect();
        let expected = reference.invoke(&|name| measured[name], now);
        if expected == Ok(true) {
            reference.reported();
        }
        seen.runs += 1;
        seen.faults += usize::from(expected.is_err());
        seen.reports += usize::from(expected == Ok(true));
        // The machine and the intermediate form, with each other; and with the text.
        assert_eq!(pair.step(&values, now), expected, "step {step}");
        let window = ["Cwnd", "Rate", "Ssthresh"].map(|name| reference.get(name));
        assert_eq!(pair.judge.writable, window, "step {step}");
        assert_eq!(pair.judge.report, reference.report(), "step {step}");
        assert_eq!(pair.judge.control, reference.controls(), "step {step}");
    }
    true
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a test runs is its caller's to say"
)]
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().unwrap())
}

#[test]
fn programs_do_what_their_text_means() {
    let table = RegisterTable::well_known();
    let first = number("CCP_LANG_SEED", 1);
    let mut seen = Seen::default();
    for seed in first..first + number("CCP_LANG_PROGRAMS", 1000) {
        let source = program(&mut Rng::new(seed), &table);
        let mut run = || compare(&source, seed, &mut seen);
        match catch_unwind(AssertUnwindSafe(&mut run)) {
            Ok(compiles) => assert!(compiles, "seed {seed}: {source}"),
            Err(_) => {
                let shows = |source: &str| {
                    let run = || compare(source, seed, &mut Seen::default());
                    catch_unwind(run).is_err()
                };
                panic!(
                    "seed {seed}, smaller:\n{}\n\nwhole:\n{source}",
                    shrink(&source, shows)
                );
            }
        }
    }
    if seen.runs > 10_000 {
        assert!(seen.faults * 100 > seen.runs * 2, "{seen:?}");
        assert!(seen.reports * 100 > seen.runs * 20, "{seen:?}");
    }
}
