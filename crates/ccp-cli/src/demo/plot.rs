//! The pictures.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use ccp_plot::{Marker, Panel, Series, TimeChart};

use super::{
    cast,
    record::{Events, Record},
};

/// What pictures of one kind of run say.
#[derive(Debug)]
pub(super) struct Words {
    title: &'static str,
    subtitle: &'static str,
    killed: &'static str,
}

/// Of real flows.
pub(super) const REAL: Words = Words {
    title: "Kernel TCP flows steered from user space",
    subtitle: "algorithms chosen by rules in ccpd.toml",
    killed: "kill -9 of ccpd: native CUBIC takes over",
};

/// Of simulated ones.
pub(super) const SIMULATED: Words = Words {
    title: "SIMULATED: flows steered by a control plane",
    subtitle: "in virtual time, not the kernel's TCP",
    killed: "no control plane: native CUBIC takes over",
};

/// One picture with window, round-trip time and throughput, as SVG and PNG. Returns their paths.
pub(super) fn write(
    out: &Path,
    records: &[Record],
    events: &Events,
    length: Duration,
    words: &Words,
) -> anyhow::Result<Vec<PathBuf>> {
    let chart = chart(records, events, length, words);
    let (svg, png) = (out.join("demo.svg"), out.join("demo.png"));
    fs::write(&svg, chart.to_svg()).with_context(|| format!("can't write {}", svg.display()))?;
    let pixels = chart.to_png().context("can't draw the plot")?;
    fs::write(&png, pixels).with_context(|| format!("can't write {}", png.display()))?;
    Ok(vec![png, svg])
}

fn chart(records: &[Record], events: &Events, length: Duration, words: &Words) -> TimeChart {
    // Slow start overshoots by far, for a moment: later windows shall be seen.
    let begun = 0.1 * length.as_secs_f64();
    let settled = |points: Vec<(f64, f64)>| points.into_iter().filter(|(t, _)| *t > begun);
    let later = records.iter().flat_map(|r| settled(r.window()));
    let highest = later.map(|(_, packets)| packets).fold(0.0, f64::max);
    let mut window = Panel::new("congestion window (packets)")
        .height(210.0)
        .y_max(1.2 * highest.max(10.0));
    let mut rtt = Panel::new("round-trip time (ms)").height(130.0);
    let mut throughput = Panel::new("throughput (Mbit/s)").height(210.0);
    for record in records {
        let name = record.role.label;
        window = window.series(Series::steps(name, record.window()));
        rtt = rtt.series(Series::line(name, record.rtt()));
        throughput = throughput.series(Series::line(name, record.throughput()));
    }
    let rate = cast::RATE as f64 / 1e6;
    let chart = TimeChart::new(words.title)
        .subtitle(format!(
            "one link of {rate:.0} Mbit/s, {} ms there and back, {} packets of queue; {}",
            2 * cast::DELAY.as_millis(),
            cast::QUEUE / 1500,
            words.subtitle
        ))
        .x_label("time (s)")
        .panel(throughput)
        .panel(window)
        .panel(rtt);
    match (events.killed, events.back) {
        (Some(killed), Some(back)) => chart
            .marker(Marker::span(
                killed.as_secs_f64(),
                back.as_secs_f64(),
                words.killed,
            ))
            .marker(Marker::at(
                events.adopted.unwrap_or(back).as_secs_f64(),
                "ccpd is back",
            )),
        _ => chart,
    }
}
