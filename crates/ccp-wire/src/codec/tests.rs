use bytes::BytesMut;
use ccp_types::SockId;
use tokio_util::codec::{Decoder, Encoder};

use super::{Codec, CodecError};
use crate::{DecodeError, Encode, Heartbeat, Kind, MAX_FRAME, MeasureBuf, Message};

fn stream() -> BytesMut {
    let mut dst = BytesMut::new();
    let mut codec = Codec::new();
    let beat = Heartbeat { epoch: 1, beat: 2 };
    codec.encode(beat, &mut dst).unwrap();
    codec
        .encode(MeasureBuf::close(SockId(3)), &mut dst)
        .unwrap();
    codec.encode(Message::Heartbeat(beat), &mut dst).unwrap();
    dst
}

#[test]
fn a_stream_comes_out_whole_however_it_is_cut() {
    let whole = stream();
    for cut in 0..=whole.len() {
        let mut codec = Codec::new();
        let mut src = BytesMut::new();
        let mut out = BytesMut::new();
        let mut count = 0;
        for part in [&whole[..cut], &whole[cut..]] {
            src.extend_from_slice(part);
            while let Some(frame) = codec.decode(&mut src).unwrap() {
                frame.message().unwrap().encode(&mut out).unwrap();
                count += 1;
            }
        }
        assert_eq!(count, 3);
        assert_eq!(out, whole);
        assert!(codec.decode_eof(&mut src).unwrap().is_none());
    }
}

#[test]
fn a_stream_that_ends_inside_a_frame_says_so() {
    let whole = stream();
    for cut in 1..16 {
        let mut src = BytesMut::from(&whole[..cut]);
        let mut codec = Codec::new();
        assert!(codec.decode(&mut src).unwrap().is_none());
        match codec.decode_eof(&mut src) {
            Err(CodecError::Decode(DecodeError::NoHeader { got, .. })) if cut < 8 => {
                assert_eq!(got, cut);
            }
            Err(CodecError::Decode(DecodeError::Truncated {
                expected: 16, got, ..
            })) => assert_eq!(got, cut),
            other => panic!("{cut}: {other:?}"),
        }
    }
}

#[test]
fn impossible_lengths_end_the_stream_before_anything_is_reserved() {
    for (len, max) in [(7u16, MAX_FRAME), (0, MAX_FRAME), (1025, 1024)] {
        let mut src = stream();
        src[2..4].copy_from_slice(&len.to_le_bytes());
        let before = src.clone();
        let mut codec = Codec::with_max_frame(max);
        for _ in 0..2 {
            match codec.decode(&mut src) {
                Err(CodecError::Decode(
                    DecodeError::LengthTooSmall { got, .. }
                    | DecodeError::LengthTooLarge { got, .. },
                )) => assert_eq!(got, usize::from(len)),
                other => panic!("{other:?}"),
            }
            assert_eq!(src, before, "the error stays");
        }
    }
}

#[test]
fn unknown_types_and_wrong_bodies_do_not_end_the_stream() {
    let mut src = BytesMut::from(&[0x99, 0, 9, 0, 0, 0, 0, 0, 42, 1, 0, 8, 0, 0, 0, 0, 0][..]);
    src.extend_from_slice(&stream());
    let mut codec = Codec::default();
    let strange = codec.decode(&mut src).unwrap().unwrap();
    assert_eq!(strange.frame().kind, Kind::Unknown(0x99));
    assert_eq!(strange.frame().body, [42]);
    assert!(matches!(strange.message(), Ok(Message::Unknown(_))));
    let wrong = codec.decode(&mut src).unwrap().unwrap();
    assert!(wrong.message().is_err());
    for _ in 0..3 {
        assert!(codec.decode(&mut src).unwrap().unwrap().message().is_ok());
    }
}
