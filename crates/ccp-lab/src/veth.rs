//! A veth pair between two namespaces, rate-limited by the kernel's token bucket.
//!
//! The bucket (`tbf`) stands at end A's device, in the sender's own stack. There TCP small queues hold a
//! flow back before the bucket's queue overflows: such a link limits the rate, but a single flow sees
//! little queueing delay and no loss. For a bottleneck that delays and drops, see
//! [`crate::EmulatedLink`].

use std::{
    fmt,
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{LabError, Namespace, Subnet, namespace::Entrance};

/// What a [`VethLink`] is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethSpec {
    rate_bps: Option<u64>,
    burst_bytes: u32,
    limit_bytes: u32,
    mtu: u16,
    subnet: Option<Subnet>,
}

impl Default for VethSpec {
    fn default() -> Self {
        Self::unlimited()
    }
}

impl VethSpec {
    /// No rate limit.
    #[must_use]
    pub fn unlimited() -> Self {
        Self {
            rate_bps: None,
            burst_bytes: 0,
            limit_bytes: 0,
            mtu: 1500,
            subnet: None,
        }
    }

    /// From A to B at most `rate_bps` bits per second, counted in Ethernet frames; the way back is not
    /// limited. Burst: 2 ms of the rate, at least ten frames. Queue: 100 ms of the rate, at least 64 KiB.
    #[must_use]
    pub fn limited(rate_bps: u64) -> Self {
        let of_rate =
            |per_second: u64| u32::try_from(rate_bps / 8 / per_second).unwrap_or(u32::MAX);
        Self {
            rate_bps: Some(rate_bps),
            burst_bytes: of_rate(500).max(15_140),
            limit_bytes: of_rate(10).max(65_536),
            ..Self::unlimited()
        }
    }

    /// Bucket size in bytes.
    #[must_use]
    pub fn burst_bytes(mut self, bytes: u32) -> Self {
        self.burst_bytes = bytes;
        self
    }

    /// Bytes that may wait for the bucket; more are dropped.
    #[must_use]
    pub fn limit_bytes(mut self, bytes: u32) -> Self {
        self.limit_bytes = bytes;
        self
    }

    /// Largest IP packet in bytes (default 1500).
    #[must_use]
    pub fn mtu(mut self, bytes: u16) -> Self {
        self.mtu = bytes;
        self
    }

    /// Addresses of the ends (default: the next free number).
    #[must_use]
    pub fn subnet(mut self, subnet: Subnet) -> Self {
        self.subnet = Some(subnet);
        self
    }
}

/// Two namespaces joined by a veth pair; removed on drop.
#[derive(Debug)]
pub struct VethLink {
    a: Entrance,
    device: String,
    subnet: Subnet,
    spec: VethSpec,
}

impl VethLink {
    /// Joins `a` and `b`. Ready to use on return, IPv4 and IPv6.
    ///
    /// # Errors
    ///
    /// [`LabError::Command`] if `ip` or `tc` fails, with what it said.
    pub fn new(a: &Namespace, b: &Namespace, spec: VethSpec) -> Result<Self, LabError> {
        let subnet = spec.subnet.unwrap_or_else(Subnet::next);
        let device = format!("veth-{}", DeviceNumber::next());
        let mtu = spec.mtu.to_string();
        let entrance = a.entrance()?;
        let peer = b.path();
        let peer = peer.to_string_lossy();
        a.ip([
            "link", "add", &device, "mtu", &mtu, "type", "veth", "peer", "name", &device, "mtu",
            &mtu, "netns", &peer,
        ])?;
        // From here on `drop` removes the pair if a step fails.
        let mut link = Self {
            a: entrance,
            device,
            subnet,
            spec,
        };
        address(a, &link.device, subnet.a_v4().into(), subnet.a_v6().into())?;
        address(b, &link.device, subnet.b_v4().into(), subnet.b_v6().into())?;
        if let Some(rate_bps) = link.spec.rate_bps {
            link.set_rate(rate_bps)?;
        }
        Ok(link)
    }

    /// Changes the rate from A to B (bits per second), also while traffic runs. Bucket and queue keep
    /// their sizes in bytes.
    ///
    /// # Errors
    ///
    /// [`LabError::Parameter`] if the rate is 0; [`LabError::Command`] if `tc` fails.
    pub fn set_rate(&mut self, rate_bps: u64) -> Result<(), LabError> {
        if rate_bps == 0 {
            return Err(LabError::Parameter {
                name: "rate_bps",
                value: rate_bps.to_string(),
                range: "at least 1",
            });
        }
        if self.spec.rate_bps.is_none() || self.spec.burst_bytes == 0 {
            let subnet = self.spec.subnet;
            self.spec = VethSpec {
                mtu: self.spec.mtu,
                subnet,
                ..VethSpec::limited(rate_bps)
            };
        }
        self.spec.rate_bps = Some(rate_bps);
        let (rate, burst, limit) = (
            format!("{rate_bps}bit"),
            self.spec.burst_bytes.to_string(),
            self.spec.limit_bytes.to_string(),
        );
        // `replace` keeps the bucket and the packets in it when there is one already.
        self.a.output(
            "tc",
            [
                "qdisc",
                "replace",
                "dev",
                &self.device,
                "root",
                "tbf",
                "rate",
                &rate,
                "burst",
                &burst,
                "limit",
                &limit,
            ],
        )?;
        Ok(())
    }

    /// The device's name, the same at both ends.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }

    /// IPv4 address of end A.
    #[must_use]
    pub fn a_v4(&self) -> IpAddr {
        self.subnet.a_v4().into()
    }

    /// IPv4 address of end B.
    #[must_use]
    pub fn b_v4(&self) -> IpAddr {
        self.subnet.b_v4().into()
    }

    /// IPv6 address of end A.
    #[must_use]
    pub fn a_v6(&self) -> IpAddr {
        self.subnet.a_v6().into()
    }

    /// IPv6 address of end B.
    #[must_use]
    pub fn b_v6(&self) -> IpAddr {
        self.subnet.b_v6().into()
    }
}

impl Drop for VethLink {
    fn drop(&mut self) {
        // The peer goes with it. Fails only if the device is gone already.
        let _ = self.a.output("ip", ["link", "del", self.device.as_str()]);
    }
}

/// A number that no other device of this process has: two links may share a namespace.
pub(crate) struct DeviceNumber(u32);

impl DeviceNumber {
    pub(crate) fn next() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl fmt::Display for DeviceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Gives a device both addresses (usable at once, no duplicate detection) and brings it up.
pub(crate) fn address(
    ns: &Namespace,
    device: &str,
    v4: IpAddr,
    v6: IpAddr,
) -> Result<(), LabError> {
    ns.ip(["addr", "add", &format!("{v4}/24"), "dev", device])?;
    ns.ip([
        "-6",
        "addr",
        "add",
        &format!("{v6}/64"),
        "dev",
        device,
        "nodad",
    ])?;
    ns.ip(["link", "set", device, "up"])?;
    Ok(())
}
