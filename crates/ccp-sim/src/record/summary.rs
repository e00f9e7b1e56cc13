//! What came of a simulation, in sum.

use serde::Serialize;

use crate::link::Link;
use crate::scenario::{RateSpec, Scenario};
use crate::time::Nanos;
use crate::world::Flow;

use super::{FlowRecord, Histogram};

/// What came of a simulation, in sum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// The scenario's title.
    pub title: String,
    /// Where chance began.
    pub seed: u64,
    /// How long it lasted, in seconds of virtual time.
    pub duration_s: f64,
    /// How many events there were.
    pub events: u64,
    /// Every arrival of a packet and acknowledgement as one number, in hexadecimal: the same for the same
    /// scenario and seed on every machine.
    pub fingerprint: String,
    /// Each flow, in the order of the scenario.
    pub flows: Vec<FlowSummary>,
    /// Each link, in the order of the scenario.
    pub links: Vec<LinkSummary>,
    /// Jain's index of the throughput of those flows that were there in all of the second half of the
    /// simulation: 1 if all had the same, 1/n if one had all. `None` if there were not two.
    pub jain: Option<f64>,
    /// The control plane.
    pub control: ControlSummary,
}

/// A flow in sum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlowSummary {
    /// Its name.
    pub name: String,
    /// The algorithm's name; `None` for the datapath's own.
    pub algorithm: Option<String>,
    /// How long it lasted, in seconds.
    pub seconds: f64,
    /// What the receiving application got per second of that, in Mbit/s.
    pub throughput_mbit: f64,
    /// The same in the second half of the simulation; `None` if the flow was not there in all of it.
    pub later_throughput_mbit: Option<f64>,
    /// What the receiving application got, in bytes.
    pub bytes: u64,
    /// Round-trip times, in milliseconds.
    pub rtt_ms: Percentiles,
    /// Packets that it sent, again included.
    pub packets: u64,
    /// Packets that it took for lost, as a part of those.
    pub loss: f64,
    /// Packets that it sent again.
    pub resent: u64,
    /// Bytes that arrived with a congestion mark, as a part of those delivered.
    pub marked: f64,
    /// How often it reduced its window because of losses or marks.
    pub reductions: u64,
    /// How often its retransmission timer ran out.
    pub timeouts: u64,
    /// How long all that there was to send took, in seconds; `None` without an end.
    pub finished_s: Option<f64>,
    /// How many responses were complete, and how long they took in milliseconds; `None` if the flow
    /// does not send responses.
    pub responses: Option<(u64, Percentiles)>,
}

/// What of many values is at or below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// The least, nearly: the first percentile.
    pub p1: f64,
    /// The median.
    pub p50: f64,
    /// Of nineteen in twenty.
    pub p95: f64,
    /// Of ninety-nine in a hundred.
    pub p99: f64,
    /// The mean.
    pub mean: f64,
    /// The most.
    pub most: f64,
}

/// A link in sum.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkSummary {
    /// Its name.
    pub name: String,
    /// What it carried per second, in Mbit/s, headers included.
    pub throughput_mbit: f64,
    /// The same as a part of what it could have.
    pub used: f64,
    /// Packets that its queue dropped.
    pub dropped: u64,
    /// Packets that its queue marked.
    pub marked: u64,
    /// Packets that were lost on the line.
    pub lost: u64,
    /// The most that waited, in bytes.
    pub most_queued: u64,
}

/// The control plane in sum.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ControlSummary {
    /// Reports that reached it.
    pub reports: u64,
    /// Updates that it sent.
    pub updates: u64,
    /// Frames that the datapath sent.
    pub frames_up: u64,
    /// Frames that it sent.
    pub frames_down: u64,
    /// Frames that were lost, of both.
    pub frames_lost: u64,
    /// Times that a flow went on by itself because nobody was there or its program failed.
    pub fallbacks: u64,
    /// What a log would hold: algorithms that panic, programs that are refused.
    pub notices: Vec<String>,
}

impl Percentiles {
    /// In milliseconds, from microseconds.
    fn of(histogram: &Histogram) -> Self {
        let ms = |us: u64| us as f64 / 1e3;
        Self {
            p1: ms(histogram.percentile(1)),
            p50: ms(histogram.percentile(50)),
            p95: ms(histogram.percentile(95)),
            p99: ms(histogram.percentile(99)),
            mean: ms(histogram.mean()),
            most: ms(histogram.most()),
        }
    }
}

fn part(of: u64, all: u64) -> f64 {
    of as f64 / all.max(1) as f64
}

fn mbit(bytes: u64, span: Nanos) -> f64 {
    bytes as f64 * 8e3 / span.0.max(1) as f64
}

impl Summary {
    pub(crate) fn new(
        scenario: &Scenario,
        flows: &[Flow],
        records: &[FlowRecord],
        links: &[Link],
        control: ControlSummary,
        fingerprint: u64,
        events: u64,
    ) -> Self {
        let end = scenario.duration;
        let flows: Vec<FlowSummary> = flows
            .iter()
            .zip(records)
            .map(|(flow, record)| summarise(flow, later(record, end), end))
            .collect();
        let shares: Vec<f64> = flows
            .iter()
            .filter_map(|flow| flow.later_throughput_mbit)
            .collect();
        let link = |(spec, link): (&crate::scenario::LinkSpec, &Link)| {
            let counts = link.counts();
            let capacity = match &spec.rate {
                RateSpec::Steady(rate) => *rate,
                RateSpec::Trace(trace) => trace.average(),
            };
            let could = u128::from(capacity) * u128::from(end.0) / 1_000_000_000;
            LinkSummary {
                name: spec.name.clone(),
                throughput_mbit: mbit(counts.bytes, end),
                used: part(counts.bytes, u64::try_from(could).unwrap_or(u64::MAX)),
                dropped: counts.dropped,
                marked: counts.marked,
                lost: counts.lost,
                most_queued: counts.most_queued,
            }
        };
        Self {
            title: scenario.title.clone(),
            seed: scenario.seed,
            duration_s: end.as_secs(),
            events,
            fingerprint: format!("{fingerprint:016x}"),
            flows,
            links: scenario.links.iter().zip(links).map(link).collect(),
            jain: jain(&shares),
            control,
        }
    }
}

fn summarise(flow: &Flow, later: Option<f64>, end: Nanos) -> FlowSummary {
    let sender = &flow.sender;
    let counts = &sender.counts;
    let span = flow.ended.unwrap_or(end).since(flow.spec.start);
    let responses = flow.app.responses();
    FlowSummary {
        name: flow.spec.name.clone(),
        algorithm: flow.spec.algorithm.clone(),
        seconds: span.as_secs(),
        throughput_mbit: mbit(flow.receiver.bytes(), span),
        later_throughput_mbit: later,
        bytes: flow.receiver.bytes(),
        rtt_ms: Percentiles::of(&flow.rtts),
        packets: counts.sent_packets,
        loss: part(counts.lost_packets, counts.sent_packets),
        resent: counts.resent_packets,
        marked: part(counts.marked, sender.delivered()),
        reductions: counts.reductions,
        timeouts: counts.timeouts,
        finished_s: flow
            .app
            .finished()
            .map(|time| time.since(flow.spec.start).as_secs()),
        responses: (responses.count() > 0).then(|| (responses.count(), Percentiles::of(responses))),
    }
}

/// Throughput in the second half of the simulation, if the flow was there in all of it.
fn later(record: &FlowRecord, end: Nanos) -> Option<f64> {
    let half = Nanos(end.0 / 2);
    let last = record.samples.last().filter(|last| last.at >= end)?;
    let place = record.samples.partition_point(|sample| sample.at < half);
    let first = record.samples.get(place)?;
    let began = record.samples.first()?.at;
    (began <= half).then(|| mbit(last.received - first.received, last.at.since(first.at)))
}

/// Jain's index. Source: R. Jain, D. Chiu, W. Hawe, "A quantitative measure of fairness", 1984.
fn jain(shares: &[f64]) -> Option<f64> {
    let sum: f64 = shares.iter().sum();
    let squares: f64 = shares.iter().map(|share| share * share).sum();
    (shares.len() > 1 && squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares))
}

#[cfg(test)]
mod tests {
    use super::jain;

    #[test]
    fn jains_index() {
        assert_eq!(jain(&[3.0, 3.0, 3.0]), Some(1.0));
        assert_eq!(jain(&[4.0, 0.0, 0.0, 0.0]), Some(0.25));
        assert_eq!((jain(&[1.0]), jain(&[0.0, 0.0])), (None, None));
    }
}
