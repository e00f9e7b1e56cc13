//! The hand-written algorithms of `bpf/beside.bpf.c`, in the kernel.

use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};
use libbpf_rs::skel::{OpenSkel as _, SkelBuilder as _};
use libbpf_rs::{Link, OpenObject, Program};

use crate::daemon::unique_name;
use skel::{BesideSkel, BesideSkelBuilder};

#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::use_self,
    clippy::wildcard_imports,
    dead_code,
    reason = "generated code"
)]
mod skel {
    include!(concat!(env!("OUT_DIR"), "/beside.skel.rs"));
}

/// The algorithms, as long as this lives. Nothing is pinned: with the links, the names go.
pub(super) struct Beside<'o> {
    /// What sockets ask for to get the algorithm that does nothing.
    pub(super) empty: String,
    /// The same for the hand-written Reno.
    pub(super) reno: String,
    /// The same for the hand-written CUBIC.
    pub(super) cubic: String,
    /// The programs that are called on each acknowledgement.
    pub(super) empty_program: u32,
    pub(super) reno_program: u32,
    pub(super) cubic_program: u32,
    _links: [Link; 3],
    _skel: BesideSkel<'o>,
}

impl<'o> Beside<'o> {
    pub(super) fn load(object: &'o mut MaybeUninit<OpenObject>) -> Result<Self> {
        let open = BesideSkelBuilder::default()
            .open(object)
            .context("read the hand-written BPF algorithms")?;
        let [empty, reno, cubic] = [unique_name(), unique_name(), unique_name()];
        for (ops, wanted) in [
            (open.struct_ops.empty_ops, &empty),
            (open.struct_ops.reno_ops, &reno),
            (open.struct_ops.cubic_ops, &cubic),
        ] {
            // SAFETY: libbpf's own copy of the operations, which lives as long as the open object.
            let name = unsafe { &mut (*ops).name };
            name.fill(0);
            for (to, from) in name.iter_mut().zip(wanted.bytes()) {
                *to = from as _;
            }
        }
        let mut skel = open
            .load()
            .context("load the hand-written BPF algorithms")?;
        let links = [
            (skel.maps.empty_ops.attach_struct_ops()).context("register the empty algorithm")?,
            (skel.maps.reno_ops.attach_struct_ops()).context("register the hand-written Reno")?,
            (skel.maps.cubic_ops.attach_struct_ops()).context("register the hand-written CUBIC")?,
        ];
        Ok(Self {
            empty,
            reno,
            cubic,
            empty_program: Program::id_from_fd(skel.progs.empty_cong_control.as_fd())?,
            reno_program: Program::id_from_fd(skel.progs.reno_cong_control.as_fd())?,
            cubic_program: Program::id_from_fd(skel.progs.cubic_cong_control.as_fd())?,
            _links: links,
            _skel: skel,
        })
    }
}
