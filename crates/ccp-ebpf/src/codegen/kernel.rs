//! Where the running kernel keeps what a program writes, from its type information (BTF).

use std::ffi::CStr;
use std::mem::offset_of;

use libbpf_rs::btf::types::{Array, Composite, MemberAttr, Struct};
use libbpf_rs::btf::{Btf, BtfKind, BtfType};
use thiserror::Error;

use crate::layout::Hot;

/// The word of `icsk_ca_priv` that native CUBIC must leave alone, in bytes from its start: it says who runs
/// a flow.
const PRIV_MARK: usize = offset_of!(Hot, mark);

/// Offsets within `struct tcp_sock` of what is applied to it and what that is counted in, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SockOffsets {
    /// `snd_cwnd`: the congestion window in packets, 32 bits.
    pub snd_cwnd: i16,
    /// `snd_cwnd_clamp`: the largest window in packets, 32 bits.
    pub snd_cwnd_clamp: i16,
    /// `snd_ssthresh`: packets, 32 bits.
    pub snd_ssthresh: i16,
    /// `packets_out`: packets sent and not cumulatively acknowledged, 32 bits.
    pub packets_out: i16,
    /// `srtt_us`: the smoothed RTT in eighths of a microsecond, 32 bits.
    pub srtt_us: i16,
    /// `sk_pacing_rate` of the socket: bytes per second, 64 bits.
    pub sk_pacing_rate: i16,
    /// `sk_max_pacing_rate` of the socket: bytes per second, 64 bits.
    pub sk_max_pacing_rate: i16,
    /// `sk_pacing_status` of the socket: whether anything paces, 32 bits.
    pub sk_pacing_status: i16,
    /// `icsk_ca_priv` of the socket: what an algorithm keeps there, 13 words.
    pub icsk_ca_priv: i16,
}

/// Where programs find what they measure: members of `struct tcp_sock`, those that begin with `rs_`
/// of `struct rate_sample`, by their names there; in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the kernel's")]
pub struct AckOffsets {
    pub mss_cache: i16,
    pub sacked_out: i16,
    pub lost_out: i16,
    pub retrans_out: i16,
    pub max_packets_out: i16,
    pub delivered: i16,
    pub delivered_ce: i16,
    pub lost: i16,
    pub write_seq: i16,
    pub snd_nxt: i16,
    pub mdev_us: i16,
    /// `rtt_min.s[0].v`
    pub rtt_min: i16,
    pub tcp_mstamp: i16,
    pub bytes_sent: i16,
    pub bytes_acked: i16,
    pub bytes_retrans: i16,
    pub is_cwnd_limited: Bits,
    pub icsk_ca_state: Bits,
    pub rs_prior_delivered: i16,
    pub rs_delivered: i16,
    pub rs_interval_us: i16,
    pub rs_snd_interval_us: i16,
    pub rs_rcv_interval_us: i16,
    pub rs_rtt_us: i16,
    pub rs_is_app_limited: i16,
}

/// A bit field within one byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    /// The byte's offset.
    pub byte: i16,
    /// The lowest bit.
    pub shift: u8,
    /// How many bits.
    pub size: u8,
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
    /// Where more things are.
    pub ack: AckOffsets,
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
    /// What the kernel's CUBIC keeps in a socket reaches what we keep there.
    #[error(
        "the kernel's CUBIC keeps {cubic} bytes in a socket of the {kept} that algorithms have there, and {PRIV_MARK} to {} are needed beside it; this kernel is not supported",
        PRIV_MARK + 8
    )]
    NoRoomBesideCubic {
        /// The size of its `struct bictcp`.
        cubic: usize,
        /// The size of `icsk_ca_priv`.
        kept: usize,
    },
}

/// Whether there is room for our word in the `kept` bytes of which CUBIC uses the first `cubic`.
const fn room_beside_cubic(cubic: usize, kept: usize) -> Result<(), KernelError> {
    if cubic <= PRIV_MARK && PRIV_MARK + 8 <= kept {
        Ok(())
    } else {
        Err(KernelError::NoRoomBesideCubic { cubic, kept })
    }
}

/// The size of CUBIC's `struct bictcp`, also where CUBIC is a module.
fn size_of_cubic(btf: &Btf<'_>) -> Result<usize, KernelError> {
    use libbpf_rs::btf::HasSize;
    btf.type_by_name::<Struct<'_>>("bictcp")
        .map(|s| s.size())
        .or_else(|| size_in_module(c"tcp_cubic", c"bictcp"))
        .ok_or(KernelError::NoStruct { name: "bictcp" })
}

/// The size of a structure that a loaded module has.
fn size_in_module(module: &CStr, structure: &CStr) -> Option<usize> {
    use libbpf_sys::{
        BTF_KIND_STRUCT, btf__find_by_name_kind, btf__free, btf__load_module_btf,
        btf__load_vmlinux_btf, btf__resolve_size,
    };
    // SAFETY: the strings end with a zero; what is null is not used, the rest is freed once, the
    // module's type information, which refers to the kernel's, first.
    unsafe {
        let base = btf__load_vmlinux_btf();
        if base.is_null() {
            return None;
        }
        let split = btf__load_module_btf(module.as_ptr(), base);
        let size = if split.is_null() {
            None
        } else {
            let id = btf__find_by_name_kind(split, structure.as_ptr(), BTF_KIND_STRUCT);
            let size = u32::try_from(id).map(|id| btf__resolve_size(split, id));
            btf__free(split);
            size.ok().and_then(|size| usize::try_from(size).ok())
        };
        btf__free(base);
        size
    }
}

/// The size of `icsk_ca_priv`.
fn size_of_private(btf: &Btf<'_>) -> Result<usize, KernelError> {
    let (within, path) = ("tcp_sock", ["inet_conn", "icsk_ca_priv"]);
    let (_, member) = place(btf, within, &path)?;
    let array = Array::try_from(member.ty).map_err(|_| missing(within, &path))?;
    let element = array.contained_type().skip_mods_and_typedefs();
    let size = size_of_type(&element).ok_or_else(|| missing(within, &path))?;
    Ok(size * array.capacity())
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
        room_beside_cubic(size_of_cubic(btf)?, size_of_private(btf)?)?;
        Ok(Self {
            sock: SockOffsets {
                snd_cwnd: offset(btf, "tcp_sock", &["snd_cwnd"], 4)?,
                snd_cwnd_clamp: offset(btf, "tcp_sock", &["snd_cwnd_clamp"], 4)?,
                snd_ssthresh: offset(btf, "tcp_sock", &["snd_ssthresh"], 4)?,
                packets_out: offset(btf, "tcp_sock", &["packets_out"], 4)?,
                srtt_us: offset(btf, "tcp_sock", &["srtt_us"], 4)?,
                sk_pacing_rate: offset(btf, "tcp_sock", &of_sock("sk_pacing_rate"), 8)?,
                sk_max_pacing_rate: offset(btf, "tcp_sock", &of_sock("sk_max_pacing_rate"), 8)?,
                sk_pacing_status: offset(btf, "tcp_sock", &of_sock("sk_pacing_status"), 4)?,
                icsk_ca_priv: start(btf, &["inet_conn", "icsk_ca_priv"])?,
            },
            ack: AckOffsets::from_btf(btf)?,
            cong_control: cong_control(btf)?,
        })
    }
}

impl SockOffsets {
    /// The same from `at` bytes into the socket on.
    pub(super) const fn from(self, at: i16) -> Self {
        Self {
            snd_cwnd: self.snd_cwnd - at,
            snd_cwnd_clamp: self.snd_cwnd_clamp - at,
            snd_ssthresh: self.snd_ssthresh - at,
            packets_out: self.packets_out - at,
            srtt_us: self.srtt_us - at,
            sk_pacing_rate: self.sk_pacing_rate - at,
            sk_max_pacing_rate: self.sk_max_pacing_rate - at,
            sk_pacing_status: self.sk_pacing_status - at,
            icsk_ca_priv: self.icsk_ca_priv - at,
        }
    }
}

impl Bits {
    const fn from(self, at: i16) -> Self {
        Self {
            byte: self.byte - at,
            ..self
        }
    }
}

impl AckOffsets {
    /// The same from `at` bytes into the socket on; those in the sample stay.
    pub(super) const fn from(self, at: i16) -> Self {
        Self {
            mss_cache: self.mss_cache - at,
            sacked_out: self.sacked_out - at,
            lost_out: self.lost_out - at,
            retrans_out: self.retrans_out - at,
            max_packets_out: self.max_packets_out - at,
            delivered: self.delivered - at,
            delivered_ce: self.delivered_ce - at,
            lost: self.lost - at,
            write_seq: self.write_seq - at,
            snd_nxt: self.snd_nxt - at,
            mdev_us: self.mdev_us - at,
            rtt_min: self.rtt_min - at,
            tcp_mstamp: self.tcp_mstamp - at,
            bytes_sent: self.bytes_sent - at,
            bytes_acked: self.bytes_acked - at,
            bytes_retrans: self.bytes_retrans - at,
            is_cwnd_limited: self.is_cwnd_limited.from(at),
            icsk_ca_state: self.icsk_ca_state.from(at),
            ..self
        }
    }

    fn from_btf(btf: &Btf<'_>) -> Result<Self, KernelError> {
        let tcp = |member, size| offset(btf, "tcp_sock", &[member], size);
        let rs = |member, size| offset(btf, "rate_sample", &[member], size);
        Ok(Self {
            mss_cache: tcp("mss_cache", 4)?,
            sacked_out: tcp("sacked_out", 4)?,
            lost_out: tcp("lost_out", 4)?,
            retrans_out: tcp("retrans_out", 4)?,
            max_packets_out: tcp("max_packets_out", 4)?,
            delivered: tcp("delivered", 4)?,
            delivered_ce: tcp("delivered_ce", 4)?,
            lost: tcp("lost", 4)?,
            write_seq: tcp("write_seq", 4)?,
            snd_nxt: tcp("snd_nxt", 4)?,
            mdev_us: tcp("mdev_us", 4)?,
            rtt_min: start(btf, &["rtt_min"])? + offset(btf, "minmax_sample", &["v"], 4)?,
            tcp_mstamp: tcp("tcp_mstamp", 8)?,
            bytes_sent: tcp("bytes_sent", 8)?,
            bytes_acked: tcp("bytes_acked", 8)?,
            bytes_retrans: tcp("bytes_retrans", 8)?,
            is_cwnd_limited: bits(btf, &["is_cwnd_limited"])?,
            icsk_ca_state: bits(btf, &["inet_conn", "icsk_ca_state"])?,
            rs_prior_delivered: rs("prior_delivered", 4)?,
            rs_delivered: rs("delivered", 4)?,
            rs_interval_us: rs("interval_us", 8)?,
            rs_snd_interval_us: rs("snd_interval_us", 4)?,
            rs_rcv_interval_us: rs("rcv_interval_us", 4)?,
            rs_rtt_us: rs("rtt_us", 8)?,
            rs_is_app_limited: rs("is_app_limited", 1)?,
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

/// The offset in bytes of the member of `struct tcp_sock` that `path` leads to, of any size.
fn start(btf: &Btf<'_>, path: &[&str]) -> Result<i16, KernelError> {
    let (bits, _) = place(btf, "tcp_sock", path)?;
    small(bits / 8, "tcp_sock", path)
}

/// The offset in bytes of the member that `path` leads to, which must have `expected` bytes.
fn offset(
    btf: &Btf<'_>,
    within: &'static str,
    path: &[&str],
    expected: usize,
) -> Result<i16, KernelError> {
    let (bits, member) = place(btf, within, path)?;
    let size = size_of_type(&member.ty).ok_or_else(|| missing(within, path))?;
    match small(bits / 8, within, path) {
        Ok(offset) if size == expected && bits % 8 == 0 && member.bits.is_none() => Ok(offset),
        _ => Err(KernelError::OtherShape {
            within,
            member: path.join("."),
            got: size,
            offset: bits / 8,
            expected,
        }),
    }
}

/// The bit field of `struct tcp_sock` that `path` leads to, which must lie within a byte.
fn bits(btf: &Btf<'_>, path: &[&str]) -> Result<Bits, KernelError> {
    let within = "tcp_sock";
    let (bits, member) = place(btf, within, path)?;
    let (shift, size) = (bits % 8, member.bits.unwrap_or(8));
    if shift + usize::from(size) > 8 {
        return Err(KernelError::OtherShape {
            within,
            member: path.join("."),
            got: usize::from(size).div_ceil(8),
            offset: bits / 8,
            expected: 1,
        });
    }
    Ok(Bits {
        byte: small(bits / 8, within, path)?,
        shift: shift as u8,
        size,
    })
}

fn missing(within: &'static str, path: &[&str]) -> KernelError {
    KernelError::NoMember {
        within,
        member: path.join("."),
    }
}

fn small(bytes: usize, within: &'static str, path: &[&str]) -> Result<i16, KernelError> {
    i16::try_from(bytes).map_err(|_| KernelError::OtherShape {
        within,
        member: path.join("."),
        got: 0,
        offset: bytes,
        expected: 0,
    })
}

/// The place in bits of the member that `path` leads to.
fn place<'b>(
    btf: &'b Btf<'_>,
    within: &'static str,
    path: &[&str],
) -> Result<(usize, Found<'b>), KernelError> {
    let mut composite = Composite::from(structure(btf, within)?);
    let mut bits = 0;
    let mut found = None;
    for name in path {
        if let Some(Found { ty, .. }) = found {
            composite = Composite::try_from(ty).map_err(|_| missing(within, path))?;
        }
        let (start, member) = find(btf, &composite, name).ok_or_else(|| missing(within, path))?;
        bits += start;
        found = Some(member);
    }
    found
        .map(|member| (bits, member))
        .ok_or_else(|| missing(within, path))
}

/// A member's type; for a bit field, its size.
struct Found<'b> {
    ty: BtfType<'b>,
    bits: Option<u8>,
}

/// Offset in bits and type of a member, also within unnamed members.
fn find<'b>(btf: &'b Btf<'_>, composite: &Composite<'b>, name: &str) -> Option<(usize, Found<'b>)> {
    let members: Vec<_> = composite.iter().collect();
    members.into_iter().find_map(|member| {
        let (offset, bits) = match member.attr {
            MemberAttr::Normal { offset } => (offset, None),
            MemberAttr::BitField { size, offset } => (offset, Some(size)),
        };
        let ty: BtfType<'_> = btf.type_by_id(member.ty)?;
        let ty = ty.skip_mods_and_typedefs();
        match member.name {
            Some(n) if n == name => Some((offset as usize, Found { ty, bits })),
            Some(n) if !n.is_empty() => None,
            _ => {
                let inner = Composite::try_from(ty).ok()?;
                let (start, found) = find(btf, &inner, name)?;
                Some((offset as usize + start, found))
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
    fn cubic_leaves_room_or_the_kernel_is_refused() {
        // Linux 6.18: 13 words, of which CUBIC uses less than eight.
        assert!(room_beside_cubic(60, 104).is_ok());
        assert!(room_beside_cubic(96, 104).is_ok());
        let error = room_beside_cubic(97, 104).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the kernel's CUBIC keeps 97 bytes in a socket of the 104 that algorithms have there, and 96 to 104 are needed beside it; this kernel is not supported"
        );
        assert!(room_beside_cubic(60, 96).is_err());

        let Ok(btf) = Btf::from_vmlinux() else {
            eprintln!("skipped: no kernel type information here");
            return;
        };
        let (cubic, kept) = (size_of_cubic(&btf).unwrap(), size_of_private(&btf).unwrap());
        assert!((32..=kept).contains(&cubic), "{cubic} of {kept}");
        assert_eq!(size_in_module(c"no_such_module", c"bictcp"), None);
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
