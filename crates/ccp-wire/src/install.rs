//! INSTALL: a program in libccp's bytecode.

use bytes::{BufMut, BytesMut};
use ccp_program::libccp::{Bytecode, Class, Expression, Instruction, Opcode, Register};
use ccp_types::SockId;

use crate::read::Reader;
use crate::write;
use crate::{DecodeError, Encode, EncodeError, Kind};

/// The longest frame that libccp reads. (Its own constant is spelled so; 32,768 was meant.)
pub const MAX_LIBCCP_FRAME: usize = 32_678;

/// The most clauses that libccp has room for. It does not check this itself.
pub const MAX_LIBCCP_EXPRESSIONS: usize = 256;

/// The most instructions that libccp runs. It has room for 256, but counts them in eight bits and
/// never gets past the 256th.
pub const MAX_LIBCCP_INSTRUCTIONS: usize = 255;

/// INSTALL: a program for all flows of a datapath, in libccp's bytecode.
///
/// Body: `u32 program_uid, expressions, instructions`; per expression `u32 condition_start,
/// condition_len, body_start, body_len`; per instruction `u8 opcode` and three registers of
/// `u8 class, u32 index`: result, left, right.
///
/// Counts, ranges of expressions and numbers of classes and opcodes are checked in both
/// directions, because libccp checks none of them before it uses them. Whether the registers
/// exist is the compiler's matter.
///
/// libccp clears its table of programs when it gets one with `program_uid` 1, and has room for
/// nine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Install {
    /// What CHANGE_PROG and MEASURE call the program.
    pub program_uid: u32,
    /// The program.
    pub bytecode: Bytecode,
}

const EXPRESSION_LEN: usize = 16;
const INSTRUCTION_LEN: usize = 16;

impl Install {
    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let program_uid = r.u32("program_uid")?;
        let expressions = r.u32("num_expressions")?;
        let instructions = r.u32("num_instructions")?;
        let expressions = r.count(
            "expressions",
            expressions,
            MAX_LIBCCP_EXPRESSIONS,
            EXPRESSION_LEN,
        )?;
        let mut bytecode = Bytecode {
            expressions: Vec::with_capacity(expressions),
            instructions: Vec::new(),
        };
        for _ in 0..expressions {
            bytecode.expressions.push(Expression {
                condition_start: r.u32("condition_start")?,
                condition_len: r.u32("condition_len")?,
                body_start: r.u32("body_start")?,
                body_len: r.u32("body_len")?,
            });
        }
        let instructions = r.count(
            "instructions",
            instructions,
            MAX_LIBCCP_INSTRUCTIONS,
            INSTRUCTION_LEN,
        )?;
        bytecode.instructions.reserve_exact(instructions);
        for _ in 0..instructions {
            let op = r.u8("opcode")?;
            bytecode.instructions.push(Instruction {
                op: Opcode::from_wire(op)
                    .ok_or_else(|| r.bad("opcode", "0 to 14", u64::from(op)))?,
                ret: register(r)?,
                left: register(r)?,
                right: register(r)?,
            });
        }
        match outside(&bytecode) {
            Some((field, end)) => Err(r.bad(field, WITHIN, end)),
            None => Ok(Self {
                program_uid,
                bytecode,
            }),
        }
    }
}

impl Encode for Install {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        let kind = Kind::Install;
        write::frame(dst, kind, SockId(0), MAX_LIBCCP_FRAME, |dst| {
            let code = &self.bytecode;
            let count = |what, got, limit| write::count(kind, what, got, limit);
            dst.put_u32_le(self.program_uid);
            dst.put_u32_le(count(
                "expressions",
                code.expressions.len(),
                MAX_LIBCCP_EXPRESSIONS,
            )?);
            dst.put_u32_le(count(
                "instructions",
                code.instructions.len(),
                MAX_LIBCCP_INSTRUCTIONS,
            )?);
            if let Some((field, got)) = outside(code) {
                return Err(EncodeError::BadValue {
                    kind,
                    field,
                    expected: WITHIN,
                    got,
                });
            }
            for e in &code.expressions {
                for number in [e.condition_start, e.condition_len, e.body_start, e.body_len] {
                    dst.put_u32_le(number);
                }
            }
            for i in &code.instructions {
                dst.put_u8(i.op as u8);
                for register in [i.ret, i.left, i.right] {
                    put_register(dst, register);
                }
            }
            Ok(())
        })
    }
}

const WITHIN: &str = "an end within the instructions";

/// The first expression that reaches past the instructions: which part of it, and its end.
fn outside(code: &Bytecode) -> Option<(&'static str, u64)> {
    let count = code.instructions.len() as u64;
    code.expressions
        .iter()
        .flat_map(|e| {
            [
                ("condition", e.condition_start, e.condition_len),
                ("body", e.body_start, e.body_len),
            ]
        })
        .map(|(field, start, len)| (field, u64::from(start) + u64::from(len)))
        .find(|(_, end)| *end > count)
}

pub(crate) fn register(r: &mut Reader<'_>) -> Result<Register, DecodeError> {
    let class = r.u8("register class")?;
    Ok(Register {
        class: Class::from_wire(class)
            .ok_or_else(|| r.bad("register class", "0 to 8", u64::from(class)))?,
        index: r.u32("register index")?,
    })
}

fn put_register(dst: &mut BytesMut, register: Register) {
    dst.put_u8(register.class as u8);
    dst.put_u32_le(register.index);
}

#[cfg(test)]
mod tests;
