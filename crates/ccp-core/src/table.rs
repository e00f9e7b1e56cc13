//! The programs of one datapath: which it runs, under which number, in which form.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use bytes::BytesMut;
use ccp_lang::libccp::{self, LimitError};
use ccp_program::libccp::Bytecode;
use ccp_program::{BindError, Limits, Program, RegisterTable, VerifyError, verify};
use ccp_wire::{
    Capabilities, ChangeProg, ChangeProgExt, Encode, EncodeError, Features, Field, FieldExt,
    FieldTarget, Install, InstallExt, TargetExt, UpdateExt, UpdateFields,
};
use thiserror::Error;

use crate::command::{Command, FlowUpdate, Place};
use crate::program::CompiledProgram;
use crate::registry::Algorithm;

/// How many programs libccp has room for: nine, one less than its table says. One of them is ours,
/// for flows that nobody steers.
pub const MAX_LIBCCP_PROGRAMS: usize = 8;

/// How many programs any other datapath is given at most. More come only of many changes of the rules while
/// it lives, as none is ever taken back.
pub const MAX_PROGRAMS: usize = 256;

/// What was found when the programs of a control plane met one datapath.
///
/// Programs are numbered from 1 upward. libccp forgets all programs when it is given number 1, so
/// a control plane that starts again, or hears that its datapath did, starts with a clean table.
#[derive(Clone, Debug)]
pub struct ProgramTable {
    features: Features,
    registers: RegisterTable,
    limits: Limits,
    installed: Vec<Arc<Installed>>,
    refused: Vec<RefusedProgram>,
    /// Whether it runs what the algorithms need that it was made for.
    fitting: Vec<(Algorithm, bool)>,
    /// The number of [`NATIVE`], where the datapath has no algorithm of its own.
    native: Option<u32>,
}

/// What a libccp datapath runs when nobody steers a flow: libccp itself would keep the window as
/// it is for ever.
static NATIVE: LazyLock<Option<CompiledProgram>> =
    LazyLock::new(|| CompiledProgram::compile("native", include_str!("native.ccp")).ok());

/// A program that the datapath runs.
#[derive(Clone, Debug)]
pub struct Installed {
    /// Its number, from 1.
    pub uid: u32,
    /// The program as algorithms know it.
    pub program: CompiledProgram,
    /// The program as the datapath gets it.
    pub form: Form,
}

/// The form in which a datapath gets a program.
#[derive(Clone, Debug)]
pub enum Form {
    /// Whole, bound to the datapath's own registers.
    Whole(Program),
    /// libccp's bytecode.
    Libccp(Bytecode),
}

/// A program that the datapath does not run.
#[derive(Clone, Debug)]
pub struct RefusedProgram {
    /// The program.
    pub program: CompiledProgram,
    /// Why it does not.
    pub why: Unfit,
}

/// Why a datapath does not run a program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unfit {
    /// It lacks a register that the program names.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The program is larger than the datapath has room for.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// libccp's bytecode can't say it.
    #[error(transparent)]
    Libccp(#[from] LimitError),
    /// Its table of programs is full.
    #[error("the datapath has room for {limit} programs")]
    Full {
        /// How many it has room for.
        limit: usize,
    },
}

impl ProgramTable {
    /// Sees which of the programs of `algorithms` a datapath with `capabilities` runs; `None` is
    /// libccp's.
    #[must_use]
    pub fn new(algorithms: &[Algorithm], capabilities: Option<&Capabilities>) -> Self {
        let mut table = Self::none();
        if let Some(capabilities) = capabilities {
            table.features = capabilities.features & Features::ALL;
            table.registers = capabilities.registers.clone();
            table.limits = capabilities.limits;
        }
        table.take_all(algorithms, MAX_LIBCCP_PROGRAMS);
        if let (Some(native), false) = (&*NATIVE, table.has_native_algorithm()) {
            table.take(native, MAX_LIBCCP_PROGRAMS + 1);
            table.native = table.uid(native);
        }
        table
    }

    /// The same datapath's table when it is to run `algorithms` as well: what it runs already keeps
    /// its number, what is new gets the next ones. Refused is what of `algorithms` it does not run.
    ///
    /// Nothing is ever taken out: a flow may still run it.
    #[must_use]
    pub fn extended(&self, algorithms: &[Algorithm]) -> Self {
        let mut table = self.clone();
        table.refused.clear();
        table.take_all(
            algorithms,
            MAX_LIBCCP_PROGRAMS + usize::from(table.native.is_some()),
        );
        table
    }

    fn take_all(&mut self, algorithms: &[Algorithm], libccp_limit: usize) {
        for program in algorithms.iter().flat_map(Algorithm::programs) {
            if !self.runs(program) && !self.refused.iter().any(|r| r.program.same(program)) {
                self.take(program, libccp_limit);
            }
        }
        self.fitting = algorithms
            .iter()
            .map(|algorithm| (algorithm.clone(), self.has_all_for(algorithm)))
            .collect();
    }

    /// The programs of a datapath that has not been told any.
    pub(crate) fn none() -> Self {
        Self {
            features: Features::NONE,
            registers: RegisterTable::libccp(),
            limits: Limits::MAX,
            installed: Vec::new(),
            refused: Vec::new(),
            fitting: Vec::new(),
            native: None,
        }
    }

    /// Whether the datapath has an algorithm of its own, which it runs where no program is.
    const fn has_native_algorithm(&self) -> bool {
        self.features.contains(Features::UPDATE_EXT)
    }

    fn take(&mut self, program: &CompiledProgram, libccp_limit: usize) {
        let program = program.clone();
        match self.form(&program, libccp_limit) {
            Ok(form) => {
                let uid = self.installed.len() as u32 + 1;
                self.installed
                    .push(Arc::new(Installed { uid, program, form }));
            }
            Err(why) => self.refused.push(RefusedProgram { program, why }),
        }
    }

    fn form(&self, program: &CompiledProgram, libccp_limit: usize) -> Result<Form, Unfit> {
        let bound = program.ir().bind(&self.registers)?;
        if self.features.contains(Features::INSTALL_EXT) {
            verify(&bound, &self.limits)?;
            if self.installed.len() >= MAX_PROGRAMS {
                return Err(Unfit::Full {
                    limit: MAX_PROGRAMS,
                });
            }
            return Ok(Form::Whole(bound));
        }
        if self.installed.len() >= libccp_limit {
            return Err(Unfit::Full {
                limit: libccp_limit,
            });
        }
        Ok(Form::Libccp(libccp::lower(&bound)?))
    }

    /// The number of `program`, if the datapath runs it.
    #[must_use]
    pub fn uid(&self, program: &CompiledProgram) -> Option<u32> {
        self.installed
            .iter()
            .find(|installed| installed.program.same(program))
            .map(|installed| installed.uid)
    }

    /// The name of the program that `update` starts, if it starts one.
    #[must_use]
    pub fn started_by(&self, update: &FlowUpdate) -> Option<&str> {
        let started = self
            .get(update.program_uid)
            .filter(|_| update.change_program)?;
        Some(started.program.name())
    }

    /// What `update` sets, by the names of the datapath's registers and of its program's control
    /// variables, and the values.
    #[must_use]
    pub fn named(&self, update: &FlowUpdate) -> Vec<(String, u64)> {
        let program = self
            .get(update.program_uid)
            .map(|installed| &installed.program);
        let fields = update.fields.iter();
        fields
            .filter_map(|(place, value)| {
                let name = match *place {
                    Place::Writable(place) => {
                        let register = self.registers.writables().get(usize::from(place))?;
                        register.name.as_ref()
                    }
                    Place::Control(place) => {
                        let variable = program?.ir().controls.get(usize::from(place))?;
                        variable.name.as_str()
                    }
                };
                Some((name.to_owned(), *value))
            })
            .collect()
    }

    /// Whether the datapath runs `program`.
    #[must_use]
    pub fn runs(&self, program: &CompiledProgram) -> bool {
        self.uid(program).is_some()
    }

    /// Whether the datapath runs what `algorithm` needs.
    #[must_use]
    pub fn fits(&self, algorithm: &Algorithm) -> bool {
        // Asked for each flow that comes.
        let mut found = self.fitting.iter();
        match found.find(|(known, _)| known.same(algorithm)) {
            Some((_, fits)) => *fits,
            None => self.has_all_for(algorithm),
        }
    }

    fn has_all_for(&self, algorithm: &Algorithm) -> bool {
        // Asked on behalf of a whole datapath: an algorithm that panics is one that does not fit.
        let asked = AssertUnwindSafe(|| algorithm.alg().fits(&|program| self.runs(program)));
        catch_unwind(asked).unwrap_or(false)
    }

    /// The program with the number `uid`.
    #[must_use]
    pub fn get(&self, uid: u32) -> Option<&Arc<Installed>> {
        let place = usize::try_from(uid.checked_sub(1)?).ok()?;
        self.installed.get(place)
    }

    /// The programs that the datapath runs, in the order of their numbers.
    #[must_use]
    pub fn installed(&self) -> &[Arc<Installed>] {
        &self.installed
    }

    /// The programs that it does not run, and why.
    #[must_use]
    pub fn refused(&self) -> &[RefusedProgram] {
        &self.refused
    }

    /// The registers that the datapath has.
    #[must_use]
    pub const fn registers(&self) -> &RegisterTable {
        &self.registers
    }

    /// Which extensions are spoken with the datapath.
    #[must_use]
    pub const fn features(&self) -> Features {
        self.features
    }

    /// Appends `command` to `frames` as a frame that this datapath understands. Returns whether
    /// there is one: libccp has no word for [`Command::Hello`], and [`Command::Native`] is said to
    /// it by starting a program of ours.
    ///
    /// libccp reads one frame of a datagram: send each by itself.
    ///
    /// # Errors
    /// If it has no place in the format; `frames` is then as it was before.
    pub fn encode(&self, command: &Command, frames: &mut BytesMut) -> Result<bool, EncodeError> {
        match command {
            Command::Hello(hello) if self.features.contains(Features::HELLO) => {
                hello.encode(frames)?;
            }
            Command::Hello(_) => return Ok(false),
            Command::Install(installed) => match &installed.form {
                Form::Whole(program) => {
                    InstallExt::new(installed.uid, program)?.encode(frames)?;
                }
                Form::Libccp(bytecode) => Install {
                    program_uid: installed.uid,
                    bytecode: bytecode.clone(),
                }
                .encode(frames)?,
            },
            Command::Update(update) => self.encode_update(update, frames)?,
            Command::Native {
                sock_id,
                generation,
                ..
            } if self.has_native_algorithm() => ChangeProgExt {
                sock_id: *sock_id,
                generation: *generation,
                program_uid: 0,
                fields: Vec::new(),
            }
            .encode(frames)?,
            Command::Native { sock_id, mss, .. } => {
                let Some(program_uid) = self.native else {
                    return Ok(false);
                };
                // The program's only control variable.
                let segment = FieldTarget::Control {
                    index: 0,
                    volatile: false,
                };
                ChangeProg {
                    sock_id: *sock_id,
                    program_uid,
                    fields: vec![Field {
                        target: segment,
                        value: u64::from(*mss),
                    }],
                }
                .encode(frames)?;
            }
        }
        Ok(true)
    }

    /// Appends `update` to `frames` as a frame that this datapath understands: what
    /// [`encode`](Self::encode) does with [`Command::Update`].
    ///
    /// # Errors
    /// As for [`encode`](Self::encode).
    pub fn encode_update(
        &self,
        update: &FlowUpdate,
        frames: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        if self.features.contains(Features::UPDATE_EXT) {
            ours(update, frames)
        } else {
            self.libccps(update, frames)
        }
    }

    fn libccps(&self, update: &FlowUpdate, frames: &mut BytesMut) -> Result<(), EncodeError> {
        let volatile = |place: u16| {
            let program = self.get(update.program_uid).map(|i| i.program.ir());
            program
                .and_then(|p| p.controls.get(usize::from(place)))
                .is_some_and(|control| control.volatile)
        };
        let fields = update.fields.iter().filter_map(|(place, value)| {
            let target = match *place {
                Place::Writable(0) => FieldTarget::Cwnd,
                Place::Writable(1) => FieldTarget::Rate,
                // libccp has no other, so no update of one passes the runner.
                Place::Writable(_) => return None,
                Place::Control(place) => FieldTarget::Control {
                    index: u32::from(place),
                    volatile: volatile(place),
                },
            };
            Some(Field {
                target,
                value: *value,
            })
        });
        let sock_id = update.sock_id;
        // One message for program and fields: CHANGE_PROG undoes an UPDATE_FIELDS before it.
        if update.change_program {
            ChangeProg::put(frames, sock_id, update.program_uid, fields)
        } else {
            UpdateFields::put(frames, sock_id, fields)
        }
    }
}

fn ours(update: &FlowUpdate, frames: &mut BytesMut) -> Result<(), EncodeError> {
    let fields = update.fields.iter().map(|(place, value)| FieldExt {
        target: match *place {
            Place::Writable(place) => TargetExt::Writable(place),
            Place::Control(place) => TargetExt::Control(place),
        },
        value: *value,
    });
    let FlowUpdate {
        sock_id,
        generation,
        program_uid,
        ..
    } = *update;
    if update.change_program {
        ChangeProgExt::put(frames, sock_id, generation, program_uid, fields)
    } else {
        UpdateExt::put(frames, sock_id, generation, program_uid, fields)
    }
}

#[cfg(test)]
mod tests;
