//! What must hold of any bytes that a peer sends. Used by the fuzz targets `wire_*` and by
//! ordinary tests.

use bytes::{Bytes, BytesMut};
use ccp_program::interp::Registers;
use ccp_program::{Limits, RegisterTable};
use ccp_wire::{Codec, CodecError, DecodeError, Encode, FrameBuf, HEADER_LEN, Message, PortOrder};
use tokio_util::codec::Decoder;

/// Reads `datagram` frame by frame. Everything is read or refused; nothing panics; what is read
/// can be written again and means the same.
pub(crate) fn frames(datagram: &[u8]) {
    let mut rest = datagram;
    for frame in ccp_wire::frames(datagram) {
        let Ok(frame) = frame else {
            // What is left is no frame; that was the last item.
            assert!(!rest.is_empty());
            rest = &[];
            continue;
        };
        let (whole, after) = rest.split_at(frame.wire_len());
        assert_eq!(frame.body, &whole[HEADER_LEN..]);
        assert_eq!(frame.to_frame().expect("a frame is a frame"), whole);
        rest = after;
        if let Ok(message) = frame.message() {
            assert_eq!(message.kind(), frame.kind);
            again(&message);
            meaning(&message);
        }
    }
    assert!(rest.is_empty());
}

/// Reads `datagram` as netlink messages: what they hold lies one behind the other within it, and is read as frames
/// or refused; what is written again is read as the same.
pub(crate) fn netlink(datagram: &[u8]) {
    let mut end = 0;
    let mut errors = 0;
    for payload in ccp_wire::netlink_payloads(datagram) {
        let Ok(payload) = payload else {
            errors += 1;
            continue;
        };
        let start = payload.as_ptr() as usize - datagram.as_ptr() as usize;
        assert!(start >= end + ccp_wire::NETLINK_HEADER_LEN);
        end = start + payload.len();
        assert!(end <= datagram.len());
        frames(payload);
        let mut again = BytesMut::new();
        ccp_wire::netlink_message(payload, &mut again);
        let read: Vec<_> = ccp_wire::netlink_payloads(&again).collect();
        assert_eq!(read, [Ok(payload)]);
    }
    assert!(errors <= datagram.len() / ccp_wire::NETLINK_HEADER_LEN + 1);
}

/// What is read can be written, and is then read as the same and written as the same.
fn again(message: &Message<'_>) {
    let bytes = message.to_frame().expect("what was read can be written");
    let frame = ccp_wire::frames(&bytes)
        .next()
        .expect("one frame")
        .expect("a whole one");
    let second = frame.message().expect("what was written can be read");
    assert_eq!(second, *message);
    assert_eq!(second.to_frame().expect("and written again"), bytes);
}

/// What is done with a message next does not panic either.
fn meaning(message: &Message<'_>) {
    match message {
        Message::Create(create) => {
            for order in [PortOrder::Network, PortOrder::Host] {
                if let Ok(flow) = create.to_flow_info(order) {
                    assert_eq!(flow.sock_id, create.sock_id);
                    assert!(flow.mss > 0);
                }
            }
        }
        Message::Measure(measure) => {
            assert_eq!(measure.fields().count(), measure.len());
            assert_eq!(measure.field(measure.len()), None);
        }
        Message::InstallExt(install) => {
            // A program that the verifier takes runs, whatever the measurements.
            for table in [RegisterTable::libccp(), RegisterTable::well_known()] {
                if let Ok(program) = install.to_program(&table, &Limits::MAX) {
                    let mut registers = Registers::new(&program, 0);
                    for value in [0, 1, u64::MAX] {
                        let primitives = vec![value; table.primitives().len()];
                        let _ = registers.invoke(&program, &primitives, 1000);
                    }
                }
            }
        }
        _ => {}
    }
}

/// Reads `stream` through the codec in two parts, cut where its first byte says. The frames are
/// those of the same bytes as one datagram, and so is the error, if there is one.
pub(crate) fn codec(stream: &[u8]) {
    let cut = stream.first().map_or(0, |b| usize::from(*b) % stream.len());
    let mut codec = Codec::new();
    let mut src = BytesMut::new();
    let mut got: Vec<Result<FrameBuf, DecodeError>> = Vec::new();
    for part in [&stream[..cut], &stream[cut..]] {
        src.extend_from_slice(part);
        while let Some(item) = codec.decode(&mut src).transpose() {
            match item {
                Ok(frame) => got.push(Ok(frame)),
                Err(_) => break,
            }
        }
    }
    match codec.decode_eof(&mut src) {
        Ok(None) => assert!(src.is_empty()),
        Ok(Some(frame)) => panic!("{frame:?} was held back"),
        Err(CodecError::Decode(error)) => got.push(Err(error)),
        Err(other) => panic!("{other}"),
    }
    let expected: Vec<_> = ccp_wire::frames(stream).collect();
    assert_eq!(got.len(), expected.len());
    for (got, expected) in got.iter().zip(&expected) {
        match (got, expected) {
            (Ok(got), Ok(expected)) => {
                assert_eq!(got.frame(), *expected);
                assert_eq!(Bytes::copy_from_slice(expected.body), got.frame().body);
            }
            (got, expected) => assert_eq!(got.as_ref().err(), expected.as_ref().err()),
        }
    }
}
