//! Which variables get words of the socket, and what is kept to be put back.

use std::collections::{HashMap, HashSet};
use std::mem::offset_of;

use ccp_program::{Clause, Inst, Operand, Program, Reg};

use super::{Home, stack_word};
use crate::codegen::plan::{GoesOn, can_fault, goes_on, read, writes, written};
use crate::layout::{HOT_REGISTERS, Hot};

/// The weight of what is not mentioned.
const LEAST: f64 = 0.0001;

/// How often each variable is mentioned; what is below a condition counts a quarter.
pub(super) fn weights(program: &Program, kept: &HashSet<Reg>) -> HashMap<Reg, f64> {
    let mut weights: HashMap<Reg, f64> = HashMap::new();
    // If nothing else needs its word.
    weights.insert(Reg::RATE, LEAST);
    let mut mention = |operand: Option<Operand>, weight: f64| {
        if let Some(Operand::Reg(reg)) = operand
            && kept.contains(&reg)
        {
            *weights.entry(reg).or_default() += weight;
        }
    };
    for clause in &program.clauses {
        let inner = if clause.test.is_some() { 0.25 } else { 1.0 };
        mention(clause.test, 1.0);
        for (block, weight) in [(&clause.condition, 1.0), (&clause.body, inner)] {
            let mut ends: Vec<usize> = Vec::new();
            for (at, inst) in block.iter().enumerate() {
                ends.retain(|end| *end > at);
                let weight = weight * 0.25_f64.powi(ends.len() as i32);
                for operand in read(inst) {
                    mention(operand, weight);
                }
                mention(written(inst).map(Operand::Reg), weight);
                if let Inst::Skip { count }
                | Inst::SkipIf { count, .. }
                | Inst::SkipUnless { count, .. } = *inst
                {
                    ends.push(at + 1 + usize::from(count));
                }
            }
        }
    }
    weights
}

/// Gives the variables words behind as many halves of words, or says which are to do without: half of those for
/// which there is no room, since with what they stand in others may go.
pub(super) fn place(
    whole: &Program,
    left: &Program,
    weights: &HashMap<Reg, f64>,
    halves: i16,
) -> Result<HashMap<Reg, Home>, Vec<Reg>> {
    let changed: HashSet<Reg> = writes(left).collect();
    // Only the agent changes it, and to little.
    let is_half = |reg: &Reg| match *reg {
        Reg::Control(i) => {
            let default = whole.controls.get(usize::from(i)).map_or(0, |v| v.default);
            !changed.contains(reg) && u32::try_from(default).is_ok()
        }
        _ => false,
    };
    let mut order: Vec<(Reg, f64)> = weights
        .iter()
        .filter(|(reg, _)| **reg != Reg::CWND)
        .map(|(reg, weight)| (*reg, *weight))
        .collect();
    let number = |reg: &Reg| match *reg {
        Reg::Micros => (0, 0),
        Reg::Writable(i) => (1, i),
        Reg::Control(i) => (2, i),
        Reg::Report(i) => (3, i),
        Reg::Local(i) => (4, i),
        Reg::Temp(i) => (5, i),
    };
    order.sort_by(|a, b| {
        b.1.total_cmp(&a.1)
            .then_with(|| number(&a.0).cmp(&number(&b.0)))
    });
    let mut homes = HashMap::from([(Reg::CWND, Home::Word(offset_of!(Hot, cwnd) as i16))]);
    let mut next = (halves as usize).div_ceil(2);
    let mut half = (halves % 2 == 1).then_some(4 * halves);
    let mut without = 0_usize;
    for &(reg, _) in &order {
        let bytes = if is_half(&reg) {
            if let Some(at) = half.take() {
                homes.insert(reg, Home::Half(at));
                continue;
            }
            4
        } else {
            8
        };
        if next == HOT_REGISTERS {
            without += 1;
            continue;
        }
        let at = 8 * next as i16;
        next += 1;
        if bytes == 4 {
            half = Some(at + 4);
            homes.insert(reg, Home::Half(at));
        } else {
            homes.insert(reg, Home::Word(at));
        }
    }
    // The rate, unless it is mentioned, does without by itself.
    let coldest = order.iter().rev().filter(|(_, weight)| *weight > LEAST);
    let coldest: Vec<Reg> = coldest
        .map(|(reg, _)| *reg)
        .take(without.div_ceil(2))
        .collect();
    let only_the_rate = without == 1 && !homes.contains_key(&Reg::RATE);
    if without == 0 || only_the_rate || coldest.is_empty() {
        Ok(homes)
    } else {
        Err(coldest)
    }
}

/// Per clause what is to be saved before it.
pub(super) fn saves(
    program: &Program,
    homes: &HashMap<Reg, Home>,
    words: &mut usize,
) -> Vec<Vec<(i16, i16)>> {
    let gives_up = |inst: &Inst| can_fault(inst) || *inst == Inst::Report;
    let last = |insts: &[Inst]| insts.iter().rposition(gives_up);
    // The last clause in which something gives up.
    let block = |clause: &Clause| clause.condition.iter().chain(&clause.body).any(gives_up);
    let last_clause = program.clauses.iter().rposition(block);
    let mut seen = HashSet::new();
    let mut saves = Vec::new();
    for (index, clause) in program.clauses.iter().enumerate() {
        let mut here = Vec::new();
        let later = last_clause.is_some_and(|last| last > index);
        let behind_body = later && goes_on(&clause.body) != GoesOn::Never;
        // How much of either block stands before something that gives up.
        let of_body = match last(&clause.body) {
            _ if behind_body => clause.body.len(),
            Some(last) => last,
            None => 0,
        };
        let of_condition = match last(&clause.condition) {
            _ if later || of_body > 0 || last(&clause.body).is_some() => clause.condition.len(),
            Some(last) => last,
            None => 0,
        };
        let before = clause.condition[..of_condition]
            .iter()
            .chain(&clause.body[..of_body]);
        for reg in before.filter_map(written) {
            if let Some(Home::Word(word)) = homes.get(&reg)
                && seen.insert(reg)
            {
                here.push((*word, stack_word(*words)));
                *words += 1;
            }
        }
        saves.push(here);
    }
    saves
}
