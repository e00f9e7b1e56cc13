//! Looks at brackets before anything recursive runs: length, depth, balance.

use crate::error::{Errors, Problem};
use crate::span::Span;

/// The longest source that is compiled, in bytes.
pub const MAX_SOURCE: usize = 1 << 20;

/// How deep brackets may be nested. Everything after this stage may recurse over the source.
pub const MAX_DEPTH: usize = 128;

/// Reports what is wrong with the length or the brackets of `source`. Says whether the source may
/// be parsed.
pub(crate) fn check(source: &str, errors: &mut Errors) -> bool {
    if source.len() > MAX_SOURCE {
        errors.push(Span::default(), Problem::TooLong { len: source.len() });
        return false;
    }
    let mut open: Vec<usize> = Vec::new();
    let mut good = true;
    let mut comment = false;
    for (at, byte) in source.bytes().enumerate() {
        match byte {
            b'\n' => comment = false,
            _ if comment => {}
            b'#' => comment = true,
            b'(' if open.len() == MAX_DEPTH => {
                errors.push(Span::new(at, at + 1), Problem::TooDeep);
                return false;
            }
            b'(' => open.push(at),
            b')' if open.pop().is_none() => {
                errors.push(Span::new(at, at + 1), Problem::UnexpectedClose);
                good = false;
            }
            _ => {}
        }
    }
    // Of several brackets left open the outermost is the one: it swallowed what comes after.
    if let Some(at) = open.first() {
        errors.push(
            Span::new(*at, at + 1),
            Problem::Unclosed { count: open.len() },
        );
        good = false;
    }
    good
}
