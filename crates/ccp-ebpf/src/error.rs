//! Why something could not be done, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use crate::codegen::{CodegenError, KernelError, LoadError};
use crate::options::OptionsError;

/// Something that this host lacks.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// Privileges are missing.
    #[error(
        "{missing} missing: loading a TCP congestion control into the kernel needs root, or the capabilities CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (and CAP_SYS_ADMIN to mount the BPF file system and to reach other network namespaces)"
    )]
    Privileges {
        /// The capabilities, by name.
        missing: String,
    },
    /// The kernel has no type information.
    #[error(
        "the kernel has no type information: {} cannot be read ({source}); it needs CONFIG_DEBUG_INFO_BTF=y, which distribution kernels have",
        path.display()
    )]
    NoBtf {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel is too old.
    #[error("Linux {running} is too old: {what} came with Linux {needed}; use Linux 6.4 or later")]
    KernelTooOld {
        /// The running kernel's release.
        running: String,
        /// What it lacks.
        what: &'static str,
        /// Since when there is one.
        needed: &'static str,
    },
    /// The BPF compiler is off.
    #[error(
        "the kernel's BPF JIT compiler is off, and without it there are no congestion controls in BPF; turn it on with `sysctl net.core.bpf_jit_enable=1`"
    )]
    JitOff,
    /// The kernel lacks its native CUBIC, which flows fall back on.
    #[error(
        "the kernel offers no `{function}` to BPF programs, which the fallback needs; build CONFIG_TCP_CONG_CUBIC, or load it with `modprobe tcp_cubic`"
    )]
    NoCubic {
        /// The function.
        function: &'static str,
    },
    /// `cong_control` is called with other arguments than those we know.
    #[error(
        "the kernel calls `tcp_congestion_ops.cong_control` with {arguments} arguments; known are 2 (before Linux 6.10) and 4 (since): this kernel is newer than this program"
    )]
    UnknownSignature {
        /// How many.
        arguments: usize,
    },
    /// A structure of the kernel is not as expected.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// Why a datapath could not be attached.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum AttachError {
    /// An option is out of its range.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The host lacks something.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The BPF file system is not there and cannot be mounted.
    #[error(
        "no BPF file system at {} and none can be mounted there ({source}); mount one with `mount -t bpf bpf {}`",
        path.display(), path.display()
    )]
    Bpffs {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another process has this name.
    #[error(
        "another process runs the datapath `{name}` (it holds {}); stop it, or choose another name",
        path.display()
    )]
    Running {
        /// The name.
        name: String,
        /// The locked directory.
        path: PathBuf,
    },
    /// The name is taken.
    #[error(
        "the congestion control name `{name}` is taken by something else on this host (see `sysctl net.ipv4.tcp_available_congestion_control` and `bpftool struct_ops show`); choose another name"
    )]
    NameTaken {
        /// The name.
        name: String,
    },
    /// The kernel refused our programs.
    #[error(
        "the kernel refused the datapath's programs: {source}{}",
        with_log(log)
    )]
    Load {
        /// What loading gave.
        source: libbpf_rs::Error,
        /// What libbpf said, last lines.
        log: String,
    },
    /// Something about a pin.
    #[error("cannot {action} {}: {source}", path.display())]
    Pin {
        /// What was to be done.
        action: &'static str,
        /// The pin.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A pinned thing of an earlier daemon does not fit.
    #[error(
        "{} was left by an earlier daemon and cannot be used ({problem}); remove what it left (`ccpd --cleanup`), which hands its flows to CUBIC",
        path.display()
    )]
    Leftover {
        /// The pin.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
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

impl AttachError {
    /// Whether the host cannot do this at all: privileges or kernel features are missing.
    #[must_use]
    pub const fn is_not_possible_here(&self) -> bool {
        matches!(self, Self::Host(_) | Self::Bpffs { .. })
    }

    pub(crate) const fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

pub(crate) fn with_log(log: &str) -> String {
    if log.is_empty() {
        String::new()
    } else {
        format!("; its last lines:\n{log}")
    }
}

/// Why a program could not be installed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum InstallError {
    /// There is no eBPF for it.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// The kernel refused it.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The number means "run natively".
    #[error("program number 0 cannot be installed: it stands for native operation")]
    NativeNumber,
    /// No place is left.
    #[error("{installed} programs are installed, which is all that fit; remove one first")]
    Full {
        /// How many.
        installed: usize,
    },
    /// A map could not be written.
    #[error("cannot {action}: {source}")]
    System {
        /// What was to be done.
        action: &'static str,
        /// Why not.
        source: io::Error,
    },
}

/// Why a mailbox write was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MailboxError {
    /// No program has this number.
    #[error("no program {uid} is installed")]
    NoProgram {
        /// The number.
        uid: u32,
    },
    /// A field does not exist.
    #[error("there is no field {field}: 0 is Cwnd, 1 is Rate, 2 to {} are the control variables", crate::layout::FIELDS - 1)]
    NoField {
        /// Its number.
        field: usize,
    },
    /// Nothing can have such a name.
    #[error(
        "a name of {len} bytes cannot be that of an algorithm of the kernel: those have 1 to 15"
    )]
    NoName {
        /// How many bytes it has.
        len: usize,
    },
    /// The flow's slot does not exist.
    #[error("flow {sock_id} is not one of this datapath: it has {slots} slots")]
    NoSlot {
        /// The flow.
        sock_id: u32,
        /// How many there are.
        slots: u32,
    },
}
