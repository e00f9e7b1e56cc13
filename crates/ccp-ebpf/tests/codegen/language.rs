//! Random programs from text: what the text means, what its intermediate form means, and what the
//! kernel does with it are the same.

use ccp_ebpf::register_table;
use ccp_lang::compile;
use ccp_lang::testing::{self, Reference, measurements};
use ccp_program::Type;
use ccp_program::testing::{Rng, value};

use crate::differential::{NOT_LOADED, Pair, Seen, number};
use crate::harness::{Bench, can_load};

/// One flow three times; says in what they differ.
fn compare(bench: &Bench, source: &str, seed: u64, seen: &mut Seen) -> Result<(), String> {
    let table = register_table();
    let compiled = compile(source, &table)
        .map_err(|e| format!("does not compile:\n{}", e.render(source, "random.ccp")))?;
    let program = compiled.program.bind(&table).map_err(|e| e.to_string())?;
    let mut rng = Rng::new(seed);
    let mut now = value(&mut rng);
    let mut pair = Pair::new(bench, &program, now);
    let mut reference = Reference::new(source, &table, now).map_err(|e| e.to_string())?;
    for step in 0..20 {
        now = now.wrapping_add(rng.bits() % 10_000);
        let measured = measurements(&mut rng, &table, now);
        if rng.percent(20) {
            let value = value(&mut rng);
            match rng.below(2 + program.controls.len()) {
                i @ (0 | 1) => {
                    pair.set_writable(i, value);
                    reference.set(["Cwnd", "Rate"][i], value);
                }
                i => {
                    let variable = &program.controls[i - 2];
                    let value = match variable.ty {
                        Type::Bool => value % 2,
                        Type::Num => value,
                    };
                    pair.set_control(i - 2, value);
                    reference.set(&variable.name, value);
                }
            }
        }
        pair.disturb(&mut rng);
        let values: Vec<u64> = program
            .primitives
            .iter()
            .map(|def| measured[&*def.name])
            .collect();
        let reports = seen.reports;
        reference.set("Ssthresh", measured["Flow.ssthresh"]);
        let expected = reference.invoke(&|name| measured[name], now);
        // The kernel and the intermediate form, with each other;
        let place = |e: String| format!("step {step}: {e}");
        pair.step(&values, now, seen).map_err(place)?;
        pair.read_ring().map_err(place)?;
        if seen.reports > reports {
            if expected != Ok(true) {
                return Err(format!("step {step}: reported, expected {expected:?}"));
            }
            reference.reported();
        } else if expected == Ok(true) {
            return Err(format!("step {step}: not reported"));
        }
        // and with the text.
        reference.set("Cwnd", pair.allowed(reference.get("Cwnd")));
        let got = &pair.reference;
        // `Ssthresh` is loaded if it matters to the program, and anew after a fault.
        let loaded = got.writable.get(2).is_some_and(|s| *s != NOT_LOADED);
        let registers = if loaded && expected.is_ok() { 3 } else { 2 };
        let window = ["Cwnd", "Rate", "Ssthresh"].map(|name| reference.get(name));
        for (what, got, expected) in [
            ("reports", &got.report, reference.report()),
            ("controls", &got.control, reference.controls()),
            (
                "window and rate",
                &got.writable[..registers].to_vec(),
                window[..registers].to_vec(),
            ),
        ] {
            if *got != expected {
                return Err(format!(
                    "step {step}: {what} {got:?}, expected {expected:?}"
                ));
            }
        }
    }
    Ok(())
}

#[test]
fn root_programs_do_what_their_text_means() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    let table = register_table();
    let first = number("CCP_LANG_SEED", 1);
    let mut seen = Seen::default();
    for seed in first..first + number("CCP_LANG_PROGRAMS", 1000) {
        let source = testing::program(&mut Rng::new(seed), &table);
        let Err(difference) = compare(&bench, &source, seed, &mut seen) else {
            continue;
        };
        let shows = |source: &str| {
            let difference = compare(&bench, source, seed, &mut Seen::default());
            difference.is_err_and(|d| !d.starts_with("does not compile"))
        };
        let small = match shows(&source) {
            true => testing::shrink(&source, shows),
            false => source.clone(),
        };
        panic!("seed {seed}: {difference}\n\nsmaller:\n{small}\n\nwhole:\n{source}");
    }
    eprintln!("{seen:?}");
    if seen.runs > 10_000 {
        assert!(seen.faults * 100 > seen.runs * 2, "{seen:?}");
        assert!(seen.reports * 100 > seen.runs * 20, "{seen:?}");
    }
}
