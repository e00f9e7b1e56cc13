//! The C library's interpreter as we read it, so that what is generated for it can be run here.
//! The real one is held against the same programs in the workspace's tests.

use ccp_program::libccp::{Bytecode, Class, Instruction, Opcode, Register};

pub(super) struct Machine {
    pub(super) reports: Vec<u64>,
    pub(super) controls: Vec<u64>,
    locals: [u64; 8],
    temps: [u64; 8],
    implicit: [u64; 6],
    pub(super) micros_zero: u64,
    now: u64,
}

pub(super) struct Outcome {
    pub(super) report: bool,
}

impl Machine {
    pub(super) fn new(code: &Bytecode) -> Self {
        let mut machine = Self {
            reports: vec![0; 110],
            controls: vec![0; 110],
            // Whatever an earlier program left there.
            locals: [77; 8],
            temps: [78; 8],
            implicit: [0; 6],
            micros_zero: 0,
            now: 0,
        };
        for inst in definitions(code) {
            machine.define(inst);
        }
        machine
    }

    fn define(&mut self, inst: &Instruction) {
        let default = match inst.right.index {
            0x3fff_ffff => 0xffff_ffff,
            other => u64::from(other),
        };
        self.write(inst.left, default);
    }

    pub(super) fn reset_volatile(&mut self, code: &Bytecode) {
        for inst in definitions(code) {
            if matches!(
                inst.left.class,
                Class::VolatileControl | Class::VolatileReport
            ) {
                self.define(inst);
            }
        }
    }

    pub(super) fn cwnd(&self) -> u64 {
        self.implicit[4]
    }

    pub(super) fn rate(&self) -> u64 {
        self.implicit[5]
    }

    pub(super) fn invoke(
        &mut self,
        code: &Bytecode,
        prims: &[u64],
        cwnd: u64,
        rate: u64,
        now: u64,
    ) -> Result<Outcome, &'static str> {
        assert!(code.instructions.len() <= 255);
        self.now = now;
        self.implicit = [0, 0, 0, now.wrapping_sub(self.micros_zero), cwnd, rate];
        for expression in &code.expressions {
            let range =
                |start: u32, len: u32| &code.instructions[start as usize..(start + len) as usize];
            for inst in range(expression.condition_start, expression.condition_len) {
                self.step(inst, prims)?;
            }
            if self.implicit[0] != 0 {
                for inst in range(expression.body_start, expression.body_len) {
                    self.step(inst, prims)?;
                }
            }
            if self.implicit[0] != 0 && self.implicit[1] == 0 {
                break;
            }
        }
        Ok(Outcome {
            report: self.implicit[2] != 0,
        })
    }

    fn step(&mut self, inst: &Instruction, prims: &[u64]) -> Result<(), &'static str> {
        assert!(
            !matches!(inst.ret.class, Class::Immediate | Class::Primitive),
            "the library refuses to install this"
        );
        let (a, b) = (self.read(inst.left, prims), self.read(inst.right, prims));
        let old = self.read(inst.ret, prims);
        let value = match inst.op {
            Opcode::Add => a.checked_add(b).ok_or("overflow")?,
            Opcode::Sub => a.checked_sub(b).ok_or("underflow")?,
            Opcode::Div => a.checked_div(b).ok_or("division by zero")?,
            Opcode::Mul => {
                let product = a.wrapping_mul(b);
                if product < a && b > 0 {
                    return Err("overflow");
                }
                product
            }
            Opcode::Bind => b,
            Opcode::Equiv => u64::from(a == b),
            Opcode::Gt => u64::from(a > b),
            Opcode::Lt => u64::from(a < b),
            Opcode::Max => a.max(b),
            Opcode::Min => a.min(b),
            Opcode::MaxWrap => ccp_program::interp::binary(ccp_program::BinaryOp::WrappedMax, a, b)
                .map_err(|_| "never")?,
            Opcode::Ewma if old == 0 => b,
            Opcode::Ewma => {
                let (weighted, new) = (a.wrapping_mul(old), 10_u64.wrapping_sub(a).wrapping_mul(b));
                weighted.wrapping_add(new) / 10
            }
            Opcode::If if a == 0 => return Ok(()),
            Opcode::NotIf if a != 0 => return Ok(()),
            Opcode::If | Opcode::NotIf => b,
            Opcode::Def => panic!("a declaration among the clauses"),
        };
        self.write(inst.ret, value);
        Ok(())
    }

    fn read(&self, register: Register, prims: &[u64]) -> u64 {
        let index = register.index as usize;
        match register.class {
            Class::Immediate => u64::from(register.index),
            Class::Control | Class::VolatileControl => self.controls[index],
            Class::Report | Class::VolatileReport => self.reports[index],
            Class::Local => self.locals[index],
            Class::Temp => self.temps[index],
            Class::Implicit => self.implicit[index],
            Class::Primitive => prims[index],
        }
    }

    fn write(&mut self, register: Register, value: u64) {
        let index = register.index as usize;
        match register.class {
            Class::Control | Class::VolatileControl => self.controls[index] = value,
            Class::Report | Class::VolatileReport => self.reports[index] = value,
            Class::Local => self.locals[index] = value,
            Class::Temp => self.temps[index] = value,
            Class::Implicit => {
                self.implicit[index] = value;
                if index == 3 {
                    self.micros_zero = self.now.wrapping_sub(value);
                }
            }
            Class::Immediate | Class::Primitive => {}
        }
    }
}

fn definitions(code: &Bytecode) -> impl Iterator<Item = &Instruction> {
    code.instructions
        .iter()
        .take_while(|inst| inst.op == Opcode::Def)
}
