//! Programs in libccp's bytecode, as portus sends them.

use ccp_program::libccp::{Bytecode, Class};
use ccp_program::{Limits, Program, RegisterTable, VerifyError};
use thiserror::Error;

/// Why a program in libccp's bytecode is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BytecodeError {
    /// The verifier refuses what it amounts to.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// A register that libccp does not have.
    #[error("instruction {inst} names {class:?} register {index}, which does not exist")]
    NoRegister {
        /// The instruction, counted from 0.
        inst: usize,
        /// The class of the register.
        class: Class,
        /// Its index.
        index: u32,
    },
    /// A register is written that only the datapath or the agent may write.
    #[error("instruction {inst} writes {class:?} register {index}, which is read-only")]
    ReadOnly {
        /// The instruction, counted from 0.
        inst: usize,
        /// The class of the register.
        class: Class,
        /// Its index.
        index: u32,
    },
    /// Something that no compiler of the language makes.
    #[error("instruction {inst} {what}")]
    Odd {
        /// The instruction, counted from 0.
        inst: usize,
        /// What is odd.
        what: &'static str,
    },
}

pub(crate) fn to_program(
    _bytecode: &Bytecode,
    _table: &RegisterTable,
    _limits: &Limits,
) -> Result<Program, BytecodeError> {
    Err(VerifyError::Empty.into())
}
