//! Temporaries with names of their own.

use std::collections::HashMap;

use ccp_program::{Inst, Operand, Program, Reg};

use super::live::{Live, live_in};
use crate::codegen::body::{MOST_WITH_ASIDES, jump_targets};
use crate::codegen::plan::written;

/// The same program in which as few temporaries as possible are written twice: then it is seen of more of them
/// that they are read once, and by what.
pub(in crate::codegen) fn with_names(program: &Program) -> Program {
    let mut program = program.clone();
    if program.len() > MOST_WITH_ASIDES {
        return program;
    }
    let (live, _) = live_in(&program, &Live::default(), false);
    let first = program.temps;
    for (clause, live) in program.clauses.iter_mut().zip(&live) {
        let mut next = first;
        let [condition, body] = live;
        let names = name(&mut clause.condition, condition, body.first(), &mut next);
        clause.test = clause.test.map(|operand| renamed(&names, operand));
        name(&mut clause.body, body, None, &mut next);
        program.temps = program.temps.max(next);
    }
    program
}

/// Gives temporaries of a block names of their own; those that hold behind it. `body` is what is live behind a
/// condition's test.
fn name(
    block: &mut [Inst],
    live: &[Live],
    body: Option<&Live>,
    next: &mut u16,
) -> HashMap<u16, u16> {
    let targets = jump_targets(block);
    let mut names: HashMap<u16, u16> = HashMap::new();
    for at in 0..block.len() {
        if targets[at] {
            names.clear();
        }
        block[at] = block[at].map(|reg| reg, |operand| renamed(&names, operand));
        let inst = block[at];
        if let Some(Reg::Temp(t)) = written(&inst) {
            // An average reads what it writes.
            if !matches!(inst, Inst::Ewma { .. }) && is_local(block, &targets, live, body, at, t) {
                names.insert(t, *next);
                block[at] = inst.map(|_| Reg::Temp(*next), |operand| operand);
                *next += 1;
            } else {
                names.remove(&t);
            }
        }
        if let Inst::Skip { .. } | Inst::SkipIf { .. } | Inst::SkipUnless { .. } = inst {
            names.clear();
        }
    }
    if targets[block.len()] {
        names.clear();
    }
    names
}

fn renamed(names: &HashMap<u16, u16>, operand: Operand) -> Operand {
    match operand {
        Operand::Reg(Reg::Temp(t)) => Operand::Reg(Reg::Temp(names.get(&t).copied().unwrap_or(t))),
        other => other,
    }
}

/// Whether what is written to a temporary at `at` is only read before anything jumps, or is jumped to, or by the
/// test right behind.
fn is_local(
    block: &[Inst],
    targets: &[bool],
    live: &[Live],
    body: Option<&Live>,
    at: usize,
    temp: u16,
) -> bool {
    let mut here = at + 1;
    while here < block.len() {
        if targets[here] {
            return !live[here].silent.contains(&Reg::Temp(temp));
        }
        let inst = &block[here];
        if matches!(inst, Inst::Ewma { .. }) && written(inst) == Some(Reg::Temp(temp)) {
            return false;
        }
        here += 1;
        match *inst {
            Inst::Skip { count } | Inst::SkipIf { count, .. } | Inst::SkipUnless { count, .. } => {
                let is_read = |at: usize| live[at].silent.contains(&Reg::Temp(temp));
                return !is_read(here) && !is_read(here + usize::from(count));
            }
            _ if written(inst) == Some(Reg::Temp(temp)) => return true,
            _ => {}
        }
    }
    match body {
        // Then only the test can read it.
        Some(body) if !targets[here] => !body.silent.contains(&Reg::Temp(temp)),
        _ => !live[here].silent.contains(&Reg::Temp(temp)),
    }
}
