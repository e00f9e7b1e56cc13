//! Taking flows that have not asked: new ones of control groups and towards addresses, and those under
//! way.
//!
//! What takes new flows is a program at the control groups in question (at their root, if none are
//! named). Its links are pinned, so that flows which begin while one daemon follows another are
//! taken, too; with an old heartbeat it takes nothing. Each choice is a program of its own: a new
//! one is loaded, attached and pinned, then that of before goes, so that one that cannot be
//! had changes nothing.

mod rules;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapCore, MapFlags, MapHandle};
use rustix::io::Errno;
use thiserror::Error;

use crate::bpf_log::listening;
use crate::cgroup::{Cgroups, NoCgroups};
use crate::maps::other;
use crate::namespaces::{in_namespace, initial_namespace, namespaces};
use crate::options::{Namespaces, Options};
use crate::pins::Pins;
use crate::skel::take::TakeSkelBuilder;
use crate::skel::take::types;

pub use rules::{Ends, Range, Take};

/// What is said of a control group: `CCP_CGROUP_*` of `bpf/take.h`.
const IS_WANTED: u32 = 1;
const IS_EXCEPTED: u32 = 2;

/// Flows cannot be taken as chosen. What was in force before still is.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TakeError {
    /// There are no control groups.
    #[error(
        "flows that do not ask are taken by their control group (without one named, by the root): {0}"
    )]
    NoCgroups(#[from] NoCgroups),
    /// More is given than fits.
    #[error("more than {most} are given")]
    TooMany {
        /// What fits.
        most: &'static str,
    },
    /// The kernel refused our programs.
    #[error(
        "the kernel refused the programs that take flows: {source}{}",
        crate::error::with_log(log)
    )]
    Load {
        /// What loading gave.
        source: libbpf_rs::Error,
        /// What libbpf said, last lines.
        log: String,
    },
    /// The kernel refused to run it for a control group.
    #[error("flows of the control group {} cannot be taken: {source}{}", path.display(), exclusive(source))]
    Attach {
        /// The control group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A system call failed.
    #[error("cannot {action}: {source}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

impl TakeError {
    const fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// Who attached without allowing others beside keeps everybody out.
fn exclusive(e: &io::Error) -> &'static str {
    match Errno::from_io_error(e) {
        Some(Errno::PERM) => {
            "; another `sockops` program at it, or above or below it, allows none beside itself (`bpftool cgroup tree`)"
        }
        Some(Errno::INVAL) => "; the kernel needs CONFIG_CGROUP_BPF",
        _ => "",
    }
}

/// What came of a choice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Taking {
    /// Control groups whose flows are taken from now on.
    pub cgroups: Vec<PathBuf>,
    /// Control groups that are not there: their flows are taken once
    /// [`look_for_cgroups`](crate::TcpDatapath::look_for_cgroups) finds them.
    pub missing: Vec<PathBuf>,
    /// How many living flows were taken.
    pub living: u64,
    /// Network namespaces whose living flows could not be reached, with the reason.
    pub unreached: Vec<String>,
}

/// A choice in force.
#[derive(Debug)]
pub(crate) struct Taker {
    take: Take,
    cgroups: Cgroups,
    new: OwnedFd,
    /// If those under way are taken, too.
    living: Option<Living>,
    /// The kernel side's knowledge of control groups.
    known: MapHandle,
    attached: BTreeMap<PathBuf, Attached>,
    excepted: BTreeMap<PathBuf, u64>,
}

/// What goes through the sockets of a network namespace.
#[derive(Debug)]
struct Living {
    iterator: OwnedFd,
    /// The inode of the only network namespace whose flows are taken.
    only: Option<u32>,
}

/// A program at a control group. Dropped, it stays if it is pinned.
#[derive(Debug)]
struct Attached {
    cgroup: u64,
    link: OwnedFd,
    pin: PathBuf,
}

impl Taker {
    /// Loads what `take` says, and has it run beside what there was before.
    pub(crate) fn new(take: &Take, options: &Options, pins: &Pins) -> Result<Self, TakeError> {
        if let Some(most) = take.beyond() {
            return Err(TakeError::TooMany { most });
        }
        let cgroups = Cgroups::find()?;
        let keys = take.keys();
        let mut object = MaybeUninit::uninit();
        let (skel, log) = listening(|| {
            let mut open = TakeSkelBuilder::default().open(&mut object)?;
            let maps = &mut open.maps;
            maps.prefixes.set_max_entries(keys.len().max(1) as u32)?;
            maps.flows.reuse_pinned_map(pins.map("flows"))?;
            maps.taken.reuse_pinned_map(pins.map("taken"))?;
            maps.config.reuse_pinned_map(pins.map("config"))?;
            maps.stats.reuse_pinned_map(pins.map("stats"))?;
            open.load()
        });
        let skel = skel.map_err(|source| TakeError::Load { source, log })?;
        let told = skel.maps.rules.update(
            &0_u32.to_ne_bytes(),
            bytes_of(&rules(take, options)),
            MapFlags::ANY,
        );
        told.map_err(other)
            .map_err(TakeError::system("tell the kernel which flows are taken"))?;
        for key in &keys {
            let found = skel.maps.prefixes.update(key, &[1, 0, 0, 0], MapFlags::ANY);
            found
                .map_err(other)
                .map_err(TakeError::system("tell the kernel whose flows are taken"))?;
        }
        let keep = |fd: BorrowedFd<'_>| fd.try_clone_to_owned();
        let system = TakeError::system;
        let mut taker = Self {
            take: take.clone(),
            cgroups,
            new: keep(skel.progs.take.as_fd()).map_err(system("keep a program"))?,
            living: take
                .living
                .then(|| Living::new(skel.progs.take_living.as_fd(), options.namespaces))
                .transpose()?,
            known: MapHandle::try_from(&skel.maps.cgroups)
                .map_err(other)
                .map_err(system("keep a map"))?,
            attached: BTreeMap::new(),
            excepted: BTreeMap::new(),
        };
        if let Err(e) = taker.look(pins) {
            taker.release();
            return Err(e);
        }
        Ok(taker)
    }

    /// Looks at the control groups: those that have come, or come back, are attached. Says which.
    pub(crate) fn look(&mut self, pins: &Pins) -> Result<Vec<PathBuf>, TakeError> {
        self.look_for_excepted()?;
        let mut found = Vec::new();
        for path in self.wanted() {
            let failed = |source| TakeError::Attach {
                path: path.clone(),
                source,
            };
            let now = self.cgroups.id(&path).map_err(failed)?;
            let before = self.attached.get(&path).map(|a| a.cgroup);
            if now == before {
                continue;
            }
            // The control group has gone, and another one may have come in its place.
            if let Some(gone) = self.attached.remove(&path) {
                self.forget(gone.cgroup);
                gone.release().map_err(TakeError::system("remove a pin"))?;
            }
            let Some((dir, cgroup)) = self.cgroups.open(&path).map_err(failed)? else {
                continue;
            };
            let link = create_link(self.new.as_fd(), Some(dir.as_fd()), BPF_CGROUP_SOCK_OPS);
            let link = link.map_err(failed)?;
            let pin = pins.new_take(cgroup);
            pin_to(link.as_fd(), &pin).map_err(TakeError::system("pin what takes flows"))?;
            let attached = Attached { cgroup, link, pin };
            self.attached.insert(path.clone(), attached);
            self.know(cgroup, IS_WANTED)?;
            found.push(path);
        }
        Ok(found)
    }

    fn look_for_excepted(&mut self) -> Result<(), TakeError> {
        for path in self.take.except.cgroups.clone() {
            let now = self.cgroups.id(&path).map_err(|source| TakeError::Attach {
                path: path.clone(),
                source,
            })?;
            if now == self.excepted.get(&path).copied() {
                continue;
            }
            if let Some(gone) = self.excepted.remove(&path) {
                self.forget(gone);
            }
            if let Some(now) = now {
                self.know(now, IS_EXCEPTED)?;
                self.excepted.insert(path, now);
            }
        }
        Ok(())
    }

    /// The control groups at which new flows are looked at.
    fn wanted(&self) -> Vec<PathBuf> {
        if self.take.which.cgroups.is_empty() {
            vec!["/".into()]
        } else {
            self.take.which.cgroups.clone()
        }
    }

    /// Adds to what the kernel side knows of a control group.
    fn know(&self, cgroup: u64, what: u32) -> Result<(), TakeError> {
        let key = cgroup.to_ne_bytes();
        let known = || -> libbpf_rs::Result<()> {
            let before = self.known.lookup(&key, MapFlags::ANY)?;
            let before = before.as_deref().and_then(|b| b.first_chunk());
            let both = before.map_or(0, |b| u32::from_ne_bytes(*b)) | what;
            self.known.update(&key, &both.to_ne_bytes(), MapFlags::ANY)
        };
        known()
            .map_err(other)
            .map_err(TakeError::system("tell the kernel of a control group"))
    }

    /// A control group that has gone: nothing is left to be said of it.
    fn forget(&self, cgroup: u64) {
        if let Err(e) = self.known.delete(&cgroup.to_ne_bytes()) {
            tracing::debug!(cgroup, error = %e, "cannot forget a control group");
        }
    }

    /// The control groups at which it is.
    pub(crate) fn attached(&self) -> Vec<PathBuf> {
        self.attached.keys().cloned().collect()
    }

    /// Those that are not there.
    pub(crate) fn missing(&self) -> Vec<PathBuf> {
        let mut missing = self.wanted();
        missing.retain(|path| !self.attached.contains_key(path));
        missing
    }

    /// Takes those that are under way, if that is chosen. Says what could not be reached.
    pub(crate) fn take_living(&self) -> Vec<String> {
        self.living.as_ref().map(Living::take).unwrap_or_default()
    }

    /// Where it is pinned.
    pub(crate) fn pins(&self) -> impl Iterator<Item = &Path> {
        self.attached.values().map(|a| a.pin.as_path())
    }

    /// Takes nothing any more.
    pub(crate) fn release(self) {
        for (path, attached) in self.attached {
            if let Err(error) = attached.release() {
                tracing::warn!(cgroup = %path.display(), %error, "cannot remove a pin");
            }
        }
    }
}

impl Living {
    fn new(program: BorrowedFd<'_>, namespaces: Namespaces) -> Result<Self, TakeError> {
        let iterator = create_link(program, None, BPF_TRACE_ITER);
        let only = match namespaces {
            Namespaces::Any => Ok(None),
            Namespaces::Initial => initial_namespace().map(Some),
        };
        Ok(Self {
            iterator: iterator.map_err(TakeError::system("look for living flows"))?,
            only: only.map_err(TakeError::system("find the initial network namespace"))?,
        })
    }

    /// Takes them in every namespace in question. Says what could not be reached.
    fn take(&self) -> Vec<String> {
        let mut unreached = Vec::new();
        let mut reached = false;
        for (inum, path) in namespaces() {
            if self.only.is_some_and(|only| u64::from(only) != inum) {
                continue;
            }
            match in_namespace(&path, || read_all(self.iterator.as_fd())) {
                Ok(()) => reached = true,
                // It may have gone meanwhile.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => unreached.push(format!("{inum} ({}): {e}", path.display())),
            }
        }
        if let (Some(only), false, true) = (self.only, reached, unreached.is_empty()) {
            unreached.push(format!("{only}: nothing leads to it from here"));
        }
        unreached
    }
}

impl Attached {
    fn release(self) -> io::Result<()> {
        let Self { link, pin, .. } = self;
        release(link, &pin)
    }
}

/// The choice as the kernel side has it, but for addresses and control groups.
fn rules(take: &Take, options: &Options) -> types::ccp_rules {
    let mut rules = types::ccp_rules::default();
    for (to, (name, _)) in rules.names.iter_mut().zip(options.names()) {
        for (to, from) in to.iter_mut().zip(name.bytes()) {
            *to = from;
        }
    }
    for (list, (ranges, ports)) in take.lists().into_iter().enumerate() {
        rules.lists |= u32::from(!ranges.is_empty()) << list;
        rules.port_counts[list] = ports.len() as u32;
        for (to, &(first, last)) in rules.ports[list].iter_mut().zip(ports) {
            *to = types::ccp_ports { first, last };
        }
    }
    rules.in_cgroups = u32::from(!take.which.cgroups.is_empty());
    rules.except_cgroups = u32::from(!take.except.cgroups.is_empty());
    rules.chosen_too = u32::from(take.chosen_too);
    rules
}

/// Ends what an earlier daemon, or an earlier choice, pinned at `pin`.
pub(crate) fn release_pinned(pin: &Path) -> io::Result<()> {
    let path = c_path(pin)?;
    // SAFETY: a string that ends with a zero.
    let link = owned(unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) })?;
    release(link, pin)
}

fn release(link: OwnedFd, pin: &Path) -> io::Result<()> {
    // At once, whoever else holds the link. It fails where its control group has gone.
    // SAFETY: an open descriptor.
    let detached = unsafe { libbpf_sys::bpf_link_detach(link.as_raw_fd()) };
    if detached < 0 {
        let error = io::Error::from_raw_os_error(-detached);
        tracing::debug!(%error, pin = %pin.display(), "the link cannot be detached; closing it");
    }
    match fs::remove_file(pin) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

const BPF_CGROUP_SOCK_OPS: libbpf_sys::bpf_attach_type = libbpf_sys::BPF_CGROUP_SOCK_OPS;
const BPF_TRACE_ITER: libbpf_sys::bpf_attach_type = libbpf_sys::BPF_TRACE_ITER;

/// Attaches a program; beside those of others, as links always are.
fn create_link(
    program: BorrowedFd<'_>,
    target: Option<BorrowedFd<'_>>,
    kind: libbpf_sys::bpf_attach_type,
) -> io::Result<OwnedFd> {
    let target = target.map_or(0, |t| t.as_raw_fd());
    // SAFETY: open descriptors; no options.
    owned(unsafe {
        libbpf_sys::bpf_link_create(program.as_raw_fd(), target, kind, std::ptr::null())
    })
}

fn pin_to(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = c_path(path)?;
    // SAFETY: an open descriptor, and a string that ends with a zero.
    let ret = unsafe { libbpf_sys::bpf_obj_pin(link.as_raw_fd(), path.as_ptr()) };
    if ret < 0 {
        return Err(io::Error::from_raw_os_error(-ret));
    }
    Ok(())
}

/// Runs an iterator's program over everything.
fn read_all(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: an open descriptor.
    let iter = owned(unsafe { libbpf_sys::bpf_iter_create(link.as_raw_fd()) })?;
    let mut iter = fs::File::from(iter);
    let mut sink = [0; 64];
    while iter.read(&mut sink)? > 0 {}
    Ok(())
}

fn bytes_of(rules: &types::ccp_rules) -> &[u8] {
    // SAFETY: integers without padding: bytes, then 32-bit words, then pairs of 16-bit ones.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(rules).cast(), size_of_val(rules)) }
}

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)
}

/// What a call of libbpf's gave: a descriptor of ours, or an error's number below zero.
fn owned(fd: i32) -> io::Result<OwnedFd> {
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: just opened, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
