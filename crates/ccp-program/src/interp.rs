//! The meaning of a program, as code: what every back end must agree with.
//!
//! Written to be read, not to be fast.

use thiserror::Error;

use crate::program::{BinaryOp, Inst, Operand, Program, Reg, Variable};

/// Why an invocation was undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Fault {
    /// A sum or product does not fit 64 bits.
    #[error("overflow")]
    Overflow,
    /// A difference would be negative.
    #[error("underflow")]
    Underflow,
    /// Division by zero.
    #[error("division by zero")]
    DivisionByZero,
    /// The weight of an `ewma` is above 10 tenths.
    #[error("ewma weight above 10")]
    Weight,
}

/// The registers of one flow under one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// The datapath's writable registers; `[0]` is the window in bytes, `[1]` the rate.
    pub writable: Vec<u64>,
    /// Control variables.
    pub control: Vec<u64>,
    /// Report variables.
    pub report: Vec<u64>,
    /// Local variables.
    pub local: Vec<u64>,
    /// Temporaries.
    pub temp: Vec<u64>,
    /// When `Micros` was zero, on the caller's clock in microseconds; wraps around.
    pub micros_zero: u64,
}

/// What an invocation without fault asks of the datapath.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Whether to send the report variables.
    pub report: bool,
}

impl Registers {
    /// The registers of a flow on which `program` was installed at `now_us`.
    #[must_use]
    pub fn new(program: &Program, now_us: u64) -> Self {
        let defaults = |vars: &[Variable]| vars.iter().map(|v| v.default).collect();
        Self {
            writable: vec![0; program.writables.len()],
            control: defaults(&program.controls),
            report: defaults(&program.reports),
            local: vec![0; usize::from(program.locals)],
            temp: vec![0; usize::from(program.temps)],
            micros_zero: now_us,
        }
    }

    /// Runs `program` once at `now_us` over the measurements `primitives`.
    ///
    /// A register or measurement that does not exist reads as 0 and takes no write; verified
    /// programs name none.
    ///
    /// # Errors
    /// A fault, with the registers as they were before.
    pub fn invoke(
        &mut self,
        program: &Program,
        primitives: &[u64],
        now_us: u64,
    ) -> Result<Outcome, Fault> {
        let before = self.clone();
        let mut run = Run {
            registers: self,
            primitives,
            now_us,
            report: false,
            go_on: false,
        };
        match run.clauses(program) {
            Ok(()) => Ok(Outcome { report: run.report }),
            Err(fault) => {
                *self = before;
                Err(fault)
            }
        }
    }

    /// Returns volatile variables to their defaults: the report was taken.
    pub fn reported(&mut self, program: &Program) {
        for (values, vars) in [
            (&mut self.control, &program.controls),
            (&mut self.report, &program.reports),
        ] {
            for (value, var) in values.iter_mut().zip(vars) {
                if var.volatile {
                    *value = var.default;
                }
            }
        }
    }
}

struct Run<'r> {
    registers: &'r mut Registers,
    primitives: &'r [u64],
    now_us: u64,
    report: bool,
    go_on: bool,
}

impl Run<'_> {
    fn clauses(&mut self, program: &Program) -> Result<(), Fault> {
        for clause in &program.clauses {
            self.go_on = false;
            self.block(&clause.condition)?;
            if clause.test.is_none_or(|test| self.read(test) != 0) {
                self.block(&clause.body)?;
                if !self.go_on {
                    break;
                }
            }
        }
        Ok(())
    }

    fn block(&mut self, insts: &[Inst]) -> Result<(), Fault> {
        let mut at = 0;
        while let Some(inst) = insts.get(at) {
            at += 1;
            match *inst {
                Inst::Binary { op, dst, a, b } => {
                    let value = binary(op, self.read(a), self.read(b))?;
                    self.write(dst, value);
                }
                Inst::Ewma {
                    dst,
                    weight,
                    sample,
                } => {
                    let old = self.read(dst.into());
                    let value = ewma(self.read(weight), old, self.read(sample))?;
                    self.write(dst, value);
                }
                Inst::Move { dst, src } => {
                    let value = self.read(src);
                    self.write(dst, value);
                }
                Inst::Skip { count } => at += usize::from(count),
                Inst::SkipIf { cond, count } if self.read(cond) != 0 => at += usize::from(count),
                Inst::SkipUnless { cond, count } if self.read(cond) == 0 => {
                    at += usize::from(count);
                }
                Inst::SkipIf { .. } | Inst::SkipUnless { .. } => {}
                Inst::Report => self.report = true,
                Inst::Fallthrough => self.go_on = true,
            }
        }
        Ok(())
    }

    fn read(&self, operand: Operand) -> u64 {
        let r = &*self.registers;
        let from = |values: &[u64], i: u16| values.get(usize::from(i)).copied().unwrap_or(0);
        match operand {
            Operand::Imm(value) => value,
            Operand::Primitive(i) => from(self.primitives, i),
            Operand::Reg(Reg::Micros) => self.now_us.wrapping_sub(r.micros_zero),
            Operand::Reg(Reg::Writable(i)) => from(&r.writable, i),
            Operand::Reg(Reg::Control(i)) => from(&r.control, i),
            Operand::Reg(Reg::Report(i)) => from(&r.report, i),
            Operand::Reg(Reg::Local(i)) => from(&r.local, i),
            Operand::Reg(Reg::Temp(i)) => from(&r.temp, i),
        }
    }

    fn write(&mut self, reg: Reg, value: u64) {
        let r = &mut *self.registers;
        let (values, i) = match reg {
            Reg::Micros => {
                r.micros_zero = self.now_us.wrapping_sub(value);
                return;
            }
            Reg::Writable(i) => (&mut r.writable, i),
            Reg::Control(i) => (&mut r.control, i),
            Reg::Report(i) => (&mut r.report, i),
            Reg::Local(i) => (&mut r.local, i),
            Reg::Temp(i) => (&mut r.temp, i),
        };
        if let Some(place) = values.get_mut(usize::from(i)) {
            *place = value;
        }
    }
}

/// `op(a, b)`.
///
/// # Errors
/// The fault that [`BinaryOp`] describes for the operation.
pub fn binary(op: BinaryOp, a: u64, b: u64) -> Result<u64, Fault> {
    Ok(match op {
        BinaryOp::Add => a.checked_add(b).ok_or(Fault::Overflow)?,
        BinaryOp::Sub => a.checked_sub(b).ok_or(Fault::Underflow)?,
        BinaryOp::Mul => a.checked_mul(b).ok_or(Fault::Overflow)?,
        BinaryOp::Div => a.checked_div(b).ok_or(Fault::DivisionByZero)?,
        BinaryOp::Min => a.min(b),
        BinaryOp::Max => a.max(b),
        BinaryOp::WrappedMax => wrapped_max(a, b),
        BinaryOp::Eq => u64::from(a == b),
        BinaryOp::Ne => u64::from(a != b),
        BinaryOp::Lt => u64::from(a < b),
        BinaryOp::Le => u64::from(a <= b),
        BinaryOp::Gt => u64::from(a > b),
        BinaryOp::Ge => u64::from(a >= b),
        BinaryOp::And => u64::from(a != 0 && b != 0),
        BinaryOp::Or => u64::from(a != 0 || b != 0),
    })
}

/// [`Inst::Ewma`].
///
/// # Errors
/// [`Fault::Weight`] if `weight` is above 10.
pub fn ewma(weight: u64, old: u64, sample: u64) -> Result<u64, Fault> {
    if weight > 10 {
        return Err(Fault::Weight);
    }
    if old == 0 {
        return Ok(sample);
    }
    // Tenths and remainders apart: no intermediate value exceeds the larger of the two.
    let other = 10 - weight;
    Ok(weight * (old / 10)
        + other * (sample / 10)
        + (weight * (old % 10) + other * (sample % 10)) / 10)
}

/// [`BinaryOp::WrappedMax`].
#[must_use]
pub fn wrapped_max(a: u64, b: u64) -> u64 {
    if a == 0 || b == 0 {
        return a | b;
    }
    let (a, b) = (a as u32, b as u32);
    let up_to_a = a.wrapping_sub(b);
    let up_to_b = b.wrapping_sub(a);
    u64::from(if up_to_a < up_to_b { a } else { b })
}

#[cfg(test)]
mod tests;
