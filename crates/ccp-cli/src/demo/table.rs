//! The live table and the summary.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use super::record::{Events, Record};

/// A row of the live table.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) label: &'static str,
    /// Who decides: what `ccp flows` says, or that nobody answers.
    pub(super) state: String,
    pub(super) packets: u32,
    pub(super) rtt_ms: f64,
    pub(super) mbit: f64,
    pub(super) retransmits: u32,
    pub(super) reports: Option<u64>,
}

/// Prints rows again and again: in place on a terminal, otherwise a line now and then.
#[derive(Debug)]
pub(super) struct Live {
    in_place: bool,
    lines: usize,
    printed: Option<Duration>,
}

/// How often a line is printed where there is no terminal.
const PLAIN: Duration = Duration::from_secs(2);

impl Live {
    pub(super) fn new() -> Self {
        Self {
            in_place: io::stdout().is_terminal(),
            lines: 0,
            printed: None,
        }
    }

    /// Shows the rows at a time of the demo.
    pub(super) fn show(&mut self, at: Duration, total: Duration, what: &str, rows: &[Row]) {
        let text = if self.in_place {
            let mut text = String::new();
            if self.lines > 0 {
                // Up to the table's first line, and clear from there.
                text.push_str(&format!("\x1b[{}A\x1b[J", self.lines));
            }
            let table = in_place(at, total, what, rows);
            self.lines = table.lines().count();
            text.push_str(&table);
            text
        } else {
            if self.printed.is_some_and(|printed| at < printed + PLAIN) {
                return;
            }
            self.printed = Some(at);
            plain(at, rows)
        };
        print(&text);
    }

    /// Prints a line that stays.
    pub(super) fn say(&mut self, line: &str) {
        // On a terminal the table is drawn anew below the line.
        if self.in_place && self.lines > 0 {
            print(&format!("\x1b[{}A\x1b[J", self.lines));
            self.lines = 0;
        }
        // Elsewhere, what it changes is shown next.
        self.printed = None;
        print(&format!("{line}\n"));
    }
}

/// To standard output; a reader that has gone does not end the demo, which has to clean up.
pub(super) fn print(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

const BAR: usize = 24;

fn in_place(at: Duration, total: Duration, what: &str, rows: &[Row]) -> String {
    let share = (at.as_secs_f64() / total.as_secs_f64()).clamp(0.0, 1.0);
    let filled = (share * BAR as f64) as usize;
    let mut text = format!(
        "[{}{}] {:4.1} s  {what}\n",
        "=".repeat(filled),
        " ".repeat(BAR - filled),
        at.as_secs_f64()
    );
    text.push_str(&format!(
        "  {:<24} {:<10} {:>7} {:>9} {:>11} {:>8} {:>8}\n",
        "FLOW", "STATE", "WINDOW", "RTT", "THROUGHPUT", "RESENT", "REPORTS"
    ));
    for row in rows {
        let reports = row
            .reports
            .map_or_else(|| "-".to_owned(), |n| n.to_string());
        text.push_str(&format!(
            "  {:<24} {:<10} {:>7} {:>6.1} ms {:>4.1} Mbit/s {:>8} {reports:>8}\n",
            row.label, row.state, row.packets, row.rtt_ms, row.mbit, row.retransmits
        ));
    }
    text
}

fn plain(at: Duration, rows: &[Row]) -> String {
    let mut text = format!("{:5.1} s", at.as_secs_f64());
    for row in rows {
        let name = row.label.split(' ').next().unwrap_or(row.label);
        text.push_str(&format!(
            " | {name} {} {} pkt {:.0} ms {:.1} Mbit/s",
            row.state, row.packets, row.rtt_ms, row.mbit
        ));
    }
    text.push('\n');
    text
}

/// What is said of the daemon's absence after real flows.
pub(super) const REAL: [&str; 2] = [
    "ccpd was killed (kill -9)",
    "No flow was reset; every byte arrived as it was sent.",
];

/// The same after simulated ones.
pub(super) const SIMULATED: [&str; 2] = [
    "The control plane was gone",
    "SIMULATED: this is not the kernel's TCP.",
];

/// What became of each flow.
pub(super) fn summary(records: &[Record], events: &Events, [killed_is, end]: [&str; 2]) -> String {
    let mut text = format!(
        "{:<24} {:>12} {:>11} {:>9} {:>8} {:>14}\n",
        "FLOW", "THROUGHPUT", "MEDIAN RTT", "RESENT", "DATA", "LONGEST PAUSE"
    );
    for record in records {
        let report = &record.report;
        text.push_str(&format!(
            "{:<24} {:>5.2} Mbit/s {:>8.1} ms {:>9} {:>5} MB {:>11} ms\n",
            record.role.label,
            report.goodput_bps() / 1e6,
            record.median_rtt_ms(),
            report.last.retransmits,
            report.bytes / 1_000_000,
            record.longest_pause().as_millis(),
        ));
    }
    if let (Some(killed), Some(back)) = (events.killed, events.back) {
        text.push_str(&format!(
            "\n{killed_is} at {:.1} s and started again at {:.1} s. {end}\n",
            killed.as_secs_f64(),
            back.as_secs_f64()
        ));
        if let Some(adopted) = events.adopted {
            text.push_str(&format!(
                "{} ms after its start it steered all of its flows again.\n",
                (adopted - back).as_millis()
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows() -> [Row; 2] {
        [
            Row {
                label: "reno (ccpd)",
                state: "running".to_owned(),
                packets: 119,
                rtt_ms: 48.25,
                mbit: 29.04,
                retransmits: 12,
                reports: Some(40),
            },
            Row {
                label: "cubic (kernel's own)",
                state: "kernel".to_owned(),
                packets: 9,
                rtt_ms: 0.0,
                mbit: 0.0,
                retransmits: 0,
                reports: None,
            },
        ]
    }

    #[test]
    fn on_a_terminal() {
        let (at, total) = (Duration::from_millis(15_040), Duration::from_secs(30));
        insta::assert_snapshot!(in_place(at, total, "ccpd steers", &rows()));
        // A late tick does not overflow the bar.
        let late = in_place(2 * total, total, "", &rows());
        assert!(late.starts_with("[========================]"));
    }

    #[test]
    fn in_a_pipe() {
        insta::assert_snapshot!(plain(Duration::from_millis(2040), &rows()));
    }
}
