//! What happened to the flows, as series over the time of the demo.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use ccp_lab::{FlowReport, Sample};

use super::cast::Role;

/// Throughput is averaged over so much time.
const AVERAGED: Duration = Duration::from_millis(500);

/// Times at which something happened, since the start of the demo.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Events {
    /// The daemon was killed.
    pub(super) killed: Option<Duration>,
    /// It was started again.
    pub(super) back: Option<Duration>,
    /// It had all its flows again.
    pub(super) adopted: Option<Duration>,
}

/// One flow from its start to its end.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) role: Role,
    /// Start of the flow since the start of the demo.
    offset: Duration,
    pub(super) report: FlowReport,
}

impl Record {
    pub(super) fn new(role: Role, start: Instant, report: FlowReport) -> Self {
        Self {
            role,
            offset: report.started.saturating_duration_since(start),
            report,
        }
    }

    /// Seconds since the start of the demo.
    fn seconds(&self, sample: &Sample) -> f64 {
        (self.offset + sample.at).as_secs_f64()
    }

    /// The window over time: seconds, packets.
    pub(super) fn window(&self) -> Vec<(f64, f64)> {
        let point = |s: &Sample| (self.seconds(s), f64::from(s.info.cwnd_packets));
        self.report.samples.iter().map(point).collect()
    }

    /// The smoothed round-trip time over time: seconds, milliseconds.
    pub(super) fn rtt(&self) -> Vec<(f64, f64)> {
        let measured = self
            .report
            .samples
            .iter()
            .filter(|s| !s.info.srtt.is_zero());
        measured
            .map(|s| (self.seconds(s), s.info.srtt.as_secs_f64() * 1e3))
            .collect()
    }

    /// Throughput over time: seconds, Mbit/s of content.
    pub(super) fn throughput(&self) -> Vec<(f64, f64)> {
        let samples = &self.report.samples;
        let mut first = 0;
        let mut points = Vec::with_capacity(samples.len());
        for sample in samples {
            while samples[first].at + AVERAGED < sample.at {
                first += 1;
            }
            if let Some(mbit) = mbit_between(&samples[first], sample) {
                points.push((self.seconds(sample), mbit));
            }
        }
        points
    }

    /// Longest time without anything being acknowledged.
    pub(super) fn longest_pause(&self) -> Duration {
        let mut longest = Duration::ZERO;
        let mut progress: Option<&Sample> = None;
        for sample in &self.report.samples {
            match progress {
                Some(p) if p.info.bytes_acked == sample.info.bytes_acked => {
                    longest = longest.max(sample.at - p.at);
                }
                _ => progress = Some(sample),
            }
        }
        longest
    }

    /// Median of the smoothed round-trip time in milliseconds.
    pub(super) fn median_rtt_ms(&self) -> f64 {
        let mut values: Vec<f64> = self.rtt().into_iter().map(|(_, ms)| ms).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or(0.0)
    }
}

/// Mbit/s acknowledged between two samples; `None` if they are the same.
pub(super) fn mbit_between(a: &Sample, b: &Sample) -> Option<f64> {
    let time = b.at.checked_sub(a.at).filter(|t| !t.is_zero())?;
    let bytes = b.info.bytes_acked.saturating_sub(a.info.bytes_acked);
    Some(bytes as f64 * 8.0 / 1e6 / time.as_secs_f64())
}

/// All samples as comma-separated values.
pub(super) fn csv(records: &[Record]) -> String {
    let mut text = String::from(
        "flow,time_s,cwnd_packets,ssthresh_packets,srtt_ms,min_rtt_ms,pacing_mbit,bytes_acked,retransmits\n",
    );
    for record in records {
        for sample in &record.report.samples {
            let info = &sample.info;
            let or_empty = |value: Option<String>| value.unwrap_or_default();
            // Writing to a `String` cannot fail.
            let _ = writeln!(
                text,
                "{},{:.3},{},{},{:.3},{},{},{},{}",
                record.role.key,
                record.seconds(sample),
                info.cwnd_packets,
                or_empty(info.ssthresh_packets.map(|n| n.to_string())),
                info.srtt.as_secs_f64() * 1e3,
                or_empty(
                    info.min_rtt
                        .map(|t| format!("{:.3}", t.as_secs_f64() * 1e3))
                ),
                or_empty(info.pacing_rate.map(|r| format!("{:.3}", r as f64 * 8e-6))),
                info.bytes_acked,
                info.retransmits,
            );
        }
    }
    text
}
