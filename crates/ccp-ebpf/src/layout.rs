//! The layout of every value that the kernel side and this crate share: the Rust mirror of `bpf/intf.h`.
//!
//! A unit test compares sizes and offsets with the BTF of the compiled glue, so the two cannot drift apart.

use std::mem::{align_of, offset_of, size_of};

/// Version of the layout of pinned map values; part of the pin path.
pub const LAYOUT_VERSION: u32 = 6;

/// Most primitives a flow's storage holds.
pub const MAX_PRIMITIVES: usize = 40;
/// Most registers a flow's storage holds.
pub const MAX_REGISTERS: usize = 160;
/// Most control variables a program may declare (the mailbox carries them all).
pub const MAX_CONTROL: usize = 18;
/// Size of the program table; index 0 means "no program".
pub const MAX_PROGRAMS: usize = 256;
/// Most flows a datapath can be asked to steer.
pub const MAX_FLOWS: u32 = 65_536;
/// Largest window, in packets, that is ever written to a socket.
pub const MAX_CWND_PACKETS: u32 = 1 << 20;
/// Names that are registered at a time.
pub const MAX_NAMES: usize = 8;
/// `Flow::slot` of a flow without one.
pub const NO_SLOT: u32 = u32::MAX;

/// Register: congestion window in bytes (keeps fractions of a packet).
pub const REG_CWND: usize = 0;
/// Register: pacing rate in bytes/s; 0 = none set, the kernel-like formula paces.
pub const REG_RATE: usize = 1;
/// Register: microseconds since `Flow::micros_base_us`.
pub const REG_MICROS: usize = 2;
/// Register: where slow start ends and reductions go, bytes; loaded on every ACK.
pub const REG_SSTHRESH: usize = 3;
/// First control variable.
pub const REG_CONTROL: usize = 4;

/// Primitive: time of this ACK in µs, `CLOCK_MONOTONIC`.
pub const PRIM_NOW: usize = 5;
/// Primitive: the slow-start threshold in bytes; all ones if there is none.
pub const PRIM_SSTHRESH: usize = 26;
/// Number of primitives of the Linux TCP table.
pub const PRIM_COUNT: usize = 33;

/// Flag of a flow: the glue or a program turned `sk_pacing_status` on.
pub const F_PACING_SET: u32 = 16;

/// Words of `icsk_ca_priv` that a program has for its registers, from the first on.
pub const HOT_REGISTERS: usize = 8;
/// Flag of `Hot::mark`: the program's registers are valid there.
pub const HOT_WORDS: u32 = 0x100;
/// Flag of `Hot::mark`: the fields from `cwnd` on are valid.
pub const HOT_FRAME: u32 = 0x200;

/// `Flow::due`: the next ACK is the glue's first.
pub const DUE_GLUE: u32 = 1;
/// `Flow::due`: the glue has just done what is due.
pub const DUE_PASSED: u32 = 1 << 31;
/// Flag of a flow: ECE was seen (kernels before 6.10 only).
pub const F_ECE: u32 = 64;
/// Most that the kernel's pacing sysctls allow, in percent of a window per round trip.
pub const MAX_PACING_PERCENT: u32 = 1000;

/// Flag of a program: it keeps full control of the window in recovery.
pub const PROGRAM_OWN_RECOVERY: u32 = 1;

/// Bit of `Config::flags`: flows hand themselves over to the system's CUBIC.
pub const CONFIG_STOPPING: u32 = 1;

/// Mailbox field: `Cwnd`.
pub const FIELD_CWND: usize = 0;
/// Mailbox field: `Rate`.
pub const FIELD_RATE: usize = 1;
/// Mailbox field: the first control variable.
pub const FIELD_CONTROL: usize = 2;
/// Number of mailbox fields.
pub const FIELDS: usize = FIELD_CONTROL + MAX_CONTROL;
/// In a mailbox slot instead of a program's handle: the kernel's algorithm whose name stands in the first
/// two values takes the flow.
pub const PROGRAM_ELSEWHERE: u32 = u32::MAX;

/// Frame type of MEASURE.
pub const MSG_MEASURE: u16 = 1;

/// Of a flow that was taken without having asked (`struct ccp_taken`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// The algorithm that it had, padded with zeros.
    pub before: [u8; 16],
}

/// Per-socket state (`struct ccp_flow`). The contract of generated programs stands in `intf.h`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Program handle.
    pub program: u32,
    /// Whether the glue is to go first: `DUE_*`.
    pub due: u32,
    /// Packets, last value that we wrote to `snd_cwnd`.
    pub applied_cwnd: u32,
    /// Low 32 bits of the time when the program last looked at what others write, µs.
    pub looked_us: u32,
    /// Time after which it is to look again, µs.
    pub look_after_us: u32,
    /// Window in packets that proportional rate reduction asks for; 0 = not in charge.
    pub prr_cwnd: u32,
    /// Bytes per packet on this ACK, at least 1.
    pub mss: u32,
    /// How the kernel paces below half of ssthresh: percent of a window per RTT.
    pub pace_ss: u32,
    /// And otherwise.
    pub pace_ca: u32,
    /// Faults in a row.
    pub fault_run: u32,
    /// The glue's flags.
    pub flags: u32,
    /// Epoch last announced.
    pub epoch: u32,
    /// Mailbox slot.
    pub slot: u32,
    /// Mailbox sequence last looked at.
    pub seen_seq: u32,
    /// `tp->bytes_acked` on the previous ACK.
    pub last_bytes_acked: u64,
    /// `tp->delivered` on the previous ACK.
    pub last_delivered: u32,
    /// `tp->delivered_ce` on the previous ACK.
    pub last_delivered_ce: u32,
    /// `tp->lost` on the previous ACK.
    pub last_lost: u32,
    /// `tp->sacked_out` on the previous ACK.
    pub last_sacked_out: u32,
    /// `tp->delivered` at which the next round starts.
    pub round_delivered: u32,
    /// Rounds so far, while a program ran that reads them.
    pub rounds: u32,
    /// `CLOCK_MONOTONIC` µs at which `Micros` is 0.
    pub micros_base_us: u64,
    /// Bytes lost since the flow was taken.
    pub bytes_lost: u64,
    /// Bytes delivered with CE since the flow was taken.
    pub bytes_ce: u64,
    /// Bytes delivered since the flow was taken.
    pub bytes_delivered: u64,
    /// `tp->bytes_acked` when the flow was taken.
    pub start_bytes_acked: u64,
    /// Slot and incarnation: the flow's name in frames.
    pub sock_id: u32,
    /// Number of the announcement that is in force.
    pub generation: u32,
    /// Program uid.
    pub program_uid: u32,
    /// Reports refused by the ring since the last accepted one.
    pub merged: u32,
    /// Reports accepted.
    pub reports: u32,
    /// Reports refused.
    pub ring_full: u32,
    /// Faults in total.
    pub faults: u32,
    /// 1 on the first ACK after a retransmission timeout.
    pub was_timeout: u32,
    /// Retransmission timeouts so far.
    pub timeouts: u32,
    /// Native, running or fallback.
    pub mode: u32,
    /// Low 32 bits of the time of the last CREATE.
    pub announced_us: u32,
    /// Packets delivered in this recovery.
    pub prr_delivered: u32,
    /// Mark of the announcement not yet answered.
    pub mark: u32,
    /// Faults already counted globally.
    pub counted_faults: u32,
    /// Refused reports already counted globally.
    pub counted_ring_full: u32,
    /// Accepted reports already counted globally.
    pub counted_reports: u32,
    /// Primitives the program reads.
    pub prim_mask: u64,
    /// `CLOCK_MONOTONIC` µs since when reports have not been handled; 0 = none are open.
    pub waiting_us: u64,
    /// `reports` when that was last looked at.
    pub seen_reports: u32,
    /// The network namespace whose share of the slots the flow has.
    pub netns_inum: u32,
    /// The user, likewise.
    pub uid: u32,
    /// Faults that earlier announcements told of.
    pub told_faults: u32,
    /// Faults that this generation's announcement tells of.
    pub new_faults: u32,
    /// Low 32 bits of the time the slot was last refreshed, µs.
    pub refreshed_us: u32,
    /// Time after which it is refreshed again, µs.
    pub refresh_after_us: u32,
    /// Zero.
    pub reserved32: u32,
    /// Zero.
    pub reserved: u64,
    /// Primitives of this ACK.
    pub prim: [u64; MAX_PRIMITIVES],
    /// Registers.
    pub reg: [u64; MAX_REGISTERS],
}

/// What a steered flow keeps in its socket, in `icsk_ca_priv` (`struct ccp_hot`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hot {
    /// Registers of the program.
    pub word: [u64; HOT_REGISTERS],
    /// Register `Cwnd`.
    pub cwnd: u64,
    /// `Flow::applied_cwnd`.
    pub applied_cwnd: u32,
    /// `Flow::pace_ss`.
    pub pace_ss: u16,
    /// `Flow::pace_ca`.
    pub pace_ca: u16,
    /// `Flow::slot`.
    pub slot: u16,
    /// Low bits of `Flow::seen_seq`.
    pub seen_seq: u16,
    /// Low bits of `Flow::epoch`.
    pub epoch: u8,
    /// How often the program may look before the glue refreshes the slot.
    pub looks: u8,
    /// `Flow::look_after_us`.
    pub look_after_us: u16,
    /// Low bits of `Flow::last_bytes_acked`.
    pub last_bytes_acked: u32,
    /// Low bits of `Flow::last_lost`.
    pub last_lost: u16,
    /// Low bits of `Flow::last_delivered_ce`.
    pub last_delivered_ce: u16,
    /// Who runs the flow: a program's handle with `HOT_*`, native CUBIC, or 0: the glue looks.
    pub mark: u32,
    /// `Flow::looked_us`.
    pub looked_us: u32,
}

/// One mailbox slot (`struct ccp_mailbox`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MailboxSlot {
    /// Sequence; odd while written.
    pub seq: u32,
    /// Generation the content is meant for.
    pub generation: u32,
    /// Program handle.
    pub program: u32,
    /// Sequence of the last program change.
    pub program_seq: u32,
    /// `Cwnd`, `Rate`, control variables.
    pub value: [u64; FIELDS],
    /// Sequence of each value's last write.
    pub field_seq: [u32; FIELDS],
}

/// What a flow needs to start a program (`struct ccp_program_meta`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ProgramMeta {
    /// Index and serial; free if the index is 0.
    pub handle: u32,
    /// The program's uid in frames.
    pub uid: u32,
    /// `PROGRAM_*`.
    pub flags: u32,
    /// Registers from [`REG_CONTROL`] on that get a default.
    pub count: u32,
    /// Primitives the program reads.
    pub prim_mask: u64,
    /// Invocations without effect, of all flows.
    pub faults: u64,
    /// The defaults.
    pub defaults: [u64; MAX_REGISTERS - REG_CONTROL],
}

/// What is known of the flow in a slot (`struct ccp_slot`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The flow's name in frames; valid while live.
    pub sock_id: u32,
    /// Never goes back, also across flows of this slot.
    pub generation: u32,
    /// How many flows have had this slot.
    pub incarnation: u32,
    /// 1 while a flow owns the slot.
    pub live: u32,
    /// Native, running or fallback.
    pub mode: u32,
    /// Program uid, 0 = none.
    pub program_uid: u32,
    /// Window in packets.
    pub snd_cwnd: u32,
    /// Bytes per packet.
    pub mss: u32,
    /// `TCP_CA_*`.
    pub ca_state: u32,
    /// Smoothed RTT in µs.
    pub srtt_us: u32,
    /// Minimum RTT in µs; `u32::MAX` before the first sample.
    pub min_rtt_us: u32,
    /// Program faults.
    pub faults: u32,
    /// Pacing rate in bytes/s.
    pub pacing_rate: u64,
    /// Bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Bytes delivered.
    pub bytes_delivered: u64,
    /// Bytes lost.
    pub bytes_lost: u64,
    /// Inode of the flow's network namespace.
    pub netns_inum: u32,
    /// Reports accepted by the ring.
    pub reports: u32,
    /// Reports refused by the ring.
    pub ring_full: u32,
    /// Retransmission timeouts.
    pub timeouts: u32,
    /// `AF_INET` or `AF_INET6`.
    pub family: u32,
    /// Zero.
    pub reserved: [u32; 7],
}

/// The configuration: programs look at it now and then, the glue whenever it runs (`struct ccp_config`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// `CLOCK_MONOTONIC` ns of the last heartbeat.
    pub beat_ns: u64,
    /// Age of the heartbeat beyond which flows fall back, ns.
    pub fallback_after_ns: u64,
    /// Inode of the only network namespace whose flows are taken; 0 = any.
    pub netns_inum: u32,
    /// Never 0 once a daemon has started.
    pub epoch: u32,
    /// `CONFIG_*`.
    pub flags: u32,
    /// Number of slots.
    pub max_flows: u32,
    /// Faults in a row after which a flow falls back; 0 = never.
    pub max_fault_run: u32,
    /// Slots below were handed out at least once (written by the glue).
    pub next_slot: u32,
    /// A flow whose reports are not handled for so long falls back alone, µs; 0 = never.
    pub unanswered_after_us: u32,
    /// Inode of the initial network namespace.
    pub initial_netns: u32,
    /// Slots for the flows of one other network namespace; 0 = any number.
    pub max_per_namespace: u32,
    /// Slots for the flows of one user other than root; 0 = any number.
    pub max_per_user: u32,
    /// 1 while the reader looks at the ring by itself: reports need not wake it.
    pub polling: u32,
    /// Zero.
    pub reserved: u32,
}

/// Head of a MEASURE frame (`struct ccp_measure`); values follow, then [`MeasureTail`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MeasureHead {
    /// [`MSG_MEASURE`].
    pub kind: u16,
    /// Length of the whole frame: 24 + 8 n.
    pub len: u16,
    /// The flow's name.
    pub sock_id: u32,
    /// The program's uid.
    pub program_uid: u32,
    /// Number of values.
    pub n: u32,
}

/// Tail of a MEASURE frame (`struct ccp_measure_tail`).
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct MeasureTail {
    /// Generation of the flow.
    pub generation: u32,
    /// Reports merged into this one.
    pub merged: u32,
}

// Socket storage beyond 1,952 bytes would double the slab it sits in.
const _: () = assert!(size_of::<Flow>() <= 1952);
const _: () = assert!(size_of::<Flow>().is_multiple_of(8) && align_of::<Flow>() == 8);
const _: () = assert!(offset_of!(Flow, prim).is_multiple_of(8));
const _: () = assert!(size_of::<Hot>() == 104 && offset_of!(Hot, mark) == 96);
const _: () = assert!(size_of::<MailboxSlot>() == 256);
const _: () = assert!(size_of::<Slot>() == 128);
const _: () = assert!(size_of::<Config>() == 64);
const _: () = assert!(size_of::<ProgramMeta>() == 32 + 8 * (MAX_REGISTERS - REG_CONTROL));
const _: () = assert!(size_of::<MeasureHead>() == 16 && size_of::<MeasureTail>() == 8);
const _: () = assert!(FIELDS == 20 && PRIM_COUNT <= MAX_PRIMITIVES);

#[cfg(test)]
mod tests;
