//! Control groups (version 2): where their hierarchy is, and the numbers by which the kernel side knows
//! them.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, fstat, open};
use thiserror::Error;

/// The hierarchy of control groups, as this process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    mount: PathBuf,
}

/// No hierarchy of control groups of version 2 is mounted.
#[derive(Debug, Error)]
#[error(
    "no control groups of version 2 are mounted here{}; mount them with `mount -t cgroup2 none /sys/fs/cgroup`, or beside version 1 at /sys/fs/cgroup/unified",
    .0.as_ref().map(|e| format!(" ({e})")).unwrap_or_default()
)]
pub struct NoCgroups(Option<io::Error>);

impl Cgroups {
    /// Looks where they are mounted.
    ///
    /// # Errors
    /// If they are not.
    pub fn find() -> Result<Self, NoCgroups> {
        let mounts = fs::read("/proc/self/mountinfo").map_err(|e| NoCgroups(Some(e)))?;
        let mount = mount_point(&mounts).ok_or(NoCgroups(None))?;
        Ok(Self { mount })
    }

    /// Where they are mounted, often `/sys/fs/cgroup`.
    #[must_use]
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The number of the control group `path`, written as in `/proc/PID/cgroup` (`/user.slice`; `/` is the
    /// root): what the kernel's `cgroup->kn->id` is. `None` if there is none.
    ///
    /// # Errors
    /// If it cannot be looked at.
    pub fn id(&self, path: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(self.directory(path)) {
            Ok(found) if found.is_dir() => Ok(Some(found.ino())),
            Ok(_) => Ok(None),
            Err(e) if is_missing(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Its directory, open, and its number. `None` if there is none.
    pub(crate) fn open(&self, path: &Path) -> io::Result<Option<(OwnedFd, u64)>> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(self.directory(path), flags, Mode::empty()) {
            Ok(dir) => {
                let id = fstat(&dir)?.st_ino;
                Ok(Some((dir, id)))
            }
            Err(e) if is_missing(&e.into()) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn directory(&self, path: &Path) -> PathBuf {
        self.mount.join(path.strip_prefix("/").unwrap_or(path))
    }
}

fn is_missing(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The first mount of the root of a version 2 hierarchy; `mounts` is the text of `/proc/self/mountinfo`.
fn mount_point(mounts: &[u8]) -> Option<PathBuf> {
    mounts.split(|b| *b == b'\n').find_map(|line| {
        let mut fields = line.split(|b| *b == b' ');
        let (root, at) = (fields.nth(3)?, fields.next()?);
        let kind = fields.skip_while(|f| *f != b"-").nth(1)?;
        (root == b"/" && kind == b"cgroup2")
            .then(|| PathBuf::from(std::ffi::OsString::from_vec(unescaped(at))))
    })
}

/// Blanks and backslashes are written in octal there: `\040`.
fn unescaped(mut text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    while let Some((&first, rest)) = text.split_first() {
        let octal = rest
            .get(..3)
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) if first == b'\\' => {
                plain.push(byte);
                text = rest.get(3..).unwrap_or_default();
            }
            _ => {
                plain.push(first);
                text = rest;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_version_2_is_found() {
        let hybrid = b"32 28 0:29 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
            33 32 0:30 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu\n\
            40 32 0:37 /a /elsewhere rw,relatime shared:3 - cgroup2 cgroup2 rw\n\
            41 32 0:37 / /sys/fs/cgroup/uni\\040fied rw,relatime shared:3 master:1 - cgroup2 cgroup2 rw\n";
        let at = mount_point(hybrid).unwrap();
        assert_eq!(at, Path::new("/sys/fs/cgroup/uni fied"));
        assert_eq!(
            mount_point(b"33 32 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw\n"),
            None
        );
        assert_eq!(mount_point(b""), None);
        assert_eq!(mount_point(b"\n\n- cgroup2\n1 2 3 /"), None);
    }

    #[test]
    fn paths_are_below_the_mount() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::write(dir.path().join("a/file"), "").unwrap();
        let cgroups = Cgroups {
            mount: dir.path().to_owned(),
        };
        let inode = |path: &str| Some(fs::metadata(dir.path().join(path)).unwrap().ino());
        let id = |path: &str| cgroups.id(Path::new(path)).unwrap();
        assert_eq!(id("/"), inode(""));
        assert_eq!(id("/a/b"), inode("a/b"));
        assert_eq!(id("/a/c"), None);
        assert_eq!(id("/a/file"), None);
        assert_eq!(id("/a/file/c"), None);
        let opened = |path: &str| cgroups.open(Path::new(path)).unwrap().map(|(_, id)| id);
        assert_eq!(opened("/a/b"), inode("a/b"));
        assert_eq!(opened("/a/file"), None);
        assert_eq!(opened("/none"), None);
    }

    #[test]
    fn the_refusal_says_what_to_do() {
        let text = NoCgroups(None).to_string();
        assert!(text.contains("mount -t cgroup2"), "{text}");
    }
}
