//! The pictures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ccp_plot::{Marker, Panel, Series, TimeChart};
use ccp_sim::scenario::{FlowSpec, RateSpec};
use ccp_sim::{FlowRecord, FlowSample, LinkRecord, Outcome, Scenario};

/// Throughput, window and round-trip time of flows, and what waits for links, over time.
pub(super) fn chart(scenario: &Scenario, outcome: &Outcome) -> TimeChart {
    let end = scenario.duration.as_secs();
    let flows: Vec<(&FlowSpec, &FlowRecord)> = scenario.flows.iter().zip(&outcome.flows).collect();
    let mut throughput = Panel::new("throughput (Mbit/s)").height(190.0);
    let mut window = Panel::new("congestion window (packets)").height(190.0);
    let mut rtt = Panel::new("round-trip time (ms)").height(130.0);
    // Slow start overshoots by far, for a moment: later windows shall be seen.
    let mut highest: f64 = 10.0;
    for (spec, record) in &flows {
        let packets = |s: &FlowSample| s.cwnd as f64 / f64::from(spec.tcp.mss);
        let points = |value: &dyn Fn(&FlowSample) -> f64| -> Vec<(f64, f64)> {
            let shown = record.samples.iter();
            shown.map(|s| (s.at.as_secs(), value(s))).collect()
        };
        let began = spec.start.as_secs() + 0.1 * end;
        let later = record.samples.iter().filter(|s| s.at.as_secs() > began);
        highest = later.map(packets).fold(highest, f64::max);
        window = window.series(Series::steps(record.name.clone(), points(&packets)));
        let ms = |s: &FlowSample| {
            if s.rtt_us == 0 {
                f64::NAN
            } else {
                s.rtt_us as f64 / 1e3
            }
        };
        rtt = rtt.series(Series::line(record.name.clone(), points(&ms)));
        throughput = throughput.series(Series::line(record.name.clone(), rates(record, end)));
    }
    let mut links: Vec<String> = Vec::new();
    let mut rates_shown = Vec::new();
    for (place, link) in (0..).zip(&scenario.links) {
        let rate = match &link.rate {
            RateSpec::Steady(rate) => {
                let mbit = *rate as f64 / 125e3;
                let carries_data = flows.iter().any(|(spec, _)| spec.path.contains(&place));
                if carries_data && !rates_shown.contains(rate) {
                    rates_shown.push(*rate);
                    throughput = throughput.reference(mbit, link.name.clone());
                }
                format!("{mbit} Mbit/s")
            }
            RateSpec::Trace(trace) => {
                format!("{:.1} Mbit/s on average", trace.average() as f64 / 125e3)
            }
        };
        links.push(format!(
            "{}: {rate}, {} ms",
            link.name,
            link.delay.as_millis()
        ));
    }
    let shown = links.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    let subtitle = format!("simulated; seed {}; {shown}", scenario.seed);
    let title = if scenario.title.is_empty() {
        "Simulation"
    } else {
        &scenario.title
    };
    let mut chart = TimeChart::new(title)
        .subtitle(subtitle)
        .x_label("time (s)")
        .panel(throughput)
        .panel(window.y_max(1.2 * highest))
        .panel(rtt);
    let waits = |record: &&LinkRecord| record.samples.iter().any(|s| s.queued > 0);
    let waiting: Vec<&LinkRecord> = outcome.links.iter().filter(waits).collect();
    if !waiting.is_empty() && waiting.len() <= 4 {
        let mut queue = Panel::new("waiting for the link (kB)").height(110.0);
        for record in waiting {
            let points = record.samples.iter();
            let points = points.map(|s| (s.at.as_secs(), s.queued as f64 / 1e3));
            queue = queue.series(Series::line(format!("queue of {}", record.name), points));
        }
        chart = chart.panel(queue);
    }
    for (from, to) in &scenario.control.away {
        let span = Marker::span(from.as_secs(), to.as_secs(), "no control plane");
        chart = chart.marker(span);
    }
    chart
}

/// Throughput is averaged over this part of the time.
const AVERAGED: f64 = 1.0 / 80.0;

/// What the receiving application got: seconds, Mbit/s.
fn rates(record: &FlowRecord, end: f64) -> Vec<(f64, f64)> {
    let samples = &record.samples;
    let span = (end * AVERAGED).max(0.2);
    let mut first = 0;
    let mut points = Vec::new();
    for sample in samples {
        let at = sample.at.as_secs();
        while samples
            .get(first)
            .is_some_and(|s| s.at.as_secs() + span < at)
        {
            first += 1;
        }
        let Some(before) = samples.get(first).filter(|before| before.at < sample.at) else {
            continue;
        };
        let bytes = sample.received.saturating_sub(before.received) as f64;
        points.push((at, bytes * 8e-6 / (at - before.at.as_secs())));
    }
    points
}

/// Writes a chart as SVG and PNG. Returns their paths.
pub(crate) fn write_chart(
    out: &Path,
    name: &str,
    chart: &TimeChart,
) -> anyhow::Result<Vec<PathBuf>> {
    let (svg, png) = (
        out.join(format!("{name}.svg")),
        out.join(format!("{name}.png")),
    );
    fs::write(&svg, chart.to_svg()).with_context(|| format!("can't write {}", svg.display()))?;
    let pixels = chart.to_png().context("can't draw the plot")?;
    fs::write(&png, pixels).with_context(|| format!("can't write {}", png.display()))?;
    Ok(vec![png, svg])
}
