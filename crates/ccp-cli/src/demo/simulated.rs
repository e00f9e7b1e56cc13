//! The demo where root or BPF is missing: the same link, flows and interruption in virtual time.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ccp_core::SourceText;
use ccp_lab::{FlowReport, Sample, TcpInfo};
use ccp_sim::{FlowRecord, FlowSummary, Scenario, simulate};

use super::Args;
use super::cast::{self, ROLES, Role};
use super::plot;
use super::record::{self, Events, Record};
use super::table::{self, print};

/// The link, the flows and the interruption as a scenario.
fn scenario(seconds: u32) -> String {
    let length = f64::from(seconds);
    let mut text = format!(
        r#"[scenario]
title = "SIMULATED demo"
duration_s = {seconds}
sample_ms = 20

[[control.away]]
from_s = {killed}
to_s = {back}

[algorithms.steady]
kind = "constant"
rate_mbit = {steady}
cwnd_packets = 60

[algorithms.reno]

[[link]]
name = "link"
rate_mbit = {rate}
delay_ms = {delay}
queue_packets = {queue}
"#,
        killed = length * cast::KILLED,
        back = length * cast::BACK,
        steady = cast::STEADY_MBIT,
        rate = cast::RATE / 1_000_000,
        delay = cast::DELAY.as_millis(),
        queue = cast::QUEUE / 1500,
    );
    for role in &ROLES {
        let algorithm = match (role.is_steered(), role.key) {
            (false, _) => "",
            (true, "steady") => "algorithm = \"steady\"\n",
            (true, _) => "algorithm = \"reno\"\n",
        };
        let (name, starts) = (role.key, length * role.starts);
        text.push_str(&format!(
            "\n[[flow]]\nname = \"{name}\"\n{algorithm}start_s = {starts}\n"
        ));
    }
    text
}

/// Simulates, prints the table, and writes plots and samples.
pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    fs::create_dir_all(&args.out)
        .with_context(|| format!("can't make the directory {}", args.out.display()))?;
    let out = fs::canonicalize(&args.out)
        .with_context(|| format!("can't find {}", args.out.display()))?;
    let text = scenario(args.seconds);
    let path = out.join("demo-scenario.toml");
    fs::write(&path, &text).with_context(|| format!("can't write {}", path.display()))?;
    let source = SourceText::new(&path.display().to_string(), &text);
    let mut no_files = |name: &str| Err(format!("there is no {name}"));
    let scenario = Scenario::parse(&source, &mut no_files)?;
    print(&format!(
        "SIMULATED: {} s in virtual time. Nothing here is the kernel's TCP; `ccp demo` as root steers that.\n\
         A link of {} Mbit/s, {} ms there and back, {} packets of queue.\n\n",
        args.seconds,
        cast::RATE / 1_000_000,
        2 * cast::DELAY.as_millis(),
        cast::QUEUE / 1500,
    ));
    let outcome = simulate(&scenario, &algs::registry())?;

    let start = Instant::now();
    let flows = outcome.flows.iter().zip(&outcome.summary.flows);
    let records: Vec<Record> = ROLES
        .iter()
        .zip(flows)
        .map(|(role, (flow, summary))| {
            let offset = Duration::from_secs_f64(f64::from(args.seconds) * role.starts);
            let report = report(flow, summary, start + offset, offset);
            Record::simulated(labelled(role), offset, report)
        })
        .collect();
    let length = Duration::from_secs(args.seconds.into());
    let back = length.mul_f64(cast::BACK);
    let steered = ROLES.iter().zip(&outcome.flows);
    let steered = steered.filter(|(role, _)| role.is_steered());
    let again = steered.map(|(_, flow)| {
        let samples = flow.samples.iter();
        let mut at = samples.filter(|s| s.steered).map(|s| at(s.at));
        at.find(|at| *at > back)
    });
    let events = Events {
        killed: Some(length.mul_f64(cast::KILLED)),
        back: Some(back),
        adopted: again
            .collect::<Option<Vec<_>>>()
            .and_then(|all| all.into_iter().max()),
    };
    print(&table::summary(&records, &events, table::SIMULATED));
    let samples = out.join("samples.csv");
    fs::write(&samples, record::csv(&records))
        .with_context(|| format!("can't write {}", samples.display()))?;
    let mut files = plot::write(&out, &records, &events, length, &plot::SIMULATED)?;
    files.extend([samples, path]);
    print("\n");
    for file in files {
        print(&format!("{}\n", file.display()));
    }
    Ok(())
}

fn at(time: ccp_sim::Nanos) -> Duration {
    Duration::from_nanos(time.0)
}

/// Nothing here is the kernel's.
fn labelled(role: &Role) -> Role {
    Role {
        label: match role.key {
            "steady" => "steady (constant)",
            "reno" => "reno",
            "late" => "late (reno)",
            _ => "cubic (native)",
        },
        ..*role
    }
}

/// A flow of a simulation in the form of a real one.
fn report(
    flow: &FlowRecord,
    summary: &FlowSummary,
    started: Instant,
    offset: Duration,
) -> FlowReport {
    let samples: Vec<Sample> = flow
        .samples
        .iter()
        .map(|s| Sample {
            at: at(s.at).saturating_sub(offset),
            info: TcpInfo {
                bytes_acked: s.received,
                cwnd_packets: u32::try_from(s.cwnd / 1448).unwrap_or(u32::MAX),
                srtt: Duration::from_micros(s.srtt_us),
                pacing_rate: (s.rate > 0).then_some(s.rate),
                ..TcpInfo::default()
            },
        })
        .collect();
    let nobody = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    FlowReport {
        local: nobody,
        peer: nobody,
        started,
        duration: Duration::from_secs_f64(summary.seconds),
        bytes: summary.bytes,
        congestion: String::new(),
        last: TcpInfo {
            retransmits: u32::try_from(summary.resent).unwrap_or(u32::MAX),
            ..samples.last().map(|s| s.info).unwrap_or_default()
        },
        samples,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenario_is_the_demo() {
        let source = SourceText::new("demo", &scenario(10));
        let scenario = Scenario::parse(&source, &mut |_| unreachable!()).unwrap();
        assert_eq!(scenario.flows.len(), ROLES.len());
        let outcome = simulate(&scenario, &algs::registry()).unwrap();
        let flows = &outcome.summary.flows;
        // It is held at its rate while the control plane is there.
        assert!(flows[0].throughput_mbit < 12.0, "{flows:?}");
        assert_eq!(outcome.summary.control.fallbacks, 3);
        assert!(
            outcome.flows[..3]
                .iter()
                .all(|flow| flow.samples.last().unwrap().steered)
        );
    }
}
