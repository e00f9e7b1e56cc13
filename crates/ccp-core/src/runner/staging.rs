//! Checks what an algorithm wants before any of it is done.

use thiserror::Error;

use super::FlowRunner;
use crate::alg::FlowId;
use crate::program::CompiledProgram;
use crate::update::{Change, Target, Updates};

/// Why an update is dropped.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpdateError {
    /// The window would be 0: nothing could be sent any more, and nothing would ever be reported.
    #[error("a window of 0 would stop the flow")]
    ZeroWindow,
    /// The datapath was not given the program, or does not run it.
    #[error("this datapath does not run program `{program}`: an algorithm must list its programs")]
    NoSuchProgram {
        /// The program's name.
        program: String,
    },
    /// No program runs, so there is no control variable.
    #[error("control variable {place} is set, but no program runs")]
    NoProgram {
        /// The place of the variable.
        place: u16,
    },
    /// The program has no such control variable.
    #[error("control variable {place} of program `{program}`, which has {count}")]
    NoSuchControl {
        /// The program's name.
        program: String,
        /// The place asked for.
        place: u16,
        /// How many there are.
        count: usize,
    },
    /// The datapath has no such writable register.
    #[error("writable register {place} of a datapath that has {count}")]
    NoSuchRegister {
        /// The place asked for.
        place: u16,
        /// How many there are.
        count: usize,
    },
    /// The flow addressed does not belong to the group.
    #[error("an update for flow {}, which is not of the same group", flow.0)]
    OtherFlow {
        /// The flow addressed.
        flow: FlowId,
    },
}

/// Looks whether each change can be, after those before it. Changes nothing.
pub(super) struct Staging<'r> {
    runner: &'r FlowRunner,
    /// What runs once the changes before are done.
    running: Option<&'r CompiledProgram>,
}

impl<'r> Staging<'r> {
    pub(super) fn new(runner: &'r FlowRunner) -> Self {
        Self {
            runner,
            running: runner.running.as_ref().map(|(_, program)| program),
        }
    }

    /// All of `updates`, or the first thing in it that cannot be.
    pub(super) fn check(mut self, updates: &'r Updates) -> Result<(), UpdateError> {
        updates.iter().try_for_each(|update| match update.flow {
            Target::Own => self.own(&update.change),
            Target::Flow(id) if id == self.runner.id => self.own(&update.change),
            Target::Flow(id) if self.runner.is_of_group(id) => Ok(()),
            Target::Flow(flow) => Err(UpdateError::OtherFlow { flow }),
        })
    }

    fn own(&mut self, change: &'r Change) -> Result<(), UpdateError> {
        match *change {
            Change::Program(ref program) => {
                if !self.runner.programs.runs(program) {
                    return Err(UpdateError::NoSuchProgram {
                        program: program.name().to_owned(),
                    });
                }
                self.running = Some(program);
            }
            Change::Writable(0, 0) => return Err(UpdateError::ZeroWindow),
            Change::Writable(place, _) => {
                let count = self.runner.programs.registers().writables().len();
                if usize::from(place) >= count {
                    return Err(UpdateError::NoSuchRegister { place, count });
                }
            }
            Change::Control(place, _) => {
                let Some(program) = self.running else {
                    return Err(UpdateError::NoProgram { place });
                };
                let count = program.ir().controls.len();
                if usize::from(place) >= count {
                    return Err(UpdateError::NoSuchControl {
                        program: program.name().to_owned(),
                        place,
                        count,
                    });
                }
            }
        }
        Ok(())
    }
}
