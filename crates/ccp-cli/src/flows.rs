//! `ccp flows`: the flows under control.

use std::path::Path;
use std::process::ExitCode;

use ccp_control::FlowStatus;

use crate::daemon::{Column, ask, json, print};

/// Arguments of `ccp flows`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print an array of JSON objects: bytes, bytes per second and microseconds throughout.
    #[arg(long)]
    json: bool,
}

/// Asks for the flows and prints them.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    let flows = ask(socket, async |ccpd| ccpd.flows().await)?;
    let text = if args.json {
        json(&flows)?
    } else {
        table(&flows)
    };
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [Column; 11] = [
    ("FLOW", true),
    ("DATAPATH", false),
    ("ALGORITHM", false),
    ("STATE", false),
    ("LOCAL", false),
    ("REMOTE", false),
    ("CWND", true),
    ("RATE", true),
    ("RTT", true),
    ("REPORTS", true),
    ("UPDATES", true),
];

/// The flows as a person reads them: window in packets, rate in Mbit/s, round-trip time in ms.
fn table(flows: &[FlowStatus]) -> String {
    let rows: Vec<_> = flows.iter().map(row).collect();
    crate::daemon::table(COLUMNS, &rows)
}

fn row(flow: &FlowStatus) -> [String; 11] {
    let or_dash = |known: bool, text: String| if known { text } else { "-".to_owned() };
    [
        flow.flow.to_string(),
        flow.datapath.clone(),
        flow.algorithm.clone(),
        flow.state.to_string(),
        flow.src.to_string(),
        flow.dst.to_string(),
        packets(flow.cwnd_bytes, flow.mss_bytes),
        or_dash(
            flow.rate_bytes_per_s > 0,
            format!("{:.2} Mbit/s", flow.rate_bytes_per_s as f64 / 125_000.0),
        ),
        or_dash(
            flow.rtt_us > 0,
            format!("{:.3} ms", flow.rtt_us as f64 / 1_000.0),
        ),
        flow.reports.to_string(),
        flow.updates.to_string(),
    ]
}

fn packets(bytes: u64, mss: u32) -> String {
    if mss == 0 {
        return format!("{bytes} B");
    }
    let packets = bytes as f64 / f64::from(mss);
    if packets.fract() == 0.0 {
        format!("{packets:.0} pkt")
    } else {
        format!("{packets:.1} pkt")
    }
}

#[cfg(test)]
mod tests {
    use ccp_control::{Attributes, FlowMode, FlowStatus};

    fn flow(sock_id: u32) -> FlowStatus {
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
        insta::assert_snapshot!(super::table(&[flow(1), fresh]));
    }

    #[test]
    fn an_empty_table_still_has_its_headings() {
        let text = super::table(&[]);
        assert_eq!(text.lines().count(), 1);
        assert!(text.starts_with("FLOW  DATAPATH  ALGORITHM"), "{text}");
    }

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory as _;
        crate::Cli::command().debug_assert();
    }
}
