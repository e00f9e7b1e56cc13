//! What those who send to a socket may cost: keys that `kind = "unix"` and `kind = "netlink"` have.

use std::time::Duration;

use ccp_core::keys::Section;

use super::valid;

/// The highest number of flows of a socket.
const MOST_FLOWS: u32 = 1 << 20;
/// The highest number of datapaths of a socket: each has a descriptor.
const MOST_DATAPATHS: u64 = 16_384;

/// What the datapaths on one socket may cost the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketLimits {
    /// How many flows of one datapath are steered at once; further ones run natively. 1 to 1,048,576;
    /// default 65,536.
    pub max_flows: u32,
    /// Likewise for all datapaths of the socket together. 1 to 1,048,576; default 131,072.
    pub max_flows_total: u32,
    /// Likewise for the datapaths of one user, root and the daemon's own excepted. 1 to 1,048,576; by
    /// default half of `max_flows_total`.
    pub max_flows_per_user: Option<u32>,
    /// How many datapaths are served at once; further ones are not answered. 1 to 16,384; default 1,024.
    pub max_datapaths: u32,
    /// Likewise for those of one user, root and the daemon's own excepted. 1 to 16,384; by default half
    /// of `max_datapaths`.
    pub max_datapaths_per_user: Option<u32>,
    /// How many frames of one datapath per second may be no message before it is hung up on. A READY that is
    /// not its first counts as 100. 100 to 1,000,000; default 1,000.
    pub max_malformed_per_s: u32,
    /// How long nothing is heard of a datapath that was hung up on. 100 ms to 10 minutes; default 10 s.
    pub mute: Duration,
}

impl Default for SocketLimits {
    fn default() -> Self {
        Self {
            max_flows: 65_536,
            max_flows_total: 131_072,
            max_flows_per_user: None,
            max_datapaths: 1024,
            max_datapaths_per_user: None,
            max_malformed_per_s: 1000,
            mute: Duration::from_secs(10),
        }
    }
}

impl SocketLimits {
    pub(super) fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let number = |key, range, unit| {
            let found = section.integer(key, range, unit)?;
            u32::try_from(found.value).ok()
        };
        let flows = |key| valid::flows(section, key, MOST_FLOWS);
        let datapaths = |key| number(key, 1..=MOST_DATAPATHS, "datapaths");
        let malformed = number("max_malformed_per_s", 100..=1_000_000, "frames per second");
        let mute = section.integer("mute_ms", 100..=600_000, "milliseconds");
        Self {
            max_flows: flows("max_flows").unwrap_or(default.max_flows),
            max_flows_total: flows("max_flows_total").unwrap_or(default.max_flows_total),
            max_flows_per_user: flows("max_flows_per_user"),
            max_datapaths: datapaths("max_datapaths").unwrap_or(default.max_datapaths),
            max_datapaths_per_user: datapaths("max_datapaths_per_user"),
            max_malformed_per_s: malformed.unwrap_or(default.max_malformed_per_s),
            mute: mute.map_or(default.mute, |found| Duration::from_millis(found.value)),
        }
    }

    /// How many flows one user may have.
    pub(crate) fn flows_per_user(&self) -> u32 {
        self.max_flows_per_user
            .unwrap_or_else(|| (self.max_flows_total / 2).max(1))
    }

    /// How many datapaths one user may have.
    pub(crate) fn datapaths_per_user(&self) -> u32 {
        self.max_datapaths_per_user
            .unwrap_or_else(|| (self.max_datapaths / 2).max(1))
    }
}
