//! What is wrong with a file.

use std::fmt;

use thiserror::Error;

use crate::params::ParamError;
use crate::source::{Position, SourceText};

/// One thing that is wrong, and where: `file:line:column: key = value: must be ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Position,
    text: String,
}

impl Problem {
    pub(crate) fn new(source: &SourceText, at: Position, text: impl fmt::Display) -> Self {
        Self {
            place: at,
            text: format!("{}:{at}: {text}", source.name()),
        }
    }

    /// Something is wrong with a configuration that no file holds.
    #[must_use]
    pub const fn nowhere(text: String) -> Self {
        let place = Position { line: 1, column: 1 };
        Self { place, text }
    }

    /// Line and column, both from 1.
    #[must_use]
    pub const fn place(&self) -> Position {
        self.place
    }
}

/// What the parameters of an algorithm say of themselves.
impl From<&ParamError> for Problem {
    fn from(error: &ParamError) -> Self {
        Self {
            place: error.position,
            text: error.to_string(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Everything that is wrong with a file, in its order: one line for each.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}
