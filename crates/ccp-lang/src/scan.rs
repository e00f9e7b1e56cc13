//! Looks at brackets before anything recursive runs: length, depth, balance.

use crate::error::{Errors, Problem};
use crate::span::Span;

/// The longest source that is compiled, in bytes.
pub const MAX_SOURCE: usize = 1 << 20;

/// How deep brackets may be nested. Everything after this stage may recurse over the source.
pub const MAX_DEPTH: usize = 128;

/// The byte order mark with which some editors begin a text. It says nothing.
pub(crate) const BYTE_ORDER_MARK: char = '\u{feff}';

/// Reports what is wrong with the length or the brackets of `source`. Says whether the source may
/// be parsed.
pub(crate) fn check(source: &str, errors: &mut Errors) -> bool {
    if source.len() > MAX_SOURCE {
        errors.push(Span::default(), Problem::TooLong { len: source.len() });
        return false;
    }
    let mut open: Vec<Open> = Vec::new();
    let mut good = true;
    // The bracket that was probably meant to be closed, by the indentation of what follows it.
    let mut suspect = None;
    let mut line = 0;
    // How far what is first on this line is indented; looked for at its first bracket.
    let mut indented = None;
    let mut at = 0;
    while let Some((step, byte)) = special(source, at) {
        at += step;
        match byte {
            b'\n' => {
                line = at + 1;
                indented = None;
            }
            b'#' => {
                let rest = source.get(at..).unwrap_or_default();
                // The line end is looked at next.
                at += rest.find('\n').unwrap_or(rest.len());
                continue;
            }
            b'(' if open.len() == MAX_DEPTH => {
                errors.push(Span::new(at, at + 1), Problem::TooDeep);
                return false;
            }
            b'(' => {
                let first = *indented.get_or_insert_with(|| {
                    let text = source.as_bytes().get(line..).unwrap_or_default();
                    let blank = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r');
                    text.iter().take_while(blank).count()
                });
                let indent = (line + first == at).then_some(first);
                if let (Some(indent), Some(last)) = (indent, open.last())
                    && last.indent.is_some_and(|i| i >= indent)
                {
                    suspect.get_or_insert(last.at);
                }
                open.push(Open { at, indent });
            }
            _ if open.pop().is_none() => {
                errors.push(Span::new(at, at + 1), Problem::UnexpectedClose);
                good = false;
            }
            _ => {}
        }
        at += 1;
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

/// The next bracket, comment or line end from `at` on, and how far it is.
fn special(source: &str, at: usize) -> Option<(usize, u8)> {
    let rest = source.as_bytes().get(at..)?;
    let found = |byte: &u8| matches!(byte, b'(' | b')' | b'#' | b'\n');
    let step = rest.iter().position(found)?;
    Some((step, *rest.get(step)?))
}

/// What the grammar calls a space.
pub(crate) const fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t'..='\r')
}

/// `source` without the spaces and byte order marks with which it begins.
pub(crate) fn after_marks(source: &str) -> &str {
    source.trim_start_matches(|c| is_space(c) || c == BYTE_ORDER_MARK)
}

/// Reports characters of `source` outside of comments that cannot be told from a space, or not be
/// seen at all: they come with text that is copied from a page.
pub(crate) fn invisible(source: &str, errors: &mut Errors) {
    if source.is_ascii() {
        return;
    }
    let begin = source.len() - after_marks(source).len();
    let mut comment = false;
    for (at, character) in source.char_indices().skip_while(|(at, _)| *at < begin) {
        match character {
            '#' => comment = true,
            '\n' => comment = false,
            _ if !comment && is_invisible(character) => {
                let span = Span::new(at, at + character.len_utf8());
                errors.push(span, Problem::Invisible { character });
            }
            _ => {}
        }
    }
}

/// Whether it looks like a space or like nothing, and is no space of a program.
fn is_invisible(character: char) -> bool {
    let without_width = matches!(
        character,
        '\u{ad}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | BYTE_ORDER_MARK
    );
    !character.is_ascii() && (character.is_whitespace() || without_width)
}

/// `source` with spaces in place of comments, tabs, line ends and [`invisible`] characters.
/// Everything else stays where it is.
pub(crate) fn without_comments(source: &str) -> String {
    let mut bytes = source.as_bytes().to_vec();
    if bytes.contains(&b'#') {
        for line in bytes.split_mut(|b| *b == b'\n') {
            let comment = line.iter().position(|b| *b == b'#');
            let comment = comment.and_then(|at| line.get_mut(at..));
            comment.unwrap_or_default().fill(b' ');
        }
    }
    for byte in &mut bytes {
        if matches!(byte, b'\t'..=b'\r') {
            *byte = b' ';
        }
    }
    if !source.is_ascii() {
        let places = source.char_indices().filter(|(_, c)| is_invisible(*c));
        for (at, character) in places {
            let place = bytes.get_mut(at..at + character.len_utf8());
            place.unwrap_or_default().fill(b' ');
        }
    }
    // Comments end at line ends, so that no character was cut.
    String::from_utf8(bytes).unwrap_or_default()
}

/// A bracket that was not closed so far.
struct Open {
    at: usize,
    /// How far it is indented, if it is the first thing on its line.
    indent: Option<usize>,
}
