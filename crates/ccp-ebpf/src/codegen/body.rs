//! The clauses of a program as eBPF.
//!
//! Values live in the socket's storage and are loaded for each operation. That looks wasteful and
//! is not: the kernel's verifier takes what comes from memory for unknown, so that the ways that
//! meet behind a branch look the same to it and all but one are dropped. With values kept in
//! machine registers or on the stack it follows every combination of branches.
//!
//! Each operation costs at most two conditional jumps, because the verifier keeps at most 8,192
//! branches open and opens one at each conditional jump on its first way through.

use std::mem::offset_of;

use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg};

use super::asm::{Asm, Label, TooFar};
use super::frame::ordinary_save;
use super::insn::{Alu, Cmp, Insn, R, Size, Src};
use super::measure::{self, Counted};
use super::ordinary::{Home, Ordinary};
use super::plan::{GoesOn, Plan, can_fault, read, written};
use super::{CONTEXT, Entry, Env, FLOW, FLOW_AT, KEY, Listing, Note, REGS, REGS_AT, SOCK};
use crate::layout::{Flow, REG_MICROS};

/// Offset of a register from [`REGS`].
pub(super) fn register_offset(register: usize) -> i16 {
    // The storage is less than 2 KiB long.
    (offset_of!(Flow, reg) + 8 * register) as i16 - REGS_AT as i16
}

/// The offset from [`FLOW`] of what is `offset` bytes from the start of the storage.
pub(super) const fn flow_offset(offset: usize) -> i16 {
    offset as i16 - FLOW_AT as i16
}

fn primitive_offset(primitive: u16) -> i16 {
    flow_offset(offset_of!(Flow, prim) + 8 * usize::from(primitive))
}

/// A byte of the stack that says whether to report: [`YES`] or something else. Not at a multiple of
/// eight, where the kernel's verifier remembers values.
pub(super) const REPORT_FLAG: i16 = -511;
/// Another one, which says whether the next clause is looked at.
const GO_ON_FLAG: i16 = -510;
/// What a flag is if it is set.
pub(super) const YES: i32 = 1;
/// What it is if not: not 0, which the kernel's verifier remembers.
const NO: i32 = 2;

/// Most instructions that become one decision: [`Body::branch`] is recursive.
const MOST_IN_DECISION: usize = 32;

/// The condition under which a comparison holds, and the one under which it does not.
const fn comparison(op: BinaryOp) -> Option<(Cmp, Cmp)> {
    match op {
        BinaryOp::Eq => Some((Cmp::Eq, Cmp::Ne)),
        BinaryOp::Ne => Some((Cmp::Ne, Cmp::Eq)),
        BinaryOp::Lt => Some((Cmp::Lt, Cmp::Ge)),
        BinaryOp::Le => Some((Cmp::Le, Cmp::Gt)),
        BinaryOp::Gt => Some((Cmp::Gt, Cmp::Le)),
        BinaryOp::Ge => Some((Cmp::Ge, Cmp::Lt)),
        _ => None,
    }
}

/// By place, whether some skip goes there.
pub(super) fn jump_targets(insts: &[Inst]) -> Vec<bool> {
    let mut targets = vec![false; insts.len() + 1];
    for (at, inst) in insts.iter().enumerate() {
        if let Inst::Skip { count } | Inst::SkipIf { count, .. } | Inst::SkipUnless { count, .. } =
            *inst
        {
            targets[at + 1 + usize::from(count)] = true;
        }
    }
    targets
}

pub(super) struct Body<'a> {
    asm: &'a mut Asm,
    notes: &'a mut Listing,
    plan: &'a Plan,
    /// Where a faulting operation goes.
    fault: Label,
    clause: usize,
    /// What machine registers are known to hold: the values at these offsets from these registers.
    held: Vec<(R, R, i16)>,
    /// For ordinary acknowledgements only.
    ordinary: Option<(&'a Ordinary, &'a Env<'a>)>,
    /// The result of the instruction is only read by the next one, out of the machine register.
    passes_on: bool,
}

/// Where something is read or written.
#[derive(Clone, Copy)]
enum Place {
    Memory(Size, R, i16),
    /// On the stack, so many bytes from its top, combined with [`KEY`].
    Stack(i16),
    /// Nowhere: who needs it gives up.
    None,
}

/// The body of a clause that stands aside.
pub(super) struct Outlined {
    clause: usize,
    from: Label,
    next: Label,
    done: Option<Label>,
}

/// Programs with more instructions than this are emitted as they are written: what stands aside
/// must be within reach of a jump.
pub(super) const MOST_WITH_ASIDES: usize = 500;

impl<'a> Body<'a> {
    pub(super) fn new(
        asm: &'a mut Asm,
        notes: &'a mut Listing,
        plan: &'a Plan,
        fault: Label,
    ) -> Self {
        Self {
            asm,
            notes,
            plan,
            fault,
            clause: 0,
            held: Vec::new(),
            ordinary: None,
            passes_on: false,
        }
    }

    /// For what is left on ordinary acknowledgements. Giving up leads to `whole`.
    pub(super) fn ordinary(
        asm: &'a mut Asm,
        notes: &'a mut Listing,
        ordinary: &'a Ordinary,
        env: &'a Env<'a>,
        whole: Label,
    ) -> Self {
        let mut body = Self::new(asm, notes, &ordinary.plan, whole);
        body.ordinary = Some((ordinary, env));
        body
    }

    /// Emits all clauses. What is returned are the places to go to for undoing the changes of a clause and
    /// those before it.
    pub(super) fn ordinary_clauses(mut self) -> Result<Vec<(Label, usize)>, TooFar> {
        let Some((ordinary, env)) = self.ordinary else {
            return Ok(Vec::new());
        };
        let mut undo = Vec::new();
        let done = self.asm.label();
        let clauses = &ordinary.program.clauses;
        for (index, (clause, saves)) in clauses.iter().zip(&ordinary.saves).enumerate() {
            self.clause = index;
            if !saves.is_empty() {
                ordinary_save(self.asm, env, saves);
                self.held.clear();
                self.fault = self.asm.label();
                undo.push((self.fault, index));
            }
            let last = index + 1 == clauses.len();
            self.clause(clause, (!last).then_some(done), false)?;
        }
        self.place(done)?;
        Ok(undo)
    }

    /// Emits all clauses; afterwards the invocation is complete and did not fault. What is returned
    /// goes to [`Self::outlined`].
    pub(super) fn clauses(&mut self, program: &Program) -> Result<Vec<Outlined>, TooFar> {
        let sizes = program
            .clauses
            .iter()
            .map(|c| c.condition.len() + c.body.len());
        let is_small = sizes.sum::<usize>() <= MOST_WITH_ASIDES;
        let mut outlined = Vec::new();
        if self.plan.reports_at_all {
            self.set_flag(REPORT_FLAG, NO);
        }
        let done = self.asm.label();
        for (index, clause) in program.clauses.iter().enumerate() {
            self.clause = index;
            let last = index + 1 == program.clauses.len();
            // Most acknowledgements bring no report.
            let aside = is_small && clause.test.is_some() && clause.body.contains(&Inst::Report);
            outlined.extend(self.clause(clause, (!last).then_some(done), aside)?);
        }
        self.place(done)?;
        Ok(outlined)
    }

    /// Emits the bodies that stand aside.
    pub(super) fn outlined(
        &mut self,
        program: &Program,
        outlined: &[Outlined],
    ) -> Result<(), TooFar> {
        for aside in outlined {
            self.clause = aside.clause;
            self.place(aside.from)?;
            if let Some(clause) = program.clauses.get(aside.clause) {
                self.clause_body(clause, aside.done)?;
            }
            self.asm.jump(aside.next);
        }
        Ok(())
    }

    fn place(&mut self, label: Label) -> Result<(), TooFar> {
        // Others come from elsewhere.
        self.held.clear();
        self.asm.place(label)
    }

    /// `done` is where a clause goes after which no other is looked at; `None` is right here. Is its
    /// body to be put `aside`?
    fn clause(
        &mut self,
        clause: &Clause,
        done: Option<Label>,
        aside: bool,
    ) -> Result<Option<Outlined>, TooFar> {
        let next = self.asm.label();
        let condition = &clause.condition;
        let test = clause.test;
        let first = test.map_or(condition.len(), |test| {
            let targets = jump_targets(condition);
            self.decision(condition, &targets, condition.len(), test)
        });
        let (before, decision) = condition.split_at(first);
        self.block(before, 0)?;
        if let Some(test) = test {
            self.note(Note::Test {
                clause: self.clause,
                test,
            });
            if self.ordinary.is_some() && clause.body == [Inst::Report] {
                self.branch(decision, test, true, self.fault)?;
                self.place(next)?;
                return Ok(None);
            }
            if aside {
                let from = self.asm.label();
                self.branch(decision, test, true, from)?;
                self.place(next)?;
                return Ok(Some(Outlined {
                    clause: self.clause,
                    from,
                    next,
                    done,
                }));
            }
            self.branch(decision, test, false, next)?;
        }
        self.clause_body(clause, done)?;
        self.place(next)?;
        Ok(None)
    }

    fn clause_body(&mut self, clause: &Clause, done: Option<Label>) -> Result<(), TooFar> {
        let goes_on = self.plan.goes_on[self.clause];
        if goes_on == GoesOn::Depends {
            self.set_flag(GO_ON_FLAG, NO);
        }
        self.block(&clause.body, clause.condition.len())?;
        match (goes_on, done) {
            (GoesOn::Always, _) | (_, None) => {}
            (GoesOn::Depends, Some(done)) => {
                self.asm.load(Size::Byte, R::R1, R::R10, GO_ON_FLAG);
                self.asm.jump_if(Cmp::Ne, R::R1, YES, done);
            }
            (GoesOn::Never, Some(done)) => self.asm.jump(done),
        }
        Ok(())
    }

    fn block(&mut self, insts: &[Inst], first: usize) -> Result<(), TooFar> {
        let mut targets: Vec<Option<Label>> = vec![None; insts.len() + 1];
        let decisions = self.decisions(insts);
        let jumps = jump_targets(insts);
        let mut decided = decisions.iter().peekable();
        for (at, inst) in insts.iter().enumerate() {
            if let Some(label) = targets[at] {
                self.place(label)?;
            }
            let decision = match decided.peek() {
                // Part of the decision of a skip behind it.
                Some(&&(first, skip)) if (first..skip).contains(&at) => continue,
                Some(&&(first, skip)) if skip == at => {
                    decided.next();
                    &insts[first..skip]
                }
                _ => &[],
            };
            self.asm.relay()?;
            if !self.asm.is_reachable() {
                continue;
            }
            self.note(Note::Inst {
                clause: self.clause,
                index: first + at,
                inst: *inst,
            });
            self.passes_on = self.is_passed_on(insts, &jumps, &decisions, at);
            let mut target = |asm: &mut Asm, count: u16| {
                *targets[at + 1 + usize::from(count)].get_or_insert_with(|| asm.label())
            };
            match *inst {
                Inst::Skip { count } => {
                    let to = target(self.asm, count);
                    self.asm.jump(to);
                }
                Inst::SkipIf { cond, count } | Inst::SkipUnless { cond, count } => {
                    let to = target(self.asm, count);
                    let when = matches!(inst, Inst::SkipIf { .. });
                    self.branch(decision, cond, when, to)?;
                }
                Inst::Report if self.ordinary.is_some() => self.asm.jump(self.fault),
                Inst::Report => self.set_flag(REPORT_FLAG, YES),
                Inst::Fallthrough => {
                    if self.plan.goes_on[self.clause] == GoesOn::Depends {
                        self.set_flag(GO_ON_FLAG, YES);
                    }
                }
                Inst::Move { dst, src } => self.move_to(dst, src)?,
                Inst::Ewma {
                    dst,
                    weight,
                    sample,
                } => self.ewma(inst, dst, weight, sample)?,
                Inst::Binary { op, dst, a, b } => {
                    let result = self.binary(inst, op, a, b)?;
                    self.write(dst, result);
                }
            }
        }
        match targets[insts.len()] {
            Some(label) => self.place(label),
            None => Ok(()),
        }
    }

    /// Whether the result of the instruction at `at` is a temporary that only the next one reads, as one of
    /// its two operands.
    fn is_passed_on(
        &self,
        insts: &[Inst],
        jumps: &[bool],
        decisions: &[(usize, usize)],
        at: usize,
    ) -> bool {
        let (Some(Reg::Temp(temp)), Some(next)) = (written(&insts[at]), insts.get(at + 1)) else {
            return false;
        };
        if jumps[at + 1] || !self.plan.is_read_once(self.clause, temp) {
            return false;
        }
        let whole = |decision: &&(usize, usize)| (decision.0..=decision.1).contains(&(at + 1));
        if decisions
            .iter()
            .find(whole)
            .is_some_and(|d| *d != (at + 1, at + 2))
        {
            return false;
        }
        !matches!(next, Inst::Ewma { .. }) && read(next).contains(&Some(Reg::Temp(temp).into()))
    }

    /// The skips of a block that are decided by what stands right before them, with the place
    /// where that begins; in order.
    fn decisions(&self, insts: &[Inst]) -> Vec<(usize, usize)> {
        let targets = jump_targets(insts);
        let skips = insts.iter().enumerate();
        let decided = skips.filter_map(|(at, inst)| match *inst {
            Inst::SkipIf { cond, .. } | Inst::SkipUnless { cond, .. } => {
                let first = self.decision(insts, &targets, at, cond);
                (first < at).then_some((first, at))
            }
            _ => None,
        });
        decided.collect()
    }

    /// Where the comparisons, and what links them, begin that stand right before place `end` and
    /// make `cond` and nothing else: they can become jumps instead of values.
    fn decision(&self, insts: &[Inst], targets: &[bool], end: usize, cond: Operand) -> usize {
        let mut wanted = vec![cond];
        let mut first = end;
        // A jump to between them would come without the values.
        while first > 0 && end - first < MOST_IN_DECISION && !targets[first] {
            let Inst::Binary { op, dst, a, b } = insts[first - 1] else {
                break;
            };
            let Some(place) = wanted.iter().position(|w| *w == dst.into()) else {
                break;
            };
            match (op, dst) {
                (_, Reg::Temp(temp)) if !self.plan.is_read_once(self.clause, temp) => break,
                (BinaryOp::And | BinaryOp::Or, Reg::Temp(_)) => wanted.extend([a, b]),
                (op, Reg::Temp(_)) if comparison(op).is_some() => {}
                _ => break,
            }
            wanted.swap_remove(place);
            first -= 1;
        }
        first
    }

    /// Goes to `to` if whether `cond` is true equals `when`. `decision` makes the values of which
    /// `cond` consists, as far as they are not in registers.
    fn branch(
        &mut self,
        decision: &[Inst],
        cond: Operand,
        when: bool,
        to: Label,
    ) -> Result<(), TooFar> {
        let made = decision.iter().find_map(|inst| match *inst {
            Inst::Binary { op, dst, a, b } if cond == dst.into() => Some((op, a, b)),
            _ => None,
        });
        match made {
            Some((op @ (BinaryOp::And | BinaryOp::Or), a, b)) => {
                if (op == BinaryOp::Or) == when {
                    // One of the two is enough.
                    self.branch(decision, a, when, to)?;
                    self.branch(decision, b, when, to)
                } else {
                    let other = self.asm.label();
                    self.branch(decision, a, !when, other)?;
                    self.branch(decision, b, when, to)?;
                    self.place(other)
                }
            }
            Some((op, a, b)) => {
                let (holds, fails) = comparison(op).unwrap_or((Cmp::Ne, Cmp::Eq));
                self.keep_apart(b);
                self.operand(R::R1, a)?;
                let b = self.source(R::R2, b)?;
                self.asm
                    .jump_if(if when { holds } else { fails }, R::R1, b, to);
                Ok(())
            }
            None => {
                self.operand(R::R1, cond)?;
                let cmp = if when { Cmp::Ne } else { Cmp::Eq };
                self.asm.jump_if(cmp, R::R1, 0, to);
                Ok(())
            }
        }
    }

    fn note(&mut self, note: Note) {
        self.notes.note(self.asm.here(), note);
    }

    fn set_flag(&mut self, at: i16, value: i32) {
        self.asm.store(Size::Byte, R::R10, at, value);
    }

    /// By which what is read is known among what is held. On ordinary acknowledgements measurements and `Micros`
    /// are not where this says.
    fn key(&self, operand: Operand) -> Option<(R, i16)> {
        match operand {
            Operand::Imm(_) => None,
            Operand::Primitive(i) => Some((FLOW, primitive_offset(i))),
            Operand::Reg(reg) => Some(match self.place_of(reg) {
                Place::Memory(_, base, off) => (base, off),
                Place::Stack(off) => (R::R10, off),
                Place::None => return None,
            }),
        }
    }

    fn place_of(&self, reg: Reg) -> Place {
        let stored = |base, register| Place::Memory(Size::Double, base, register);
        let Some((ordinary, env)) = self.ordinary else {
            return stored(REGS, register_offset(self.plan.register(self.clause, reg)));
        };
        if reg == Reg::Micros && matches!(env.entry, Entry::Array { .. }) {
            return stored(FLOW, flow_offset(offset_of!(Flow, reg) + 8 * REG_MICROS));
        }
        let word = |at: i16| env.sock.icsk_ca_priv + at;
        match ordinary.home(self.clause, reg) {
            Some(Home::Word(at)) => Place::Memory(Size::Double, SOCK, word(at)),
            Some(Home::Half(at)) => Place::Memory(Size::Word, SOCK, word(at)),
            Some(Home::Stack(off)) => Place::Stack(off),
            None => Place::None,
        }
    }

    fn operand(&mut self, to: R, operand: Operand) -> Result<(), TooFar> {
        let Some((base, off)) = self.key(operand) else {
            self.held.retain(|held| held.0 != to);
            match operand {
                Operand::Imm(value) => self.asm.constant(to, value),
                _ => self.asm.jump(self.fault),
            }
            return Ok(());
        };
        let found = self
            .held
            .iter()
            .find(|held| (held.1, held.2) == (base, off));
        match found.map(|held| held.0) {
            Some(r) if r == to => return Ok(()),
            Some(r) => self.asm.mov(to, r),
            None => self.fetch(to, operand, base, off)?,
        }
        self.held.retain(|held| held.0 != to);
        self.held.push((to, base, off));
        Ok(())
    }

    fn fetch(&mut self, to: R, operand: Operand, base: R, off: i16) -> Result<(), TooFar> {
        let socket = self.ordinary.and_then(|(_, env)| match &env.entry {
            Entry::Socket { ack, .. } => Some((&env.sock, ack)),
            Entry::Array { .. } => None,
        });
        let counted = self
            .ordinary
            .map_or_else(Counted::default, |(o, _)| o.counted);
        match (operand, socket) {
            (Operand::Primitive(i), Some((sock, ack))) => {
                if !measure::derive(self.asm, &counted, sock, ack, i.into(), to)? {
                    self.asm.jump(self.fault);
                }
            }
            (Operand::Reg(Reg::Micros), Some((_, ack))) => {
                self.asm.load(Size::Double, to, SOCK, ack.tcp_mstamp);
                self.asm.load(Size::Double, measure::SPOILED, base, off);
                self.asm.alu(Alu::Sub, to, measure::SPOILED);
            }
            (Operand::Reg(reg), _) => match self.place_of(reg) {
                Place::Memory(size, base, off) => self.asm.load(size, to, base, off),
                Place::Stack(off) => {
                    self.asm.load(Size::Double, to, R::R10, off);
                    self.asm.alu(Alu::Xor, to, KEY);
                }
                Place::None => self.asm.jump(self.fault),
            },
            _ => self.asm.load(Size::Double, to, base, off),
        }
        Ok(())
    }

    /// Moves `b` out of the way if it is in the machine register that `a` will be in.
    fn keep_apart(&mut self, b: Operand) {
        let Some((base, off)) = self.key(b) else {
            return;
        };
        if self.held.contains(&(R::R1, base, off)) {
            self.asm.mov(R::R2, R::R1);
            self.held.retain(|held| held.0 != R::R2);
            self.held.insert(0, (R::R2, base, off));
        }
    }

    /// The operand as a source: a small constant as it is, anything else loaded into `via`.
    fn source(&mut self, via: R, operand: Operand) -> Result<Src, TooFar> {
        match operand {
            Operand::Imm(value) if value <= i32::MAX as u64 => Ok(Src::Imm(value as i32)),
            other => {
                self.operand(via, other)?;
                Ok(Src::Reg(via))
            }
        }
    }

    fn write(&mut self, dst: Reg, from: R) {
        if !self.passes_on {
            self.store(dst, Src::Reg(from));
        }
        self.held.clear();
        if let Some((base, off)) = self.key(dst.into()) {
            self.held.push((from, base, off));
        }
    }

    fn store(&mut self, dst: Reg, src: Src) {
        match self.place_of(dst) {
            Place::Memory(size, base, off) => self.asm.store(size, base, off, src),
            Place::Stack(off) => {
                self.asm.mov(measure::SPOILED, src);
                self.asm.alu(Alu::Xor, measure::SPOILED, KEY);
                self.asm.store(Size::Double, R::R10, off, measure::SPOILED);
            }
            Place::None => self.asm.jump(self.fault),
        }
    }

    /// Checks for a fault where one is possible: where [`can_fault`] says no, the roll-back does
    /// not reckon with one.
    fn fault_if(&mut self, inst: &Inst, cmp: Cmp, a: R, b: impl Into<Src>) {
        if can_fault(inst) {
            self.asm.jump_if(cmp, a, b, self.fault);
        }
    }

    fn move_to(&mut self, dst: Reg, src: Operand) -> Result<(), TooFar> {
        let src = self.source(R::R1, src)?;
        if !(self.passes_on && matches!(src, Src::Reg(_))) {
            self.store(dst, src);
        }
        if let Some((base, off)) = self.key(dst.into()) {
            self.held.retain(|held| (held.1, held.2) != (base, off));
            if let Src::Reg(r) = src {
                self.held.push((r, base, off));
            }
        }
        Ok(())
    }

    /// `op(a, b)`; gives the machine register that holds it.
    fn binary(&mut self, inst: &Inst, op: BinaryOp, a: Operand, b: Operand) -> Result<R, TooFar> {
        // A constant on the right can be part of the instruction.
        let commutes = matches!(
            op,
            BinaryOp::Add
                | BinaryOp::Mul
                | BinaryOp::Min
                | BinaryOp::Max
                | BinaryOp::Eq
                | BinaryOp::Ne
        );
        let (a, b) = match (a, b) {
            (Operand::Imm(_), Operand::Primitive(_) | Operand::Reg(_)) if commutes => (b, a),
            _ => (a, b),
        };
        self.keep_apart(b);
        match op {
            BinaryOp::Add => {
                self.operand(R::R1, a)?;
                let b = self.source(R::R2, b)?;
                self.asm.alu(Alu::Add, R::R1, b);
                self.fault_if(inst, Cmp::Lt, R::R1, b);
                Ok(R::R1)
            }
            BinaryOp::Sub => {
                self.operand(R::R1, a)?;
                let b = self.source(R::R2, b)?;
                self.fault_if(inst, Cmp::Lt, R::R1, b);
                self.asm.alu(Alu::Sub, R::R1, b);
                Ok(R::R1)
            }
            BinaryOp::Mul => self.mul(inst, a, b),
            BinaryOp::Div => {
                self.operand(R::R1, a)?;
                match self.source(R::R2, b)? {
                    Src::Imm(0) => {
                        // Always a fault, but one that the verifier, not the flow of control, sees.
                        self.asm.mov(R::R2, 0);
                        self.fault_if(inst, Cmp::Eq, R::R2, 0);
                    }
                    Src::Imm(b) => self.asm.alu(Alu::Div, R::R1, b),
                    Src::Reg(r) => {
                        self.fault_if(inst, Cmp::Eq, r, 0);
                        self.asm.alu(Alu::Div, R::R1, r);
                    }
                }
                Ok(R::R1)
            }
            BinaryOp::Min => self.choose(Cmp::Le, a, b),
            BinaryOp::Max => self.choose(Cmp::Ge, a, b),
            BinaryOp::WrappedMax => self.wrapped_max(a, b),
            BinaryOp::Eq => self.compare(Cmp::Eq, a, b),
            BinaryOp::Ne => self.compare(Cmp::Ne, a, b),
            BinaryOp::Lt => self.compare(Cmp::Lt, a, b),
            BinaryOp::Le => self.compare(Cmp::Le, a, b),
            BinaryOp::Gt => self.compare(Cmp::Gt, a, b),
            BinaryOp::Ge => self.compare(Cmp::Ge, a, b),
            BinaryOp::And => {
                self.operand(R::R1, a)?;
                self.operand(R::R2, b)?;
                self.sign_if_not_zero(R::R3, R::R1);
                self.sign_if_not_zero(R::R4, R::R2);
                self.asm.alu(Alu::And, R::R3, R::R4);
                self.asm.alu(Alu::Shr, R::R3, 63);
                Ok(R::R3)
            }
            BinaryOp::Or => {
                self.operand(R::R1, a)?;
                self.operand(R::R2, b)?;
                self.asm.alu(Alu::Or, R::R1, R::R2);
                self.sign_if_not_zero(R::R3, R::R1);
                self.asm.alu(Alu::Shr, R::R3, 63);
                Ok(R::R3)
            }
        }
    }

    /// Sets the highest bit of `dst` if `src` is not zero, clears it if it is.
    fn sign_if_not_zero(&mut self, dst: R, src: R) {
        self.asm.mov(dst, src);
        self.asm.neg(dst);
        self.asm.alu(Alu::Or, dst, src);
    }

    /// `a` if `a cmp b`, otherwise `b`.
    fn choose(&mut self, cmp: Cmp, a: Operand, b: Operand) -> Result<R, TooFar> {
        self.operand(R::R1, a)?;
        let b = self.source(R::R2, b)?;
        let keep = self.asm.label();
        self.asm.jump_if(cmp, R::R1, b, keep);
        self.asm.mov(R::R1, b);
        self.asm.place(keep)?;
        Ok(R::R1)
    }

    fn compare(&mut self, cmp: Cmp, a: Operand, b: Operand) -> Result<R, TooFar> {
        self.operand(R::R1, a)?;
        let b = self.source(R::R2, b)?;
        let yes = self.asm.label();
        self.asm.mov(R::R0, 1);
        self.asm.jump_if(cmp, R::R1, b, yes);
        self.asm.mov(R::R0, 0);
        self.asm.place(yes)?;
        Ok(R::R0)
    }

    fn mul(&mut self, inst: &Inst, a: Operand, b: Operand) -> Result<R, TooFar> {
        self.operand(R::R1, a)?;
        match b {
            Operand::Imm(0) => {
                self.asm.mov(R::R1, 0);
                return Ok(R::R1);
            }
            Operand::Imm(1) => return Ok(R::R1),
            Operand::Imm(factor) => {
                self.asm.constant(R::R2, u64::MAX / factor);
                self.fault_if(inst, Cmp::Gt, R::R1, R::R2);
                let factor = self.source(R::R2, b)?;
                self.asm.alu(Alu::Mul, R::R1, factor);
                return Ok(R::R1);
            }
            _ => {}
        }
        self.operand(R::R2, b)?;
        // Two factors below 2^32 never overflow.
        self.asm.mov(R::R3, R::R1);
        self.asm.alu(Alu::Or, R::R3, R::R2);
        self.asm.alu(Alu::Shr, R::R3, 32);
        // Otherwise by halves, a = x·2^32 + y and b = z·2^32 + w: x·z must be 0 (so that of x·w and
        // z·y one is 0) and x·w + z·y + (y·w >> 32) below 2^32. Dividing would be shorter, but
        // the kernel rewrites the program at each division, which takes seconds for thousands.
        let spare = match self.ordinary {
            // The context is still needed there, and the flow is not known.
            Some((_, env)) if matches!(env.entry, Entry::Socket { .. }) => FLOW,
            _ => CONTEXT,
        };
        let halves = vec![
            Insn::alu(Alu::Mov, R::R3, R::R1),
            Insn::alu(Alu::Shr, R::R3, 32),
            Insn::alu(Alu::Mov, R::R4, R::R2),
            Insn::alu(Alu::Shr, R::R4, 32),
            Insn::alu32(Alu::Mov, R::R5, R::R1),
            Insn::alu32(Alu::Mov, R::R0, R::R2),
            Insn::alu(Alu::Mov, spare, R::R3),
            Insn::alu(Alu::Mul, spare, R::R4),
            Insn::alu(Alu::Mul, R::R3, R::R0),
            Insn::alu(Alu::Mul, R::R4, R::R5),
            Insn::alu(Alu::Mul, R::R5, R::R0),
            Insn::alu(Alu::Shr, R::R5, 32),
            Insn::alu(Alu::Add, R::R3, R::R4),
            Insn::alu(Alu::Add, R::R3, R::R5),
            Insn::alu(Alu::Shr, R::R3, 32),
            Insn::alu(Alu::Or, R::R3, spare),
        ];
        let leave = (Insn::jump_if(Cmp::Ne, R::R3, 0), self.fault);
        self.asm
            .rarely_leaving(Cmp::Ne, R::R3, 0, halves, Some(leave))?;
        self.asm.alu(Alu::Mul, R::R1, R::R2);
        Ok(R::R1)
    }

    fn wrapped_max(&mut self, a: Operand, b: Operand) -> Result<R, TooFar> {
        self.operand(R::R1, a)?;
        self.operand(R::R2, b)?;
        let (one_is_zero, chosen) = (self.asm.label(), self.asm.label());
        self.sign_if_not_zero(R::R3, R::R1);
        self.sign_if_not_zero(R::R4, R::R2);
        self.asm.alu(Alu::And, R::R3, R::R4);
        self.asm.jump_if(Cmp::SGe, R::R3, 0, one_is_zero);
        self.asm.alu32(Alu::Mov, R::R1, R::R1);
        self.asm.alu32(Alu::Mov, R::R2, R::R2);
        // The ways up, from b to a and from a to b.
        self.asm.alu32(Alu::Mov, R::R3, R::R1);
        self.asm.alu32(Alu::Sub, R::R3, R::R2);
        self.asm.alu32(Alu::Mov, R::R4, R::R2);
        self.asm.alu32(Alu::Sub, R::R4, R::R1);
        self.asm.jump_if(Cmp::Lt, R::R3, R::R4, chosen);
        self.asm.mov(R::R1, R::R2);
        self.asm.jump(chosen);
        self.asm.place(one_is_zero)?;
        self.asm.alu(Alu::Or, R::R1, R::R2);
        self.asm.place(chosen)?;
        Ok(R::R1)
    }

    fn ewma(
        &mut self,
        inst: &Inst,
        dst: Reg,
        weight: Operand,
        sample: Operand,
    ) -> Result<(), TooFar> {
        self.operand(R::R1, dst.into())?;
        self.operand(R::R2, sample)?;
        self.operand(R::R3, weight)?;
        self.fault_if(inst, Cmp::Gt, R::R3, 10);
        // An average of 0 weighs nothing: the sample is taken as it is.
        self.sign_if_not_zero(R::R4, R::R1);
        self.asm.alu(Alu::Sar, R::R4, 63);
        self.asm.alu(Alu::And, R::R3, R::R4);
        self.asm.mov(R::R5, 10);
        self.asm.alu(Alu::Sub, R::R5, R::R3);
        let (large, done) = (self.asm.label(), self.asm.label());
        // Below 2^60, ten times either fits.
        self.asm.mov(R::R4, R::R1);
        self.asm.alu(Alu::Or, R::R4, R::R2);
        self.asm.alu(Alu::Shr, R::R4, 60);
        self.asm.jump_if(Cmp::Ne, R::R4, 0, large);
        self.asm.alu(Alu::Mul, R::R1, R::R3);
        self.asm.alu(Alu::Mul, R::R2, R::R5);
        self.asm.alu(Alu::Add, R::R1, R::R2);
        self.asm.alu(Alu::Div, R::R1, 10);
        self.asm.jump(done);
        self.asm.place(large)?;
        // Tenths and remainders apart.
        self.asm.mov(R::R4, R::R1);
        self.asm.alu(Alu::Div, R::R4, 10);
        self.asm.alu(Alu::Mod, R::R1, 10);
        self.asm.alu(Alu::Mul, R::R4, R::R3);
        self.asm.alu(Alu::Mul, R::R1, R::R3);
        self.asm.mov(R::R0, R::R2);
        self.asm.alu(Alu::Div, R::R0, 10);
        self.asm.alu(Alu::Mod, R::R2, 10);
        self.asm.alu(Alu::Mul, R::R0, R::R5);
        self.asm.alu(Alu::Mul, R::R2, R::R5);
        self.asm.alu(Alu::Add, R::R4, R::R0);
        self.asm.alu(Alu::Add, R::R1, R::R2);
        self.asm.alu(Alu::Div, R::R1, 10);
        self.asm.alu(Alu::Add, R::R1, R::R4);
        self.asm.place(done)?;
        self.write(dst, R::R1);
        Ok(())
    }
}
