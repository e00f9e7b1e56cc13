//! What can be chosen about a datapath.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::layout::{MAX_FLOWS, MAX_NAMES};

/// Whose flows are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// Those of the machine's initial network namespace; where that cannot be found out (inside
    /// a container), of the one this process is in. Others that ask for the name are handed to
    /// the system's CUBIC.
    #[default]
    Initial,
    /// Those of every network namespace. Any local user can create such namespaces and open
    /// flows there that look as if they came from anywhere.
    Any,
}

/// A further name that sockets may ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Name {
    /// The name, of the same form as [`Options::name`].
    pub name: String,
    /// Whether sockets that use it negotiate ECN, whatever `net.ipv4.tcp_ecn` says (the kernel's
    /// `TCP_CONG_NEEDS_ECN`). Their SYNs are marked as ECN-capable too, which Linux accepts only
    /// where the listening socket uses such a name as well (or `dctcp`).
    pub ecn: bool,
}

/// How to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What sockets ask for (`TCP_CONGESTION`): 1 to 15 letters, digits, `_` or `.`.
    /// Default: `ccp`.
    pub name: String,
    /// Further names of the same datapath, at most 7. Which one a flow uses, its CREATE says as
    /// the algorithm that it asks for. Default: none.
    pub more_names: Vec<Name>,
    /// Whose flows are taken.
    pub namespaces: Namespaces,
    /// Age of the heartbeat after which flows go on with native CUBIC: 10 ms to 1 h.
    /// Default: 1 s.
    pub fallback_after: Duration,
    /// Most flows at a time, a power of two up to 65,536. Flows beyond are handed to the
    /// system's CUBIC. Default: 65,536; costs 384 bytes each.
    pub max_flows: u32,
    /// Size of the ring buffer for frames in bytes, a power of two from 4,096 to 1 GiB.
    /// Default: 4 MiB.
    pub ring_bytes: u32,
    /// How long reports of a flow may go unhandled ([`Mailbox::handled`](crate::Mailbox::handled))
    /// before it goes on natively, alone: 10 ms to 1 h, or `None` for ever. Default: never.
    pub unanswered_after: Option<Duration>,
    /// Most slots for the flows of one network namespace other than the initial one; flows
    /// beyond are handed to the system's CUBIC. Default: no limit but `max_flows`.
    pub max_flows_per_namespace: Option<u32>,
    /// Likewise for those of one user other than root. Default: no limit but `max_flows`.
    pub max_flows_per_user: Option<u32>,
    /// Program faults in a row after which a flow falls back; 0 = never. Default: 16.
    pub max_fault_run: u32,
    /// Directory within a BPF file system under which things are pinned; the datapath uses
    /// `<pin_root>/<name>`. Default: `/sys/fs/bpf/ccpd`.
    pub pin_root: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "ccp".into(),
            more_names: Vec::new(),
            namespaces: Namespaces::default(),
            fallback_after: Duration::from_secs(1),
            max_flows: MAX_FLOWS,
            ring_bytes: 4 << 20,
            unanswered_after: None,
            max_flows_per_namespace: None,
            max_flows_per_user: None,
            max_fault_run: 16,
            pin_root: "/sys/fs/bpf/ccpd".into(),
        }
    }
}

/// An option is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum OptionsError {
    /// `name` cannot be the name of a congestion control.
    #[error("name `{name}` is {problem}; the kernel takes 1 to 15 letters, digits, `_` or `.`")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The same name is given twice.
    #[error("the name `{name}` is given twice")]
    NameTwice {
        /// The name.
        name: String,
    },
    /// Too many names.
    #[error("{got} names are given, but one datapath registers at most {MAX_NAMES}")]
    TooManyNames {
        /// How many.
        got: usize,
    },
    /// `fallback_after` is out of range.
    #[error("fallback_after is {got:?}, but must be from 10 ms to 1 h")]
    FallbackAfter {
        /// The value.
        got: Duration,
    },
    /// `unanswered_after` is out of range.
    #[error("unanswered_after is {got:?}, but must be from 10 ms to 1 h")]
    UnansweredAfter {
        /// The value.
        got: Duration,
    },
    /// `max_flows` is out of range.
    #[error("max_flows is {got}, but must be a power of two from 1 to {MAX_FLOWS}")]
    MaxFlows {
        /// The value.
        got: u32,
    },
    /// `ring_bytes` is out of range.
    #[error("ring_bytes is {got}, but must be a power of two from 4096 to 1073741824")]
    RingBytes {
        /// The value.
        got: u32,
    },
    /// `pin_root` is not absolute.
    #[error("pin_root `{}` must be an absolute path", got.display())]
    PinRoot {
        /// The value.
        got: PathBuf,
    },
}

impl Options {
    /// Options with this name, the rest as by default.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// All names, the first one first, and whether their sockets negotiate ECN.
    pub(crate) fn names(&self) -> impl Iterator<Item = (&str, bool)> {
        let more = self.more_names.iter().map(|n| (n.name.as_str(), n.ecn));
        std::iter::once((self.name.as_str(), false)).chain(more)
    }

    /// Checks every value against its range; `attach` does so too.
    ///
    /// # Errors
    /// The first option out of its range.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let mut seen = Vec::new();
        for (name, _) in self.names() {
            check_name(name)?;
            if seen.contains(&name) {
                return Err(OptionsError::NameTwice { name: name.into() });
            }
            seen.push(name);
        }
        if seen.len() > MAX_NAMES {
            return Err(OptionsError::TooManyNames { got: seen.len() });
        }
        let range = Duration::from_millis(10)..=Duration::from_secs(3600);
        if !range.contains(&self.fallback_after) {
            return Err(OptionsError::FallbackAfter {
                got: self.fallback_after,
            });
        }
        if let Some(got) = self.unanswered_after.filter(|got| !range.contains(got)) {
            return Err(OptionsError::UnansweredAfter { got });
        }
        if !self.max_flows.is_power_of_two() || self.max_flows > MAX_FLOWS {
            return Err(OptionsError::MaxFlows {
                got: self.max_flows,
            });
        }
        if !self.ring_bytes.is_power_of_two() || !(4096..=1 << 30).contains(&self.ring_bytes) {
            return Err(OptionsError::RingBytes {
                got: self.ring_bytes,
            });
        }
        if !self.pin_root.is_absolute() {
            return Err(OptionsError::PinRoot {
                got: self.pin_root.clone(),
            });
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), OptionsError> {
    // The kernel's rule for names that come with BPF; "." and ".." would not do as a directory.
    let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
    let problem = if name.is_empty() {
        "empty"
    } else if name.len() > 15 {
        "too long"
    } else if !name.bytes().all(valid) || name.bytes().all(|b| b == b'.') {
        "not a name"
    } else {
        return Ok(());
    };
    Err(OptionsError::Name {
        name: name.to_owned(),
        problem,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(Options::default().validate(), Ok(()));
    }

    #[test]
    fn names_at_their_bounds() {
        for name in ["c", "ccp_reno.2", "a23456789012345"] {
            assert_eq!(Options::named(name).validate(), Ok(()), "{name}");
        }
        for (name, problem) in [
            ("", "empty"),
            ("a234567890123456", "too long"),
            ("ccp-reno", "not a name"),
            ("a/b", "not a name"),
            ("..", "not a name"),
        ] {
            let error = Options::named(name).validate().unwrap_err().to_string();
            assert!(
                error.contains(problem) && error.contains("1 to 15"),
                "{error}"
            );
        }
    }

    #[test]
    fn further_names_are_checked_too() {
        let with = |names: &[&str]| {
            let name = |n: &&str| Name {
                name: (*n).to_owned(),
                ecn: true,
            };
            let options = Options {
                more_names: names.iter().map(name).collect(),
                ..Options::default()
            };
            options.validate().map_err(|e| e.to_string())
        };
        assert_eq!(with(&["a", "b", "c", "d", "e", "f", "g"]), Ok(()));
        let error = with(&["a", "b", "c", "d", "e", "f", "g", "h"]).unwrap_err();
        assert!(error.contains("at most 8"), "{error}");
        assert!(with(&["ccp"]).unwrap_err().contains("twice"));
        assert!(with(&["ccp-cubic"]).unwrap_err().contains("not a name"));
    }

    #[test]
    fn ranges_at_their_bounds() {
        let with = |f: fn(&mut Options)| {
            let mut o = Options::default();
            f(&mut o);
            o.validate()
        };
        assert!(with(|o| o.max_flows = 1).is_ok());
        assert!(with(|o| o.max_flows = 0).is_err());
        assert!(with(|o| o.max_flows = 3).is_err());
        assert!(with(|o| o.max_flows = 131_072).is_err());
        assert!(with(|o| o.ring_bytes = 4096).is_ok());
        assert!(with(|o| o.ring_bytes = 2048).is_err());
        assert!(with(|o| o.fallback_after = Duration::from_millis(10)).is_ok());
        assert!(with(|o| o.fallback_after = Duration::from_millis(9)).is_err());
        assert!(with(|o| o.unanswered_after = Some(Duration::from_millis(10))).is_ok());
        assert!(with(|o| o.unanswered_after = Some(Duration::from_millis(9))).is_err());
        assert!(with(|o| o.pin_root = "bpf".into()).is_err());
    }
}
