//! Which flows are taken.

use std::net::IpAddr;
use std::path::PathBuf;

/// One of the lists of `bpf/take.h`: remote and local ends, and those that are left.
pub(super) const LISTS: usize = 4;
const MOST_PORTS: usize = 16;
/// What the kernel side holds of control groups, wanted and excepted ones together.
const MOST_CGROUPS: usize = 128;

/// One of the kernel side's lists: addresses and ports.
pub(super) type List<'a> = (&'a [Range], &'a [(u16, u16)]);

/// Which flows are taken without having asked: new ones that fit, and with
/// [`living`](Self::living) those under way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Take {
    /// Which flows: those that everything fits that is given here. Without control groups those of all;
    /// nothing given is all flows.
    pub which: Ends,
    /// Those that are left all the same: the ones that anything of this fits.
    pub except: Ends,
    /// Whether flows are looked for that are under way already, when the choice comes into force and when
    /// one of its control groups appears.
    pub living: bool,
    /// Whether flows are taken that run another algorithm than the default of their network namespace:
    /// because their program or their route chose it, or because the default was another when they
    /// began.
    pub chosen_too: bool,
}

/// What flows have in common. Each list fits what anything on it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ends {
    /// Control groups of version 2, as `/proc/PID/cgroup` has them (`/user.slice`), with all that is in
    /// them. A socket is of the control group that its program was in when it made the socket; what a
    /// listening socket accepts is of the listening socket's.
    pub cgroups: Vec<PathBuf>,
    /// Remote addresses.
    pub dst: Vec<Range>,
    /// Local addresses.
    pub src: Vec<Range>,
    /// Remote ports, from and to.
    pub dst_ports: Vec<(u16, u16)>,
    /// Local ports, from and to.
    pub src_ports: Vec<(u16, u16)>,
}

/// Addresses that begin with the same bits. IPv4 over an IPv6 socket counts as IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// One of them.
    pub address: IpAddr,
    /// How many bits they share, at most those that there are.
    pub bits: u8,
}

impl Take {
    /// Most ranges of addresses on one list.
    pub const MOST_RANGES: usize = 1024;
    /// Most ranges of ports on one list.
    pub const MOST_PORTS: usize = MOST_PORTS;
    /// Most control groups on one list.
    pub const MOST_CGROUPS: usize = MOST_CGROUPS / 2;

    /// The first limit that it is beyond.
    pub(super) fn beyond(&self) -> Option<&'static str> {
        for ends in [&self.which, &self.except] {
            if ends.cgroups.len() > Self::MOST_CGROUPS {
                return Some("64 control groups");
            }
            if ends.dst.len().max(ends.src.len()) > Self::MOST_RANGES {
                return Some("1024 ranges of addresses");
            }
            if ends.dst_ports.len().max(ends.src_ports.len()) > Self::MOST_PORTS {
                return Some("16 ranges of ports");
            }
        }
        None
    }

    /// The lists, in the order of the kernel side.
    pub(super) fn lists(&self) -> [List<'_>; LISTS] {
        let (which, except) = (&self.which, &self.except);
        [
            (&which.dst, &which.dst_ports),
            (&which.src, &which.src_ports),
            (&except.dst, &except.dst_ports),
            (&except.src, &except.src_ports),
        ]
    }

    /// Keys of all ranges for the kernel's map: `struct ccp_prefix` of `bpf/take.h`.
    pub(super) fn keys(&self) -> Vec<[u8; 24]> {
        let lists = self.lists().into_iter().zip(0..);
        lists
            .flat_map(|((ranges, _), list)| ranges.iter().map(move |range| key(list, *range)))
            .collect()
    }
}

fn key(list: u32, range: Range) -> [u8; 24] {
    // An IPv4-mapped address is the IPv4 address, if the range says all of what is in front of it.
    let canonical = range.address.to_canonical();
    let (address, bits) = if range.address.is_ipv6() && canonical.is_ipv4() && range.bits >= 96 {
        (canonical, range.bits - 96)
    } else {
        (range.address, range.bits)
    };
    let mut key = [0; 24];
    let (head, octets) = key.split_at_mut(8);
    let (family, most) = match address {
        IpAddr::V4(ip) => {
            octets[..4].copy_from_slice(&ip.octets());
            (4, 32)
        }
        IpAddr::V6(ip) => {
            octets.copy_from_slice(&ip.octets());
            (6, 128)
        }
    };
    let bits = 32 + u32::from(bits.min(most));
    head[..4].copy_from_slice(&bits.to_ne_bytes());
    head[4..].copy_from_slice(&(list << 8 | family).to_ne_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str, bits: u8) -> Range {
        let address = text.parse().unwrap();
        Range { address, bits }
    }

    #[test]
    fn keys_tell_lists_and_families_apart() {
        let v4 = key(2, range("10.1.2.0", 24));
        assert_eq!(v4[..4], 56_u32.to_ne_bytes());
        assert_eq!(v4[4..8], 0x204_u32.to_ne_bytes());
        assert_eq!(v4[8..12], [10, 1, 2, 0]);
        assert_eq!(v4[12..], [0; 12]);
        let v6 = key(0, range("2001:db8::", 32));
        assert_eq!(v6[..4], 64_u32.to_ne_bytes());
        assert_eq!(v6[4..8], 6_u32.to_ne_bytes());
        assert_eq!(v6[8..12], [0x20, 1, 0xd, 0xb8]);
        // Mapped: the IPv4 range itself; but all of IPv6 is not all of IPv4.
        assert_eq!(
            key(1, range("::ffff:10.1.0.0", 112)),
            key(1, range("10.1.0.0", 16))
        );
        assert_eq!(key(1, range("::", 0))[4..8], 0x106_u32.to_ne_bytes());
        assert_eq!(key(0, range("0.0.0.0", 0))[..4], 32_u32.to_ne_bytes());
        // More bits than there are: those that there are.
        assert_eq!(key(0, range("10.0.0.1", 99)), key(0, range("10.0.0.1", 32)));
    }

    #[test]
    fn limits_at_their_bounds() {
        let with = |change: fn(&mut Ends, usize), count| {
            let mut take = Take::default();
            change(&mut take.except, count);
            take.beyond()
        };
        let ranges = |ends: &mut Ends, n| ends.src = vec![range("::1", 128); n];
        assert_eq!(with(ranges, 1024), None);
        assert_eq!(with(ranges, 1025), Some("1024 ranges of addresses"));
        let ports = |ends: &mut Ends, n| ends.dst_ports = vec![(1, 2); n];
        assert_eq!(with(ports, 16), None);
        assert_eq!(with(ports, 17), Some("16 ranges of ports"));
        let cgroups = |ends: &mut Ends, n| ends.cgroups = vec!["/".into(); n];
        assert_eq!(with(cgroups, 64), None);
        assert_eq!(with(cgroups, 65), Some("64 control groups"));
    }

    /// The numbers here and in the header.
    #[test]
    fn limits_are_the_headers() {
        let header = include_str!("../bpf/take.h");
        let number = |name: &str| -> usize {
            let line = header.lines().find(|l| l.contains(&format!("{name} ")));
            let value = line.and_then(|l| l.split_whitespace().last()).unwrap();
            value.parse().unwrap()
        };
        assert_eq!(number("CCP_TAKE_LISTS"), LISTS);
        assert_eq!(number("CCP_TAKE_PORTS"), Take::MOST_PORTS);
        assert_eq!(number("CCP_MAX_CGROUPS"), 2 * Take::MOST_CGROUPS);
    }
}
