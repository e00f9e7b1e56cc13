//! What the host has, and what it lacks by name.
//!
//! The oldest kernel is Linux 6.4: links of `struct_ops` came with it. What else is used is older:
//! CUBIC's functions for BPF (5.13), programs that write the pacing rate (6.0), `setsockopt` in
//! `init` (6.0).

use std::fs;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use libbpf_rs::btf::types::{Func, FuncProto, Ptr, Struct};
use libbpf_rs::btf::{Btf, BtfType, ReferencesType};

use crate::codegen::Kernel;
use crate::error::HostError;

const BTF: &str = "/sys/kernel/btf/vmlinux";

/// The functions of native CUBIC that the glue calls.
const CUBIC: [&str; 5] = [
    "cubictcp_init",
    "cubictcp_cong_avoid",
    "cubictcp_recalc_ssthresh",
    "cubictcp_state",
    "cubictcp_acked",
];

/// And one of these: where the kernel has no callback of its own for the first packet after a
/// pause, and where it has.
const CUBIC_EVENT: &str = "cubictcp_cwnd_event";
const CUBIC_TX_START: &str = "cubictcp_cwnd_event_tx_start";

/// Capabilities that are always needed: bit and name.
const CAPABILITIES: [(u32, &str); 3] =
    [(12, "CAP_NET_ADMIN"), (38, "CAP_PERFMON"), (39, "CAP_BPF")];
const CAP_SYS_ADMIN: u32 = 21;

/// How the kernel calls `cong_control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Signature {
    /// `(sk, rs)`, before Linux 6.10.
    TwoArguments,
    /// `(sk, ack, flag, rs)`, since Linux 6.10.
    FourArguments,
}

impl Signature {
    /// By the number of arguments.
    ///
    /// # Errors
    /// If it is one we do not know.
    pub const fn by_arguments(arguments: usize) -> Result<Self, HostError> {
        match arguments {
            2 => Ok(Self::TwoArguments),
            4 => Ok(Self::FourArguments),
            _ => Err(HostError::UnknownSignature { arguments }),
        }
    }
}

/// A host that can run the datapath.
#[derive(Clone, Debug)]
pub struct HostInfo {
    /// The kernel's release, as `uname -r` says it.
    pub release: String,
    /// How it calls `cong_control`.
    pub signature: Signature,
    /// Whether it has a callback of its own, `cwnd_event_tx_start`, for the first packet after a
    /// pause.
    pub(crate) tx_start: bool,
    /// Where generated programs find what they write.
    pub(crate) kernel: Kernel,
}

/// Looks whether this host can run the datapath. Takes some milliseconds the first time; changes nothing.
///
/// # Errors
/// The first thing that is missing, with what to do about it.
pub fn check_host() -> Result<HostInfo, HostError> {
    // The running kernel's type information does not change, and is large.
    static KERNEL: OnceLock<HostInfo> = OnceLock::new();
    privileges(&fs::read_to_string("/proc/self/status").unwrap_or_default())?;
    jit(fs::read_to_string("/proc/sys/net/core/bpf_jit_enable")
        .ok()
        .as_deref())?;
    if let Some(known) = KERNEL.get() {
        return Ok(known.clone());
    }
    let found = look_at_kernel()?;
    Ok(KERNEL.get_or_init(|| found).clone())
}

/// What the kernel's type information says.
fn look_at_kernel() -> Result<HostInfo, HostError> {
    let release = release();
    // Opened as a file first: libbpf's error does not tell what is missing.
    fs::File::open(BTF).map_err(|source| HostError::NoBtf {
        path: BTF.into(),
        source,
    })?;
    let btf = Btf::from_vmlinux().map_err(|source| HostError::NoBtf {
        path: BTF.into(),
        source: io::Error::other(source.to_string()),
    })?;
    features(&release, &|name| {
        btf.type_by_name::<Struct<'_>>(name).is_some()
    })?;
    let tx_start = callback(&btf, "cwnd_event_tx_start").is_some();
    cubic(tx_start, &|name| {
        btf.type_by_name::<Func<'_>>(name).is_some()
            || Path::new("/sys/kernel/btf/tcp_cubic").exists()
    })?;
    let signature = Signature::by_arguments(arguments(&btf))?;
    Ok(HostInfo {
        kernel: Kernel::from_btf(&btf)?,
        release,
        signature,
        tx_start,
    })
}

fn release() -> String {
    rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned()
}

/// `status` is the text of `/proc/self/status`.
fn privileges(status: &str) -> Result<(), HostError> {
    let effective = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    let has = |bit: u32| effective >> bit & 1 == 1;
    let missing: Vec<&str> = CAPABILITIES
        .iter()
        // CAP_SYS_ADMIN stands in for the two that were split off from it.
        .filter(|(bit, _)| !(has(*bit) || *bit >= 38 && has(CAP_SYS_ADMIN)))
        .map(|(_, name)| *name)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let verb = if missing.len() == 1 { "is" } else { "are" };
    Err(HostError::Privileges {
        missing: format!("{} {verb}", missing.join(" and ")),
    })
}

/// `enabled` is the text of the sysctl; a kernel built with the JIT always on may have none.
fn jit(enabled: Option<&str>) -> Result<(), HostError> {
    match enabled.map(str::trim) {
        Some("0") => Err(HostError::JitOff),
        _ => Ok(()),
    }
}

/// `has` tells whether the kernel has a structure.
fn features(release: &str, has: &dyn Fn(&str) -> bool) -> Result<(), HostError> {
    let old = |what, needed| HostError::KernelTooOld {
        running: release.to_owned(),
        what,
        needed,
    };
    if !has("bpf_struct_ops_tcp_congestion_ops") {
        return Err(old(
            "TCP congestion control in BPF (CONFIG_BPF_JIT, CONFIG_BPF_SYSCALL)",
            "5.6",
        ));
    }
    if !has("bpf_struct_ops_link") {
        return Err(old(
            "the link that holds and replaces such a congestion control",
            "6.4",
        ));
    }
    Ok(())
}

/// `tx_start` as in [`HostInfo`].
fn cubic(tx_start: bool, has: &dyn Fn(&str) -> bool) -> Result<(), HostError> {
    let event = if tx_start {
        CUBIC_TX_START
    } else {
        CUBIC_EVENT
    };
    match CUBIC.into_iter().chain([event]).find(|f| !has(f)) {
        None => Ok(()),
        Some(function) => Err(HostError::NoCubic { function }),
    }
}

/// The callback `name` of this kernel's congestion controls.
fn callback<'b>(btf: &'b Btf<'_>, name: &str) -> Option<FuncProto<'b>> {
    let ops: Struct<'_> = btf.type_by_name("tcp_congestion_ops")?;
    let member = ops.iter().find(|m| m.name.is_some_and(|n| n == name))?;
    let function: BtfType<'_> = btf.type_by_id::<BtfType<'_>>(member.ty)?;
    let pointer = Ptr::try_from(function).ok()?;
    FuncProto::try_from(pointer.referenced_type()).ok()
}

/// How many arguments `cong_control` has in this kernel; 0 if it has no such member.
fn arguments(btf: &Btf<'_>) -> usize {
    callback(btf, "cong_control").map_or(0, |proto| proto.iter().count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(result: Result<(), HostError>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn privileges_are_named() {
        assert!(privileges("CapEff:\t000001ffffffffff\n").is_ok());
        // CAP_SYS_ADMIN and CAP_NET_ADMIN, as before Linux 5.8.
        assert!(privileges("CapEff:\t0000000000201000\n").is_ok());
        let none = message(privileges("CapEff:\t0000000000000000\n"));
        assert!(
            none.starts_with("CAP_NET_ADMIN and CAP_PERFMON and CAP_BPF are missing"),
            "{none}"
        );
        let some = message(privileges("CapEff:\t0000008000001000\n"));
        assert!(some.starts_with("CAP_PERFMON is missing"), "{some}");
        assert!(some.contains("needs root"), "{some}");
        assert!(privileges("").is_err());
    }

    #[test]
    fn the_jit_is_named() {
        assert!(jit(Some("1\n")).is_ok() && jit(Some("2")).is_ok() && jit(None).is_ok());
        let error = message(jit(Some("0\n")));
        assert!(
            error.contains("sysctl net.core.bpf_jit_enable=1"),
            "{error}"
        );
    }

    #[test]
    fn features_are_named() {
        assert!(features("6.18", &|_| true).is_ok());
        let error = message(features("6.3.1", &|n| n != "bpf_struct_ops_link"));
        assert_eq!(
            error,
            "Linux 6.3.1 is too old: the link that holds and replaces such a congestion control came with Linux 6.4; use Linux 6.4 or later"
        );
        assert!(message(features("5.4", &|_| false)).contains("Linux 5.6"));
    }

    #[test]
    fn cubic_is_named() {
        assert!(cubic(false, &|n| n != CUBIC_TX_START).is_ok());
        assert!(cubic(true, &|n| n != CUBIC_EVENT).is_ok());
        let error = message(cubic(true, &|n| n != CUBIC_TX_START));
        assert!(error.contains(CUBIC_TX_START), "{error}");
        let error = message(cubic(false, &|n| n != CUBIC_EVENT));
        assert!(error.contains("`cubictcp_cwnd_event`"), "{error}");
        let error = message(cubic(false, &|n| n != "cubictcp_acked"));
        assert!(
            error.contains("`cubictcp_acked`") && error.contains("modprobe tcp_cubic"),
            "{error}"
        );
    }

    #[test]
    fn the_signature_is_picked_by_its_arguments() {
        assert_eq!(Signature::by_arguments(2).unwrap(), Signature::TwoArguments);
        assert_eq!(
            Signature::by_arguments(4).unwrap(),
            Signature::FourArguments
        );
        for n in [0, 1, 3, 5] {
            let error = Signature::by_arguments(n).unwrap_err().to_string();
            assert!(error.contains(&format!("with {n} arguments")), "{error}");
        }
    }

    /// A kernel's type information made by hand: `struct tcp_congestion_ops` with one member that
    /// points to a function of `n` arguments.
    fn synthetic(n: u32, member: &str) -> Vec<u8> {
        let mut strings = b"\0".to_vec();
        let mut name = |s: &str| {
            let at = strings.len() as u32;
            strings.extend_from_slice(s.as_bytes());
            strings.push(0);
            at
        };
        let (ops, member, int) = (name("tcp_congestion_ops"), name(member), name("int"));
        let mut types: Vec<u32> = Vec::new();
        // 1: int; 2: function; 3: pointer to it; 4: the structure.
        types.extend([int, 1 << 24, 4, 32]);
        types.extend([0, 13 << 24 | n, 0]);
        for _ in 0..n {
            types.extend([0, 1]);
        }
        types.extend([0, 2 << 24, 2]);
        types.extend([ops, 4 << 24 | 1, 8]);
        types.extend([member, 3, 0]);
        let types: Vec<u8> = types.iter().flat_map(|w| w.to_ne_bytes()).collect();
        let mut raw = Vec::new();
        raw.extend(0xeb9f_u16.to_ne_bytes());
        raw.extend([1, 0]);
        for word in [
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ] {
            raw.extend(word.to_ne_bytes());
        }
        raw.extend(types);
        raw.extend(strings);
        raw
    }

    #[test]
    fn arguments_are_counted_in_type_information() {
        let dir = tempfile::tempdir().unwrap();
        let count = |n: u32, member: &str| {
            let path = dir.path().join(format!("{n}{member}"));
            fs::write(&path, synthetic(n, member)).unwrap();
            arguments(&Btf::from_path(&path).unwrap())
        };
        assert_eq!(count(2, "cong_control"), 2);
        assert_eq!(count(4, "cong_control"), 4);
        assert_eq!(count(3, "cong_control"), 3);
        assert_eq!(count(4, "cong_avoid"), 0);
        let has = |member: &str| {
            let path = dir.path().join(format!("1{member}"));
            fs::write(&path, synthetic(1, member)).unwrap();
            callback(&Btf::from_path(&path).unwrap(), "cwnd_event_tx_start").is_some()
        };
        assert!(has("cwnd_event_tx_start") && !has("cwnd_event"));
    }
}
