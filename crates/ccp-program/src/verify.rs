//! What a datapath checks before it takes a program, whoever sent it.

use thiserror::Error;

use crate::program::{Clause, Inst, Operand, Program, Reg, Variable};
use crate::register::Type;

/// How much of everything a datapath has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Instructions, conditions and bodies together.
    pub instructions: u16,
    /// Clauses.
    pub clauses: u16,
    /// Report variables.
    pub reports: u16,
    /// Control variables.
    pub controls: u16,
    /// Report, control, local and temporary registers together.
    pub registers: u16,
}

impl Limits {
    /// What every datapath of ours has room for, and no message may exceed.
    pub const MAX: Self = Self {
        instructions: 4096,
        clauses: 256,
        reports: 110,
        controls: 110,
        registers: 1024,
    };
}

/// Why a program is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum VerifyError {
    /// Too much of something.
    #[error("the program has {got} {what}, this datapath has room for {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many the program has.
        got: usize,
        /// How many it may have.
        limit: usize,
    },
    /// It has no clause: it would never do anything.
    #[error("the program has no clause")]
    Empty,
    /// The first two writable registers are not `Cwnd` and `Rate`.
    #[error("the program's first two writable registers must be `Cwnd` and `Rate`")]
    NoWindow,
    /// A register or measurement that it has not declared.
    #[error("clause {clause}: instruction {inst} names {what} {index} of {count}")]
    OutOfRange {
        /// The clause, counted from 0.
        clause: usize,
        /// The instruction within the clause, counted from 0 through condition and body.
        inst: usize,
        /// What is named.
        what: &'static str,
        /// The place named.
        index: u16,
        /// How many there are.
        count: usize,
    },
    /// A skip that leaves its block.
    #[error(
        "clause {clause}: instruction {inst} skips {count} instructions, past the end of its block"
    )]
    SkipTooFar {
        /// The clause.
        clause: usize,
        /// The instruction within the clause.
        inst: usize,
        /// How far it would go.
        count: u16,
    },
    /// A temporary that some way through the clause reads before anything was written to it.
    #[error(
        "clause {clause}: instruction {inst} reads temporary {temp}, which may not have been written"
    )]
    UnwrittenTemp {
        /// The clause.
        clause: usize,
        /// The instruction within the clause; one past the condition's last for its test.
        inst: usize,
        /// The temporary.
        temp: u16,
    },
    /// `Report` or `Fallthrough` in a condition, or a condition that writes anything but
    /// temporaries.
    #[error(
        "clause {clause}: instruction {inst} of the condition has an effect; conditions may only write temporaries"
    )]
    EffectInCondition {
        /// The clause.
        clause: usize,
        /// The instruction within the clause.
        inst: usize,
    },
    /// `Report` in a program without report variables: on the wire that means "closed".
    #[error(
        "the program reports but has no report variable; an empty report means that the flow was closed"
    )]
    EmptyReport,
    /// The default of a boolean is neither 0 nor 1.
    #[error("the default of the boolean `{name}` is {default}, not 0 or 1")]
    BadDefault {
        /// The variable.
        name: String,
        /// Its default.
        default: u64,
    },
}

/// Checks every index, count, skip and temporary of `program`, so that running it needs no check.
///
/// A program that passes cannot read or write outside its registers, always ends, and reads no
/// temporary before it was written in the same clause.
///
/// # Errors
/// The first thing that is wrong.
pub fn verify(program: &Program, limits: &Limits) -> Result<(), VerifyError> {
    counts(program, limits)?;
    for variable in program.controls.iter().chain(&program.reports) {
        bool_default(variable)?;
    }
    for (index, clause) in program.clauses.iter().enumerate() {
        Checker {
            program,
            clause: index,
            written: vec![false; usize::from(program.temps)],
        }
        .clause(clause)?;
    }
    Ok(())
}

fn counts(program: &Program, limits: &Limits) -> Result<(), VerifyError> {
    let registers = program.controls.len()
        + program.reports.len()
        + usize::from(program.locals)
        + usize::from(program.temps);
    for (what, got, limit) in [
        ("instructions", program.len(), limits.instructions),
        ("clauses", program.clauses.len(), limits.clauses),
        ("report variables", program.reports.len(), limits.reports),
        ("control variables", program.controls.len(), limits.controls),
        ("registers", registers, limits.registers),
    ] {
        if got > usize::from(limit) {
            return Err(VerifyError::TooMany {
                what,
                got,
                limit: usize::from(limit),
            });
        }
    }
    if program.clauses.is_empty() {
        return Err(VerifyError::Empty);
    }
    let mut names = program.writables.iter().map(|d| d.name.as_ref());
    if names.next() != Some("Cwnd") || names.next() != Some("Rate") {
        return Err(VerifyError::NoWindow);
    }
    Ok(())
}

fn bool_default(variable: &Variable) -> Result<(), VerifyError> {
    if variable.ty == Type::Bool && variable.default > 1 {
        return Err(VerifyError::BadDefault {
            name: variable.name.clone(),
            default: variable.default,
        });
    }
    Ok(())
}

struct Checker<'p> {
    program: &'p Program,
    clause: usize,
    /// Which temporaries have a value here on every way through the clause.
    written: Vec<bool>,
}

impl Checker<'_> {
    fn clause(&mut self, clause: &Clause) -> Result<(), VerifyError> {
        self.block(&clause.condition, 0, true)?;
        if let Some(test) = clause.test {
            self.read(clause.condition.len(), test)?;
        }
        self.block(&clause.body, clause.condition.len(), false)
    }

    /// Walks a block once. Skips go forward, so the state that a skip leaves behind is kept for
    /// its target and met with what arrives there by falling through.
    fn block(&mut self, insts: &[Inst], first: usize, condition: bool) -> Result<(), VerifyError> {
        let skips = |inst: &Inst| {
            matches!(
                inst,
                Inst::Skip { .. } | Inst::SkipIf { .. } | Inst::SkipUnless { .. }
            )
        };
        // Most blocks have no skip.
        let targets = match insts.iter().any(skips) {
            true => insts.len() + 1,
            false => 0,
        };
        let mut arriving: Vec<Option<Vec<bool>>> = vec![None; targets];
        let mut reachable = true;
        for (at, inst) in insts.iter().enumerate() {
            self.meet(arriving.get_mut(at).and_then(Option::take), &mut reachable);
            let place = first + at;
            match *inst {
                Inst::Binary { dst, a, b, .. } => {
                    self.read(place, a)?;
                    self.read(place, b)?;
                    self.write(place, dst, condition)?;
                }
                Inst::Ewma {
                    dst,
                    weight,
                    sample,
                } => {
                    self.read(place, weight)?;
                    self.read(place, sample)?;
                    self.read(place, dst.into())?;
                    self.write(place, dst, condition)?;
                }
                Inst::Move { dst, src } => {
                    self.read(place, src)?;
                    self.write(place, dst, condition)?;
                }
                Inst::Skip { count } => {
                    self.skip(&mut arriving, at, place, count)?;
                    reachable = false;
                }
                Inst::SkipIf { cond, count } | Inst::SkipUnless { cond, count } => {
                    self.read(place, cond)?;
                    self.skip(&mut arriving, at, place, count)?;
                }
                Inst::Report if self.program.reports.is_empty() => {
                    return Err(VerifyError::EmptyReport);
                }
                Inst::Report | Inst::Fallthrough if condition => {
                    return Err(VerifyError::EffectInCondition {
                        clause: self.clause,
                        inst: place,
                    });
                }
                Inst::Report | Inst::Fallthrough => {}
            }
        }
        self.meet(arriving.pop().flatten(), &mut reachable);
        Ok(())
    }

    fn meet(&mut self, arriving: Option<Vec<bool>>, reachable: &mut bool) {
        let Some(arriving) = arriving else { return };
        if *reachable {
            for (here, there) in self.written.iter_mut().zip(arriving) {
                *here &= there;
            }
        } else {
            self.written = arriving;
            *reachable = true;
        }
    }

    fn skip(
        &self,
        arriving: &mut [Option<Vec<bool>>],
        at: usize,
        inst: usize,
        count: u16,
    ) -> Result<(), VerifyError> {
        let Some(target) = arriving.get_mut(at + 1 + usize::from(count)) else {
            return Err(VerifyError::SkipTooFar {
                clause: self.clause,
                inst,
                count,
            });
        };
        match target {
            Some(there) => {
                for (there, here) in there.iter_mut().zip(&self.written) {
                    *there &= here;
                }
            }
            None => *target = Some(self.written.clone()),
        }
        Ok(())
    }

    fn read(&self, inst: usize, operand: Operand) -> Result<(), VerifyError> {
        match operand {
            Operand::Imm(_) => Ok(()),
            Operand::Primitive(index) => {
                self.range(inst, "primitive", index, self.program.primitives.len())
            }
            Operand::Reg(reg) => {
                self.exists(inst, reg)?;
                match reg {
                    Reg::Temp(temp) if !self.written.get(usize::from(temp)).is_some_and(|w| *w) => {
                        Err(VerifyError::UnwrittenTemp {
                            clause: self.clause,
                            inst,
                            temp,
                        })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn write(&mut self, inst: usize, reg: Reg, condition: bool) -> Result<(), VerifyError> {
        self.exists(inst, reg)?;
        match reg {
            Reg::Temp(temp) => {
                if let Some(written) = self.written.get_mut(usize::from(temp)) {
                    *written = true;
                }
                Ok(())
            }
            _ if condition => Err(VerifyError::EffectInCondition {
                clause: self.clause,
                inst,
            }),
            _ => Ok(()),
        }
    }

    fn exists(&self, inst: usize, reg: Reg) -> Result<(), VerifyError> {
        let p = self.program;
        let (what, index, count) = match reg {
            Reg::Micros => return Ok(()),
            Reg::Writable(i) => ("writable register", i, p.writables.len()),
            Reg::Control(i) => ("control variable", i, p.controls.len()),
            Reg::Report(i) => ("report variable", i, p.reports.len()),
            Reg::Local(i) => ("local variable", i, usize::from(p.locals)),
            Reg::Temp(i) => ("temporary", i, usize::from(p.temps)),
        };
        self.range(inst, what, index, count)
    }

    fn range(
        &self,
        inst: usize,
        what: &'static str,
        index: u16,
        count: usize,
    ) -> Result<(), VerifyError> {
        if usize::from(index) < count {
            Ok(())
        } else {
            Err(VerifyError::OutOfRange {
                clause: self.clause,
                inst,
                what,
                index,
                count,
            })
        }
    }
}

#[cfg(test)]
mod tests;
