//! Running.

use ccp_program::Fault;
use ccp_program::interp;

use super::decode::{Code, Ops, Undo};
use super::file::{File, Registers};
use super::op::{Op, Place};
use super::{CWND, RATE};

/// What an invocation is given.
pub(crate) struct Inputs<'m> {
    /// The measurements, by their index in the table; those that are not there stay as they were.
    pub(crate) measured: &'m [u64],
    /// Places that are 0 this time, whatever was measured.
    pub(crate) zero: &'m [u16],
    pub(crate) now: u64,
    pub(crate) was_timeout: bool,
    pub(crate) mss: u64,
    pub(crate) micros: u64,
}

/// What came of it.
pub(crate) struct Outcome {
    /// Whether to report; or a fault, and the registers that last are as they were before.
    pub(crate) report: Result<bool, Fault>,
    pub(crate) cwnd: u64,
    pub(crate) rate: u64,
    pub(crate) micros: u64,
}

/// Runs the program once over `file`.
#[inline]
pub(crate) fn invoke(code: &Code, file: &mut File, inputs: &Inputs<'_>) -> Outcome {
    // Most programs are small.
    if let (Ops::Of32(ops), File::R32(file)) = (&code.ops, &mut *file) {
        return sized(code, ops, file, inputs);
    }
    larger(code, file, inputs)
}

#[inline(never)]
fn larger(code: &Code, file: &mut File, inputs: &Inputs<'_>) -> Outcome {
    match (&code.ops, file) {
        (Ops::Of64(ops), File::R64(file)) => sized(code, ops, file, inputs),
        (Ops::Narrow(ops), File::R128(file)) => sized(code, ops, file, inputs),
        (Ops::Narrow(ops), File::R256(file)) => sized(code, ops, file, inputs),
        (Ops::Wide(ops), File::Wide(file)) => {
            load(code, &mut **file, inputs);
            let report = if code.undo == Undo::Nothing {
                run(ops, &mut **file)
            } else {
                // A program of more than 256 registers and constants may cost an allocation.
                let before = file.clone();
                let done = run(ops, &mut **file);
                if done.is_err() {
                    *file = before;
                }
                done
            };
            outcome(code, &**file, report)
        }
        // The file of another program: nothing happens. Starting a program replaces the file.
        (_, file) => outcome(code, file.all(), Ok(false)),
    }
}

#[inline]
fn sized<const N: usize, P: Place>(
    code: &Code,
    ops: &[Op<P>],
    file: &mut [u64; N],
    inputs: &Inputs<'_>,
) -> Outcome
where
    [u64; N]: Registers,
{
    load(code, file, inputs);
    let report = undoing(ops, file, code.undo);
    outcome(code, file, report)
}

#[inline(always)]
fn load<R: Registers + ?Sized>(code: &Code, file: &mut R, inputs: &Inputs<'_>) {
    for (from, place) in &code.loads {
        if let Some(value) = inputs.measured.get(usize::from(*from)) {
            file.set(usize::from(*place), *value);
        }
    }
    for place in inputs.zero {
        file.set(usize::from(*place), 0);
    }
    if let Some(place) = code.now {
        file.set(usize::from(place), inputs.now);
    }
    if let Some(place) = code.was_timeout {
        file.set(usize::from(place), u64::from(inputs.was_timeout));
    }
    if let Some(place) = code.mss {
        file.set(usize::from(place), inputs.mss);
    }
    if let Some(place) = code.micros {
        file.set(usize::from(place), inputs.micros);
    }
}

#[inline(always)]
fn outcome<R: Registers + ?Sized>(code: &Code, file: &R, report: Result<bool, Fault>) -> Outcome {
    Outcome {
        report,
        cwnd: file.get(CWND),
        rate: file.get(RATE),
        micros: code.micros.map_or(0, |place| file.get(usize::from(place))),
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

#[inline(never)]
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

#[inline(always)]
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
