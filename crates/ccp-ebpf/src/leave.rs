//! Leaving the host as it was: sockets and defaults that use our name, in every network namespace
//! that can be reached, go back to the system's CUBIC, and flows that were taken to what they had.

use std::fs;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::path::Path;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Iter, Link};

use crate::bpf_log::listening;
use crate::maps::other;
use crate::namespaces::{in_namespace, namespaces};
use crate::skel::leave::LeaveSkelBuilder;

const DEFAULT: &str = "/proc/sys/net/ipv4/tcp_congestion_control";
const NATIVE: &str = "cubic";

/// What leaving did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Left {
    /// Sockets (listening ones included) switched to the system's CUBIC, or to what they had.
    pub moved: u32,
    /// How many of them had been [taken](crate::TcpDatapath::take), and got back the algorithm that
    /// they had before. Others may have got it by themselves, with an acknowledgement.
    pub given_back: u32,
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
/// Where `taken` is pinned, that is what flows had before they were taken.
pub(crate) fn leave(names: &[String], taken: &Path) -> io::Result<Left> {
    let mut left = Left::default();
    for names in names.chunks(MOST_NAMES) {
        leave_some(names, taken, &mut left)?;
    }
    Ok(left)
}

fn leave_some(names: &[String], taken: &Path, left: &mut Left) -> io::Result<()> {
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
        if taken.exists() {
            open.maps.taken.reuse_pinned_map(taken)?;
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
        left.given_back += data.given_back;
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
