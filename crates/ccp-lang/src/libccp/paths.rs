//! Which skips decide whether an instruction runs.
//!
//! The library has no skips, only assignments that depend on a register. So every instruction gets
//! its *path*: the skips that must have gone one way or the other for it to be reached.

use ccp_program::Inst;

use super::clause::is_skip;

/// How many skips may decide over one instruction.
const MAX_PATH: usize = 64;

/// A conditional skip of the block, and whether what it looked at was not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step {
    pub(super) skip: usize,
    pub(super) not_zero: bool,
}

/// Every step must have gone this way. Empty: always reached.
pub(super) type Path = Vec<Step>;

/// The path of each instruction of a block; `None` for those that are never reached.
///
/// # Errors
/// The instruction that is reached by ways which are no single path.
pub(super) fn paths(insts: &[Inst]) -> Result<Vec<Option<Path>>, usize> {
    if !insts.iter().any(is_skip) {
        return Ok(vec![Some(Path::new()); insts.len()]);
    }
    let mut arriving: Vec<Vec<Path>> = vec![Vec::new(); insts.len() + 1];
    let mut here: Option<Path> = Some(Path::new());
    let mut out = Vec::with_capacity(insts.len());
    for (at, inst) in insts.iter().enumerate() {
        let mut ways = arriving.get_mut(at).map(std::mem::take).unwrap_or_default();
        ways.extend(here.take());
        here = join(ways).map_err(|()| at)?;
        out.push(here.clone());
        let Some(path) = here.take() else { continue };
        if path.len() > MAX_PATH {
            return Err(at);
        }
        let with = |not_zero: bool| {
            let mut longer = path.clone();
            longer.push(Step { skip: at, not_zero });
            longer
        };
        let mut leave = |count: u16, way: Path| {
            if let Some(target) = arriving.get_mut(at + 1 + usize::from(count)) {
                target.push(way);
            }
        };
        match *inst {
            Inst::Skip { count } => leave(count, path),
            Inst::SkipIf { count, .. } => {
                leave(count, with(true));
                here = Some(with(false));
            }
            Inst::SkipUnless { count, .. } => {
                leave(count, with(false));
                here = Some(with(true));
            }
            _ => here = Some(path),
        }
    }
    Ok(out)
}

/// The one path that stands for all of `ways`: two that differ only in the way their last step
/// went are the path without it.
fn join(mut ways: Vec<Path>) -> Result<Option<Path>, ()> {
    while ways.len() > 1 {
        let last = |path: &Path| path.last().map(|step| step.skip);
        // What was decided last is joined first.
        ways.sort_by(|a, b| (last(b), b.len()).cmp(&(last(a), a.len())).then(a.cmp(b)));
        let joined = match ways.as_slice() {
            [a, b, ..] => match (a.split_last(), b.split_last()) {
                (Some((x, before)), Some((y, same)))
                    if before == same && x.skip == y.skip && x.not_zero != y.not_zero =>
                {
                    before.to_vec()
                }
                _ => return Err(()),
            },
            _ => return Err(()),
        };
        ways.splice(..2, [joined]);
    }
    Ok(ways.pop())
}
