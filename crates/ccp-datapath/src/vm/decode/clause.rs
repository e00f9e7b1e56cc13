//! One clause: its condition becomes jumps to the next clause, its body follows.

use ccp_program::{BinaryOp, Clause, Inst, Limits, Operand, Program, Reg, verify};

use super::{Places, compute, read};
use crate::vm::op::Op;

/// Programs of more instructions are decoded without looking for comparisons that need no result.
const MOST_LOOKED_AT: usize = 512;

pub(super) fn emit(program: &Program, places: &Places, clause: &Clause, ops: &mut Vec<Op<u16>>) {
    let mut e = Emitter {
        program,
        places,
        clause,
        ops,
        to_next: Vec::new(),
        to_body: Vec::new(),
        looks: program.len() <= MOST_LOOKED_AT,
    };
    let goes_on = e.goes_on();
    if goes_on == GoesOn::Perhaps {
        e.ops.push(Op::Begin);
    }
    e.condition();
    let body = e.here();
    e.aim(&e.to_body.clone(), body);
    e.body(goes_on);
    match goes_on {
        GoesOn::Always => {}
        GoesOn::Never => e.ops.push(Op::End),
        GoesOn::Perhaps => e.ops.push(Op::EndUnlessGoOn),
    }
    let next = e.here();
    e.aim(&e.to_next.clone(), next);
}

/// Whether the clause after a true one is looked at.
#[derive(Clone, Copy, PartialEq, Eq)]
enum GoesOn {
    Never,
    Always,
    Perhaps,
}

struct Emitter<'a> {
    program: &'a Program,
    places: &'a Places,
    clause: &'a Clause,
    ops: &'a mut Vec<Op<u16>>,
    /// Jumps to be aimed at the next clause, and at the body.
    to_next: Vec<usize>,
    to_body: Vec<usize>,
    looks: bool,
}

impl Emitter<'_> {
    fn here(&self) -> u16 {
        // `Code::new` refuses programs that come near.
        u16::try_from(self.ops.len()).unwrap_or(u16::MAX)
    }

    fn aim(&mut self, jumps: &[usize], target: u16) {
        for jump in jumps {
            if let Some(op) = self.ops.get_mut(*jump) {
                op.aim(target);
            }
        }
    }

    fn goes_on(&self) -> GoesOn {
        let body = &self.clause.body;
        let Some(last) = body.iter().rposition(|i| *i == Inst::Fallthrough) else {
            return GoesOn::Never;
        };
        let passed_over = body
            .iter()
            .enumerate()
            .take(last)
            .any(|(at, inst)| at + usize::from(skips(inst)) >= last);
        if passed_over {
            GoesOn::Perhaps
        } else {
            GoesOn::Always
        }
    }

    fn condition(&mut self) {
        let condition = &self.clause.condition;
        let inlined = self.inlined();
        self.block(condition, &inlined, GoesOn::Perhaps);
        match self.clause.test {
            None => {}
            Some(Operand::Imm(0)) => {
                self.to_next.push(self.ops.len());
                self.ops.push(Op::Jump { to: 0 });
            }
            Some(Operand::Imm(_)) => {}
            Some(test) => {
                let last = self.definition(test, condition.len());
                self.unless(test, last, &inlined);
            }
        }
    }

    /// The instruction before `before` that gives `operand` its value, if it is a temporary.
    fn definition(&self, operand: Operand, before: usize) -> Option<usize> {
        let Operand::Reg(temp @ Reg::Temp(_)) = operand else {
            return None;
        };
        let earlier = self.clause.condition.get(..before)?;
        earlier
            .iter()
            .rposition(|inst| super::written(inst) == Some(temp))
    }

    /// Which instructions of the condition need no result, since it is only looked at: comparisons
    /// and logic that become jumps.
    fn inlined(&self) -> Vec<bool> {
        let condition = &self.clause.condition;
        let mut inlined = vec![false; condition.len()];
        let straight = condition.iter().all(|inst| skips(inst) == 0);
        if !straight || !self.looks || !self.body_stands_alone() {
            return inlined;
        }
        // How often each result is read, and which instruction gave each operand.
        let mut reads = vec![0_u32; condition.len()];
        let mut read_by = |operand: Operand, at: usize| {
            if let Some(count) = self
                .definition(operand, at)
                .and_then(|from| reads.get_mut(from))
            {
                *count += 1;
            }
        };
        for (at, inst) in condition.iter().enumerate() {
            for operand in read(inst).into_iter().flatten() {
                read_by(operand, at);
            }
            if let Inst::Ewma { dst, .. } = inst {
                read_by((*dst).into(), at);
            }
        }
        if let Some(test) = self.clause.test {
            read_by(test, condition.len());
        }
        // From the test backwards, as long as results are read once and are looked at only.
        let mut wanted: Vec<usize> = self
            .clause
            .test
            .and_then(|test| self.definition(test, condition.len()))
            .into_iter()
            .collect();
        while let Some(at) = wanted.pop() {
            let Some(Inst::Binary { op, a, b, .. }) = condition.get(at) else {
                continue;
            };
            if op.can_fault() || !is_looked_at(*op) || reads.get(at) != Some(&1) {
                continue;
            }
            if let Some(place) = inlined.get_mut(at) {
                *place = true;
            }
            if matches!(op, BinaryOp::And | BinaryOp::Or) {
                wanted.extend(self.definition(*a, at));
                wanted.extend(self.definition(*b, at));
            }
        }
        // A temporary that is kept, and written again, would have changed by the time of the jump.
        let changed = |at: usize, operand: Operand| {
            let Some(from) = self.definition(operand, at) else {
                return false;
            };
            let again = condition.iter().enumerate().skip(from + 1);
            inlined.get(from) == Some(&false)
                && again
                    .filter(|(i, _)| inlined.get(*i) == Some(&false))
                    .any(|(_, inst)| super::written(inst).map(Operand::Reg) == Some(operand))
        };
        let any = condition.iter().enumerate().any(|(at, inst)| {
            let operands = read(inst).into_iter().flatten();
            inlined.get(at) == Some(&true) && operands.into_iter().any(|o| changed(at, o))
        });
        if any {
            return vec![false; condition.len()];
        }
        inlined
    }

    /// Whether the body reads no temporary that the condition has written.
    fn body_stands_alone(&self) -> bool {
        self.verifies(Clause {
            body: self.clause.body.clone(),
            ..Clause::default()
        })
    }

    fn verifies(&self, clause: Clause) -> bool {
        let p = self.program;
        let alone = Program {
            primitives: p.primitives.clone(),
            writables: p.writables.clone(),
            controls: p.controls.clone(),
            reports: p.reports.clone(),
            locals: p.locals,
            temps: p.temps,
            clauses: vec![clause],
            own_recovery: p.own_recovery,
        };
        const ANY: u16 = u16::MAX;
        let limits = Limits {
            instructions: ANY,
            clauses: ANY,
            reports: ANY,
            controls: ANY,
            registers: ANY,
        };
        verify(&alone, &limits).is_ok()
    }

    /// A jump to the next clause unless `operand`, which the instruction `from` gives, is true.
    fn unless(&mut self, operand: Operand, from: Option<usize>, inlined: &[bool]) {
        let Some((at, op, a, b)) = self.looked_at(from, inlined) else {
            self.to_next.push(self.ops.len());
            let cond = self.places.of(operand);
            self.ops.push(Op::JumpUnless { cond, to: 0 });
            return;
        };
        let (from_a, from_b) = (self.definition(a, at), self.definition(b, at));
        match op {
            BinaryOp::And => {
                self.unless(a, from_a, inlined);
                self.unless(b, from_b, inlined);
            }
            BinaryOp::Or => {
                // If the left side is true, the right one is passed over.
                let mut over = Vec::new();
                self.when(a, from_a, inlined, &mut over);
                self.unless(b, from_b, inlined);
                let here = self.here();
                self.aim(&over, here);
            }
            _ => {
                self.to_next.push(self.ops.len());
                self.compare(op, a, b);
            }
        }
    }

    /// A jump, to be aimed, if `operand` is true.
    fn when(
        &mut self,
        operand: Operand,
        from: Option<usize>,
        inlined: &[bool],
        jumps: &mut Vec<usize>,
    ) {
        let Some((at, op, a, b)) = self.looked_at(from, inlined) else {
            jumps.push(self.ops.len());
            let cond = self.places.of(operand);
            self.ops.push(Op::JumpIf { cond, to: 0 });
            return;
        };
        let (from_a, from_b) = (self.definition(a, at), self.definition(b, at));
        match op {
            BinaryOp::Or => {
                self.when(a, from_a, inlined, jumps);
                self.when(b, from_b, inlined, jumps);
            }
            BinaryOp::And => {
                // If the left side is not true, neither is the whole.
                let kept = std::mem::take(&mut self.to_next);
                self.unless(a, from_a, inlined);
                let over = std::mem::replace(&mut self.to_next, kept);
                self.when(b, from_b, inlined, jumps);
                let here = self.here();
                self.aim(&over, here);
            }
            _ => {
                jumps.push(self.ops.len());
                self.compare(opposite(op), a, b);
            }
        }
    }

    fn looked_at(
        &self,
        from: Option<usize>,
        inlined: &[bool],
    ) -> Option<(usize, BinaryOp, Operand, Operand)> {
        let at = from.filter(|at| inlined.get(*at) == Some(&true))?;
        match self.clause.condition.get(at)? {
            Inst::Binary { op, a, b, .. } => Some((at, *op, *a, *b)),
            _ => None,
        }
    }

    /// A jump, to be aimed, unless the comparison is true.
    fn compare(&mut self, op: BinaryOp, a: Operand, b: Operand) {
        let (a, b, to) = (self.places.of(a), self.places.of(b), 0);
        self.ops.push(match op {
            BinaryOp::Lt => Op::UnlessLt { a, b, to },
            BinaryOp::Le => Op::UnlessLe { a, b, to },
            BinaryOp::Gt => Op::UnlessLt { a: b, b: a, to },
            BinaryOp::Ge => Op::UnlessLe { a: b, b: a, to },
            BinaryOp::Ne => Op::UnlessNe { a, b, to },
            _ => Op::UnlessEq { a, b, to },
        });
    }

    fn body(&mut self, goes_on: GoesOn) {
        let body = &self.clause.body;
        let mut inlined = vec![false; body.len()];
        if self.looks {
            for at in 0..body.len() {
                if self.is_only_skipped_by(at)
                    && let Some(place) = inlined.get_mut(at)
                {
                    *place = true;
                }
            }
        }
        self.block(body, &inlined, goes_on);
    }

    /// Whether the instruction at `at` of the body is a comparison for the skip behind it, and for
    /// nothing else.
    fn is_only_skipped_by(&self, at: usize) -> bool {
        let body = &self.clause.body;
        let (Some(Inst::Binary { op, dst, .. }), Some(skip)) = (body.get(at), body.get(at + 1))
        else {
            return false;
        };
        let comparison = is_looked_at(*op) && !matches!(op, BinaryOp::And | BinaryOp::Or);
        let cond = match skip {
            Inst::SkipIf { cond, .. } | Inst::SkipUnless { cond, .. } => *cond,
            _ => return false,
        };
        if !comparison || !matches!(dst, Reg::Temp(_)) || cond != Operand::Reg(*dst) {
            return false;
        }
        let jumped_to = body
            .iter()
            .enumerate()
            .take(at)
            .any(|(i, inst)| skips(inst) > 0 && i + 1 + usize::from(skips(inst)) == at + 1);
        if jumped_to {
            return false;
        }
        // Without the comparison, does anything else miss its result?
        let mut without = self.clause.clone();
        if let Some(inst) = without.body.get_mut(at) {
            *inst = Inst::Skip { count: 0 };
        }
        if let Some(Inst::SkipIf { cond, .. } | Inst::SkipUnless { cond, .. }) =
            without.body.get_mut(at + 1)
        {
            *cond = Operand::Imm(1);
        }
        // What the condition wrote there would be read instead.
        let before = without
            .condition
            .iter()
            .any(|i| super::written(i) == Some(*dst))
            || body
                .iter()
                .take(at)
                .any(|i| super::written(i) == Some(*dst));
        if before {
            let rest = without.body.get(at + 1..).unwrap_or_default();
            return self.next_mention_is_a_write(rest, *dst);
        }
        self.verifies(without)
    }

    /// Whether `rest` of the body writes `temp` before it reads it, on every way.
    fn next_mention_is_a_write(&self, rest: &[Inst], temp: Reg) -> bool {
        // Alone, the rest is a body whose first reads are of nothing if they are of `temp`.
        let mut renamed = Vec::with_capacity(rest.len() + 1);
        for t in 0..self.program.temps {
            if Reg::Temp(t) != temp {
                let dst = Reg::Temp(t);
                renamed.push(Inst::Move {
                    dst,
                    src: Operand::Imm(0),
                });
            }
        }
        renamed.extend_from_slice(rest);
        self.verifies(Clause {
            body: renamed,
            ..Clause::default()
        })
    }

    fn block(&mut self, insts: &[Inst], inlined: &[bool], goes_on: GoesOn) {
        let mut at_op = vec![0_u16; insts.len() + 1];
        let mut jumps: Vec<(usize, usize)> = Vec::new();
        for (at, inst) in insts.iter().enumerate() {
            if let Some(place) = at_op.get_mut(at) {
                *place = self.here();
            }
            if inlined.get(at) == Some(&true) {
                continue;
            }
            let before = at.checked_sub(1).filter(|b| inlined.get(*b) == Some(&true));
            let compared = before.and_then(|b| match insts.get(b) {
                Some(Inst::Binary { op, a, b, .. }) => Some((*op, *a, *b)),
                _ => None,
            });
            match *inst {
                Inst::Skip { count: 0 } => continue,
                Inst::Skip { .. } => {
                    jumps.push((self.ops.len(), at));
                    self.ops.push(Op::Jump { to: 0 });
                }
                Inst::SkipIf { cond, .. } => {
                    jumps.push((self.ops.len(), at));
                    match compared {
                        Some((op, a, b)) => self.compare(opposite(op), a, b),
                        None => {
                            let cond = self.places.of(cond);
                            self.ops.push(Op::JumpIf { cond, to: 0 });
                        }
                    }
                }
                Inst::SkipUnless { cond, .. } => {
                    jumps.push((self.ops.len(), at));
                    match compared {
                        Some((op, a, b)) => self.compare(op, a, b),
                        None => {
                            let cond = self.places.of(cond);
                            self.ops.push(Op::JumpUnless { cond, to: 0 });
                        }
                    }
                }
                Inst::Report => self.ops.push(Op::Report),
                Inst::Fallthrough if goes_on == GoesOn::Perhaps => self.ops.push(Op::GoOn),
                Inst::Fallthrough => {}
                _ => self.ops.extend(compute(self.places, inst)),
            }
        }
        if let Some(place) = at_op.last_mut() {
            *place = self.here();
        }
        for (jump, at) in jumps {
            let target = insts.get(at).map_or(0, |i| at + 1 + usize::from(skips(i)));
            let op = at_op.get(target).copied().unwrap_or_default();
            self.aim(&[jump], op);
        }
    }
}

/// How many instructions `inst` may pass over.
fn skips(inst: &Inst) -> u16 {
    match inst {
        Inst::Skip { count } | Inst::SkipIf { count, .. } | Inst::SkipUnless { count, .. } => {
            *count
        }
        _ => 0,
    }
}

/// Whether a result is 0 or 1, cannot fault, and can be had by jumping.
fn is_looked_at(op: BinaryOp) -> bool {
    matches!(
        op,
        BinaryOp::Eq
            | BinaryOp::Ne
            | BinaryOp::Lt
            | BinaryOp::Le
            | BinaryOp::Gt
            | BinaryOp::Ge
            | BinaryOp::And
            | BinaryOp::Or
    )
}

/// The comparison that is true when this one is not.
fn opposite(op: BinaryOp) -> BinaryOp {
    match op {
        BinaryOp::Eq => BinaryOp::Ne,
        BinaryOp::Ne => BinaryOp::Eq,
        BinaryOp::Lt => BinaryOp::Ge,
        BinaryOp::Ge => BinaryOp::Lt,
        BinaryOp::Le => BinaryOp::Gt,
        BinaryOp::Gt => BinaryOp::Le,
        other => other,
    }
}
