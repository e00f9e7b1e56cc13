//! What is read later, and what is not.

use std::collections::HashSet;

use ccp_program::{Clause, Inst, Operand, Program, Reg};

use super::rewrite::compact;
use crate::codegen::plan::{GoesOn, can_fault, goes_on, read, written};

/// What is read later, if the invocation reports and if it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) silent: HashSet<Reg>,
    pub(super) reporting: HashSet<Reg>,
}

impl Live {
    fn join(&mut self, other: &Self) {
        self.silent.extend(&other.silent);
        self.reporting.extend(&other.reporting);
    }

    fn each(&mut self, change: impl Fn(&mut HashSet<Reg>)) {
        change(&mut self.silent);
        change(&mut self.reporting);
    }

    fn read(&mut self, operand: Option<Operand>) {
        if let Some(Operand::Reg(reg)) = operand {
            self.each(|live| {
                live.insert(reg);
            });
        }
    }
}

/// What is live before each instruction of a block, and behind it.
fn live(insts: &[Inst], end: Live, gives_up: bool) -> Vec<Live> {
    let mut at = vec![Live::default(); insts.len() + 1];
    at[insts.len()] = end;
    for (i, inst) in insts.iter().enumerate().rev() {
        let mut here = at[i + 1].clone();
        match *inst {
            Inst::Skip { count } => here = at[i + 1 + usize::from(count)].clone(),
            Inst::SkipIf { count, .. } | Inst::SkipUnless { count, .. } => {
                here.join(&at[i + 1 + usize::from(count)]);
            }
            Inst::Report if gives_up => here = Live::default(),
            Inst::Report => here.silent = here.reporting.clone(),
            _ => {}
        }
        if let Some(dst) = written(inst) {
            here.each(|live| {
                live.remove(&dst);
            });
        }
        if let Inst::Ewma { dst, .. } = *inst {
            here.read(Some(dst.into()));
        }
        for operand in read(inst) {
            here.read(operand);
        }
        at[i] = here;
    }
    at
}

/// Per clause what is live before each instruction of its condition and of its body, given what is behind
/// the last clause; and at the beginning.
pub(super) fn live_in(
    program: &Program,
    out: &Live,
    gives_up: bool,
) -> (Vec<[Vec<Live>; 2]>, Live) {
    let mut clauses = Vec::new();
    let mut next = out.clone();
    for clause in program.clauses.iter().rev() {
        let end = match goes_on(&clause.body) {
            GoesOn::Never => out.clone(),
            GoesOn::Always => next.clone(),
            GoesOn::Depends => {
                let mut both = out.clone();
                both.join(&next);
                both
            }
        };
        let body = live(&clause.body, end, gives_up);
        let mut tested = body[0].clone();
        if clause.test.is_some() {
            tested.join(&next);
            tested.read(clause.test);
        }
        let condition = live(&clause.condition, tested, gives_up);
        next = condition[0].clone();
        clauses.push([condition, body]);
    }
    clauses.reverse();
    (clauses, next)
}

/// The variables whose value is read by a later invocation, a report's or the datapath.
pub(super) fn kept(program: &Program) -> HashSet<Reg> {
    let mut kept: HashSet<Reg> = (0..)
        .map(Reg::Control)
        .take(program.controls.len())
        .chain([Reg::CWND, Reg::RATE, Reg::Micros])
        .collect();
    loop {
        let mut out = Live {
            silent: kept.clone(),
            reporting: kept.clone(),
        };
        let reports = (0..).map(Reg::Report).take(program.reports.len());
        out.reporting.extend(reports);
        let (_, start) = live_in(program, &out, false);
        let more = start.silent.into_iter().filter(|reg| is_variable(*reg));
        let before = kept.len();
        kept.extend(more);
        if kept.len() == before {
            return kept;
        }
    }
}

/// Whether `reg` has a value from one invocation to the next, and can have a place in the socket.
fn is_variable(reg: Reg) -> bool {
    !matches!(reg, Reg::Temp(_) | Reg::Writable(2..))
}

/// Leaves out what computes what nobody reads.
pub(super) fn without_the_dead(program: &mut Program, out: &HashSet<Reg>) {
    let out = Live {
        silent: out.clone(),
        reporting: out.clone(),
    };
    loop {
        let (live, _) = live_in(program, &out, true);
        let before = program.len();
        for (clause, live) in program.clauses.iter_mut().zip(&live) {
            for (block, live) in [&mut clause.condition, &mut clause.body]
                .into_iter()
                .zip(live)
            {
                let needed = |(at, inst): (usize, &Inst)| {
                    let is_dead = written(inst)
                        .is_some_and(|dst| !live[at + 1].silent.contains(&dst) && !can_fault(inst));
                    (!is_dead).then_some(*inst)
                };
                let left: Vec<Option<Inst>> = block.iter().enumerate().map(needed).collect();
                *block = compact(&left);
            }
        }
        // What is tested for nothing.
        let only_goes_on = |clause: &Clause| {
            !clause.body.is_empty() && clause.body.iter().all(|inst| *inst == Inst::Fallthrough)
        };
        for clause in &mut program.clauses {
            if only_goes_on(clause) {
                clause.test = None;
            }
        }
        let is_needed = |clause: &Clause| !(clause.condition.is_empty() && only_goes_on(clause));
        program.clauses.retain(is_needed);
        if program.len() == before {
            return;
        }
    }
}
