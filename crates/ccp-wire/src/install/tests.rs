use ccp_program::libccp::{Bytecode, Class, Expression, Instruction, Opcode, Register};

use super::{Install, MAX_LIBCCP_EXPRESSIONS, MAX_LIBCCP_INSTRUCTIONS};
use crate::{DecodeError, Encode, EncodeError, Frame, Kind, Message};

fn reg(class: Class, index: u32) -> Register {
    Register { class, index }
}

fn instruction() -> Instruction {
    Instruction {
        op: Opcode::Add,
        ret: reg(Class::Temp, 0),
        left: reg(Class::Immediate, 0x3fff_ffff),
        right: reg(Class::Primitive, 13),
    }
}

fn install(expressions: usize, instructions: usize) -> Install {
    Install {
        program_uid: 9,
        bytecode: Bytecode {
            expressions: vec![
                Expression {
                    condition_start: 0,
                    condition_len: 1,
                    body_start: 1,
                    body_len: 0,
                };
                expressions
            ],
            instructions: vec![instruction(); instructions],
        },
    }
}

fn read(bytes: &[u8]) -> Result<Install, DecodeError> {
    match Frame::split(bytes)?.0.message()? {
        Message::Install(i) => Ok(i),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_most_that_libccp_runs_and_one_more() {
    let most = install(MAX_LIBCCP_EXPRESSIONS, MAX_LIBCCP_INSTRUCTIONS);
    let bytes = most.to_frame().unwrap();
    assert_eq!(bytes.len(), 8 + 12 + 16 * (256 + 255));
    assert_eq!(read(&bytes).unwrap(), most);

    for (expressions, instructions, what) in [(257, 255, "expressions"), (256, 256, "instructions")]
    {
        assert!(matches!(
            install(expressions, instructions).to_frame(),
            Err(EncodeError::TooMany { what: named, .. }) if named == what
        ));
    }
}

#[test]
fn counts_are_checked_before_anything_is_allocated() {
    let mut bytes = install(1, 1).to_frame().unwrap().to_vec();
    bytes[12..16].copy_from_slice(&4_000_000_000u32.to_le_bytes());
    assert_eq!(
        read(&bytes),
        Err(DecodeError::TooMany {
            kind: Kind::Install,
            what: "expressions",
            limit: 256,
            got: 4_000_000_000
        })
    );
    bytes[12..16].copy_from_slice(&1u32.to_le_bytes());
    bytes[16..20].copy_from_slice(&2u32.to_le_bytes());
    assert_eq!(
        read(&bytes),
        Err(DecodeError::BodyTooShort {
            kind: Kind::Install,
            field: "instructions",
            expected: 32,
            got: 16
        })
    );
}

/// libccp would run whatever lies behind its instructions, or never end.
#[test]
fn an_expression_reaches_no_further_than_the_instructions() {
    for (place, field) in [(1, "condition"), (3, "body")] {
        let mut wrong = install(1, 3);
        let e = &mut wrong.bytecode.expressions[0];
        let part = match place {
            1 => &mut e.condition_len,
            _ => &mut e.body_len,
        };
        *part = u32::MAX;
        let got = match place {
            1 => u64::from(u32::MAX),
            _ => u64::from(u32::MAX) + 1,
        };
        assert_eq!(
            wrong.to_frame(),
            Err(EncodeError::BadValue {
                kind: Kind::Install,
                field,
                expected: "an end within the instructions",
                got
            })
        );
        let mut bytes = install(1, 3).to_frame().unwrap().to_vec();
        let at = 20 + 4 * place;
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(
            read(&bytes),
            Err(DecodeError::BadValue { field: named, got: end, .. }) if named == field && end == got
        ));
    }
}

#[test]
fn opcodes_and_classes_are_known() {
    let bytes = install(1, 1).to_frame().unwrap().to_vec();
    for (place, byte, field) in [
        (36, 15, "opcode"),
        (37, 9, "register class"),
        (42, 9, "register class"),
        (47, 255, "register class"),
    ] {
        let mut bytes = bytes.clone();
        bytes[place] = byte;
        assert!(
            matches!(
                read(&bytes),
                Err(DecodeError::BadValue { field: named, .. }) if named == field
            ),
            "{place}"
        );
    }
}
