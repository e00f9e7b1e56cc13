//! What is wrong with a configuration.

use std::path::PathBuf;

use ccp_core::keys::{Problem, Problems};
use thiserror::Error;

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
    #[error(transparent)]
    Wrong(
        /// What, in the order of the file. Never empty.
        Problems,
    ),
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self::Wrong(Problems(vec![problem]))
    }
}
