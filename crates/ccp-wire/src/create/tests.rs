use std::net::{IpAddr, SocketAddr};

use ccp_types::{
    Attribute, Attributes, Bytes, FlowInfo, FlowState, Micros, Origin, PathId, Rate, SockId,
};

use super::{Create, CreateDetails, PortOrder};
use crate::{DecodeError, Encode, EncodeError, Frame, Kind, Message};

fn plain() -> Create {
    Create {
        sock_id: SockId(15),
        init_cwnd: 14_480,
        mss: 1448,
        src_ip: 0,
        src_port: 0,
        dst_ip: 0,
        dst_port: 0,
        cong_alg: None,
        details: None,
        path: None,
        attributes: Attributes::default(),
    }
}

fn read(bytes: &[u8]) -> Result<Create, DecodeError> {
    match Frame::split(bytes)?.0.message()? {
        Message::Create(c) => Ok(*c),
        other => panic!("{other:?}"),
    }
}

/// 10.1.2.3:4242 -> 192.168.0.9:443, as ccp-kernel and mTCP copy it from their sockets: on a
/// little-endian machine the bytes lie in the message as they do in a network header.
#[test]
fn a_kernel_s_addresses_and_ports_are_in_network_order() {
    let create = Create {
        src_ip: u32::from_le_bytes([10, 1, 2, 3]),
        src_port: u32::from(4242u16.to_be()),
        dst_ip: u32::from_le_bytes([192, 168, 0, 9]),
        dst_port: u32::from(443u16.to_be()),
        ..plain()
    };
    let bytes = create.to_frame().unwrap();
    assert_eq!(bytes[16..20], [10, 1, 2, 3]);
    assert_eq!(bytes[20..24], [0x10, 0x92, 0, 0]);
    let flow = read(&bytes)
        .unwrap()
        .to_flow_info(PortOrder::Network)
        .unwrap();
    assert_eq!(flow.src, "10.1.2.3:4242".parse().unwrap());
    assert_eq!(flow.dst, "192.168.0.9:443".parse().unwrap());
}

#[test]
fn a_program_s_own_numbers_are_in_host_order() {
    let create = Create {
        src_ip: 0x0a01_0203,
        src_port: 4242,
        dst_ip: 0xc0a8_0009,
        dst_port: 443,
        ..plain()
    };
    let flow = create.to_flow_info(PortOrder::Host).unwrap();
    assert_eq!(flow.src, "10.1.2.3:4242".parse().unwrap());
    assert_eq!(flow.dst, "192.168.0.9:443".parse().unwrap());
}

#[test]
fn with_details_the_order_asked_for_plays_no_role() {
    for (src, dst) in [
        ("10.1.2.3:4242", "192.168.0.9:443"),
        ("[fd00::1]:4242", "[fd00::2]:443"),
    ] {
        let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        let mut flow = FlowInfo::new(SockId(3), src, dst, 1448, Bytes(14_480));
        flow.requested = Some("reno".to_owned());
        flow.origin = Origin::Resumed;
        flow.state = FlowState {
            cwnd: Bytes(u64::MAX),
            rate: Rate(6_250_000),
            srtt: Micros(20_000),
            min_rtt: Micros(19_000),
        };
        let bytes = Create::from_flow_info(&flow, 77).to_frame().unwrap();
        assert_eq!(bytes.len(), 160);
        let create = read(&bytes).unwrap();
        assert_eq!(create.generation(), 77);
        for order in [PortOrder::Network, PortOrder::Host] {
            assert_eq!(create.to_flow_info(order).unwrap(), flow);
        }
    }
}

#[test]
fn without_addresses_in_the_details_the_base_ones_hold() {
    let create = Create {
        src_ip: u32::from_le_bytes([10, 1, 2, 3]),
        src_port: 4242,
        details: Some(CreateDetails::default()),
        ..plain()
    };
    let flow = create.to_flow_info(PortOrder::Network).unwrap();
    assert_eq!(flow.src, "10.1.2.3:4242".parse().unwrap());
}

#[test]
fn a_window_below_one_segment_counts_packets() {
    let cwnd = |init_cwnd| {
        let create = Create {
            init_cwnd,
            ..plain()
        };
        create.to_flow_info(PortOrder::Network).unwrap().init_cwnd
    };
    assert_eq!(cwnd(10), Bytes(14_480));
    assert_eq!(cwnd(1447), Bytes(1447 * 1448));
    assert_eq!(cwnd(1448), Bytes(1448));
}

#[test]
fn nonsense_is_refused_by_name() {
    let no_mss = Create { mss: 0, ..plain() };
    assert!(matches!(
        no_mss.to_flow_info(PortOrder::Network),
        Err(DecodeError::BadValue { field: "mss", .. })
    ));
    for order in [PortOrder::Network, PortOrder::Host] {
        let port = |dst_port| {
            Create {
                dst_port,
                ..plain()
            }
            .to_flow_info(order)
        };
        assert!(port(65_535).is_ok());
        assert_eq!(
            port(65_536),
            Err(DecodeError::BadValue {
                kind: Kind::Create,
                field: "dst_port",
                expected: "at most 65535",
                got: 65_536
            })
        );
    }
}

#[test]
fn names_of_algorithms_end_with_a_nul() {
    let named = |name: &str| Create {
        cong_alg: Some(name.to_owned()),
        ..plain()
    };
    let longest = named(&"x".repeat(63));
    let mut bytes = longest.to_frame().unwrap().to_vec();
    assert_eq!(bytes.len(), 96);
    assert_eq!(read(&bytes).unwrap(), longest);

    bytes[95] = b'x';
    assert_eq!(
        read(&bytes),
        Err(DecodeError::BadText {
            kind: Kind::Create,
            field: "cong_alg",
            problem: "does not end with a NUL"
        })
    );
    bytes[32..36].copy_from_slice(&[0xff, 0xfe, 0, 0]);
    assert!(matches!(
        read(&bytes),
        Err(DecodeError::BadText {
            problem: "is not UTF-8",
            ..
        })
    ));
    // What stands behind the NUL is nobody's business.
    bytes[32..36].copy_from_slice(b"bbr\0");
    assert_eq!(read(&bytes).unwrap().cong_alg.as_deref(), Some("bbr"));

    for (name, problem) in [
        ("x".repeat(64), "is longer than 63 bytes"),
        ("a\0b".to_owned(), "has a NUL in it"),
    ] {
        assert_eq!(
            named(&name).to_frame(),
            Err(EncodeError::BadText {
                kind: Kind::Create,
                field: "cong_alg",
                problem
            })
        );
    }
}

#[test]
fn incomplete_details_count_as_none_and_more_than_known_is_passed_over() {
    let mut bytes = plain().to_frame().unwrap().to_vec();
    bytes.extend([0xee; 63]);
    bytes[2] += 63;
    assert_eq!(read(&bytes).unwrap(), plain());

    let full = Create {
        details: Some(CreateDetails {
            generation: 5,
            ..CreateDetails::default()
        }),
        ..plain()
    };
    let mut bytes = full.to_frame().unwrap().to_vec();
    bytes.extend([0xee; 7]);
    bytes[2] += 7;
    assert_eq!(read(&bytes).unwrap(), full);

    let path = PathId {
        connection: 7,
        path: 2,
    };
    let one_of_two = Create {
        path: Some(path),
        ..full
    };
    let mut bytes = one_of_two.to_frame().unwrap().to_vec();
    assert_eq!(bytes[bytes.len() - 8..], [7, 0, 0, 0, 2, 0, 0, 0]);
    bytes.extend([0xee; 3]);
    bytes[2] += 3;
    assert_eq!(read(&bytes).unwrap(), one_of_two);
    let mut flow = one_of_two.clone();
    flow.mss = 1448;
    let flow = flow.to_flow_info(PortOrder::Network).unwrap();
    assert_eq!(flow.path, Some(path));
    assert_eq!(Create::from_flow_info(&flow, 5).path, Some(path));
    // libccp's CREATE has no room for it.
    let plain_path = Create {
        path: Some(path),
        ..plain()
    };
    assert_eq!(plain_path.to_frame().unwrap(), plain().to_frame().unwrap());
}

#[test]
fn details_are_checked() {
    let full = Create {
        details: Some(CreateDetails::default()),
        ..plain()
    };
    let bytes = full.to_frame().unwrap().to_vec();
    for (place, field) in [(96, "family"), (97, "origin")] {
        let mut bytes = bytes.clone();
        bytes[place] = 9;
        match read(&bytes) {
            Err(DecodeError::BadValue {
                field: named, got, ..
            }) => assert_eq!((named, got), (field, 9)),
            other => panic!("{other:?}"),
        }
    }
    let (v4, v6): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [0; 16].into());
    for addresses in [(v4, v6), (v6, v4)] {
        let mixed = Create {
            details: Some(CreateDetails {
                addresses: Some(addresses),
                ..CreateDetails::default()
            }),
            ..plain()
        };
        assert!(matches!(
            mixed.to_frame(),
            Err(EncodeError::BadText {
                field: "addresses",
                ..
            })
        ));
    }
}

#[test]
fn attributes_stand_behind_the_path_or_its_absence() {
    let mut flow = FlowInfo::new(
        SockId(15),
        "10.1.2.3:4242".parse().unwrap(),
        "192.168.0.9:443".parse().unwrap(),
        1448,
        Bytes(14_480),
    );
    flow.attributes = Attributes::from_iter([
        Attribute::number(Attribute::UID, 1000),
        Attribute::text("lane", "fast"),
        Attribute::number(Attribute::UID, 1001),
    ]);
    let bytes = Create::from_flow_info(&flow, 1).to_frame().unwrap();
    assert_eq!(bytes[160..168], [0xff; 8]);
    assert_eq!(bytes[168..175], *b"\x03\x00\x08\x00uid");
    assert_eq!(bytes[175..183], 1000u64.to_le_bytes());
    assert_eq!(bytes[183..195], *b"\x04\x01\x04\x00lanefast");
    assert_eq!(
        read(&bytes).unwrap().to_flow_info(PortOrder::Network),
        Ok(flow.clone())
    );
    flow.path = Some(PathId {
        connection: 7,
        path: u32::MAX,
    });
    let bytes = Create::from_flow_info(&flow, 1).to_frame().unwrap();
    assert_eq!(
        read(&bytes).unwrap().to_flow_info(PortOrder::Network),
        Ok(flow.clone())
    );
    flow.path = Some(super::NO_PATH);
    assert!(Create::from_flow_info(&flow, 1).to_frame().is_err());
}

/// A frame of an announcement with `attributes` behind it, as bytes.
fn with_attributes(attributes: &[u8]) -> Vec<u8> {
    let flow = FlowInfo::new(
        SockId(15),
        "10.1.2.3:4242".parse().unwrap(),
        "192.168.0.9:443".parse().unwrap(),
        1448,
        Bytes(14_480),
    );
    let mut bytes = Create::from_flow_info(&flow, 1)
        .to_frame()
        .unwrap()
        .to_vec();
    bytes.extend([0xff; 8]);
    bytes.extend(attributes);
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&len.to_le_bytes());
    bytes
}

#[test]
fn what_is_no_attribute_is_refused_or_passed_over() {
    let told =
        |attributes: &[u8]| read(&with_attributes(attributes)).map(|create| create.attributes);
    let uid = Attributes::from_iter([Attribute::number(Attribute::UID, 1)]);
    // A kind that is not known yet; padding; the end of the list.
    let mut bytes = b"\x01\x09\x03\x00xabc\x03\x00\x08\x00uid\x01\0\0\0\0\0\0\0".to_vec();
    assert_eq!(told(&bytes), Ok(uid.clone()));
    bytes.extend([0; 3]);
    assert_eq!(told(&bytes), Ok(uid.clone()));
    bytes.extend([0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(told(&bytes), Ok(uid));
    for wrong in [
        &b"\x03\x00\x04\x00uid\x01\0\0\0"[..],
        b"\x03\x00\x08\x00uid\x01\0\0\0",
        b"\x01\x01\x01\x00x\xff",
        b"\x01\x01\x01\x00\xffx",
        b"\xff\x01\x01\x00x",
        &b"\x01\x01\x01\x00xy".repeat(33),
    ] {
        assert!(told(wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(
        told(&b"\x01\x01\x01\x00xy".repeat(32))
            .unwrap()
            .iter()
            .len(),
        32
    );
}
