use ccp_program::{
    BinaryOp, Clause, Inst, Limits, Operand, Program, Reg, RegisterTable, Type, Variable,
    VerifyError,
};

use super::{InstallExt, ProgramError};
use crate::{DecodeError, Encode, EncodeError, Frame, Message};

fn variable(name: &str, ty: Type, volatile: bool, default: u64) -> Variable {
    Variable {
        name: name.to_owned(),
        ty,
        volatile,
        default,
    }
}

/// Every kind of instruction, operand and register, both forms of constants, and a skip.
fn program() -> Program {
    let table = RegisterTable::well_known();
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        controls: vec![
            variable("target", Type::Num, false, u64::MAX),
            variable("seen", Type::Bool, true, 1),
        ],
        reports: vec![variable("acked", Type::Num, true, 0)],
        locals: 1,
        temps: 2,
        clauses: vec![
            Clause {
                condition: vec![Inst::Binary {
                    op: BinaryOp::Ge,
                    dst: Reg::Temp(0),
                    a: Reg::Micros.into(),
                    b: Operand::Imm(u64::from(u32::MAX)),
                }],
                test: Some(Reg::Temp(0).into()),
                body: vec![
                    Inst::SkipUnless {
                        cond: Reg::Control(1).into(),
                        count: 2,
                    },
                    Inst::Ewma {
                        dst: Reg::Local(0),
                        weight: Operand::Imm(9),
                        sample: Operand::Primitive(28),
                    },
                    Inst::SkipIf {
                        cond: Reg::Local(0).into(),
                        count: 1,
                    },
                    Inst::Skip { count: 0 },
                    Inst::Move {
                        dst: Reg::CWND,
                        src: Operand::Imm(u64::from(u32::MAX) + 1),
                    },
                    Inst::Report,
                    Inst::Fallthrough,
                ],
            },
            Clause {
                condition: Vec::new(),
                test: None,
                body: BinaryOp::ALL
                    .into_iter()
                    .map(|op| Inst::Binary {
                        op,
                        dst: Reg::Report(0),
                        a: Operand::Primitive(0),
                        b: Reg::RATE.into(),
                    })
                    .collect(),
            },
        ],
        own_recovery: true,
    }
}

fn read(bytes: &[u8]) -> Result<InstallExt, DecodeError> {
    match Frame::split(bytes)?.0.message()? {
        Message::InstallExt(i) => Ok(i),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_arrives_as_it_left_but_for_the_names_of_its_variables() {
    let sent = program();
    let message = InstallExt::new(5, &sent).unwrap();
    let bytes = message.to_frame().unwrap();
    let arrived = read(&bytes).unwrap();
    assert_eq!(arrived, message);

    let mut expected = sent;
    expected.controls[0].name = "control0".to_owned();
    expected.controls[1].name = "control1".to_owned();
    expected.reports[0].name = "report0".to_owned();
    let table = RegisterTable::well_known();
    assert_eq!(arrived.to_program(&table, &Limits::MAX), Ok(expected));
}

#[test]
fn a_program_for_another_table_or_beyond_the_limits_is_refused() {
    let message = InstallExt::new(5, &program()).unwrap();
    let error = message
        .to_program(&RegisterTable::libccp(), &Limits::MAX)
        .unwrap_err();
    let all = RegisterTable::well_known().primitives().len();
    assert_eq!(
        error.to_string(),
        format!("the program was bound to a table of {all} primitives, this datapath announced 15")
    );
    let few = Limits {
        instructions: 22,
        ..Limits::MAX
    };
    assert_eq!(
        message.to_program(&RegisterTable::well_known(), &few),
        Err(ProgramError::Verify(VerifyError::TooMany {
            what: "instructions",
            got: 23,
            limit: 22
        }))
    );
}

#[test]
fn the_verifier_has_the_last_word() {
    let mut wrong = InstallExt::new(5, &program()).unwrap();
    wrong.clauses[0].body[0] = Inst::Skip { count: 7 };
    let arrived = read(&wrong.to_frame().unwrap()).unwrap();
    assert!(matches!(
        arrived.to_program(&RegisterTable::well_known(), &Limits::MAX),
        Err(ProgramError::Verify(VerifyError::SkipTooFar { .. }))
    ));
}

#[test]
fn a_constant_has_one_form() {
    let message = InstallExt {
        controls: Vec::new(),
        reports: Vec::new(),
        clauses: vec![Clause {
            condition: Vec::new(),
            test: Some(Operand::Imm(u64::from(u32::MAX) + 1)),
            body: Vec::new(),
        }],
        ..InstallExt::new(5, &program()).unwrap()
    };
    let mut bytes = message.to_frame().unwrap().to_vec();
    assert_eq!(read(&bytes).unwrap(), message);
    let last = bytes.len() - 4;
    bytes[last] = 0;
    assert!(matches!(
        read(&bytes),
        Err(DecodeError::BadValue {
            field: "constant",
            got: 0,
            ..
        })
    ));
}

#[test]
fn what_is_not_understood_is_not_run() {
    let bytes = InstallExt::new(5, &program())
        .unwrap()
        .to_frame()
        .unwrap()
        .to_vec();
    // flags; flags of the first variable; test of the first clause; its first instruction.
    let clause = 28 + 3 * 9;
    for (place, byte, field) in [
        (12, 2, "flags"),
        (28, 4, "variable flags"),
        (clause + 4, 0xfe, "register"),
        (clause + 4 + 3, 0x1f, "instruction"),
    ] {
        let mut bytes = bytes.clone();
        bytes[place] = byte;
        match read(&bytes) {
            Err(DecodeError::BadValue { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}: {other:?}"),
        }
    }
}

#[test]
fn instructions_are_counted_over_all_clauses() {
    let with = |blocks: &[usize]| InstallExt {
        clauses: blocks
            .iter()
            .map(|n| Clause {
                condition: Vec::new(),
                test: None,
                body: vec![Inst::Report; *n],
            })
            .collect(),
        ..InstallExt::new(5, &program()).unwrap()
    };
    let most = with(&[4000, 96]);
    let mut bytes = most.to_frame().unwrap().to_vec();
    assert_eq!(read(&bytes).unwrap(), most);
    assert!(matches!(
        with(&[4000, 97]).to_frame(),
        Err(EncodeError::TooMany {
            what: "instructions",
            got: 4097,
            ..
        })
    ));

    bytes.push(0x25);
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&len.to_le_bytes());
    let second = 28 + 3 * 9 + 5 + 4000;
    bytes[second + 2] = 97;
    assert!(matches!(
        read(&bytes),
        Err(DecodeError::TooMany {
            what: "instructions",
            limit: 96,
            got: 97,
            ..
        })
    ));
}

#[test]
fn a_program_too_long_for_a_frame_is_refused() {
    let long = Inst::Binary {
        op: BinaryOp::Add,
        dst: Reg::CWND,
        a: Operand::Imm(u64::MAX),
        b: Operand::Imm(u64::MAX),
    };
    let mut message = InstallExt::new(5, &program()).unwrap();
    message.clauses[0].body = vec![long; 4000];
    assert!(matches!(
        message.to_frame(),
        Err(EncodeError::TooLong { limit: 65_535, .. })
    ));
}
