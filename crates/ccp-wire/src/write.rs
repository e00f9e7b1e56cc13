//! Writing a frame: header first, its length when the body is there, nothing at all on an error.

use bytes::{BufMut, BytesMut};
use ccp_types::SockId;

use crate::{Encode, EncodeError, Frame, HEADER_LEN, Header, Kind, MAX_FRAME};

/// Appends a frame to `dst` whose body `body` writes. If that fails, or the frame turns out to be
/// longer than `limit`, `dst` is left as it was.
pub(crate) fn frame(
    dst: &mut BytesMut,
    kind: Kind,
    sock_id: SockId,
    limit: usize,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = dst.len();
    dst.put_slice(&[0; HEADER_LEN]);
    let result = body(dst).and_then(|()| {
        let got = dst.len() - start;
        let too_long = EncodeError::TooLong { kind, limit, got };
        match u16::try_from(got) {
            Ok(len) if got <= limit => Ok(len),
            _ => Err(too_long),
        }
    });
    match result {
        Ok(len) => {
            let header = Header { kind, len, sock_id };
            if let Some(place) = dst
                .get_mut(start..)
                .and_then(|frame| frame.first_chunk_mut::<HEADER_LEN>())
            {
                *place = header.to_bytes();
            }
            Ok(())
        }
        Err(error) => {
            dst.truncate(start);
            Err(error)
        }
    }
}

/// Checks a count against its limit and gives it as it is written.
pub(crate) fn count(
    kind: Kind,
    what: &'static str,
    got: usize,
    limit: usize,
) -> Result<u32, EncodeError> {
    match u32::try_from(got) {
        Ok(count) if got <= limit => Ok(count),
        _ => Err(EncodeError::TooMany {
            kind,
            what,
            limit,
            got,
        }),
    }
}

impl Encode for Frame<'_> {
    /// Writes the frame as it is, whatever its type.
    fn encode(&self, dst: &mut BytesMut) -> Result<(), EncodeError> {
        frame(dst, self.kind, self.sock_id, MAX_FRAME, |dst| {
            dst.put_slice(self.body);
            Ok(())
        })
    }
}
