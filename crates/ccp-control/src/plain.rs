//! Texts from outside, where people read them.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` for one line of a terminal or a log: what would begin another line, command the terminal or turn
/// the order of letters around is written as an escape (`\\n`, `\\u{1b}`).
///
/// Paths of control groups and of sockets, names that flows ask for and messages of panics can hold anything.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_tricky) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for letter in text.chars() {
        if is_tricky(letter) {
            // Writing to a text in memory does not fail.
            let _ = write!(plain, "{}", letter.escape_default());
        } else {
            plain.push(letter);
        }
    }
    Cow::Owned(plain)
}

fn is_tricky(letter: char) -> bool {
    letter.is_control()
        || matches!(
            letter,
            '\u{61c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::plain;

    #[test]
    fn nothing_begins_a_line_or_commands_a_terminal() {
        assert!(matches!(plain("/user.slice/größer \\x"), Cow::Borrowed(_)));
        assert_eq!(plain("a\nb\r\u{1b}[2J\u{9b}"), "a\\nb\\r\\u{1b}[2J\\u{9b}");
        assert_eq!(plain("\u{202e}gro.\u{2028}"), "\\u{202e}gro.\\u{2028}");
    }
}
