//! Every operation on every pair of numbers at which something changes, in registers and as
//! constants.

use ccp_program::testing::{EDGES, Rng};
use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg, RegisterTable, Type, Variable};

use crate::differential::{Pair, Seen};
use crate::harness::{Bench, can_load};

fn program(inst: Inst) -> Program {
    let table = RegisterTable::libccp();
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        reports: vec![Variable {
            name: "result".into(),
            ty: Type::Num,
            volatile: false,
            default: 7,
        }],
        clauses: vec![Clause {
            body: vec![inst],
            ..Clause::default()
        }],
        ..Program::default()
    }
}

const A: Operand = Operand::Primitive(0);
const B: Operand = Operand::Primitive(1);
const RESULT: Reg = Reg::Report(0);

/// Runs `inst` for each pair as primitives 0 and 1; `old` is what the result held before.
fn check(bench: &Bench, inst: Inst, pairs: impl Iterator<Item = (u64, u64)>, old: u64) {
    let program = program(inst);
    let mut pair = Pair::new(bench, &program, 0);
    let mut seen = Seen::default();
    for (a, b) in pairs {
        pair.set_report(0, old);
        let mut measured = [0; 15];
        measured[0] = a;
        measured[1] = b;
        if let Err(difference) = pair.step(&measured, 0, &mut seen) {
            panic!("{inst:?} with {a:#x}, {b:#x}, before {old:#x}: {difference}\n{pair}");
        }
    }
}

fn pairs() -> impl Iterator<Item = (u64, u64)> {
    EDGES
        .into_iter()
        .flat_map(|a| EDGES.into_iter().map(move |b| (a, b)))
}

fn alone() -> impl Iterator<Item = (u64, u64)> {
    EDGES.into_iter().map(|a| (a, a))
}

#[test]
fn root_binary_operations() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    for op in BinaryOp::ALL {
        let inst = |a, b| Inst::Binary {
            op,
            dst: RESULT,
            a,
            b,
        };
        check(&bench, inst(A, B), pairs(), 7);
        check(&bench, inst(RESULT.into(), A), alone(), 3);
        for edge in EDGES {
            check(&bench, inst(A, Operand::Imm(edge)), alone(), 7);
            check(&bench, inst(Operand::Imm(edge), A), alone(), 7);
        }
    }
}

#[test]
fn root_products_around_the_largest() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    let mut rng = Rng::new(9);
    // The last factor that fits and the first that does not: carries matter here.
    let mut pairs = Vec::new();
    for _ in 0..2000 {
        let b = (rng.bits() >> rng.below(64)).max(2);
        let a = u64::MAX / b;
        pairs.extend([(a, b), (a + 1, b), (b, a), (b, a + 1)]);
    }
    let inst = |b| Inst::Binary {
        op: BinaryOp::Mul,
        dst: RESULT,
        a: A,
        b,
    };
    check(&bench, inst(B), pairs.into_iter(), 7);
    for b in [2, 3, 10, 0x7fff_ffff, 0x8000_0000, u64::MAX / 2, u64::MAX] {
        let a = u64::MAX / b;
        let around = [(a, 0), (a + 1, 0)].into_iter();
        check(&bench, inst(Operand::Imm(b)), around, 7);
    }
}

#[test]
fn root_binary_operations_on_constants() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    let some = [0, 1, 2, 10, u64::from(u32::MAX), 1 << 32, u64::MAX];
    for op in BinaryOp::ALL {
        for a in some {
            for b in some {
                let inst = Inst::Binary {
                    op,
                    dst: RESULT,
                    a: Operand::Imm(a),
                    b: Operand::Imm(b),
                };
                check(&bench, inst, [(0, 0)].into_iter(), 7);
            }
        }
    }
}

#[test]
fn root_averages() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    for weight in 0..=12 {
        for old in EDGES {
            let constant = Inst::Ewma {
                dst: RESULT,
                weight: Operand::Imm(weight),
                sample: A,
            };
            check(&bench, constant, alone(), old);
        }
    }
    for old in EDGES {
        let inst = Inst::Ewma {
            dst: RESULT,
            weight: A,
            sample: B,
        };
        let weights = (0..=11).chain([1 << 32, u64::MAX]);
        let pairs = weights.flat_map(|w| EDGES.into_iter().map(move |sample| (w, sample)));
        check(&bench, inst, pairs, old);
    }
}

#[test]
fn root_moves_and_skips_look_at_all_64_bits() {
    if !can_load() {
        return;
    }
    let bench = Bench::new(4096);
    for edge in EDGES {
        let inst = Inst::Move {
            dst: RESULT,
            src: Operand::Imm(edge),
        };
        check(&bench, inst, [(0, 0)].into_iter(), 7);
    }
    for wanted in [false, true] {
        let cond = A;
        let skip = if wanted {
            Inst::SkipIf { cond, count: 1 }
        } else {
            Inst::SkipUnless { cond, count: 1 }
        };
        let set = Inst::Move {
            dst: RESULT,
            src: Operand::Imm(1),
        };
        let mut program = program(skip);
        program.clauses[0].body.push(set);
        let mut seen = Seen::default();
        let mut pair = Pair::new(&bench, &program, 0);
        for (a, _) in alone() {
            pair.set_report(0, 7);
            let mut measured = [0; 15];
            measured[0] = a;
            pair.step(&measured, 0, &mut seen)
                .unwrap_or_else(|e| panic!("{a:#x}: {e}"));
        }
    }
}
