//! Random programs, as text: what the reference interpreter over the syntax tree says is what the
//! compiled program does.
//!
//! `CCP_LANG_PROGRAMS=n` runs that many (default 2000), `CCP_LANG_SEED=n` starts elsewhere. A failure
//! names the seed and prints the smallest program it finds that shows the difference.

use std::mem::discriminant;

use ccp_lang::testing::{self, Reference};
use ccp_lang::{RegisterTable, compile};
use ccp_program::interp::Registers;
use ccp_program::testing::{Rng, value};
use ccp_program::{BinaryOp, Inst, Operand, Program, Reg, Type};

/// What happened over all programs, to see that nothing is rare.
#[derive(Debug, Default)]
struct Seen {
    runs: usize,
    faults: usize,
    reports: usize,
}

/// The same flow twice; says in what they differ.
fn compare(source: &str, seed: u64, seen: &mut Seen) -> Result<(), String> {
    let compiled = compile(source, &RegisterTable::well_known());
    let compiled =
        compiled.map_err(|e| format!("does not compile:\n{}", e.render(source, "random.ccp")))?;
    same(source, &compiled.program, seed, seen)
}

/// The same with what `source` was compiled to.
fn same(source: &str, program: &Program, seed: u64, seen: &mut Seen) -> Result<(), String> {
    let table = RegisterTable::well_known();
    let mut rng = Rng::new(seed);
    let mut now = value(&mut rng);
    let mut registers = Registers::new(program, now);
    let mut reference = Reference::new(source, &table, now).map_err(|e| e.to_string())?;
    for step in 0..20 {
        now = now.wrapping_add(rng.bits() % 10_000);
        let measured = testing::measurements(&mut rng, &table, now);
        // Further registers are the datapath's: it says what they are at each acknowledgement.
        let others = registers
            .writable
            .iter_mut()
            .zip(&program.writables)
            .skip(2);
        others.for_each(|(register, def)| {
            *register = value(&mut rng);
            reference.set(&def.name, *register);
        });
        // The agent: window, rate, a control variable.
        if rng.percent(20) {
            let value = value(&mut rng);
            match rng.below(2 + program.controls.len()) {
                0 => {
                    registers.writable[0] = value;
                    reference.set("Cwnd", value);
                }
                1 => {
                    registers.writable[1] = value;
                    reference.set("Rate", value);
                }
                nth => {
                    // Agents have types too.
                    let value = match program.controls[nth - 2].ty {
                        Type::Bool => value % 2,
                        Type::Num => value,
                    };
                    registers.control[nth - 2] = value;
                    reference.set(&program.controls[nth - 2].name, value);
                }
            }
        }
        let values: Vec<u64> = program
            .primitives
            .iter()
            .map(|def| measured[&*def.name])
            .collect();
        let got = registers.invoke(program, &values, now).map(|o| o.report);
        let expected = reference.invoke(&|name| measured[name], now);
        seen.runs += 1;
        seen.faults += usize::from(expected.is_err());
        let state = |what: &str, got: &[u64], expected: &[u64]| match got == expected {
            true => Ok(()),
            false => Err(format!(
                "step {step}: {what}: {got:?}, expected {expected:?}"
            )),
        };
        if got != expected {
            return Err(format!("step {step}: {got:?}, expected {expected:?}"));
        }
        state("reports", &registers.report, &reference.report())?;
        state("controls", &registers.control, &reference.controls())?;
        let writables = program.writables.iter();
        let window: Vec<u64> = writables.map(|def| reference.get(&def.name)).collect();
        state("window and rate", &registers.writable, &window)?;
        // Now and then the report is not taken.
        if expected == Ok(true) && rng.percent(80) {
            seen.reports += 1;
            registers.reported(program);
            reference.reported();
        }
    }
    Ok(())
}

#[allow(clippy::disallowed_methods, reason = "how long to go on")]
fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().expect("a number"))
}

#[test]
fn compiled_programs_do_what_their_text_means() {
    let first = number("CCP_LANG_SEED", 1);
    let mut seen = Seen::default();
    let table = RegisterTable::well_known();
    for seed in first..first + number("CCP_LANG_PROGRAMS", 2000) {
        let source = testing::program(&mut Rng::new(seed), &table);
        let Err(difference) = compare(&source, seed, &mut seen) else {
            continue;
        };
        let shows = |source: &str| {
            let difference = compare(source, seed, &mut Seen::default());
            difference.is_err_and(|d| !d.starts_with("does not compile"))
        };
        let small = if shows(&source) {
            testing::shrink(&source, shows)
        } else {
            source.clone()
        };
        let now = compare(&small, seed, &mut Seen::default());
        panic!("seed {seed}: {difference}\n\nsmaller: {now:?}\n{small}\n\nwhole:\n{source}");
    }
    eprintln!("{seen:?}");
    if seen.runs > 10_000 {
        let share = |n: usize| n * 100 / seen.runs;
        assert!((5..60).contains(&share(seen.faults)), "{seen:?}");
        assert!(share(seen.reports) > 20, "{seen:?}");
    }
}

/// A compiler that took one operation for another, or lost an instruction, would be noticed.
#[test]
fn mistakes_are_noticed() {
    let table = RegisterTable::well_known();
    let programs: Vec<(u64, String, Program)> = (1..300)
        .map(|seed| {
            let source = testing::program(&mut Rng::new(seed), &table);
            let program = compile(&source, &table).expect("it compiles").program;
            (seed, source, program)
        })
        .collect();
    let noticed = |mistake: &dyn Fn(&mut Inst)| {
        programs.iter().any(|(seed, source, program)| {
            let mut program = program.clone();
            for clause in &mut program.clauses {
                let insts = clause.condition.iter_mut().chain(&mut clause.body);
                insts.for_each(mistake);
            }
            same(source, &program, *seed, &mut Seen::default()).is_err()
        })
    };
    for right in BinaryOp::ALL {
        for wrong in BinaryOp::ALL.into_iter().filter(|wrong| *wrong != right) {
            let mistake = |inst: &mut Inst| match inst {
                Inst::Binary { op, .. } if *op == right => *op = wrong,
                _ => {}
            };
            // Of 0 and 1 they are the same.
            let same = matches!(
                (right, wrong),
                (BinaryOp::And, BinaryOp::Mul | BinaryOp::Min)
                    | (BinaryOp::Or, BinaryOp::Max | BinaryOp::WrappedMax)
            );
            assert!(same || noticed(&mistake), "{wrong:?} for {right:?}");
        }
    }
    for lost in [
        Inst::Report,
        Inst::Fallthrough,
        Inst::SkipIf {
            cond: Operand::Imm(0),
            count: 0,
        },
        Inst::SkipUnless {
            cond: Operand::Imm(0),
            count: 0,
        },
        Inst::Skip { count: 0 },
        Inst::Ewma {
            dst: Reg::CWND,
            weight: Operand::Imm(0),
            sample: Operand::Imm(0),
        },
        Inst::Move {
            dst: Reg::CWND,
            src: Operand::Imm(0),
        },
    ] {
        let mistake = |inst: &mut Inst| {
            if discriminant(inst) == discriminant(&lost) {
                *inst = Inst::Skip { count: 0 };
            }
        };
        assert!(noticed(&mistake), "{lost:?}");
    }
}
