//! Where the running kernel keeps what a program writes, from its type information (BTF).

use libbpf_rs::btf::types::{Composite, MemberAttr, Struct};
use libbpf_rs::btf::{Btf, BtfKind, BtfType};
use thiserror::Error;

/// Offsets within `struct tcp_sock` of what generated programs write, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SockOffsets {
    /// `snd_cwnd`: the congestion window in packets, 32 bits.
    pub snd_cwnd: i16,
    /// `snd_ssthresh`: where slow start ends, in packets, 32 bits.
    pub snd_ssthresh: i16,
    /// `sk_pacing_rate` of the socket: bytes per second, 64 bits.
    pub sk_pacing_rate: i16,
    /// `sk_pacing_status` of the socket: whether anything paces, 32 bits.
    pub sk_pacing_status: i16,
}

/// The attach point of generated programs: `tcp_congestion_ops.cong_control`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CongControl {
    /// BTF id of `struct tcp_congestion_ops`.
    pub btf_id: u32,
    /// Place of the member `cong_control`, counted from 0.
    pub member: u32,
}

/// What must be known of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Where things are in a TCP socket.
    pub sock: SockOffsets,
    /// Where programs attach.
    pub cong_control: CongControl,
}

/// The kernel does not have what is needed, or does not say so.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum KernelError {
    /// No type information.
    #[error(
        "the kernel's type information cannot be read; it needs CONFIG_DEBUG_INFO_BTF=y and a readable /sys/kernel/btf/vmlinux"
    )]
    NoBtf {
        /// What reading it gave.
        source: libbpf_rs::Error,
    },
    /// A structure is missing.
    #[error("the kernel's type information has no `struct {name}`; is TCP built in?")]
    NoStruct {
        /// Its name.
        name: &'static str,
    },
    /// A member is missing.
    #[error(
        "`{member}` is missing in the kernel's `struct {within}`; this kernel is not supported"
    )]
    NoMember {
        /// The structure.
        within: &'static str,
        /// The member, with the way to it.
        member: String,
    },
    /// A member is not what it is taken for.
    #[error(
        "`{member}` in the kernel's `struct {within}` has {got} bytes at offset {offset}, but {expected} below offset 32768 are expected; this kernel is not supported"
    )]
    OtherShape {
        /// The structure.
        within: &'static str,
        /// The member, with the way to it.
        member: String,
        /// Its size.
        got: usize,
        /// Its offset in bytes.
        offset: usize,
        /// The size that programs write.
        expected: usize,
    },
}

impl Kernel {
    /// Asks the running kernel. Takes some milliseconds: do it once.
    ///
    /// # Errors
    /// If the kernel has no type information or lacks one of the members.
    pub fn running() -> Result<Self, KernelError> {
        let btf = Btf::from_vmlinux().map_err(|source| KernelError::NoBtf { source })?;
        Self::from_btf(&btf)
    }

    /// The same from type information that was read already.
    ///
    /// # Errors
    /// If one of the structures or members is missing or has another size.
    pub fn from_btf(btf: &Btf<'_>) -> Result<Self, KernelError> {
        let sock = ["inet_conn", "icsk_inet", "sk"];
        let of_sock = |member: &'static str| [&sock[..], &[member]].concat();
        Ok(Self {
            sock: SockOffsets {
                snd_cwnd: offset(btf, "tcp_sock", &["snd_cwnd"], 4)?,
                snd_ssthresh: offset(btf, "tcp_sock", &["snd_ssthresh"], 4)?,
                sk_pacing_rate: offset(btf, "tcp_sock", &of_sock("sk_pacing_rate"), 8)?,
                sk_pacing_status: offset(btf, "tcp_sock", &of_sock("sk_pacing_status"), 4)?,
            },
            cong_control: cong_control(btf)?,
        })
    }
}

fn structure<'b>(btf: &'b Btf<'_>, name: &'static str) -> Result<Struct<'b>, KernelError> {
    btf.type_by_name(name).ok_or(KernelError::NoStruct { name })
}

fn cong_control(btf: &Btf<'_>) -> Result<CongControl, KernelError> {
    let within = "tcp_congestion_ops";
    let ops = structure(btf, within)?;
    let member = ops
        .iter()
        .position(|m| m.name.is_some_and(|n| n == "cong_control"))
        .ok_or_else(|| KernelError::NoMember {
            within,
            member: "cong_control".into(),
        })?;
    Ok(CongControl {
        btf_id: ops.type_id().into(),
        member: member as u32,
    })
}

/// The offset in bytes of the member that `path` leads to, which must have `expected` bytes.
fn offset(
    btf: &Btf<'_>,
    within: &'static str,
    path: &[&str],
    expected: usize,
) -> Result<i16, KernelError> {
    let missing = || KernelError::NoMember {
        within,
        member: path.join("."),
    };
    let mut composite = Composite::from(structure(btf, within)?);
    let mut bits = 0;
    let mut size = 0;
    for (at, name) in path.iter().enumerate() {
        let (start, ty) = find(btf, &composite, name).ok_or_else(missing)?;
        bits += start;
        if at + 1 == path.len() {
            size = size_of_type(&ty).ok_or_else(missing)?;
        } else {
            composite = Composite::try_from(ty).map_err(|_| missing())?;
        }
    }
    let bytes = bits / 8;
    match i16::try_from(bytes) {
        Ok(offset) if size == expected && bits % 8 == 0 => Ok(offset),
        _ => Err(KernelError::OtherShape {
            within,
            member: path.join("."),
            got: size,
            offset: bytes,
            expected,
        }),
    }
}

/// Offset in bits and type of a member, also within unnamed members.
fn find<'b>(
    btf: &'b Btf<'_>,
    composite: &Composite<'b>,
    name: &str,
) -> Option<(usize, BtfType<'b>)> {
    let members: Vec<_> = composite.iter().collect();
    members.into_iter().find_map(|member| {
        let MemberAttr::Normal { offset } = member.attr else {
            return None;
        };
        let ty: BtfType<'_> = btf.type_by_id(member.ty)?;
        let ty = ty.skip_mods_and_typedefs();
        match member.name {
            Some(n) if n == name => Some((offset as usize, ty)),
            Some(n) if !n.is_empty() => None,
            _ => {
                let inner = Composite::try_from(ty).ok()?;
                let (start, ty) = find(btf, &inner, name)?;
                Some((offset as usize + start, ty))
            }
        }
    })
}

fn size_of_type(ty: &BtfType<'_>) -> Option<usize> {
    use libbpf_rs::btf::HasSize;
    use libbpf_rs::btf::types::{Enum, Int};
    match ty.kind() {
        BtfKind::Int => Int::try_from(*ty).ok().map(|t| t.size()),
        BtfKind::Enum => Enum::try_from(*ty).ok().map(|t| t.size()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let Ok(btf) = Btf::from_vmlinux() else {
            eprintln!("skipped: no kernel type information here");
            return;
        };
        let error = offset(&btf, "tcp_sock", &["inet_conn", "no_such"], 4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`inet_conn.no_such` is missing in the kernel's `struct tcp_sock`; this kernel is not supported"
        );
        let error = offset(&btf, "tcp_sock", &["snd_cwnd"], 8).unwrap_err();
        assert!(
            matches!(
                error,
                KernelError::OtherShape {
                    got: 4,
                    expected: 8,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn the_socket_is_the_head_of_a_tcp_socket() {
        let Ok(btf) = Btf::from_vmlinux() else {
            eprintln!("skipped: no kernel type information here");
            return;
        };
        let kernel = Kernel::from_btf(&btf).unwrap();
        let direct = offset(&btf, "sock", &["sk_pacing_rate"], 8).unwrap();
        assert_eq!(kernel.sock.sk_pacing_rate, direct);
        // Within an unnamed member.
        assert_eq!(offset(&btf, "sock_common", &["skc_hash"], 4).unwrap(), 8);
    }
}
