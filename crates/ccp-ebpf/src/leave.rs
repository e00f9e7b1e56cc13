//! Leaving the host as it was: sockets and defaults that use our name, in every network namespace
//! that can be reached, go back to the system's CUBIC.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Iter, Link};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::bpf_log::listening;
use crate::maps::other;
use crate::skel::leave::LeaveSkelBuilder;

const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const NATIVE: &str = "cubic";

/// What leaving did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// Sockets (listening ones included) switched to the system's CUBIC.
    pub moved: u32,
    /// Sockets that refused; they run native CUBIC inside what is left of us until they close.
    pub refused: u32,
    /// Network namespaces whose default was our name: now `cubic`, or, where that is not allowed
    /// (`net.ipv4.tcp_allowed_congestion_control`), what new namespaces get.
    pub defaults_reset: u32,
    /// Network namespaces that could not be entered, with the reason. Their flows switch
    /// themselves to the system's CUBIC on their next ACK.
    pub unreached: Vec<String>,
    /// Flows that still had a slot at the end: idle ones of namespaces that were not reached.
    pub remaining: u32,
}

/// Most names that sockets are looked for by at a time: `LEAVE_NAMES` in `leave.bpf.c`.
const MOST_NAMES: usize = 16;

/// Moves every socket that uses one of `names`, and resets every default, in all namespaces found.
pub(crate) fn leave(names: &[String]) -> io::Result<Left> {
    let mut left = Left::default();
    for names in names.chunks(MOST_NAMES) {
        leave_some(names, &mut left)?;
    }
    Ok(left)
}

fn leave_some(names: &[String], left: &mut Left) -> io::Result<()> {
    let mut object = MaybeUninit::uninit();
    let (skel, log) = listening(|| {
        let mut open = LeaveSkelBuilder::default().open(&mut object)?;
        if let Some(data) = open.maps.rodata_data.as_deref_mut() {
            for (to, name) in data.leave_names.iter_mut().zip(names) {
                for (to, from) in to.iter_mut().zip(name.bytes()) {
                    *to = from;
                }
            }
        }
        open.load()
    });
    let skel = skel.map_err(|e| io::Error::other(format!("{e}\n{log}")))?;
    let link = skel.progs.leave.attach().map_err(other)?;

    // A namespace other than the initial one may choose what the administrator allowed only: if
    // not CUBIC, then the initial one's default, which is what new namespaces get; else Reno,
    // which is always allowed.
    let usual = fs::read_to_string(DEFAULT)?.trim().to_owned();
    let mut defaults = vec![NATIVE, usual.as_str(), "reno"];
    defaults.retain(|d| !names.iter().any(|name| name == d));
    for (inum, path) in namespaces() {
        match in_namespace(&path, || leave_here(&link, names, &defaults)) {
            Ok(reset) => left.defaults_reset += u32::from(reset),
            // It may have gone meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => {
                let line = format!("{inum} ({}): {e}", path.display());
                if !left.unreached.contains(&line) {
                    left.unreached.push(line);
                }
            }
        }
    }
    if let Some(data) = skel.maps.bss_data.as_deref() {
        left.moved += data.moved;
        left.refused += data.refused;
    }
    Ok(())
}

/// In the namespace of this thread; whether its default was reset.
fn leave_here(link: &Link, names: &[String], defaults: &[&str]) -> io::Result<bool> {
    // First the default, or new sockets would still get our name.
    let default = fs::read_to_string(DEFAULT)?;
    let default = default.trim();
    let reset = names.iter().any(|name| name == default);
    if reset && !defaults.iter().any(|d| fs::write(DEFAULT, d).is_ok()) {
        return Err(io::Error::other(format!(
            "its default is `{default}`, and none of {defaults:?} can be put there"
        )));
    }
    let mut iter = Iter::new(link).map_err(other)?;
    let mut sink = [0; 64];
    while iter.read(&mut sink)? > 0 {}
    Ok(reset)
}

/// Runs `work` on a thread of its own in the network namespace at `path`.
fn in_namespace<T: Send>(
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
fn namespaces() -> BTreeMap<u64, PathBuf> {
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
pub(crate) fn initial_namespace() -> io::Result<u32> {
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
