//! What can go wrong in the laboratory, each with what was tried and what to do.

use std::{io, net::SocketAddr, time::Duration};

use crate::Missing;

/// An error of the laboratory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// This machine or this user cannot run the laboratory.
    #[error("the network laboratory cannot run here: {}", list(.0))]
    Unavailable(Vec<Missing>),
    /// The operating system refused a step of the set-up.
    #[error("cannot {what}: {source}")]
    System {
        /// The step, as "create a network namespace".
        what: String,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A command run in a namespace failed.
    #[error("`{command}` in namespace `{namespace}` {status}: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// Label of the namespace it ran in.
        namespace: String,
        /// How it ended.
        status: std::process::ExitStatus,
        /// What it printed as its error, trimmed.
        stderr: String,
    },
    /// A namespace setting was refused.
    #[error("cannot {action} sysctl `{key}` in namespace `{namespace}`: {source}{hint}")]
    Sysctl {
        /// `read` or `write`.
        action: &'static str,
        /// The setting's dotted name.
        key: String,
        /// Label of the namespace.
        namespace: String,
        /// The kernel's answer.
        source: io::Error,
        /// What to do about it, or empty.
        hint: &'static str,
    },
    /// A socket refused a congestion-control algorithm.
    #[error(
        "the kernel refused congestion control `{name}` (setsockopt TCP_CONGESTION: errno {errno}, \
         {source}); {hint}"
    )]
    Congestion {
        /// The algorithm asked for.
        name: String,
        /// The raw error number.
        errno: i32,
        /// The kernel's answer.
        source: io::Error,
        /// What the error number usually means here.
        hint: &'static str,
    },
    /// A socket operation of a traffic flow failed.
    #[error("TCP flow to {peer}: cannot {what}: {source}")]
    Flow {
        /// The receiver's address.
        peer: SocketAddr,
        /// The step.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The receiver got something else than what was sent.
    #[error(
        "TCP flow to {peer}: content differs at byte {offset} (expected {expected:#04x}, got \
         {got:#04x})"
    )]
    Content {
        /// The receiver's address.
        peer: SocketAddr,
        /// Position of the first wrong byte in the stream.
        offset: u64,
        /// The byte sent there.
        expected: u8,
        /// The byte received there.
        got: u8,
    },
    /// The receiver got a different number of bytes than were sent.
    #[error("TCP flow to {peer}: {sent} bytes sent but {received} received before end of stream")]
    Length {
        /// The receiver's address.
        peer: SocketAddr,
        /// Bytes accepted by the sender's socket.
        sent: u64,
        /// Bytes read by the receiver.
        received: u64,
    },
    /// The rest of the stream did not arrive in time after the sender had finished.
    #[error(
        "TCP flow to {peer}: the receiver had {received} of {sent} bytes {limit:?} after the \
         sender finished; is the link down or the window stuck?"
    )]
    Drain {
        /// The receiver's address.
        peer: SocketAddr,
        /// Bytes accepted by the sender's socket.
        sent: u64,
        /// Bytes read by the receiver.
        received: u64,
        /// How long was waited.
        limit: Duration,
    },
    /// A parameter is outside its range.
    #[error("{name} = {value} is out of range: {range}")]
    Parameter {
        /// Name of the parameter.
        name: &'static str,
        /// The value given.
        value: String,
        /// What is allowed.
        range: &'static str,
    },
}

impl LabError {
    pub(crate) fn system(what: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::System {
            what: what.into(),
            source: source.into(),
        }
    }
}

fn list(missing: &[Missing]) -> String {
    missing
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}
