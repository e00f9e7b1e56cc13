//! INSTALL_EXT: a program in its whole form.

use bytes::{BufMut, BytesMut};
use ccp_program::{
    BinaryOp, Clause, Inst, Limits, Operand, Program, Reg, RegisterTable, Type, Variable,
    VerifyError, verify,
};
use ccp_types::SockId;
use thiserror::Error;

use crate::read::Reader;
use crate::write;
use crate::{DecodeError, Encode, EncodeError, Kind, MAX_FRAME};

/// A control or report variable, without its name: the datapath needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct VariableDef {
    /// Its type.
    pub ty: Type,
    /// Whether it returns to its default after each report.
    pub volatile: bool,
    /// Its value when the program starts.
    pub default: u64,
}

/// INSTALL_EXT: a program for all flows of a datapath, bound to the datapath's register table.
///
/// Body: `u32 program_uid, u16 flags (bit 0: own recovery), u16 primitives, u16 writables,
/// u16 controls, u16 reports, u16 locals, u16 temps, u16 clauses`; per control and report variable
/// `u8 flags (bit 0: volatile, bit 1: boolean), u64 default`; per clause `u16 condition, u16 body`
/// (numbers of instructions), the test (0xff for none, else an operand), then the instructions.
///
/// * instruction: `u8`: 0 to 14 a [`BinaryOp`] with register, operand, operand; 0x20 ewma with
///   register, operand (weight), operand (sample); 0x21 move with register, operand; 0x22 skip
///   with `u16`; 0x23 skip-if and 0x24 skip-unless with operand, `u16`; 0x25 report;
///   0x26 fallthrough
/// * operand: `u8`: 0 constant with `u64`; 1 small constant with `u32`; 2 primitive with `u16`;
///   else a register
/// * register: `u8`: 3 `Micros`; 4 writable, 5 control, 6 report, 7 local, 8 temporary with `u16`
///
/// A constant that fits the small form is written in it, and is refused in the other.
///
/// What is read here is well-formed; whether it may run is [`InstallExt::to_program`]'s to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallExt {
    /// What CHANGE_PROG_EXT and MEASURE call the program.
    pub program_uid: u32,
    /// How many primitives the table has that the program was bound to.
    pub primitives: u16,
    /// How many writable registers that table has.
    pub writables: u16,
    /// Its control variables.
    pub controls: Vec<VariableDef>,
    /// Its report variables.
    pub reports: Vec<VariableDef>,
    /// How many local variables it uses.
    pub locals: u16,
    /// How many temporaries it uses.
    pub temps: u16,
    /// Its clauses.
    pub clauses: Vec<Clause>,
    /// It answers losses itself.
    pub own_recovery: bool,
}

/// Why a program that arrived whole is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProgramError {
    /// It was bound to another table than this datapath's.
    #[error("the program was bound to a table of {got} {what}, this datapath announced {expected}")]
    OtherTable {
        /// Which registers.
        what: &'static str,
        /// How many this datapath has.
        expected: usize,
        /// How many the program's table has.
        got: usize,
    },
    /// The verifier refuses it.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl InstallExt {
    /// The message that installs `program`, which is [bound](Program::bind) to the table of the
    /// datapath it goes to.
    ///
    /// # Errors
    /// [`EncodeError::TooMany`] if the table has more than 65,535 registers.
    pub fn new(program_uid: u32, program: &Program) -> Result<Self, EncodeError> {
        let count = |what, got: usize| {
            u16::try_from(got).map_err(|_| EncodeError::TooMany {
                kind: Kind::InstallExt,
                what,
                limit: usize::from(u16::MAX),
                got,
            })
        };
        let variables = |all: &[Variable]| {
            all.iter()
                .map(|v| VariableDef {
                    ty: v.ty,
                    volatile: v.volatile,
                    default: v.default,
                })
                .collect()
        };
        Ok(Self {
            program_uid,
            primitives: count("primitives", program.primitives.len())?,
            writables: count("writable registers", program.writables.len())?,
            controls: variables(&program.controls),
            reports: variables(&program.reports),
            locals: program.locals,
            temps: program.temps,
            clauses: program.clauses.clone(),
            own_recovery: program.own_recovery,
        })
    }

    /// The program for the datapath that announced `table` and `limits`, verified. Variables are
    /// called `control0`, `report0` and so on.
    ///
    /// # Errors
    /// If it was bound to another table, or the verifier refuses it.
    pub fn to_program(
        &self,
        table: &RegisterTable,
        limits: &Limits,
    ) -> Result<Program, ProgramError> {
        for (what, expected, got) in [
            ("primitives", table.primitives().len(), self.primitives),
            (
                "writable registers",
                table.writables().len(),
                self.writables,
            ),
        ] {
            let got = usize::from(got);
            if got != expected {
                return Err(ProgramError::OtherTable {
                    what,
                    expected,
                    got,
                });
            }
        }
        let variables = |all: &[VariableDef], name: &str| {
            all.iter()
                .enumerate()
                .map(|(place, v)| Variable {
                    name: format!("{name}{place}"),
                    ty: v.ty,
                    volatile: v.volatile,
                    default: v.default,
                })
                .collect()
        };
        let program = Program {
            primitives: table.primitives().to_vec(),
            writables: table.writables().to_vec(),
            controls: variables(&self.controls, "control"),
            reports: variables(&self.reports, "report"),
            locals: self.locals,
            temps: self.temps,
            clauses: self.clauses.clone(),
            own_recovery: self.own_recovery,
        };
        verify(&program, limits)?;
        Ok(program)
    }

    pub(crate) fn read(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let program_uid = r.u32("program_uid")?;
        let flags = r.u16("flags")?;
        if flags > OWN_RECOVERY {
            return Err(r.bad("flags", "0 or 1", u64::from(flags)));
        }
        let primitives = r.u16("primitives")?;
        let writables = r.u16("writables")?;
        let controls = r.u16("controls")?;
        let reports = r.u16("reports")?;
        let locals = r.u16("locals")?;
        let temps = r.u16("temps")?;
        let clauses = r.u16("clauses")?;
        let controls = variables(r, "control variables", controls, Limits::MAX.controls)?;
        let reports = variables(r, "report variables", reports, Limits::MAX.reports)?;
        let n = r.count(
            "clauses",
            u32::from(clauses),
            usize::from(Limits::MAX.clauses),
            LEAST_CLAUSE,
        )?;
        let mut clauses = Vec::with_capacity(n);
        let mut room = usize::from(Limits::MAX.instructions);
        for _ in 0..n {
            let condition = r.u16("condition")?;
            let body = r.u16("body")?;
            let test = test(r)?;
            clauses.push(Clause {
                condition: instructions(r, condition, &mut room)?,
                test,
                body: instructions(r, body, &mut room)?,
            });
        }
        Ok(Self {
            program_uid,
            primitives,
            writables,
            controls,
            reports,
            locals,
            temps,
            clauses,
            own_recovery: flags & OWN_RECOVERY != 0,
        })
    }
}

impl Encode for InstallExt {
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        write::frame(dst, Kind::InstallExt, SockId(0), MAX_FRAME, |dst| {
            dst.put_u32_le(self.program_uid);
            dst.put_u16_le(if self.own_recovery { OWN_RECOVERY } else { 0 });
            dst.put_u16_le(self.primitives);
            dst.put_u16_le(self.writables);
            let max = Limits::MAX;
            put_count(dst, "control variables", self.controls.len(), max.controls)?;
            put_count(dst, "report variables", self.reports.len(), max.reports)?;
            dst.put_u16_le(self.locals);
            dst.put_u16_le(self.temps);
            put_count(dst, "clauses", self.clauses.len(), max.clauses)?;
            for v in self.controls.iter().chain(&self.reports) {
                dst.put_u8(
                    if v.volatile { VOLATILE } else { 0 }
                        | if v.ty == Type::Bool { BOOL } else { 0 },
                );
                dst.put_u64_le(v.default);
            }
            let total = self
                .clauses
                .iter()
                .map(|c| c.condition.len() + c.body.len())
                .sum();
            write::count(
                Kind::InstallExt,
                "instructions",
                total,
                usize::from(max.instructions),
            )?;
            for clause in &self.clauses {
                for block in [&clause.condition, &clause.body] {
                    put_count(dst, "instructions", block.len(), max.instructions)?;
                }
                match clause.test {
                    Some(test) => put_operand(dst, test),
                    None => dst.put_u8(NO_TEST),
                }
                for inst in clause.condition.iter().chain(&clause.body) {
                    put_instruction(dst, *inst);
                }
            }
            Ok(())
        })
    }
}

const OWN_RECOVERY: u16 = 1;
const VOLATILE: u8 = 1;
const BOOL: u8 = 2;
const VARIABLE_LEN: usize = 9;
/// Two lengths and no test.
const LEAST_CLAUSE: usize = 5;
const NO_TEST: u8 = 0xff;

/// First bytes of instructions that are no [`BinaryOp`].
mod op {
    pub(super) const EWMA: u8 = 0x20;
    pub(super) const MOVE: u8 = 0x21;
    pub(super) const SKIP: u8 = 0x22;
    pub(super) const SKIP_IF: u8 = 0x23;
    pub(super) const SKIP_UNLESS: u8 = 0x24;
    pub(super) const REPORT: u8 = 0x25;
    pub(super) const FALLTHROUGH: u8 = 0x26;
}

/// First bytes of operands and registers.
mod place {
    pub(super) const IMM: u8 = 0;
    pub(super) const SMALL_IMM: u8 = 1;
    pub(super) const PRIMITIVE: u8 = 2;
    pub(super) const MICROS: u8 = 3;
    pub(super) const WRITABLE: u8 = 4;
    pub(super) const CONTROL: u8 = 5;
    pub(super) const REPORT: u8 = 6;
    pub(super) const LOCAL: u8 = 7;
    pub(super) const TEMP: u8 = 8;
}

fn variables(
    r: &mut Reader<'_>,
    what: &'static str,
    n: u16,
    limit: u16,
) -> Result<Vec<VariableDef>, DecodeError> {
    let n = r.count(what, u32::from(n), usize::from(limit), VARIABLE_LEN)?;
    (0..n)
        .map(|_| {
            let flags = r.u8("variable flags")?;
            if flags > VOLATILE | BOOL {
                return Err(r.bad("variable flags", "0 to 3", u64::from(flags)));
            }
            Ok(VariableDef {
                ty: if flags & BOOL != 0 {
                    Type::Bool
                } else {
                    Type::Num
                },
                volatile: flags & VOLATILE != 0,
                default: r.u64("default")?,
            })
        })
        .collect()
}

/// Reads `n` instructions and takes them off what the program may still have.
fn instructions(r: &mut Reader<'_>, n: u16, room: &mut usize) -> Result<Vec<Inst>, DecodeError> {
    let n = r.count("instructions", u32::from(n), *room, 1)?;
    *room -= n;
    (0..n).map(|_| instruction(r)).collect()
}

fn test(r: &mut Reader<'_>) -> Result<Option<Operand>, DecodeError> {
    match r.u8("test")? {
        NO_TEST => Ok(None),
        first => operand_after(r, first).map(Some),
    }
}

fn instruction(r: &mut Reader<'_>) -> Result<Inst, DecodeError> {
    let first = r.u8("instruction")?;
    if let Some(op) = BinaryOp::from_wire(first) {
        return Ok(Inst::Binary {
            op,
            dst: register(r)?,
            a: operand(r)?,
            b: operand(r)?,
        });
    }
    Ok(match first {
        op::EWMA => Inst::Ewma {
            dst: register(r)?,
            weight: operand(r)?,
            sample: operand(r)?,
        },
        op::MOVE => Inst::Move {
            dst: register(r)?,
            src: operand(r)?,
        },
        op::SKIP => Inst::Skip {
            count: r.u16("skip")?,
        },
        op::SKIP_IF => Inst::SkipIf {
            cond: operand(r)?,
            count: r.u16("skip")?,
        },
        op::SKIP_UNLESS => Inst::SkipUnless {
            cond: operand(r)?,
            count: r.u16("skip")?,
        },
        op::REPORT => Inst::Report,
        op::FALLTHROUGH => Inst::Fallthrough,
        other => {
            return Err(r.bad("instruction", "0 to 14 or 0x20 to 0x26", u64::from(other)));
        }
    })
}

fn operand(r: &mut Reader<'_>) -> Result<Operand, DecodeError> {
    let first = r.u8("operand")?;
    operand_after(r, first)
}

fn operand_after(r: &mut Reader<'_>, first: u8) -> Result<Operand, DecodeError> {
    Ok(match first {
        place::IMM => {
            let value = r.u64("constant")?;
            if u32::try_from(value).is_ok() {
                return Err(r.bad("constant", "more than 32 bits in the long form", value));
            }
            Operand::Imm(value)
        }
        place::SMALL_IMM => Operand::Imm(u64::from(r.u32("constant")?)),
        place::PRIMITIVE => Operand::Primitive(r.u16("primitive")?),
        other => Operand::Reg(register_after(r, other)?),
    })
}

fn register(r: &mut Reader<'_>) -> Result<Reg, DecodeError> {
    let first = r.u8("register")?;
    register_after(r, first)
}

fn register_after(r: &mut Reader<'_>, first: u8) -> Result<Reg, DecodeError> {
    Ok(match first {
        place::MICROS => Reg::Micros,
        place::WRITABLE => Reg::Writable(r.u16("writable register")?),
        place::CONTROL => Reg::Control(r.u16("control variable")?),
        place::REPORT => Reg::Report(r.u16("report variable")?),
        place::LOCAL => Reg::Local(r.u16("local variable")?),
        place::TEMP => Reg::Temp(r.u16("temporary")?),
        other => return Err(r.bad("register", "3 to 8", u64::from(other))),
    })
}

fn put_count(
    dst: &mut BytesMut,
    what: &'static str,
    got: usize,
    limit: u16,
) -> Result<(), EncodeError> {
    let count = write::count(Kind::InstallExt, what, got, usize::from(limit))?;
    dst.put_uint_le(u64::from(count), 2);
    Ok(())
}

fn put_instruction(dst: &mut BytesMut, inst: Inst) {
    match inst {
        Inst::Binary { op, dst: to, a, b } => {
            dst.put_u8(op as u8);
            put_register(dst, to);
            put_operand(dst, a);
            put_operand(dst, b);
        }
        Inst::Ewma {
            dst: to,
            weight,
            sample,
        } => {
            dst.put_u8(op::EWMA);
            put_register(dst, to);
            put_operand(dst, weight);
            put_operand(dst, sample);
        }
        Inst::Move { dst: to, src } => {
            dst.put_u8(op::MOVE);
            put_register(dst, to);
            put_operand(dst, src);
        }
        Inst::Skip { count } => {
            dst.put_u8(op::SKIP);
            dst.put_u16_le(count);
        }
        Inst::SkipIf { cond, count } => {
            dst.put_u8(op::SKIP_IF);
            put_operand(dst, cond);
            dst.put_u16_le(count);
        }
        Inst::SkipUnless { cond, count } => {
            dst.put_u8(op::SKIP_UNLESS);
            put_operand(dst, cond);
            dst.put_u16_le(count);
        }
        Inst::Report => dst.put_u8(op::REPORT),
        Inst::Fallthrough => dst.put_u8(op::FALLTHROUGH),
    }
}

fn put_operand(dst: &mut BytesMut, operand: Operand) {
    match operand {
        Operand::Imm(value) => match u32::try_from(value) {
            Ok(small) => {
                dst.put_u8(place::SMALL_IMM);
                dst.put_u32_le(small);
            }
            Err(_) => {
                dst.put_u8(place::IMM);
                dst.put_u64_le(value);
            }
        },
        Operand::Primitive(index) => {
            dst.put_u8(place::PRIMITIVE);
            dst.put_u16_le(index);
        }
        Operand::Reg(reg) => put_register(dst, reg),
    }
}

fn put_register(dst: &mut BytesMut, reg: Reg) {
    let (first, index) = match reg {
        Reg::Micros => {
            dst.put_u8(place::MICROS);
            return;
        }
        Reg::Writable(index) => (place::WRITABLE, index),
        Reg::Control(index) => (place::CONTROL, index),
        Reg::Report(index) => (place::REPORT, index),
        Reg::Local(index) => (place::LOCAL, index),
        Reg::Temp(index) => (place::TEMP, index),
    };
    dst.put_u8(first);
    dst.put_u16_le(index);
}

#[cfg(test)]
mod tests;
