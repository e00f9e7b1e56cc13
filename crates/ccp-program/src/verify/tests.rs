use super::{Limits, VerifyError, verify};
use crate::program::{Clause, Inst, Operand, Program, Reg, Variable};
use crate::register::{RegisterTable, Type};

fn program(condition: Vec<Inst>, body: Vec<Inst>) -> Program {
    let table = RegisterTable::libccp();
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        controls: vec![],
        reports: vec![Variable {
            name: "x".into(),
            ty: Type::Num,
            volatile: false,
            default: 0,
        }],
        locals: 1,
        temps: 2,
        clauses: vec![Clause {
            condition,
            test: None,
            body,
        }],
        own_recovery: false,
    }
}

fn check(condition: Vec<Inst>, body: Vec<Inst>) -> Result<(), VerifyError> {
    verify(&program(condition, body), &Limits::MAX)
}

fn set(dst: Reg, src: impl Into<Operand>) -> Inst {
    Inst::Move {
        dst,
        src: src.into(),
    }
}

#[test]
fn indices_must_exist() {
    assert_eq!(
        check(vec![], vec![set(Reg::Local(0), Operand::Primitive(14))]),
        Ok(())
    );
    for (inst, what) in [
        (set(Reg::Local(0), Operand::Primitive(15)), "primitive"),
        (set(Reg::Local(1), Operand::Imm(0)), "local variable"),
        (set(Reg::Report(1), Operand::Imm(0)), "report variable"),
        (set(Reg::Control(0), Operand::Imm(0)), "control variable"),
        (set(Reg::Temp(2), Operand::Imm(0)), "temporary"),
        (set(Reg::Writable(2), Operand::Imm(0)), "writable register"),
    ] {
        let error = check(vec![], vec![inst]).unwrap_err();
        assert!(
            matches!(error, VerifyError::OutOfRange { what: w, .. } if w == what),
            "{error}"
        );
    }
}

#[test]
fn skips_stay_in_their_block() {
    let skip = |count| vec![Inst::Skip { count }, Inst::Report];
    assert_eq!(check(vec![], skip(1)), Ok(()));
    assert_eq!(
        check(vec![], skip(2)),
        Err(VerifyError::SkipTooFar {
            clause: 0,
            inst: 0,
            count: 2
        })
    );
}

#[test]
fn temporaries_are_written_before_they_are_read_on_every_way() {
    let unwritten = |inst, temp| {
        Err(VerifyError::UnwrittenTemp {
            clause: 0,
            inst,
            temp,
        })
    };
    let read = set(Reg::Local(0), Reg::Temp(0));
    let write = set(Reg::Temp(0), Operand::Imm(1));
    let maybe = Inst::SkipIf {
        cond: Operand::Imm(1),
        count: 1,
    };
    assert_eq!(check(vec![], vec![read]), unwritten(0, 0));
    assert_eq!(check(vec![], vec![write, read]), Ok(()));
    assert_eq!(check(vec![], vec![maybe, write, read]), unwritten(2, 0));
    // Both branches write it.
    let either = vec![
        Inst::SkipIf {
            cond: Operand::Imm(1),
            count: 2,
        },
        write,
        Inst::Skip { count: 1 },
        write,
        read,
    ];
    assert_eq!(check(vec![], either), Ok(()));
    // A condition's temporaries are there in the body.
    assert_eq!(check(vec![write], vec![read]), Ok(()));
}

#[test]
fn conditions_have_no_effect() {
    let effect = Err(VerifyError::EffectInCondition { clause: 0, inst: 0 });
    assert_eq!(check(vec![Inst::Report], vec![]), effect);
    assert_eq!(check(vec![set(Reg::CWND, Operand::Imm(1))], vec![]), effect);
}

#[test]
fn an_empty_report_would_mean_closed() {
    let mut p = program(vec![], vec![Inst::Report]);
    p.reports.clear();
    assert_eq!(verify(&p, &Limits::MAX), Err(VerifyError::EmptyReport));
}

#[test]
fn counts_are_limited_at_the_boundary() {
    let p = program(vec![], vec![Inst::Report; 4]);
    let mut limits = Limits {
        instructions: 4,
        ..Limits::MAX
    };
    assert_eq!(verify(&p, &limits), Ok(()));
    limits.instructions = 3;
    assert_eq!(
        verify(&p, &limits),
        Err(VerifyError::TooMany {
            what: "instructions",
            got: 4,
            limit: 3
        })
    );
    let mut p = program(vec![], vec![]);
    p.clauses.clear();
    assert_eq!(verify(&p, &Limits::MAX), Err(VerifyError::Empty));
}
