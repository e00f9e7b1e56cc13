use ccp_program::{RegisterTable, Type, Variable};

use super::*;

fn variables(count: usize) -> Vec<Variable> {
    (0..count)
        .map(|i| Variable {
            name: format!("v{i}"),
            ty: Type::Num,
            volatile: false,
            default: 100 + i as u64,
        })
        .collect()
}

/// The first register behind the control variables of [`program`].
const FREE: usize = REG_CONTROL + 2;

fn program(clauses: Vec<Clause>) -> Program {
    let table = RegisterTable::well_known();
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        controls: variables(2),
        reports: variables(3),
        locals: 2,
        temps: 6,
        clauses,
        ..Program::default()
    }
}

fn body(body: Vec<Inst>) -> Clause {
    Clause {
        body,
        ..Clause::default()
    }
}

fn set(dst: Reg, src: impl Into<Operand>) -> Inst {
    Inst::Move {
        dst,
        src: src.into(),
    }
}

fn binary(op: BinaryOp, dst: Reg, a: impl Into<Operand>, b: impl Into<Operand>) -> Inst {
    Inst::Binary {
        op,
        dst,
        a: a.into(),
        b: b.into(),
    }
}

fn saved(clauses: Vec<Clause>) -> Vec<usize> {
    let plan = Plan::new(&program(clauses)).unwrap();
    plan.saves.iter().map(|s| s.0).collect()
}

const NONE: [usize; 0] = [];
const ONE: Operand = Operand::Imm(1);

#[test]
fn only_what_a_fault_can_find_changed_is_saved() {
    let fault = binary(BinaryOp::Add, Reg::Report(1), Reg::Report(1), ONE);
    let report = |i| FREE + i;
    // The result of the last operation that can fault is written after it did not.
    assert_eq!(saved(vec![body(vec![fault])]), NONE);
    assert_eq!(saved(vec![body(vec![fault, fault])]), [report(1)]);
    assert_eq!(
        saved(vec![body(vec![set(Reg::CWND, ONE), fault])]),
        [REG_CWND]
    );
    assert_eq!(saved(vec![body(vec![fault, set(Reg::CWND, ONE)])]), NONE);
    // Across clauses, each once, in order.
    assert_eq!(
        saved(vec![
            body(vec![set(Reg::Report(2), ONE), set(Reg::RATE, ONE)]),
            body(vec![set(Reg::RATE, ONE), fault]),
        ]),
        [REG_RATE, report(2)]
    );
    // These have no value to bring back.
    assert_eq!(
        saved(vec![body(vec![
            set(Reg::Temp(0), ONE),
            set(Reg::Micros, ONE),
            fault
        ])]),
        NONE
    );
}

#[test]
fn constants_tell_what_cannot_fault() {
    use BinaryOp::{Add, Div, Mul, Sub};
    let x = Reg::Local(0);
    let imm = Operand::Imm;
    for (op, b, faults) in [
        (Add, imm(0), false),
        (Add, imm(1), true),
        (Sub, imm(0), false),
        (Mul, imm(1), false),
        (Mul, imm(2), true),
        (Div, imm(0), true),
        (Div, imm(3), false),
        (Div, x.into(), true),
        (BinaryOp::Max, x.into(), false),
    ] {
        assert_eq!(can_fault(&binary(op, x, x, b)), faults, "{op:?} {b:?}");
    }
    assert!(can_fault(&binary(Sub, x, imm(0), x)));
    assert!(!can_fault(&binary(Add, x, imm(0), x)));
    for (weight, faults) in [(imm(10), false), (imm(11), true), (x.into(), true)] {
        let inst = Inst::Ewma {
            dst: x,
            weight,
            sample: ONE,
        };
        assert_eq!(can_fault(&inst), faults, "{weight:?}");
    }
}

#[test]
fn what_the_stack_has_no_room_for_is_kept_in_registers() {
    let mut p = program(vec![]);
    p.reports = variables(70);
    let mut insts: Vec<Inst> = (0..70).map(|i| set(Reg::Report(i), ONE)).collect();
    insts.push(binary(BinaryOp::Add, Reg::Local(0), Reg::Local(0), ONE));
    p.clauses = vec![body(insts)];
    let plan = Plan::new(&p).unwrap();
    assert_eq!(plan.saves.len(), 70);
    assert_eq!(plan.saves[0].1, Saved::Stack(-8));
    assert_eq!(plan.saves[61].1, Saved::Stack(-8 * 62));
    // 70 reports, 2 locals.
    assert_eq!(plan.saves[62].1, Saved::Register(FREE + 72));
    assert_eq!(plan.saves[69].1, Saved::Register(FREE + 79));
}

#[test]
fn the_room_for_registers_ends_exactly_there() {
    let mut p = program(vec![body(vec![Inst::Report])]);
    p.reports = variables(100);
    // 154 are free: 100 reports, and these.
    p.locals = 54;
    Plan::new(&p).unwrap();
    p.locals = 55;
    let error = Plan::new(&p).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the program needs 155 registers, a flow has room for 154: 100 report variables, 55 local variables, 0 temporaries at a time, and 0 copies of what a fault must bring back"
    );
}

#[test]
fn temporaries_share_registers_when_their_lives_do_not_overlap() {
    let t = Reg::Temp;
    let clause = Clause {
        condition: vec![
            set(t(0), ONE),                        // 0
            binary(BinaryOp::Gt, t(1), t(0), ONE), // 1: t0 ends, t1 begins
            binary(BinaryOp::Gt, t(2), ONE, ONE),  // 2
        ],
        test: Some(t(1).into()),
        body: vec![
            set(t(3), t(2)),                                  // 4: t2 ends, t3 takes t1's
            set(t(4), ONE),                                   // 5
            binary(BinaryOp::Min, Reg::Local(0), t(3), t(4)), // 6
        ],
    };
    let other = body(vec![set(t(5), ONE), set(Reg::Local(1), t(5))]);
    let plan = Plan::new(&program(vec![clause, other])).unwrap();
    let place = |clause, temp| plan.register(clause, t(temp)) - (FREE + 5);
    assert_eq!([0, 1, 2, 3, 4].map(|i| place(0, i)), [0, 0, 1, 0, 1]);
    assert_eq!(place(1, 5), 0);
}

#[test]
fn a_test_keeps_its_temporary_alive() {
    let t = Reg::Temp;
    let clause = Clause {
        condition: vec![set(t(0), ONE), set(t(1), ONE)],
        test: Some(t(0).into()),
        body: vec![set(t(2), t(1)), set(Reg::Local(0), t(0))],
    };
    let plan = Plan::new(&program(vec![clause])).unwrap();
    let places: Vec<usize> = (0..3).map(|i| plan.register(0, t(i))).collect();
    // 0 lives to the end, 1 as far as 2 begins.
    assert_ne!(places[0], places[1]);
    assert_ne!(places[0], places[2]);
    assert_eq!(places[1], places[2]);
}

#[test]
fn fallthrough_is_decided_beforehand_where_it_can_be() {
    let skip = Inst::SkipIf {
        cond: ONE,
        count: 1,
    };
    let nothing = set(Reg::Local(0), ONE);
    assert_eq!(goes_on(&[nothing]), GoesOn::Never);
    assert_eq!(goes_on(&[nothing, Inst::Fallthrough]), GoesOn::Always);
    assert_eq!(goes_on(&[skip, Inst::Fallthrough]), GoesOn::Depends);
    assert_eq!(goes_on(&[skip, nothing, Inst::Fallthrough]), GoesOn::Always);
    assert_eq!(
        goes_on(&[skip, Inst::Fallthrough, Inst::Fallthrough]),
        GoesOn::Always
    );
    assert_eq!(
        goes_on(&[Inst::Skip { count: 2 }, nothing, Inst::Fallthrough]),
        GoesOn::Depends
    );
}

#[test]
fn a_flow_starts_with_the_defaults() {
    let p = program(vec![body(vec![])]);
    let values = Plan::new(&p).unwrap().defaults(&p);
    let mut expected = vec![0; FREE - REG_CONTROL + 5];
    expected[0..2].copy_from_slice(&[100, 101]);
    expected[FREE - REG_CONTROL..][..3].copy_from_slice(&[100, 101, 102]);
    assert_eq!(values, expected);
}

#[test]
fn the_measurements_that_are_read_are_known() {
    let mask = |clauses| Plan::new(&program(clauses)).unwrap().prim_mask;
    let primitive = Operand::Primitive;
    assert_eq!(mask(vec![body(vec![])]), 0);
    let clause = Clause {
        condition: vec![set(Reg::Temp(0), primitive(2))],
        test: Some(primitive(3)),
        body: vec![
            binary(BinaryOp::Max, Reg::Local(0), primitive(4), primitive(28)),
            Inst::SkipIf {
                cond: primitive(6),
                count: 0,
            },
        ],
    };
    assert_eq!(
        mask(vec![clause]),
        1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 28
    );
    // The time from which `Micros` counts is needed when it is written.
    assert_eq!(mask(vec![body(vec![set(Reg::Micros, ONE)])]), 1 << PRIM_NOW);
}
