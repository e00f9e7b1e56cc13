//! The network namespaces of this machine: found, and entered.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Runs `work` on a thread of its own in the network namespace at `path`.
pub(crate) fn in_namespace<T: Send>(
    path: &PathBuf,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    let namespace = File::open(path)?;
    // Entering the namespace one is in takes a right (CAP_SYS_ADMIN) that a daemon need not have.
    let here = fs::metadata("/proc/thread-self/ns/net")
        .map(|m| m.ino())
        .ok();
    let elsewhere = here != Some(namespace.metadata()?.ino());
    thread::scope(|scope| {
        let thread = thread::Builder::new()
            .name("ccp-netns".into())
            .spawn_scoped(scope, || {
                if elsewhere {
                    let network = Some(LinkNameSpaceType::Network);
                    move_into_link_name_space(namespace.as_fd(), network)?;
                }
                work()
            })?;
        thread
            .join()
            .unwrap_or_else(|_| Err(io::Error::other("the thread in the namespace panicked")))
    })
}

/// Every network namespace that can be found, by inode: ours, those of processes, and those that
/// `ip netns` keeps.
pub(crate) fn namespaces() -> BTreeMap<u64, PathBuf> {
    let mut found = BTreeMap::new();
    let mut add = |path: PathBuf| {
        if let Ok(meta) = fs::metadata(&path) {
            found.entry(meta.ino()).or_insert(path);
        }
    };
    add("/proc/thread-self/ns/net".into());
    add("/proc/self/ns/net".into());
    for dir in ["/run/netns", "/var/run/netns"] {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            add(entry.path());
        }
    }
    let is_number = |name: &OsStr| name.as_encoded_bytes().iter().all(u8::is_ascii_digit);
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        if !is_number(&process.file_name()) {
            continue;
        }
        // Threads may be elsewhere than their process.
        let tasks = fs::read_dir(process.path().join("task"));
        for task in tasks.into_iter().flatten().flatten() {
            add(task.path().join("ns/net"));
        }
    }
    found
}

/// The inode of the machine's initial network namespace, or, where it cannot be found out, of
/// this process's.
///
/// # Errors
/// If /proc can't be read.
pub fn initial_namespace() -> io::Result<u32> {
    let inode = |path: &str| fs::metadata(path).map(|m| m.ino());
    // Threads of the kernel are always in the initial one.
    let kernel = fs::read_to_string("/proc/2/comm").is_ok_and(|c| c.trim() == "kthreadd");
    let inode = kernel
        .then(|| inode("/proc/2/ns/net").ok())
        .flatten()
        .or_else(|| inode("/proc/1/ns/net").ok())
        .map_or_else(|| inode("/proc/self/ns/net"), Ok)?;
    u32::try_from(inode).map_err(io::Error::other)
}
