//! Gives the intermediate results of a clause the library's registers, using each again as soon
//! as its value is not needed any more.

use ccp_program::libccp::{Class, Instruction, Opcode, Register};

/// A register, or an intermediate result that has none yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Fixed(Register),
    Result(usize),
}

/// An instruction before allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draft {
    pub(super) op: Opcode,
    pub(super) ret: Place,
    pub(super) left: Place,
    pub(super) right: Place,
    /// The instruction of the clause's IR that it comes from.
    pub(super) origin: usize,
}

/// More intermediate results at one time than there are registers.
pub(super) struct TooMany {
    pub(super) origin: usize,
    pub(super) needed: usize,
}

/// The library has this many of each.
const TEMPS: usize = 8;

/// `drafts` with a register for each of `results` intermediate results, and how many of what is
/// left come from the first `condition` of them. A copy of a value to where it is already is gone.
pub(super) fn allocate(
    drafts: &[Draft],
    results: usize,
    condition: usize,
) -> Result<(Vec<Instruction>, usize), TooMany> {
    let mut last_use = vec![0; results];
    for (at, draft) in drafts.iter().enumerate() {
        for place in [draft.ret, draft.left, draft.right] {
            if let Place::Result(result) = place
                && let Some(last) = last_use.get_mut(result)
            {
                *last = at;
            }
        }
    }
    let mut homes: Vec<Option<usize>> = vec![None; results];
    let mut taken: Vec<bool> = Vec::new();
    let mut out = Vec::with_capacity(drafts.len());
    let mut worst: Option<TooMany> = None;
    let mut condition_len = 0;
    for (at, draft) in drafts.iter().enumerate() {
        if at == condition {
            condition_len = out.len();
        }
        let (left, right) = (home(draft.left, &homes), home(draft.right, &homes));
        // Operands are read before the result is written: their registers can take it.
        for place in [draft.left, draft.right] {
            release(place, at, &last_use, &homes, &mut taken);
        }
        if let Place::Result(result) = draft.ret
            && let Some(home) = homes.get_mut(result)
            && home.is_none()
        {
            let free = taken.iter().position(|t| !t).unwrap_or(taken.len());
            match taken.get_mut(free) {
                Some(slot) => *slot = true,
                None => taken.push(true),
            }
            *home = Some(free);
            if free >= super::MAX_TEMPS && worst.as_ref().is_none_or(|w| w.needed <= free) {
                worst = Some(TooMany {
                    origin: draft.origin,
                    needed: free + 1,
                });
            }
        }
        let ret = home(draft.ret, &homes);
        release(draft.ret, at, &last_use, &homes, &mut taken);
        if draft.op == Opcode::Bind && ret == right {
            continue;
        }
        // Where an operand is not looked at, name the result, as portus does.
        out.push(Instruction {
            op: draft.op,
            ret,
            left: if draft.op == Opcode::Bind { ret } else { left },
            right,
        });
    }
    match worst {
        None if drafts.len() <= condition => {
            let all = out.len();
            Ok((out, all))
        }
        None => Ok((out, condition_len)),
        Some(too_many) => Err(too_many),
    }
}

fn home(place: Place, homes: &[Option<usize>]) -> Register {
    match place {
        Place::Fixed(register) => register,
        Place::Result(result) => {
            let home = homes.get(result).copied().flatten().unwrap_or(0);
            if home < TEMPS {
                super::register(Class::Temp, home)
            } else {
                // Nothing else lives in the library's local registers.
                super::register(Class::Local, home - TEMPS)
            }
        }
    }
}

/// Gives the register of `place` back if `at` is its last use.
fn release(
    place: Place,
    at: usize,
    last_use: &[usize],
    homes: &[Option<usize>],
    taken: &mut [bool],
) {
    if let Place::Result(result) = place
        && last_use.get(result) == Some(&at)
        && let Some(home) = homes.get(result).copied().flatten()
        && let Some(slot) = taken.get_mut(home)
    {
        *slot = false;
    }
}
