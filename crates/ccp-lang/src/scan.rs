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
    let mut open: Vec<Open> = Vec::new();
    let mut good = true;
    let mut comment = false;
    let mut line_start = 0;
    let mut first_on_line = true;
    // The bracket that was probably meant to be closed, by the indentation of what follows it.
    let mut suspect = None;
    for (at, byte) in source.bytes().enumerate() {
        match byte {
            b'\n' => {
                comment = false;
                line_start = at + 1;
                first_on_line = true;
                continue;
            }
            b' ' | b'\t' | b'\r' => continue,
            _ if comment => continue,
            b'#' => comment = true,
            b'(' if open.len() == MAX_DEPTH => {
                errors.push(Span::new(at, at + 1), Problem::TooDeep);
                return false;
            }
            b'(' => {
                let indent = first_on_line.then_some(at - line_start);
                if let (Some(indent), Some(last)) = (indent, open.last())
                    && last.indent.is_some_and(|i| i >= indent)
                {
                    suspect.get_or_insert(last.at);
                }
                open.push(Open { at, indent });
            }
            b')' if open.pop().is_none() => {
                errors.push(Span::new(at, at + 1), Problem::UnexpectedClose);
                good = false;
            }
            _ => {}
        }
        first_on_line = false;
    }
    // Without a suspect it is the outermost: it swallowed what comes after.
    if let Some(outermost) = open.first() {
        let at = suspect.unwrap_or(outermost.at);
        let count = open.len();
        errors.push(Span::new(at, at + 1), Problem::Unclosed { count });
        good = false;
    }
    good
}

/// A bracket that was not closed so far.
struct Open {
    at: usize,
    /// How far it is indented, if it is the first thing on its line.
    indent: Option<usize>,
}
