//! What a rule looks at.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use ccp_types::{Attribute, FlowInfo};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use thiserror::Error;

use super::told::{CgroupPath, Mark, Netns, UidRange};

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
    /// The control group that the flow's socket was made in.
    pub cgroup: Option<CgroupPath>,
    /// Its network namespace. Without it only the initial one fits, and flows whose datapath knows none.
    pub netns: Option<Netns>,
    /// The user who owns its socket.
    pub uid: Option<UidRange>,
    /// The mark of its socket.
    pub mark: Option<Mark>,
}

/// What one key of a rule says to a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fit {
    /// The flow is as the rule wants it.
    Fits,
    /// It is otherwise.
    Differs,
    /// The flow's datapath does not tell how it is: that fits no rule which asks.
    Untold,
}

/// What one key of a rule says to a flow, in words.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The key.
    pub key: &'static str,
    /// What the rule wants, as in the configuration; `initial` for the network namespace of a rule that
    /// does not name one.
    pub wanted: String,
    /// What it says.
    pub fit: Fit,
}

/// The keys, in the order in which they are looked at.
#[derive(Clone, Copy)]
enum Key {
    Datapath,
    Src,
    Dst,
    SrcPort,
    DstPort,
    Requested,
    Cgroup,
    Netns,
    Uid,
    Mark,
}

impl Key {
    const ALL: [Self; 10] = [
        Self::Datapath,
        Self::Src,
        Self::Dst,
        Self::SrcPort,
        Self::DstPort,
        Self::Requested,
        Self::Cgroup,
        Self::Netns,
        Self::Uid,
        Self::Mark,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Datapath => "datapath",
            Self::Src => "src",
            Self::Dst => "dst",
            Self::SrcPort => "src_port",
            Self::DstPort => "dst_port",
            Self::Requested => "requested",
            Self::Cgroup => Attribute::CGROUP,
            Self::Netns => Attribute::NETNS,
            Self::Uid => Attribute::UID,
            Self::Mark => Attribute::MARK,
        }
    }
}

impl Match {
    /// Whether the flow `flow` of the datapath called `datapath` fits.
    #[must_use]
    pub fn covers(&self, flow: &FlowInfo, datapath: &str) -> bool {
        Key::ALL
            .into_iter()
            .all(|key| matches!(self.fit(key, flow, datapath), None | Some(Fit::Fits)))
    }

    /// What each key that it gives says to the flow `flow` of the datapath called `datapath`. It fits if
    /// all say [`Fit::Fits`].
    #[must_use]
    pub fn verdicts(&self, flow: &FlowInfo, datapath: &str) -> Vec<Verdict> {
        let verdict = |key: Key| {
            Some(Verdict {
                key: key.name(),
                fit: self.fit(key, flow, datapath)?,
                wanted: self.wanted(key),
            })
        };
        Key::ALL.into_iter().filter_map(verdict).collect()
    }

    /// What `key` says; `None` if the rule says nothing of it.
    fn fit(&self, key: Key, flow: &FlowInfo, datapath: &str) -> Option<Fit> {
        let fits = |fits: bool| if fits { Fit::Fits } else { Fit::Differs };
        let address = |prefix: Option<Prefix>, end: &SocketAddr| {
            prefix.map(|prefix| fits(prefix.contains(end.ip())))
        };
        let port = |range: Option<PortRange>, end: &SocketAddr| {
            range.map(|range| fits(range.contains(end.port())))
        };
        let told = &flow.attributes;
        match key {
            Key::Datapath => self.datapath.as_ref().map(|name| fits(name == datapath)),
            Key::Src => address(self.src, &flow.src),
            Key::Dst => address(self.dst, &flow.dst),
            Key::SrcPort => port(self.src_port, &flow.src),
            Key::DstPort => port(self.dst_port, &flow.dst),
            Key::Requested => {
                let wanted = self.requested.as_ref()?;
                Some(match &flow.requested {
                    None => Fit::Untold,
                    Some(asked) => fits(asked == wanted),
                })
            }
            Key::Cgroup => self.cgroup.as_ref().map(|cgroup| cgroup.fit(told)),
            Key::Netns => match &self.netns {
                Some(netns) => Some(netns.fit(told)),
                None => Netns::unsaid(told),
            },
            Key::Uid => self.uid.map(|uid| uid.fit(told)),
            Key::Mark => self.mark.map(|mark| mark.fit(told)),
        }
    }

    /// What the rule says of `key`, as in a configuration.
    fn wanted(&self, key: Key) -> String {
        fn text<T: fmt::Display>(value: Option<&T>) -> String {
            value.map_or_else(String::new, T::to_string)
        }
        match key {
            Key::Datapath => text(self.datapath.as_ref()),
            Key::Src => text(self.src.as_ref()),
            Key::Dst => text(self.dst.as_ref()),
            Key::SrcPort => text(self.src_port.as_ref()),
            Key::DstPort => text(self.dst_port.as_ref()),
            Key::Requested => text(self.requested.as_ref()),
            Key::Cgroup => text(self.cgroup.as_ref()),
            Key::Netns => text(Some(self.netns.as_ref().unwrap_or(&Netns::Initial))),
            Key::Uid => text(self.uid.as_ref()),
            Key::Mark => text(self.mark.as_ref()),
        }
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
        first: u32,
        /// The end written last.
        last: u32,
    },
    /// No path of a control group.
    #[error(
        "`{text}` is no path of a control group; expected one from the root, like /system.slice/nginx.service, without `..` and without a slash at its end"
    )]
    Cgroup {
        /// What was written.
        text: String,
    },
    /// No network namespace.
    #[error(
        "`{text}` is no network namespace; expected initial, any, a name as `ip netns` gives it, or its number as in /proc/PID/ns/net"
    )]
    Netns {
        /// What was written.
        text: String,
    },
    /// No user.
    #[error("`{text}` is no user's number; expected 0 to 4294967294, or a range like 1000-1999")]
    Uid {
        /// What was written.
        text: String,
    },
    /// No mark.
    #[error(
        "`{text}` is no mark; expected 0 to 4294967295, decimal or like 0x10, or value and mask like 0x10/0xf0"
    )]
    Mark {
        /// What was written.
        text: String,
    },
    /// Bits that the mask leaves out are set: it was probably mistyped.
    #[error("{value:#x}/{mask:#x} has bits set that the mask has not: no mark is so")]
    MarkBits {
        /// The value.
        value: u32,
        /// The mask.
        mask: u32,
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
            return Err(MatchError::Reversed {
                first: first.into(),
                last: last.into(),
            });
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
pub(super) fn number<T: FromStr>(text: &str) -> Option<T> {
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
