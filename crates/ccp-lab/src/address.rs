//! Addresses of links.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::atomic::{AtomicU16, Ordering},
};

/// The addresses of one link: `10.x.y.0/24` and `fd00:0:0:n::/64`, where `n` is `x·256 + y`.
/// End A is host 1, end B host 2.
///
/// Namespaces are isolated, so numbers need to differ only between links that meet in a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet(u16);

impl Subnet {
    /// The subnet numbered `n`; `Subnet::numbered(0x0102)` is `10.1.2.0/24` and `fd00:0:0:102::/64`.
    #[must_use]
    pub fn numbered(n: u16) -> Self {
        Self(n)
    }

    /// One that this process has not handed out yet, starting with `10.1.0.0/24` (numbers repeat after
    /// 65,536).
    #[must_use]
    pub fn next() -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0x0100);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u16 {
        self.0
    }

    /// IPv4 address of end A.
    #[must_use]
    pub fn a_v4(self) -> Ipv4Addr {
        self.v4(1)
    }

    /// IPv4 address of end B.
    #[must_use]
    pub fn b_v4(self) -> Ipv4Addr {
        self.v4(2)
    }

    /// IPv6 address of end A.
    #[must_use]
    pub fn a_v6(self) -> Ipv6Addr {
        self.v6(1)
    }

    /// IPv6 address of end B.
    #[must_use]
    pub fn b_v6(self) -> Ipv6Addr {
        self.v6(2)
    }

    fn v4(self, host: u8) -> Ipv4Addr {
        let [x, y] = self.0.to_be_bytes();
        Ipv4Addr::new(10, x, y, host)
    }

    fn v6(self, host: u16) -> Ipv6Addr {
        Ipv6Addr::new(0xfd00, 0, 0, self.0, 0, 0, 0, host)
    }
}
