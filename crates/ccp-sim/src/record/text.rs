//! Series as comma-separated values.

use std::fmt::Write as _;

use super::Outcome;

impl Outcome {
    /// Flows over time: one line per flow and moment, with a heading.
    #[must_use]
    pub fn flows_csv(&self) -> String {
        let mut text = String::from(
            "flow,time_s,cwnd_bytes,rate_bytes_per_s,rtt_ms,srtt_ms,in_flight_bytes,received_bytes,\
             lost_packets,marked_bytes,recovery_state,steered\n",
        );
        for flow in &self.flows {
            for s in &flow.samples {
                // Writing to a `String` cannot fail.
                let _ = writeln!(
                    text,
                    "{},{:.6},{},{},{:.3},{:.3},{},{},{},{},{},{}",
                    flow.name,
                    s.at.as_secs(),
                    s.cwnd,
                    s.rate,
                    s.rtt_us as f64 / 1e3,
                    s.srtt_us as f64 / 1e3,
                    s.in_flight,
                    s.received,
                    s.lost,
                    s.marked,
                    s.recovery,
                    u8::from(s.steered),
                );
            }
        }
        text
    }

    /// Links over time: one line per link and moment, with a heading.
    #[must_use]
    pub fn links_csv(&self) -> String {
        let mut text = String::from(
            "link,time_s,queued_bytes,sent_bytes,dropped_packets,marked_packets,lost_packets\n",
        );
        for link in &self.links {
            for s in &link.samples {
                let _ = writeln!(
                    text,
                    "{},{:.6},{},{},{},{},{}",
                    link.name,
                    s.at.as_secs(),
                    s.queued,
                    s.sent,
                    s.dropped,
                    s.marked,
                    s.lost,
                );
            }
        }
        text
    }
}
