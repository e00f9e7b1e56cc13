//! Programs as eBPF: one bound [`Program`] becomes the instructions of one `cong_control` program,
//! which the glue tail-calls on every acknowledgement.
//!
//! A generated program finds the socket's storage ([`Flow`]), runs the
//! clauses on the registers there, and then either makes that last and sends the report, or undoes
//! it (a fault); in both cases it then applies window and pacing rate to the socket. What it means
//! is what [`ccp_program::interp`] says, which tests hold it to.
//!
//! ```text
//! ordinary? ─ what is left of the clauses ─ apply ─ exit
//!   └ undo ──┴ gives up
//! entry ─ measure ─ save ─ clauses ─ commit ─ ssthresh ─┬──────── apply ─ keep ─ exit
//!   └ look ─ glue             └ fault: restore, count ──┼ report ───┘
//! ```
//!
//! The entry looks whether there is anything else to do than to run the program, and leaves it to
//! the glue if so. What the program reads is measured, and nothing else. Ordinary acknowledgements
//! (`ordinary.rs`) need not even the storage.
//!
//! # Limits
//! [`LIMITS`] bounds what is taken. Within it a program is refused only if its registers do not
//! fit the socket's storage: controls, reports, locals, simultaneously live temporaries, and those of
//! the registers to be restored after a fault that the stack has no room for (it has room for 62),
//! together at most 156. Programs with at most 90 variables (control, report and local) and
//! 16 temporaries alive at once always fit.

mod asm;
mod body;
mod frame;
mod insn;
mod kernel;
mod load;
mod measure;
mod ordinary;
mod plan;

use std::fmt;
use std::mem::offset_of;
use std::os::fd::BorrowedFd;

use ccp_program::{Inst, Limits, Operand, Program, Reg, VerifyError, verify};
use thiserror::Error;

pub use insn::Insn;
pub use kernel::{AckOffsets, Bits, CongControl, Kernel, KernelError, SockOffsets};
pub use load::{Kind, LoadError, load};
pub use ordinary::HotRegister;

use crate::host::Signature;
use crate::layout::{Flow, MAX_CONTROL};
use asm::{Asm, TooFar};
use body::Body;
use insn::R;
use ordinary::Ordinary;
use plan::Plan;

/// The machine register that points into the flow's storage, [`FLOW_AT`] bytes from its start: x86
/// has shorter instructions for what is less than 128 bytes away, and most are for measurements.
const FLOW: R = R::R6;
const FLOW_AT: usize = offset_of!(Flow, prim) + 128;
/// The machine register that points into the program's registers, [`REGS_AT`] bytes from the start
/// of the storage, for the same reason; once everything is measured.
const REGS: R = R::R8;
const REGS_AT: usize = offset_of!(Flow, reg) + 128;
/// The machine register that nothing is known of, on ordinary acknowledgements: what is on the stack then
/// is combined with it, so that the kernel's verifier does not remember it.
const KEY: R = R::R8;
/// The machine register that points into the socket, [`Env::sock_at`] bytes from its start, for the
/// same reason.
const SOCK: R = R::R9;
/// The machine register that holds the address of the context, until the clauses begin.
const CONTEXT: R = R::R7;

/// What this datapath takes: the limits to announce and to verify programs against.
///
/// The number of instructions is bounded by the 8,192 branches that the kernel's verifier keeps
/// open (two per instruction, one per clause), that of control variables by the mailbox.
pub const LIMITS: Limits = Limits {
    instructions: 3900,
    clauses: 256,
    reports: 110,
    controls: MAX_CONTROL as u16,
    registers: 1024,
};

/// How a program finds the flow that it runs for.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'fd> {
    /// `ctx[0]` is a socket, whose storage in this map (BPF_MAP_TYPE_SK_STORAGE) is the flow.
    /// What the glue is needed for, it gets by a tail call.
    Socket {
        /// The map.
        storage: BorrowedFd<'fd>,
        /// The program array, with the glue in place 0.
        programs: BorrowedFd<'fd>,
        /// The mailbox.
        mailbox: BorrowedFd<'fd>,
        /// Under which the program will be in the array.
        handle: u32,
        /// How the kernel calls the program.
        signature: Signature,
        /// Where it finds what it measures.
        ack: AckOffsets,
    },
    /// The flow is the beginning of the only value of this array map, what is behind it stands
    /// for the socket; measurements are in the flow already. For tests and benchmarks: the kernel
    /// does not test-run `struct_ops`.
    Array {
        /// The map.
        map: BorrowedFd<'fd>,
    },
}

/// The handle of programs that are entered by [`Entry::Array`].
pub const ARRAY_HANDLE: u32 = 1;

/// What generated programs refer to.
#[derive(Clone, Copy, Debug)]
pub struct Env<'fd> {
    /// Where the flow is found.
    pub entry: Entry<'fd>,
    /// The ring buffer for reports.
    pub ring: BorrowedFd<'fd>,
    /// The configuration: an array map whose only value is a [`Config`](crate::layout::Config).
    pub config: BorrowedFd<'fd>,
    /// Where things are in a socket.
    pub sock: SockOffsets,
}

impl Env<'_> {
    /// Under which the program will be in the array.
    const fn handle(&self) -> u32 {
        match &self.entry {
            Entry::Socket { handle, .. } => *handle,
            Entry::Array { .. } => ARRAY_HANDLE,
        }
    }

    /// How far into the socket [`SOCK`] points: most of what is looked at stands behind `mss_cache`.
    fn sock_at(&self) -> i16 {
        match &self.entry {
            Entry::Socket { ack, .. } => ack.mss_cache + 128,
            Entry::Array { .. } => 0,
        }
    }

    /// The same with offsets from where [`SOCK`] points.
    fn within_the_socket(&self) -> Self {
        let at = self.sock_at();
        let mut env = *self;
        env.sock = env.sock.from(at);
        if let Entry::Socket { ack, .. } = &mut env.entry {
            *ack = ack.from(at);
        }
        env
    }
}

/// A generated program.
#[derive(Clone, Debug)]
pub struct Generated {
    /// Its instructions, to be given to [`load`] while the descriptors of [`Env`] are open.
    pub insns: Vec<Insn>,
    /// The values of the registers from [`REG_CONTROL`](crate::layout::REG_CONTROL) on when a flow
    /// starts the program.
    pub defaults: Vec<u64>,
    /// A bit per primitive that the program reads (bit 0: primitive 0).
    pub prim_mask: u64,
    /// The program answers losses itself.
    pub own_recovery: bool,
    /// How many registers are saved at entry, for the case of a fault.
    pub saved: usize,
    /// Registers that live in the socket as long as acknowledgements are ordinary; `None` if none is.
    pub hot: Option<Vec<HotRegister>>,
    /// Registers whose value nobody reads on a later acknowledgement: they may be left as they were.
    pub stale: Vec<usize>,
    listing: Listing,
}

/// Why there is no eBPF for a program.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CodegenError {
    /// It is not a valid program, or too large.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// It reads a measurement beyond those that a flow's storage holds: it was not bound to this
    /// datapath's table.
    #[error(
        "the program reads `{name}` at place {index}, but a flow holds {room} measurements; bind it to this datapath's register table first"
    )]
    Primitive {
        /// Its name.
        name: String,
        /// Its place.
        index: usize,
        /// How many there are.
        room: usize,
    },
    /// It uses a writable register that this datapath does not have.
    #[error(
        "the program uses the writable register `{name}`, but this datapath has `Cwnd`, `Rate` and `Ssthresh` only"
    )]
    Writable {
        /// Its name.
        name: String,
    },
    /// Its registers do not fit a flow's storage.
    #[error(
        "the program needs {needed} registers, a flow has room for {room}: {reports} report variables, {locals} local variables, {temps} temporaries at a time, and {copies} copies of what a fault must bring back",
        copies = saved.saturating_sub(plan::STACK_SAVES)
    )]
    Registers {
        /// How many it needs besides control variables.
        needed: usize,
        /// How many there are.
        room: usize,
        /// Report variables.
        reports: usize,
        /// Local variables.
        locals: usize,
        /// Registers for temporaries.
        temps: usize,
        /// Registers saved at entry: the first of them on the stack, the others in registers.
        saved: usize,
    },
    /// A jump in the generated code is longer than jumps can be: a fault of the code generator.
    #[error("internal error: a jump from instruction {from} to {to} is too long")]
    Jump {
        /// Where it starts.
        from: usize,
        /// Where it goes.
        to: usize,
    },
}

impl From<TooFar> for CodegenError {
    fn from(TooFar { from, to }: TooFar) -> Self {
        Self::Jump { from, to }
    }
}

/// Whether [`generate`] would take `program`, for all that can be said without a kernel.
///
/// # Errors
/// As [`generate`].
pub fn check(program: &Program) -> Result<(), CodegenError> {
    plan(program).map(drop)
}

fn plan(program: &Program) -> Result<Plan, CodegenError> {
    verify(program, &LIMITS)?;
    writables(program)?;
    Plan::new(program)
}

/// Generates the eBPF of `program`, which must be bound to this datapath's register table.
///
/// # Errors
/// If it is not valid, or larger than what this datapath has room for.
pub fn generate(program: &Program, env: &Env<'_>) -> Result<Generated, CodegenError> {
    plan(program)?;
    let program = &ordinary::with_names(program);
    let plan = Plan::new(program)?;
    let (env, sock_at) = (&env.within_the_socket(), env.sock_at());
    let mut asm = Asm::new();
    let mut listing = Listing::default();
    let (fault, apply) = (asm.label(), asm.label());

    let measured_before = matches!(env.entry, Entry::Array { .. });
    let ordinary = Ordinary::new(program, &plan, measured_before);
    let own_recovery = program.own_recovery;

    listing.note(asm.here(), Note::Part("entry"));
    frame::context(&mut asm, env, sock_at);
    if let Some(ordinary) = &ordinary {
        let whole = asm.label();
        listing.note(asm.here(), Note::Part("ordinary"));
        let look = frame::ordinary(&mut asm, env, &plan, ordinary, own_recovery, whole)?;
        let body = Body::ordinary(&mut asm, &mut listing, ordinary, env, whole);
        let undo = body.ordinary_clauses()?;
        listing.note(asm.here(), Note::Part("ordinary: apply"));
        frame::ordinary_apply(&mut asm, env, ordinary, own_recovery)?;
        listing.note(asm.here(), Note::Part("ordinary: aside"));
        asm.asides()?;
        frame::ordinary_look(&mut asm, env, &look, whole)?;
        listing.note(asm.here(), Note::Part("ordinary: undo"));
        frame::undo(&mut asm, env, ordinary, &undo, whole)?;
        asm.place(whole)?;
        listing.note(asm.here(), Note::Part("whole"));
    }
    let look = frame::entry(&mut asm, env, own_recovery, ordinary.as_ref())?;
    if let Entry::Socket { signature, ack, .. } = &env.entry {
        listing.note(asm.here(), Note::Part("measure"));
        measure::measure(&mut asm, &plan, &env.sock, ack, *signature)?;
    }
    if let Some(look) = look {
        let past = asm.label();
        asm.jump(past);
        listing.note(asm.here(), Note::Part("look"));
        frame::look(&mut asm, env, own_recovery, &look)?;
        asm.asides()?;
        asm.place(past)?;
    }
    frame::registers(&mut asm);
    listing.note(asm.here(), Note::Part("save"));
    frame::save(&mut asm, &plan);
    let outlined = Body::new(&mut asm, &mut listing, &plan, fault).clauses(program)?;
    asm.relay()?;
    listing.note(asm.here(), Note::Part("commit"));
    frame::commit(&mut asm, &plan);
    if plan.writes_ssthresh {
        listing.note(asm.here(), Note::Part("ssthresh"));
        frame::ssthresh(&mut asm, env)?;
    }
    let report = asm.label();
    if plan.reports_at_all {
        frame::report_if_asked(&mut asm, report);
    }
    asm.place(apply)?;
    listing.note(asm.here(), Note::Part("apply"));
    frame::apply(&mut asm, env, &plan, ordinary.as_ref())?;
    // What is rarely run.
    Body::new(&mut asm, &mut listing, &plan, fault).outlined(program, &outlined)?;
    if asm.is_awaited(report) {
        listing.note(asm.here(), Note::Part("report"));
        asm.place(report)?;
        frame::report(&mut asm, &plan, program, env, apply)?;
        asm.jump(apply);
    }
    listing.note(asm.here(), Note::Part("aside"));
    asm.asides()?;
    if asm.is_awaited(fault) {
        listing.note(asm.here(), Note::Part("fault"));
        asm.place(fault)?;
        frame::fault(&mut asm, &plan);
        asm.jump(apply);
    }
    asm.missed()?;

    Ok(Generated {
        insns: asm.finish(),
        defaults: plan.defaults(program),
        prim_mask: plan.prim_mask,
        own_recovery: program.own_recovery,
        saved: plan.saves.len(),
        hot: ordinary.as_ref().map(|o| o.hot.clone()),
        stale: ordinary.map_or_else(Vec::new, |o| o.stale),
        listing,
    })
}

/// Refuses programs that use other writable registers than [`register_table`](crate::register_table) has.
fn writables(program: &Program) -> Result<(), CodegenError> {
    let read = plan::reads(program).filter_map(|o| match o {
        Operand::Reg(reg) => Some(reg),
        _ => None,
    });
    for reg in read.chain(plan::writes(program)) {
        if let Reg::Writable(i @ 3..) = reg {
            let def = program.writables.get(usize::from(i));
            return Err(CodegenError::Writable {
                name: def.map_or_else(String::new, |d| d.name.to_string()),
            });
        }
    }
    Ok(())
}

/// What instructions were generated for.
#[derive(Clone, Debug)]
enum Note {
    Part(&'static str),
    Inst {
        clause: usize,
        index: usize,
        inst: Inst,
    },
    Test {
        clause: usize,
        test: Operand,
    },
}

/// Notes by the slot where they begin, in order.
#[derive(Clone, Debug, Default)]
struct Listing(Vec<(usize, Note)>);

impl Listing {
    /// What was noted at the same slot became no instruction, and is forgotten.
    fn note(&mut self, slot: usize, note: Note) {
        match self.0.last_mut() {
            Some(last) if last.0 == slot => last.1 = note,
            _ => self.0.push((slot, note)),
        }
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Part(name) => f.write_str(name),
            Self::Inst {
                clause,
                index,
                inst,
            } => write!(f, "clause {clause}, instruction {index}: {inst:?}"),
            Self::Test { clause, test } => write!(f, "clause {clause}, test: {test:?}"),
        }
    }
}

/// The listing: instructions by slot, as the kernel's verifier numbers them, under what they were
/// generated for.
impl fmt::Display for Generated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut notes = self.listing.0.iter().peekable();
        let mut second_half = false;
        for (slot, insn) in self.insns.iter().enumerate() {
            while let Some((_, note)) = notes.next_if(|(at, _)| *at <= slot) {
                writeln!(f, "; {note}")?;
            }
            if second_half {
                second_half = false;
                continue;
            }
            second_half = insn.is_wide();
            write!(f, "{slot:6}: ")?;
            insn.list(f, self.insns.get(slot + 1).copied())?;
            writeln!(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
