//! What a rule asks of the things that only some datapaths tell: control group, network namespace, user,
//! mark.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use ccp_types::{Attribute, AttributeValue, Attributes};
use serde::de::{self, Deserialize, Deserializer, Visitor};

use super::matching::number;
use super::{Fit, MatchError};

/// A control group and all below it: `/system.slice/nginx.service`, `/` for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CgroupPath(String);

impl CgroupPath {
    /// Whether the group at `path` is this one or below it.
    #[must_use]
    pub fn contains(&self, path: &str) -> bool {
        path.strip_prefix(self.0.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.0.ends_with('/'))
    }

    pub(super) fn fit(&self, told: &Attributes) -> Fit {
        any(told.texts(Attribute::CGROUP), |path| self.contains(path))
    }
}

impl FromStr for CgroupPath {
    type Err = MatchError;

    fn from_str(text: &str) -> Result<Self, MatchError> {
        let parts = text.strip_prefix('/').filter(|parts| {
            let whole = |part: &str| !part.is_empty() && part != "." && part != "..";
            parts.is_empty() || parts.split('/').all(whole)
        });
        match parts {
            Some(_) if !text.contains(['\0', '\n']) => Ok(Self(text.to_owned())),
            _ => Err(MatchError::Cgroup {
                text: text.to_owned(),
            }),
        }
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which network namespace: `"initial"`, `"any"`, a name as `ip netns` gives it, or the number (inode) that
/// `ip netns identify` and `readlink /proc/PID/ns/net` know it by.
///
/// A rule without it is for the initial one: any local user can make a namespace, and flows in it with any
/// addresses.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Netns {
    /// The initial one.
    Initial,
    /// Whatever it is: asks for nothing.
    Any,
    /// The one with this number, which another may have after it.
    Inode(u64),
    /// The one that had this name when the flow came.
    Named(String),
}

impl Netns {
    pub(super) fn fit(&self, told: &Attributes) -> Fit {
        let mut values = told.values(Attribute::NETNS);
        match self {
            Self::Any => Fit::Fits,
            Self::Inode(inode) => any(values, |v| *v == AttributeValue::Number(*inode)),
            Self::Initial => any(values, is_initial),
            Self::Named(name) => any(
                &mut values,
                |v| matches!(v, AttributeValue::Text(text) if **text == **name),
            ),
        }
    }

    /// A rule that says nothing of it; `None` for a flow whose datapath does not either.
    pub(super) fn unsaid(told: &Attributes) -> Option<Fit> {
        match Self::Initial.fit(told) {
            Fit::Untold => None,
            fit => Some(fit),
        }
    }
}

fn is_initial(value: &AttributeValue) -> bool {
    matches!(value, AttributeValue::Text(text) if **text == *Attribute::INITIAL)
}

impl FromStr for Netns {
    type Err = MatchError;

    fn from_str(text: &str) -> Result<Self, MatchError> {
        // A file under /run/netns.
        let is_name = !text.is_empty()
            && text.len() <= 255
            && !text.starts_with('-')
            && !matches!(text, "." | "..")
            && !text.contains(['/', '\0']);
        match text {
            Attribute::INITIAL => Ok(Self::Initial),
            "any" => Ok(Self::Any),
            _ => match number(text) {
                Some(0) => Err(MatchError::Netns { text: text.into() }),
                Some(inode) => Ok(Self::Inode(inode)),
                None if is_name => Ok(Self::Named(text.to_owned())),
                None => Err(MatchError::Netns { text: text.into() }),
            },
        }
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Initial => Attribute::INITIAL.fmt(f),
            Self::Any => "any".fmt(f),
            Self::Inode(inode) => inode.fmt(f),
            Self::Named(name) => name.fmt(f),
        }
    }
}

/// One user or a range of them, as numbers: `33`, `1000-1999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct UidRange {
    first: u32,
    last: u32,
}

impl UidRange {
    /// The users in `range`.
    ///
    /// # Errors
    /// If it is empty, or ends with 4294967295, which is nobody's number.
    pub fn new(range: RangeInclusive<u32>) -> Result<Self, MatchError> {
        let (first, last) = range.into_inner();
        if first > last {
            return Err(MatchError::Reversed { first, last });
        }
        if last == u32::MAX {
            return Err(MatchError::Uid {
                text: last.to_string(),
            });
        }
        Ok(Self { first, last })
    }

    /// Whether `uid` is one of them.
    #[must_use]
    pub fn contains(self, uid: u64) -> bool {
        u64::from(self.first) <= uid && uid <= u64::from(self.last)
    }

    pub(super) fn fit(self, told: &Attributes) -> Fit {
        let told = told.number(Attribute::UID);
        any(told, |uid| self.contains(uid))
    }
}

impl FromStr for UidRange {
    type Err = MatchError;

    fn from_str(text: &str) -> Result<Self, MatchError> {
        let uid = |part: &str| {
            number(part.trim()).ok_or_else(|| MatchError::Uid {
                text: text.to_owned(),
            })
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(uid(first)?..=uid(last)?)
    }
}

impl fmt::Display for UidRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// A socket's mark, or some bits of it: `7`, `0x10`, `0x10/0xf0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mark {
    value: u32,
    mask: u32,
}

impl Mark {
    /// The marks that have the bits `value` where `mask` has ones.
    ///
    /// # Errors
    /// If `value` has bits that `mask` has not: no mark could fit.
    pub fn new(value: u32, mask: u32) -> Result<Self, MatchError> {
        if value & !mask == 0 {
            Ok(Self { value, mask })
        } else {
            Err(MatchError::MarkBits { value, mask })
        }
    }

    /// Whether `mark` is one of them.
    #[must_use]
    pub fn contains(self, mark: u64) -> bool {
        u32::try_from(mark).is_ok_and(|mark| mark & self.mask == self.value)
    }

    pub(super) fn fit(self, told: &Attributes) -> Fit {
        let told = told.number(Attribute::MARK);
        any(told, |mark| self.contains(mark))
    }
}

impl FromStr for Mark {
    type Err = MatchError;

    fn from_str(text: &str) -> Result<Self, MatchError> {
        let word = |part: &str| {
            let read = match part.strip_prefix("0x") {
                Some(digits) if digits.bytes().all(|b| b.is_ascii_hexdigit()) => {
                    u32::from_str_radix(digits, 16).ok()
                }
                Some(_) => None,
                None => number(part),
            };
            read.ok_or_else(|| MatchError::Mark {
                text: text.to_owned(),
            })
        };
        match text.split_once('/') {
            None => Self::new(word(text)?, u32::MAX),
            Some((value, mask)) => Self::new(word(value)?, word(mask)?),
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.value)?;
        if self.mask != u32::MAX {
            write!(f, "/{:#x}", self.mask)?;
        }
        Ok(())
    }
}

/// Whether one of the values that are told is wanted.
fn any<T>(told: impl IntoIterator<Item = T>, wanted: impl Fn(T) -> bool) -> Fit {
    let mut fit = Fit::Untold;
    for value in told {
        if wanted(value) {
            return Fit::Fits;
        }
        fit = Fit::Differs;
    }
    fit
}

/// Reads a text, or a whole number as its digits, by `FromStr`.
macro_rules! deserialize {
    ($type:ty, $expecting:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct NumberOrText;
                impl Visitor<'_> for NumberOrText {
                    type Value = $type;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expecting)
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(E::custom)
                    }

                    fn visit_i64<E: de::Error>(self, number: i64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }

                    fn visit_u64<E: de::Error>(self, number: u64) -> Result<$type, E> {
                        self.visit_str(&number.to_string())
                    }
                }
                from.deserialize_any(NumberOrText)
            }
        }
    };
}

deserialize!(CgroupPath, "a path like \"/system.slice/nginx.service\"");
deserialize!(
    Netns,
    "\"initial\", \"any\", a name or a number of a network namespace"
);
deserialize!(
    UidRange,
    "a user's number like 33 or a range like \"1000-1999\""
);
deserialize!(Mark, "a mark like 7 or \"0x10/0xf0\"");
