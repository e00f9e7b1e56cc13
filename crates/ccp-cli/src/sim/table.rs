//! The summary for people.

use std::fmt::Write as _;

use ccp_sim::{FlowSummary, Percentiles, Summary};

/// One line per flow and per link, and what else there is to say.
pub(super) fn summary(summary: &Summary) -> String {
    let mut text = String::new();
    let name = |flow: &FlowSummary| {
        let algorithm = flow.algorithm.as_deref().unwrap_or("native");
        if flow.name == algorithm {
            flow.name.clone()
        } else {
            format!("{} ({algorithm})", flow.name)
        }
    };
    let names = summary.flows.iter().map(name);
    let width = names.map(|name| name.chars().count()).max();
    let width = width.unwrap_or(0).max(8);
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "{:<width$} {:>14} {:>9} {:>9} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "FLOW", "THROUGHPUT", "RTT p50", "p95", "p99", "LOSS", "MARKED", "REDUCED", "TIMEOUTS"
    );
    for flow in &summary.flows {
        let rtt = &flow.rtt_ms;
        let _ = writeln!(
            text,
            "{:<width$} {:>7.2} Mbit/s {:>6.1} ms {:>6.1} ms {:>6.1} ms {:>6.2} % {:>6.2} % {:>8} {:>8}",
            name(flow),
            flow.throughput_mbit,
            rtt.p50,
            rtt.p95,
            rtt.p99,
            flow.loss * 100.0,
            flow.marked * 100.0,
            flow.reductions,
            flow.timeouts,
        );
    }
    for flow in &summary.flows {
        if let Some((count, times)) = &flow.responses {
            let Percentiles { p50, p99, .. } = times;
            let _ = writeln!(
                text,
                "{}: {count} responses, half of them within {p50:.0} ms, 99 % within {p99:.0} ms",
                flow.name
            );
        }
        if let Some(finished) = flow.finished_s {
            let _ = writeln!(
                text,
                "{}: all there was arrived after {finished:.3} s",
                flow.name
            );
        }
    }
    let width = summary
        .links
        .iter()
        .map(|link| link.name.chars().count())
        .max();
    let width = width.unwrap_or(0).max(8);
    let _ = writeln!(
        text,
        "\n{:<width$} {:>14} {:>8} {:>9} {:>8} {:>8} {:>12}",
        "LINK", "THROUGHPUT", "USED", "DROPPED", "MARKED", "LOST", "MOST QUEUED"
    );
    for link in &summary.links {
        let _ = writeln!(
            text,
            "{:<width$} {:>7.2} Mbit/s {:>6.1} % {:>9} {:>8} {:>8} {:>9.1} kB",
            link.name,
            link.throughput_mbit,
            link.used * 100.0,
            link.dropped,
            link.marked,
            link.lost,
            link.most_queued as f64 / 1e3,
        );
    }
    text.push('\n');
    if let Some(jain) = summary.jain {
        let _ = writeln!(
            text,
            "Jain's index of the flows' throughput in the second half: {jain:.3}"
        );
    }
    let control = &summary.control;
    if control.frames_up > 0 {
        let _ = writeln!(
            text,
            "control plane: {} reports, {} updates, {} of {} messages lost, {} times a flow went on by itself",
            control.reports,
            control.updates,
            control.frames_lost,
            control.frames_up + control.frames_down,
            control.fallbacks,
        );
    }
    for notice in &control.notices {
        let _ = writeln!(text, "control plane: {notice}");
    }
    let _ = writeln!(
        text,
        "{} s simulated, {} events, seed {}, fingerprint {}",
        summary.duration_s, summary.events, summary.seed, summary.fingerprint
    );
    text
}
