//! What a sender measures: which segments an acknowledgement newly covers, the round-trip time and the rate of
//! delivery that follow, and all of it as programs read it.

use ccp_types::Rate;

use crate::time::Nanos;

use super::super::board::Segment;
use super::{Rack, Sender};

/// What is measured at an acknowledgement. Bytes, microseconds, bytes per second; what is not known
/// yet is `u64::MAX`.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) bytes_acked: u64,
    pub(crate) packets_acked: u64,
    pub(crate) bytes_misordered: u64,
    pub(crate) packets_misordered: u64,
    pub(crate) ecn_bytes: u64,
    pub(crate) ecn_packets: u64,
    pub(crate) lost_packets: u64,
    pub(crate) ece: bool,
    pub(crate) was_timeout: bool,
    pub(crate) one_way_us: u64,
}

/// The last valid sample of the rate of delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rates {
    incoming: u64,
    outgoing: u64,
    app_limited: bool,
}

/// What an acknowledgement newly covers.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When the one of its segments that was sent last was sent, and the one that was acknowledged first
    /// in sequence; only of those that were sent once.
    pub(super) newest: Option<Nanos>,
    pub(super) oldest: Option<Nanos>,
    pub(super) latest: Option<Segment>,
    pub(super) latest_seq: u64,
}

/// How much the first segments of a bulk transfer say that is waiting behind them.
const WAITING: u64 = 4 << 20;

impl Sender {
    /// The measurements of this moment, in the order of [`ccp_program::RegisterTable::well_known`].
    pub(crate) fn primitives(&self, now: Nanos, m: &Measured) -> [u64; 30] {
        let us = |time: Option<Nanos>| time.map_or(u64::MAX, |time| time.micros().0);
        let packets = u64::from(self.board.in_flight());
        let window = self.window_packets();
        let starting = self.cwnd < self.ssthresh && window < 2 * self.most_out;
        [
            m.bytes_acked,
            m.bytes_misordered,
            m.ecn_bytes,
            m.ecn_packets,
            m.lost_packets,
            now.timestamp().0,
            m.packets_acked,
            m.packets_misordered,
            packets * u64::from(self.mss),
            self.pending.min(WAITING),
            packets,
            self.rates.incoming,
            self.rates.outgoing,
            us(self.last_rtt),
            u64::from(m.was_timeout),
            u64::from(self.mss),
            us(self.rtt.srtt()),
            us(self.rtt.least()),
            m.one_way_us,
            u64::from(self.rates.app_limited),
            u64::from(self.limited || starting),
            self.rounds,
            self.counts.sent,
            self.delivered,
            self.counts.lost,
            self.counts.marked,
            self.state as u64,
            self.ssthresh.0,
            u64::from(m.ece),
            u64::from(self.paces || self.rate > Rate::ZERO),
        ]
    }

    /// A segment is known to have arrived, for the first time.
    pub(super) fn on_delivered(&mut self, seq: u64, segment: &Segment, seen: &mut Seen) {
        self.delivered += u64::from(segment.len);
        if !segment.ever_resent {
            seen.newest = seen.newest.max(Some(segment.sent));
            // It had been passed by one that was sent later.
            self.reorders |= seq < self.board.highest();
        }
        if seen.latest.is_none_or(|latest| {
            (latest.sent, latest.delivered) <= (segment.sent, segment.delivered)
        }) {
            seen.latest = Some(*segment);
            seen.latest_seq = seq;
        }
    }

    /// Round-trip time and rate of delivery. Source: RFC 6298; draft-ietf-ccwg-bbr, section 4.1.
    pub(super) fn sample(&mut self, now: Nanos, seen: &Seen) {
        if let Some(sent) = seen.newest {
            let rtt = now.since(sent);
            self.last_rtt = Some(rtt);
            self.rtt.on_sample(now.since(seen.oldest.unwrap_or(sent)));
        }
        let Some(latest) = seen.latest else {
            return;
        };
        self.first_sent = latest.sent;
        if latest.delivered >= self.round_end {
            self.round_end = self.delivered;
            self.rounds += 1;
        }
        if self.delivered > self.app_limited_until {
            self.app_limited_until = 0;
        }
        let (out, back) = (
            latest.sent.since(latest.first_sent),
            now.since(latest.delivered_at),
        );
        // Shorter than the shortest round trip: what was sent again is taken for the first.
        if out.max(back) >= self.rtt.least().unwrap_or(Nanos::MAX) {
            let bytes = u128::from(self.delivered - latest.delivered) * 1_000_000_000;
            let per = |span: Nanos| u64::try_from(bytes / u128::from(span.0.max(1))).ok();
            let keep = |rate: &mut u64, span: Nanos| {
                if span > Nanos::ZERO {
                    *rate = per(span).unwrap_or(*rate);
                }
            };
            keep(&mut self.rates.outgoing, out);
            keep(&mut self.rates.incoming, back);
            self.rates.app_limited = latest.app_limited;
        }
        let rtt = now.since(latest.sent);
        // The answer to the first transmission of something that was sent again.
        let spurious = latest.ever_resent && self.rtt.least().is_some_and(|least| rtt < least);
        if !spurious && (latest.sent, seen.latest_seq) > (self.rack.sent, self.rack.seq) {
            self.rack = Rack {
                sent: latest.sent,
                seq: seen.latest_seq,
                rtt,
            };
        }
    }
}
