//! Why the daemon does not start, or does not go on.

use std::error::Error;
use std::io;

use ccp_core::DuplicateKind;
use thiserror::Error as ThisError;

use crate::config::ConfigError;
use crate::datapath::netlink::NetlinkError;
use crate::datapath::tcp::TcpError;
use crate::metrics::MetricsError;
use crate::socket_file::SocketError;

/// The daemon does not start.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration, or the parameters of an algorithm in it.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Two kinds of algorithms were given the same name.
    #[error(transparent)]
    Kind(#[from] DuplicateKind),
    /// A socket can't be made.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// Metrics can't be served.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// Kernel TCP can't be steered.
    #[error(transparent)]
    Tcp(#[from] TcpError),
    /// Datapaths on netlink can't be listened to.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
}

impl StartError {
    /// The exit code of a program that fails with this: 2 if the configuration is wrong, 3 if what it
    /// asks for is not possible here, else 1.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Config(_) => 2,
            Self::Tcp(error) if error.is_not_possible_here() => 3,
            Self::Netlink(error) if error.is_not_possible_here() => 3,
            Self::Kind(_)
            | Self::Socket(_)
            | Self::Metrics(_)
            | Self::Tcp(_)
            | Self::Netlink(_) => 1,
        }
    }
}

/// The daemon stopped because it could not go on.
#[derive(Debug, ThisError)]
#[non_exhaustive]
pub enum RunError {
    /// A datapath failed.
    #[error("the datapath {datapath} failed")]
    Datapath {
        /// Its name in the configuration.
        datapath: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// One of the daemon's own tasks failed.
    #[error("{task} failed; this is an error in ccpd")]
    Task {
        /// Which.
        task: String,
        /// How.
        #[source]
        source: tokio::task::JoinError,
    },
}

/// The error with its causes in one text, each said once: some errors name theirs themselves.
#[must_use]
pub fn in_full(error: &(dyn Error + 'static)) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let why = next.to_string();
        if !said.contains(&why) {
            said.push_str(": ");
            said.push_str(&why);
        }
        cause = next.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::in_full;

    #[test]
    fn an_error_says_each_cause_once() {
        let missing = || std::io::Error::new(std::io::ErrorKind::NotFound, "no such thing");
        let error = super::RunError::Datapath {
            datapath: "x".to_owned(),
            source: missing(),
        };
        assert_eq!(in_full(&error), "the datapath x failed: no such thing");
        let error = super::RunError::Datapath {
            datapath: "x (no such thing)".to_owned(),
            source: missing(),
        };
        assert_eq!(in_full(&error), "the datapath x (no such thing) failed");
    }
}
