//! What a program measures on an acknowledgement before its clauses run.
//!
//! What an acknowledgement adds to (bytes acknowledged, losses, …) is taken off the socket's own sums
//! at every acknowledgement if the program reads it; otherwise by the glue, now and then and before
//! another program follows, so that nothing is missed or counted twice. Everything else is fetched if
//! the program reads it.

use std::mem::offset_of;

use super::asm::{Asm, Label, TooFar};
use super::body::flow_offset;
use super::insn::{Alu, Cmp, Insn, R, Size};
use super::kernel::{AckOffsets, Bits, SockOffsets};
use super::plan::Plan;
use super::{CONTEXT, Entry, Env, FLOW, SOCK};
use crate::host::Signature;
use crate::layout::{F_ECE, Flow, Hot, PRIM_NOW, PRIM_SSTHRESH, REG_MICROS, REG_SSTHRESH};

/// The machine register that holds the address of the rate sample.
const SAMPLE: R = R::R8;
/// The machine register that holds the bytes per packet.
const MSS: R = R::R7;

/// `FLAG_ECE` of `cong_control`'s flags.
const FLAG_ECE: i32 = 0x40;
/// `TCP_INFINITE_SSTHRESH`.
const INFINITE_SSTHRESH: i32 = 0x7fff_ffff;

// Places of the primitives, as in `enum ccp_prim` of `bpf/intf.h`.
const BYTES_ACKED: usize = 0;
const BYTES_MISORDERED: usize = 1;
const ECN_BYTES: usize = 2;
const ECN_PACKETS: usize = 3;
const LOST_PKTS: usize = 4;
const PACKETS_ACKED: usize = 6;
const PACKETS_MISORDERED: usize = 7;
const BYTES_IN_FLIGHT: usize = 8;
const BYTES_PENDING: usize = 9;
const PACKETS_IN_FLIGHT: usize = 10;
const RATE_INCOMING: usize = 11;
const RATE_OUTGOING: usize = 12;
const RTT_SAMPLE_US: usize = 13;
const WAS_TIMEOUT: usize = 14;
const MSS_BYTES: usize = 15;
const SRTT_US: usize = 16;
const MIN_RTT_US: usize = 17;
const APP_LIMITED: usize = 18;
pub(super) const CWND_LIMITED: usize = 19;
const ROUND_COUNT: usize = 20;
const BYTES_SENT: usize = 21;
const BYTES_DELIVERED: usize = 22;
const BYTES_LOST: usize = 23;
const BYTES_CE: usize = 24;
const RECOVERY_STATE: usize = 25;
const ECE: usize = 27;
const RTTVAR_US: usize = 28;
const BYTES_RETRANSMITTED: usize = 29;
const PACING_RATE: usize = 30;
const TIMEOUTS: usize = 31;
pub(super) const PACED: usize = 32;

/// Of these, a program that reads one counts all (`CCP_COUNTS_*` in `bpf/intf.h`).
const COUNTS_LOSSES: [usize; 2] = [LOST_PKTS, BYTES_LOST];
const COUNTS_MARKS: [usize; 3] = [ECN_BYTES, ECN_PACKETS, BYTES_CE];
const COUNTS_DELIVERIES: [usize; 3] = [PACKETS_ACKED, PACKETS_MISORDERED, BYTES_MISORDERED];

/// Offset of a field of the socket storage.
macro_rules! flow {
    ($field:ident) => {
        flow_offset(offset_of!(Flow, $field))
    };
}

/// Whether it is zero on an ordinary acknowledgement.
pub(super) fn zero(primitive: u16) -> bool {
    ZERO.contains(&usize::from(primitive))
}

const ZERO: [usize; 8] = [
    PACKETS_MISORDERED,
    BYTES_MISORDERED,
    LOST_PKTS,
    ECN_PACKETS,
    ECN_BYTES,
    ECE,
    WAS_TIMEOUT,
    RECOVERY_STATE,
];

/// Whether only the storage has what it is made of.
pub(super) fn stored(primitive: u16) -> bool {
    [ROUND_COUNT, BYTES_DELIVERED, BYTES_LOST, BYTES_CE, TIMEOUTS].contains(&usize::from(primitive))
}

/// Whether one of them has to be computed at every acknowledgement, since the latest valid one counts.
pub(super) fn computed(mask: u64) -> bool {
    [RATE_INCOMING, RATE_OUTGOING, APP_LIMITED]
        .iter()
        .any(|p| mask >> p & 1 == 1)
}

/// What has to be known at every acknowledgement that a program of these measurements runs on, 32 bits each:
/// its places in `icsk_ca_priv`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    /// `Flow::last_delivered`.
    pub(super) delivered: Option<i16>,
    /// The latest round-trip time, in microseconds.
    pub(super) rtt_sample: Option<i16>,
    /// `Flow::round_delivered`.
    pub(super) round: Option<i16>,
}

impl Counted {
    pub(super) fn new(mask: u64, mut place: impl FnMut() -> i16) -> Self {
        let mut one = |primitives: &[usize]| {
            let any = primitives.iter().any(|p| mask >> p & 1 == 1);
            any.then(&mut place)
        };
        Self {
            delivered: one(&COUNTS_DELIVERIES),
            rtt_sample: one(&[RTT_SAMPLE_US]),
            round: one(&[ROUND_COUNT]),
        }
    }

    /// Between the storage and the socket: fields of the one, words of the other.
    pub(super) fn fields(&self) -> impl Iterator<Item = (Size, i16, i16)> {
        let rtt_sample = place(RTT_SAMPLE_US);
        [
            (Size::Word, flow!(last_delivered), self.delivered),
            (Size::Double, rtt_sample, self.rtt_sample),
            (Size::Word, flow!(round_delivered), self.round),
        ]
        .into_iter()
        .filter_map(|(size, field, at)| Some((size, field, at?)))
    }
}

/// Whether a program that reads these counts losses by itself.
pub(super) fn counts_losses(mask: u64) -> bool {
    COUNTS_LOSSES.iter().any(|p| mask >> p & 1 == 1)
}

/// Whether it counts congestion marks.
pub(super) fn counts_marks(mask: u64) -> bool {
    COUNTS_MARKS.iter().any(|p| mask >> p & 1 == 1)
}

/// The offset of a register of the program, which has no base of its own yet.
fn register(register: usize) -> i16 {
    flow_offset(offset_of!(Flow, reg) + 8 * register)
}

/// The offset of a primitive.
const fn place(primitive: usize) -> i16 {
    flow_offset(offset_of!(Flow, prim) + 8 * primitive)
}

/// Goes to `whole` where something is not [`zero`] that the program reads.
pub(super) fn ordinary(asm: &mut Asm, env: &Env<'_>, mask: u64, counted: &Counted, whole: Label) {
    let Entry::Socket { signature, ack, .. } = &env.entry else {
        return;
    };
    let reads = |primitive: usize| mask >> primitive & 1 == 1;
    if reads(RECOVERY_STATE) {
        let Bits { byte, shift, size } = ack.icsk_ca_state;
        asm.load(Size::Byte, R::R1, SOCK, byte);
        asm.alu(Alu::And, R::R1, ((1 << size) - 1) << shift);
        asm.jump_if(Cmp::Ne, R::R1, 0, whole);
    }
    let hot = env.sock.icsk_ca_priv;
    let mut changed = |sum: i16, last: usize| {
        asm.load(Size::Half, R::R1, SOCK, sum);
        asm.load(Size::Half, R::R2, SOCK, hot + last as i16);
        asm.jump_if(Cmp::Ne, R::R1, R::R2, whole);
    };
    if counts_losses(mask) {
        changed(ack.lost, offset_of!(Hot, last_lost));
    }
    if counts_marks(mask) {
        changed(ack.delivered_ce, offset_of!(Hot, last_delivered_ce));
    }
    // Before there were four arguments, a callback of the glue has been at the flow then.
    if reads(ECE) && *signature == Signature::FourArguments {
        asm.load(Size::Double, R::R1, CONTEXT, 16);
        asm.alu(Alu::And, R::R1, FLAG_ECE);
        asm.jump_if(Cmp::Ne, R::R1, 0, whole);
    }
    if counted.delivered.is_some() {
        asm.load(Size::Word, R::R1, SOCK, ack.sacked_out);
        asm.jump_if(Cmp::Ne, R::R1, 0, whole);
    }
    if counted.rtt_sample.is_some() || counted.round.is_some() {
        asm.load(Size::Double, R::R3, CONTEXT, sample_at(*signature));
    }
    if let Some(at) = counted.round {
        asm.load(Size::Word, R::R1, R::R3, ack.rs_prior_delivered);
        asm.load(Size::Word, R::R2, SOCK, hot + at);
        asm.alu32(Alu::Sub, R::R1, R::R2);
        asm.jump_if(Cmp::Le, R::R1, i32::MAX, whole);
    }
    if let Some(at) = counted.rtt_sample {
        // Negative if there is none.
        asm.load(Size::Double, R::R1, R::R3, ack.rs_rtt_us);
        asm.mov(R::R2, R::R1);
        asm.alu(Alu::Shr, R::R2, 32);
        asm.jump_if(Cmp::Ne, R::R2, 0, whole);
        asm.store(Size::Word, SOCK, hot + at, R::R1);
    }
}

/// Where the context has the rate sample.
const fn sample_at(signature: Signature) -> i16 {
    match signature {
        Signature::FourArguments => 24,
        Signature::TwoArguments => 8,
    }
}

/// What the next acknowledgement has to know of this one, if this one was ordinary.
pub(super) fn ordinary_end(asm: &mut Asm, env: &Env<'_>, counted: &Counted) {
    let Entry::Socket { ack, .. } = &env.entry else {
        return;
    };
    let hot = env.sock.icsk_ca_priv;
    let last_bytes_acked = hot + offset_of!(Hot, last_bytes_acked) as i16;
    asm.load(Size::Word, R::R1, SOCK, ack.bytes_acked);
    asm.store(Size::Word, SOCK, last_bytes_acked, R::R1);
    if let Some(at) = counted.delivered {
        asm.load(Size::Word, R::R1, SOCK, ack.delivered);
        asm.store(Size::Word, SOCK, hot + at, R::R1);
    }
}

/// The machine register that [`derive`] spoils.
pub(super) const SPOILED: R = R::R5;

/// Fetches a measurement into `to` on an ordinary acknowledgement; whether there is one.
pub(super) fn derive(
    asm: &mut Asm,
    counted: &Counted,
    sock: &SockOffsets,
    ack: &AckOffsets,
    primitive: usize,
    to: R,
) -> Result<bool, TooFar> {
    let load = |asm: &mut Asm, size: Size, to: R, place: i16| asm.load(size, to, SOCK, place);
    match primitive {
        BYTES_ACKED => {
            let last = sock.icsk_ca_priv + offset_of!(Hot, last_bytes_acked) as i16;
            load(asm, Size::Word, to, ack.bytes_acked);
            load(asm, Size::Word, SPOILED, last);
            asm.alu32(Alu::Sub, to, SPOILED);
        }
        BYTES_IN_FLIGHT | PACKETS_IN_FLIGHT => {
            load(asm, Size::Word, to, sock.packets_out);
            load(asm, Size::Word, SPOILED, ack.retrans_out);
            asm.alu(Alu::Add, to, SPOILED);
            load(asm, Size::Word, SPOILED, ack.sacked_out);
            asm.alu(Alu::Sub, to, SPOILED);
            load(asm, Size::Word, SPOILED, ack.lost_out);
            asm.alu32(Alu::Sub, to, SPOILED);
            if primitive == BYTES_IN_FLIGHT {
                load(asm, Size::Word, SPOILED, ack.mss_cache);
                asm.alu(Alu::Mul, to, SPOILED);
            }
        }
        BYTES_PENDING => {
            load(asm, Size::Word, to, ack.write_seq);
            load(asm, Size::Word, SPOILED, ack.snd_nxt);
            asm.alu32(Alu::Sub, to, SPOILED);
        }
        PACKETS_ACKED => {
            let Some(at) = counted.delivered else {
                return Ok(false);
            };
            load(asm, Size::Word, to, ack.delivered);
            load(asm, Size::Word, SPOILED, sock.icsk_ca_priv + at);
            asm.alu32(Alu::Sub, to, SPOILED);
        }
        RTT_SAMPLE_US => {
            let Some(at) = counted.rtt_sample else {
                return Ok(false);
            };
            load(asm, Size::Word, to, sock.icsk_ca_priv + at);
        }
        MSS_BYTES => load(asm, Size::Word, to, ack.mss_cache),
        SRTT_US => {
            load(asm, Size::Word, to, sock.srtt_us);
            asm.alu(Alu::Shr, to, 3);
        }
        RTTVAR_US => {
            load(asm, Size::Word, to, ack.mdev_us);
            asm.alu(Alu::Shr, to, 2);
        }
        MIN_RTT_US => {
            load(asm, Size::Word, to, ack.rtt_min);
            asm.mov(SPOILED, to);
            asm.alu32(Alu::Add, SPOILED, 1);
            asm.rarely(Cmp::Eq, SPOILED, 0, vec![Insn::alu(Alu::Mov, to, -1)])?;
        }
        CWND_LIMITED => {
            let (limited, not) = (asm.label(), asm.label());
            let Bits { byte, shift, size } = ack.is_cwnd_limited;
            load(asm, Size::Byte, to, byte);
            if shift > 0 {
                asm.alu(Alu::Shr, to, i32::from(shift));
            }
            asm.alu(Alu::And, to, (1 << size) - 1);
            asm.jump_if(Cmp::Ne, to, 0, limited);
            load(asm, Size::Word, to, sock.snd_cwnd);
            load(asm, Size::Word, SPOILED, sock.snd_ssthresh);
            asm.jump_if(Cmp::Ge, to, SPOILED, not);
            load(asm, Size::Word, SPOILED, ack.max_packets_out);
            asm.alu(Alu::Shl, SPOILED, 1);
            asm.jump_if(Cmp::Ge, to, SPOILED, not);
            asm.mov(to, 1);
            asm.jump(limited);
            asm.place(not)?;
            asm.mov(to, 0);
            asm.place(limited)?;
        }
        PRIM_SSTHRESH => {
            let (none, done) = (asm.label(), asm.label());
            load(asm, Size::Word, to, sock.snd_ssthresh);
            asm.jump_if(Cmp::Ge, to, INFINITE_SSTHRESH, none);
            load(asm, Size::Word, SPOILED, ack.mss_cache);
            asm.alu(Alu::Mul, to, SPOILED);
            asm.jump(done);
            asm.place(none)?;
            asm.mov(to, -1);
            asm.place(done)?;
        }
        PRIM_NOW => load(asm, Size::Double, to, ack.tcp_mstamp),
        BYTES_SENT => load(asm, Size::Double, to, ack.bytes_sent),
        BYTES_RETRANSMITTED => load(asm, Size::Double, to, ack.bytes_retrans),
        PACING_RATE => load(asm, Size::Double, to, sock.sk_pacing_rate),
        PACED => {
            let zero = asm.label();
            load(asm, Size::Word, to, sock.sk_pacing_status);
            asm.jump_if(Cmp::Eq, to, 0, zero);
            asm.mov(to, 1);
            asm.place(zero)?;
        }
        _ => return Ok(false),
    }
    Ok(true)
}

struct Measure<'a> {
    asm: &'a mut Asm,
    mask: u64,
    sock: &'a SockOffsets,
    ack: &'a AckOffsets,
}

/// Emits it. Afterwards [`CONTEXT`] is gone.
pub(super) fn measure(
    asm: &mut Asm,
    plan: &Plan,
    sock: &SockOffsets,
    ack: &AckOffsets,
    signature: Signature,
) -> Result<(), TooFar> {
    let mask = plan.prim_mask;
    let mut m = Measure {
        asm,
        mask,
        sock,
        ack,
    };
    m.context(signature)?;
    m.packet()?;
    m.sums()?;
    m.misordered()?;
    m.sample()?;
    m.time(plan.reads_micros || plan.writes_micros);
    m.in_flight();
    m.round_trips()?;
    m.window()?;
    m.totals()?;
    m.state()
}

impl Measure<'_> {
    const fn reads(&self, primitive: usize) -> bool {
        self.mask >> primitive & 1 == 1
    }

    fn any(&self, primitives: &[usize]) -> bool {
        primitives.iter().any(|p| self.reads(*p))
    }

    fn set(&mut self, primitive: usize, from: R) {
        self.asm.store(Size::Double, FLOW, place(primitive), from);
    }

    /// Stores it if it is read.
    fn put(&mut self, primitive: usize, from: R) {
        if self.reads(primitive) {
            self.set(primitive, from);
        }
    }

    fn of_sock(&mut self, size: Size, to: R, off: i16) {
        self.asm.load(size, to, SOCK, off);
    }

    /// Copies a field of the socket, shifted right.
    fn copy(&mut self, primitive: usize, size: Size, off: i16, shift: i32) {
        if self.reads(primitive) {
            self.of_sock(size, R::R1, off);
            if shift > 0 {
                self.asm.alu(Alu::Shr, R::R1, shift);
            }
            self.set(primitive, R::R1);
        }
    }

    fn bits(&mut self, to: R, bits: Bits) {
        self.of_sock(Size::Byte, to, bits.byte);
        if bits.shift > 0 {
            self.asm.alu(Alu::Shr, to, i32::from(bits.shift));
        }
        self.asm.alu(Alu::And, to, (1 << bits.size) - 1);
    }

    /// The low 32 bits as a signed number.
    fn sign_extend(&mut self, r: R) {
        self.asm.alu(Alu::Shl, r, 32);
        self.asm.alu(Alu::Sar, r, 32);
    }

    /// `r` becomes 1 if it is not 0.
    fn as_bool(&mut self, r: R) -> Result<(), TooFar> {
        let zero = self.asm.label();
        self.asm.jump_if(Cmp::Eq, r, 0, zero);
        self.asm.mov(r, 1);
        self.asm.place(zero)
    }

    /// The arguments of the call.
    fn context(&mut self, signature: Signature) -> Result<(), TooFar> {
        match signature {
            Signature::FourArguments => {
                if self.reads(ECE) {
                    self.asm.load(Size::Double, R::R1, CONTEXT, 16);
                    self.asm.alu(Alu::And, R::R1, FLAG_ECE);
                    self.as_bool(R::R1)?;
                    self.set(ECE, R::R1);
                }
            }
            Signature::TwoArguments => {
                self.asm.load(Size::Word, R::R1, FLOW, flow!(flags));
                self.asm.mov(R::R2, R::R1);
                self.asm.alu(Alu::And, R::R2, F_ECE as i32);
                let none = self.asm.label();
                self.put(ECE, R::R2);
                self.asm.jump_if(Cmp::Eq, R::R2, 0, none);
                self.asm.alu(Alu::And, R::R1, !(F_ECE as i32));
                self.asm.store(Size::Word, FLOW, flow!(flags), R::R1);
                self.asm.mov(R::R2, 1);
                self.put(ECE, R::R2);
                self.asm.place(none)?;
            }
        }
        let sample = sample_at(signature);
        self.asm.load(Size::Double, SAMPLE, CONTEXT, sample);
        Ok(())
    }

    /// Bytes per packet, at least 1.
    fn packet(&mut self) -> Result<(), TooFar> {
        self.of_sock(Size::Word, MSS, self.ack.mss_cache);
        self.asm
            .rarely(Cmp::Eq, MSS, 0, vec![Insn::alu(Alu::Mov, MSS, 1)])?;
        self.asm.store(Size::Word, FLOW, flow!(mss), MSS);
        self.put(MSS_BYTES, MSS);
        Ok(())
    }

    /// What this acknowledgement adds to sums: facts also where its sample is not valid.
    fn sums(&mut self) -> Result<(), TooFar> {
        self.of_sock(Size::Double, R::R1, self.ack.bytes_acked);
        if self.reads(BYTES_ACKED) {
            self.asm
                .load(Size::Double, R::R2, FLOW, flow!(last_bytes_acked));
            self.asm.mov(R::R3, R::R1);
            self.asm.alu(Alu::Sub, R::R3, R::R2);
            self.set(BYTES_ACKED, R::R3);
        }
        self.asm
            .store(Size::Double, FLOW, flow!(last_bytes_acked), R::R1);

        // What the program does not read, the glue counts once per round trip.
        let (lost, ce) = (self.ack.lost, self.ack.delivered_ce);
        if counts_losses(self.mask) {
            self.packets(lost, flow!(last_lost), flow!(bytes_lost), LOST_PKTS, None)?;
        }
        if counts_marks(self.mask) {
            self.packets(
                ce,
                flow!(last_delivered_ce),
                flow!(bytes_ce),
                ECN_PACKETS,
                Some(ECN_BYTES),
            )?;
        }
        Ok(())
    }

    /// A sum of packets in the socket, and its course in bytes.
    fn packets(
        &mut self,
        sum: i16,
        last: i16,
        bytes: i16,
        packets: usize,
        in_bytes: Option<usize>,
    ) -> Result<(), TooFar> {
        self.of_sock(Size::Word, R::R1, sum);
        self.asm.load(Size::Word, R::R2, FLOW, last);
        self.asm.mov(R::R3, R::R1);
        self.asm.alu32(Alu::Sub, R::R3, R::R2);
        self.put(packets, R::R3);
        if let Some(in_bytes) = in_bytes {
            self.put(in_bytes, R::R3);
        }
        let mut some = vec![
            Insn::store(Size::Word, FLOW, last, R::R1),
            Insn::alu(Alu::Mul, R::R3, MSS),
            Insn::load(Size::Double, R::R2, FLOW, bytes),
            Insn::alu(Alu::Add, R::R2, R::R3),
            Insn::store(Size::Double, FLOW, bytes, R::R2),
        ];
        if let Some(primitive) = in_bytes.filter(|p| self.reads(*p)) {
            some.push(Insn::store(Size::Double, FLOW, place(primitive), R::R3));
        }
        self.asm.rarely(Cmp::Ne, R::R3, 0, some)
    }

    /// What was delivered in order and out of order.
    fn misordered(&mut self) -> Result<(), TooFar> {
        if self.any(&COUNTS_DELIVERIES) {
            self.of_sock(Size::Word, R::R1, self.ack.delivered);
            self.of_sock(Size::Word, R::R2, self.ack.sacked_out);
            self.asm
                .load(Size::Word, R::R4, FLOW, flow!(last_sacked_out));
            self.asm.mov(R::R3, R::R2);
            self.asm.alu32(Alu::Sub, R::R3, R::R4);
            self.sign_extend(R::R3);
            self.asm.bound(Cmp::SLt, R::R3, 0)?;
            self.put(PACKETS_MISORDERED, R::R3);
            self.asm
                .load(Size::Word, R::R5, FLOW, flow!(last_delivered));
            self.asm.mov(R::R4, R::R1);
            self.asm.alu32(Alu::Sub, R::R4, R::R5);
            self.asm.alu(Alu::Sub, R::R4, R::R3);
            self.asm.bound(Cmp::SLt, R::R4, 0)?;
            self.put(PACKETS_ACKED, R::R4);
            if self.reads(BYTES_MISORDERED) {
                self.asm.alu(Alu::Mul, R::R3, MSS);
                self.set(BYTES_MISORDERED, R::R3);
            }
            self.asm
                .store(Size::Word, FLOW, flow!(last_delivered), R::R1);
            self.asm
                .store(Size::Word, FLOW, flow!(last_sacked_out), R::R2);
        }
        Ok(())
    }

    /// Measurements of the rate sample: the latest valid one is kept.
    fn sample(&mut self) -> Result<(), TooFar> {
        let ack = self.ack;
        if self.any(&[RATE_INCOMING, RATE_OUTGOING, APP_LIMITED, ROUND_COUNT]) {
            let invalid = self.asm.label();
            self.asm.load(Size::Word, R::R1, SAMPLE, ack.rs_delivered);
            self.sign_extend(R::R1);
            self.asm.jump_if(Cmp::SLe, R::R1, 0, invalid);
            self.asm
                .load(Size::Double, R::R2, SAMPLE, ack.rs_interval_us);
            self.asm.jump_if(Cmp::SLe, R::R2, 0, invalid);
            if self.any(&[RATE_INCOMING, RATE_OUTGOING]) {
                self.asm.alu(Alu::Mul, R::R1, MSS);
                self.asm.alu(Alu::Mul, R::R1, 1_000_000);
            }
            for (primitive, interval) in [
                (RATE_OUTGOING, ack.rs_snd_interval_us),
                (RATE_INCOMING, ack.rs_rcv_interval_us),
            ] {
                if self.reads(primitive) {
                    let none = self.asm.label();
                    self.asm.load(Size::Word, R::R2, SAMPLE, interval);
                    self.asm.jump_if(Cmp::Eq, R::R2, 0, none);
                    self.asm.mov(R::R3, R::R1);
                    self.asm.alu(Alu::Div, R::R3, R::R2);
                    self.set(primitive, R::R3);
                    self.asm.place(none)?;
                }
            }
            if self.reads(APP_LIMITED) {
                self.asm
                    .load(Size::Byte, R::R1, SAMPLE, ack.rs_is_app_limited);
                self.set(APP_LIMITED, R::R1);
            }
            if self.reads(ROUND_COUNT) {
                self.asm
                    .load(Size::Word, R::R1, SAMPLE, ack.rs_prior_delivered);
                self.asm
                    .load(Size::Word, R::R2, FLOW, flow!(round_delivered));
                self.asm.alu32(Alu::Sub, R::R1, R::R2);
                self.sign_extend(R::R1);
                self.asm.jump_if(Cmp::SLt, R::R1, 0, invalid);
                self.of_sock(Size::Word, R::R1, ack.delivered);
                self.asm
                    .store(Size::Word, FLOW, flow!(round_delivered), R::R1);
                self.asm.load(Size::Word, R::R1, FLOW, flow!(rounds));
                self.asm.alu(Alu::Add, R::R1, 1);
                self.asm.store(Size::Word, FLOW, flow!(rounds), R::R1);
            }
            self.asm.place(invalid)?;
            if self.reads(ROUND_COUNT) {
                self.asm.load(Size::Word, R::R1, FLOW, flow!(rounds));
                self.set(ROUND_COUNT, R::R1);
            }
        }
        if self.reads(RTT_SAMPLE_US) {
            let none = self.asm.label();
            self.asm.load(Size::Double, R::R1, SAMPLE, ack.rs_rtt_us);
            self.asm.jump_if(Cmp::SLt, R::R1, 0, none);
            self.set(RTT_SAMPLE_US, R::R1);
            self.asm.place(none)?;
        }
        Ok(())
    }

    fn time(&mut self, micros: bool) {
        if !micros && !self.reads(PRIM_NOW) {
            return;
        }
        self.of_sock(Size::Double, R::R1, self.ack.tcp_mstamp);
        self.put(PRIM_NOW, R::R1);
        if micros {
            self.asm
                .load(Size::Double, R::R2, FLOW, flow!(micros_base_us));
            self.asm.alu(Alu::Sub, R::R1, R::R2);
            self.asm
                .store(Size::Double, FLOW, register(REG_MICROS), R::R1);
        }
    }

    fn in_flight(&mut self) {
        let ack = self.ack;
        if self.any(&[BYTES_IN_FLIGHT, PACKETS_IN_FLIGHT]) {
            self.of_sock(Size::Word, R::R1, self.sock.packets_out);
            self.of_sock(Size::Word, R::R2, ack.sacked_out);
            self.of_sock(Size::Word, R::R3, ack.lost_out);
            self.of_sock(Size::Word, R::R4, ack.retrans_out);
            self.asm.alu(Alu::Add, R::R1, R::R4);
            self.asm.alu(Alu::Sub, R::R1, R::R2);
            self.asm.alu32(Alu::Sub, R::R1, R::R3);
            self.put(PACKETS_IN_FLIGHT, R::R1);
            if self.reads(BYTES_IN_FLIGHT) {
                self.asm.alu(Alu::Mul, R::R1, MSS);
                self.set(BYTES_IN_FLIGHT, R::R1);
            }
        }
        if self.reads(BYTES_PENDING) {
            self.of_sock(Size::Word, R::R1, ack.write_seq);
            self.of_sock(Size::Word, R::R2, ack.snd_nxt);
            self.asm.alu32(Alu::Sub, R::R1, R::R2);
            self.set(BYTES_PENDING, R::R1);
        }
    }

    /// Without a value yet: all ones.
    fn round_trips(&mut self) -> Result<(), TooFar> {
        if self.reads(SRTT_US) {
            self.of_sock(Size::Word, R::R1, self.sock.srtt_us);
            self.asm.mov(R::R2, R::R1);
            self.asm.alu(Alu::Shr, R::R2, 3);
            self.asm
                .rarely(Cmp::Eq, R::R1, 0, vec![Insn::alu(Alu::Mov, R::R2, -1)])?;
            self.set(SRTT_US, R::R2);
        }
        if self.reads(MIN_RTT_US) {
            self.of_sock(Size::Word, R::R1, self.ack.rtt_min);
            self.asm.mov(R::R2, R::R1);
            self.asm.alu32(Alu::Add, R::R2, 1);
            self.asm
                .rarely(Cmp::Eq, R::R2, 0, vec![Insn::alu(Alu::Mov, R::R1, -1)])?;
            self.set(MIN_RTT_US, R::R1);
        }
        // The mean deviation: rttvar_us is never less than what RTO's minimum needs.
        self.copy(RTTVAR_US, Size::Word, self.ack.mdev_us, 2);
        Ok(())
    }

    fn window(&mut self) -> Result<(), TooFar> {
        if self.reads(CWND_LIMITED) {
            // As tcp_is_cwnd_limited: in slow start, while less than half of the window was in
            // flight, it is the application that limits.
            let limited = self.asm.label();
            self.bits(R::R1, self.ack.is_cwnd_limited);
            self.asm.jump_if(Cmp::Ne, R::R1, 0, limited);
            self.of_sock(Size::Word, R::R2, self.sock.snd_cwnd);
            self.of_sock(Size::Word, R::R3, self.sock.snd_ssthresh);
            self.asm.jump_if(Cmp::Ge, R::R2, R::R3, limited);
            self.of_sock(Size::Word, R::R3, self.ack.max_packets_out);
            self.asm.alu(Alu::Shl, R::R3, 1);
            self.asm.jump_if(Cmp::Ge, R::R2, R::R3, limited);
            self.asm.mov(R::R1, 1);
            self.asm.place(limited)?;
            self.set(CWND_LIMITED, R::R1);
        }
        if self.reads(PRIM_SSTHRESH) {
            let (none, done) = (self.asm.label(), self.asm.label());
            self.of_sock(Size::Word, R::R1, self.sock.snd_ssthresh);
            self.asm.jump_if(Cmp::Ge, R::R1, INFINITE_SSTHRESH, none);
            self.asm.alu(Alu::Mul, R::R1, MSS);
            self.asm.jump(done);
            self.asm.place(none)?;
            self.asm.mov(R::R1, -1);
            self.asm.place(done)?;
            self.set(PRIM_SSTHRESH, R::R1);
            // What the program may write.
            self.asm
                .store(Size::Double, FLOW, register(REG_SSTHRESH), R::R1);
        }
        Ok(())
    }

    /// Sums since the connection began, or since the flow was taken.
    fn totals(&mut self) -> Result<(), TooFar> {
        self.copy(BYTES_SENT, Size::Double, self.ack.bytes_sent, 0);
        let retransmitted = self.ack.bytes_retrans;
        self.copy(BYTES_RETRANSMITTED, Size::Double, retransmitted, 0);
        if self.reads(BYTES_DELIVERED) {
            // Acknowledged bytes are exact; packets are taken for full only where there is nothing
            // better. It never goes back.
            let more = self.asm.label();
            self.of_sock(Size::Double, R::R1, self.ack.bytes_acked);
            self.asm
                .load(Size::Double, R::R2, FLOW, flow!(start_bytes_acked));
            self.asm.alu(Alu::Sub, R::R1, R::R2);
            self.of_sock(Size::Word, R::R2, self.ack.sacked_out);
            self.asm.alu(Alu::Mul, R::R2, MSS);
            self.asm.alu(Alu::Add, R::R1, R::R2);
            self.asm
                .load(Size::Double, R::R2, FLOW, flow!(bytes_delivered));
            self.asm.jump_if(Cmp::Ge, R::R1, R::R2, more);
            self.asm.mov(R::R1, R::R2);
            self.asm.place(more)?;
            self.asm
                .store(Size::Double, FLOW, flow!(bytes_delivered), R::R1);
            self.set(BYTES_DELIVERED, R::R1);
        }
        for (primitive, size, field) in [
            (BYTES_LOST, Size::Double, flow!(bytes_lost)),
            (BYTES_CE, Size::Double, flow!(bytes_ce)),
            (TIMEOUTS, Size::Word, flow!(timeouts)),
        ] {
            if self.reads(primitive) {
                self.asm.load(size, R::R1, FLOW, field);
                self.set(primitive, R::R1);
            }
        }
        Ok(())
    }

    fn state(&mut self) -> Result<(), TooFar> {
        if self.reads(WAS_TIMEOUT) {
            self.asm.load(Size::Word, R::R1, FLOW, flow!(was_timeout));
            self.set(WAS_TIMEOUT, R::R1);
            self.asm.store(Size::Word, FLOW, flow!(was_timeout), 0);
        }
        if self.reads(RECOVERY_STATE) {
            self.bits(R::R1, self.ack.icsk_ca_state);
            self.set(RECOVERY_STATE, R::R1);
        }
        self.copy(PACING_RATE, Size::Double, self.sock.sk_pacing_rate, 0);
        if self.reads(PACED) {
            self.of_sock(Size::Word, R::R1, self.sock.sk_pacing_status);
            self.as_bool(R::R1)?;
            self.set(PACED, R::R1);
        }
        Ok(())
    }
}
