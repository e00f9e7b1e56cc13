//! What can be chosen about a datapath.

use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

use crate::layout::MAX_FLOWS;

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

/// How to attach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// What sockets ask for (`TCP_CONGESTION`): 1 to 15 letters, digits, `_` or `.`.
    /// Default: `ccp`.
    pub name: String,
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
            namespaces: Namespaces::default(),
            fallback_after: Duration::from_secs(1),
            max_flows: MAX_FLOWS,
            ring_bytes: 4 << 20,
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
    /// `fallback_after` is out of range.
    #[error("fallback_after is {got:?}, but must be from 10 ms to 1 h")]
    FallbackAfter {
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

    /// Checks every value against its range; `attach` does so too.
    ///
    /// # Errors
    /// The first option out of its range.
    pub fn validate(&self) -> Result<(), OptionsError> {
        let name = |problem| OptionsError::Name {
            name: self.name.clone(),
            problem,
        };
        if self.name.is_empty() {
            return Err(name("empty"));
        }
        if self.name.len() > 15 {
            return Err(name("too long"));
        }
        // The kernel's rule for names that come with BPF; "." and ".." would not do as a directory.
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'.';
        if !self.name.bytes().all(valid) || self.name.bytes().all(|b| b == b'.') {
            return Err(name("not a name"));
        }
        let range = Duration::from_millis(10)..=Duration::from_secs(3600);
        if !range.contains(&self.fallback_after) {
            return Err(OptionsError::FallbackAfter {
                got: self.fallback_after,
            });
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
        assert!(with(|o| o.pin_root = "bpf".into()).is_err());
    }
}
