//! One clause: its instructions in the library's terms.

use std::collections::BTreeMap;

use ccp_program::libccp::{Class, Instruction, Opcode, Register, implicit};
use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg, RegisterTable, Type};

use super::allocate::{Draft, Place, TooMany, allocate};
use super::paths::{Path, Step, paths};
use super::{LimitError, MAX_CONSTANT, control, immediate, local, register, report};

mod operations;
mod uses;

pub(super) use uses::is_skip;
use uses::{read_before_written, reads, writes};

const EVENT_FLAG: Place = fixed_implicit(implicit::EVENT_FLAG);
const SHOULD_CONTINUE: Place = fixed_implicit(implicit::SHOULD_CONTINUE);
const SHOULD_REPORT: Place = fixed_implicit(implicit::SHOULD_REPORT);
const ZERO: Place = constant(0);
const ONE: Place = constant(1);

const fn fixed_implicit(index: u32) -> Place {
    Place::Fixed(Register {
        class: Class::Implicit,
        index,
    })
}

const fn constant(index: u32) -> Place {
    Place::Fixed(Register {
        class: Class::Immediate,
        index,
    })
}

/// What all clauses of a program share.
pub(super) struct Context<'p> {
    program: &'p Program,
    primitives: Vec<Option<Register>>,
    writables: Vec<Option<Register>>,
    /// Report and local variables that hold nothing but 0 and 1.
    flags: Vec<Reg>,
    /// The first clause that may say `Fallthrough`.
    first_fallthrough: Option<usize>,
}

/// A clause in the library's terms.
pub(super) struct Code {
    /// Condition and body.
    pub(super) instructions: Vec<Instruction>,
    /// How many of them are the condition.
    pub(super) condition_len: usize,
}

impl<'p> Context<'p> {
    pub(super) fn new(program: &'p Program) -> Self {
        let table = RegisterTable::libccp();
        let primitives = program.primitives.iter().map(|def| {
            let (index, _) = table.primitive(&def.name)?;
            Some(register(Class::Primitive, usize::from(index)))
        });
        let writables = program.writables.iter().map(|def| {
            let index = match def.name.as_ref() {
                "Cwnd" => implicit::CWND,
                "Rate" => implicit::RATE,
                _ => return None,
            };
            let class = Class::Implicit;
            Some(Register { class, index })
        });
        let says = |clause: &Clause| clause.body.contains(&Inst::Fallthrough);
        Self {
            program,
            primitives: primitives.collect(),
            writables: writables.collect(),
            flags: flags(program),
            first_fallthrough: program.clauses.iter().position(says),
        }
    }
}

/// The report and local variables that never hold anything but 0 and 1. Control variables may be
/// given any value by the agent.
fn flags(program: &Program) -> Vec<Reg> {
    let reports = (0..).map(Reg::Report).zip(&program.reports);
    let mut flags: Vec<Reg> = reports
        .filter(|(_, v)| v.ty == Type::Bool && v.default <= 1)
        .map(|(reg, _)| reg)
        .chain((0..program.locals).map(Reg::Local))
        .collect();
    let insts = || program.clauses.iter().flat_map(|c| &c.body);
    // A variable drops out when something else is written to it; that may drop others.
    loop {
        let before = flags.len();
        let is_flag = |flags: &[Reg], operand: Operand| match operand {
            Operand::Imm(value) => value <= 1,
            Operand::Primitive(i) => {
                let def = program.primitives.get(usize::from(i));
                def.is_some_and(|d| d.name == "Flow.was_timeout")
            }
            Operand::Reg(reg) => flags.contains(&reg),
        };
        for inst in insts() {
            let (dst, good) = match *inst {
                Inst::Binary { op, dst, a, b } => {
                    let good = match op {
                        BinaryOp::Min | BinaryOp::Max | BinaryOp::Mul => {
                            is_flag(&flags, a) && is_flag(&flags, b)
                        }
                        op => gives_flag(op),
                    };
                    (dst, good)
                }
                Inst::Move { dst, src } => (dst, is_flag(&flags, src)),
                Inst::Ewma { dst, .. } => (dst, false),
                _ => continue,
            };
            if !good {
                flags.retain(|reg| *reg != dst);
            }
        }
        if flags.len() == before {
            return flags;
        }
    }
}

fn gives_flag(op: BinaryOp) -> bool {
    use BinaryOp::{And, Eq, Ge, Gt, Le, Lt, Ne, Or};
    matches!(op, And | Eq | Ge | Gt | Le | Lt | Ne | Or)
}

/// The code of the clause at `index`.
pub(super) fn lower(
    context: &Context<'_>,
    index: usize,
    clause: &Clause,
) -> Result<Code, LimitError> {
    let mut lowerer = Lowerer {
        context,
        clause: index,
        drafts: Vec::new(),
        origin: 0,
        results: 0,
        flags: Vec::new(),
        temps: BTreeMap::new(),
    };
    lowerer.condition(clause)?;
    let condition = lowerer.drafts.len();
    lowerer.origin = clause.condition.len();
    if lowerer.must_take_fallthrough_back(clause) {
        lowerer.bind(SHOULD_CONTINUE, ZERO);
    }
    lowerer.block(&clause.body, clause.condition.len(), false)?;
    let allocated = allocate(&lowerer.drafts, lowerer.results, condition);
    let refused = |TooMany { origin, needed }| LimitError::Temporaries {
        clause: index,
        inst: origin,
        needed,
    };
    let (instructions, condition_len) = allocated.map_err(refused)?;
    Ok(Code {
        instructions,
        condition_len,
    })
}

/// Something that depends on a register being zero or not.
#[derive(Clone, Copy)]
struct Guard {
    place: Place,
    not_zero: bool,
}

struct Lowerer<'c> {
    context: &'c Context<'c>,
    clause: usize,
    drafts: Vec<Draft>,
    /// The instruction of the clause being lowered.
    origin: usize,
    /// How many intermediate results there are so far.
    results: usize,
    /// Those that are 0 or 1.
    flags: Vec<usize>,
    /// Where the value of each of the IR's temporaries is at this point.
    temps: BTreeMap<u16, Place>,
}

/// What a block's skips look at.
struct Skips<'i> {
    insts: &'i [Inst],
    /// Whether temporaries may be looked at after the block.
    lives_on: bool,
    paths: Vec<Option<Path>>,
    /// Where what the skip at this place looks at is kept.
    looked_at: BTreeMap<usize, Place>,
    /// Registers that are not zero exactly if a path holds.
    holds: BTreeMap<Path, Place>,
    /// At which instruction which temporary gets its earlier value back.
    restore: Vec<(usize, u16, Option<Place>)>,
}

impl Lowerer<'_> {
    fn result(&mut self) -> Place {
        self.results += 1;
        Place::Result(self.results - 1)
    }

    fn emit(&mut self, op: Opcode, ret: Place, left: Place, right: Place) {
        let origin = self.origin;
        self.drafts.push(Draft {
            op,
            ret,
            left,
            right,
            origin,
        });
    }

    fn bind(&mut self, ret: Place, value: Place) {
        self.emit(Opcode::Bind, ret, ZERO, value);
    }

    /// `ret = value` if the guard holds.
    fn bind_if(&mut self, guard: Guard, ret: Place, value: Place) {
        let op = if guard.not_zero {
            Opcode::If
        } else {
            Opcode::NotIf
        };
        self.emit(op, ret, guard.place, value);
    }

    /// The library never clears the flag that `(fallthrough)` sets; the clauses after one that
    /// may have set it do, if there is a later clause that it would matter to.
    fn must_take_fallthrough_back(&self, clause: &Clause) -> bool {
        let earlier = self
            .context
            .first_fallthrough
            .is_some_and(|f| f < self.clause);
        let last = self.clause + 1 == self.context.program.clauses.len();
        let conditional = clause.body.iter().any(|inst| {
            matches!(
                inst,
                Inst::Skip { .. } | Inst::SkipIf { .. } | Inst::SkipUnless { .. }
            )
        });
        let says_so = clause.body.contains(&Inst::Fallthrough) && !conditional;
        earlier && !last && !says_so
    }

    fn condition(&mut self, clause: &Clause) -> Result<(), LimitError> {
        let insts = &clause.condition;
        let Some(test) = clause.test else {
            self.block(insts, 0, true)?;
            self.bind(EVENT_FLAG, ONE);
            return Ok(());
        };
        // The last operation can put its result into the flag itself.
        if let (Some((last, before)), Operand::Reg(tested)) = (insts.split_last(), test)
            && let Inst::Binary { op, dst, a, b } = *last
            && dst == tested
            && !insts.iter().any(is_skip)
            && !read_before_written(&clause.body, tested)
        {
            self.block(before, 0, true)?;
            self.origin = before.len();
            let (a, b) = (self.operand(a)?, self.operand(b)?);
            self.binary(op, EVENT_FLAG, a, b, true);
            return Ok(());
        }
        self.block(insts, 0, true)?;
        self.origin = insts.len().saturating_sub(1);
        let test = self.operand(test)?;
        self.bind(EVENT_FLAG, test);
        Ok(())
    }

    /// `first` is the number of the block's first instruction in its clause; `lives_on` says
    /// whether temporaries may be looked at after the block.
    fn block(&mut self, insts: &[Inst], first: usize, lives_on: bool) -> Result<(), LimitError> {
        let clause = self.clause;
        let paths = paths(insts).map_err(|at| LimitError::ControlFlow {
            clause,
            inst: first + at,
        })?;
        let mut skips = Skips {
            insts,
            lives_on,
            paths,
            looked_at: BTreeMap::new(),
            holds: BTreeMap::new(),
            restore: Vec::new(),
        };
        for (at, inst) in insts.iter().enumerate() {
            self.origin = first + at;
            self.restore(&mut skips, at);
            // What is never reached needs no code.
            let Some(path) = skips.paths.get(at).cloned().flatten() else {
                continue;
            };
            self.inst(inst, at, &path, &mut skips)?;
        }
        self.restore(&mut skips, insts.len());
        Ok(())
    }

    fn restore(&mut self, skips: &mut Skips<'_>, at: usize) {
        while let Some((end, temp, place)) = skips.restore.last().copied()
            && end <= at
        {
            skips.restore.pop();
            match place {
                Some(place) => self.temps.insert(temp, place),
                None => self.temps.remove(&temp),
            };
        }
    }

    fn inst(
        &mut self,
        inst: &Inst,
        at: usize,
        path: &Path,
        skips: &mut Skips<'_>,
    ) -> Result<(), LimitError> {
        match *inst {
            Inst::Skip { .. } => {}
            Inst::SkipIf { cond, .. } | Inst::SkipUnless { cond, .. } => {
                self.look(cond, at, skips)?;
            }
            Inst::Report | Inst::Fallthrough => {
                let flag = match inst {
                    Inst::Report => SHOULD_REPORT,
                    _ => SHOULD_CONTINUE,
                };
                match self.guard(path, skips) {
                    None => self.bind(flag, ONE),
                    Some(guard) => self.bind_if(guard, flag, ONE),
                }
            }
            Inst::Move { dst, src } => {
                let src = self.operand(src)?;
                match self.guard(path, skips) {
                    None => {
                        let ret = self.destination(dst)?;
                        self.mark(ret, self.is_flag(src));
                        self.bind(ret, src);
                    }
                    Some(guard) => self.write_if(guard, dst, src, at, skips)?,
                }
            }
            Inst::Binary { op, dst, a, b } => {
                let (a, b) = (self.operand(a)?, self.operand(b)?);
                match self.guard(path, skips) {
                    None => {
                        let ret = self.destination(dst)?;
                        self.binary(op, ret, a, b, false);
                    }
                    Some(guard) => {
                        let b = if op.can_fault() {
                            self.harmless(op, guard, b)
                        } else {
                            b
                        };
                        let value = self.result();
                        self.binary(op, value, a, b, false);
                        self.write_if(guard, dst, value, at, skips)?;
                    }
                }
            }
            Inst::Ewma {
                dst,
                weight,
                sample,
            } => {
                let (weight, sample) = (self.operand(weight)?, self.operand(sample)?);
                let old = self.operand(dst.into())?;
                let guard = self.guard(path, skips);
                self.check_weight(weight, guard);
                match guard {
                    None => {
                        self.mark(old, false);
                        self.emit(Opcode::Ewma, old, weight, sample);
                    }
                    Some(guard) => {
                        let value = self.result();
                        self.bind(value, old);
                        self.emit(Opcode::Ewma, value, weight, sample);
                        self.write_if(guard, dst, value, at, skips)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Keeps what the skip at `at` looks at for as long as something depends on it.
    fn look(&mut self, cond: Operand, at: usize, skips: &mut Skips<'_>) -> Result<(), LimitError> {
        let depends = |path: &Option<Path>| {
            let steps = path.iter().flatten();
            steps.into_iter().any(|step| step.skip == at)
        };
        let Some(last) = skips.paths.iter().rposition(depends) else {
            return Ok(());
        };
        // The last of them is done with it when it writes.
        let region = skips.insts.get(at..last).unwrap_or_default();
        let changes = match cond {
            Operand::Imm(_) => false,
            // The library reads its clock again each time.
            Operand::Primitive(i) => {
                let def = self.context.program.primitives.get(usize::from(i));
                def.is_some_and(|d| d.name == "Ack.now")
            }
            Operand::Reg(reg) => region.iter().any(|inst| writes(inst) == Some(reg)),
        };
        let mut place = self.operand(cond)?;
        if changes {
            let copy = self.result();
            self.mark(copy, self.is_flag(place));
            self.bind(copy, place);
            place = copy;
        }
        skips.looked_at.insert(at, place);
        Ok(())
    }

    /// What an instruction with this path depends on; `None` if it is always reached.
    fn guard(&mut self, path: &[Step], skips: &mut Skips<'_>) -> Option<Guard> {
        match path {
            [] => None,
            [Step { skip, not_zero }] => Some(Guard {
                place: skips.looked_at.get(skip).copied().unwrap_or(ZERO),
                not_zero: *not_zero,
            }),
            _ => Some(Guard {
                place: self.holds(path, skips),
                not_zero: true,
            }),
        }
    }

    /// A register that is not zero exactly if the path holds.
    fn holds(&mut self, path: &[Step], skips: &mut Skips<'_>) -> Place {
        let Some((step, before)) = path.split_last() else {
            return ONE;
        };
        if let Some(known) = skips.holds.get(path) {
            return *known;
        }
        let place = skips.looked_at.get(&step.skip).copied().unwrap_or(ZERO);
        if before.is_empty() && step.not_zero {
            return place;
        }
        let outer = self.holds(before, skips);
        let guard = Guard {
            place,
            not_zero: step.not_zero,
        };
        let ret = self.result();
        let flag = self.is_flag(outer);
        if flag && step.not_zero && self.is_flag(place) {
            self.emit(Opcode::Mul, ret, outer, place);
        } else {
            self.bind(ret, ZERO);
            self.bind_if(guard, ret, outer);
        }
        self.mark(ret, flag);
        skips.holds.insert(path.to_vec(), ret);
        ret
    }

    /// `dst = value` if the guard holds.
    fn write_if(
        &mut self,
        guard: Guard,
        dst: Reg,
        value: Place,
        at: usize,
        skips: &mut Skips<'_>,
    ) -> Result<(), LimitError> {
        let Reg::Temp(temp) = dst else {
            let ret = self.destination(dst)?;
            self.bind_if(guard, ret, value);
            return Ok(());
        };
        let end = skips.end_of_region(at);
        let needed_after = skips.read_after(end, temp);
        let old = self.temps.get(&temp).copied();
        if !needed_after {
            // Nobody sees it unless it was reached: no need to depend on anything.
            let fresh = self.result();
            self.mark(fresh, self.is_flag(value));
            self.bind(fresh, value);
            self.temps.insert(temp, fresh);
            // Inner regions end first, and of one region's writes the last is undone first.
            let place = skips.restore.partition_point(|(e, _, _)| *e >= end);
            skips.restore.insert(place, (end, temp, old));
            return Ok(());
        }
        // Only a whole new value gets a new place, so that nothing else looks at this one.
        let merged = match old {
            Some(old) => old,
            None => self.result(),
        };
        self.mark(
            merged,
            self.is_flag(value) && old.is_none_or(|old| self.is_flag(old)),
        );
        self.bind_if(guard, merged, value);
        self.temps.insert(temp, merged);
        Ok(())
    }

    /// Where the next value of `reg` goes when it is written in any case.
    fn destination(&mut self, reg: Reg) -> Result<Place, LimitError> {
        if let Reg::Temp(temp) = reg {
            let fresh = self.result();
            self.temps.insert(temp, fresh);
            return Ok(fresh);
        }
        self.home(reg).map(Place::Fixed)
    }

    fn operand(&mut self, operand: Operand) -> Result<Place, LimitError> {
        match operand {
            Operand::Imm(u64::MAX) => Ok(Place::Fixed(immediate(MAX_CONSTANT))),
            Operand::Imm(value) if value <= MAX_CONSTANT => Ok(Place::Fixed(immediate(value))),
            Operand::Imm(value) => {
                // Upper half · 2^16 · 2^16 + lower half.
                let ret = self.result();
                let (upper, lower) = (value >> 32, value & MAX_CONSTANT);
                let shift = constant(1 << 16);
                self.emit(Opcode::Mul, ret, Place::Fixed(immediate(upper)), shift);
                self.emit(Opcode::Mul, ret, ret, shift);
                self.emit(Opcode::Add, ret, ret, Place::Fixed(immediate(lower)));
                Ok(ret)
            }
            Operand::Primitive(i) => {
                let known = self
                    .context
                    .primitives
                    .get(usize::from(i))
                    .copied()
                    .flatten();
                known.map(Place::Fixed).ok_or_else(|| {
                    let def = self.context.program.primitives.get(usize::from(i));
                    LimitError::Primitive {
                        clause: self.clause,
                        inst: self.origin,
                        name: def.map_or_else(String::new, |d| d.name.to_string()),
                    }
                })
            }
            // Verified programs read no temporary before it was written.
            Operand::Reg(Reg::Temp(temp)) => Ok(self.temps.get(&temp).copied().unwrap_or(ZERO)),
            Operand::Reg(reg) => self.home(reg).map(Place::Fixed),
        }
    }

    /// The library's register for one that is not a temporary.
    fn home(&self, reg: Reg) -> Result<Register, LimitError> {
        let program = self.context.program;
        let variable = |list: &[_], i: u16, home: fn(&_, usize) -> Register| {
            let index = usize::from(i);
            list.get(index).map(|v| home(v, index))
        };
        let home = match reg {
            Reg::Micros => Some(register(Class::Implicit, 3)),
            Reg::Control(i) => variable(&program.controls, i, control),
            Reg::Report(i) => variable(&program.reports, i, report),
            Reg::Local(i) => Some(local(program, usize::from(i))),
            Reg::Writable(i) => self
                .context
                .writables
                .get(usize::from(i))
                .copied()
                .flatten(),
            Reg::Temp(_) => None,
        };
        home.ok_or_else(|| {
            let name = match reg {
                Reg::Writable(i) => program.writables.get(usize::from(i)),
                _ => None,
            };
            LimitError::Writable {
                clause: self.clause,
                inst: self.origin,
                name: name.map_or_else(String::new, |d| d.name.to_string()),
            }
        })
    }
}

impl Skips<'_> {
    /// The first instruction after `at` that does not depend on everything that `at` depends on.
    fn end_of_region(&self, at: usize) -> usize {
        let Some(Some(path)) = self.paths.get(at) else {
            return at + 1;
        };
        let rest = self.paths.iter().enumerate().skip(at + 1);
        let outside = |other: &Option<Path>| {
            let other = other.as_deref().unwrap_or_default();
            !other.starts_with(path)
        };
        rest.into_iter()
            .find(|(_, other)| outside(other))
            .map_or(self.insts.len(), |(index, _)| index)
    }

    /// Whether a value that `temp` has before the instruction at `from` may be read there or
    /// later.
    fn read_after(&self, from: usize, temp: u16) -> bool {
        let reg = Reg::Temp(temp);
        for (at, inst) in self.insts.iter().enumerate().skip(from) {
            if reads(inst, reg) {
                return true;
            }
            let always = self
                .paths
                .get(at)
                .is_some_and(|p| p.as_ref().is_some_and(Vec::is_empty));
            if always && writes(inst) == Some(reg) {
                return false;
            }
        }
        self.lives_on
    }
}
