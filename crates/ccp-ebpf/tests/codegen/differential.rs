//! Random programs over random measurements: registers, faults and reports as the reference has
//! them.

use std::os::fd::OwnedFd;

use ccp_ebpf::codegen::{ARRAY_HANDLE, Generated};
use ccp_ebpf::layout::{
    Flow, HOT_FRAME, HOT_WORDS, Hot, MAX_CWND_PACKETS, PRIM_NOW, PRIM_SSTHRESH, REG_CONTROL,
    REG_CWND, REG_MICROS, REG_RATE, REG_SSTHRESH,
};
use ccp_program::interp::Registers;
use ccp_program::testing::{Rng, Shape, measurements, program, value};
use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg, interp::Outcome};
use ccp_types::SockId;
use ccp_wire::{MeasureBuf, ReportTrailer};

use crate::harness::{Bench, Memory, Socket, can_load};
use crate::window::applied;

const SOCK_ID: u32 = 0x0007_0102;
const GENERATION: u32 = 41;
const UID: u32 = 0x8000_0003;

/// What happened over all programs, to see that nothing is rare.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) runs: u64,
    pub(crate) faults: u64,
    pub(crate) reports: u64,
    merged: u64,
    saved: usize,
    /// Invocations that left the storage alone.
    ordinary: u64,
    /// Those that began like this, and began anew on the storage.
    gave_up: u64,
}

/// What stands where the glue would have no need to write.
pub(crate) const NOT_LOADED: u64 = 0xbad;

/// A program in the kernel and in the reference.
pub(crate) struct Pair<'b> {
    bench: &'b Bench,
    program: &'b Program,
    loaded: OwnedFd,
    generated: Generated,
    pub(crate) reference: Registers,
    memory: Memory,
    /// What the ring took and nobody read yet.
    sent: Vec<MeasureBuf>,
}

impl<'b> Pair<'b> {
    pub(crate) fn new(bench: &'b Bench, program: &'b Program, now: u64) -> Self {
        let (generated, loaded) = match bench.load(program) {
            Ok(loaded) => loaded,
            Err(error) => panic!("{error}\n{program:?}"),
        };
        let mut memory = Memory::zeroed();
        memory.flow.mss = 1448;
        memory.flow.pace_ss = 200;
        memory.flow.pace_ca = 120;
        memory.socket.snd_cwnd_clamp = 1 << 20;
        memory.socket.snd_ssthresh = 1 << 10;
        memory.socket.srtt_us = 8 * 20_000;
        memory.socket.sk_max_pacing_rate = u64::MAX;
        memory.socket.hot.mark = ARRAY_HANDLE;
        memory.flow.sock_id = SOCK_ID;
        memory.flow.generation = GENERATION;
        memory.flow.program_uid = UID;
        memory.flow.micros_base_us = now;
        // What is not a variable may hold anything.
        memory.flow.reg.fill(0xdead_dead_dead_dead);
        memory.flow.reg[REG_CWND] = 0;
        memory.flow.reg[REG_RATE] = 0;
        memory.flow.reg[REG_CONTROL..][..generated.defaults.len()]
            .copy_from_slice(&generated.defaults);
        Self {
            bench,
            program,
            loaded,
            generated,
            reference: Registers::new(program, now),
            memory,
            sent: Vec::new(),
        }
    }

    /// The flow, with what is newer in the socket.
    fn flow(&self) -> Flow {
        let Memory { mut flow, socket } = self.memory;
        let hot = &socket.hot;
        if hot.mark & HOT_WORDS != 0 {
            // SAFETY: nothing but integers, without gaps.
            let bytes: [u8; size_of::<Hot>()] = unsafe { std::mem::transmute(*hot) };
            for r in self.generated.hot.iter().flatten() {
                let mut value = [0; 8];
                value[..r.bytes].copy_from_slice(&bytes[r.at as usize..][..r.bytes]);
                flow.reg[r.register] = u64::from_le_bytes(value);
            }
        }
        if hot.mark & HOT_FRAME != 0 {
            flow.reg[REG_CWND] = hot.cwnd;
            flow.applied_cwnd = hot.applied_cwnd;
        }
        flow
    }

    /// What a program does before it gives way to the glue.
    fn take_back(&mut self) {
        self.memory.flow = self.flow();
        self.memory.socket.hot.mark = ARRAY_HANDLE;
    }

    /// What a callback of the glue does, and what happens to the socket between two acknowledgements.
    pub(crate) fn disturb(&mut self, rng: &mut Rng) {
        if rng.percent(10) {
            let whole = self.flow();
            let (flow, hot) = (&mut self.memory.flow, &mut self.memory.socket.hot);
            if hot.mark & HOT_FRAME != 0 {
                flow.reg[REG_CWND] = whole.reg[REG_CWND];
                flow.applied_cwnd = whole.applied_cwnd;
                hot.mark &= !HOT_FRAME;
            }
        }
        let socket = &mut self.memory.socket;
        socket.srtt_us = rng.pick(&[0, 1, 100, 8 * 20_000, 8 * 20_000, u32::MAX]);
        socket.packets_out = rng.pick(&[0, 1, 12, 1 << 20]);
        if rng.percent(10) {
            socket.snd_cwnd = 1 + rng.below(100) as u32;
            // What the glue does with it: nothing, here.
            self.take_back();
            self.memory.flow.applied_cwnd = self.memory.socket.snd_cwnd;
        }
    }

    /// An update by the agent, on both sides.
    fn update(&mut self, rng: &mut Rng) {
        let value = value(rng);
        let controls = self.reference.control.len();
        match rng.below(2 + controls) {
            i @ (0 | 1) => self.set_writable(i, value),
            i => self.set_control(i - 2, value),
        }
    }

    /// Sets the window (0) or the rate (1) on both sides.
    pub(crate) fn set_writable(&mut self, i: usize, value: u64) {
        self.take_back();
        self.reference.writable[i] = value;
        self.memory.flow.reg[[REG_CWND, REG_RATE][i]] = value;
    }

    /// Sets a control variable on both sides.
    pub(crate) fn set_control(&mut self, i: usize, value: u64) {
        self.take_back();
        self.reference.control[i] = value;
        self.memory.flow.reg[REG_CONTROL + i] = value;
    }

    /// Sets a report variable on both sides.
    pub(crate) fn set_report(&mut self, i: usize, value: u64) {
        self.take_back();
        self.reference.report[i] = value;
        self.memory.flow.reg[REG_CONTROL + self.reference.control.len() + i] = value;
    }

    /// One invocation on both sides.
    pub(crate) fn step(
        &mut self,
        measured: &[u64],
        now: u64,
        seen: &mut Seen,
    ) -> Result<(), String> {
        let flow = &mut self.memory.flow;
        for (i, value) in flow.prim.iter_mut().enumerate() {
            // The glue may leave out what the program does not read.
            let reads = self.generated.prim_mask >> i & 1 == 1;
            *value = match measured.get(i) {
                Some(&value) if reads => value,
                _ => NOT_LOADED,
            };
        }
        flow.reg[REG_MICROS] = now.wrapping_sub(flow.micros_base_us);
        flow.reg[REG_SSTHRESH] = flow.prim[PRIM_SSTHRESH];
        if let Some(ssthresh) = self.reference.writable.get_mut(2) {
            *ssthresh = flow.prim[PRIM_SSTHRESH];
        }
        // The glue has done what was due.
        flow.due = 0;
        let (before, socket) = (*flow, self.memory.socket);
        self.bench.set(self.memory);
        self.bench.run(&self.loaded);
        self.memory = self.bench.get();
        let flow = self.memory.flow;
        seen.runs += 1;
        if socket.hot.mark == ARRAY_HANDLE | HOT_WORDS | HOT_FRAME {
            let storage = |flow: &Flow| (flow.reg, flow.applied_cwnd, flow.mss);
            if storage(&flow) == storage(&before) && self.memory.socket.hot.mark == socket.hot.mark
            {
                seen.ordinary += 1;
            } else {
                seen.gave_up += 1;
            }
        }

        match self.reference.invoke(self.program, measured, now) {
            Err(_) => {
                seen.faults += 1;
                equal("faults", flow.faults, before.faults + 1)?;
                equal("fault_run", flow.fault_run, before.fault_run + 1)?;
                equal("reports", flow.reports, before.reports)?;
                equal("ring_full", flow.ring_full, before.ring_full)?;
                equal("merged", flow.merged, before.merged)?;
                // Loaded anew before the next invocation, and not applied.
                if let Some(ssthresh) = self.reference.writable.get_mut(2) {
                    *ssthresh = flow.reg[REG_SSTHRESH];
                }
            }
            Ok(outcome) => {
                equal("faults", flow.faults, before.faults)?;
                equal("fault_run", flow.fault_run, 0)?;
                self.report(outcome, &before, seen)?;
            }
        }
        self.reference.writable[0] = self.allowed(self.reference.writable[0]);
        self.registers()?;
        let applied = applied(&Memory {
            flow: Flow {
                flags: before.flags,
                prr_cwnd: before.prr_cwnd,
                ..self.flow()
            },
            socket: Socket {
                snd_ssthresh: self.memory.socket.snd_ssthresh,
                ..socket
            },
        });
        let socket = Socket {
            hot: self.memory.socket.hot,
            ..applied.socket
        };
        equal("socket", self.memory.socket, socket)?;
        equal(
            "applied",
            self.flow().applied_cwnd,
            applied.flow.applied_cwnd,
        )?;
        equal("measurements", flow.prim, before.prim)?;
        equal("program", flow.program_uid, UID)?;
        Ok(())
    }

    /// A window after it was applied: no more than the socket may have.
    pub(crate) fn allowed(&self, cwnd: u64) -> u64 {
        let most = self.memory.socket.snd_cwnd_clamp.min(MAX_CWND_PACKETS);
        let mss = u64::from(self.memory.flow.mss);
        if cwnd / mss > most.into() {
            u64::from(most) * mss
        } else {
            cwnd
        }
    }

    fn report(&mut self, outcome: Outcome, before: &Flow, seen: &mut Seen) -> Result<(), String> {
        let flow = &self.memory.flow;
        let accepted = flow.reports - before.reports;
        let refused = flow.ring_full - before.ring_full;
        equal(
            "reports decided",
            accepted + refused,
            u32::from(outcome.report),
        )?;
        if accepted == 1 {
            seen.reports += 1;
            self.sent.push(MeasureBuf {
                sock_id: SockId(SOCK_ID),
                program_uid: UID,
                fields: self.reference.report.clone(),
                trailer: Some(ReportTrailer {
                    generation: GENERATION,
                    merged: before.merged,
                }),
                totals: None,
            });
            equal("merged", flow.merged, 0)?;
            self.reference.reported(self.program);
        } else {
            seen.merged += u64::from(refused);
            equal("merged", flow.merged, before.merged + refused)?;
        }
        Ok(())
    }

    fn registers(&self) -> Result<(), String> {
        let flow = self.flow();
        // What nobody reads any more may be anything.
        let part = |from: usize, expected: &[u64]| -> Vec<u64> {
            let value = |(i, expected): (usize, &u64)| {
                if self.generated.stale.contains(&(from + i)) {
                    *expected
                } else {
                    flow.reg[from + i]
                }
            };
            expected.iter().enumerate().map(value).collect()
        };
        let r = &self.reference;
        equal(
            "window and rate",
            part(REG_CWND, &r.writable[..2]),
            &r.writable[..2],
        )?;
        if let Some(ssthresh) = r.writable.get(2) {
            equal("ssthresh", flow.reg[REG_SSTHRESH], *ssthresh)?;
        }
        equal("controls", part(REG_CONTROL, &r.control), &r.control[..])?;
        let reports = REG_CONTROL + r.control.len();
        equal("reports", part(reports, &r.report), &r.report[..])?;
        let locals = reports + r.report.len();
        equal("locals", part(locals, &r.local), &r.local[..])?;
        equal("micros", flow.micros_base_us, r.micros_zero)
    }

    pub(crate) fn read_ring(&mut self) -> Result<(), String> {
        equal(
            "frames",
            self.bench.take_reports(),
            std::mem::take(&mut self.sent),
        )
    }
}

impl std::fmt::Display for Pair<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.generated)
    }
}

fn equal<T: PartialEq<U> + std::fmt::Debug, U: std::fmt::Debug>(
    what: &str,
    got: T,
    expected: U,
) -> Result<(), String> {
    if got == expected {
        Ok(())
    } else {
        Err(format!("{what}: got {got:?}, expected {expected:?}"))
    }
}

/// No losses, no marks, no timeout, no recovery.
pub(crate) fn nothing_rare(measured: &mut [u64]) {
    for primitive in [1, 2, 3, 4, 7, 14, 25, 27] {
        if let Some(value) = measured.get_mut(primitive) {
            *value = 0;
        }
    }
}

/// `program` for as many invocations, of which at `tame` in a hundred nothing rare happens.
fn compare(
    bench: &Bench,
    seed: u64,
    rng: &mut Rng,
    program: &Program,
    invocations: usize,
    tame: usize,
    seen: &mut Seen,
) {
    // Clocks wrap and start anywhere.
    let mut now = value(rng);
    let mut pair = Pair::new(bench, program, now);
    seen.saved = seen.saved.max(pair.generated.saved);
    pair.memory.socket.snd_cwnd_clamp = rng.pick(&[1 << 20, u32::MAX, 40]);
    for invocation in 0..invocations {
        now = now.wrapping_add(rng.bits() % 10_000);
        if rng.percent(20) {
            pair.update(rng);
        }
        pair.disturb(rng);
        let mut measured = measurements(rng, program, now);
        if rng.percent(tame) {
            nothing_rare(&mut measured);
        }
        assert_eq!(measured[PRIM_NOW], now);
        let mut result = pair.step(&measured, now, seen);
        if result.is_ok() && rng.percent(2) {
            result = pair.read_ring();
        }
        if let Err(difference) = result {
            panic!(
                "seed {seed}, invocation {invocation}: {difference}\nmeasured {measured:?} at {now}\n{program:#?}\n{}",
                pair.generated
            );
        }
    }
    pair.read_ring()
        .unwrap_or_else(|e| panic!("seed {seed}: {e}"));
}

pub(crate) fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |v| v.parse().expect("a number"))
}

#[test]
fn root_random_programs_do_what_the_reference_does() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    let first = number("CCP_CODEGEN_SEED", 1);
    let mut seen = Seen::default();
    for seed in first..first + number("CCP_CODEGEN_PROGRAMS", 3000) {
        let mut rng = Rng::new(seed);
        let shape = Shape::random(&mut rng, 255);
        let program = program(&mut rng, &shape);
        compare(&bench, seed, &mut rng, &program, 60, 70, &mut seen);
    }
    eprintln!("{seen:?}");
    if seen.runs > 10_000 {
        assert!(seen.faults * 10 > seen.runs && seen.faults * 10 < seen.runs * 9);
        assert!(seen.reports * 20 > seen.runs);
        assert!(seen.merged * 500 > seen.runs);
    }
}

/// Small ones that seldom fault, so that most invocations are ordinary.
#[test]
fn root_ordinary_invocations_do_what_the_reference_does() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(1 << 16);
    let first = number("CCP_CODEGEN_SEED", 1);
    let mut seen = Seen::default();
    for seed in first..first + number("CCP_CODEGEN_PROGRAMS", 3000) {
        let mut rng = Rng::new(seed);
        let shape = Shape {
            instructions: 1 + rng.below(60),
            clauses: 1 + rng.below(8),
            controls: 1 + rng.below(6),
            reports: 1 + rng.below(6),
            locals: rng.below(6) as u16,
            temps: 1 + rng.below(6) as u16,
            wild: 0,
            ..Shape::random(&mut rng, 60)
        };
        let mut program = program(&mut rng, &shape);
        for clause in &mut program.clauses {
            let insts = clause.condition.iter_mut().chain(&mut clause.body);
            for inst in insts {
                tame(&mut rng, inst);
            }
        }
        compare(&bench, seed, &mut rng, &program, 60, 90, &mut seen);
    }
    eprintln!("{seen:?}");
    if seen.runs > 10_000 {
        assert!(seen.ordinary * 5 > seen.runs, "{seen:?}");
        assert!(seen.gave_up * 50 > seen.runs, "{seen:?}");
        assert!(seen.reports * 50 > seen.runs, "{seen:?}");
    }
}

/// The same instruction, or one that faults and reports less often.
fn tame(rng: &mut Rng, inst: &mut Inst) {
    match inst {
        Inst::Binary { op, .. } if op.can_fault() && rng.percent(80) => {
            *op = rng.pick(&[BinaryOp::Min, BinaryOp::Max, BinaryOp::Lt, BinaryOp::Or]);
        }
        Inst::Report if rng.percent(70) => *inst = Inst::Fallthrough,
        Inst::Move { dst, .. } | Inst::Binary { dst, .. }
            if matches!(dst, Reg::Micros | Reg::Writable(2..)) && rng.percent(80) =>
        {
            *dst = Reg::CWND;
        }
        _ => {}
    }
}

/// So large that bodies no longer stand aside, and that jumps go through relays.
#[test]
fn root_large_programs_do_what_the_reference_does() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(1 << 16);
    let first = number("CCP_CODEGEN_SEED", 1);
    let (mut seen, mut longest) = (Seen::default(), 0);
    for seed in first..first + 40 {
        let mut rng = Rng::new(seed);
        let shape = Shape {
            instructions: 300 + rng.below(2500),
            clauses: 1 + rng.below(40),
            controls: 1 + rng.below(18),
            reports: 1 + rng.below(20),
            locals: rng.below(20) as u16,
            temps: 4 + rng.below(12) as u16,
            wild: 0,
            ..Shape::default()
        };
        let mut program = program(&mut rng, &shape);
        // Long ones, of which some stand aside, and which do not fault.
        for inst in program.clauses.iter_mut().flat_map(|c| &mut c.body) {
            if let Inst::Binary { op, dst, a, .. } = *inst
                && matches!(dst, Reg::Report(_) | Reg::Local(_))
                && op != BinaryOp::Mul
            {
                *inst = Inst::Ewma {
                    dst,
                    weight: Operand::Imm(rng.below(11) as u64),
                    sample: a,
                };
            }
        }
        compare(&bench, seed, &mut rng, &program, 40, 70, &mut seen);
        longest = longest.max(bench.load(&program).unwrap().0.insns.len());
    }
    eprintln!("{seen:?}, at most {longest} instructions");
    assert!(longest > 15_000, "{longest}");
    assert!(seen.runs - seen.faults > seen.runs / 10, "{seen:?}");
}

/// All variables written, then perhaps a fault, then something random.
fn writes_much(rng: &mut Rng) -> Program {
    let shape = Shape {
        instructions: 30,
        clauses: 2,
        controls: 18,
        reports: 40,
        locals: 22,
        temps: 12,
        wild: 1,
        ..Shape::default()
    };
    let mut program = program(rng, &shape);
    let variables = (0..18)
        .map(Reg::Control)
        .chain((0..40).map(Reg::Report))
        .chain((0..22).map(Reg::Local))
        .chain([Reg::CWND, Reg::RATE]);
    let mut body: Vec<Inst> = variables
        .map(|dst| Inst::Binary {
            op: rng.pick(&[BinaryOp::Max, BinaryOp::Min, BinaryOp::WrappedMax]),
            dst,
            a: dst.into(),
            b: Operand::Primitive(rng.below(15) as u16),
        })
        .collect();
    let was_timeout = 14;
    body.push(Inst::Binary {
        op: BinaryOp::Div,
        dst: Reg::CWND,
        a: Operand::Imm(1 << 40),
        b: Operand::Primitive(was_timeout),
    });
    body.push(Inst::Fallthrough);
    program.clauses.insert(
        0,
        Clause {
            body,
            ..Clause::default()
        },
    );
    program
}

#[test]
fn root_roll_back_beyond_the_stack() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(1 << 16);
    let mut seen = Seen::default();
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let program = writes_much(&mut rng);
        compare(&bench, seed, &mut rng, &program, 100, 0, &mut seen);
    }
    eprintln!("{seen:?}");
    assert_eq!(seen.saved, 82);
    assert!(
        seen.faults > 1000 && seen.faults + 1000 < seen.runs,
        "{seen:?}"
    );
}
