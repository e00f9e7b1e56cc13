//! The registration of our name with the kernel: made, or taken over from a killed daemon.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use libbpf_rs::query::LinkTypeInfo;
use libbpf_rs::{Link, MapCore, MapMut};

use crate::bpf_log::listening;
use crate::error::AttachError;
use crate::maps::other;

/// Registers the freshly loaded `ops` under `name`, or puts them in the place of what the pinned
/// link holds. The link is pinned afterwards.
pub(crate) fn register(ops: &mut MapMut<'_>, name: &str, pin: &Path) -> Result<Link, AttachError> {
    let pinned = pin.exists().then(|| open(pin)).transpose()?;
    // Gives the kernel the operations and tries to register their name. While a pinned link holds
    // the name, this ends with "exists", and the operations are ready to be put into that link.
    let (registered, log) = listening(|| ops.attach_struct_ops());
    let taken = |e: &libbpf_rs::Error| e.kind() == libbpf_rs::ErrorKind::AlreadyExists;
    match (registered, pinned) {
        (Ok(mut link), stale) => {
            if stale.is_some() {
                remove(pin)?;
            }
            link.pin(pin).map_err(|e| AttachError::Pin {
                action: "pin the name's registration to",
                path: pin.to_owned(),
                source: other(e),
            })?;
            Ok(link)
        }
        (Err(e), Some(link)) if taken(&e) => {
            replace(&link, ops).map_err(|source| AttachError::Leftover {
                path: pin.to_owned(),
                problem: source.to_string(),
            })?;
            Ok(link)
        }
        (Err(e), None) if taken(&e) => Err(AttachError::NameTaken {
            name: name.to_owned(),
        }),
        (Err(source), _) => Err(AttachError::Load { source, log }),
    }
}

/// The link that is pinned there.
pub(crate) fn open(pin: &Path) -> Result<Link, AttachError> {
    Link::open(pin).map_err(|e| AttachError::Leftover {
        path: pin.to_owned(),
        problem: format!("it can't be opened as the registration of a name: {e}"),
    })
}

/// Lets `link` hold `ops` from now on.
///
/// Giving a link the map that it already holds corrupts a list in the kernel, after which nothing
/// of this kind works until the machine is restarted. So this looks first, and refuses.
fn replace(link: &Link, ops: &MapMut<'_>) -> io::Result<()> {
    let new = ops.info().map_err(other)?.info.id;
    let held = match link.info().map_err(other)?.info {
        LinkTypeInfo::StructOps(info) => info.map_id,
        _ => {
            return Err(io::Error::other(
                "it is not the registration of a congestion control",
            ));
        }
    };
    if held == new {
        return Err(io::Error::other("it already holds these operations"));
    }
    // SAFETY: both descriptors are open; no options.
    let ret = unsafe {
        libbpf_sys::bpf_link_update(
            link.as_fd().as_raw_fd(),
            ops.as_fd().as_raw_fd(),
            std::ptr::null(),
        )
    };
    if ret < 0 {
        return Err(io::Error::from_raw_os_error(-ret));
    }
    Ok(())
}

/// Takes the name out of the kernel's list: at once where the kernel can do so (since 6.10), else
/// when the last reference to the link goes.
pub(crate) fn unregister(link: Link, pin: &Path) -> io::Result<()> {
    let detached = link.detach();
    match std::fs::remove_file(pin) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    if let Err(e) = detached {
        tracing::debug!(error = %e, "the link cannot be detached; closing it");
    }
    drop(link);
    Ok(())
}

fn remove(pin: &Path) -> Result<(), AttachError> {
    std::fs::remove_file(pin).map_err(|source| AttachError::Pin {
        action: "remove",
        path: pin.to_owned(),
        source,
    })
}
