//! Text that a person wrote, and places in it.

use std::fmt;
use std::sync::Arc;

/// A configuration file, or another text that parameters come from. Cheap to clone.
#[derive(Clone)]
pub struct SourceText(Arc<Inner>);

struct Inner {
    name: String,
    text: String,
}

/// A place in a text, as editors count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl SourceText {
    /// The text `text`, which is called `name` (a path, mostly).
    #[must_use]
    pub fn new(name: &str, text: &str) -> Self {
        Self(Arc::new(Inner {
            name: name.to_owned(),
            text: text.to_owned(),
        }))
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The whole text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Where the byte at `offset` stands; an offset behind the end is the end.
    #[must_use]
    pub fn position(&self, offset: usize) -> Position {
        let mut end = offset.min(self.0.text.len());
        while !self.0.text.is_char_boundary(end) {
            end -= 1;
        }
        let before = self.0.text.get(..end).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
        }
    }
}

impl fmt::Debug for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SourceText").field(&self.0.name).finish()
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::{Position, SourceText};

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = SourceText::new("x.toml", "a = 1\nä = 2\n");
        let at = |offset| {
            let Position { line, column } = text.position(offset);
            (line, column)
        };
        assert_eq!(at(0), (1, 1));
        assert_eq!(at(4), (1, 5));
        assert_eq!(at(6), (2, 1));
        // In the middle of `ä`: its beginning.
        assert_eq!(at(7), (2, 1));
        assert_eq!(at(8), (2, 2));
        assert_eq!(at(1_000), (3, 1));
    }
}
