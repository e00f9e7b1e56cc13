//! The BPF file system, the directory of one datapath in it, and the lock on that directory.
//!
//! ```text
//! <pin_root>/<name>/          locked while a process runs the datapath
//!     link                    the registration of the name
//!     link-<another name>     that of a further one
//!     take-<cgroup>-<n>       what takes the new flows of a control group
//!     v<layout>/<map>         the maps that live flows share with the daemon
//! ```
//! The link stands outside of the version, so that a daemon with another layout can take the
//! name over: it replaces what the link holds, and flows of the old layout stay on the fallback.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstatfs, open, statfs};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::error::AttachError;
use crate::layout::LAYOUT_VERSION;

const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// What the pins of further names begin with; no name has a hyphen.
const FURTHER: &str = "link-";
/// What the pins begin with of what takes flows.
const TAKE: &str = "take-";
const USUAL_MOUNT: &str = "/sys/fs/bpf";

/// The directory of one datapath, locked by this process.
#[derive(Debug)]
pub(crate) struct Pins {
    name: String,
    root: PathBuf,
    dir: PathBuf,
    /// Where this process mounted the BPF file system, if it did.
    mounted: Option<PathBuf>,
    _lock: OwnedFd,
}

impl Pins {
    /// Takes the directory of `name`, making what is missing.
    pub(crate) fn lock(root: &Path, name: &str) -> Result<Self, AttachError> {
        let dir = root.join(name);
        let mut mounted = None;
        // A clean stop of another datapath may remove directory or mount in between: then again.
        for _ in 0..20 {
            if let Some(at) = mount_if_missing(root)? {
                mounted = Some(at);
            }
            let lock = match make_and_open(&dir) {
                Ok(lock) => lock,
                Err(e) if retriable(&e) && !is_bpffs(root) => continue,
                Err(e) if e.kind() == ErrorKind::NotFound => continue,
                Err(source) => {
                    return Err(AttachError::Pin {
                        action: "make the directory",
                        path: dir,
                        source,
                    });
                }
            };
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock => {
                    return Err(AttachError::Running {
                        name: name.to_owned(),
                        path: dir,
                    });
                }
                Err(e) => return Err(AttachError::system("lock the pins' directory")(e.into())),
            }
            if still_there(&lock, &dir) {
                return Ok(Self {
                    name: name.to_owned(),
                    root: root.to_owned(),
                    dir,
                    mounted,
                    _lock: lock,
                });
            }
        }
        Err(AttachError::Pin {
            action: "keep the directory",
            path: dir,
            source: io::Error::other("others remove it all the time"),
        })
    }

    /// The same if there is something to lock, without making anything.
    pub(crate) fn lock_existing(root: &Path, name: &str) -> Result<Option<Self>, AttachError> {
        if is_bpffs(root) && root.join(name).is_dir() {
            Self::lock(root, name).map(Some)
        } else {
            Ok(None)
        }
    }

    /// Whether this process mounted the BPF file system, and where.
    pub(crate) fn mounted(&self) -> Option<&Path> {
        self.mounted.as_deref()
    }

    /// The registration of the first name, that of the directory.
    pub(crate) fn link(&self) -> PathBuf {
        self.dir.join("link")
    }

    /// The registration of `name`, the first one or a further one.
    pub(crate) fn link_of(&self, name: &str) -> PathBuf {
        if name == self.name {
            self.link()
        } else {
            self.dir.join(format!("{FURTHER}{name}"))
        }
    }

    /// Every name whose registration is pinned.
    pub(crate) fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let file = entry.file_name();
            match file.to_str() {
                Some("link") => names.push(self.name.clone()),
                Some(file) => names.extend(file.strip_prefix(FURTHER).map(str::to_owned)),
                None => {}
            }
        }
        names.sort_unstable();
        names
    }

    /// Where to pin one more of what takes the flows of the control group with the number `cgroup`.
    pub(crate) fn new_take(&self, cgroup: u64) -> PathBuf {
        let mut n = 0_u32;
        loop {
            let path = self.dir.join(format!("{TAKE}{cgroup}-{n}"));
            if !path.exists() {
                return path;
            }
            n += 1;
        }
    }

    /// All that takes flows.
    pub(crate) fn takes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        entries
            .filter(|e| {
                e.file_name()
                    .as_encoded_bytes()
                    .starts_with(TAKE.as_bytes())
            })
            .map(|e| e.path())
            .collect()
    }

    /// The maps of our layout.
    pub(crate) fn maps(&self) -> PathBuf {
        self.dir.join(format!("v{LAYOUT_VERSION}"))
    }

    /// Where `map` is pinned.
    pub(crate) fn map(&self, map: &str) -> PathBuf {
        self.maps().join(map)
    }

    /// Makes the directory of the maps.
    pub(crate) fn make_maps(&self) -> Result<(), AttachError> {
        let path = self.maps();
        match fs::create_dir(&path) {
            Ok(()) => Ok(()),
            Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
            Err(source) => Err(AttachError::Pin {
                action: "make the directory",
                path,
                source,
            }),
        }
    }

    /// Removes the maps of other layouts, whose flows stay on the fallback for good, and ours too
    /// if `all`.
    pub(crate) fn remove_layouts(&self, all: bool) {
        let ours = self.maps();
        for entry in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if (all || path != ours) && path.is_dir() {
                tracing::info!(path = %path.display(), "removing maps that no daemon can use");
                if let Err(e) = remove_dir(&path) {
                    tracing::warn!(path = %path.display(), error = %e, "cannot remove");
                }
            }
        }
    }

    /// Removes everything that is still there, also the directories above if they are empty, and the mount if this
    /// process made it and nothing else is in it.
    pub(crate) fn remove(self) -> io::Result<()> {
        // If not, somebody removed it by hand: what may be there now is another process'.
        if still_there(&self._lock, &self.dir) {
            for entry in fs::read_dir(&self.dir)? {
                let path = entry?.path();
                if path.is_dir() {
                    remove_dir(&path)?;
                } else {
                    fs::remove_file(&path)?;
                }
            }
            fs::remove_dir(&self.dir)?;
        }
        let Self {
            name,
            root,
            mounted,
            _lock,
            ..
        } = self;
        drop(_lock);
        // Refused if others are in there.
        if root != Path::new(USUAL_MOUNT) {
            let _ = fs::remove_dir(&root);
        }
        if let Some(at) = mounted {
            // The kernel puts two files of its own into each.
            let own = |name: &OsStr| name == "maps.debug" || name == "progs.debug";
            let empty = fs::read_dir(&at)
                .is_ok_and(|mut d| d.all(|e| e.is_ok_and(|e| own(&e.file_name()))));
            if empty && unmount(&at, UnmountFlags::NOFOLLOW).is_ok() {
                tracing::info!(%name, path = %at.display(), "unmounted the BPF file system again");
            }
        }
        Ok(())
    }
}

fn remove_dir(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        fs::remove_file(entry?.path())?;
    }
    fs::remove_dir(dir)
}

fn make_and_open(dir: &Path) -> io::Result<OwnedFd> {
    fs::create_dir_all(dir)?;
    Ok(open(
        dir,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?)
}

/// Making a directory under an unmounted `/sys/fs/bpf` is not permitted.
fn retriable(e: &io::Error) -> bool {
    matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::NotFound)
}

/// Whether the locked directory is the one that the path leads to, in a BPF file system.
fn still_there(lock: &OwnedFd, dir: &Path) -> bool {
    let in_bpffs = fstatfs(lock).is_ok_and(|fs| fs.f_type as u64 == BPF_FS_MAGIC);
    let same = match (rustix::fs::fstat(lock), fs::metadata(dir)) {
        (Ok(a), Ok(b)) => a.st_ino == b.ino() && a.st_dev == b.dev(),
        _ => false,
    };
    in_bpffs && same
}

/// Whether `path`, or what is nearest above it, lies in a BPF file system.
fn is_bpffs(path: &Path) -> bool {
    path.ancestors()
        .find_map(|p| statfs(p).ok())
        .is_some_and(|fs| fs.f_type as u64 == BPF_FS_MAGIC)
}

/// Mounts a BPF file system if `root` is in none; says where.
fn mount_if_missing(root: &Path) -> Result<Option<PathBuf>, AttachError> {
    if is_bpffs(root) {
        return Ok(None);
    }
    let at = if root.starts_with(USUAL_MOUNT) {
        PathBuf::from(USUAL_MOUNT)
    } else {
        root.to_owned()
    };
    let failed = |source: io::Error| AttachError::Bpffs {
        path: at.clone(),
        source,
    };
    if !at.exists() {
        fs::create_dir_all(&at).map_err(failed)?;
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    match mount("bpf", &at, "bpf", flags, Some(c"mode=0700")) {
        Ok(()) => {
            tracing::info!(path = %at.display(), "mounted the BPF file system");
            Ok(Some(at))
        }
        // Somebody else was faster.
        Err(e) if e.kind() == ErrorKind::ResourceBusy => Ok(None),
        Err(e) => Err(failed(e.into())),
    }
}
