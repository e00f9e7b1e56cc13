//! Reading a body field by field, each with its name for the error.

use crate::{DecodeError, Kind};

/// What is left of a body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    kind: Kind,
    rest: &'a [u8],
}

macro_rules! number {
    ($name:ident) => {
        pub(crate) fn $name(&mut self, field: &'static str) -> Result<$name, DecodeError> {
            self.array(field).map($name::from_le_bytes)
        }
    };
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(kind: Kind, body: &'a [u8]) -> Self {
        Self { kind, rest: body }
    }

    /// How many bytes are left.
    pub(crate) const fn left(&self) -> usize {
        self.rest.len()
    }

    number!(u8);
    number!(u16);
    number!(u32);
    number!(u64);

    pub(crate) fn array<const N: usize>(
        &mut self,
        field: &'static str,
    ) -> Result<[u8; N], DecodeError> {
        match self.rest.split_first_chunk() {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(*bytes)
            }
            None => Err(self.too_short(field, N)),
        }
    }

    pub(crate) fn bytes(
        &mut self,
        field: &'static str,
        len: usize,
    ) -> Result<&'a [u8], DecodeError> {
        match self.rest.split_at_checked(len) {
            Some((bytes, rest)) => {
                self.rest = rest;
                Ok(bytes)
            }
            None => Err(self.too_short(field, len)),
        }
    }

    /// Checks a count against its limit and against the bytes at hand, so that a list of that
    /// many elements of at least `element` bytes may be allocated.
    pub(crate) fn count(
        &self,
        what: &'static str,
        got: u32,
        limit: usize,
        element: usize,
    ) -> Result<usize, DecodeError> {
        let got = usize::try_from(got).unwrap_or(usize::MAX);
        if got > limit {
            return Err(DecodeError::TooMany {
                kind: self.kind,
                what,
                limit,
                got,
            });
        }
        let needed = got.saturating_mul(element);
        if needed > self.left() {
            return Err(self.too_short(what, needed));
        }
        Ok(got)
    }

    pub(crate) fn bad(&self, field: &'static str, expected: &'static str, got: u64) -> DecodeError {
        DecodeError::BadValue {
            kind: self.kind,
            field,
            expected,
            got,
        }
    }

    pub(crate) fn bad_text(&self, field: &'static str, problem: &'static str) -> DecodeError {
        DecodeError::BadText {
            kind: self.kind,
            field,
            problem,
        }
    }

    fn too_short(&self, field: &'static str, expected: usize) -> DecodeError {
        DecodeError::BodyTooShort {
            kind: self.kind,
            field,
            expected,
            got: self.left(),
        }
    }
}
