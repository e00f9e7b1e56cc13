//! Bytecode as text, for people and for tests.

use std::fmt::Write as _;

use ccp_program::libccp::{Bytecode, Class, Instruction, Opcode, Register, implicit};

/// `code` as text: one line for each instruction, with its clause's condition and body marked.
#[must_use]
pub fn listing(code: &Bytecode) -> String {
    let mut out = String::new();
    // Writing to a `String` cannot fail.
    for (at, inst) in (0..).zip(&code.instructions) {
        for (index, expression) in code.expressions.iter().enumerate() {
            if expression.condition_start == at && expression.condition_len > 0 {
                let _ = writeln!(out, "clause {index}");
            }
            if expression.body_start == at && expression.body_len > 0 {
                let _ = writeln!(out, "       then");
            }
        }
        let _ = writeln!(out, "  {at:3}  {}", instruction(inst));
    }
    out
}

fn instruction(inst: &Instruction) -> String {
    let Instruction {
        op,
        ret,
        left,
        right,
    } = *inst;
    let (ret, left, right) = (name(ret), name(left), name(right));
    let infix = match op {
        Opcode::Bind => return format!("{ret} = {right}"),
        Opcode::Def => return format!("def {ret} = {right}"),
        Opcode::If => return format!("{ret} = {right} if {left}"),
        Opcode::NotIf => return format!("{ret} = {right} if not {left}"),
        Opcode::Add => "+",
        Opcode::Sub => "-",
        Opcode::Mul => "*",
        Opcode::Div => "/",
        Opcode::Equiv => "==",
        Opcode::Gt => ">",
        Opcode::Lt => "<",
        Opcode::Max => "max",
        Opcode::MaxWrap => "wrapped_max",
        Opcode::Min => "min",
        Opcode::Ewma => "ewma",
    };
    format!("{ret} = {left} {infix} {right}")
}

fn name(register: Register) -> String {
    let Register { class, index } = register;
    match class {
        Class::Control => format!("control{index}"),
        Class::Immediate => index.to_string(),
        Class::Implicit => match index {
            implicit::EVENT_FLAG => "flag".into(),
            implicit::SHOULD_CONTINUE => "fallthrough".into(),
            implicit::SHOULD_REPORT => "report".into(),
            implicit::MICROS => "Micros".into(),
            implicit::CWND => "Cwnd".into(),
            implicit::RATE => "Rate".into(),
            other => format!("implicit{other}"),
        },
        Class::Local => format!("local{index}"),
        Class::Primitive => format!("primitive{index}"),
        Class::VolatileReport => format!("volatile report{index}"),
        Class::Report => format!("report{index}"),
        Class::Temp => format!("tmp{index}"),
        Class::VolatileControl => format!("volatile control{index}"),
    }
}
