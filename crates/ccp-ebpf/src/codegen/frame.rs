//! What stands around the clauses: entry, commit, report, fault, and what is applied to the socket.
//! The contract with the glue is written down at `struct ccp_flow` in `bpf/intf.h`.

use std::mem::{offset_of, size_of};
use std::os::fd::AsRawFd;

use ccp_program::{Program, Variable};

use super::asm::{Asm, Label, TooFar};
use super::body::{REPORT_FLAG, YES, flow_offset, register_offset};
use super::insn::{Alu, Cmp, Helper, Insn, R, Size};
use super::measure;
use super::ordinary::Ordinary;
use super::plan::{Plan, Saved};
use super::{CONTEXT, Entry, Env, FLOW, FLOW_AT, KEY, REGS, REGS_AT, SOCK};
use crate::layout::{
    Config, DUE_GLUE, DUE_PASSED, F_PACING_SET, Flow, HOT_FRAME, HOT_WORDS, Hot, MAX_CWND_PACKETS,
    MSG_MEASURE, MailboxSlot, MeasureHead, MeasureTail, PRIM_NOW, PRIM_SSTHRESH, REG_CONTROL,
    REG_CWND, REG_MICROS, REG_RATE, REG_SSTHRESH,
};

/// In packets: no threshold.
const TCP_INFINITE_SSTHRESH: i32 = 0x7fff_ffff;

/// `SK_PACING_NEEDED`: the TCP stack paces by itself.
const SK_PACING_NEEDED: i32 = 1;
/// A word of the stack that saved values leave free.
const SCRATCH: i16 = -504;
/// `BPF_RB_NO_WAKEUP`; `Config::polling` is this flag.
const RB_NO_WAKEUP: i32 = 1;

/// Offset of a field of the socket storage, from [`FLOW`].
macro_rules! flow {
    ($field:ident) => {
        flow_offset(offset_of!(Flow, $field))
    };
}

/// A percent of a window per round trip, whose time is in eighths of a microsecond, in bytes per second.
const PACE_UNIT: i32 = 80_000;

/// Offset of a field of [`Hot`] from [`SOCK`].
const fn hot(env: &Env<'_>, field: usize) -> i16 {
    env.sock.icsk_ca_priv + field as i16
}

/// Offset of a register from [`FLOW`].
const fn flow_register(register: usize) -> i16 {
    flow_offset(offset_of!(Flow, reg) + 8 * register)
}

/// Offset of a field of the configuration.
macro_rules! config {
    ($field:ident) => {
        offset_of!(Config, $field) as i16
    };
}

/// Where [`entry`] goes if it cannot tell that nothing is due, and where what follows begins.
pub(super) struct Look {
    look: Label,
    glue: Label,
    on: Label,
}

/// Sets [`SOCK`] and [`CONTEXT`], in test runs [`FLOW`] as well.
pub(super) fn context(asm: &mut Asm, env: &Env<'_>, sock_at: i16) {
    if let Entry::Array { map } = &env.entry {
        asm.map_value(FLOW, map.as_raw_fd(), FLOW_AT as u32);
        asm.map_value(SOCK, map.as_raw_fd(), size_of::<Flow>() as u32);
        return;
    }
    asm.mov(CONTEXT, R::R1);
    asm.load(Size::Double, SOCK, R::R1, 0);
    asm.alu(Alu::Add, SOCK, i32::from(sock_at));
}

/// Finds the storage and looks whether there is anything for the glue to do; sets [`FLOW`]. What is
/// returned goes to [`look`].
pub(super) fn entry(
    asm: &mut Asm,
    env: &Env<'_>,
    own_recovery: bool,
    ordinary: Option<&Ordinary>,
) -> Result<Option<Look>, TooFar> {
    let Entry::Socket { storage, ack, .. } = &env.entry else {
        if let Some(ordinary) = ordinary {
            take_back(asm, env, ordinary)?;
        }
        return Ok(None);
    };
    let handle = env.handle();
    let (look, glue, on) = (asm.label(), asm.label(), asm.label());
    asm.load(Size::Double, R::R2, CONTEXT, 0);
    asm.map(R::R1, storage.as_raw_fd());
    asm.mov(R::R3, 0);
    asm.mov(R::R4, 0);
    asm.call(Helper::SkStorageGet);
    asm.jump_if(Cmp::Eq, R::R0, 0, glue);
    asm.mov(FLOW, R::R0);
    asm.alu(Alu::Add, FLOW, FLOW_AT as i32);
    if let Some(ordinary) = ordinary {
        take_back(asm, env, ordinary)?;
    }
    // The handle, and that nothing is due.
    asm.load(Size::Double, R::R1, FLOW, flow!(program));
    asm.constant(R::R2, handle.into());
    asm.jump_if(Cmp::Ne, R::R1, R::R2, look);
    if !own_recovery {
        asm.load(Size::Word, R::R1, SOCK, env.sock.snd_cwnd);
        asm.load(Size::Word, R::R2, FLOW, flow!(applied_cwnd));
        asm.jump_if(Cmp::Ne, R::R1, R::R2, look);
    }
    asm.load(Size::Double, R::R1, SOCK, ack.tcp_mstamp);
    asm.load(Size::Word, R::R2, FLOW, flow!(looked_us));
    asm.alu32(Alu::Sub, R::R1, R::R2);
    asm.load(Size::Word, R::R2, FLOW, flow!(look_after_us));
    asm.jump_if(Cmp::Ge, R::R1, R::R2, look);
    asm.place(on)?;
    Ok(Some(Look { look, glue, on }))
}

/// Looks closely, and gives way to the glue where something is due.
pub(super) fn look(
    asm: &mut Asm,
    env: &Env<'_>,
    own_recovery: bool,
    labels: &Look,
) -> Result<(), TooFar> {
    let Entry::Socket {
        programs,
        mailbox,
        handle,
        ack,
        ..
    } = &env.entry
    else {
        return Ok(());
    };
    let mark = hot(env, offset_of!(Hot, mark));
    let &Look { look, glue, on } = labels;
    let (passed, nothing_due) = (asm.label(), asm.label());
    asm.place(look)?;
    asm.load(Size::Word, R::R1, FLOW, flow!(due));
    asm.mov(R::R2, R::R1);
    asm.alu(Alu::And, R::R2, !(DUE_PASSED as i32));
    asm.jump_if(Cmp::Ne, R::R1, R::R2, passed);
    asm.jump_if(Cmp::Ne, R::R1, 0, glue);
    asm.load(Size::Word, R::R1, FLOW, flow!(program));
    asm.constant(R::R2, (*handle).into());
    asm.jump_if(Cmp::Ne, R::R1, R::R2, glue);
    if !own_recovery {
        asm.load(Size::Word, R::R1, SOCK, env.sock.snd_cwnd);
        asm.load(Size::Word, R::R2, FLOW, flow!(applied_cwnd));
        asm.jump_if(Cmp::Ne, R::R1, R::R2, glue);
    }
    asm.map_value(R::R3, env.config.as_raw_fd(), 0);
    asm.load(Size::Word, R::R1, R::R3, config!(flags));
    asm.jump_if(Cmp::Ne, R::R1, 0, glue);
    asm.load(Size::Word, R::R1, R::R3, config!(epoch));
    asm.load(Size::Word, R::R2, FLOW, flow!(epoch));
    asm.jump_if(Cmp::Ne, R::R1, R::R2, glue);
    asm.load(Size::Double, R::R4, SOCK, ack.tcp_mstamp);
    asm.mov(R::R1, R::R4);
    asm.alu(Alu::Mul, R::R1, 1000);
    asm.load(Size::Double, R::R2, R::R3, config!(beat_ns));
    asm.alu(Alu::Sub, R::R1, R::R2);
    asm.load(Size::Double, R::R2, R::R3, config!(fallback_after_ns));
    asm.jump_if(Cmp::SGt, R::R1, R::R2, glue);
    asm.store(Size::Word, FLOW, flow!(looked_us), R::R4);
    asm.load(Size::Word, R::R2, FLOW, flow!(refreshed_us));
    asm.alu32(Alu::Sub, R::R4, R::R2);
    asm.load(Size::Word, R::R2, FLOW, flow!(refresh_after_us));
    asm.jump_if(Cmp::Ge, R::R4, R::R2, glue);
    asm.load(Size::Word, R::R1, FLOW, flow!(slot));
    asm.store(Size::Word, R::R10, SCRATCH, R::R1);
    asm.map(R::R1, mailbox.as_raw_fd());
    asm.mov(R::R2, R::R10);
    asm.alu(Alu::Add, R::R2, i32::from(SCRATCH));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Cmp::Eq, R::R0, 0, glue);
    let seq = offset_of!(MailboxSlot, seq) as i16;
    asm.load(Size::Word, R::R1, R::R0, seq);
    asm.load(Size::Word, R::R2, FLOW, flow!(seen_seq));
    asm.jump_if(Cmp::Eq, R::R1, R::R2, nothing_due);
    asm.alu(Alu::And, R::R1, 1);
    asm.jump_if(Cmp::Eq, R::R1, 0, glue);
    // Being written right now: the next acknowledgement looks again.
    asm.load(Size::Word, R::R1, FLOW, flow!(look_after_us));
    asm.load(Size::Word, R::R2, FLOW, flow!(looked_us));
    asm.alu32(Alu::Sub, R::R2, R::R1);
    asm.store(Size::Word, FLOW, flow!(looked_us), R::R2);
    asm.place(nothing_due)?;
    asm.jump(on);

    asm.place(glue)?;
    // Who runs the flow is to be settled anew: otherwise the glue would be back here at once.
    asm.load(Size::Word, R::R1, SOCK, mark);
    asm.alu(Alu::And, R::R1, HOT_FRAME as i32);
    asm.store(Size::Word, SOCK, mark, R::R1);
    asm.mov(R::R1, CONTEXT);
    asm.map(R::R2, programs.as_raw_fd());
    asm.mov(R::R3, 0);
    asm.call(Helper::TailCall);
    asm.mov(R::R0, 0);
    asm.exit();

    asm.place(passed)?;
    asm.alu32(Alu::And, R::R1, !(DUE_PASSED as i32));
    asm.store(Size::Word, FLOW, flow!(due), R::R1);
    asm.jump(on);
    Ok(())
}

/// Sets [`REGS`].
pub(super) fn registers(asm: &mut Asm) {
    asm.mov(REGS, FLOW);
    asm.alu(Alu::Add, REGS, (REGS_AT - FLOW_AT) as i32);
}

/// Keeps the values that a fault must bring back.
pub(super) fn save(asm: &mut Asm, plan: &Plan) {
    for &(register, place) in &plan.saves {
        asm.load(Size::Double, R::R1, REGS, register_offset(register));
        match place {
            Saved::Stack(off) => asm.store(Size::Double, R::R10, off, R::R1),
            Saved::Register(to) => asm.store(Size::Double, REGS, register_offset(to), R::R1),
        }
    }
}

/// Undoes the invocation and counts it.
pub(super) fn fault(asm: &mut Asm, plan: &Plan) {
    for &(register, place) in &plan.saves {
        match place {
            Saved::Stack(off) => asm.load(Size::Double, R::R1, R::R10, off),
            Saved::Register(from) => asm.load(Size::Double, R::R1, REGS, register_offset(from)),
        }
        asm.store(Size::Double, REGS, register_offset(register), R::R1);
    }
    count(asm, flow!(faults));
    count(asm, flow!(fault_run));
    // The glue counts them.
    asm.store(Size::Word, FLOW, flow!(due), DUE_GLUE as i32);
}

/// Makes the invocation's effects last.
pub(super) fn commit(asm: &mut Asm, plan: &Plan) {
    asm.store(Size::Word, FLOW, flow!(fault_run), 0);
    if plan.writes_micros {
        let now = flow_offset(offset_of!(Flow, prim) + 8 * PRIM_NOW);
        asm.load(Size::Double, R::R1, FLOW, now);
        asm.load(Size::Double, R::R2, REGS, register_offset(REG_MICROS));
        asm.alu(Alu::Sub, R::R1, R::R2);
        asm.store(Size::Double, FLOW, flow!(micros_base_us), R::R1);
    }
}

/// Applies `Ssthresh` where the program has set it to something else than it was.
pub(super) fn ssthresh(asm: &mut Asm, env: &Env<'_>) -> Result<(), TooFar> {
    let (done, enough, finite) = (asm.label(), asm.label(), asm.label());
    let was = flow_offset(offset_of!(Flow, prim) + 8 * PRIM_SSTHRESH);
    asm.load(Size::Double, R::R1, REGS, register_offset(REG_SSTHRESH));
    asm.load(Size::Double, R::R2, FLOW, was);
    asm.jump_if(Cmp::Eq, R::R1, R::R2, done);
    // At least two packets.
    asm.load(Size::Word, R::R3, FLOW, flow!(mss));
    asm.mov(R::R2, R::R3);
    asm.alu(Alu::Add, R::R2, R::R3);
    asm.jump_if(Cmp::Ge, R::R1, R::R2, enough);
    asm.mov(R::R1, R::R2);
    asm.place(enough)?;
    asm.mov(R::R2, R::R1);
    asm.alu(Alu::Div, R::R2, R::R3);
    asm.jump_if(Cmp::Le, R::R2, TCP_INFINITE_SSTHRESH, finite);
    asm.mov(R::R2, TCP_INFINITE_SSTHRESH);
    asm.place(finite)?;
    asm.store(Size::Word, SOCK, env.sock.snd_ssthresh, R::R2);
    // A reduction in progress goes there.
    asm.load(Size::Word, R::R3, FLOW, flow!(prr_cwnd));
    asm.jump_if(Cmp::Eq, R::R3, 0, done);
    asm.store(Size::Double, REGS, register_offset(REG_CWND), R::R1);
    asm.place(done)
}

/// Goes to `report` if the program said so.
pub(super) fn report_if_asked(asm: &mut Asm, report: Label) {
    asm.load(Size::Byte, R::R1, R::R10, REPORT_FLAG);
    asm.jump_if(Cmp::Eq, R::R1, YES, report);
}

/// Sends the report variables; goes to `done`, or is there.
pub(super) fn report(
    asm: &mut Asm,
    plan: &Plan,
    program: &Program,
    env: &Env<'_>,
    done: Label,
) -> Result<(), TooFar> {
    let (accepted, n) = (asm.label(), program.reports.len());
    let tail = size_of::<MeasureHead>() + 8 * n;
    let length = tail + size_of::<MeasureTail>();
    asm.map(R::R1, env.ring.as_raw_fd());
    asm.mov(R::R2, length as i32);
    asm.mov(R::R3, 0);
    asm.call(Helper::RingbufReserve);
    asm.jump_if(Cmp::Ne, R::R0, 0, accepted);
    count(asm, flow!(merged));
    count(asm, flow!(ring_full));
    asm.jump(done);

    asm.place(accepted)?;
    let head = |field: usize| field as i16;
    let kind = i32::from(MSG_MEASURE);
    asm.store(Size::Half, R::R0, head(offset_of!(MeasureHead, kind)), kind);
    let len = head(offset_of!(MeasureHead, len));
    asm.store(Size::Half, R::R0, len, length as i32);
    for (from, to) in [
        (flow!(sock_id), offset_of!(MeasureHead, sock_id)),
        (flow!(program_uid), offset_of!(MeasureHead, program_uid)),
        (
            flow!(generation),
            tail + offset_of!(MeasureTail, generation),
        ),
        (flow!(merged), tail + offset_of!(MeasureTail, merged)),
    ] {
        asm.load(Size::Word, R::R1, FLOW, from);
        asm.store(Size::Word, R::R0, to as i16, R::R1);
    }
    let count_at = head(offset_of!(MeasureHead, n));
    asm.store(Size::Word, R::R0, count_at, n as i32);
    for i in 0..n {
        let to = (size_of::<MeasureHead>() + 8 * i) as i16;
        asm.load(Size::Double, R::R1, REGS, register_offset(plan.report(i)));
        asm.store(Size::Double, R::R0, to, R::R1);
    }
    // Atomic for its barrier: the record is seen in the ring by a reader that we do not see
    // polling any more, see `Ring::rest`.
    asm.mov(R::R1, 1);
    asm.atomic_add(Size::Word, FLOW, flow!(reports), R::R1);
    asm.map_value(
        R::R2,
        env.config.as_raw_fd(),
        offset_of!(Config, polling) as u32,
    );
    asm.load(Size::Word, R::R2, R::R2, 0);
    asm.alu(Alu::And, R::R2, RB_NO_WAKEUP);
    asm.mov(R::R1, R::R0);
    asm.call(Helper::RingbufSubmit);

    asm.store(Size::Word, FLOW, flow!(merged), 0);
    let controls = program.controls.iter().enumerate();
    for (i, variable) in controls {
        reset(asm, REG_CONTROL + i, variable);
    }
    for (i, variable) in program.reports.iter().enumerate() {
        reset(asm, plan.report(i), variable);
    }
    Ok(())
}

fn reset(asm: &mut Asm, register: usize, variable: &Variable) {
    if !variable.volatile {
        return;
    }
    let off = register_offset(register);
    match i32::try_from(variable.default.cast_signed()) {
        Ok(small) => asm.store(Size::Double, REGS, off, small),
        Err(_) => {
            asm.constant(R::R1, variable.default);
            asm.store(Size::Double, REGS, off, R::R1);
        }
    }
}

fn count(asm: &mut Asm, counter: i16) {
    asm.load(Size::Word, R::R1, FLOW, counter);
    asm.alu(Alu::Add, R::R1, 1);
    asm.store(Size::Word, FLOW, counter, R::R1);
}

/// The window of r1 packets becomes `most`, or 1 if that is 0, and `Cwnd`, which is at `base` and `off`,
/// as much: if it grew on beyond what the socket may have, losses would only bring it back there. r2 is
/// the MSS; spoils `most` and `spare`.
fn at_most(most: R, spare: R, base: R, off: i16) -> Vec<Insn> {
    vec![
        Insn::alu(Alu::Mov, spare, most),
        Insn::alu(Alu::Sub, spare, 1),
        Insn::alu(Alu::Shr, spare, 63),
        Insn::alu(Alu::Add, most, spare),
        Insn::alu(Alu::Mov, R::R1, most),
        Insn::alu(Alu::Mul, most, R::R2),
        Insn::store(Size::Double, base, off, most),
    ]
}

/// Window and pacing rate to the socket, then the end.
pub(super) fn apply(
    asm: &mut Asm,
    env: &Env<'_>,
    plan: &Plan,
    ordinary: Option<&Ordinary>,
) -> Result<(), TooFar> {
    let sock = &env.sock;
    let (window, bound, end) = (asm.label(), asm.label(), asm.label());
    let (reduced, changed, infinite, none) = (asm.label(), asm.label(), asm.label(), asm.label());
    let (same, rate, slow) = (asm.label(), asm.label(), asm.label());

    // r1 = the window in packets. Mostly it is what it was, which saves a division. r2 = MSS.
    asm.load(Size::Word, R::R2, FLOW, flow!(mss));
    asm.load(Size::Word, R::R1, FLOW, flow!(prr_cwnd));
    asm.jump_if(Cmp::Ne, R::R1, 0, reduced);
    asm.load(Size::Word, R::R1, FLOW, flow!(applied_cwnd));
    asm.load(Size::Double, R::R3, REGS, register_offset(REG_CWND));
    asm.mov(R::R4, R::R1);
    asm.alu(Alu::Mul, R::R4, R::R2);
    asm.mov(R::R5, R::R3);
    asm.alu(Alu::Sub, R::R5, R::R4);
    asm.jump_if(Cmp::Ge, R::R5, R::R2, changed);
    asm.place(same)?;
    asm.load(Size::Word, R::R3, SOCK, sock.snd_cwnd_clamp);
    asm.jump_if(Cmp::Gt, R::R3, MAX_CWND_PACKETS as i32, infinite);
    let bounded = asm.label();
    asm.place(bounded)?;
    let beyond = at_most(R::R3, R::R5, REGS, register_offset(REG_CWND));
    asm.rarely(Cmp::Gt, R::R1, R::R3, beyond)?;
    asm.jump_if(Cmp::Eq, R::R1, 0, none);
    asm.place(window)?;
    asm.store(Size::Word, SOCK, sock.snd_cwnd, R::R1);
    asm.store(Size::Word, FLOW, flow!(applied_cwnd), R::R1);

    // r2 = the pacing rate in bytes per second.
    asm.load(Size::Double, R::R3, REGS, register_offset(REG_RATE));
    asm.jump_if(Cmp::Ne, R::R3, 0, rate);
    asm.load(Size::Word, R::R3, SOCK, sock.srtt_us);
    asm.jump_if(Cmp::Eq, R::R3, 0, end);
    asm.load(Size::Word, R::R5, SOCK, sock.snd_ssthresh);
    asm.alu(Alu::Shr, R::R5, 1);
    asm.load(Size::Word, R::R4, FLOW, flow!(pace_ca));
    asm.jump_if(Cmp::Lt, R::R1, R::R5, slow);
    let pace = asm.label();
    asm.place(pace)?;
    asm.alu(Alu::Mul, R::R4, PACE_UNIT);
    asm.alu(Alu::Mul, R::R2, R::R4);
    asm.alu(Alu::Div, R::R2, R::R3);
    asm.load(Size::Word, R::R3, SOCK, sock.packets_out);
    asm.rarely(
        Cmp::Gt,
        R::R3,
        R::R1,
        vec![Insn::alu(Alu::Mov, R::R1, R::R3)],
    )?;
    asm.alu(Alu::Mul, R::R2, R::R1);
    asm.place(bound)?;
    asm.load(Size::Double, R::R3, SOCK, sock.sk_max_pacing_rate);
    asm.bound(Cmp::Gt, R::R2, R::R3)?;
    asm.jump_if(Cmp::Eq, R::R2, 0, end);
    asm.store(Size::Double, SOCK, sock.sk_pacing_rate, R::R2);
    asm.place(end)?;
    if let Some(ordinary) = ordinary {
        keep(asm, env, plan, ordinary)?;
    }
    asm.mov(R::R0, 0);
    asm.exit();

    asm.place(reduced)?;
    asm.store(Size::Word, FLOW, flow!(prr_cwnd), 0);
    asm.jump(window);

    asm.place(changed)?;
    asm.mov(R::R1, R::R3);
    asm.alu(Alu::Div, R::R1, R::R2);
    asm.jump(same);

    asm.place(infinite)?;
    asm.mov(R::R3, MAX_CWND_PACKETS as i32);
    asm.jump(bounded);

    asm.place(none)?;
    asm.mov(R::R1, 1);
    asm.jump(window);

    asm.place(slow)?;
    asm.load(Size::Word, R::R4, FLOW, flow!(pace_ss));
    asm.jump(pace);

    // At least a packet per second: nobody can stop a flow.
    asm.place(rate)?;
    let enough = asm.label();
    asm.jump_if(Cmp::Le, R::R3, R::R2, enough);
    asm.mov(R::R2, R::R3);
    asm.place(enough)?;
    asm.load(Size::Word, R::R3, SOCK, sock.sk_pacing_status);
    asm.jump_if(Cmp::Ne, R::R3, 0, bound);
    asm.mov(R::R3, SK_PACING_NEEDED);
    asm.store(Size::Word, SOCK, sock.sk_pacing_status, R::R3);
    asm.load(Size::Word, R::R3, FLOW, flow!(flags));
    asm.alu(Alu::Or, R::R3, F_PACING_SET as i32);
    asm.store(Size::Word, FLOW, flow!(flags), R::R3);
    asm.jump(bound);
    Ok(())
}

/// Goes to `whole` if the acknowledgement is not ordinary, as far as can be told now. What is returned
/// goes to [`ordinary_look`].
pub(super) fn ordinary(
    asm: &mut Asm,
    env: &Env<'_>,
    plan: &Plan,
    ordinary: &Ordinary,
    own_recovery: bool,
    whole: Label,
) -> Result<(Label, Label), TooFar> {
    let (look, on) = (asm.label(), asm.label());
    asm.load(Size::Word, R::R1, SOCK, hot(env, offset_of!(Hot, mark)));
    asm.constant(R::R2, (env.handle() | HOT_WORDS | HOT_FRAME).into());
    asm.jump_if(Cmp::Ne, R::R1, R::R2, whole);
    if !own_recovery {
        asm.load(Size::Word, R::R1, SOCK, env.sock.snd_cwnd);
        asm.load(
            Size::Word,
            R::R2,
            SOCK,
            hot(env, offset_of!(Hot, applied_cwnd)),
        );
        asm.jump_if(Cmp::Ne, R::R1, R::R2, whole);
    }
    asm.load(Size::Word, R::R1, SOCK, env.sock.srtt_us);
    asm.jump_if(Cmp::Eq, R::R1, 0, whole);
    if ordinary.writes_rate {
        // Who is the first to set a rate turns pacing on, and says so in the storage.
        asm.load(Size::Word, R::R1, SOCK, env.sock.sk_pacing_status);
        asm.jump_if(Cmp::Eq, R::R1, 0, whole);
    }
    if let Entry::Socket { ack, .. } = &env.entry {
        asm.load(Size::Word, R::R1, SOCK, ack.tcp_mstamp);
        asm.load(
            Size::Word,
            R::R2,
            SOCK,
            hot(env, offset_of!(Hot, looked_us)),
        );
        asm.alu32(Alu::Sub, R::R1, R::R2);
        asm.load(
            Size::Half,
            R::R2,
            SOCK,
            hot(env, offset_of!(Hot, look_after_us)),
        );
        asm.jump_if(Cmp::Ge, R::R1, R::R2, look);
        asm.place(on)?;
        asm.load(Size::Word, R::R1, SOCK, ack.mss_cache);
        asm.jump_if(Cmp::Eq, R::R1, 0, whole);
        measure::ordinary(asm, env, plan.prim_mask, &ordinary.counted, whole);
    } else {
        for primitive in 0..64 {
            if plan.prim_mask >> primitive & 1 == 1 && measure::zero(primitive) {
                let at = flow_offset(offset_of!(Flow, prim) + 8 * usize::from(primitive));
                asm.load(Size::Double, R::R1, FLOW, at);
                asm.jump_if(Cmp::Ne, R::R1, 0, whole);
            }
        }
    }
    if ordinary.uses_stack {
        match &env.entry {
            Entry::Socket { ack, .. } => asm.load(Size::Double, KEY, SOCK, ack.tcp_mstamp),
            Entry::Array { .. } => asm.load(Size::Double, KEY, FLOW, flow!(bytes_delivered)),
        }
    }
    Ok((look, on))
}

/// Looks at what others write; goes to `whole` if the glue has to know.
pub(super) fn ordinary_look(
    asm: &mut Asm,
    env: &Env<'_>,
    labels: &(Label, Label),
    whole: Label,
) -> Result<(), TooFar> {
    let Entry::Socket { mailbox, ack, .. } = &env.entry else {
        return Ok(());
    };
    let &(look, on) = labels;
    asm.place(look)?;
    asm.map_value(R::R3, env.config.as_raw_fd(), 0);
    asm.load(Size::Word, R::R1, R::R3, config!(flags));
    asm.jump_if(Cmp::Ne, R::R1, 0, whole);
    asm.load(Size::Byte, R::R1, R::R3, config!(epoch));
    asm.load(Size::Byte, R::R2, SOCK, hot(env, offset_of!(Hot, epoch)));
    asm.jump_if(Cmp::Ne, R::R1, R::R2, whole);
    asm.load(Size::Double, R::R1, SOCK, ack.tcp_mstamp);
    asm.alu(Alu::Mul, R::R1, 1000);
    asm.load(Size::Double, R::R2, R::R3, config!(beat_ns));
    asm.alu(Alu::Sub, R::R1, R::R2);
    asm.load(Size::Double, R::R2, R::R3, config!(fallback_after_ns));
    asm.jump_if(Cmp::SGt, R::R1, R::R2, whole);
    let looks = hot(env, offset_of!(Hot, looks));
    asm.load(Size::Byte, R::R1, SOCK, looks);
    asm.jump_if(Cmp::Eq, R::R1, 0, whole);
    asm.alu(Alu::Sub, R::R1, 1);
    asm.store(Size::Byte, SOCK, looks, R::R1);
    asm.load(Size::Half, R::R1, SOCK, hot(env, offset_of!(Hot, slot)));
    asm.store(Size::Word, R::R10, SCRATCH, R::R1);
    asm.map(R::R1, mailbox.as_raw_fd());
    asm.mov(R::R2, R::R10);
    asm.alu(Alu::Add, R::R2, i32::from(SCRATCH));
    asm.call(Helper::MapLookupElem);
    asm.jump_if(Cmp::Eq, R::R0, 0, whole);
    asm.load(
        Size::Half,
        R::R1,
        R::R0,
        offset_of!(MailboxSlot, seq) as i16,
    );
    asm.load(Size::Half, R::R2, SOCK, hot(env, offset_of!(Hot, seen_seq)));
    asm.jump_if(Cmp::Ne, R::R1, R::R2, whole);
    asm.load(Size::Word, R::R1, SOCK, ack.tcp_mstamp);
    asm.store(
        Size::Word,
        SOCK,
        hot(env, offset_of!(Hot, looked_us)),
        R::R1,
    );
    asm.jump(on);
    Ok(())
}

/// Saves what a clause is the first to change.
pub(super) fn ordinary_save(asm: &mut Asm, env: &Env<'_>, saves: &[(i16, i16)]) {
    for &(word, stack) in saves {
        asm.load(Size::Double, R::R1, SOCK, env.sock.icsk_ca_priv + word);
        asm.store(Size::Double, R::R10, stack, R::R1);
    }
}

/// Brings back what was changed, by the clause at which the invocation gives up, then begins anew.
pub(super) fn undo(
    asm: &mut Asm,
    env: &Env<'_>,
    ordinary: &Ordinary,
    clauses: &[(Label, usize)],
    whole: Label,
) -> Result<(), TooFar> {
    for &(from, clause) in clauses.iter().rev() {
        asm.place(from)?;
        for &(word, stack) in &ordinary.saves[clause] {
            asm.load(Size::Double, R::R1, R::R10, stack);
            asm.store(Size::Double, SOCK, env.sock.icsk_ca_priv + word, R::R1);
        }
    }
    asm.jump(whole);
    Ok(())
}

/// What others than we wrote to the window is known not to be there.
pub(super) fn ordinary_apply(
    asm: &mut Asm,
    env: &Env<'_>,
    ordinary: &Ordinary,
    own_recovery: bool,
) -> Result<(), TooFar> {
    let sock = &env.sock;
    let (changed, same, slow, pace) = (asm.label(), asm.label(), asm.label(), asm.label());
    let (rate, bound, end) = (asm.label(), asm.label(), asm.label());
    let applied = hot(env, offset_of!(Hot, applied_cwnd));
    match &env.entry {
        Entry::Socket { ack, .. } => asm.load(Size::Word, R::R2, SOCK, ack.mss_cache),
        Entry::Array { .. } => asm.load(Size::Word, R::R2, FLOW, flow!(mss)),
    }
    asm.load(Size::Word, R::R1, SOCK, applied);
    asm.load(Size::Double, R::R3, SOCK, hot(env, offset_of!(Hot, cwnd)));
    asm.mov(R::R4, R::R1);
    asm.alu(Alu::Mul, R::R4, R::R2);
    asm.mov(R::R5, R::R3);
    asm.alu(Alu::Sub, R::R5, R::R4);
    asm.jump_if(Cmp::Ge, R::R5, R::R2, changed);
    asm.place(same)?;
    if own_recovery {
        asm.store(Size::Word, SOCK, sock.snd_cwnd, R::R1);
    }
    if let Some(at) = ordinary.rate {
        asm.load(Size::Double, R::R3, SOCK, sock.icsk_ca_priv + at);
        asm.jump_if(Cmp::Ne, R::R3, 0, rate);
    }
    asm.load(Size::Word, R::R5, SOCK, sock.snd_ssthresh);
    asm.load(Size::Word, R::R3, SOCK, sock.srtt_us);
    asm.alu(Alu::Shr, R::R5, 1);
    asm.load(Size::Half, R::R4, SOCK, hot(env, offset_of!(Hot, pace_ca)));
    asm.jump_if(Cmp::Lt, R::R1, R::R5, slow);
    asm.place(pace)?;
    asm.alu(Alu::Mul, R::R4, PACE_UNIT);
    asm.alu(Alu::Mul, R::R2, R::R4);
    asm.alu(Alu::Div, R::R2, R::R3);
    asm.load(Size::Word, R::R3, SOCK, sock.packets_out);
    let more = vec![Insn::alu(Alu::Mov, R::R1, R::R3)];
    asm.rarely(Cmp::Gt, R::R3, R::R1, more)?;
    asm.alu(Alu::Mul, R::R2, R::R1);
    asm.place(bound)?;
    asm.load(Size::Double, R::R3, SOCK, sock.sk_max_pacing_rate);
    asm.bound(Cmp::Gt, R::R2, R::R3)?;
    asm.jump_if(Cmp::Eq, R::R2, 0, end);
    asm.store(Size::Double, SOCK, sock.sk_pacing_rate, R::R2);
    asm.place(end)?;
    measure::ordinary_end(asm, env, &ordinary.counted);
    asm.mov(R::R0, 0);
    asm.exit();

    asm.place(changed)?;
    asm.mov(R::R1, R::R3);
    asm.alu(Alu::Div, R::R1, R::R2);
    asm.load(Size::Word, R::R4, SOCK, sock.snd_cwnd_clamp);
    asm.bound(Cmp::Gt, R::R4, MAX_CWND_PACKETS as i32)?;
    let beyond = at_most(R::R4, R::R5, SOCK, hot(env, offset_of!(Hot, cwnd)));
    asm.rarely(Cmp::Gt, R::R1, R::R4, beyond)?;
    asm.bound(Cmp::Lt, R::R1, 1)?;
    asm.store(Size::Word, SOCK, sock.snd_cwnd, R::R1);
    asm.store(Size::Word, SOCK, applied, R::R1);
    asm.jump(same);

    asm.place(slow)?;
    asm.load(Size::Half, R::R4, SOCK, hot(env, offset_of!(Hot, pace_ss)));
    asm.jump(pace);

    // At least a packet per second, and paced by whoever it takes: see `apply`, which was here before.
    asm.place(rate)?;
    asm.bound(Cmp::Lt, R::R3, R::R2)?;
    asm.mov(R::R2, R::R3);
    asm.jump(bound);
    Ok(())
}

/// Writes to the storage what is newer in the socket, if it is this program's.
fn take_back(asm: &mut Asm, env: &Env<'_>, ordinary: &Ordinary) -> Result<(), TooFar> {
    let (framed, past) = (asm.label(), asm.label());
    let mark = hot(env, offset_of!(Hot, mark));
    asm.load(Size::Word, R::R1, SOCK, mark);
    asm.mov(R::R2, R::R1);
    asm.alu(Alu::And, R::R2, !(HOT_FRAME as i32));
    asm.constant(R::R3, (env.handle() | HOT_WORDS).into());
    asm.jump_if(Cmp::Ne, R::R2, R::R3, past);
    for register in &ordinary.hot {
        let size = if register.bytes == 4 {
            Size::Word
        } else {
            Size::Double
        };
        asm.load(size, R::R2, SOCK, env.sock.icsk_ca_priv + register.at);
        asm.store(Size::Double, FLOW, flow_register(register.register), R::R2);
    }
    for (size, field, at) in ordinary.counted.fields() {
        asm.load(Size::Word, R::R2, SOCK, env.sock.icsk_ca_priv + at);
        asm.store(size, FLOW, field, R::R2);
    }
    asm.alu(Alu::And, R::R1, HOT_FRAME as i32);
    asm.jump_if(Cmp::Eq, R::R1, 0, framed);
    asm.load(Size::Double, R::R2, SOCK, hot(env, offset_of!(Hot, cwnd)));
    asm.store(Size::Double, FLOW, flow_register(REG_CWND), R::R2);
    asm.load(
        Size::Word,
        R::R2,
        SOCK,
        hot(env, offset_of!(Hot, applied_cwnd)),
    );
    asm.store(Size::Word, FLOW, flow!(applied_cwnd), R::R2);
    if let Entry::Socket { ack, .. } = &env.entry {
        asm.load(Size::Double, R::R2, SOCK, ack.bytes_acked);
        asm.load(
            Size::Word,
            R::R3,
            SOCK,
            hot(env, offset_of!(Hot, last_bytes_acked)),
        );
        asm.mov(R::R4, R::R2);
        asm.alu32(Alu::Sub, R::R4, R::R3);
        asm.alu(Alu::Sub, R::R2, R::R4);
        asm.store(Size::Double, FLOW, flow!(last_bytes_acked), R::R2);
    }
    asm.place(framed)?;
    asm.constant(R::R1, env.handle().into());
    asm.store(Size::Word, SOCK, mark, R::R1);
    asm.place(past)
}

/// Copies to the socket what ordinary acknowledgements need, if the next one may be one.
fn keep(asm: &mut Asm, env: &Env<'_>, plan: &Plan, ordinary: &Ordinary) -> Result<(), TooFar> {
    let not = asm.label();
    asm.load(Size::Word, R::R1, FLOW, flow!(due));
    asm.jump_if(Cmp::Ne, R::R1, 0, not);
    for &(register, value) in &ordinary.guards {
        asm.load(Size::Double, R::R1, REGS, register_offset(register));
        match i32::try_from(value) {
            Ok(small) => asm.jump_if(Cmp::Ne, R::R1, small, not),
            Err(_) => {
                asm.constant(R::R2, value);
                asm.jump_if(Cmp::Ne, R::R1, R::R2, not);
            }
        }
    }
    for register in &ordinary.hot {
        asm.load(
            Size::Double,
            R::R1,
            REGS,
            register_offset(register.register),
        );
        let size = if register.bytes == 4 {
            asm.mov(R::R2, R::R1);
            asm.alu(Alu::Shr, R::R2, 32);
            asm.jump_if(Cmp::Ne, R::R2, 0, not);
            Size::Word
        } else {
            Size::Double
        };
        asm.store(size, SOCK, env.sock.icsk_ca_priv + register.at, R::R1);
    }
    for (size, field, at) in ordinary.counted.fields() {
        asm.load(size, R::R1, FLOW, field);
        if size == Size::Double {
            asm.mov(R::R2, R::R1);
            asm.alu(Alu::Shr, R::R2, 32);
            asm.jump_if(Cmp::Ne, R::R2, 0, not);
        }
        asm.store(Size::Word, SOCK, env.sock.icsk_ca_priv + at, R::R1);
    }
    if ordinary.counted.delivered.is_some() {
        asm.load(Size::Word, R::R1, FLOW, flow!(last_sacked_out));
        asm.jump_if(Cmp::Ne, R::R1, 0, not);
    }
    let mut copy = |from: Size, field: i16, to: Size, place: usize| {
        asm.load(from, R::R1, FLOW, field);
        asm.store(to, SOCK, hot(env, place), R::R1);
    };
    if let Some(at) = ordinary.micros {
        copy(
            Size::Double,
            flow!(micros_base_us),
            Size::Double,
            at as usize,
        );
    }
    copy(
        Size::Double,
        flow_register(REG_CWND),
        Size::Double,
        offset_of!(Hot, cwnd),
    );
    copy(
        Size::Word,
        flow!(applied_cwnd),
        Size::Word,
        offset_of!(Hot, applied_cwnd),
    );
    copy(
        Size::Word,
        flow!(pace_ss),
        Size::Half,
        offset_of!(Hot, pace_ss),
    );
    copy(
        Size::Word,
        flow!(pace_ca),
        Size::Half,
        offset_of!(Hot, pace_ca),
    );
    if matches!(env.entry, Entry::Socket { .. }) {
        copy(Size::Word, flow!(slot), Size::Half, offset_of!(Hot, slot));
        copy(
            Size::Word,
            flow!(seen_seq),
            Size::Half,
            offset_of!(Hot, seen_seq),
        );
        copy(Size::Word, flow!(epoch), Size::Byte, offset_of!(Hot, epoch));
        copy(
            Size::Word,
            flow!(last_bytes_acked),
            Size::Word,
            offset_of!(Hot, last_bytes_acked),
        );
        if measure::counts_losses(plan.prim_mask) {
            copy(
                Size::Word,
                flow!(last_lost),
                Size::Half,
                offset_of!(Hot, last_lost),
            );
        }
        if measure::counts_marks(plan.prim_mask) {
            let place = offset_of!(Hot, last_delivered_ce);
            copy(Size::Word, flow!(last_delivered_ce), Size::Half, place);
        }
        // When to look, and how often before the slot is refreshed.
        asm.load(Size::Word, R::R1, FLOW, flow!(looked_us));
        asm.load(Size::Word, R::R2, FLOW, flow!(look_after_us));
        asm.store(
            Size::Half,
            SOCK,
            hot(env, offset_of!(Hot, look_after_us)),
            R::R2,
        );
        asm.store(
            Size::Word,
            SOCK,
            hot(env, offset_of!(Hot, looked_us)),
            R::R1,
        );
        asm.load(Size::Word, R::R3, FLOW, flow!(refreshed_us));
        asm.alu32(Alu::Sub, R::R1, R::R3);
        asm.load(Size::Word, R::R3, FLOW, flow!(refresh_after_us));
        asm.bound(Cmp::Gt, R::R1, R::R3)?;
        asm.alu(Alu::Sub, R::R3, R::R1);
        asm.alu(Alu::Div, R::R3, R::R2);
        asm.bound(Cmp::Gt, R::R3, 255)?;
        asm.store(Size::Byte, SOCK, hot(env, offset_of!(Hot, looks)), R::R3);
    }
    asm.constant(R::R1, (env.handle() | HOT_WORDS | HOT_FRAME).into());
    asm.store(Size::Word, SOCK, hot(env, offset_of!(Hot, mark)), R::R1);
    asm.place(not)
}
