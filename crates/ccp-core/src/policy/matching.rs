//! What a rule looks at.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ccp_types::FlowInfo;
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use thiserror::Error;

/// Which flows a rule is for: those that everything given here fits. Nothing given fits all flows.
///
/// In a configuration: `{ dst = "10.1.0.0/16", dst_port = "5000-5999" }`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Match {
    /// The name of the datapath.
    pub datapath: Option<String>,
    /// The local address.
    pub src: Option<Prefix>,
    /// The remote address.
    pub dst: Option<Prefix>,
    /// The local port.
    pub src_port: Option<PortRange>,
    /// The remote port.
    pub dst_port: Option<PortRange>,
    /// The algorithm that the flow itself asked for.
    pub requested: Option<String>,
}

impl Match {
    /// Whether the flow `flow` of the datapath called `datapath` fits.
    #[must_use]
    pub fn covers(&self, flow: &FlowInfo, datapath: &str) -> bool {
        self.misfit(flow, datapath).is_none()
    }

    /// The first key that the flow `flow` of the datapath called `datapath` does not fit; `None` if it
    /// fits.
    #[must_use]
    pub fn misfit(&self, flow: &FlowInfo, datapath: &str) -> Option<&'static str> {
        let address = |prefix: &Option<Prefix>, end: &SocketAddr| {
            prefix.is_none_or(|prefix| prefix.contains(end.ip()))
        };
        let port = |range: &Option<PortRange>, end: &SocketAddr| {
            range.is_none_or(|range| range.contains(end.port()))
        };
        let fits = [
            (
                "datapath",
                self.datapath.as_deref().is_none_or(|name| name == datapath),
            ),
            ("src", address(&self.src, &flow.src)),
            ("dst", address(&self.dst, &flow.dst)),
            ("src_port", port(&self.src_port, &flow.src)),
            ("dst_port", port(&self.dst_port, &flow.dst)),
            (
                "requested",
                self.requested.is_none() || self.requested == flow.requested,
            ),
        ];
        let misfit = fits.into_iter().find(|(_, fits)| !fits)?;
        Some(misfit.0)
    }
}

/// A range of addresses: those that begin with the same bits. `10.1.0.0/16`, `fd00::/8`, or one
/// address. `0.0.0.0/0` is every IPv4 address, `::/0` every IPv6 address.
///
/// An IPv4-mapped address (`::ffff:a.b.c.d`) counts as the IPv4 address `a.b.c.d`, in a prefix as
/// in a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

/// One port or a range of them: `443`, `5000-5999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// A prefix or a range of ports that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MatchError {
    /// No address.
    #[error(
        "`{text}` is no IPv4 or IPv6 address; expected one like 192.0.2.7, 10.1.0.0/16 or fd00::/8"
    )]
    Address {
        /// What was written.
        text: String,
    },
    /// No length of a prefix.
    #[error("the prefix length `{text}` must be 0 to {most}")]
    Length {
        /// What was written behind the slash.
        text: String,
        /// The number of bits of the address.
        most: u8,
    },
    /// Bits behind the prefix are set: it was probably mistyped.
    #[error(
        "{address}/{len} has bits set behind the first {len}; did you mean {network}/{len} or {address}/{all}?"
    )]
    HostBits {
        /// The address.
        address: IpAddr,
        /// The length of the prefix.
        len: u8,
        /// The address with those bits cleared.
        network: IpAddr,
        /// The number of bits of the address.
        all: u8,
    },
    /// No port.
    #[error("`{text}` is no port; expected 1 to 65535, or a range like 5000-5999")]
    Port {
        /// What was written.
        text: String,
    },
    /// The range has its ends in the wrong order.
    #[error("the range {first}-{last} is empty; did you mean {last}-{first}?")]
    Reversed {
        /// The end written first.
        first: u16,
        /// The end written last.
        last: u16,
    },
}

impl Prefix {
    /// The addresses that share their first `len` bits with `address`.
    ///
    /// # Errors
    /// If `address` has fewer bits, or bits behind the first `len` set.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, MatchError> {
        let most = bits(address);
        if len > most {
            return Err(MatchError::Length {
                text: len.to_string(),
                most,
            });
        }
        let network = masked(address, len);
        if network != address {
            return Err(MatchError::HostBits {
                address,
                len,
                network,
                all: most,
            });
        }
        // ::ffff:10.1.0.0/112 is 10.1.0.0/16.
        Ok(match address.to_canonical() {
            v4 @ IpAddr::V4(_) if address.is_ipv6() && len >= MAPPED => Self {
                address: v4,
                len: len - MAPPED,
            },
            _ => Self { address, len },
        })
    }

    /// The first of them.
    #[must_use]
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// How many bits they share.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.len
    }

    /// Whether `address` is one of them.
    #[must_use]
    pub fn contains(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_ipv4() == self.address.is_ipv4() && masked(address, self.len) == self.address
    }
}

/// How many bits come before the IPv4 address in an IPv4-mapped one.
const MAPPED: u8 = 96;

const fn bits(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn masked(address: IpAddr, len: u8) -> IpAddr {
    match address {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

impl FromStr for Prefix {
    type Err = MatchError;

    fn from_str(text: &str) -> Result<Self, MatchError> {
        let (address, len) = match text.split_once('/') {
            Some((address, len)) => (address, Some(len)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| MatchError::Address {
            text: text.to_owned(),
        })?;
        let most = bits(address);
        let len = match len {
            None => most,
            Some(len) => number(len).ok_or_else(|| MatchError::Length {
                text: len.to_owned(),
                most,
            })?,
        };
        Self::new(address, len)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

impl PortRange {
    /// The ports in `range`.
    ///
    /// # Errors
    /// If it is empty or contains port 0, which no flow has.
    pub fn new(range: RangeInclusive<u16>) -> Result<Self, MatchError> {
        let (first, last) = range.into_inner();
        if first > last {
            return Err(MatchError::Reversed { first, last });
        }
        if first == 0 {
            return Err(MatchError::Port {
                text: "0".to_owned(),
            });
        }
        Ok(Self { first, last })
    }

    /// The first and the last of them.
    #[must_use]
    pub const fn ends(self) -> (u16, u16) {
        (self.first, self.last)
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }
}

impl FromStr for PortRange {
    type Err = MatchError;

    fn from_str(text: &str) -> Result<Self, MatchError> {
        let port = |part: &str| {
            number(part.trim()).ok_or_else(|| MatchError::Port {
                text: text.to_owned(),
            })
        };
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        Self::new(port(first)?..=port(last)?)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            self.first.fmt(f)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// Digits only: `+5` and the like are no numbers here.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())
        .flatten()
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Prefix;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or prefix like \"10.1.0.0/16\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Prefix, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct NumberOrText;
        impl Visitor<'_> for NumberOrText {
            type Value = PortRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port like 443 or a range like \"5000-5999\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<PortRange, E> {
                match u16::try_from(number) {
                    Ok(port) => PortRange::new(port..=port).map_err(E::custom),
                    Err(_) => Err(E::custom(MatchError::Port {
                        text: number.to_string(),
                    })),
                }
            }

            fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortRange, E> {
                self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
            }
        }
        from.deserialize_any(NumberOrText)
    }
}
