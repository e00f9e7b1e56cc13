//! Sockets that this process was passed by who started it: a service manager's (socket activation,
//! sd_listen_fds(3)), or the daemon's before, which a service manager's store of descriptors kept.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::io::{FdFlags, fcntl_setfd, ioctl_fionbio};
use rustix::net::sockopt::{socket_acceptconn, socket_domain, socket_type};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, getsockname};

use super::SocketError;

/// A socket that is passed from process to process.
#[derive(Debug)]
pub struct PassedSocket {
    name: String,
    socket: OwnedFd,
}

impl PassedSocket {
    /// The name under which a daemon's own sockets are kept for the next one. Those of other names are
    /// somebody else's: the daemon does not remove them from the file system.
    pub const KEPT: &str = "kept";

    /// A socket, with the name under which it was passed (`LISTEN_FDNAMES`).
    #[must_use]
    pub fn new(name: impl Into<String>, socket: OwnedFd) -> Self {
        let name = name.into();
        Self { name, socket }
    }

    /// The name under which it was passed, or is to be.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The socket.
    #[must_use]
    pub const fn socket(&self) -> &OwnedFd {
        &self.socket
    }

    /// The socket, without its name.
    #[must_use]
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Whether it is a daemon's own, that of before or this one.
    pub(super) fn is_kept(&self) -> bool {
        self.name == Self::KEPT
    }
}

/// The sockets that were passed and that nobody has asked for yet.
#[derive(Debug, Default)]
pub(super) struct Passed {
    left: Vec<Known>,
    /// The paths of those that somebody has asked for.
    taken: Vec<PathBuf>,
}

#[derive(Debug)]
struct Known {
    number: usize,
    path: PathBuf,
    kind: SocketType,
    listens: bool,
    socket: PassedSocket,
}

impl Passed {
    /// Looks at what was passed.
    pub(super) fn new(sockets: Vec<PassedSocket>) -> Result<Self, SocketError> {
        let mut left = Vec::new();
        for (number, socket) in (3..).zip(sockets) {
            match look(&socket.socket) {
                Ok((path, kind, listens)) => left.push(Known {
                    number,
                    path,
                    kind,
                    listens,
                    socket,
                }),
                // What nobody can use any more keeps no daemon from starting; the store is made anew.
                Err(problem) if socket.is_kept() => {
                    tracing::warn!(
                        number,
                        problem,
                        "what was kept for this daemon is left aside"
                    );
                }
                Err(problem) => return Err(SocketError::Passed { number, problem }),
            }
        }
        let taken = Vec::new();
        Ok(Self { left, taken })
    }

    /// The one that is bound at `path`, if it was passed.
    pub(super) fn take(
        &mut self,
        path: &Path,
        kind: SocketType,
    ) -> Result<Option<PassedSocket>, SocketError> {
        self.taken.push(path.to_owned());
        let Some(at) = self.left.iter().position(|known| known.path == path) else {
            return Ok(None);
        };
        let known = self.left.swap_remove(at);
        if known.socket.is_kept() && std::fs::symlink_metadata(path).is_err() {
            // Nobody would find it any more: another one is made.
            tracing::info!(path = %path.display(), "a socket that was kept has lost its file");
            return Ok(None);
        }
        let wanted = match kind {
            SocketType::STREAM => "a listening stream socket (ListenStream=)",
            _ => "a datagram socket (ListenDatagram=)",
        };
        let fits = known.kind == kind && known.listens == (kind == SocketType::STREAM);
        if !fits && known.socket.is_kept() {
            // The configuration has changed in between: at this path is something else now.
            tracing::info!(path = %path.display(), "a socket that was kept is not what belongs at its path: removed");
            let _ = std::fs::remove_file(path);
            return Ok(None);
        }
        if !fits {
            return Err(SocketError::Passed {
                number: known.number,
                problem: format!("is bound at {}, where {wanted} belongs", path.display()),
            });
        }
        Ok(Some(known.socket))
    }

    /// Nobody asks for another one.
    pub(super) fn finish(self) -> Result<(), SocketError> {
        for known in self.left {
            let path = known.path.display();
            if known.socket.is_kept() && self.taken.contains(&known.path) {
                // It has lost its file to one that was made later, which is in use.
                tracing::info!(%path, "a socket that was kept is not the one at its path any more");
                continue;
            }
            if known.socket.is_kept() {
                // The configuration has changed in between: what is gone from it goes altogether.
                tracing::info!(%path, "a socket that was kept is not in the configuration: removed");
                let _ = std::fs::remove_file(&known.path);
                continue;
            }
            return Err(SocketError::Passed {
                number: known.number,
                problem: format!(
                    "is bound at {path}, which is neither `ccpd.control` nor the `path` of a Unix \
                     datapath in the configuration: make the two the same"
                ),
            });
        }
        Ok(())
    }
}

/// What a descriptor is: the path that it is bound at, its type, and whether it listens. It does not block, and
/// is not passed on, from here on.
fn look(socket: &OwnedFd) -> Result<(PathBuf, SocketType, bool), String> {
    let failed = |error: rustix::io::Errno| format!("can't be used: {}", io::Error::from(error));
    let domain = socket_domain(socket).map_err(|_| "is no socket".to_owned())?;
    if domain != AddressFamily::UNIX {
        return Err("is no Unix socket: only paths can be listened on".to_owned());
    }
    let address = getsockname(socket).map_err(failed)?;
    let address = SocketAddrUnix::try_from(address).map_err(failed)?;
    let path = address.path_bytes().filter(|path| !path.is_empty());
    let Some(path) = path else {
        return Err("has no path: abstract and unnamed sockets are not taken".to_owned());
    };
    let path = PathBuf::from(OsStr::from_bytes(path));
    fcntl_setfd(socket, FdFlags::CLOEXEC).map_err(failed)?;
    ioctl_fionbio(socket, true).map_err(failed)?;
    let kind = socket_type(socket).map_err(failed)?;
    let listens = socket_acceptconn(socket).map_err(failed)?;
    Ok((path, kind, listens))
}
