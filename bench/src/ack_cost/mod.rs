//! Nanoseconds of BPF programs per acknowledgement: ours beside a hand-written Reno and CUBIC, in the same
//! run.

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use ccp_lab::{Bulk, EmulatedLink, Namespace, Need, Pipe, Until, require};
use ccp_plot::{Bar, BarChart};

use crate::daemon::{Daemon, Program};
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::sample::{Samples, number};
use beside::Beside;
use run_time::{Counting, Counts, Programs};

mod beside;
mod run_time;

pub(crate) const SECTION: &str = "ack-cost";

const CONFIG: &str = r#"
[algorithms.idle]

[algorithms.constant]
cwnd_packets = 200

[algorithms.reno]

[algorithms.cubic]

[algorithms.reno_ack]
kind = "reno"
report = "ack"

[algorithms.reno_seldom]
kind = "reno"
report = "10000ms"

[policy]
default = "idle"

[[policy.rule]]
match = { netns = "any", dst_port = 5001 }
algorithm = "constant"

[[policy.rule]]
match = { netns = "any", dst_port = 5002 }
algorithm = "reno"

[[policy.rule]]
match = { netns = "any", dst_port = 5003 }
algorithm = "reno_ack"

[[policy.rule]]
match = { netns = "any", dst_port = 5004 }
algorithm = "reno_seldom"

[[policy.rule]]
match = { netns = "any", dst_port = 5005 }
algorithm = "cubic"
"#;

/// The kernel only tells sums, in which an interrupt or another process that gets the CPU in the middle of
/// a program weighs as much as thousands of its runs. So there are many short slices, and the median of
/// their means.
const SLICE: Duration = Duration::from_millis(50);

/// What stands together in the picture: series, and whose.
const GROUPS: [(&str, &[(&str, &str)]); 4] = [
    ("nothing", &[("hand-written", "empty"), ("ours", "idle")]),
    ("constant", &[("ours", "constant")]),
    (
        "reno",
        &[
            ("hand-written", "hand_reno"),
            ("ours, hardly a report", "reno_seldom"),
            ("ours", "reno"),
            ("ours, a report per ACK", "reno_ack"),
        ],
    ),
    (
        "cubic",
        &[("hand-written", "hand_cubic"), ("ours", "cubic")],
    ),
];

/// One algorithm that is measured.
struct Measured {
    key: &'static str,
    name: &'static str,
    /// The key of the hand-written one that it is compared with.
    beside: &'static str,
    congestion: String,
    port: u16,
    programs: Programs,
    /// By path.
    slices: [Vec<Counts>; PATHS.len()],
}

/// The paths, by what the values of what is measured there begin with.
const PATHS: [&str; 2] = ["", "dense."];

impl Measured {
    fn per_ack(&self, path: usize, time: impl Fn(&Counts) -> u64) -> Samples {
        let each = |counts: &Counts| time(counts) as f64 / counts.control.runs as f64;
        Samples::new(self.slices[path].iter().map(each))
    }
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    require(&[Need::Namespaces, Need::Tun])?;
    let mut object = MaybeUninit::uninit();
    let beside = Beside::load(&mut object)?;
    let daemon = Daemon::start(plan, Program::Agent, CONFIG)?;
    let ours = Programs::of_daemon(&daemon.pins())?;
    let measured = |key, name, beside, congestion: &str, port, programs| Measured {
        key,
        name,
        beside,
        congestion: congestion.to_owned(),
        port,
        programs,
        slices: Default::default(),
    };
    let [empty, reno, cubic] = [
        (&beside.empty, beside.empty_program),
        (&beside.reno, beside.reno_program),
        (&beside.cubic, beside.cubic_program),
    ];
    let hand = |key, name, (congestion, program): (&String, u32), port| -> Result<Measured> {
        let programs = Programs::with(program)?;
        Ok(measured(key, name, key, congestion, port, programs))
    };
    let own = |key, name, beside, port| measured(key, name, beside, daemon.name(), port, ours);
    let mut all = [
        hand("empty", "nothing at all", empty, 5010)?,
        hand("hand_reno", "hand-written Reno", reno, 5011)?,
        own(
            "idle",
            "ours: a program that does nothing",
            "hand_reno",
            5000,
        ),
        own("constant", "ours: `constant`", "hand_reno", 5001),
        own(
            "reno_seldom",
            "ours: `reno`, hardly a report",
            "hand_reno",
            5004,
        ),
        own("reno", "ours: `reno`, a report per RTT", "hand_reno", 5002),
        own(
            "reno_ack",
            "ours: `reno`, a report per ACK",
            "hand_reno",
            5003,
        ),
        hand("hand_cubic", "hand-written CUBIC", cubic, 5012)?,
        own(
            "cubic",
            "ours: `cubic`, a report per RTT",
            "hand_cubic",
            5005,
        ),
    ];
    // A path on which a round trip has many acknowledgements, as paths have.
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let pipe = Pipe::new(200_000_000, Duration::from_millis(5));
    let link = EmulatedLink::new(&client, &server, pipe)?;
    let spread = Path {
        client: &client,
        server: &server,
        to: link.b_v4(),
    };
    // One without anything between two acknowledgements: segments as on a network, each a packet of its
    // own, that arrive in the moment in which they are sent.
    let dense = Namespace::new("dense")?;
    dense.ip(["link", "set", "lo", "mtu", "1500", "gso_max_segs", "1"])?;
    let dense = Path {
        client: &dense,
        server: &dense,
        to: Ipv4Addr::LOCALHOST.into(),
    };
    let counting = Counting::start()?;
    for _ in 0..plan.times(7) {
        for one in &mut all {
            for (i, path) in [&spread, &dense].into_iter().enumerate() {
                interrupt::check()?;
                let slices = measure(plan, path, &daemon, one);
                one.slices[i].extend(slices.with_context(|| one.name)?);
            }
        }
    }
    drop(counting);
    daemon.stop()?;
    Ok(outcome(&all))
}

struct Path<'a> {
    client: &'a Namespace,
    server: &'a Namespace,
    to: IpAddr,
}

fn measure(
    plan: &Plan,
    path: &Path<'_>,
    daemon: &Daemon,
    measured: &Measured,
) -> Result<Vec<Counts>> {
    let flow = Bulk::new(Until::Stopped)
        .congestion(measured.congestion.as_str())
        .port(measured.port)
        .check_content(false)
        .sample_every(None)
        .start(path.client, path.server, path.to)?;
    if measured.congestion == daemon.name() {
        daemon.await_running(1)?;
    }
    thread::sleep(plan.time(Duration::from_millis(200)));
    let mut slices = Vec::new();
    let mut before = measured.programs.read();
    for _ in 0..plan.times(12) {
        thread::sleep(SLICE);
        let now = measured.programs.read();
        let slice = now - before;
        before = now;
        if slice.control.runs > 0 {
            slices.push(slice);
        }
    }
    flow.stop();
    flow.wait()?;
    if slices.is_empty() {
        bail!("its program did not run");
    }
    Ok(slices)
}

/// What was measured on one path.
fn table(outcome: &mut Outcome, all: &[Measured], path: usize, heading: &'static str) -> Table {
    let mut table = Table::new([
        heading,
        "ns, median (quartiles)",
        "× hand-written",
        "less the measurement itself",
        "× hand-written",
        "other callbacks, ns per ACK",
        "ACKs",
    ]);
    let median = |key: &str| {
        let found = all.iter().find(|one| one.key == key);
        found.map_or(f64::NAN, |one| one.per_ack(path, |c| c.control.ns).median())
    };
    let floor = median("empty");
    for one in all {
        let slices = &one.slices[path];
        let control = one.per_ack(path, |counts| counts.control.ns);
        let others = one.per_ack(path, |counts| counts.others.ns).median();
        let acks: u64 = slices.iter().map(|counts| counts.control.runs).sum();
        let (hand, net) = (median(one.beside), control.median() - floor);
        let (gross_ratio, ratio) = (control.median() / hand, net / (hand - floor));
        let mut value = |what: &str, value: f64| {
            outcome.value(format!("{}{}.{what}", PATHS[path], one.key), value);
        };
        value("ns", control.median());
        value("net_ns", net);
        value("others_ns", others);
        let ratios = if one.key == "empty" {
            ["–".to_owned(), "–".to_owned()]
        } else {
            value("gross_ratio", gross_ratio);
            value("ratio", ratio);
            [number(gross_ratio), number(ratio)]
        };
        let [gross_ratio, ratio] = ratios;
        table.row([
            one.name.to_owned(),
            control.quartiles(),
            gross_ratio,
            number(net),
            ratio,
            number(others),
            number(acks as f64),
        ]);
    }
    table
}

fn outcome(all: &[Measured]) -> Outcome {
    let mut outcome = Outcome::new(SECTION);
    for (path, heading) in ["on each ACK", "on each of dense ACKs"]
        .into_iter()
        .enumerate()
    {
        let table = table(&mut outcome, all, path, heading);
        outcome.tables.push(table);
    }
    let slices = all.iter().flat_map(|one| one.slices.iter().flatten());
    let tail_called: u64 = slices.map(|counts| counts.generated.runs).sum();
    outcome.value("generated.runs_counted", tail_called as f64);
    let mut chart = BarChart::new("BPF time per acknowledgement", "ns")
        .subtitle("as the kernel counts it; median and quartiles of slices of 50 ms")
        .width(900.0);
    for (group, bars) in GROUPS {
        let bar = |&(series, key): &(&str, &str)| {
            let one = all.iter().find(|one| one.key == key)?;
            let ns = one.per_ack(0, |counts| counts.control.ns);
            let (low, high) = (ns.quantile(0.25), ns.quantile(0.75));
            Some(Bar::with_spread(series, ns.median(), low, high))
        };
        chart = chart.group(group, bars.iter().filter_map(bar).collect::<Vec<_>>());
    }
    outcome.bars("bench-ack-cost", "BPF time per acknowledgement", chart);
    outcome
}
