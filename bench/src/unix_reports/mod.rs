//! What a report costs on a Unix socket, beside portus: the same datapath, the same algorithm, each
//! agent on a CPU of its own.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use ccp_plot::{Bar, BarChart};
use tempfile::TempDir;

use crate::agent::portus::socket_path;
use crate::interrupt;
use crate::outcome::{Outcome, Table};
use crate::plan::Plan;
use crate::process::{Process, cpus, pin, within};
use crate::sample::{Samples, number};
use datapath::Datapath;

pub(crate) mod crowd;
mod datapath;

pub(crate) const SECTION: &str = "unix";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    Ccpd,
    Portus,
}

impl Peer {
    const ALL: [Self; 2] = [Self::Ccpd, Self::Portus];

    const fn name(self) -> &'static str {
        match self {
            Self::Ccpd => "ccpd",
            Self::Portus => "portus",
        }
    }
}

/// Where the datapath and the agent run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cpus {
    /// Each on a CPU of its own, if there are two.
    Two,
    /// Both on the same one.
    One,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Load {
    flows: usize,
    cpus: Cpus,
}

impl Load {
    const fn of(flows: usize, cpus: Cpus) -> Self {
        Self { flows, cpus }
    }

    /// In names of values.
    fn key(self) -> String {
        let cpus = match self.cpus {
            Cpus::Two => "",
            Cpus::One => "one_cpu_",
        };
        format!("{cpus}{}_flows", self.flows)
    }

    /// For people.
    fn label(self) -> String {
        let flows = match self.flows {
            1 => "1 flow".to_owned(),
            n => format!("{n} flows"),
        };
        match self.cpus {
            Cpus::Two => flows,
            Cpus::One => format!("{flows}, one CPU"),
        }
    }
}

/// One run of one agent.
struct Measured {
    reports_per_s: f64,
    cpu_us: f64,
    answered_us: Samples,
}

pub(crate) fn run(plan: &Plan) -> Result<Outcome> {
    let loads = [
        Load::of(1, Cpus::One),
        Load::of(1, Cpus::Two),
        Load::of(10, Cpus::Two),
        Load::of(100, Cpus::Two),
        Load::of(1000, Cpus::Two),
    ];
    let mut measured: Vec<(Peer, Load, Measured)> = Vec::new();
    for round in 0..plan.times(5) {
        for load in loads {
            let mut peers = Peer::ALL;
            if round % 2 == 1 {
                peers.reverse();
            }
            for peer in peers {
                interrupt::check()?;
                let one = measure(peer, load, plan.time(Duration::from_millis(1000)));
                let one = one.with_context(|| format!("{} with {}", peer.name(), load.label()))?;
                measured.push((peer, load, one));
            }
        }
    }
    let mut outcome = Outcome::new(SECTION);
    let mut table = Table::new([
        "flows",
        "agent",
        "reports per second",
        "CPU per report (µs)",
        "÷ portus",
        "answered after p50 (µs)",
        "p99 (µs)",
    ]);
    let mut chart = BarChart::new("CPU time per report on a Unix socket", "µs")
        .subtitle("user and system time of the agent; median, least and most");
    for load in loads {
        let mut bars = Vec::new();
        let of = |peer: Peer, value: fn(&Measured) -> f64| {
            let runs = measured.iter().filter(|(p, l, _)| (*p, *l) == (peer, load));
            Samples::new(runs.map(|(_, _, one)| value(one)))
        };
        let cpu_us = |peer| of(peer, |one| one.cpu_us);
        let beside = cpu_us(Peer::Portus).median();
        for peer in Peer::ALL {
            let (rate, cpu) = (of(peer, |one| one.reports_per_s), cpu_us(peer));
            let p50 = of(peer, |one| one.answered_us.quantile(0.5)).median();
            let p99 = of(peer, |one| one.answered_us.quantile(0.99)).median();
            let ratio = cpu.median() / beside;
            let key = |what: &str| format!("{}.{}.{what}", peer.name(), load.key());
            outcome.value(key("reports_per_s"), rate.median());
            outcome.value(key("cpu_us"), cpu.median());
            outcome.value(key("cpu_ratio"), ratio);
            outcome.value(key("answered_p50_us"), p50);
            outcome.value(key("answered_p99_us"), p99);
            table.row([
                load.label(),
                peer.name().to_owned(),
                rate.spread(),
                cpu.spread(),
                number(ratio),
                number(p50),
                number(p99),
            ]);
            bars.push(Bar::with_spread(
                peer.name(),
                cpu.median(),
                cpu.least(),
                cpu.most(),
            ));
        }
        chart = chart.group(load.label(), bars);
    }
    outcome.tables.push(table);
    outcome.bars("bench-unix", "CPU time per report on a Unix socket", chart);
    Ok(outcome)
}

fn measure(peer: Peer, load: Load, time: Duration) -> Result<Measured> {
    let (traffic, agent_cpu) = match (load.cpus, cpus()) {
        (Cpus::Two, both) => both,
        (Cpus::One, (_, one)) => (one, one),
    };
    let agent = Agent::start(peer, agent_cpu)?;
    let run = || {
        let mut datapath = Datapath::connect(&agent.datapath, &agent.socket)?;
        datapath.open(load.flows)?;
        datapath.run(time / 5, load.flows)?;
        let before = agent.process.cpu_time()?;
        let run = datapath.run(time, load.flows)?;
        let used = agent.process.cpu_time()?.saturating_sub(before);
        let reports = run.reports.max(1) as f64;
        anyhow::Ok(Measured {
            reports_per_s: reports / run.time.as_secs_f64(),
            cpu_us: used.as_secs_f64() * 1e6 / reports,
            answered_us: run.answered_after,
        })
    };
    on_cpu(traffic, run)
}

/// Does `work` in a thread of its own, since it stays on a CPU.
fn on_cpu<T: Send>(cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    let worker = std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            pin(cpu)?;
            work()
        });
        thread.join()
    });
    worker.map_err(|_| anyhow!("the datapath panicked"))?
}

/// A running agent and the sockets of both ends.
struct Agent {
    process: Process,
    socket: PathBuf,
    datapath: PathBuf,
    _dir: TempDir,
}

impl Agent {
    fn start(peer: Peer, cpu: usize) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("ccp-bench-").tempdir()?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("agent")
            .arg(peer.name())
            .arg("--cpu")
            .arg(cpu.to_string());
        let (socket, datapath) = match peer {
            Peer::Ccpd => {
                let socket = dir.path().join("agent");
                let config = dir.path().join("ccpd.toml");
                let text = format!(
                    "[ccpd]\ncontrol = \"{}\"\n\n[[datapath]]\nkind = \"unix\"\npath = \"{}\"\n\
                     max_flows = 131_072\n\n\
                     [algorithms.answer]\n\n[policy]\ndefault = \"answer\"\n",
                    dir.path().join("control").display(),
                    socket.display(),
                );
                fs::write(&config, text)?;
                command.arg("--config").arg(config);
                (socket, dir.path().join("datapath"))
            }
            Peer::Portus => {
                let name = format!("ccp-bench-{}", std::process::id());
                command.arg("--bind").arg(&name);
                let datapath = socket_path(&format!("{name}-datapath"));
                (socket_path(&name), datapath)
            }
        };
        let log = dir.path().join("log");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log)?);
        let mut agent = Self {
            process: Process::start(&mut command)?,
            socket,
            datapath,
            _dir: dir,
        };
        let listens = within(Duration::from_secs(10), || {
            let ended = agent.process.ended().ok().flatten().is_some();
            (ended || agent.socket.exists()).then_some(!ended)
        });
        match listens {
            Some(true) => Ok(agent),
            _ => {
                let log = fs::read_to_string(log).unwrap_or_default();
                Err(anyhow!("{} does not listen:\n{log}", peer.name()))
            }
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // portus leaves its socket, and nobody else removes the datapath's.
        let _ = self.process.stop();
        for path in [&self.socket, &self.datapath] {
            let _ = fs::remove_file(path);
        }
        // Made by portus for its socket; stays if there is something else in it.
        if let Some(dir) = self.socket.parent() {
            let _ = fs::remove_dir(dir);
        }
    }
}
