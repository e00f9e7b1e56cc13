//! Loads generated programs into the kernel.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use rustix::io::Errno;
use thiserror::Error;

use super::insn::Insn;
use super::kernel::CongControl;

/// Lines of the verifier's log that an error carries.
const LAST_LINES: usize = 12;

/// What a program is loaded as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A `cong_control` of `tcp_congestion_ops`: what the glue's program array takes.
    CongControl(CongControl),
    /// A raw tracepoint's program, for test runs: the kernel refuses them for `struct_ops`.
    RawTracepoint,
}

/// The kernel refused a program.
#[derive(Debug, Error)]
#[error(
    "the kernel refused the program `{name}` ({instructions} instructions): {source}{}",
    advice(source, log)
)]
pub struct LoadError {
    /// The program's name.
    pub name: String,
    /// How many instruction slots it has.
    pub instructions: usize,
    /// What the system call gave: `EPERM` for missing privileges; the verifier refuses with
    /// `EACCES`, `EINVAL` and others.
    pub source: io::Error,
    /// The last lines of the kernel verifier's log; empty if it wrote none.
    pub log: String,
}

impl LoadError {
    /// Whether privileges are missing.
    #[must_use]
    pub fn is_permission(&self) -> bool {
        is_permission(&self.source)
    }
}

fn is_permission(error: &io::Error) -> bool {
    // `EACCES` has the same kind, but is what the verifier says.
    error.raw_os_error() == Some(Errno::PERM.raw_os_error())
}

fn advice(source: &io::Error, log: &str) -> String {
    if is_permission(source) {
        "; loading BPF programs needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN".into()
    } else if log.is_empty() {
        String::new()
    } else {
        format!("; the verifier's last lines:\n{log}")
    }
}

/// Loads `insns`; the program goes when the last descriptor and the last map that holds it go.
///
/// The kernel shows the first 15 characters of `name`.
///
/// # Errors
/// If the kernel refuses it: too little privilege, or its verifier disagrees.
pub fn load(name: &str, kind: Kind, insns: &[Insn]) -> Result<OwnedFd, LoadError> {
    let slots: Vec<u64> = insns.iter().map(|i| i.to_bits()).collect();
    let short = short_name(name);
    let refused = |source, log| LoadError {
        name: name.to_owned(),
        instructions: insns.len(),
        source,
        log,
    };
    match attempt(&short, kind, &slots, &mut []) {
        Ok(fd) => Ok(fd),
        Err(source) if is_permission(&source) => Err(refused(source, String::new())),
        // Once more, this time with the reason.
        Err(source) => {
            let mut log = vec![0; 1 << 20];
            match attempt(&short, kind, &slots, &mut log) {
                Ok(fd) => Ok(fd),
                Err(_) => Err(refused(source, last_lines(&log))),
            }
        }
    }
}

fn attempt(name: &CString, kind: Kind, slots: &[u64], log: &mut [u8]) -> io::Result<OwnedFd> {
    let mut opts = libbpf_sys::bpf_prog_load_opts {
        sz: size_of::<libbpf_sys::bpf_prog_load_opts>() as libbpf_sys::size_t,
        // A load that a signal interrupts is tried again this many times.
        attempts: 5,
        ..Default::default()
    };
    if !log.is_empty() {
        opts.log_level = 1;
        opts.log_size = log.len() as u32;
        opts.log_buf = log.as_mut_ptr().cast();
    }
    let program_type = match kind {
        Kind::CongControl(at) => {
            opts.attach_btf_id = at.btf_id;
            opts.expected_attach_type = at.member;
            libbpf_sys::BPF_PROG_TYPE_STRUCT_OPS
        }
        Kind::RawTracepoint => libbpf_sys::BPF_PROG_TYPE_RAW_TRACEPOINT,
    };
    // SAFETY: `slots` are `slots.len()` instructions in the kernel's layout and alignment (eight
    // bytes each); name, licence, options and log buffer outlive the call.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            program_type,
            name.as_ptr(),
            c"GPL".as_ptr(),
            slots.as_ptr().cast(),
            slots.len() as libbpf_sys::size_t,
            &raw mut opts,
        )
    };
    if fd < 0 {
        return Err(io::Error::from_raw_os_error(-fd));
    }
    // SAFETY: the kernel just gave this descriptor to us and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The kernel takes letters, digits, `_` and `.`, and at most 15 of them.
fn short_name(name: &str) -> CString {
    let bytes: Vec<u8> = name
        .bytes()
        .map(|b| match b {
            b'_' | b'.' => b,
            b if b.is_ascii_alphanumeric() => b,
            _ => b'_',
        })
        .take(15)
        .collect();
    CString::new(bytes).unwrap_or_default()
}

fn last_lines(log: &[u8]) -> String {
    let end = log.iter().position(|&b| b == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_acceptable() {
        assert_eq!(short_name("reno.per-rtt").as_bytes(), b"reno.per_rtt");
        assert_eq!(
            short_name("a-very-long-name-of-it").as_bytes(),
            b"a_very_long_nam"
        );
        assert_eq!(short_name("ü\0").as_bytes(), b"___");
    }

    #[test]
    fn a_refusal_says_whether_privileges_are_missing() {
        let refused = |errno: Errno, log: &str| LoadError {
            name: "reno".into(),
            instructions: 7,
            source: errno.into(),
            log: log.into(),
        };
        let error = refused(Errno::PERM, "");
        assert!(error.is_permission());
        assert_eq!(
            error.to_string(),
            "the kernel refused the program `reno` (7 instructions): Operation not permitted (os error 1); loading BPF programs needs root, or CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN"
        );
        let error = refused(Errno::ACCESS, "R1 invalid mem access");
        assert!(!error.is_permission());
        assert!(
            error
                .to_string()
                .ends_with("; the verifier's last lines:\nR1 invalid mem access"),
            "{error}"
        );
    }

    #[test]
    fn the_log_ends_with_the_reason() {
        let mut log: Vec<u8> = (0..100)
            .flat_map(|i| format!("line {i}\n").into_bytes())
            .collect();
        log.extend([0; 50]);
        let last = last_lines(&log);
        assert!(
            last.starts_with("line 88\n") && last.ends_with("line 99"),
            "{last}"
        );
        assert_eq!(last_lines(&[0; 8]), "");
    }
}
