//! The ordinary acknowledgement: what is left of a program where nothing rare happens.
//!
//! On an ordinary acknowledgement nothing is due, nothing was lost or marked, the flow is in no
//! recovery, and the program neither reports nor faults. For those a second, shorter body is generated
//! that touches nothing but the socket: the registers that it needs live in words of `icsk_ca_priv`
//! (native CUBIC's state otherwise), and the socket's storage is not even looked up. Wherever an
//! acknowledgement turns out not to be ordinary, that body undoes what it has done so far and begins
//! anew with the whole program, which works on the storage. So it may give up anywhere:
//!
//! - at a report, at what faults, at what writes `Micros` or `Ssthresh`;
//! - at an instruction with a register that got no word.
//!
//! What is known of ordinary acknowledgements is worked into the program: measurements that are zero
//! then, and variables that each ordinary acknowledgement leaves at the same value (*guards*: whether a
//! flow's have that value is looked at once, when its registers move into the socket). What follows from
//! constants goes, and so does what computes values that nobody reads.

mod live;
mod names;
mod places;
mod rewrite;

use std::collections::{HashMap, HashSet};

use ccp_program::{Inst, Operand, Program, Reg};

use super::body::MOST_WITH_ASIDES;
use super::measure::{Counted, computed};
use super::plan::{Plan, read, written};
use crate::layout::{REG_CWND, REG_MICROS, REG_RATE};
use live::{kept, without_the_dead};
pub(super) use names::with_names;
use places::{place, saves, weights};
use rewrite::{Known, rewrite};

/// Words of the stack for what lives no longer than an invocation, and for what is to be undone.
const STACK_WORDS: usize = 60;

/// Where something is while an ordinary acknowledgement is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Home {
    /// So many bytes from the start of `icsk_ca_priv`.
    Word(i16),
    /// The same, 32 bits, which are only read.
    Half(i16),
    /// On the stack.
    Stack(i16),
}

/// A register of a flow that has a place in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HotRegister {
    /// Its place among the registers.
    pub register: usize,
    /// Its place in `icsk_ca_priv`, in bytes.
    pub at: i16,
    /// How many bytes it has there.
    pub bytes: usize,
}

#[derive(Debug)]
pub(super) struct Ordinary {
    /// What is left. `Report` means to give up.
    pub(super) program: Program,
    pub(super) plan: Plan,
    /// Where the registers are that clauses mention; temporaries besides.
    homes: HashMap<Reg, Home>,
    /// The first word of the stack for temporaries.
    first_temp: usize,
    /// Registers with a place in the socket.
    pub(super) hot: Vec<HotRegister>,
    /// Where `micros_base_us` is, if `Micros` is read.
    pub(super) micros: Option<i16>,
    /// Whether the rate is in a word; otherwise it is a guard.
    pub(super) rate: Option<i16>,
    pub(super) writes_rate: bool,
    pub(super) counted: Counted,
    /// Registers and what they must be.
    pub(super) guards: Vec<(usize, u64)>,
    /// Per clause, what it is the first to change and must be undone when a later one gives up, with its
    /// place in `icsk_ca_priv` and that of the old value on the stack.
    pub(super) saves: Vec<Vec<(i16, i16)>>,
    /// Whether anything but old values is on the stack.
    pub(super) uses_stack: bool,
    /// Registers whose value from before nobody reads: they are not kept.
    pub(super) stale: Vec<usize>,
}

/// Of the stack, from its top: a word.
const fn stack_word(i: usize) -> i16 {
    -8 * (i as i16 + 1)
}

impl Ordinary {
    /// `None` if no acknowledgement could be ordinary.
    pub(super) fn new(program: &Program, plan: &Plan, measured_before: bool) -> Option<Self> {
        if program.len() > MOST_WITH_ASIDES {
            return None;
        }
        if !measured_before && computed(plan.prim_mask) {
            return None;
        }
        let kept = kept(program);
        let guards = guards(program, &kept, measured_before);
        // What is counted has the first words, two in each.
        let mut halves = 0;
        let mut half = || {
            halves += 1;
            4 * (halves - 1)
        };
        let mask = if measured_before { 0 } else { plan.prim_mask };
        let counted = Counted::new(mask, &mut half);
        let mut cold = HashSet::new();
        let whole = program;
        let (program, mut homes) = loop {
            let left = reduce(whole, &kept, &guards, &cold, measured_before)?;
            match place(whole, &left, &weights(&left, &kept), halves) {
                Ok(homes) => break (left, homes),
                // What mentions it gives up, so that it is not mentioned any more.
                Err(coldest) => cold.extend(coldest),
            }
        };
        let small = Plan::new(&program).ok()?;
        let mut words = 0;
        for reg in mentioned(&program) {
            let is_passing = matches!(reg, Reg::Local(_) | Reg::Report(_)) && !kept.contains(&reg);
            if is_passing && !homes.contains_key(&reg) {
                homes.insert(reg, Home::Stack(stack_word(words)));
                words += 1;
            }
        }
        let first_temp = words;
        words += small.shared_temps();
        let uses_stack = words > 0;
        let saves = saves(&program, &homes, &mut words);
        if words > STACK_WORDS {
            return None;
        }
        let register = |reg: Reg| plan.register(0, reg);
        let hot = homes.iter().filter_map(|(&reg, &home)| {
            let (at, bytes) = match home {
                Home::Word(at) => (at, 8),
                Home::Half(at) => (at, 4),
                Home::Stack(_) => return None,
            };
            Some(HotRegister {
                register: register(reg),
                at,
                bytes,
            })
        });
        let mut hot: Vec<HotRegister> = hot
            .filter(|h| h.register != REG_CWND && h.register != REG_MICROS)
            .collect();
        hot.sort_unstable_by_key(|h| h.at);
        let word = |reg| match homes.get(&reg) {
            Some(Home::Word(at)) => Some(*at),
            _ => None,
        };
        let rate = word(Reg::RATE);
        let mut guards: Vec<(usize, u64)> = guards
            .iter()
            .map(|(reg, value)| (register(*reg), *value))
            .collect();
        if rate.is_none() {
            guards.push((REG_RATE, 0));
        }
        guards.sort_unstable();
        let variables = (0..).map(Reg::Report).take(program.reports.len());
        let variables = variables.chain((0..program.locals).map(Reg::Local));
        let stale = variables
            .filter(|reg| !kept.contains(reg))
            .map(register)
            .collect();
        let writes_rate = super::plan::writes(&program).any(|reg| reg == Reg::RATE);
        Some(Self {
            micros: word(Reg::Micros),
            writes_rate,
            counted,
            rate,
            plan: small,
            first_temp,
            hot,
            guards,
            saves,
            uses_stack,
            stale,
            homes,
            program,
        })
    }

    /// `None`: it has no place, so that what mentions it gives up.
    pub(super) fn home(&self, clause: usize, reg: Reg) -> Option<Home> {
        match reg {
            Reg::Temp(t) => {
                let word = self.first_temp + self.plan.temp(clause, t);
                Some(Home::Stack(stack_word(word)))
            }
            reg => self.homes.get(&reg).copied(),
        }
    }
}

fn mentioned(program: &Program) -> Vec<Reg> {
    let mut seen = HashSet::new();
    let mut order = Vec::new();
    let mut add = |reg| {
        if seen.insert(reg) {
            order.push(reg);
        }
    };
    for clause in &program.clauses {
        for inst in clause.condition.iter().chain(&clause.body) {
            for operand in read(inst).into_iter().flatten() {
                if let Operand::Reg(reg) = operand {
                    add(reg);
                }
            }
            if let Some(reg) = written(inst) {
                add(reg);
            }
        }
        if let Some(Operand::Reg(reg)) = clause.test {
            add(reg);
        }
    }
    order
}

/// What is left of the program; `None` if nothing is ordinary.
fn reduce(
    program: &Program,
    kept: &HashSet<Reg>,
    guards: &Known,
    cold: &HashSet<Reg>,
    measured_before: bool,
) -> Option<Program> {
    let (mut left, _) = rewrite(program, guards, cold, measured_before)?;
    let out = kept
        .iter()
        .filter(|reg| !guards.contains_key(reg))
        .copied()
        .collect();
    for _ in 0..3 {
        without_the_dead(&mut left, &out);
        left = rewrite(&left, guards, cold, measured_before)?.0;
    }
    without_the_dead(&mut left, &out);
    Some(left)
}

/// The variables that every ordinary invocation leaves at the same value, with that value.
fn guards(program: &Program, kept: &HashSet<Reg>, measured_before: bool) -> Known {
    let mut guards = Known::new();
    let none = HashSet::new();
    loop {
        let Some((left, mut end)) = rewrite(program, &guards, &none, measured_before) else {
            return guards;
        };
        // Nothing else is written to it anywhere, so that it need not be written at all.
        for inst in left
            .clauses
            .iter()
            .flat_map(|c| c.condition.iter().chain(&c.body))
        {
            if let Some(dst) = written(inst) {
                let same = matches!(*inst, Inst::Move { src: Operand::Imm(value), .. }
                    if end.get(&dst) == Some(&value));
                if !same {
                    end.remove(&dst);
                }
            }
        }
        end.retain(|reg, _| {
            kept.contains(reg) && matches!(reg, Reg::Local(_) | Reg::Report(_) | Reg::Control(_))
        });
        if end.len() <= guards.len() {
            return guards;
        }
        guards = end;
    }
}

#[cfg(test)]
mod tests;
