//! Where a datapath may be answered: it names the path itself, so it could name somebody else's.
//!
//! Whoever can make a mount namespace is bound at any path that they like, as far as one can see here. What
//! the path leads to here is answered only if it is a socket of the sender's own, in a directory of root,
//! of the daemon's user or of the sender. It is opened first and then looked at and used by its descriptor:
//! nobody can change it in between.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat};
use rustix::net::SocketAddrUnix;
use rustix::process::geteuid;
use thiserror::Error;

/// A socket that may be answered.
#[derive(Debug)]
pub(super) struct Target {
    /// Keeps what the address names.
    _file: OwnedFd,
    address: SocketAddrUnix,
}

/// Why a datapath is not answered.
#[derive(Debug, Error)]
pub(super) enum Untrusted {
    #[error("its path is not an absolute one of a file")]
    Relative,
    #[error("its path can't be opened here")]
    Missing(#[source] io::Error),
    #[error(
        "the directory of its path belongs to user {owner}: it has to be root's, the daemon's or the sender's"
    )]
    Directory { owner: u32 },
    #[error("there is something else than a socket at its path")]
    NoSocket,
    #[error("the socket at its path belongs to user {owner}, the sender is user {sender}")]
    Socket { owner: u32, sender: u32 },
}

impl Target {
    /// The socket at `path`, by which the user `sender` wants to be answered.
    pub(super) fn open(path: &Path, sender: u32) -> Result<Self, Untrusted> {
        let (Some(directory), Some(name), true) =
            (path.parent(), path.file_name(), path.is_absolute())
        else {
            return Err(Untrusted::Relative);
        };
        let only_name = OFlags::PATH | OFlags::CLOEXEC;
        let missing = |error: rustix::io::Errno| Untrusted::Missing(error.into());
        let directory = openat(CWD, directory, only_name | OFlags::DIRECTORY, Mode::empty());
        let directory = directory.map_err(missing)?;
        let owner = fstat(&directory).map_err(missing)?.st_uid;
        if ![0, geteuid().as_raw(), sender].contains(&owner) {
            return Err(Untrusted::Directory { owner });
        }
        let file = openat(
            &directory,
            name,
            only_name | OFlags::NOFOLLOW,
            Mode::empty(),
        );
        let file = file.map_err(missing)?;
        check_socket(&fstat(&file).map_err(missing)?, sender)?;
        let address = SocketAddrUnix::new(format!("/proc/self/fd/{}", file.as_raw_fd()));
        Ok(Self {
            _file: file,
            address: address.map_err(missing)?,
        })
    }

    /// By which it is connected to, or sent to, while this lives.
    pub(super) const fn address(&self) -> &SocketAddrUnix {
        &self.address
    }
}

fn check_socket(found: &Stat, sender: u32) -> Result<(), Untrusted> {
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(Untrusted::NoSocket);
    }
    let owner = found.st_uid;
    // Root may also name what it made for others.
    if sender != 0 && owner != sender {
        return Err(Untrusted::Socket { owner, sender });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
