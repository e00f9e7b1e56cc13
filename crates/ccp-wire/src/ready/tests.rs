use std::borrow::Cow;

use ccp_program::{Limits, RegisterDef, RegisterTable, Type, Unit};

use super::{Capabilities, Features, MAX_ANNOUNCED_REGISTERS, Ready};
use crate::{DecodeError, Encode, EncodeError, Frame, Message};

fn read(bytes: &[u8]) -> Result<Ready, DecodeError> {
    match Frame::split(bytes)?.0.message()? {
        Message::Ready(r) => Ok(r),
        other => panic!("{other:?}"),
    }
}

fn named(name: &str) -> RegisterDef {
    RegisterDef {
        name: Cow::Owned(name.to_owned()),
        ty: Type::Num,
        unit: Unit::Bytes,
    }
}

fn capable(table: RegisterTable) -> Ready {
    Ready {
        id: 4,
        capabilities: Some(Capabilities::new(table, Limits::MAX)),
    }
}

#[test]
fn libccp_s_ready_has_no_capabilities() {
    let ready = Ready {
        id: 7,
        capabilities: None,
    };
    let bytes = ready.to_frame().unwrap();
    assert_eq!(bytes[..], [5, 0, 12, 0, 0, 0, 0, 0, 7, 0, 0, 0]);
    assert_eq!(read(&bytes).unwrap(), ready);
}

#[test]
fn only_what_goes_beyond_libccp_s_registers_is_named() {
    let base = capable(RegisterTable::libccp()).to_frame().unwrap();
    assert_eq!(base.len(), 12 + 20);

    let table = RegisterTable::well_known().with_writable([named("Ssthresh")]);
    let ready = capable(table);
    let bytes = ready.to_frame().unwrap();
    assert_eq!(read(&bytes).unwrap(), ready);
    assert!(bytes.len() < 1024, "portus' buffer takes {}", bytes.len());
}

#[test]
fn incomplete_capabilities_count_as_none_but_an_incomplete_name_does_not() {
    let bytes = capable(RegisterTable::well_known())
        .to_frame()
        .unwrap()
        .to_vec();
    for len in 12..bytes.len() {
        let mut cut = bytes[..len].to_vec();
        cut[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
        match read(&cut) {
            Ok(ready) if len < 32 => assert_eq!(ready.capabilities, None),
            Err(DecodeError::BodyTooShort { .. }) if len >= 32 => {}
            other => panic!("{len}: {other:?}"),
        }
    }
}

#[test]
fn counts_are_held_against_limit_and_bytes() {
    let mut bytes = capable(RegisterTable::libccp())
        .to_frame()
        .unwrap()
        .to_vec();
    bytes[14..16].copy_from_slice(&257u16.to_le_bytes());
    assert!(matches!(
        read(&bytes),
        Err(DecodeError::TooMany {
            what: "primitives",
            limit: 256,
            got: 257,
            ..
        })
    ));
    bytes[14..16].copy_from_slice(&256u16.to_le_bytes());
    assert!(matches!(
        read(&bytes),
        Err(DecodeError::BodyTooShort {
            field: "primitives",
            expected: 1024,
            got: 0,
            ..
        })
    ));

    let many = |n| RegisterTable::libccp().with_primitives((0..n).map(|i| named(&format!("P{i}"))));
    let most = capable(many(MAX_ANNOUNCED_REGISTERS));
    assert_eq!(read(&most.to_frame().unwrap()).unwrap(), most);
    assert!(matches!(
        capable(many(MAX_ANNOUNCED_REGISTERS + 1)).to_frame(),
        Err(EncodeError::TooMany { got: 257, .. })
    ));
}

/// A name announced twice would shift the places of all that follow.
#[test]
fn a_name_is_announced_once_and_can_be_spelled() {
    let bytes =
        capable(RegisterTable::libccp().with_primitives([named("Flow.m"), named("Flow.n")]))
            .to_frame()
            .unwrap()
            .to_vec();
    let at = bytes.windows(6).position(|w| w == b"Flow.n").unwrap();
    let spelled = |name: &[u8; 6]| {
        let mut bytes = bytes.clone();
        bytes[at..at + 6].copy_from_slice(name);
        read(&bytes)
    };
    for (name, problem) in [
        (b"Flow.m", "is announced twice"),
        (
            b"Flow n",
            "has something other than letters, digits, `_` and `.`",
        ),
        (b"0low.n", "does not begin with a letter"),
        (b"Flow.\xff", "is not UTF-8"),
    ] {
        match spelled(name) {
            Err(DecodeError::BadText { problem: got, .. }) => assert_eq!(got, problem),
            other => panic!("{other:?}"),
        }
    }
    let with = |name: &str| capable(RegisterTable::libccp().with_primitives([named(name)]));
    assert!(with(&"x".repeat(64)).to_frame().is_ok());
    for name in ["", "a b", &"x".repeat(65)] {
        assert!(matches!(
            with(name).to_frame(),
            Err(EncodeError::BadText { field: "name", .. })
        ));
    }
}

#[test]
fn types_are_known_and_units_may_be_news() {
    let ready = capable(RegisterTable::libccp().with_primitives([named("Flow.n")]));
    let bytes = ready.to_frame().unwrap().to_vec();
    let with = |place: usize, byte| {
        let mut bytes = bytes.clone();
        bytes[place] = byte;
        read(&bytes)
    };
    assert!(matches!(
        with(32, 2),
        Err(DecodeError::BadValue {
            field: "type",
            got: 2,
            ..
        })
    ));
    let table = with(33, 200).unwrap().capabilities.unwrap().registers;
    assert_eq!(table.primitive("Flow.n").unwrap().1.unit, Unit::None);
    assert!(matches!(
        with(12, 0),
        Err(DecodeError::BadValue {
            field: "version",
            ..
        })
    ));
}

#[test]
fn features_are_sets_and_print_as_such() {
    let some = Features::HELLO | Features::HEARTBEAT;
    assert!(Features::ALL.contains(some) && !some.contains(Features::INSTALL_EXT));
    assert_eq!(some & Features::HEARTBEAT, Features::HEARTBEAT);
    assert_eq!(some.to_string(), "hello heartbeat");
    assert_eq!(Features::NONE.to_string(), "none");
    assert_eq!(Features(0x101).to_string(), "hello 0x100");
}
