//! Programs in libccp's bytecode, as portus sends them.

use ccp_program::libccp::{Bytecode, Class, Instruction, Opcode, Register, implicit};
use ccp_program::{
    BinaryOp, Clause, Inst, Limits, Operand, Program, Reg, RegisterTable, Type, Variable,
    VerifyError, verify,
};
use thiserror::Error;

/// Why a program in libccp's bytecode is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BytecodeError {
    /// The verifier refuses what it amounts to.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A register that libccp does not have.
    #[error("instruction {inst} names {class:?} register {index}, which does not exist")]
    NoRegister {
        /// The instruction, counted from 0.
        inst: usize,
        /// The class of the register.
        class: Class,
        /// Its index.
        index: u32,
    },
    /// A register is written that only the datapath or the agent may write.
    #[error("instruction {inst} writes {class:?} register {index}, which is read-only")]
    ReadOnly {
        /// The instruction, counted from 0.
        inst: usize,
        /// The class of the register.
        class: Class,
        /// Its index.
        index: u32,
    },
    /// Something that no compiler of the language makes.
    #[error("instruction {inst} {what}")]
    Odd {
        /// The instruction, counted from 0.
        inst: usize,
        /// What is odd.
        what: &'static str,
    },
}

/// The program that `bytecode` is, verified, for a datapath with `table`.
///
/// What libccp does otherwise than its documents say is not done: a clause that fell through does not
/// make later ones do so, `+infinity` is the largest number, local variables begin at 0 with the
/// program.
pub(crate) fn to_program(
    bytecode: &Bytecode,
    table: &RegisterTable,
    limits: &Limits,
) -> Result<Program, BytecodeError> {
    let mut maker = Maker::new(table);
    let declarations = bytecode.instructions.iter();
    let declarations = declarations.take_while(|i| i.op == Opcode::Def);
    for (place, inst) in declarations.enumerate() {
        maker.declare(place, inst)?;
    }
    for expression in &bytecode.expressions {
        let part = |start: u32, len: u32| {
            let (start, len) = (start as usize, len as usize);
            let all = bytecode.instructions.get(start..)?.get(..len)?;
            Some(
                all.iter()
                    .enumerate()
                    .map(move |(i, inst)| (start + i, inst)),
            )
        };
        let condition = part(expression.condition_start, expression.condition_len);
        let body = part(expression.body_start, expression.body_len);
        let (Some(condition), Some(body)) = (condition, body) else {
            return Err(BytecodeError::Odd {
                inst: expression.condition_start as usize,
                what: "begins a clause that reaches past the end",
            });
        };
        maker.clause(condition, body)?;
    }
    let mut program = maker.program;
    program.temps = TEMPS + 1;
    verify(&program, limits)?;
    Ok(program)
}

/// As many temporaries as portus uses; libccp itself has 8, and drops what goes beyond.
const TEMPS: u16 = 16;
const LOCALS: u16 = 8;
/// What a condition says, if it says it under an `if`.
const FLAG: Reg = Reg::Temp(TEMPS);
/// How portus writes `+infinity`. It takes no other constant above 2^31.
const INFINITY: u32 = u32::MAX;

struct Maker {
    program: Program,
}

/// Where a result goes.
enum Target {
    Reg(Reg),
    /// The condition's outcome.
    Flag,
    /// Something that happens if the result is true.
    Effect(Inst),
}

impl Maker {
    fn new(table: &RegisterTable) -> Self {
        Self {
            program: Program {
                primitives: table.primitives().to_vec(),
                writables: table.writables().to_vec(),
                locals: LOCALS,
                ..Program::default()
            },
        }
    }

    /// Variables are declared in the order of their indices.
    fn declare(&mut self, inst: usize, def: &Instruction) -> Result<(), BytecodeError> {
        let Register { class, index } = def.left;
        let (variables, name) = match class {
            Class::Report | Class::VolatileReport => (&mut self.program.reports, "report"),
            Class::Control | Class::VolatileControl => (&mut self.program.controls, "control"),
            _ => return Err(BytecodeError::ReadOnly { inst, class, index }),
        };
        if usize::try_from(index) != Ok(variables.len()) {
            let what = "declares a variable out of order";
            return Err(BytecodeError::Odd { inst, what });
        }
        if def.right.class != Class::Immediate {
            let what = "declares a variable whose default is no constant";
            return Err(BytecodeError::Odd { inst, what });
        }
        variables.push(Variable {
            name: format!("{name}{index}"),
            ty: Type::Num,
            volatile: matches!(class, Class::VolatileReport | Class::VolatileControl),
            default: constant(def.right.index),
        });
        Ok(())
    }

    fn clause<'b>(
        &mut self,
        condition: impl Iterator<Item = (usize, &'b Instruction)>,
        body: impl Iterator<Item = (usize, &'b Instruction)>,
    ) -> Result<(), BytecodeError> {
        let mut clause = Clause::default();
        let mut last = 0;
        let mut condition = condition.peekable();
        while let Some((at, inst)) = condition.next() {
            last = at;
            if condition.peek().is_none() && inst.op == Opcode::Bind && inst.ret == EVENT_FLAG {
                // What it is set to is looked at itself.
                clause.test = Some(self.operand(at, inst.right)?);
            } else {
                self.instruction(at, inst, &mut clause.condition)?;
            }
        }
        let writes_flag = |inst: &Inst| match inst {
            Inst::Binary { dst, .. } | Inst::Ewma { dst, .. } | Inst::Move { dst, .. } => {
                *dst == FLAG
            }
            _ => false,
        };
        if clause.test.is_none() {
            if !clause.condition.iter().any(writes_flag) {
                let what = "ends a condition that says nothing";
                return Err(BytecodeError::Odd { inst: last, what });
            }
            let (dst, src) = (FLAG, Operand::Imm(0));
            clause.condition.insert(0, Inst::Move { dst, src });
            clause.test = Some(FLAG.into());
        }
        for (at, inst) in body {
            self.instruction(at, inst, &mut clause.body)?;
        }
        self.program.clauses.push(clause);
        Ok(())
    }

    fn instruction(
        &self,
        at: usize,
        inst: &Instruction,
        code: &mut Vec<Inst>,
    ) -> Result<(), BytecodeError> {
        let target = self.target(at, inst.ret)?;
        let right = self.operand(at, inst.right)?;
        let left = |this: &Self| this.operand(at, inst.left);
        let op = match inst.op {
            Opcode::Def => {
                let what = "declares a variable behind the beginning";
                return Err(BytecodeError::Odd { inst: at, what });
            }
            Opcode::Bind | Opcode::If | Opcode::NotIf => {
                let done = match target {
                    Target::Reg(dst) => Inst::Move { dst, src: right },
                    Target::Flag => Inst::Move {
                        dst: FLAG,
                        src: right,
                    },
                    Target::Effect(effect) if matches!(right, Operand::Imm(v) if v != 0) => effect,
                    Target::Effect(_) => {
                        let what = "reports or falls through depending on a value";
                        return Err(BytecodeError::Odd { inst: at, what });
                    }
                };
                match inst.op {
                    Opcode::If => code.push(Inst::SkipUnless {
                        cond: left(self)?,
                        count: 1,
                    }),
                    Opcode::NotIf => code.push(Inst::SkipIf {
                        cond: left(self)?,
                        count: 1,
                    }),
                    _ => {}
                }
                code.push(done);
                return Ok(());
            }
            Opcode::Ewma => None,
            Opcode::Add => Some(BinaryOp::Add),
            Opcode::Div => Some(BinaryOp::Div),
            Opcode::Equiv => Some(BinaryOp::Eq),
            Opcode::Gt => Some(BinaryOp::Gt),
            Opcode::Lt => Some(BinaryOp::Lt),
            Opcode::Max => Some(BinaryOp::Max),
            Opcode::MaxWrap => Some(BinaryOp::WrappedMax),
            Opcode::Min => Some(BinaryOp::Min),
            Opcode::Mul => Some(BinaryOp::Mul),
            Opcode::Sub => Some(BinaryOp::Sub),
        };
        let dst = match target {
            Target::Reg(dst) => dst,
            Target::Flag => FLAG,
            Target::Effect(_) => {
                let what = "reports or falls through depending on a value";
                return Err(BytecodeError::Odd { inst: at, what });
            }
        };
        let left = left(self)?;
        code.push(match op {
            Some(op) => Inst::Binary {
                op,
                dst,
                a: left,
                b: right,
            },
            None => Inst::Ewma {
                dst,
                weight: left,
                sample: right,
            },
        });
        Ok(())
    }

    fn target(&self, inst: usize, register: Register) -> Result<Target, BytecodeError> {
        let Register { class, index } = register;
        Ok(match (class, index) {
            (Class::Immediate | Class::Primitive, _) => {
                return Err(BytecodeError::ReadOnly { inst, class, index });
            }
            (Class::Implicit, implicit::EVENT_FLAG) => Target::Flag,
            (Class::Implicit, implicit::SHOULD_CONTINUE) => Target::Effect(Inst::Fallthrough),
            (Class::Implicit, implicit::SHOULD_REPORT) => Target::Effect(Inst::Report),
            _ => Target::Reg(self.register(inst, register)?),
        })
    }

    fn operand(&self, inst: usize, register: Register) -> Result<Operand, BytecodeError> {
        let Register { class, index } = register;
        Ok(match class {
            Class::Immediate => Operand::Imm(constant(index)),
            Class::Primitive if index < PRIMITIVES => Operand::Primitive(index as u16),
            Class::Primitive => return Err(BytecodeError::NoRegister { inst, class, index }),
            _ => self.register(inst, register)?.into(),
        })
    }

    fn register(&self, inst: usize, register: Register) -> Result<Reg, BytecodeError> {
        let Register { class, index } = register;
        let none = BytecodeError::NoRegister { inst, class, index };
        let Ok(place) = u16::try_from(index) else {
            return Err(none);
        };
        let below = |count: usize| usize::from(place) < count;
        Ok(match class {
            Class::Implicit => match index {
                implicit::MICROS => Reg::Micros,
                implicit::CWND => Reg::CWND,
                implicit::RATE => Reg::RATE,
                _ => return Err(none),
            },
            Class::Report | Class::VolatileReport if below(self.program.reports.len()) => {
                Reg::Report(place)
            }
            Class::Control | Class::VolatileControl if below(self.program.controls.len()) => {
                Reg::Control(place)
            }
            Class::Local if place < LOCALS => Reg::Local(place),
            Class::Temp if place < TEMPS => Reg::Temp(place),
            _ => return Err(none),
        })
    }
}

const EVENT_FLAG: Register = Register {
    class: Class::Implicit,
    index: implicit::EVENT_FLAG,
};

/// libccp's measurements, which begin every table.
const PRIMITIVES: u32 = 15;

const fn constant(value: u32) -> u64 {
    if value == INFINITY {
        u64::MAX
    } else {
        value as u64
    }
}

#[cfg(test)]
mod tests;
