//! What is logged and how, and how that is changed while the daemon runs.

mod limit;
mod line;
mod writer;

use thiserror::Error;
use tracing::info;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::{EnvFilter, Registry, reload};

pub use limit::LogLimit;
pub use writer::{LogError, LogWriter};

/// Where the log speaks of itself, which no limit keeps back.
const OWN_TARGET: &str = "ccpd::log";

/// Says what is logged, and changes it while the daemon runs.
#[derive(Clone, Debug)]
pub struct LogFilter(reload::Handle<EnvFilter, Registry>);

/// What is logged can't be changed. It is as it was.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LogFilterError {
    /// This is no filter.
    #[error(
        "`{filter}` is no filter: expected levels (error, warn, info, debug, trace), for single parts as \
         in `info,ccpd::datapath=debug`"
    )]
    NotOne {
        /// What was asked for.
        filter: String,
        /// What is wrong with it.
        source: ParseError,
    },
    /// Nobody logs any more.
    #[error("the log has gone")]
    Gone(#[from] reload::Error),
}

impl LogFilter {
    /// The layer that lets through what `filter` says, to be put between [`Registry`] and what writes
    /// the log, and with what to change it.
    #[must_use]
    pub fn layer(filter: EnvFilter) -> (reload::Layer<EnvFilter, Registry>, Self) {
        let (layer, handle) = reload::Layer::new(filter);
        (layer, Self(handle))
    }

    /// What is logged, as in `RUST_LOG`.
    ///
    /// # Errors
    /// If nobody logs any more.
    pub fn current(&self) -> Result<String, LogFilterError> {
        Ok(self.0.with_current(ToString::to_string)?)
    }

    /// From now on what `filter` says is logged, as in `RUST_LOG`.
    ///
    /// # Errors
    /// If it says nothing that can be understood.
    pub fn set(&self, filter: &str) -> Result<(), LogFilterError> {
        let new = EnvFilter::builder()
            .parse(filter)
            .map_err(|source| LogFilterError::NotOne {
                filter: filter.to_owned(),
                source,
            })?;
        self.0.reload(new)?;
        info!(filter, "what is logged was changed by hand");
        Ok(())
    }
}
