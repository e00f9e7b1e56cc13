//! Sockets with a name in the file system: made privately, never taken from someone who listens,
//! removed when dropped. Or passed to this process by who started it.

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with,
};
use thiserror::Error;

use passed::Passed;
pub use passed::PassedSocket;

mod passed;

/// How many connections wait to be taken at once.
const BACKLOG: i32 = 64;
/// Another daemon that makes a socket in the same directory is waited for so long. Whoever can read a directory
/// can lock it, for ever.
const LOCKED_WITHIN: Duration = Duration::from_secs(1);
/// Between two looks whether it is still locked.
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A socket could not be made at its path.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Somebody listens there.
    #[error(
        "{} is in use: another program listens on it, perhaps another ccpd; stop that one or choose \
         another path",
        path.display()
    )]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// There is something else than a socket at the path.
    #[error("{} is there and is no socket: it is left alone; remove it or choose another path", path.display())]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// Somebody else could replace what is in the directory.
    #[error(
        "{} can't be made: {} {problem}, who could replace what is in it; choose a directory that \
         belongs to root or to the user that ccpd runs as, as those above it do",
        path.display(),
        directory.display()
    )]
    Untrusted {
        /// The path of the socket.
        path: PathBuf,
        /// The directory, or one above it.
        directory: PathBuf,
        /// Who could.
        problem: String,
    },
    /// What this process was passed as a socket is none that it could use.
    #[error("socket {number} that was passed to this process (LISTEN_FDS) {problem}")]
    Passed {
        /// Which: the first one has number 3, as its descriptor.
        number: usize,
        /// What is wrong with it, and what would be right.
        problem: String,
    },
    /// The system refuses.
    #[error("can't {what} {}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

/// Where the sockets of a daemon come from: they were passed to it, or are made.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// The directories that were made for sockets. Each goes with the last of its sockets, if it is empty
    /// then.
    directories: Vec<Arc<Directory>>,
    /// What nobody has asked for yet.
    passed: Passed,
    /// Whether sockets stay when the daemon ends.
    leaves: Leaves,
    /// Every socket that there is, to be kept by somebody else.
    sockets: Vec<PassedSocket>,
}

/// Whether the daemon, when it ends, leaves what it has to the next one: flows in the kernel, names of sockets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaves(Arc<AtomicBool>);

impl Leaves {
    /// From now on it does.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it does.
    pub(crate) fn get(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A directory that was made for a socket.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// The one that it lies in, if that was made as well. Dropped after this one was removed.
    _above: Option<Arc<Self>>,
}

impl Places {
    /// With the sockets that this process was passed, and what says whether they stay.
    ///
    /// # Errors
    /// If something of it is no socket that could be used.
    pub(crate) fn new(passed: Vec<PassedSocket>, leaves: Leaves) -> Result<Self, SocketError> {
        Ok(Self {
            passed: Passed::new(passed)?,
            leaves,
            ..Self::default()
        })
    }

    /// Every socket has been asked for: gives them all, as descriptors of their own.
    ///
    /// # Errors
    /// If somebody passed a socket that the configuration does not know.
    pub(crate) fn finish(self) -> Result<Vec<PassedSocket>, SocketError> {
        self.passed.finish()?;
        Ok(self.sockets)
    }

    /// Notes a socket, for [`finish`](Self::finish).
    fn note(&mut self, name: &str, socket: &OwnedFd, path: &Path) -> Result<(), SocketError> {
        let copy = socket.try_clone().map_err(|source| SocketError::Io {
            what: "have a second descriptor of",
            path: path.to_owned(),
            source,
        })?;
        self.sockets.push(PassedSocket::new(name, copy));
        Ok(())
    }

    /// Makes `directory` if it is missing. Gives what keeps it, unless it was there before all this.
    fn make(&mut self, directory: &Path) -> io::Result<Option<Arc<Directory>>> {
        if let Some(made) = self.directories.iter().find(|made| made.path == directory) {
            return Ok(Some(Arc::clone(made)));
        }
        if directory.is_dir() {
            return Ok(None);
        }
        let above = match directory.parent() {
            Some(above) => self.make(above)?,
            None => None,
        };
        match DirBuilder::new().mode(0o755).create(directory) {
            // Somebody else was faster: it is theirs.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && directory.is_dir() => {
                return Ok(None);
            }
            other => other?,
        }
        let made = Arc::new(Directory {
            path: directory.to_owned(),
            _above: above,
        });
        self.directories.push(Arc::clone(&made));
        Ok(Some(made))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Not empty: others use it as well.
        let _ = fs::remove_dir(&self.path);
    }
}

/// The name of a socket. Dropping it removes the name if it still names that socket, unless it is somebody
/// else's or stays for the next daemon.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode, by which the file is known again. None: it is who passed the socket that removes it.
    identity: Option<(u64, u64)>,
    leaves: Leaves,
    /// Dropped after the name was removed.
    _directory: Option<Arc<Directory>>,
}

impl SocketFile {
    /// Makes a listening stream socket at `path` with the file mode `mode`.
    pub(crate) fn listen(
        path: &Path,
        mode: u32,
        places: &mut Places,
    ) -> Result<(Self, OwnedFd), SocketError> {
        Self::make(path, mode, SocketType::STREAM, places)
    }

    /// Makes a datagram socket at `path` with the file mode `mode`.
    pub(crate) fn datagram(
        path: &Path,
        mode: u32,
        places: &mut Places,
    ) -> Result<(Self, OwnedFd), SocketError> {
        Self::make(path, mode, SocketType::DGRAM, places)
    }

    fn make(
        path: &Path,
        mode: u32,
        kind: SocketType,
        places: &mut Places,
    ) -> Result<(Self, OwnedFd), SocketError> {
        let failed = |what: &'static str| {
            move |source: io::Error| SocketError::Io {
                what,
                path: path.to_owned(),
                source,
            }
        };
        if let Some(passed) = places.passed.take(path, kind)? {
            return Self::passed(path, mode, passed, places);
        }
        let directory = path.parent().unwrap_or_else(|| Path::new("/"));
        let made = places.make(directory).map_err(|source| SocketError::Io {
            what: "make the directory",
            path: directory.to_owned(),
            source,
        })?;
        check_directory(path, directory)?;
        // Held while a stale file is looked at and replaced, so that of two daemons that start at
        // once neither takes away what the other has just made. Released when closed.
        let lock = File::open(directory).map_err(failed("open the directory of"))?;
        if !try_lock(&lock).map_err(failed("lock the directory of"))? {
            tracing::warn!(
                directory = %directory.display(),
                "somebody keeps this directory locked (flock): going on without the lock, which only \
                 matters if two daemons start at once; `lslocks` tells who it is"
            );
        }

        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, kind, flags, None)
            .map_err(io::Error::from)
            .map_err(failed("make a socket for"))?;
        // The file gets the socket's own mode when it is bound: there is no moment in which it has
        // wider rights.
        fchmod(&socket, Mode::from_raw_mode(mode))
            .map_err(io::Error::from)
            .map_err(failed("set the mode of"))?;
        if kind == SocketType::DGRAM {
            // Before it has a name, so that no datagram comes without its sender's credentials.
            set_socket_passcred(&socket, true)
                .map_err(io::Error::from)
                .map_err(failed("ask for senders' credentials on"))?;
        }
        let address = SocketAddrUnix::new(path)
            .map_err(io::Error::from)
            .map_err(failed("use the path"))?;
        match bind(&socket, &address) {
            Err(Errno::ADDRINUSE) => {
                remove_stale(path, &address, kind)?;
                bind(&socket, &address)
            }
            other => other,
        }
        .map_err(io::Error::from)
        .map_err(failed("make the socket"))?;
        let metadata = fs::symlink_metadata(path).map_err(failed("look at the socket"))?;
        let file = Self {
            path: path.to_owned(),
            identity: Some((metadata.dev(), metadata.ino())),
            leaves: places.leaves.clone(),
            _directory: made,
        };
        if metadata.permissions().mode() & 0o777 != mode {
            // The process's mask took rights away that the configuration gives.
            fs::set_permissions(path, fs::Permissions::from_mode(mode))
                .map_err(failed("set the mode of"))?;
        }
        if kind == SocketType::STREAM {
            listen(&socket, BACKLOG)
                .map_err(io::Error::from)
                .map_err(failed("listen on"))?;
        }
        places.note(PassedSocket::KEPT, &socket, path)?;
        Ok((file, socket))
    }

    /// The name of a socket that was passed.
    fn passed(
        path: &Path,
        mode: u32,
        passed: PassedSocket,
        places: &mut Places,
    ) -> Result<(Self, OwnedFd), SocketError> {
        // It is there: otherwise the socket would not have been given out.
        let metadata = fs::symlink_metadata(path).ok();
        let has = metadata.as_ref().map(|m| m.permissions().mode() & 0o777);
        let at = path.display();
        match has {
            Some(has) if has != mode && !passed.is_kept() => tracing::warn!(
                path = %at,
                "the socket that was passed has mode {has:04o}, not {mode:04o} as configured: left as it is"
            ),
            Some(has) if has != mode => {
                fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(|source| {
                    SocketError::Io {
                        what: "set the mode of",
                        path: path.to_owned(),
                        source,
                    }
                })?;
            }
            _ => {}
        }
        tracing::info!(path = %at, name = passed.name(), "going on with a socket that was passed");
        places.note(passed.name(), passed.socket(), path)?;
        let identity = metadata.filter(|_| passed.is_kept());
        let file = Self {
            path: path.to_owned(),
            identity: identity.map(|m| (m.dev(), m.ino())),
            leaves: places.leaves.clone(),
            _directory: None,
        };
        Ok((file, passed.into_socket()))
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| Some((metadata.dev(), metadata.ino())) == self.identity);
        if !ours || self.leaves.get() {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "can't remove the socket");
        }
    }
}

/// Locks a directory. Returns whether it is: not if somebody else keeps it locked.
fn try_lock(directory: &File) -> io::Result<bool> {
    let until = Instant::now() + LOCKED_WITHIN;
    loop {
        match flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(true),
            Err(Errno::WOULDBLOCK) if Instant::now() >= until => return Ok(false),
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_PAUSE),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Who owns a directory, or one above it, can replace what is in it: by another socket, or between two of
/// our steps by a link to a file whose mode would be changed.
fn check_directory(path: &Path, directory: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io {
        what: "look at the directory of",
        path: path.to_owned(),
        source,
    };
    let real = fs::canonicalize(directory).map_err(failed)?;
    // Where root has another number, as in a container, it is who owns everything.
    let root = fs::metadata("/").map_err(failed)?.uid();
    let trusted = [0, root, rustix::process::geteuid().as_raw()];
    for directory in real.ancestors() {
        let found = fs::metadata(directory).map_err(failed)?;
        let (owner, mode) = (found.uid(), found.mode());
        let problem = if !trusted.contains(&owner) {
            format!("belongs to user {owner}")
        } else if mode & 0o002 != 0 && mode & 0o1000 == 0 {
            "can be written by everybody".to_owned()
        } else {
            continue;
        };
        return Err(SocketError::Untrusted {
            path: path.to_owned(),
            directory: directory.to_owned(),
            problem,
        });
    }
    Ok(())
}

/// Removes the socket at `path` if nobody listens on it.
fn remove_stale(
    path: &Path,
    address: &SocketAddrUnix,
    kind: SocketType,
) -> Result<(), SocketError> {
    let io_error = |what: &'static str| {
        move |source: io::Error| SocketError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => {
            return Err(SocketError::NotASocket {
                path: path.to_owned(),
            });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(io_error("look at")(error)),
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, kind, flags, None)
        .map_err(io::Error::from)
        .map_err(io_error("make a socket for"))?;
    match connect(&probe, address) {
        // Only this says that the file belongs to nobody.
        Err(Errno::CONNREFUSED) => {
            tracing::info!(path = %path.display(), "removing a socket that was left behind");
            fs::remove_file(path).map_err(io_error("remove the socket"))
        }
        Err(Errno::NOENT) => Ok(()),
        _ => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
