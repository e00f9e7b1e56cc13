use ccp_program::interp::{Outcome, Registers};
use ccp_program::testing::{self, Rng, Shape};
use ccp_program::{Fault, Limits, Program, verify};

use super::{Code, File, Inputs, invoke};

mod language;

/// One flow that runs a program here and in the interpreter, step by step.
struct Pair {
    program: Program,
    code: Code,
    judge: Registers,
    file: File,
    zero: u64,
}

impl Pair {
    fn new(program: Program, now: u64) -> Self {
        verify(&program, &Limits::MAX).unwrap();
        let code = Code::new(&program).unwrap();
        let judge = Registers::new(&program, now);
        let file = code.start(&judge.writable);
        Self {
            program,
            code,
            judge,
            file,
            zero: now,
        }
    }

    fn step(&mut self, measured: &[u64], now: u64) -> Result<bool, Fault> {
        let expected = self.judge.invoke(&self.program, measured, now);
        let code = &self.code;
        let inputs = Inputs {
            measured,
            zero: &[],
            now: measured[5],
            was_timeout: measured[14] != 0,
            mss: measured.get(15).copied().unwrap_or(0),
            micros: now.wrapping_sub(self.zero),
        };
        let outcome = invoke(code, &mut self.file, &inputs);
        let got = outcome.report;
        assert_eq!(got, expected.map(|Outcome { report, .. }| report));
        assert_eq!([outcome.cwnd, outcome.rate], self.judge.writable[..2]);
        if got.is_ok() && code.writes_micros {
            self.zero = now.wrapping_sub(outcome.micros);
        }
        assert_eq!(self.zero, self.judge.micros_zero);
        self.same();
        if got == Ok(true) {
            self.judge.reported(&self.program);
            for (place, value) in &code.volatile {
                self.file.set(usize::from(*place), *value);
            }
            self.same();
        }
        got
    }

    fn same(&self) {
        let all = self.file.all();
        assert_eq!(&all[..self.code.writables], self.judge.writable);
        assert_eq!(&all[self.code.reports.clone()], self.judge.report);
        let controls = self.code.controls.iter().map(|p| all[usize::from(*p)]);
        assert_eq!(controls.collect::<Vec<_>>(), self.judge.control);
    }
}

#[test]
fn random_programs_do_what_the_interpreter_says() {
    // As many again with other seeds: raise this number.
    let rounds = 4_000;
    let mut rng = Rng::new(7);
    let (mut faults, mut reports, mut runs) = (0, 0, 0);
    for _ in 0..rounds {
        let shape = Shape::random(&mut rng, 255);
        let program = testing::program(&mut rng, &shape);
        let mut now = rng.bits() % 1_000_000;
        let mut pair = Pair::new(program, now);
        for _ in 0..20 {
            now += rng.bits() % 10_000;
            let measured = testing::measurements(&mut rng, &pair.program, now);
            runs += 1;
            match pair.step(&measured, now) {
                Ok(report) => reports += usize::from(report),
                Err(_) => faults += 1,
            }
        }
    }
    assert!(
        faults * 20 > runs && reports * 20 > runs,
        "{faults} {reports} of {runs}"
    );
}

/// More registers and constants than narrow places reach.
#[test]
fn large_programs_do_what_the_interpreter_says() {
    let mut rng = Rng::new(11);
    for _ in 0..30 {
        let shape = Shape {
            instructions: 1500,
            clauses: 30,
            controls: 100,
            reports: 100,
            locals: 100,
            temps: 50,
            wild: 1,
            ..Shape::default()
        };
        let program = testing::program(&mut rng, &shape);
        let mut pair = Pair::new(program, 0);
        assert!(matches!(pair.file, File::Wide(_)));
        for now in 0..10 {
            let measured = testing::measurements(&mut rng, &pair.program, now);
            let _ = pair.step(&measured, now);
        }
    }
}

/// What the compiler makes of real programs, with conditions that become jumps.
#[test]
fn programs_of_algorithms_do_what_the_interpreter_says() {
    use ccp_core::CongAlg as _;
    let reno = algs::reno::Reno::new(algs::reno::Config::default()).unwrap();
    let cubic = algs::cubic::Cubic::from_params(&ccp_core::Params::empty("cubic")).unwrap();
    let programs = reno.programs().into_iter().chain(cubic.programs());
    let table = ccp_program::RegisterTable::well_known();
    let mut rng = Rng::new(3);
    for compiled in programs {
        let program = compiled.ir().bind(&table).unwrap();
        let mut pair = Pair::new(program, 0);
        let mut now = 0;
        for _ in 0..5_000 {
            now += rng.bits() % 5_000;
            let measured: Vec<u64> = pair
                .program
                .primitives
                .iter()
                .map(|def| match &*def.name {
                    "Ack.now" => now,
                    "Flow.recovery_state" => rng.bits() % 5,
                    "Flow.mss" => 1448,
                    _ if def.ty == ccp_program::Type::Bool => u64::from(rng.percent(30)),
                    _ => rng.bits() % 50_000,
                })
                .collect();
            let _ = pair.step(&measured, now);
        }
    }
}

#[test]
fn comparisons_that_are_only_looked_at_leave_no_trace() {
    let source = "(def (Report (volatile acked 0)) (threshold 10))
        (when (&& (> Ack.bytes_acked 5) (|| (> Micros threshold) (== Ack.ecn_bytes 1)))
            (:= Report.acked (+ Report.acked 1))
            (if (>= Report.acked 3) (report)))";
    let table = ccp_program::RegisterTable::libccp();
    let program = ccp_lang::compile(source, &table).unwrap().program;
    let program = program.bind(&table).unwrap();
    let code = Code::new(&program).unwrap();
    let super::decode::Ops::Of32(ops) = &code.ops else {
        panic!("it is small");
    };
    // Three jumps, the sum, a jump, the report, the end.
    assert_eq!(ops.len(), 7, "{ops:?}");
    assert_eq!(code.file_bytes(), 256);
    assert_eq!(code.waits.len(), 1);
}
