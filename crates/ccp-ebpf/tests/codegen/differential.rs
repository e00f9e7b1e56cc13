//! Random programs over random measurements: registers, faults and reports as the reference has
//! them.

use std::os::fd::OwnedFd;

use ccp_ebpf::codegen::Generated;
use ccp_ebpf::layout::{
    PRIM_NOW, PRIM_SSTHRESH, REG_CONTROL, REG_CWND, REG_MICROS, REG_RATE, REG_SSTHRESH,
};
use ccp_program::interp::Registers;
use ccp_program::testing::{Rng, Shape, measurements, program, value};
use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg, interp::Outcome};
use ccp_types::SockId;
use ccp_wire::{MeasureBuf, ReportTrailer};

use crate::harness::{Bench, Memory, can_load};

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
        memory.socket.snd_cwnd_clamp = 1 << 20;
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
        self.reference.writable[i] = value;
        self.memory.flow.reg[[REG_CWND, REG_RATE][i]] = value;
    }

    /// Sets a control variable on both sides.
    pub(crate) fn set_control(&mut self, i: usize, value: u64) {
        self.reference.control[i] = value;
        self.memory.flow.reg[REG_CONTROL + i] = value;
    }

    /// Sets a report variable on both sides.
    pub(crate) fn set_report(&mut self, i: usize, value: u64) {
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
        let before = *flow;
        self.bench.set(self.memory);
        self.bench.run(&self.loaded);
        self.memory = self.bench.get();
        let flow = self.memory.flow;
        seen.runs += 1;

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
        self.registers()?;
        equal("measurements", flow.prim, before.prim)?;
        equal("program", flow.program_uid, UID)?;
        Ok(())
    }

    fn report(
        &mut self,
        outcome: Outcome,
        before: &ccp_ebpf::layout::Flow,
        seen: &mut Seen,
    ) -> Result<(), String> {
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
        let flow = &self.memory.flow;
        let part = |from: usize, length: usize| &flow.reg[from..][..length];
        let r = &self.reference;
        equal("window and rate", part(REG_CWND, 2), &r.writable[..2])?;
        if let Some(ssthresh) = r.writable.get(2) {
            equal("ssthresh", flow.reg[REG_SSTHRESH], *ssthresh)?;
        }
        equal("controls", part(REG_CONTROL, r.control.len()), &r.control)?;
        let reports = REG_CONTROL + r.control.len();
        equal("reports", part(reports, r.report.len()), &r.report)?;
        let locals = reports + r.report.len();
        equal("locals", part(locals, r.local.len()), &r.local)?;
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

/// `program` for as many invocations.
fn compare(
    bench: &Bench,
    seed: u64,
    rng: &mut Rng,
    program: &Program,
    invocations: usize,
    seen: &mut Seen,
) {
    // Clocks wrap and start anywhere.
    let mut now = value(rng);
    let mut pair = Pair::new(bench, program, now);
    seen.saved = seen.saved.max(pair.generated.saved);
    for invocation in 0..invocations {
        now = now.wrapping_add(rng.bits() % 10_000);
        if rng.percent(20) {
            pair.update(rng);
        }
        let measured = measurements(rng, program, now);
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
        compare(&bench, seed, &mut rng, &program, 60, &mut seen);
    }
    eprintln!("{seen:?}");
    if seen.runs > 10_000 {
        assert!(seen.faults * 10 > seen.runs && seen.faults * 10 < seen.runs * 9);
        assert!(seen.reports * 20 > seen.runs);
        assert!(seen.merged * 200 > seen.runs);
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
        compare(&bench, seed, &mut rng, &program, 40, &mut seen);
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
        compare(&bench, seed, &mut rng, &program, 100, &mut seen);
    }
    eprintln!("{seen:?}");
    assert_eq!(seen.saved, 82);
    assert!(
        seen.faults > 1000 && seen.faults + 1000 < seen.runs,
        "{seen:?}"
    );
}
