//! Running.

use ccp_program::Fault;
use ccp_program::interp;

use super::decode::{Code, Ops, Undo};
use super::file::{File, Registers};
use super::op::{Op, Place};

/// Runs the program once over `file`, whose measurements are loaded. Returns whether to report.
///
/// # Errors
/// A fault, with the registers that last as they were before.
#[inline]
pub(crate) fn invoke(code: &Code, file: &mut File) -> Result<bool, Fault> {
    match (&code.ops, file) {
        (Ops::Narrow(ops), File::R32(file)) => undoing::<32, _>(ops, file, code.undo),
        (Ops::Narrow(ops), File::R64(file)) => undoing::<64, _>(ops, file, code.undo),
        (Ops::Narrow(ops), File::R128(file)) => undoing::<128, _>(ops, file, code.undo),
        (Ops::Narrow(ops), File::R256(file)) => undoing::<256, _>(ops, file, code.undo),
        (Ops::Wide(ops), File::Wide(file)) => match code.undo {
            Undo::Nothing => run(ops, &mut **file),
            _ => {
                // A program of more than 256 registers and constants may cost an allocation.
                let before = file.clone();
                let done = run(ops, &mut **file);
                if done.is_err() {
                    *file = before;
                }
                done
            }
        },
        // The file of another program: nothing happens. Starting a program replaces the file.
        _ => Ok(false),
    }
}

/// What lasts stands first, so what is to be put back is a chunk of the beginning.
#[inline]
fn undoing<const N: usize, P: Place>(
    ops: &[Op<P>],
    file: &mut [u64; N],
    undo: Undo,
) -> Result<bool, Fault>
where
    [u64; N]: Registers,
{
    match undo {
        Undo::Nothing => run(ops, file),
        Undo::First8 => first::<N, 8, P>(ops, file),
        Undo::First16 => first::<N, 16, P>(ops, file),
        Undo::First32 => first::<N, 32, P>(ops, file),
        Undo::All => first::<N, N, P>(ops, file),
    }
}

#[inline]
fn first<const N: usize, const K: usize, P: Place>(
    ops: &[Op<P>],
    file: &mut [u64; N],
) -> Result<bool, Fault>
where
    [u64; N]: Registers,
{
    let Some(before) = file.first_chunk::<K>().copied() else {
        // No file is smaller than the chunk that its program asks for.
        return Ok(false);
    };
    let done = run(ops, file);
    if done.is_err()
        && let Some(chunk) = file.first_chunk_mut::<K>()
    {
        *chunk = before;
    }
    done
}

fn run<P: Place, R: Registers + ?Sized>(ops: &[Op<P>], r: &mut R) -> Result<bool, Fault> {
    let mut at = 0;
    let mut report = false;
    let mut go_on = false;
    macro_rules! value {
        ($p:expr) => {
            r.get($p.at())
        };
    }
    macro_rules! set {
        ($p:expr, $v:expr) => {{
            let value = $v;
            r.set($p.at(), value)
        }};
    }
    while let Some(op) = ops.get(at) {
        at += 1;
        match *op {
            Op::Add { dst, a, b } => {
                set!(
                    dst,
                    value!(a).checked_add(value!(b)).ok_or(Fault::Overflow)?
                );
            }
            Op::Sub { dst, a, b } => {
                set!(
                    dst,
                    value!(a).checked_sub(value!(b)).ok_or(Fault::Underflow)?
                );
            }
            Op::Mul { dst, a, b } => {
                set!(
                    dst,
                    value!(a).checked_mul(value!(b)).ok_or(Fault::Overflow)?
                );
            }
            Op::Div { dst, a, b } => {
                set!(
                    dst,
                    value!(a)
                        .checked_div(value!(b))
                        .ok_or(Fault::DivisionByZero)?
                );
            }
            Op::Min { dst, a, b } => set!(dst, value!(a).min(value!(b))),
            Op::Max { dst, a, b } => set!(dst, value!(a).max(value!(b))),
            Op::WrappedMax { dst, a, b } => {
                set!(dst, interp::wrapped_max(value!(a), value!(b)));
            }
            Op::Eq { dst, a, b } => set!(dst, u64::from(value!(a) == value!(b))),
            Op::Ne { dst, a, b } => set!(dst, u64::from(value!(a) != value!(b))),
            Op::Lt { dst, a, b } => set!(dst, u64::from(value!(a) < value!(b))),
            Op::Le { dst, a, b } => set!(dst, u64::from(value!(a) <= value!(b))),
            Op::And { dst, a, b } => set!(dst, u64::from(value!(a) != 0 && value!(b) != 0)),
            Op::Or { dst, a, b } => set!(dst, u64::from(value!(a) | value!(b) != 0)),
            Op::Ewma {
                dst,
                weight,
                sample,
            } => {
                set!(
                    dst,
                    interp::ewma(value!(weight), value!(dst), value!(sample))?
                );
            }
            Op::Move { dst, src } => set!(dst, value!(src)),
            Op::Jump { to } => at = usize::from(to),
            Op::JumpIf { cond, to } if value!(cond) != 0 => at = usize::from(to),
            Op::JumpUnless { cond, to } if value!(cond) == 0 => at = usize::from(to),
            Op::UnlessLt { a, b, to } if value!(a) >= value!(b) => at = usize::from(to),
            Op::UnlessLe { a, b, to } if value!(a) > value!(b) => at = usize::from(to),
            Op::UnlessEq { a, b, to } if value!(a) != value!(b) => at = usize::from(to),
            Op::UnlessNe { a, b, to } if value!(a) == value!(b) => at = usize::from(to),
            Op::JumpIf { .. }
            | Op::JumpUnless { .. }
            | Op::UnlessLt { .. }
            | Op::UnlessLe { .. }
            | Op::UnlessEq { .. }
            | Op::UnlessNe { .. } => {}
            Op::Report => report = true,
            Op::Begin => go_on = false,
            Op::GoOn => go_on = true,
            Op::EndUnlessGoOn if !go_on => break,
            Op::EndUnlessGoOn => {}
            Op::End => break,
        }
    }
    Ok(report)
}
