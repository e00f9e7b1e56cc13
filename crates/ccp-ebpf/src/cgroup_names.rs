//! Control groups by their number: the kernel is asked for the names, so that neither a mounted
//! hierarchy nor a right beyond those for BPF is needed.

use std::collections::HashMap;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};

use crate::bpf_log::listening;
use crate::skel::cgroup::CgroupSkelBuilder;

/// So many paths are remembered, then all are forgotten.
const MOST_PATHS: usize = 16_384;

/// Knows the paths of control groups (version 2) by their numbers.
///
/// A path, once known, stays right: a number is never given to another group, and a group of version 2
/// cannot be renamed.
#[derive(Debug)]
pub struct CgroupNames {
    program: OwnedFd,
    paths: HashMap<u64, Arc<str>>,
}

impl CgroupNames {
    /// Loads what asks the kernel.
    ///
    /// # Errors
    /// If the kernel does not know control groups, or this process may not load BPF programs.
    pub fn new() -> io::Result<Self> {
        let mut object = MaybeUninit::uninit();
        let (skel, log) = listening(|| CgroupSkelBuilder::default().open(&mut object)?.load());
        let skel = skel.map_err(|e| io::Error::other(format!("{e}\n{log}")))?;
        Ok(Self {
            program: skel.progs.names.as_fd().try_clone_to_owned()?,
            paths: HashMap::new(),
        })
    }

    /// The path of the control group with the number `id`, from the root: `/system.slice/nginx.service`,
    /// `/` for the root. `None` if there is none now and this was not asked before. The first time it
    /// takes some ten microseconds.
    pub fn path(&mut self, id: u64) -> Option<Arc<str>> {
        if let Some(path) = self.paths.get(&id) {
            return Some(Arc::clone(path));
        }
        let path: Arc<str> = self.ask(id).ok()?.into();
        if self.paths.len() >= MOST_PATHS {
            self.paths.clear();
        }
        self.paths.insert(id, Arc::clone(&path));
        Some(path)
    }

    fn ask(&self, id: u64) -> io::Result<String> {
        // 0 would be the whole hierarchy.
        if id == 0 {
            return Err(io::ErrorKind::NotFound.into());
        }
        let mut about = libbpf_sys::bpf_iter_link_info::default();
        about.cgroup.order = libbpf_sys::BPF_CGROUP_ITER_ANCESTORS_UP;
        about.cgroup.cgroup_id = id;
        let options = libbpf_sys::bpf_link_create_opts {
            sz: size_of::<libbpf_sys::bpf_link_create_opts>() as libbpf_sys::size_t,
            iter_info: &raw mut about,
            iter_info_len: size_of_val(&about) as u32,
            ..Default::default()
        };
        // SAFETY: a program of ours, no target, options that live as long as the call.
        let link = unsafe {
            libbpf_sys::bpf_link_create(
                self.program.as_raw_fd(),
                0,
                libbpf_sys::BPF_TRACE_ITER,
                &raw const options,
            )
        };
        let link = owned(link)?;
        // SAFETY: a link of ours.
        let iter = owned(unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) })?;
        let mut names = Vec::new();
        std::fs::File::from(iter).read_to_end(&mut names)?;
        Ok(joined(&names))
    }
}

fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just opened, for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The path of names that come from below, each with a zero behind it; the root has none.
fn joined(names: &[u8]) -> String {
    let mut path = String::new();
    for name in names.split(|b| *b == 0).rev().filter(|n| !n.is_empty()) {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(name));
    }
    if path.is_empty() {
        "/".to_owned()
    } else {
        path
    }
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn names_from_below_become_a_path_from_above() {
        assert_eq!(joined(b"\0"), "/");
        assert_eq!(
            joined(b"nginx.service\0system.slice\0\0"),
            "/system.slice/nginx.service"
        );
    }
}
