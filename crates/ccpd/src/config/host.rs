//! What a configuration names that only this machine knows.

use std::{fs, io};

use nix::unistd::User;
use thiserror::Error;

/// Where the kernel lists its algorithms.
const AVAILABLE: &str = "/proc/sys/net/ipv4/tcp_available_congestion_control";

/// The number of the user called `name`; `None` if there is none.
pub(super) fn uid_of(name: &str) -> io::Result<Option<u32>> {
    let user = User::from_name(name).map_err(io::Error::from)?;
    Ok(user.map(|user| user.uid.as_raw()))
}

/// Flows can't be handed to an algorithm of the kernel.
#[derive(Debug, Error)]
pub(crate) enum NoNative {
    /// It has none of this name.
    #[error(
        "this kernel has no algorithm `{name}` now, but {has}; if it has it as a module, `modprobe tcp_{name}` loads it"
    )]
    Unavailable {
        /// The name.
        name: String,
        /// What there is.
        has: String,
    },
    /// It is ours.
    #[error("`{name}` is a name of a datapath of ccpd itself, not of an algorithm of the kernel")]
    Ours {
        /// The name.
        name: String,
    },
    /// The kernel does not let BPF programs hand flows to it.
    #[error("Linux does not let flows be handed to `cdg` in this way")]
    Cdg,
    /// It can't be known.
    #[error("can't read {AVAILABLE}: {0}")]
    Unknown(io::Error),
}

/// Whether the kernel has the algorithm `name`.
pub(super) fn check_algorithm(name: &str) -> Result<(), NoNative> {
    if name == "cdg" {
        return Err(NoNative::Cdg);
    }
    let available = fs::read_to_string(AVAILABLE).map_err(NoNative::Unknown)?;
    if available.split_whitespace().any(|has| has == name) {
        return Ok(());
    }
    Err(NoNative::Unavailable {
        name: name.to_owned(),
        has: available.split_whitespace().collect::<Vec<_>>().join(", "),
    })
}
