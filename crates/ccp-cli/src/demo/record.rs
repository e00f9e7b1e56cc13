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
    /// The samples after `end`, the time of the demo at which the flows were told to finish, are left out:
    /// they are those of emptying buffers, and of waiting for the others.
    pub(super) fn new(role: Role, start: Instant, end: Duration, mut report: FlowReport) -> Self {
        let offset = report.started.saturating_duration_since(start);
        report.samples.retain(|sample| offset + sample.at <= end);
        Self {
            role,
            offset,
            report,
        }
    }

    /// A flow of a simulation, which began `offset` after the start.
    pub(super) const fn simulated(role: Role, offset: Duration, report: FlowReport) -> Self {
        Self {
            role,
            offset,
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

#[cfg(test)]
mod tests {
    use ccp_lab::TcpInfo;

    use super::*;

    /// Samples every 100 ms with these bytes acknowledged, of a flow that started a second after the demo.
    fn record(end: Duration, acked: &[u64]) -> Record {
        let start = Instant::now();
        let sample = |(i, &bytes_acked): (usize, &u64)| Sample {
            at: Duration::from_millis(100 * i as u64),
            info: TcpInfo {
                bytes_acked,
                cwnd_packets: 10,
                srtt: Duration::from_millis(i as u64),
                ..TcpInfo::default()
            },
        };
        let address = "127.0.0.1:1".parse().unwrap();
        let report = FlowReport {
            local: address,
            peer: address,
            started: start + Duration::from_secs(1),
            duration: Duration::from_secs(1),
            bytes: 0,
            congestion: String::new(),
            last: TcpInfo::default(),
            samples: acked.iter().enumerate().map(sample).collect(),
        };
        Record::new(super::super::cast::ROLES[0], start, end, report)
    }

    #[test]
    fn throughput_is_that_of_the_last_half_second() {
        // A megabit in each interval but the third.
        let acked = [0, 125_000, 250_000, 250_000, 375_000, 500_000, 625_000];
        let points = record(Duration::MAX, &acked).throughput();
        let (time, first) = points[0];
        assert!((time - 1.1).abs() < 1e-9 && (first - 10.0).abs() < 1e-9);
        let (time, last) = points[points.len() - 1];
        // Four of five intervals.
        assert!(
            (time - 1.6).abs() < 1e-9 && (last - 8.0).abs() < 1e-9,
            "{last}"
        );
    }

    #[test]
    fn pauses_end_with_the_demo() {
        let acked = [1, 2, 2, 2, 3, 3, 3, 3, 3];
        let pause = |end| record(end, &acked).longest_pause().as_millis();
        assert_eq!(pause(Duration::MAX), 400);
        assert_eq!(pause(Duration::from_millis(1450)), 200);
    }

    #[test]
    fn samples_as_text_have_a_column_for_each_heading() {
        let record = record(Duration::MAX, &[0, 1448]);
        let text = csv(&[record]);
        let mut lines = text.lines();
        let columns = |line: &str| line.split(',').count();
        let headings = columns(lines.next().unwrap());
        let rows: Vec<&str> = lines.collect();
        assert_eq!(rows.len(), 2);
        assert!(rows.iter().all(|row| columns(row) == headings), "{text}");
        assert!(rows[1].starts_with("steady,1.100,10,,1.000,"), "{text}");
    }
}
