//! The outcome for people.

use ccp_control::plain;

use super::outcome::{FlowOutcome, Outcome, Spread};
use crate::daemon::{Column, table};
use crate::units::{packets, rate};

const FLOWS: [Column; 5] = [
    ("FLOW", true),
    ("", false),
    ("ALGORITHM", false),
    ("REPORTS", true),
    ("UPDATES", true),
];

const VALUES: [Column; 8] = [
    ("FLOW", true),
    ("SETS", false),
    ("", false),
    ("TIMES", true),
    ("LEAST", true),
    ("MEDIAN", true),
    ("MOST", true),
    ("LAST", true),
];

impl Outcome {
    pub(super) fn table(&self) -> String {
        let source = &self.source;
        let mut text = format!(
            "{}: {:.3} s of ccpd {}\n",
            source.file,
            source.seconds(source.last_us),
            plain(&source.release)
        );
        if !source.whole {
            text.push_str("the file ends in the midst of the recording: this is what it has\n");
        }
        if source.lost > 0 {
            text.push_str(&format!("{} events are missing in it\n", source.lost));
        }
        let shown: Vec<&FlowOutcome> = self.shown().collect();
        let rows: Vec<_> = shown.iter().flat_map(|flow| flow_rows(flow)).collect();
        text.push('\n');
        text.push_str(&table(FLOWS, &rows));
        let rows: Vec<_> = shown.iter().flat_map(|flow| value_rows(flow)).collect();
        if !rows.is_empty() {
            text.push('\n');
            text.push_str(&table(VALUES, &rows));
        }
        let silent = self.flows.len() - shown.len();
        if silent > 0 {
            text.push_str(&format!("{silent} more flows have no reports\n"));
        }
        text.push('\n');
        for flow in shown {
            for line in self.said(flow) {
                text.push_str(&format!("flow {}: {}\n", flow.flow, plain(&line)));
            }
        }
        if !self.as_recorded {
            text.push_str(
                "The reports are as they were recorded: what the network would have answered to other decisions is not known.\n",
            );
        }
        text
    }

    fn said(&self, flow: &FlowOutcome) -> Vec<String> {
        let mut lines = Vec::new();
        if let Some(refused) = &flow.refused {
            lines.push(format!("can't be run again: {refused}"));
        }
        if let Some(compared) = &flow.compared {
            let updates = compared.updates;
            match &compared.first {
                None => lines.push(format!("identical: all {updates} updates that were compared")),
                Some(first) => lines.push(format!(
                    "differs in {} of {updates} updates, first in update {} after {:.6} s: recorded {}, replayed {}",
                    compared.differing,
                    first.update,
                    self.source.seconds(first.time_us),
                    first.recorded,
                    first.replayed
                )),
            }
        }
        lines.extend(flow.notes.iter().cloned());
        lines
    }
}

fn flow_rows(flow: &FlowOutcome) -> [[String; 5]; 2] {
    flow.sides().map(|(what, side)| {
        [
            flow.flow.to_string(),
            what.to_owned(),
            side.algorithm.clone(),
            side.reports.to_string(),
            side.updates.to_string(),
        ]
    })
}

/// What each side set, and the window that the reports found.
fn value_rows(flow: &FlowOutcome) -> Vec<[String; 8]> {
    let mut rows = Vec::new();
    for name in flow.names() {
        let unit: Unit = match name {
            "Cwnd" => |value, mss| packets(value, mss),
            "Rate" => |value, _| rate(value),
            _ => |value, _| value.to_string(),
        };
        for (what, side) in flow.sides() {
            rows.extend(row(flow, name, what, side.series(name), unit));
        }
    }
    let window: Unit = |value, mss| packets(value, mss);
    let seen = &flow.recorded.seen;
    rows.extend(row(flow, "(window)", "reported", seen, window));
    rows
}

/// A value, and the largest segment.
type Unit = fn(u64, u32) -> String;

fn row(
    flow: &FlowOutcome,
    name: &str,
    what: &str,
    series: &[(u64, u64)],
    unit: Unit,
) -> Option<[String; 8]> {
    let spread = Spread::of(series)?;
    let shown = |value| unit(value, flow.mss);
    Some([
        flow.flow.to_string(),
        name.to_owned(),
        what.to_owned(),
        spread.times.to_string(),
        shown(spread.least),
        shown(spread.median),
        shown(spread.most),
        shown(spread.last),
    ])
}
