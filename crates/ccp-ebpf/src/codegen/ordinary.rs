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

use std::collections::{HashMap, HashSet};
use std::mem::offset_of;

use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg};

use super::body::{MOST_WITH_ASIDES, jump_targets};
use super::measure::{CWND_LIMITED, Counted, PACED, computed, stored, zero};
use super::plan::{GoesOn, Plan, SSTHRESH, can_fault, goes_on, read, written};
use crate::layout::{HOT_REGISTERS, Hot, PRIM_SSTHRESH, REG_CWND, REG_MICROS, REG_RATE};

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

/// Whether `reg` has a value from one invocation to the next, and can have a place in the socket.
fn is_variable(reg: Reg) -> bool {
    !matches!(reg, Reg::Temp(_) | Reg::Writable(2..))
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

/// What is read later, if the invocation reports and if it does not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Live {
    silent: HashSet<Reg>,
    reporting: HashSet<Reg>,
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
fn live_in(program: &Program, out: &Live, gives_up: bool) -> (Vec<[Vec<Live>; 2]>, Live) {
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

/// The same program in which as few temporaries as possible are written twice: then it is seen of more of them
/// that they are read once, and by what.
pub(super) fn with_names(program: &Program) -> Program {
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

/// The variables whose value is read by a later invocation, a report's or the datapath.
fn kept(program: &Program) -> HashSet<Reg> {
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

/// What is known to be constant.
type Known = HashMap<Reg, u64>;

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
fn compact(insts: &[Option<Inst>]) -> Vec<Inst> {
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
fn rewrite(
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

/// Leaves out what computes what nobody reads.
fn without_the_dead(program: &mut Program, out: &HashSet<Reg>) {
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

/// The weight of what is not mentioned.
const LEAST: f64 = 0.0001;

/// How often each variable is mentioned; what is below a condition counts a quarter.
fn weights(program: &Program, kept: &HashSet<Reg>) -> HashMap<Reg, f64> {
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
fn place(
    whole: &Program,
    left: &Program,
    weights: &HashMap<Reg, f64>,
    halves: i16,
) -> Result<HashMap<Reg, Home>, Vec<Reg>> {
    let changed: HashSet<Reg> = super::plan::writes(left).collect();
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
fn saves(program: &Program, homes: &HashMap<Reg, Home>, words: &mut usize) -> Vec<Vec<(i16, i16)>> {
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

#[cfg(test)]
mod tests;
