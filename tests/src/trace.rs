//! What a flow's samples say.

use std::time::Duration;

use ccp_lab::{FlowReport, Sample};

/// A reduction of the window: by how much.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reduction {
    /// When the window was smallest.
    pub at: Duration,
    /// Largest window before, in packets.
    pub from: u32,
    /// Window after recovery, in packets.
    pub to: u32,
}

impl Reduction {
    /// The window after over the window before.
    #[must_use]
    pub fn factor(&self) -> f64 {
        f64::from(self.to) / f64::from(self.from)
    }
}

/// Samples of one flow, in order.
#[derive(Debug, Clone)]
pub struct Trace(pub Vec<Sample>);

impl From<&FlowReport> for Trace {
    fn from(report: &FlowReport) -> Self {
        Self(report.samples.clone())
    }
}

impl Trace {
    /// The part between two times.
    #[must_use]
    pub fn between(&self, from: Duration, to: Duration) -> Self {
        let inside = self.0.iter().filter(|s| s.at >= from && s.at <= to);
        Self(inside.copied().collect())
    }

    /// Smallest and largest window, in packets.
    ///
    /// # Panics
    ///
    /// If there is no sample.
    #[must_use]
    pub fn window_range(&self) -> (u32, u32) {
        let windows = || self.0.iter().map(|s| s.info.cwnd_packets);
        windows()
            .min()
            .zip(windows().max())
            .expect("at least one sample")
    }

    /// Bits of content acknowledged per second from the first to the last sample.
    ///
    /// # Panics
    ///
    /// If there are not two samples.
    #[must_use]
    pub fn goodput_bps(&self) -> f64 {
        let (Some(first), Some(last)) = (self.0.first(), self.0.last()) else {
            panic!("no samples")
        };
        let bytes = last.info.bytes_acked - first.info.bytes_acked;
        let time = last.at - first.at;
        assert!(!time.is_zero(), "one sample");
        bytes as f64 * 8.0 / time.as_secs_f64()
    }

    /// Longest time without anything being acknowledged.
    #[must_use]
    pub fn longest_stall(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let mut progress: Option<&Sample> = None;
        for sample in &self.0 {
            match progress {
                Some(p) if p.info.bytes_acked == sample.info.bytes_acked => {
                    longest = longest.max(sample.at - p.at);
                }
                _ => progress = Some(sample),
            }
        }
        longest
    }

    /// The reductions after losses: every stay in CWR, Recovery or Loss (states 2, 3, 4), from the last window
    /// before it to the first after it. Stays shorter than the sampling interval are not seen.
    #[must_use]
    pub fn reductions(&self) -> Vec<Reduction> {
        let mut reductions = Vec::new();
        let mut before: Option<u32> = None;
        let mut from: Option<u32> = None;
        for sample in &self.0 {
            let window = sample.info.cwnd_packets;
            if sample.info.ca_state >= 2 {
                from = from.or(before);
            } else {
                if let Some(from) = from.take() {
                    reductions.push(Reduction {
                        at: sample.at,
                        from,
                        to: window,
                    });
                }
                before = Some(window);
            }
        }
        reductions
    }
}

#[cfg(test)]
mod tests {
    use ccp_lab::TcpInfo;

    use super::*;

    fn trace(samples: &[(u8, u32, u64)]) -> Trace {
        let sample =
            |(i, &(ca_state, cwnd_packets, bytes_acked)): (usize, &(u8, u32, u64))| Sample {
                at: Duration::from_millis(10 * i as u64),
                info: TcpInfo {
                    ca_state,
                    cwnd_packets,
                    bytes_acked,
                    ..TcpInfo::default()
                },
            };
        Trace(samples.iter().enumerate().map(sample).collect())
    }

    #[test]
    fn a_reduction_is_from_the_last_before_to_the_first_after() {
        let t = trace(&[
            (0, 90, 0),
            (1, 100, 1),
            (3, 80, 2),
            (3, 60, 3),
            (0, 50, 4),
            (0, 51, 5),
        ]);
        let reductions = t.reductions();
        assert_eq!(reductions.len(), 1);
        assert_eq!((reductions[0].from, reductions[0].to), (100, 50));
        assert_eq!(t.window_range(), (50, 100));
    }

    #[test]
    fn a_stall_is_the_time_without_acknowledgement() {
        let t = trace(&[(0, 1, 0), (0, 1, 5), (0, 1, 5), (0, 1, 5), (0, 1, 6)]);
        assert_eq!(t.longest_stall(), Duration::from_millis(20));
    }
}
