//! Random programs that pass the verifier, for property tests of back ends (feature `testing`).
//!
//! Everything follows from a seed: a failing test names it and runs again the same way.
//!
//! ```
//! use ccp_program::testing::{Rng, Shape, measurements, program};
//! use ccp_program::{Limits, interp::Registers, verify};
//!
//! let mut rng = Rng::new(7);
//! let program = program(&mut rng, &Shape::default());
//! verify(&program, &Limits::MAX).unwrap();
//! let mut registers = Registers::new(&program, 0);
//! let measured = measurements(&mut rng, &program, 1_000_000);
//! let _ = registers.invoke(&program, &measured, 1_000_000);
//! ```

use crate::program::{BinaryOp, Clause, Inst, Operand, Program, Reg, Variable};
use crate::register::{RegisterTable, Type};

/// Numbers at which arithmetic, widths and conventions change.
pub const EDGES: [u64; 20] = [
    0,
    1,
    2,
    9,
    10,
    11,
    0x3fff_ffff,
    0x7fff_ffff,
    0x8000_0000,
    u32::MAX as u64 - 1,
    u32::MAX as u64,
    1 << 32,
    (1 << 32) + 1,
    (1 << 60) - 1,
    1 << 60,
    i64::MAX as u64,
    1 << 63,
    u64::MAX / 10,
    u64::MAX - 1,
    u64::MAX,
];

/// A small generator of pseudo-random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// The generator that this seed stands for.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number, any 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; 0 if `end` is 0.
    pub const fn below(&mut self, end: usize) -> usize {
        if end == 0 {
            0
        } else {
            (self.bits() % end as u64) as usize
        }
    }

    /// True that many times in a hundred.
    pub const fn percent(&mut self, chance: usize) -> bool {
        self.below(100) < chance
    }

    /// One of them.
    ///
    /// # Panics
    /// If there is none.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.below(from.len());
        *from.get(at).expect("there is something to pick from")
    }
}

/// What random programs look like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// How many instructions, conditions and bodies together.
    pub instructions: usize,
    /// How many clauses, at least 1.
    pub clauses: usize,
    /// How many control variables.
    pub controls: usize,
    /// How many report variables; without any, nothing is reported.
    pub reports: usize,
    /// How many local variables.
    pub locals: u16,
    /// How many temporaries.
    pub temps: u16,
    /// What there is to measure and to write.
    pub table: RegisterTable,
    /// In a hundred operations, how many take whatever operands come: most such soon fault. The
    /// others have operands with which they mostly do not.
    pub wild: usize,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            instructions: 40,
            clauses: 4,
            controls: 3,
            reports: 5,
            locals: 3,
            temps: 6,
            table: RegisterTable::well_known(),
            wild: 20,
        }
    }
}

impl Shape {
    /// A random shape with up to `instructions` instructions; small programs are the rule.
    pub fn random(rng: &mut Rng, instructions: usize) -> Self {
        let most = if rng.percent(80) {
            instructions.min(40)
        } else {
            instructions
        };
        let (clauses, reports) = if rng.percent(80) { (4, 6) } else { (16, 30) };
        Self {
            instructions: 1 + rng.below(most),
            clauses: 1 + rng.below(clauses),
            controls: rng.below(5),
            reports: rng.below(reports),
            locals: rng.below(5) as u16,
            temps: rng.below(8) as u16,
            wild: rng.pick(&[0, 2, 10, 50]),
            ..Self::default()
        }
    }
}

/// Any number: an edge, a small one, or one of any size.
pub fn value(rng: &mut Rng) -> u64 {
    match rng.below(4) {
        0 => rng.pick(&EDGES),
        1 => rng.bits() % 100,
        // A neighbour of an edge.
        2 => rng
            .pick(&EDGES)
            .wrapping_add(rng.bits() % 5)
            .wrapping_sub(2),
        _ => rng.bits() >> rng.below(64),
    }
}

/// What `program` measures on one acknowledgement at `now_us`.
pub fn measurements(rng: &mut Rng, program: &Program, now_us: u64) -> Vec<u64> {
    let tame = rng.percent(70);
    program
        .primitives
        .iter()
        .map(|def| match (&*def.name, def.ty) {
            ("Ack.now", _) => now_us,
            (_, Type::Bool) => rng.bits() % 2,
            _ if tame => rng.bits() % 100_000,
            _ => value(rng),
        })
        .collect()
}

/// A program of this shape. It passes [`verify`](crate::verify) if the shape is within the limits.
pub fn program(rng: &mut Rng, shape: &Shape) -> Program {
    let mut variables = |what: &str, count: usize| -> Vec<Variable> {
        (0..count)
            .map(|i| Variable {
                name: format!("{what}{i}"),
                ty: Type::Num,
                volatile: rng.percent(50),
                default: value(rng),
            })
            .collect()
    };
    let mut program = Program {
        primitives: shape.table.primitives().to_vec(),
        writables: shape.table.writables().to_vec(),
        controls: variables("control", shape.controls),
        reports: variables("report", shape.reports),
        locals: shape.locals,
        temps: shape.temps,
        clauses: Vec::new(),
        own_recovery: rng.percent(50),
    };
    let clauses = shape.clauses.max(1);
    for index in 0..clauses {
        let budget =
            shape.instructions * (index + 1) / clauses - shape.instructions * index / clauses;
        let clause = Maker {
            rng,
            program: &program,
            wild: shape.wild,
            written: vec![false; usize::from(shape.temps)],
        }
        .clause(budget);
        program.clauses.push(clause);
    }
    program
}

struct Maker<'m> {
    rng: &'m mut Rng,
    program: &'m Program,
    wild: usize,
    /// Temporaries that have a value here on every way, as the verifier sees it.
    written: Vec<bool>,
}

impl Maker<'_> {
    fn clause(&mut self, instructions: usize) -> Clause {
        let in_condition = if self.program.temps == 0 {
            0
        } else {
            self.rng.below(1 + instructions.min(6))
        };
        let condition = self.block(in_condition, true);
        let test = self.rng.percent(75).then(|| {
            if self.rng.percent(10) {
                Operand::Imm(self.rng.bits() % 2)
            } else {
                self.varying()
            }
        });
        let mut body = self.block(instructions - in_condition, false);
        // Few clauses that are always true end the program: behind them nothing would run.
        if let (None, Some(last)) = (test, body.last_mut())
            && self.rng.percent(98)
        {
            *last = Inst::Fallthrough;
        }
        Clause {
            condition,
            test,
            body,
        }
    }

    fn block(&mut self, length: usize, condition: bool) -> Vec<Inst> {
        let mut arriving: Vec<Option<Vec<bool>>> = vec![None; length + 1];
        let mut reachable = true;
        let mut insts = Vec::with_capacity(length);
        for at in 0..length {
            self.meet(arriving.get_mut(at).and_then(Option::take), &mut reachable);
            let inst = self.inst(length - at - 1, condition);
            match inst {
                Inst::Skip { count }
                | Inst::SkipIf { count, .. }
                | Inst::SkipUnless { count, .. } => {
                    if let Some(target) = arriving.get_mut(at + 1 + usize::from(count)) {
                        let here = self.written.clone();
                        match target {
                            Some(there) => there.iter_mut().zip(here).for_each(|(t, h)| *t &= h),
                            None => *target = Some(here),
                        }
                    }
                    reachable &= !matches!(inst, Inst::Skip { .. });
                }
                Inst::Binary { dst, .. } | Inst::Ewma { dst, .. } | Inst::Move { dst, .. } => {
                    if let Reg::Temp(t) = dst
                        && let Some(written) = self.written.get_mut(usize::from(t))
                    {
                        *written = true;
                    }
                }
                Inst::Report | Inst::Fallthrough => {}
            }
            insts.push(inst);
        }
        self.meet(arriving.pop().flatten(), &mut reachable);
        insts
    }

    fn meet(&mut self, arriving: Option<Vec<bool>>, reachable: &mut bool) {
        let Some(arriving) = arriving else { return };
        if *reachable {
            self.written
                .iter_mut()
                .zip(arriving)
                .for_each(|(here, there)| *here &= there);
        } else {
            self.written = arriving;
            *reachable = true;
        }
    }

    /// An instruction with `left` others behind it in its block.
    fn inst(&mut self, left: usize, condition: bool) -> Inst {
        let dst = self.destination(condition);
        match self.rng.below(20) {
            0..=2 if left > 0 => {
                let count = (1 + self.rng.below(left.min(8))) as u16;
                let cond = self.varying();
                match self.rng.below(5) {
                    0 => Inst::Skip { count },
                    1 | 2 => Inst::SkipIf { cond, count },
                    _ => Inst::SkipUnless { cond, count },
                }
            }
            3 if !condition && !self.program.reports.is_empty() => Inst::Report,
            4 if !condition => Inst::Fallthrough,
            5 | 6 => Inst::Move {
                dst,
                src: self.operand(),
            },
            7 | 8 => self.ewma(dst),
            _ => self.binary(dst),
        }
    }

    fn ewma(&mut self, dst: Reg) -> Inst {
        let readable = match dst {
            Reg::Temp(t) => self.written.get(usize::from(t)).copied().unwrap_or(false),
            _ => true,
        };
        if !readable {
            return self.binary(dst);
        }
        let weight = if self.rng.percent(self.wild) {
            self.operand()
        } else {
            Operand::Imm(self.rng.bits() % 11)
        };
        Inst::Ewma {
            dst,
            weight,
            sample: self.operand(),
        }
    }

    fn binary(&mut self, dst: Reg) -> Inst {
        let op = self.rng.pick(&BinaryOp::ALL);
        let (mut a, mut b) = (self.varying(), self.operand());
        if self.rng.percent(50) {
            (a, b) = (b, a);
        }
        if op.can_fault() && !self.rng.percent(self.wild) {
            let small = Operand::Imm(self.rng.bits() % 5);
            match op {
                BinaryOp::Add | BinaryOp::Mul if matches!(b, Operand::Reg(_)) => a = small,
                BinaryOp::Sub => {
                    a = self.readable().into();
                    b = Operand::Imm(self.rng.bits() % 2);
                }
                BinaryOp::Div => b = Operand::Imm(1 + value(self.rng) % 1000),
                _ => b = small,
            }
        }
        Inst::Binary { op, dst, a, b }
    }

    fn operand(&mut self) -> Operand {
        match self.rng.below(10) {
            0..=2 => Operand::Imm(value(self.rng)),
            3..=5 if !self.program.primitives.is_empty() => {
                Operand::Primitive(self.rng.below(self.program.primitives.len()) as u16)
            }
            _ => self.readable().into(),
        }
    }

    /// An operand that is seldom a constant: with constants alone everything is decided before the
    /// program runs.
    fn varying(&mut self) -> Operand {
        match self.operand() {
            Operand::Imm(_) if self.rng.percent(95) => self.readable().into(),
            operand => operand,
        }
    }

    fn readable(&mut self) -> Reg {
        let temps: Vec<u16> = (0..)
            .zip(&self.written)
            .filter_map(|(t, &written)| written.then_some(t))
            .collect();
        if !temps.is_empty() && self.rng.percent(40) {
            return Reg::Temp(self.rng.pick(&temps));
        }
        self.lasting()
    }

    fn destination(&mut self, condition: bool) -> Reg {
        if self.program.temps > 0 && (condition || self.rng.percent(40)) {
            return Reg::Temp(self.rng.below(usize::from(self.program.temps)) as u16);
        }
        self.lasting()
    }

    /// Any register but temporaries.
    fn lasting(&mut self) -> Reg {
        let p = self.program;
        let counts = [
            p.writables.len(),
            1,
            p.controls.len(),
            p.reports.len(),
            usize::from(p.locals),
        ];
        // Kinds first, so that the few are not lost among the many.
        let kinds: Vec<usize> = (0..counts.len())
            .filter(|&k| counts.get(k).is_some_and(|&c| c > 0))
            .collect();
        let kind = self.rng.pick(&kinds);
        let index = self.rng.below(counts.get(kind).copied().unwrap_or(0)) as u16;
        match kind {
            0 => Reg::Writable(index),
            1 => Reg::Micros,
            2 => Reg::Control(index),
            3 => Reg::Report(index),
            _ => Reg::Local(index),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::mem::discriminant;

    use super::*;
    use crate::interp::Registers;
    use crate::verify::{Limits, verify};

    #[test]
    fn programs_pass_the_verifier_and_cover_the_language() {
        let mut rng = Rng::new(1);
        let (mut ops, mut insts) = (HashSet::new(), HashSet::new());
        let (mut faults, mut reports, mut runs) = (0, 0, 0);
        for seed in 0..2000 {
            let shape = Shape::random(&mut rng, 255);
            let program = program(&mut rng, &shape);
            assert_eq!(program.len(), shape.instructions, "seed {seed}");
            verify(&program, &Limits::MAX).unwrap_or_else(|e| panic!("{e}: {program:?}"));
            for inst in program.clauses.iter().flat_map(|c| &c.body) {
                insts.insert(discriminant(inst));
                if let Inst::Binary { op, .. } = inst {
                    ops.insert(*op);
                }
            }
            let mut registers = Registers::new(&program, 0);
            for now in 0..20 {
                let measured = measurements(&mut rng, &program, now);
                runs += 1;
                match registers.invoke(&program, &measured, now) {
                    Ok(outcome) => reports += usize::from(outcome.report),
                    Err(_) => faults += 1,
                }
            }
        }
        assert_eq!(ops.len(), BinaryOp::ALL.len());
        assert_eq!(insts.len(), 8);
        // Neither kind of invocation is rare.
        assert!(
            faults * 10 > runs && faults * 4 < runs * 3,
            "{faults} of {runs}"
        );
        assert!(reports * 20 > runs, "{reports} of {runs}");
    }

    #[test]
    fn a_seed_always_gives_the_same() {
        let make = || program(&mut Rng::new(42), &Shape::default());
        assert_eq!(make(), make());
    }
}
