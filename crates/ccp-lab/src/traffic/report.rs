//! What became of a flow.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use crate::TcpInfo;

/// The kernel's view of a flow at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Time since the start of the flow.
    pub at: Duration,
    /// `TCP_INFO` of the sender.
    pub info: TcpInfo,
}

/// What became of a flow.
#[derive(Debug, Clone)]
pub struct FlowReport {
    /// The sender's address.
    pub local: SocketAddr,
    /// The receiver's address.
    pub peer: SocketAddr,
    /// When the connection stood and sending began; the zero of [`Sample::at`].
    pub started: Instant,
    /// From the start until the receiver had the last byte.
    pub duration: Duration,
    /// Bytes that arrived; all that were sent, in order, and unaltered if that was checked.
    pub bytes: u64,
    /// The algorithm that ran on the sender's socket at the end, as the kernel says.
    pub congestion: String,
    /// `TCP_INFO` of the sender at the end.
    pub last: TcpInfo,
    /// Samples taken while it ran, in order.
    pub samples: Vec<Sample>,
}

impl FlowReport {
    /// Bits of content per second over the whole flow.
    #[must_use]
    pub fn goodput_bps(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.duration.as_secs_f64().max(1e-9)
    }

    /// Bits per second acknowledged between two times of the flow, from the samples next to them; `None`
    /// if there are no two samples there.
    #[must_use]
    pub fn goodput_between(&self, from: Duration, to: Duration) -> Option<f64> {
        let mut inside = self.samples.iter().filter(|s| s.at >= from && s.at <= to);
        let first = inside.next()?;
        let last = inside.next_back()?;
        let bytes = last.info.bytes_acked.saturating_sub(first.info.bytes_acked);
        Some(bytes as f64 * 8.0 / (last.at - first.at).as_secs_f64())
    }

    /// The samples between two times of the flow.
    pub fn samples_between(
        &self,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = &Sample> + '_ {
        self.samples
            .iter()
            .filter(move |s| s.at >= from && s.at <= to)
    }
}
