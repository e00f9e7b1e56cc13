//! `ccp flows`: the flows under control.

use std::path::Path;
use std::process::ExitCode;

use ccp_control::{FlowOrder, FlowStatus, Selection};

use crate::daemon::{Column, ask, json, print};
use crate::units::{loss, millis, packets, rate};

/// Arguments of `ccp flows`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only flows in which this word occurs: in the datapath, the algorithm, the state or an address. All
    /// of several words have to.
    #[arg(long, value_name = "WORD")]
    filter: Vec<String>,

    /// What comes first; without it, they are in the order of datapath and socket id.
    #[arg(long, value_name = "KEY")]
    sort: Option<Sort>,

    /// At most so many flows.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,

    /// Print an array of JSON objects: bytes, bytes per second and microseconds throughout.
    #[arg(long)]
    json: bool,
}

/// By what flows are put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Sort {
    /// The order in which they came.
    Flow,
    /// The largest window first.
    Cwnd,
    /// The largest rate first.
    Rate,
    /// The largest round-trip time first.
    Rtt,
    /// The largest part of what was sent lost, first.
    Loss,
    /// The most reports first.
    Reports,
    /// The most faults first.
    Faults,
    /// The youngest first.
    Youngest,
}

impl From<Sort> for FlowOrder {
    fn from(sort: Sort) -> Self {
        match sort {
            Sort::Flow => Self::Flow,
            Sort::Cwnd => Self::Cwnd,
            Sort::Rate => Self::Rate,
            Sort::Rtt => Self::Rtt,
            Sort::Loss => Self::Loss,
            Sort::Reports => Self::Reports,
            Sort::Faults => Self::Faults,
            Sort::Youngest => Self::Youngest,
        }
    }
}

/// Asks for the flows and prints them.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let selection = Selection {
        words: args.filter.clone(),
        order: args.sort.map(FlowOrder::from),
        limit: args.limit,
    };
    let mut flows = ask(socket, async |ccpd| ccpd.select(&selection).await)?.flows;
    if args.sort.is_none() {
        flows.sort_by(|a, b| (&a.datapath, a.sock_id).cmp(&(&b.datapath, b.sock_id)));
    }
    let text = if args.json {
        json(&flows)?
    } else {
        table(&flows)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [Column; 13] = [
    ("FLOW", true),
    ("DATAPATH", false),
    ("ALGORITHM", false),
    ("STATE", false),
    ("LOCAL", false),
    ("REMOTE", false),
    ("CWND", true),
    ("RATE", true),
    ("RTT", true),
    ("LOSS", true),
    ("REPORTS", true),
    ("UPDATES", true),
    ("FAULTS", true),
];

/// The flows as a person reads them: window in packets, rate in Mbit/s, round-trip time in ms.
fn table(flows: &[FlowStatus]) -> String {
    let rows: Vec<_> = flows.iter().map(row).collect();
    crate::daemon::table(COLUMNS, &rows)
}

fn row(flow: &FlowStatus) -> [String; 13] {
    [
        flow.flow.to_string(),
        flow.datapath.clone(),
        flow.algorithm.clone(),
        flow.state.to_string(),
        flow.src.to_string(),
        flow.dst.to_string(),
        packets(flow.cwnd_bytes, flow.mss_bytes),
        rate(flow.rate_bytes_per_s),
        millis(flow.rtt_us),
        loss(flow.lost_bytes, flow.delivered_bytes),
        flow.reports.to_string(),
        flow.updates.to_string(),
        flow.faults.to_string(),
    ]
}

#[cfg(test)]
pub(crate) mod tests {
    use ccp_control::{Attributes, FlowMode, FlowStatus};

    pub(crate) fn flow(sock_id: u32) -> FlowStatus {
        FlowStatus {
            datapath: "ccp".to_owned(),
            flow: sock_id.into(),
            sock_id,
            algorithm: "slow".to_owned(),
            program: Some("constant".to_owned()),
            src: "10.1.0.1:40000".parse().unwrap(),
            dst: "[2001:db8::1]:443".parse().unwrap(),
            cwnd_bytes: 28_960,
            rate_bytes_per_s: 6_250_000,
            rtt_us: 20_123,
            mss_bytes: 1448,
            reports: 12,
            reports_missed: 0,
            updates: 3,
            state: FlowMode::Running,
            faults: 0,
            sent_bytes: None,
            delivered_bytes: None,
            lost_bytes: None,
            age_us: 1_000_000,
            attributes: Attributes::default(),
        }
    }

    #[test]
    fn the_table_is_in_packets_megabits_and_milliseconds() {
        let mut fresh = flow(131_073);
        fresh.rate_bytes_per_s = 0;
        fresh.rtt_us = 0;
        fresh.cwnd_bytes = 15_000;
        fresh.state = FlowMode::Native;
        fresh.lost_bytes = Some(1_448);
        fresh.delivered_bytes = Some(144_800);
        insta::assert_snapshot!(super::table(&[flow(1), fresh]));
    }

    #[test]
    fn an_empty_table_still_has_its_headings() {
        let text = super::table(&[]);
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("FLOW  DATAPATH  ALGORITHM"), "{text}");
    }

    /// Whatever prints data prints JSON for scripts, or has a format for them.
    #[test]
    fn every_command_that_prints_data_has_json() {
        use clap::CommandFactory as _;
        // What shells and `man` read, what is looked at, and what changes files.
        let others = ["completions", "man", "demo", "fmt"];
        let mut waiting = vec![crate::Cli::command()];
        let mut seen = 0;
        while let Some(command) = waiting.pop() {
            let name = command.get_name();
            let is_group = command.is_subcommand_required_set() || name == "ccp";
            let json = command.get_arguments().any(|argument| {
                argument.get_id() == "json"
                    || argument
                        .get_possible_values()
                        .iter()
                        .any(|value| value.get_name() == "json")
            });
            assert!(
                is_group || json || others.contains(&name),
                "`{name}` has no JSON"
            );
            seen += usize::from(json);
            waiting.extend(
                command
                    .get_subcommands()
                    .filter(|c| c.get_name() != "help")
                    .cloned(),
            );
        }
        assert!(seen >= 18, "{seen} commands");
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        crate::Cli::command().debug_assert();
    }
}
