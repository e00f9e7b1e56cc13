//! Which instructions read and write a register.

use ccp_program::{Inst, Operand, Reg};

/// Whether a block may read what `reg` holds before it.
pub(super) fn read_before_written(insts: &[Inst], reg: Reg) -> bool {
    for inst in insts {
        if reads(inst, reg) {
            return true;
        }
        if is_skip(inst) {
            return insts.iter().any(|inst| reads(inst, reg));
        }
        if writes(inst) == Some(reg) {
            return false;
        }
    }
    false
}

pub(in super::super) fn is_skip(inst: &Inst) -> bool {
    matches!(
        inst,
        Inst::Skip { .. } | Inst::SkipIf { .. } | Inst::SkipUnless { .. }
    )
}

pub(super) fn writes(inst: &Inst) -> Option<Reg> {
    match *inst {
        Inst::Binary { dst, .. } | Inst::Ewma { dst, .. } | Inst::Move { dst, .. } => Some(dst),
        _ => None,
    }
}

pub(super) fn reads(inst: &Inst, reg: Reg) -> bool {
    let is = |operand: Operand| operand == Operand::Reg(reg);
    match *inst {
        Inst::Binary { a, b, .. } => is(a) || is(b),
        Inst::Ewma {
            dst,
            weight,
            sample,
        } => dst == reg || is(weight) || is(sample),
        Inst::Move { src, .. } => is(src),
        Inst::SkipIf { cond, .. } | Inst::SkipUnless { cond, .. } => is(cond),
        Inst::Skip { .. } | Inst::Report | Inst::Fallthrough => false,
    }
}
