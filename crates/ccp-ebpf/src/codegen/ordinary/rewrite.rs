//! A program by what is known of ordinary acknowledgements.

use std::collections::{HashMap, HashSet};

use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg};

use crate::codegen::body::jump_targets;
use crate::codegen::measure::{CWND_LIMITED, PACED, stored, zero};
use crate::codegen::plan::{GoesOn, SSTHRESH, goes_on, read, written};
use crate::layout::PRIM_SSTHRESH;

/// What is known to be constant.
pub(super) type Known = HashMap<Reg, u64>;

fn join(into: &mut Option<Known>, other: &Known) {
    match into {
        Some(known) => known.retain(|reg, value| other.get(reg) == Some(value)),
        None => *into = Some(other.clone()),
    }
}

/// Rewrites a program by what is known.
struct Rewriting<'a> {
    guards: &'a Known,
    cold: &'a HashSet<Reg>,
    /// Whether what only the storage has can be read nevertheless.
    measured_before: bool,
    /// What can be read instead of a temporary.
    instead: HashMap<u16, Operand>,
    /// Temporaries that are 0 or 1.
    truths: HashSet<u16>,
}

impl Rewriting<'_> {
    fn operand(&self, operand: Operand, known: &Known) -> Operand {
        match operand {
            Operand::Primitive(p) if zero(p) => Operand::Imm(0),
            Operand::Reg(reg) if known.contains_key(&reg) => Operand::Imm(known[&reg]),
            Operand::Reg(Reg::Temp(t)) => self.instead.get(&t).copied().unwrap_or(operand),
            Operand::Reg(SSTHRESH) => Operand::Primitive(PRIM_SSTHRESH as u16),
            other => other,
        }
    }

    fn is_cold(&self, operand: Operand) -> bool {
        match operand {
            Operand::Imm(_) => false,
            Operand::Primitive(p) => !self.measured_before && stored(p),
            Operand::Reg(reg) => self.cold.contains(&reg),
        }
    }

    fn is_truth(&self, operand: Operand) -> bool {
        match operand {
            Operand::Imm(value) => value <= 1,
            Operand::Primitive(p) => {
                !self.measured_before && [CWND_LIMITED, PACED].contains(&usize::from(p))
            }
            Operand::Reg(Reg::Temp(t)) => self.truths.contains(&t),
            Operand::Reg(_) => false,
        }
    }

    /// The instruction in its simplest form.
    fn simple(&self, inst: Inst) -> Inst {
        use BinaryOp::{Add, And, Div, Max, Min, Mul, Ne, Or, Sub};
        let Inst::Binary { op, dst, a, b } = inst else {
            return inst;
        };
        let (imm_a, imm_b) = (constant(a), constant(b));
        if let (Some(a), Some(b)) = (imm_a, imm_b)
            && let Some(value) = value_of(op, a, b)
        {
            return set(dst, Operand::Imm(value));
        }
        let truth = |x: Operand| {
            if self.is_truth(x) {
                set(dst, x)
            } else {
                Inst::Binary {
                    op: Ne,
                    dst,
                    a: x,
                    b: Operand::Imm(0),
                }
            }
        };
        match (op, imm_a, imm_b) {
            (Add | Max, Some(0), _) | (Mul, Some(1), _) | (Min, Some(u64::MAX), _) => set(dst, b),
            (Add | Sub | Max, _, Some(0)) | (Mul | Div, _, Some(1)) | (Min, _, Some(u64::MAX)) => {
                set(dst, a)
            }
            (Mul | Min | And, Some(0), _) | (Mul | Min | And, _, Some(0)) => {
                set(dst, Operand::Imm(0))
            }
            (Max, Some(u64::MAX), _) | (Max, _, Some(u64::MAX)) => set(dst, Operand::Imm(u64::MAX)),
            (Or, Some(1..), _) | (Or, _, Some(1..)) => set(dst, Operand::Imm(1)),
            (And, Some(_), _) | (Or, Some(0), _) => truth(b),
            (And, _, Some(_)) | (Or, _, Some(0)) => truth(a),
            (Ne, _, Some(0)) if self.is_truth(a) => set(dst, a),
            _ => inst,
        }
    }

    /// What is left of a block, and what is known behind it; `None` if nothing gets there.
    fn block(&mut self, insts: &[Inst], start: Option<Known>) -> (Vec<Inst>, Option<Known>) {
        let mut arriving: Vec<Option<Known>> = vec![None; insts.len() + 1];
        let mut left: Vec<Option<Inst>> = vec![None; insts.len()];
        arriving[0] = start;
        let targets = jump_targets(insts);
        for (at, inst) in insts.iter().enumerate() {
            if targets[at] {
                // What comes from elsewhere may be something else.
                self.instead.clear();
                self.truths.clear();
            }
            let Some(mut known) = arriving[at].take() else {
                continue;
            };
            let inst = inst.map(|reg| reg, |operand| self.operand(operand, &known));
            let mut inst = self.simple(inst);
            let averaged = match inst {
                Inst::Ewma { dst, .. } => Some(dst.into()),
                _ => None,
            };
            let gives_up = read(&inst)
                .into_iter()
                .flatten()
                .chain(averaged)
                .any(|operand| self.is_cold(operand))
                || written(&inst).is_some_and(|dst| {
                    self.cold.contains(&dst) || matches!(dst, Reg::Micros | SSTHRESH)
                });
            if gives_up {
                inst = Inst::Report;
            }
            let to = |count: u16| at + 1 + usize::from(count);
            match inst {
                Inst::Report => {
                    left[at] = Some(inst);
                    continue;
                }
                Inst::Skip { count } => {
                    left[at] = Some(inst);
                    join(&mut arriving[to(count)], &known);
                    continue;
                }
                Inst::SkipIf { cond, count } | Inst::SkipUnless { cond, count } => {
                    let when = matches!(inst, Inst::SkipIf { .. });
                    match constant(cond).map(|value| (value != 0) == when) {
                        Some(true) => {
                            left[at] = Some(Inst::Skip { count });
                            join(&mut arriving[to(count)], &known);
                            continue;
                        }
                        Some(false) => {}
                        None => {
                            left[at] = Some(inst);
                            join(&mut arriving[to(count)], &known);
                        }
                    }
                }
                Inst::Fallthrough => left[at] = Some(inst),
                Inst::Move { dst, src } => {
                    let is_so = src == dst.into() || self.is_known_already(dst, src);
                    left[at] = (!is_so).then_some(inst);
                    if src != dst.into() {
                        self.wrote(&mut known, inst, dst, Some(src));
                    }
                }
                Inst::Binary { dst, .. } | Inst::Ewma { dst, .. } => {
                    left[at] = Some(inst);
                    self.wrote(&mut known, inst, dst, None);
                }
            }
            join(&mut arriving[at + 1], &known);
        }
        if targets[insts.len()] {
            self.instead.clear();
            self.truths.clear();
        }
        let end = arriving[insts.len()].take();
        (compact(&left), end)
    }

    /// A guard keeps its value.
    fn is_known_already(&self, dst: Reg, src: Operand) -> bool {
        self.guards
            .get(&dst)
            .is_some_and(|value| src == Operand::Imm(*value))
    }

    fn wrote(&mut self, known: &mut Known, inst: Inst, dst: Reg, src: Option<Operand>) {
        match src.and_then(constant) {
            Some(value) => drop(known.insert(dst, value)),
            None => drop(known.remove(&dst)),
        }
        let Reg::Temp(t) = dst else {
            return;
        };
        self.instead.remove(&t);
        self.instead.retain(|_, src| *src != dst.into());
        self.truths.remove(&t);
        match src {
            // It does not change within an invocation.
            Some(src @ Operand::Primitive(_)) => drop(self.instead.insert(t, src)),
            Some(src @ Operand::Reg(Reg::Temp(s))) if s != t => {
                self.instead.insert(t, src);
            }
            _ => {}
        }
        let is_truth = match inst {
            Inst::Binary { op, .. } => op as u8 >= BinaryOp::Eq as u8,
            Inst::Move { src, .. } => src != dst.into() && self.is_truth(src),
            _ => false,
        };
        if is_truth {
            self.truths.insert(t);
        }
    }
}

fn constant(operand: Operand) -> Option<u64> {
    match operand {
        Operand::Imm(value) => Some(value),
        _ => None,
    }
}

fn set(dst: Reg, src: Operand) -> Inst {
    Inst::Move { dst, src }
}

/// `None` for a fault, or where it is not worth it.
fn value_of(op: BinaryOp, a: u64, b: u64) -> Option<u64> {
    Some(match op {
        BinaryOp::Add => return a.checked_add(b),
        BinaryOp::Sub => return a.checked_sub(b),
        BinaryOp::Mul => return a.checked_mul(b),
        BinaryOp::Div => return a.checked_div(b),
        BinaryOp::Min => a.min(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::WrappedMax => return None,
        BinaryOp::Eq => (a == b).into(),
        BinaryOp::Ne => (a != b).into(),
        BinaryOp::Lt => (a < b).into(),
        BinaryOp::Le => (a <= b).into(),
        BinaryOp::Gt => (a > b).into(),
        BinaryOp::Ge => (a >= b).into(),
        BinaryOp::And => (a != 0 && b != 0).into(),
        BinaryOp::Or => (a != 0 || b != 0).into(),
    })
}

/// Without what is `None`, and without skips of nothing.
pub(super) fn compact(insts: &[Option<Inst>]) -> Vec<Inst> {
    let mut insts = insts.to_vec();
    loop {
        let place: Vec<usize> = insts
            .iter()
            .scan(0, |next, inst| {
                let here = *next;
                *next += usize::from(inst.is_some());
                Some(here)
            })
            .collect();
        let kept = insts.iter().flatten().count();
        let new = |at: usize, count: u16| {
            let to = at + 1 + usize::from(count);
            let target = place.get(to).copied().unwrap_or(kept);
            (target - place[at] - 1) as u16
        };
        let mut empty = None;
        let mut out = Vec::with_capacity(kept);
        for (at, inst) in insts.iter().enumerate() {
            let Some(inst) = *inst else { continue };
            let inst = match inst {
                Inst::Skip { count } => Inst::Skip {
                    count: new(at, count),
                },
                Inst::SkipIf { cond, count } => Inst::SkipIf {
                    cond,
                    count: new(at, count),
                },
                Inst::SkipUnless { cond, count } => Inst::SkipUnless {
                    cond,
                    count: new(at, count),
                },
                other => other,
            };
            if matches!(
                inst,
                Inst::Skip { count: 0 }
                    | Inst::SkipIf { count: 0, .. }
                    | Inst::SkipUnless { count: 0, .. }
            ) {
                empty.get_or_insert(at);
            }
            out.push(inst);
        }
        match empty {
            Some(at) => insts[at] = None,
            None => return out,
        }
    }
}

/// Whether a body gives up whatever happens in it.
fn always_gives_up(body: &[Inst]) -> bool {
    let mut passed_to = 0;
    for (at, inst) in body.iter().enumerate() {
        match *inst {
            Inst::Skip { count } | Inst::SkipIf { count, .. } | Inst::SkipUnless { count, .. } => {
                passed_to = passed_to.max(at + 1 + usize::from(count));
            }
            Inst::Report if at >= passed_to => return true,
            _ => {}
        }
    }
    false
}

/// What follows for a variable from whether a clause's test was true.
fn follows(condition: &[Inst], test: Operand) -> [Option<(Reg, u64)>; 2] {
    let may_skip = jump_targets(condition)[condition.len()];
    let last = condition.last().filter(|_| !may_skip);
    let made = last.and_then(|inst| match *inst {
        Inst::Binary { op, dst, a, b } if test == dst.into() => Some((op, a, b)),
        _ => None,
    });
    let variable = |operand| match operand {
        Operand::Reg(reg) if !matches!(reg, Reg::Temp(_)) => Some(reg),
        _ => None,
    };
    match made {
        Some((BinaryOp::Gt, a, Operand::Imm(0))) | Some((BinaryOp::Lt, Operand::Imm(0), a)) => {
            [variable(a).map(|reg| (reg, 0)), None]
        }
        Some((BinaryOp::Ne, a, Operand::Imm(c))) => [variable(a).map(|reg| (reg, c)), None],
        Some((BinaryOp::Eq, a, Operand::Imm(c))) => [None, variable(a).map(|reg| (reg, c))],
        Some(_) => [None, None],
        None => [variable(test).map(|reg| (reg, 0)), None],
    }
}

/// The program by what is known at its beginning, and what is known at its end; `None` if an invocation
/// that gets there cannot be ordinary.
pub(super) fn rewrite(
    program: &Program,
    guards: &Known,
    cold: &HashSet<Reg>,
    measured_before: bool,
) -> Option<(Program, Known)> {
    let mut clauses = Vec::new();
    let (mut here, mut end) = (Some(guards.clone()), None);
    for clause in &program.clauses {
        let Some(known) = here.take() else {
            break;
        };
        let mut rewriting = Rewriting {
            guards,
            cold,
            measured_before,
            instead: HashMap::new(),
            truths: HashSet::new(),
        };
        let (condition, known) = rewriting.block(&clause.condition, Some(known));
        let Some(known) = known else {
            // Gives up on the way to the test.
            clauses.push(Clause {
                condition,
                ..Clause::default()
            });
            break;
        };
        let mut test = clause.test.map(|test| rewriting.operand(test, &known));
        if test.is_some_and(|test| rewriting.is_cold(test)) {
            clauses.push(Clause {
                condition: [condition, vec![Inst::Report]].concat(),
                ..Clause::default()
            });
            break;
        }
        let follow = test.map_or([None, None], |test| follows(&condition, test));
        let with = |fact: Option<(Reg, u64)>| {
            let mut known = known.clone();
            known.extend(fact);
            known
        };
        if test.and_then(constant) == Some(0) {
            clauses.push(Clause {
                condition,
                test: None,
                body: vec![Inst::Fallthrough],
            });
            here = Some(known);
            continue;
        }
        if test.is_some_and(|test| constant(test).is_some()) {
            test = None;
        }
        let (mut body, after) = rewriting.block(&clause.body, Some(with(follow[1])));
        if always_gives_up(&body) {
            body = vec![Inst::Report];
        }
        if test.is_some() {
            here = Some(with(follow[0]));
        }
        if let Some(after) = after {
            let goes_on = goes_on(&body);
            if goes_on != GoesOn::Never {
                join(&mut here, &after);
            }
            if goes_on != GoesOn::Always {
                join(&mut end, &after);
            }
        }
        clauses.push(Clause {
            condition,
            test,
            body,
        });
    }
    if let Some(known) = here {
        join(&mut end, &known);
    }
    let program = Program {
        clauses,
        ..program.clone()
    };
    Some((program, end?))
}
