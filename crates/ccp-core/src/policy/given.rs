//! What a rule gives to a flow.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

use crate::registry::Algorithm;

/// What a flow is given.
#[derive(Clone, Debug)]
pub enum Given {
    /// An algorithm of ours.
    Algorithm(Algorithm),
    /// It is left to its datapath.
    Native(Native),
}

impl Given {
    /// Its name in a configuration.
    #[must_use]
    pub fn name(&self) -> Cow<'_, str> {
        match self {
            Self::Algorithm(algorithm) => algorithm.name().into(),
            Self::Native(native) => native.to_string().into(),
        }
    }

    /// The algorithm, if it is one of ours.
    #[must_use]
    pub const fn algorithm(&self) -> Option<&Algorithm> {
        match self {
            Self::Algorithm(algorithm) => Some(algorithm),
            Self::Native(_) => None,
        }
    }
}

impl From<Algorithm> for Given {
    fn from(algorithm: Algorithm) -> Self {
        Self::Algorithm(algorithm)
    }
}

/// How a flow is left to its datapath: `native`, or `native:cubic`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Native {
    /// By the algorithm with which the datapath steers flows that nobody else does. It stays under control:
    /// it is listed, and can be given something else.
    #[default]
    Own,
    /// By this one of the algorithms that the datapath's host has, as Linux has `cubic` and `reno`. It is
    /// handed over, and no longer under control. A datapath that has none steers it by itself.
    Named(Arc<str>),
}

/// What is no `native` and no `native:NAME`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "expected `native`, or `native:` and the name of an algorithm of the kernel: 1 to 15 letters, digits, `_`, `.` or `-`"
)]
pub struct NotNative;

impl Native {
    /// The word that stands for it.
    const WORD: &'static str = "native";

    /// Whether `text` is meant to be one.
    #[must_use]
    pub fn is_meant(text: &str) -> bool {
        text.strip_prefix(Self::WORD)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    }

    /// The algorithm of the host, if one is named.
    #[must_use]
    pub fn algorithm(&self) -> Option<&str> {
        match self {
            Self::Own => None,
            Self::Named(name) => Some(name),
        }
    }
}

impl FromStr for Native {
    type Err = NotNative;

    fn from_str(text: &str) -> Result<Self, NotNative> {
        let usual = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
        let named = |name: &str| (1..16).contains(&name.len()) && name.bytes().all(usual);
        match text.split_once(':') {
            None if text == Self::WORD => Ok(Self::Own),
            Some((Self::WORD, name)) if named(name) => Ok(Self::Named(name.into())),
            _ => Err(NotNative),
        }
    }
}

impl fmt::Display for Native {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str(Self::WORD),
            Self::Named(name) => write!(f, "{}:{name}", Self::WORD),
        }
    }
}
