use ccp_program::libccp::{Class, Register};
use ccp_types::SockId;

use super::{ChangeProg, Field, FieldTarget, MAX_CHANGE_FIELDS, MAX_UPDATE_FIELDS, UpdateFields};
use crate::{DecodeError, Encode, EncodeError, Frame, Kind, Message};

fn update(n: usize) -> UpdateFields {
    UpdateFields {
        sock_id: SockId(1),
        fields: vec![
            Field {
                target: FieldTarget::Cwnd,
                value: u64::MAX
            };
            n
        ],
    }
}

fn change(n: usize) -> ChangeProg {
    ChangeProg {
        sock_id: SockId(1),
        program_uid: 7,
        fields: update(n).fields,
    }
}

#[test]
fn the_most_fields_and_one_more() {
    let most = update(MAX_UPDATE_FIELDS);
    let bytes = most.to_frame().unwrap();
    assert_eq!(bytes.len(), 12 + 127 * 13);
    let (frame, _) = Frame::split(&bytes).unwrap();
    assert_eq!(frame.message(), Ok(Message::UpdateFields(most)));

    let most = change(MAX_CHANGE_FIELDS);
    let bytes = most.to_frame().unwrap();
    let (frame, _) = Frame::split(&bytes).unwrap();
    assert_eq!(frame.message(), Ok(Message::ChangeProg(most)));

    for (result, limit) in [(update(128).to_frame(), 127), (change(223).to_frame(), 222)] {
        assert!(matches!(
            result,
            Err(EncodeError::TooMany { what: "fields", limit: l, .. }) if l == limit
        ));
    }
}

#[test]
fn a_count_beyond_the_bytes_or_the_limit_is_refused() {
    let bytes = update(1).to_frame().unwrap().to_vec();
    for (count, expected) in [
        (
            2,
            DecodeError::BodyTooShort {
                kind: Kind::UpdateFields,
                field: "fields",
                expected: 26,
                got: 13,
            },
        ),
        (
            128,
            DecodeError::TooMany {
                kind: Kind::UpdateFields,
                what: "fields",
                limit: 127,
                got: 128,
            },
        ),
        (
            257,
            DecodeError::TooMany {
                kind: Kind::UpdateFields,
                what: "fields",
                limit: 127,
                got: 257,
            },
        ),
    ] {
        let mut bytes = bytes.clone();
        bytes[8..12].copy_from_slice(&u32::to_le_bytes(count));
        let (frame, _) = Frame::split(&bytes).unwrap();
        assert_eq!(frame.message(), Err(expected));
    }
}

/// libccp writes to memory that is not its own from index 110 on.
#[test]
fn only_what_may_be_set_has_a_name() {
    for class in (0..=8).filter_map(Class::from_wire) {
        for index in [0, 3, 4, 5, 6, 109, 110, 200, u32::MAX] {
            let register = Register { class, index };
            let allowed = match class {
                Class::Implicit => index == 4 || index == 5,
                Class::Control | Class::VolatileControl => index < 110,
                _ => false,
            };
            let target = FieldTarget::from_register(register);
            assert_eq!(target.is_some(), allowed, "{register:?}");
            if let Some(target) = target {
                assert_eq!(target.to_register(), register);
            }
            let mut bytes = update(1).to_frame().unwrap().to_vec();
            bytes[12] = class as u8;
            bytes[13..17].copy_from_slice(&index.to_le_bytes());
            let (frame, _) = Frame::split(&bytes).unwrap();
            assert_eq!(frame.message().is_ok(), allowed, "{register:?}");
        }
    }
    let mut wrong = update(1);
    wrong.fields[0].target = FieldTarget::Control {
        index: 110,
        volatile: true,
    };
    assert!(matches!(
        wrong.to_frame(),
        Err(EncodeError::BadValue {
            field: "register index",
            got: 110,
            ..
        })
    ));
}
