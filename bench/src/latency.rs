//! From a report to its effect: how long until a flow acts upon what its algorithm decided.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ccp_lab::{Bulk, Namespace, Need, Until, require};
use ccp_plot::{Bar, BarChart};

use crate::agent::echo::Ping;
use crate::daemon::{Daemon, Program};
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::sample::{Samples, number};

pub(crate) const SECTION: &str = "latency";

const CONFIG: &str = r#"
[algorithms.light]
kind = "echo"
cwnd_packets = 200
rate_mbit = 500

[algorithms.heavy]
kind = "echo"
cwnd_packets = 200

[algorithms.answer]

[policy]
default = "answer"

[[policy.rule]]
match = { netns = "any", dst_port = 5001 }
algorithm = "light"

[[policy.rule]]
match = { netns = "any", dst_port = 5002 }
algorithm = "heavy"
"#;

/// What else goes on while a flow is measured.
struct Load {
    key: &'static str,
    name: &'static str,
    port: u16,
    others: usize,
}

const LOADS: [Load; 3] = [
    Load {
        key: "light",
        name: "light: this flow only, paced at 500 Mbit/s",
        port: 5001,
        others: 0,
    },
    Load {
        key: "full",
        name: "full: this flow only, as fast as it can",
        port: 5002,
        others: 0,
    },
    Load {
        key: "heavy",
        name: "heavy: and 8 more, which get an update for every ACK",
        port: 5002,
        others: 8,
    },
];

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces])?;
    let namespace = Namespace::new("bench")?;
    // As on a network: segments of 1448 bytes, each a packet of its own.
    namespace.ip(["link", "set", "lo", "mtu", "1500", "gso_max_segs", "1"])?;
    let mut pings: Vec<(&Load, Vec<Ping>)> = LOADS.iter().map(|load| (load, Vec::new())).collect();
    for _ in 0..plan.times(5) {
        for (load, found) in &mut pings {
            interrupt::check()?;
            let more = measure(plan, &namespace, load);
            found.extend(more.with_context(|| load.name)?);
        }
    }
    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new([
        "load",
        "report → algorithm p50 / p99 (µs)",
        "algorithm → applied p50 / p99 (µs)",
        "report → applied p50 / p99 (µs)",
        "measured",
    ]);
    let mut chart = BarChart::new("From a report to its effect", "µs")
        .subtitle("quartiles, median, and whiskers to the 1st and 99th percentile");
    for (load, found) in &pings {
        let of = |time: fn(&Ping) -> u64| Samples::new(found.iter().map(|ping| time(ping) as f64));
        let parts = [
            ("to_algorithm", of(|ping| ping.to_algorithm)),
            ("to_program", of(|ping| ping.to_program)),
            ("applied", of(|ping| ping.to_algorithm + ping.to_program)),
        ];
        let mut cells = vec![load.name.to_owned()];
        for (part, samples) in &parts {
            let (p50, p99) = (samples.median(), samples.quantile(0.99));
            outcome.value(format!("{}.{part}.p50_us", load.key), p50);
            outcome.value(format!("{}.{part}.p99_us", load.key), p99);
            cells.push(format!("{} / {}", number(p50), number(p99)));
        }
        cells.push(number(found.len() as f64));
        table.row(cells);
        let label = |part: &str| match part {
            "to_algorithm" => "report → algorithm",
            "to_program" => "algorithm → applied",
            _ => "report → applied",
        };
        let times: [fn(&Ping) -> u64; 3] = [
            |ping| ping.to_algorithm,
            |ping| ping.to_program,
            |ping| ping.to_algorithm + ping.to_program,
        ];
        let boxes = parts.iter().zip(times).filter_map(|((part, _), time)| {
            Bar::samples(label(part), found.iter().map(|ping| time(ping) as f64))
        });
        chart = chart.group(load.key, boxes.collect::<Vec<_>>());
    }
    outcome.tables.push(table);
    outcome.bars("bench-latency", "From a report to its effect", chart);
    Ok(outcome)
}

fn measure(plan: &Plan, namespace: &Namespace, load: &Load) -> Result<Vec<Ping>> {
    let daemon = Daemon::start(plan, Program::Agent, CONFIG)?;
    let bulk = || {
        Bulk::new(Until::Stopped)
            .congestion(daemon.name())
            .check_content(false)
            .sample_every(None)
    };
    let others = bulk().start_many(load.others, namespace, namespace, Ipv4Addr::LOCALHOST)?;
    let flow = bulk()
        .port(load.port)
        .start(namespace, namespace, Ipv4Addr::LOCALHOST)?;
    daemon.await_running(1 + load.others)?;
    thread::sleep(plan.time(Duration::from_millis(1500)));
    for flow in others.iter().chain([&flow]) {
        flow.stop();
    }
    for flow in others.into_iter().chain([flow]) {
        flow.wait()?;
    }
    let text = daemon.stop()?;
    let pings: Vec<Ping> = serde_json::from_str(&text).context("read what the agent measured")?;
    if pings.is_empty() {
        bail!("the flow measured nothing");
    }
    Ok(pings)
}
