//! Whether this machine and user can run the laboratory, and what to do if not.

use std::{fmt, fs::OpenOptions, io, path::PathBuf};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use crate::LabError;

/// A capability the laboratory may need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Need {
    /// Network namespaces, the commands `ip` and `ss`.
    Namespaces,
    /// The command `tc` (rate limits on veth links).
    Tc,
    /// TUN devices (emulated links).
    Tun,
}

/// Something that is missing, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// What is missing, with the kernel's answer where there is one.
    pub what: String,
    /// What to do.
    pub remedy: &'static str,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.what, self.remedy)
    }
}

/// Checks that everything in `needs` is available, by trying it.
///
/// # Errors
///
/// [`LabError::Unavailable`] with everything that is missing.
pub fn require(needs: &[Need]) -> Result<(), LabError> {
    let mut missing = Vec::new();
    for need in needs {
        match need {
            Need::Namespaces => {
                missing.extend(namespaces());
                missing.extend(["ip", "ss"].into_iter().filter_map(command));
            }
            Need::Tc => missing.extend(command("tc")),
            Need::Tun => missing.extend(tun()),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(LabError::Unavailable(missing))
    }
}

/// For tests: true if the test must be left out because `needs` are not met here; says so loudly.
///
/// ```no_run
/// # use ccp_lab::{skip_without, Need};
/// // At the top of a test named `root_…`:
/// if skip_without(&[Need::Namespaces]) {
///     return;
/// }
/// ```
///
/// # Panics
///
/// If something is missing while the environment says `CI=true`: there, nothing may be left out.
#[must_use]
pub fn skip_without(needs: &[Need]) -> bool {
    let Err(error) = require(needs) else {
        return false;
    };
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    assert!(
        std::env::var_os("CI").is_none_or(|ci| ci != "true"),
        "{test}: {error}; with CI=true no test may be skipped"
    );
    // Not `eprintln!`: the test harness captures that, and a skip must be seen.
    let _ = io::Write::write_all(
        &mut io::stderr(),
        format!("SKIPPED: {test}: {error}\n").as_bytes(),
    );
    true
}

fn namespaces() -> Option<Missing> {
    // In a thread of its own, which ends at once: nothing else sees the new namespace.
    let tried = std::thread::spawn(|| {
        // SAFETY: only the network namespace is unshared, no file-descriptor table.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
    })
    .join();
    let error = match tried {
        Ok(Ok(())) => return None,
        Ok(Err(errno)) => errno,
        Err(_) => rustix::io::Errno::IO,
    };
    let remedy = match error {
        rustix::io::Errno::PERM => "run as root (CAP_SYS_ADMIN and CAP_NET_ADMIN)",
        rustix::io::Errno::INVAL => "use a kernel with CONFIG_NET_NS",
        rustix::io::Errno::NOSPC => "raise the sysctl user.max_net_namespaces",
        _ => "see unshare(2)",
    };
    Some(Missing {
        what: format!("cannot create a network namespace: {error}"),
        remedy,
    })
}

fn tun() -> Option<Missing> {
    let error = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .err()?;
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "use a kernel with CONFIG_TUN, or `modprobe tun`",
        io::ErrorKind::PermissionDenied => "run as root",
        _ => "see the kernel's Documentation/networking/tuntap.rst",
    };
    Some(Missing {
        what: format!("cannot open /dev/net/tun: {error}"),
        remedy,
    })
}

fn command(name: &'static str) -> Option<Missing> {
    if tool(name).is_some() {
        return None;
    }
    Some(Missing {
        what: format!("no command `{name}`"),
        remedy: "install the package iproute2",
    })
}

/// Where a command is: in `PATH`, or where administrators' commands are (a user's `PATH` may lack it).
pub(crate) fn tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}
