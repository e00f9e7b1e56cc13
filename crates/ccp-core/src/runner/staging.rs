//! Checks what an algorithm wants before any of it is done.

use smallvec::SmallVec;
use thiserror::Error;

use super::{FlowRunner, MOST_PACKETS};
use crate::alg::FlowId;
use crate::command::Place;
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

/// What passed, in the order in which it takes effect.
pub(super) struct Staged {
    pub(super) program: Option<(u32, CompiledProgram)>,
    pub(super) fields: SmallVec<[(Place, u64); 8]>,
    pub(super) others: SmallVec<[(FlowId, Change); 1]>,
    /// The window was beyond the largest, and is that now.
    pub(super) bounded: bool,
}

pub(super) struct Staging<'r> {
    runner: &'r FlowRunner,
    staged: Staged,
}

impl<'r> Staging<'r> {
    pub(super) fn new(runner: &'r FlowRunner) -> Self {
        Self {
            runner,
            staged: Staged {
                program: None,
                fields: SmallVec::new(),
                others: SmallVec::new(),
                bounded: false,
            },
        }
    }

    /// All of `updates`, or the first thing in it that cannot be.
    pub(super) fn check(mut self, updates: &Updates) -> Result<Staged, UpdateError> {
        for update in updates.iter() {
            match update.flow {
                Target::Own => self.own(&update.change)?,
                Target::Flow(id) if id == self.runner.id => self.own(&update.change)?,
                Target::Flow(id) if self.runner.is_of_group(id) => {
                    self.staged.others.push((id, update.change.clone()));
                }
                Target::Flow(flow) => return Err(UpdateError::OtherFlow { flow }),
            }
        }
        Ok(self.staged)
    }

    fn own(&mut self, change: &Change) -> Result<(), UpdateError> {
        match *change {
            Change::Program(ref program) => {
                let Some(uid) = self.runner.programs.uid(program) else {
                    return Err(UpdateError::NoSuchProgram {
                        program: program.name().to_owned(),
                    });
                };
                self.staged
                    .fields
                    .retain(|(place, _)| matches!(place, Place::Writable(_)));
                self.staged.program = Some((uid, program.clone()));
            }
            Change::Writable(0, 0) => return Err(UpdateError::ZeroWindow),
            Change::Writable(place, value) => {
                let count = self.runner.programs.registers().writables().len();
                if usize::from(place) >= count {
                    return Err(UpdateError::NoSuchRegister { place, count });
                }
                let most = match place {
                    0 => MOST_PACKETS.saturating_mul(self.runner.info.mss.max(1).into()),
                    _ => u64::MAX,
                };
                self.staged.bounded |= value > most;
                let value = value.min(most);
                self.staged.fields.push((Place::Writable(place), value));
            }
            Change::Control(place, value) => {
                let running = self
                    .staged
                    .program
                    .as_ref()
                    .or(self.runner.running.as_ref());
                let Some((_, program)) = running else {
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
                self.staged.fields.push((Place::Control(place), value));
            }
        }
        Ok(())
    }
}
