//! The pictures.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use ccp_plot::{Panel, Series, TimeChart};

use super::outcome::{FlowOutcome, Outcome, Side, Source};
use crate::sim::write_chart;

/// So many panels for control variables.
const MOST_OTHERS: usize = 4;

/// A picture of each flow, as SVG and PNG. Returns their paths.
pub(super) fn write(out: &Path, outcome: &Outcome) -> anyhow::Result<Vec<PathBuf>> {
    fs::create_dir_all(out)
        .with_context(|| format!("can't make the directory {}", out.display()))?;
    let mut files = Vec::new();
    for flow in outcome.shown() {
        let name = format!("flow-{}", flow.flow);
        files.extend(write_chart(out, &name, &chart(&outcome.source, flow))?);
    }
    Ok(files)
}

fn chart(source: &Source, flow: &FlowOutcome) -> TimeChart {
    let (recorded, replayed) = (&flow.recorded, &flow.replayed);
    let mss = f64::from(flow.mss.max(1));
    let seconds = |series: &[(u64, u64)], per: f64| -> Vec<(f64, f64)> {
        let points = series.iter();
        points
            .map(|(time, value)| (source.seconds(*time), *value as f64 / per))
            .collect()
    };
    // What was set holds until the flow's last report, also if it was set once.
    let end = recorded.seen.last();
    let end = end.map(|(time, _)| source.seconds(*time));
    let held = |mut points: Vec<(f64, f64)>| {
        if let (Some((_, value)), Some(end)) = (points.last().copied(), end) {
            points.push((end, value));
        }
        points
    };
    let mut window = Panel::new("congestion window (packets)").height(230.0);
    window = window.series(Series::line(
        "reported window",
        seconds(&recorded.seen, mss),
    ));
    let mut chart = TimeChart::new(format!("Flow {}, run again", flow.flow))
        .subtitle(format!(
            "recorded: {}; replayed: {} on the same reports",
            recorded.algorithm, replayed.algorithm
        ))
        .x_label("time (s)");
    let mut panels = Vec::new();
    let mut others = 0;
    for name in flow.names() {
        let both = |per| {
            flow.sides()
                .map(|(what, side)| Series::steps(what, held(seconds(side.series(name), per))))
        };
        let panel = match name {
            "Cwnd" => {
                for series in both(mss) {
                    window = window.series(series);
                }
                continue;
            }
            "Rate" => both(125e3)
                .into_iter()
                .fold(Panel::new("rate (Mbit/s)"), Panel::series),
            // What is set once is no picture.
            name => {
                let varies = |side: &Side| side.series(name).len() > 1;
                if others == MOST_OTHERS || !(varies(recorded) || varies(replayed)) {
                    continue;
                }
                others += 1;
                let title = format!("{name} (as its program has it)");
                both(1.0).into_iter().fold(Panel::new(title), Panel::series)
            }
        };
        panels.push(panel.height(130.0));
    }
    chart = chart.panel(window);
    for panel in panels {
        chart = chart.panel(panel);
    }
    chart
}
