//! Random programs, as IR and as text, do the same on libccp's machine and in the reference
//! semantics.

use ccp_program::testing::Rng;
use ccp_program::{BinaryOp, Clause, Inst, Limits, Operand, Program, Reg, verify};

use super::{lower, same};
use crate::testing;
use crate::tests::good;

const TEMPS: u16 = 4;

/// Structured blocks as a compiler makes them: `if`, `else`, results in temporaries.
struct Generator {
    rng: Rng,
    /// Temporaries that have a value here.
    written: Vec<bool>,
}

impl Generator {
    fn operand(&mut self) -> Operand {
        match self.rng.below(10) {
            0..=1 => Operand::Imm(self.rng.pick(&[0, 1, 1, 2, 3, 10, 4000])),
            2 => Operand::Primitive(self.rng.pick(&[0, 4, 13, 14])),
            3 => Operand::Reg(self.rng.pick(&[Reg::CWND, Reg::RATE, Reg::Micros])),
            4 => Operand::Reg(Reg::Control(self.rng.below(3) as u16)),
            5 => Operand::Reg(Reg::Report(self.rng.below(3) as u16)),
            6 => Operand::Reg(Reg::Local(self.rng.below(2) as u16)),
            _ => {
                let temp = self.rng.below(usize::from(TEMPS)) as u16;
                if self.written[usize::from(temp)] {
                    Operand::Reg(Reg::Temp(temp))
                } else {
                    Operand::Reg(Reg::Report(2))
                }
            }
        }
    }

    fn target(&mut self, temps_only: bool) -> Reg {
        let temp = self.rng.below(usize::from(TEMPS)) as u16;
        if temps_only || self.rng.below(2) == 0 {
            return Reg::Temp(temp);
        }
        match self.rng.below(6) {
            0 => self.rng.pick(&[Reg::CWND, Reg::RATE, Reg::Micros]),
            1 | 2 => Reg::Report(self.rng.below(3) as u16),
            3 => Reg::Control(self.rng.below(3) as u16),
            _ => Reg::Local(self.rng.below(2) as u16),
        }
    }

    fn wrote(&mut self, reg: Reg) {
        if let Reg::Temp(temp) = reg {
            self.written[usize::from(temp)] = true;
        }
    }

    fn block(&mut self, depth: u32, condition: bool) -> Vec<Inst> {
        let mut out = Vec::new();
        for _ in 0..1 + self.rng.below(4) {
            self.inst(&mut out, depth, condition);
        }
        out
    }

    fn inst(&mut self, out: &mut Vec<Inst>, depth: u32, condition: bool) {
        match self.rng.below(12) {
            0..=4 => {
                let op = self.rng.pick(&BinaryOp::ALL);
                let (a, b) = (self.operand(), self.operand());
                let dst = self.target(condition);
                out.push(Inst::Binary { op, dst, a, b });
                self.wrote(dst);
            }
            5 | 6 => {
                let src = self.operand();
                let dst = self.target(condition);
                out.push(Inst::Move { dst, src });
                self.wrote(dst);
            }
            7 if !condition => {
                let inst = self.rng.pick(&[Inst::Report, Inst::Fallthrough]);
                out.push(inst);
            }
            8 if !condition => {
                let sample = self.operand();
                out.push(Inst::Ewma {
                    dst: self.rng.pick(&[Reg::Report(0), Reg::RATE, Reg::Local(1)]),
                    weight: Operand::Imm(self.rng.bits() % 11),
                    sample,
                });
            }
            _ if depth > 0 => {
                let cond = self.operand();
                let before = self.written.clone();
                let mut then = self.block(depth - 1, condition);
                let after_then = std::mem::replace(&mut self.written, before.clone());
                let els = if self.rng.below(2) == 0 {
                    self.block(depth - 1, condition)
                } else {
                    vec![]
                };
                for (written, then) in self.written.iter_mut().zip(after_then) {
                    *written &= then;
                }
                if !els.is_empty() {
                    then.push(Inst::Skip {
                        count: els.len() as u16,
                    });
                }
                let count = then.len() as u16;
                out.push(if self.rng.below(2) == 0 {
                    Inst::SkipUnless { cond, count }
                } else {
                    Inst::SkipIf { cond, count }
                });
                out.extend(then);
                out.extend(els);
            }
            _ => {}
        }
    }

    fn program(&mut self, base: &Program) -> Program {
        let mut program = base.clone();
        let table = ccp_program::RegisterTable::libccp();
        program.primitives = table.primitives().to_vec();
        program.controls[2].default = 1 << 20;
        program.temps = TEMPS;
        program.clauses = (0..1 + self.rng.below(3))
            .map(|_| {
                self.written = vec![false; usize::from(TEMPS)];
                let condition = self.block(2, true);
                let test = Some(self.operand());
                let body = self.block(3, false);
                Clause {
                    condition,
                    test,
                    body,
                }
            })
            .collect();
        program
    }

    fn acks(&mut self) -> Vec<(u64, Vec<u64>)> {
        let mut now = 0;
        (0..12)
            .map(|_| {
                now += self.rng.bits() % 50_000;
                let mut prims: Vec<u64> = (0..14).map(|_| self.rng.bits() % 5000).collect();
                prims[4] = self.rng.bits() % 2;
                prims.push(self.rng.bits() % 2);
                (now, prims)
            })
            .collect()
    }
}

#[test]
fn random_blocks_with_skips() {
    let base = good(
        "(def (Report (volatile a 0) (flag false) (c 3)) (d 5) (volatile e true) (f +infinity))
         (when true (:= g 1) (:= h true) (:= Report.c g) (:= Report.flag h) (report))",
    )
    .program;
    let mut fitting = 0;
    for seed in 0..4000 {
        let mut generator = Generator {
            rng: Rng::new(seed),
            written: Vec::new(),
        };
        let program = generator.program(&base);
        verify(&program, &Limits::MAX).expect("the generator makes good programs");
        if lower(&program).is_err() {
            continue;
        }
        fitting += 1;
        let acks = generator.acks();
        same(&program, &acks);
    }
    assert!(fitting > 3500, "only {fitting} fit libccp");
}

#[test]
fn random_texts() {
    let table = ccp_program::RegisterTable::libccp();
    let mut fitting = 0;
    for seed in 0..400 {
        let mut rng = Rng::new(seed);
        let source = testing::program(&mut rng, &table);
        let program = good(&source).program.bind(&table).expect("what libccp has");
        if lower(&program).is_err() {
            continue;
        }
        fitting += 1;
        let mut generator = Generator {
            rng,
            written: Vec::new(),
        };
        let acks = generator.acks();
        same(&program, &acks);
    }
    assert!(fitting > 100, "only {fitting} fit libccp");
}
