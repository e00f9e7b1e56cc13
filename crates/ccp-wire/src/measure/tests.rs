use bytes::BytesMut;
use ccp_types::{Bytes, SockId};

use super::{MAX_REPORT_FIELDS, MeasureBuf, ReportTrailer, Totals};
use crate::{DecodeError, Encode, EncodeError, Frame, Kind, Measure, Message};

fn report(fields: Vec<u64>) -> MeasureBuf {
    MeasureBuf {
        sock_id: SockId(7),
        program_uid: 3,
        fields,
        trailer: None,
        totals: None,
    }
}

fn read(bytes: &[u8]) -> Result<Measure<'_>, DecodeError> {
    match Frame::split(bytes)?.0.message()? {
        Message::Measure(m) => Ok(m),
        other => panic!("{other:?}"),
    }
}

#[test]
fn fields_are_read_in_place() {
    let bytes = report(vec![1, u64::MAX, 3]).to_frame().unwrap();
    let measure = read(&bytes).unwrap();
    assert_eq!(measure.len(), 3);
    assert!(!measure.is_close());
    assert_eq!(measure.field(1), Some(u64::MAX));
    assert_eq!(measure.field(3), None);
    assert_eq!(measure.fields().collect::<Vec<_>>(), [1, u64::MAX, 3]);
    assert_eq!(measure.to_buf(), report(vec![1, u64::MAX, 3]));
}

#[test]
fn a_close_is_sixteen_bytes_as_libccp_writes_it() {
    let bytes = MeasureBuf::close(SockId(2)).to_frame().unwrap();
    assert_eq!(bytes[..], [1, 0, 16, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(read(&bytes).unwrap().is_close());
}

#[test]
fn the_trailer_stands_behind_the_fields_and_the_totals_behind_it() {
    let mut m = report(vec![5]);
    m.trailer = Some(ReportTrailer {
        generation: 4,
        merged: 2,
    });
    let bytes = m.to_frame().unwrap();
    assert_eq!(bytes.len(), 8 + 8 + 8 + 8);
    assert_eq!(read(&bytes).unwrap().to_buf(), m);

    let mut close = MeasureBuf::close(SockId(7));
    close.trailer = m.trailer;
    close.totals = Some(Totals {
        sent: Bytes(4),
        delivered: Bytes(3),
        lost: Bytes(2),
        ce: Bytes(1),
    });
    let bytes = close.to_frame().unwrap();
    assert_eq!(bytes.len(), 16 + 8 + 32);
    assert_eq!(read(&bytes).unwrap().to_buf(), close);
}

#[test]
fn half_a_trailer_counts_as_none() {
    let mut bytes = report(vec![5]).to_frame().unwrap().to_vec();
    bytes.extend([1; 7]);
    bytes[2] += 7;
    assert_eq!(read(&bytes).unwrap().trailer, None);
}

#[test]
fn totals_belong_to_a_close_with_a_trailer() {
    for (fields, trailer) in [(vec![1], Some(ReportTrailer::default())), (vec![], None)] {
        let m = MeasureBuf {
            trailer,
            totals: Some(Totals::default()),
            ..report(fields)
        };
        assert!(matches!(
            m.to_frame(),
            Err(EncodeError::BadValue {
                field: "totals",
                ..
            })
        ));
    }
}

#[test]
fn the_last_count_that_fits_and_the_first_that_does_not() {
    let most = report(vec![9; MAX_REPORT_FIELDS]);
    let mut bytes = most.to_frame().unwrap().to_vec();
    assert_eq!(read(&bytes).unwrap().to_buf(), most);

    // One more than fits, with the bytes there; and more than are there.
    bytes.extend([0; 8]);
    let len = u16::try_from(bytes.len()).unwrap();
    bytes[2..4].copy_from_slice(&len.to_le_bytes());
    bytes[12..16].copy_from_slice(&111u32.to_le_bytes());
    assert_eq!(
        read(&bytes),
        Err(DecodeError::TooMany {
            kind: Kind::Measure,
            what: "report fields",
            limit: 110,
            got: 111
        })
    );
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(read(&bytes), Err(DecodeError::TooMany { .. })));

    let mut dst = BytesMut::from(&b"before"[..]);
    let error = report(vec![9; MAX_REPORT_FIELDS + 1]).encode(&mut dst);
    assert_eq!(
        error,
        Err(EncodeError::TooMany {
            kind: Kind::Measure,
            what: "report fields",
            limit: 110,
            got: 111
        })
    );
    assert_eq!(dst, "before", "what could not be written left no trace");
}

#[test]
fn part_of_a_field_is_an_error() {
    let mut bytes = report(vec![5, 6]).to_frame().unwrap().to_vec();
    bytes.truncate(bytes.len() - 3);
    bytes[2] -= 3;
    assert_eq!(
        read(&bytes),
        Err(DecodeError::BodyTooShort {
            kind: Kind::Measure,
            field: "report fields",
            expected: 16,
            got: 13
        })
    );
}
