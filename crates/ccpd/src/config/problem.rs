//! What is wrong with a configuration.

use std::fmt;
use std::path::PathBuf;

use ccp_core::{ParamError, Position, SourceText};
use thiserror::Error;

/// One thing that is wrong, and where: `file:line:column: key = value: must be ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    place: Position,
    text: String,
}

impl Problem {
    pub(super) fn new(source: &SourceText, at: Position, text: impl fmt::Display) -> Self {
        Self {
            place: at,
            text: format!("{}:{at}: {text}", source.name()),
        }
    }

    /// Something is wrong with a configuration that no file holds.
    pub(crate) const fn nowhere(text: String) -> Self {
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

/// A configuration is not used, because of everything that is wrong with it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file can't be read.
    #[error("can't read the configuration {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("{}", Lines(.0))]
    Wrong(
        /// What, in the order of the file. Never empty.
        Vec<Problem>,
    ),
}

/// One line for each problem.
struct Lines<'a>(&'a [Problem]);

impl fmt::Display for Lines<'_> {
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
