//! What a transport measures.

use std::sync::Arc;

use ccp_program::RegisterTable;

/// A measurement of the datapath, by its place in the announced table. Those of libccp's base set are
/// constants here; others are looked up once by name
/// ([`Datapath::primitive`](crate::Datapath::primitive)).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Primitive(pub(crate) u16);

impl Primitive {
    /// `Ack.bytes_acked`: bytes newly acknowledged in order, or for good.
    pub const BYTES_ACKED: Self = Self(0);
    /// `Ack.bytes_misordered`: bytes newly acknowledged behind a hole.
    pub const BYTES_MISORDERED: Self = Self(1);
    /// `Ack.ecn_bytes`: bytes newly acknowledged with a congestion mark.
    pub const ECN_BYTES: Self = Self(2);
    /// `Ack.ecn_packets`: the same in packets.
    pub const ECN_PACKETS: Self = Self(3);
    /// `Ack.lost_pkts_sample`: packets found to be lost since the last invocation.
    pub const LOST_PACKETS: Self = Self(4);
    /// `Ack.packets_acked`: packets newly acknowledged in order, or for good.
    pub const PACKETS_ACKED: Self = Self(6);
    /// `Ack.packets_misordered`: packets newly acknowledged behind a hole.
    pub const PACKETS_MISORDERED: Self = Self(7);
    /// `Flow.bytes_in_flight`: bytes outstanding after this acknowledgement.
    pub const BYTES_IN_FLIGHT: Self = Self(8);
    /// `Flow.bytes_pending`: bytes that the application has handed over and that were not sent yet.
    pub const BYTES_PENDING: Self = Self(9);
    /// `Flow.packets_in_flight`: packets outstanding after this acknowledgement.
    pub const PACKETS_IN_FLIGHT: Self = Self(10);
    /// `Flow.rate_incoming`: the rate at which data arrives at the other end, bytes per second.
    pub const RATE_INCOMING: Self = Self(11);
    /// `Flow.rate_outgoing`: the rate at which data was sent, bytes per second.
    pub const RATE_OUTGOING: Self = Self(12);
    /// `Flow.rtt_sample_us`: the latest round-trip time, µs; `u64::MAX` before the first.
    pub const RTT_SAMPLE_US: Self = Self(13);

    /// The measurement at `index` of the announced table. Measurements that do not exist are 0, and
    /// setting them does nothing.
    #[must_use]
    pub const fn at(index: u16) -> Self {
        Self(index)
    }

    /// Its place in the announced table.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0
    }
}

/// A register that programs and the daemon may write, by its place in the announced table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Writable(pub(crate) u16);

impl Writable {
    /// The window, in bytes.
    pub const CWND: Self = Self(0);
    /// The rate, in bytes per second; 0 if none is set.
    pub const RATE: Self = Self(1);

    /// The register at `index` of the announced table. Registers that do not exist are 0.
    #[must_use]
    pub const fn at(index: u16) -> Self {
        Self(index)
    }

    /// Its place in the announced table.
    #[must_use]
    pub const fn index(self) -> u16 {
        self.0
    }
}

/// What a transport measured: one value for each primitive of its table.
///
/// Made by [`Datapath::measurements`](crate::Datapath::measurements). Keep one per connection or per
/// thread; before each acknowledgement call [`clear`](Self::clear), which forgets what was about the
/// last one, and set what has changed. `Ack.now` and `Flow.was_timeout` are the crate's to set.
#[derive(Clone, Debug)]
pub struct Measurements {
    pub(crate) values: Box<[u64]>,
    pub(crate) events: Arc<[u16]>,
}

impl Measurements {
    pub(crate) fn new(table: &RegisterTable, events: &Arc<[u16]>) -> Self {
        let mut values = vec![0; table.primitives().len()];
        for name in [
            "Flow.rtt_sample_us",
            "Flow.srtt_us",
            "Flow.min_rtt_us",
            "Flow.ssthresh",
        ] {
            if let Some((place, _)) = table.primitive(name)
                && let Some(value) = values.get_mut(usize::from(place))
            {
                *value = u64::MAX;
            }
        }
        Self {
            values: values.into(),
            events: Arc::clone(events),
        }
    }

    /// What is about one event (`Ack.…`, `Send.…`) becomes 0 again; what is about the flow stays.
    pub fn clear(&mut self) {
        for place in self.events.iter() {
            if let Some(value) = self.values.get_mut(usize::from(*place)) {
                *value = 0;
            }
        }
    }

    /// Sets a measurement. One of another table is passed over.
    #[inline]
    pub fn set(&mut self, primitive: Primitive, value: u64) -> &mut Self {
        if let Some(place) = self.values.get_mut(usize::from(primitive.0)) {
            *place = value;
        }
        self
    }

    /// Adds to a measurement, up to the largest value.
    #[inline]
    pub fn add(&mut self, primitive: Primitive, value: u64) -> &mut Self {
        self.set(primitive, self.get(primitive).saturating_add(value))
    }

    /// A measurement; 0 for one of another table.
    #[inline]
    #[must_use]
    pub fn get(&self, primitive: Primitive) -> u64 {
        self.values
            .get(usize::from(primitive.0))
            .copied()
            .unwrap_or(0)
    }
}

/// The primitives of `table` that are about one event.
pub(crate) fn events(table: &RegisterTable) -> Arc<[u16]> {
    let all = (0..).zip(table.primitives());
    all.filter(|(_, def)| def.name.starts_with("Ack.") || def.name.starts_with("Send."))
        .map(|(place, _)| place)
        .collect()
}
