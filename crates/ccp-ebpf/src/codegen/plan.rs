//! Where each register of a program lives in the socket's storage, and what a fault must restore.
//!
//! The layout: controls from [`REG_CONTROL`] on; behind them reports, locals, temporaries, saved
//! values that the stack has no room for.
//! Temporaries whose lives do not overlap share a register: a verified program reads a temporary
//! only after it wrote it in the same clause, and jumps only go forward, so a temporary lives from
//! its first to its last mention in a clause.

use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg};

use super::CodegenError;
use crate::layout::{
    MAX_PRIMITIVES, MAX_REGISTERS, PRIM_NOW, PRIM_SSTHRESH, REG_CONTROL, REG_CWND, REG_MICROS,
    REG_RATE, REG_SSTHRESH,
};

/// Values that are saved on the BPF stack (512 bytes, 8 each; two words stay free, see `frame`).
pub(super) const STACK_SAVES: usize = 62;

/// The register `Ssthresh`, by its place in this datapath's table.
pub(super) const SSTHRESH: Reg = Reg::Writable(2);

/// How a clause that was true goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum GoesOn {
    /// No later clause is looked at.
    Never,
    /// The next clause is looked at.
    Always,
    /// Depends on the way through the body: a flag says it.
    Depends,
}

/// Where an old value is kept until the invocation can no longer fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Saved {
    /// On the stack, this many bytes below its top (a negative number).
    Stack(i16),
    /// In this register.
    Register(usize),
}

#[derive(Debug)]
pub(super) struct Plan {
    reports: usize,
    locals: usize,
    first_temp: usize,
    shared_temps: usize,
    /// Per clause: the register of each temporary.
    temps: Vec<Vec<usize>>,
    /// Per clause: how often each temporary is mentioned.
    mentions: Vec<Vec<u32>>,
    pub(super) goes_on: Vec<GoesOn>,
    /// Whether the program can report.
    pub(super) reports_at_all: bool,
    /// What to save at entry, and where.
    pub(super) saves: Vec<(usize, Saved)>,
    pub(super) reads_micros: bool,
    pub(super) writes_micros: bool,
    pub(super) writes_ssthresh: bool,
    /// A bit per primitive that is read.
    pub(super) prim_mask: u64,
}

impl Plan {
    pub(super) fn new(program: &Program) -> Result<Self, CodegenError> {
        let reports = REG_CONTROL + program.controls.len();
        let locals = reports + program.reports.len();
        let first_temp = locals + usize::from(program.locals);
        let mut next = first_temp;
        let temps: Vec<Vec<usize>> = program
            .clauses
            .iter()
            .map(|clause| {
                let (places, used) = share(clause, usize::from(program.temps), first_temp);
                next = next.max(first_temp + used);
                places
            })
            .collect();
        let shared = next - first_temp;
        let goes_on: Vec<GoesOn> = program.clauses.iter().map(|c| goes_on(&c.body)).collect();
        let mut plan = Self {
            reports,
            locals,
            first_temp,
            shared_temps: shared,
            temps,
            mentions: program
                .clauses
                .iter()
                .map(|clause| mentions(clause, usize::from(program.temps)))
                .collect(),
            goes_on,
            reports_at_all: instructions(program).any(|i| matches!(i, Inst::Report)),
            saves: Vec::new(),
            reads_micros: reads(program).any(|o| o == Operand::Reg(Reg::Micros)),
            writes_micros: writes(program).any(|reg| reg == Reg::Micros),
            writes_ssthresh: writes(program).any(|reg| reg == SSTHRESH),
            prim_mask: 0,
        };
        plan.saves = plan
            .to_save(program)
            .into_iter()
            .enumerate()
            .map(|(i, register)| {
                let place = if i < STACK_SAVES {
                    Saved::Stack(-8 * (i as i16 + 1))
                } else {
                    next += 1;
                    Saved::Register(next - 1)
                };
                (register, place)
            })
            .collect();
        if next > MAX_REGISTERS {
            return Err(CodegenError::Registers {
                needed: next - reports,
                room: MAX_REGISTERS - reports,
                reports: program.reports.len(),
                locals: usize::from(program.locals),
                temps: shared,
                saved: plan.saves.len(),
            });
        }
        plan.prim_mask = prim_mask(program)?;
        Ok(plan)
    }

    /// The place in `reg` of a register of clause `clause`.
    pub(super) fn register(&self, clause: usize, reg: Reg) -> usize {
        match reg {
            Reg::Micros => REG_MICROS,
            Reg::Writable(0) => REG_CWND,
            Reg::Writable(1) => REG_RATE,
            // The caller has refused programs that mention others.
            Reg::Writable(_) => REG_SSTHRESH,
            Reg::Control(i) => REG_CONTROL + usize::from(i),
            Reg::Report(i) => self.report(usize::from(i)),
            Reg::Local(i) => self.locals + usize::from(i),
            Reg::Temp(i) => self.temps[clause][usize::from(i)],
        }
    }

    /// How many registers temporaries need.
    pub(super) const fn shared_temps(&self) -> usize {
        self.shared_temps
    }

    /// Which of them a temporary has.
    pub(super) fn temp(&self, clause: usize, temp: u16) -> usize {
        self.temps[clause][usize::from(temp)] - self.first_temp
    }

    /// Whether a temporary of clause `clause`, which is written, is written and read once each.
    pub(super) fn is_read_once(&self, clause: usize, temp: u16) -> bool {
        self.mentions[clause][usize::from(temp)] == 2
    }

    /// The place in `reg` of a report variable.
    pub(super) fn report(&self, i: usize) -> usize {
        self.reports + i
    }

    /// The values of the registers from [`REG_CONTROL`] to the last local when `program` starts.
    pub(super) fn defaults(&self, program: &Program) -> Vec<u64> {
        let end = self.locals + usize::from(program.locals);
        let mut values = vec![0; end - REG_CONTROL];
        for (i, control) in program.controls.iter().enumerate() {
            values[i] = control.default;
        }
        for (i, report) in program.reports.iter().enumerate() {
            values[self.report(i) - REG_CONTROL] = report.default;
        }
        values
    }

    /// The registers that a fault may find changed: those written before the last instruction
    /// that can fault. Temporaries have no value from before, and the glue loads `Micros` and
    /// `Ssthresh` anew.
    fn to_save(&self, program: &Program) -> Vec<usize> {
        let Some(last) = instructions(program)
            .enumerate()
            .filter_map(|(at, inst)| can_fault(inst).then_some(at))
            .last()
        else {
            return Vec::new();
        };
        let mut saved: Vec<usize> = instructions(program)
            .take(last)
            .filter_map(written)
            .filter(|reg| !matches!(*reg, Reg::Temp(_) | Reg::Micros | SSTHRESH))
            .map(|reg| self.register(0, reg))
            .collect();
        saved.sort_unstable();
        saved.dedup();
        saved
    }
}

/// Whether `inst` can fault at all, as far as its constants tell.
pub(super) fn can_fault(inst: &Inst) -> bool {
    match *inst {
        Inst::Binary { op, a, b, .. } => match (op, a, b) {
            (BinaryOp::Add, Operand::Imm(0), _)
            | (BinaryOp::Add | BinaryOp::Sub, _, Operand::Imm(0))
            | (BinaryOp::Mul, Operand::Imm(0 | 1), _)
            | (BinaryOp::Mul, _, Operand::Imm(0 | 1))
            | (BinaryOp::Div, _, Operand::Imm(1..)) => false,
            _ => op.can_fault(),
        },
        Inst::Ewma { weight, .. } => !matches!(weight, Operand::Imm(0..=10)),
        _ => false,
    }
}

pub(super) fn written(inst: &Inst) -> Option<Reg> {
    match *inst {
        Inst::Binary { dst, .. } | Inst::Ewma { dst, .. } | Inst::Move { dst, .. } => Some(dst),
        _ => None,
    }
}

pub(super) fn read(inst: &Inst) -> [Option<Operand>; 2] {
    match *inst {
        Inst::Binary { a, b, .. } => [Some(a), Some(b)],
        Inst::Ewma { weight, sample, .. } => [Some(weight), Some(sample)],
        Inst::Move { src, .. } => [Some(src), None],
        Inst::SkipIf { cond, .. } | Inst::SkipUnless { cond, .. } => [Some(cond), None],
        Inst::Skip { .. } | Inst::Report | Inst::Fallthrough => [None, None],
    }
}

fn instructions(program: &Program) -> impl Iterator<Item = &Inst> {
    program
        .clauses
        .iter()
        .flat_map(|c| c.condition.iter().chain(&c.body))
}

/// Everything that is read.
pub(super) fn reads(program: &Program) -> impl Iterator<Item = Operand> {
    let tests = program.clauses.iter().filter_map(|c| c.test);
    instructions(program).flat_map(read).flatten().chain(tests)
}

/// Everything that is written.
pub(super) fn writes(program: &Program) -> impl Iterator<Item = Reg> {
    instructions(program).filter_map(written)
}

fn prim_mask(program: &Program) -> Result<u64, CodegenError> {
    let mut mask = 0;
    for operand in reads(program) {
        if let Operand::Primitive(i) = operand {
            let index = usize::from(i);
            if index >= MAX_PRIMITIVES {
                return Err(CodegenError::Primitive {
                    name: program
                        .primitives
                        .get(index)
                        .map_or_else(String::new, |d| d.name.to_string()),
                    index,
                    room: MAX_PRIMITIVES,
                });
            }
            mask |= 1 << index;
        }
    }
    // Writing `Micros` needs the time.
    if writes(program).any(|reg| reg == Reg::Micros) {
        mask |= 1 << PRIM_NOW;
    }
    // The glue loads the register with the measurement.
    let reads_ssthresh = reads(program).any(|o| o == Operand::Reg(SSTHRESH));
    if reads_ssthresh || writes(program).any(|reg| reg == SSTHRESH) {
        mask |= 1 << PRIM_SSTHRESH;
    }
    Ok(mask)
}

/// Whether a body that ran to its end said `Fallthrough`.
pub(super) fn goes_on(body: &[Inst]) -> GoesOn {
    let mut passed_to = 0;
    let mut result = GoesOn::Never;
    for (at, inst) in body.iter().enumerate() {
        match *inst {
            Inst::Skip { count } | Inst::SkipIf { count, .. } | Inst::SkipUnless { count, .. } => {
                passed_to = passed_to.max(at + 1 + usize::from(count));
            }
            Inst::Fallthrough if at >= passed_to => return GoesOn::Always,
            Inst::Fallthrough => result = GoesOn::Depends,
            _ => {}
        }
    }
    result
}

/// How often each temporary of a clause is read or written.
fn mentions(clause: &Clause, temps: usize) -> Vec<u32> {
    let mut counts = vec![0; temps];
    let insts = || clause.condition.iter().chain(&clause.body);
    let reads = insts().flat_map(read).flatten().chain(clause.test);
    let writes = insts().filter_map(written).map(Operand::Reg);
    for operand in reads.chain(writes) {
        if let Operand::Reg(Reg::Temp(t)) = operand {
            counts[usize::from(t)] += 1;
        }
    }
    counts
}

/// Gives each temporary of a clause a register from `first` on; also how many were used.
fn share(clause: &Clause, temps: usize, first: usize) -> (Vec<usize>, usize) {
    let mut lives: Vec<Option<(usize, usize)>> = vec![None; temps];
    let mut mention = |at: usize, operand: Operand| {
        if let Operand::Reg(Reg::Temp(t)) = operand {
            let life = &mut lives[usize::from(t)];
            *life = Some(life.map_or((at, at), |(from, to)| (from.min(at), to.max(at))));
        }
    };
    let length = clause.condition.len();
    for (at, inst) in clause.condition.iter().chain(&clause.body).enumerate() {
        // The test is looked at between condition and body.
        let at = if at < length { at } else { at + 1 };
        for operand in read(inst).into_iter().flatten() {
            mention(at, operand);
        }
        if let Some(dst) = written(inst) {
            mention(at, dst.into());
        }
    }
    if let Some(test) = clause.test {
        mention(length, test);
    }
    let mut order: Vec<(usize, usize, usize)> = lives
        .iter()
        .enumerate()
        .filter_map(|(t, life)| life.map(|(from, to)| (from, to, t)))
        .collect();
    order.sort_unstable();
    let mut places = vec![first; temps];
    let mut free_from: Vec<usize> = Vec::new();
    for (from, to, temp) in order {
        // An operand may share the register of the result: operands are loaded before it is stored.
        let slot = match free_from.iter().position(|&end| end <= from) {
            Some(slot) => slot,
            None => {
                free_from.push(0);
                free_from.len() - 1
            }
        };
        free_from[slot] = to;
        places[temp] = first + slot;
    }
    (places, free_from.len())
}

#[cfg(test)]
mod tests;
