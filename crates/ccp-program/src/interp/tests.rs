use super::{Fault, Registers, binary, ewma};
use crate::program::{BinaryOp, Clause, Inst, Operand, Program, Reg, Variable};
use crate::register::{RegisterTable, Type};

fn variable(name: &str, volatile: bool, default: u64) -> Variable {
    Variable {
        name: name.into(),
        ty: Type::Num,
        volatile,
        default,
    }
}

fn program(clauses: Vec<Clause>) -> Program {
    let table = RegisterTable::libccp();
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        controls: vec![],
        reports: vec![variable("sum", true, 7), variable("last", false, 0)],
        locals: 1,
        temps: 2,
        clauses,
        own_recovery: false,
    }
}

fn add(dst: Reg, a: impl Into<Operand>, b: impl Into<Operand>) -> Inst {
    Inst::Binary {
        op: BinaryOp::Add,
        dst,
        a: a.into(),
        b: b.into(),
    }
}

#[test]
fn a_fault_undoes_the_whole_invocation() {
    let p = program(vec![Clause {
        body: vec![
            add(Reg::Report(0), Reg::Report(0), Operand::Imm(1)),
            Inst::Move {
                dst: Reg::CWND,
                src: Operand::Imm(1),
            },
            Inst::Move {
                dst: Reg::Micros,
                src: Operand::Imm(0),
            },
            Inst::Report,
            Inst::Binary {
                op: BinaryOp::Sub,
                dst: Reg::Local(0),
                a: Operand::Imm(5),
                b: Operand::Imm(6),
            },
        ],
        ..Clause::default()
    }]);
    let mut registers = Registers::new(&p, 0);
    let before = registers.clone();
    assert_eq!(registers.invoke(&p, &[0; 15], 10), Err(Fault::Underflow));
    assert_eq!(registers, before);
}

#[test]
fn fallthrough_belongs_to_its_own_clause() {
    let bump = |place| add(Reg::Report(place), Reg::Report(place), Operand::Imm(1));
    let p = program(vec![
        Clause {
            body: vec![bump(0), Inst::Fallthrough],
            ..Clause::default()
        },
        Clause {
            body: vec![bump(0)],
            ..Clause::default()
        },
        Clause {
            body: vec![bump(0)],
            ..Clause::default()
        },
    ]);
    let mut registers = Registers::new(&p, 0);
    registers.invoke(&p, &[0; 15], 1).unwrap();
    assert_eq!(registers.report[0], 7 + 2);
}

#[test]
fn micros_counts_from_its_last_write() {
    let p = program(vec![Clause {
        condition: vec![Inst::Binary {
            op: BinaryOp::Ge,
            dst: Reg::Temp(0),
            a: Reg::Micros.into(),
            b: Operand::Imm(100),
        }],
        test: Some(Reg::Temp(0).into()),
        body: vec![
            Inst::Move {
                dst: Reg::Micros,
                src: Operand::Imm(0),
            },
            Inst::Report,
        ],
    }]);
    let mut registers = Registers::new(&p, 1_000);
    let reports: Vec<bool> = [1_050, 1_100, 1_150, 1_199, 1_200]
        .map(|now| registers.invoke(&p, &[0; 15], now).unwrap().report)
        .to_vec();
    assert_eq!(reports, [false, true, false, false, true]);
}

#[test]
fn volatile_variables_return_to_their_defaults_after_a_report() {
    let p = program(vec![]);
    let mut registers = Registers::new(&p, 0);
    registers.report = vec![100, 200];
    registers.reported(&p);
    assert_eq!(registers.report, [7, 200]);
}

#[test]
fn skips_pass_over_what_must_not_run() {
    let p = program(vec![Clause {
        body: vec![
            Inst::SkipUnless {
                cond: Operand::Imm(0),
                count: 1,
            },
            Inst::Binary {
                op: BinaryOp::Div,
                dst: Reg::Local(0),
                a: Operand::Imm(1),
                b: Operand::Imm(0),
            },
            Inst::SkipIf {
                cond: Operand::Imm(3),
                count: 1,
            },
            Inst::Move {
                dst: Reg::Report(1),
                src: Operand::Imm(1),
            },
            Inst::Skip { count: 1 },
            Inst::Move {
                dst: Reg::Report(1),
                src: Operand::Imm(2),
            },
        ],
        ..Clause::default()
    }]);
    let mut registers = Registers::new(&p, 0);
    registers.invoke(&p, &[0; 15], 0).unwrap();
    assert_eq!(registers.report[1], 0);
}

#[test]
fn arithmetic_at_its_edges() {
    use BinaryOp::{Add, And, Div, Mul, Or, Sub, WrappedMax};
    assert_eq!(binary(Add, u64::MAX, 1), Err(Fault::Overflow));
    assert_eq!(binary(Sub, 0, 1), Err(Fault::Underflow));
    // A product that wraps to more than its left factor.
    assert_eq!(
        binary(Mul, 9_000_000_000, 9_000_000_000),
        Err(Fault::Overflow)
    );
    assert_eq!(binary(Mul, u64::MAX, 1), Ok(u64::MAX));
    assert_eq!(binary(Div, 1, 0), Err(Fault::DivisionByZero));
    assert_eq!(binary(And, 2, 4), Ok(1));
    assert_eq!(binary(Or, 0, 4), Ok(1));
    assert_eq!(binary(WrappedMax, 0xffff_fff0, 5), Ok(5));
    assert_eq!(binary(WrappedMax, 5, 0xffff_fff0), Ok(5));
    assert_eq!(binary(WrappedMax, 0, 1 << 40), Ok(1 << 40));
    assert_eq!(binary(WrappedMax, 0, 0), Ok(0));
}

#[test]
fn ewma_is_exact_and_never_overflows() {
    assert_eq!(ewma(8, 100, 200), Ok(120));
    assert_eq!(ewma(8, 0, 200), Ok(200));
    assert_eq!(ewma(3, u64::MAX, u64::MAX), Ok(u64::MAX));
    assert_eq!(ewma(11, 1, 1), Err(Fault::Weight));
    for (weight, old, sample) in [(1, 19, 7), (9, 123_456_789, 1), (5, 3, 4), (10, 77, 5)] {
        let exact = (u128::from(weight) * u128::from(old)
            + u128::from(10 - weight) * u128::from(sample))
            / 10;
        assert_eq!(u128::from(ewma(weight, old, sample).unwrap()), exact);
    }
}
