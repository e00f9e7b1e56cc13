//! How often BPF programs ran and for how long, as the kernel counts.

use std::fs;
use std::ops::Sub;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use libbpf_rs::query::{ProgInfoIter, ProgInfoQueryOptions, ProgramInfo};
use libbpf_rs::{MapCore as _, MapHandle};

/// The kernel counts while this lives. Through a descriptor, not the sysctl: nothing remains switched
/// on, whatever ends this process.
pub(super) struct Counting {
    _switch: OwnedFd,
}

impl Counting {
    pub(super) fn start() -> Result<Self> {
        // SAFETY: a system call without pointers.
        let fd = unsafe { libbpf_sys::bpf_enable_stats(libbpf_sys::BPF_STATS_RUN_TIME) };
        if fd < 0 {
            let error = std::io::Error::from_raw_os_error(-fd);
            return Err(error).context("let the kernel count the run time of BPF programs");
        }
        // SAFETY: the kernel just gave this descriptor to us and nobody else knows of it.
        let switch = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { _switch: switch })
    }
}

/// Runs of programs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct RunTime {
    pub(super) ns: u64,
    pub(super) runs: u64,
}

impl RunTime {
    fn add(&mut self, program: &ProgramInfo) {
        self.ns += program.run_time_ns;
        self.runs += program.run_cnt;
    }
}

impl Sub for RunTime {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            ns: self.ns.saturating_sub(before.ns),
            runs: self.runs.saturating_sub(before.runs),
        }
    }
}

/// The programs of one algorithm.
#[derive(Debug, Clone, Copy)]
pub(super) struct Programs {
    /// The one that is called on each acknowledgement.
    control: u32,
    /// The type information that it shares with those it was loaded with.
    btf: u32,
    /// The map that programs use which were loaded later.
    map: Option<u32>,
}

/// What they did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) control: RunTime,
    /// The other callbacks that it was loaded with.
    pub(super) others: RunTime,
    /// Programs loaded later: those that are generated and called by tail calls.
    pub(super) generated: RunTime,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            control: self.control - before.control,
            others: self.others - before.others,
            generated: self.generated - before.generated,
        }
    }
}

impl Programs {
    /// Those that the program `control` was loaded with.
    pub(super) fn with(control: u32) -> Result<Self> {
        let program = all().find(|program| program.id == control);
        let program = program.context("a BPF program has gone")?;
        Ok(Self {
            control,
            btf: program.btf_id,
            map: None,
        })
    }

    /// Those of the daemon whose pinned maps are in `pins` or below it.
    pub(super) fn of_daemon(pins: &Path) -> Result<Self> {
        let flows = find(pins, "flows").context("the daemon has not pinned the map `flows`")?;
        let map = MapHandle::from_pinned_path(&flows)?.info()?.info.id;
        let control = all().find(|program| {
            program.map_ids.contains(&map)
                && program
                    .name
                    .to_string_lossy()
                    .starts_with("ccp_cong_contro")
        });
        let control = control.context("the daemon's BPF programs are not found")?;
        Ok(Self {
            control: control.id,
            btf: control.btf_id,
            map: Some(map),
        })
    }

    pub(super) fn read(&self) -> Counts {
        let mut counts = Counts::default();
        for program in all() {
            if program.id == self.control {
                counts.control.add(&program);
            } else if program.btf_id == self.btf {
                counts.others.add(&program);
            } else if self.map.is_some_and(|map| program.map_ids.contains(&map)) {
                counts.generated.add(&program);
            }
        }
        counts
    }
}

fn all() -> ProgInfoIter {
    ProgInfoIter::with_query_opts(ProgInfoQueryOptions::default().include_map_ids(true))
}

fn find(dir: &Path, name: &str) -> Option<PathBuf> {
    fs::read_dir(dir).ok()?.flatten().find_map(|entry| {
        let path = entry.path();
        if path.is_dir() {
            find(&path, name)
        } else {
            (entry.file_name() == name).then_some(path)
        }
    })
}
