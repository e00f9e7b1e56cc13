//! `[[datapath]]`: where flows come from.

use std::path::PathBuf;
use std::time::Duration;

use ccp_core::keys::Section;

use super::limits::SocketLimits;
use super::take::TakeConfig;
use super::valid;

/// One transport whose flows are steered.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DatapathConfig {
    /// Linux kernel TCP.
    Tcp(TcpConfig),
    /// libccp datapaths on a Unix datagram socket.
    Unix(UnixConfig),
    /// Datapaths that speak as the CCP kernel module does, on netlink.
    Netlink(NetlinkConfig),
}

/// Linux kernel TCP through eBPF: `kind = "tcp"`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConfig {
    /// What sockets ask for (`TCP_CONGESTION`): 1 to 15 letters, digits, `_` or `.`. Default `ccp`.
    pub name: String,
    /// Further names of the same datapath, at most seven: `names`.
    pub names: Vec<TcpName>,
    /// Whose flows are taken.
    pub namespaces: Namespaces,
    /// How long flows go on without a sign of life from the daemon before the kernel's CUBIC takes
    /// over: 100 ms to 60 s. Default 1 s. The daemon gives four signs in this time.
    pub fallback_after: Duration,
    /// How many flows are steered at once; more run natively. A power of two from 1 to 65,536, the
    /// default. Each costs 384 bytes of kernel memory from the start.
    pub max_flows: u32,
    /// How many of them the flows of one network namespace other than the initial one may be; more
    /// run natively: 1 to 65,536. By default half of `max_flows`.
    pub max_flows_per_namespace: Option<u32>,
    /// Likewise for those of one user other than root.
    pub max_flows_per_user: Option<u32>,
    /// How long the task of a flow may take to come back from a report before the flow alone goes on
    /// under the kernel's CUBIC: 100 ms to 60 s; `None` for ever. Default 1 s.
    pub unanswered_after: Option<Duration>,
    /// How many invocations of a flow's program in a row may fault before the flow falls back: 1 to
    /// 1,000,000; 0 for any number. Default 16.
    pub max_fault_run: u32,
    /// Which flows are taken without having asked; `None`: none.
    pub take: Option<Box<TakeConfig>>,
}

/// A further name that sockets may ask for: one of `names`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpName {
    /// The name, of the same form as the datapath's.
    pub name: String,
    /// What its sockets ask for by it: rules match it as `requested`. Nothing by default.
    pub requests: Option<String>,
    /// Whether its sockets negotiate ECN, whatever `net.ipv4.tcp_ecn` says. Default: no.
    pub ecn: bool,
}

/// Which network namespaces' flows are taken; those of others run natively.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// Only the initial one: `"initial"`.
    #[default]
    Initial,
    /// All: `"any"`. Any local user can make one.
    Any,
}

/// A Unix datagram socket for libccp datapaths: `kind = "unix"`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnixConfig {
    /// Where the socket is made. Default `/run/ccpd/datapath.sock`. At most 107 bytes.
    pub path: PathBuf,
    /// Who may send to it, as the file's mode. Default 0600.
    pub mode: u32,
    /// What those who send to it may cost.
    pub limits: SocketLimits,
}

/// Datapaths on netlink: `kind = "netlink"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct NetlinkConfig {
    /// What those who send to it may cost.
    pub limits: SocketLimits,
}

impl NetlinkConfig {
    /// The name by which rules and listings know it; there is one at most.
    pub const NAME: &'static str = "netlink";

    fn read(section: &Section<'_>) -> Self {
        Self {
            limits: SocketLimits::read(section),
        }
    }
}

/// How many names kernel TCP registers besides the first one.
pub(super) const MOST_MORE_NAMES: usize = 7;
/// The highest number of flows of kernel TCP: slots are named with 16 bits.
const MOST_TCP_FLOWS: u32 = 65_536;

impl Default for TcpConfig {
    fn default() -> Self {
        Self {
            name: "ccp".to_owned(),
            names: Vec::new(),
            namespaces: Namespaces::default(),
            fallback_after: Duration::from_secs(1),
            max_flows: MOST_TCP_FLOWS,
            max_flows_per_namespace: None,
            max_flows_per_user: None,
            unanswered_after: Some(Duration::from_secs(1)),
            max_fault_run: 16,
            take: None,
        }
    }
}

impl Default for UnixConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::from("/run/ccpd/datapath.sock"),
            mode: 0o600,
            limits: SocketLimits::default(),
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Tcp,
    Unix,
    Netlink,
}

const KINDS: [(&str, Kind); 3] = [
    ("tcp", Kind::Tcp),
    ("unix", Kind::Unix),
    ("netlink", Kind::Netlink),
];

impl DatapathConfig {
    pub(super) fn read(section: &Section<'_>) -> Option<Self> {
        if !section.has("kind") {
            section.missing("kind", "expected \"tcp\", \"unix\" or \"netlink\"");
            return None;
        }
        Some(match section.choice("kind", &KINDS)? {
            Kind::Tcp => Self::Tcp(TcpConfig::read(section)),
            Kind::Unix => Self::Unix(UnixConfig::read(section)),
            Kind::Netlink => Self::Netlink(NetlinkConfig::read(section)),
        })
    }

    /// Whether `name` is its name, or one of them.
    pub(crate) fn has_name(&self, name: &str) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.name == name || tcp.names.iter().any(|n| n.name == name),
            Self::Unix(_) | Self::Netlink(_) => self.name() == name,
        }
    }

    /// The name by which rules and listings know it: what sockets ask for, or the socket's path.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Tcp(tcp) => tcp.name.clone(),
            Self::Unix(unix) => unix.path.display().to_string(),
            Self::Netlink(_) => NetlinkConfig::NAME.to_owned(),
        }
    }
}

impl TcpConfig {
    fn read(section: &Section<'_>) -> Self {
        const NAMESPACES: [(&str, Namespaces); 2] =
            [("initial", Namespaces::Initial), ("any", Namespaces::Any)];
        let default = Self::default();
        let name = socket_name(section);
        let fallback_after = section
            .integer("fallback_after_ms", 100..=60_000, "milliseconds")
            .map(|found| Duration::from_millis(found.value));
        let unanswered_after = if section.has("unanswered_after_ms") {
            unanswered_after(section)
        } else {
            let _asked = section.whole_number("unanswered_after_ms", UNANSWERED);
            default.unanswered_after
        };
        let max_fault_run = section
            .integer("max_fault_run", 0..=1_000_000, "faults")
            .and_then(|found| u32::try_from(found.value).ok());
        Self {
            max_flows_per_namespace: valid::flows(
                section,
                "max_flows_per_namespace",
                MOST_TCP_FLOWS,
            ),
            max_flows_per_user: valid::flows(section, "max_flows_per_user", MOST_TCP_FLOWS),
            unanswered_after,
            max_fault_run: max_fault_run.unwrap_or(default.max_fault_run),
            name: name.unwrap_or(default.name),
            names: names(section),
            take: section.section("take").map(TakeConfig::read).map(Box::new),
            namespaces: section
                .choice("namespaces", &NAMESPACES)
                .unwrap_or(default.namespaces),
            fallback_after: fallback_after.unwrap_or(default.fallback_after),
            max_flows: valid::power_of_two(section, "max_flows", MOST_TCP_FLOWS)
                .unwrap_or(default.max_flows),
        }
    }
}

const UNANSWERED: &str = "a whole number of milliseconds from 100 to 60000, or 0 for never";

fn unanswered_after(section: &Section<'_>) -> Option<Duration> {
    let found = section.whole_number("unanswered_after_ms", UNANSWERED)?;
    match found.value {
        0 => None,
        100..=60_000 => Some(Duration::from_millis(found.value)),
        _ => found.wrong(UNANSWERED),
    }
}

/// What sockets ask for.
fn socket_name(section: &Section<'_>) -> Option<String> {
    const NAME: &str = "1 to 15 letters, digits, `_` or `.`";
    let found = section.text("name", NAME)?;
    let name = found.value;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '.';
    if (1..=15).contains(&name.len()) && name.chars().all(plain) && name.chars().any(|c| c != '.') {
        Some(name.to_owned())
    } else {
        found.wrong(NAME)
    }
}

/// Further names.
fn names(section: &Section<'_>) -> Vec<TcpName> {
    const REQUESTS: &str = "the name of an algorithm, of 1 to 63 bytes";
    let sections = section.sections("names").unwrap_or_default();
    let mut names = Vec::new();
    for entry in sections {
        let name = socket_name(&entry);
        if !entry.has("name") {
            entry.missing("name", "what sockets ask for");
        }
        let requests = entry.text("requests", REQUESTS).and_then(|found| {
            let fits = (1..=63).contains(&found.value.len()) && !found.value.contains('\0');
            if fits {
                Some(found.value.to_owned())
            } else {
                found.wrong(REQUESTS)
            }
        });
        let ecn = entry.boolean("ecn").is_some_and(|found| found.value);
        entry.finish();
        if let Some(name) = name {
            names.push(TcpName {
                name,
                requests,
                ecn,
            });
        }
    }
    names
}

impl UnixConfig {
    fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        Self {
            path: valid::socket_path(section, "path").unwrap_or(default.path),
            mode: valid::mode(section, "mode").unwrap_or(default.mode),
            limits: SocketLimits::read(section),
        }
    }
}
