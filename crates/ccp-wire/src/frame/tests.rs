use super::{Frame, Kind, frames};
use crate::{DecodeError, Encode, Heartbeat, Message};

fn beat(beat: u32) -> Vec<u8> {
    Heartbeat { epoch: 1, beat }.to_frame().unwrap().to_vec()
}

#[test]
fn numbers_on_the_wire_come_back() {
    for number in 0..=u16::MAX {
        assert_eq!(Kind::from_wire(number).to_wire(), number);
    }
}

/// portus looks at the low byte of the type only, and dies of a wrong one; 255 is its own mark
/// for what it cannot read.
#[test]
fn our_own_types_are_none_of_portus_s_even_in_their_low_byte() {
    for kind in [
        Kind::Hello,
        Kind::InstallExt,
        Kind::UpdateExt,
        Kind::ChangeProgExt,
        Kind::Heartbeat,
    ] {
        let low = kind.to_wire() & 0xff;
        assert!(low > 5 && low != 0xff, "{kind}");
    }
}

#[test]
fn several_frames_in_one_datagram_come_in_order() {
    let datagram = [beat(1), beat(2), beat(3)].concat();
    let beats: Vec<_> = frames(&datagram)
        .map(|frame| match frame.unwrap().message().unwrap() {
            Message::Heartbeat(h) => h.beat,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(beats, [1, 2, 3]);
}

#[test]
fn an_empty_datagram_has_no_frame_and_is_no_error() {
    assert_eq!(frames(&[]).count(), 0);
}

#[test]
fn a_datagram_cut_anywhere_gives_its_whole_frames_and_one_error() {
    let datagram = [beat(1), beat(2)].concat();
    for cut in 0..datagram.len() {
        let got: Vec<_> = frames(&datagram[..cut]).collect();
        let whole = cut / 16;
        assert_eq!(got.len(), whole + usize::from(cut % 16 != 0), "{cut}");
        assert!(got[..whole].iter().all(Result::is_ok));
        match (cut % 16, got.last()) {
            (0, _) => {}
            (left @ 1..8, Some(Err(error))) => assert_eq!(
                *error,
                DecodeError::NoHeader {
                    expected: 8,
                    got: left
                }
            ),
            (left, Some(Err(error))) => assert_eq!(
                *error,
                DecodeError::Truncated {
                    kind: Kind::Heartbeat,
                    expected: 16,
                    got: left
                }
            ),
            other => panic!("{cut}: {other:?}"),
        }
    }
}

#[test]
fn nothing_is_read_after_a_length_that_cannot_be() {
    for len in 0..8u8 {
        let mut broken = beat(1);
        broken[2] = len;
        let datagram = [broken, beat(2)].concat();
        let got: Vec<_> = frames(&datagram).collect();
        assert_eq!(
            got,
            [Err(DecodeError::LengthTooSmall {
                kind: Kind::Heartbeat,
                expected: 8,
                got: len.into()
            })]
        );
    }
}

#[test]
fn a_frame_that_claims_more_than_its_datagram_takes_nothing_from_elsewhere() {
    let mut long = beat(1);
    long[2..4].copy_from_slice(&u16::MAX.to_le_bytes());
    assert_eq!(
        Frame::split(&long),
        Err(DecodeError::Truncated {
            kind: Kind::Heartbeat,
            expected: 65_535,
            got: 16
        })
    );
}

#[test]
fn an_unknown_type_is_passed_over_by_its_length() {
    let mut strange = beat(1);
    strange[0..2].copy_from_slice(&0xff03u16.to_le_bytes());
    let datagram = [strange, beat(2)].concat();
    let mut all = frames(&datagram);
    let frame = all.next().unwrap().unwrap();
    assert_eq!(frame.kind, Kind::Unknown(0xff03));
    assert_eq!(frame.message(), Ok(Message::Unknown(frame)));
    assert_eq!(frame.to_frame().unwrap(), datagram[..16]);
    assert_eq!(all.next().unwrap().unwrap().kind, Kind::Heartbeat);
    assert!(all.next().is_none());
}

#[test]
fn a_body_that_is_wrong_costs_its_own_frame_only() {
    // A MEASURE that is a header and nothing else.
    let datagram = [vec![1, 0, 8, 0, 7, 0, 0, 0], beat(2)].concat();
    let mut all = frames(&datagram);
    let error = all.next().unwrap().unwrap().message().unwrap_err();
    assert_eq!(
        error,
        DecodeError::BodyTooShort {
            kind: Kind::Measure,
            field: "program_uid",
            expected: 4,
            got: 0
        }
    );
    assert_eq!(
        error.to_string(),
        "MEASURE: `program_uid` needs 4 bytes, the frame has 0 left"
    );
    assert!(all.next().unwrap().unwrap().message().is_ok());
}

#[test]
fn bytes_behind_the_last_field_are_passed_over() {
    let mut long = beat(9);
    long.extend([0xaa; 5]);
    long[2] += 5;
    let (frame, rest) = Frame::split(&long).unwrap();
    assert!(rest.is_empty());
    assert_eq!(
        frame.message(),
        Ok(Message::Heartbeat(Heartbeat { epoch: 1, beat: 9 }))
    );
}
