//! What can be wrong with what the daemon says, and with opening a flow.

use ccp_types::SockId;
use ccp_wire::{DecodeError, Kind, ProgramError};
use thiserror::Error;

use crate::legacy::BytecodeError;

/// A message of the daemon that is not obeyed. Everything is as it was before, and it is counted.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MessageError {
    /// It is no message.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// A program that is refused.
    #[error("program {uid} is refused: {why}")]
    Program {
        /// Its number.
        uid: u32,
        /// Why.
        why: ProgramError,
    },
    /// A program in libccp's bytecode that is refused.
    #[error("program {uid} is refused: {why}")]
    Bytecode {
        /// Its number.
        uid: u32,
        /// Why.
        why: BytecodeError,
    },
    /// A program with more registers, measurements and constants than can be numbered.
    #[error(
        "program {uid} is refused: it has more than 65,535 registers, measurements and constants"
    )]
    TooLarge {
        /// Its number.
        uid: u32,
    },
    /// A program that was not installed (any more).
    #[error("{kind} for flow {sock_id} names program {uid}, which is not installed")]
    NoProgram {
        /// The message.
        kind: Kind,
        /// The flow.
        sock_id: SockId,
        /// The program.
        uid: u32,
    },
    /// A flow that is not there (any more).
    #[error("{kind} names flow {sock_id}, which is not there")]
    NoFlow {
        /// The message.
        kind: Kind,
        /// The flow.
        sock_id: SockId,
    },
    /// It was meant for an earlier announcement of the flow.
    #[error("{kind} for flow {sock_id} is for an earlier announcement of it")]
    Stale {
        /// The message.
        kind: Kind,
        /// The flow.
        sock_id: SockId,
    },
    /// A register that is not there.
    #[error("{kind} for flow {sock_id} names {what} {index} of {count}")]
    NoRegister {
        /// The message.
        kind: Kind,
        /// The flow.
        sock_id: SockId,
        /// What is named.
        what: &'static str,
        /// Its place.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// A message that a daemon does not send to a datapath.
    #[error("{kind} is no message to a datapath")]
    Unexpected {
        /// The message.
        kind: Kind,
    },
}

/// A flow cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum OpenError {
    /// There are as many flows as the configuration allows.
    #[error("there are {limit} flows already, as many as the configuration allows")]
    TooMany {
        /// How many.
        limit: usize,
    },
}
