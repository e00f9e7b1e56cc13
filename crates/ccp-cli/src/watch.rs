//! `ccp watch`: what happens to flows, while it happens.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, bail};
use ccp_control::{
    Announced, Client, ClientError, Event, FlowOrigin, FrameError, Happened, Watch, What, Why,
    plain,
};
use serde::Serialize;

use crate::daemon::{over, runtime, say};
use crate::units::{age, data, duration, rate, time_of_day};

/// Arguments of `ccp watch`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Only these flows: numbers under FLOW in `ccp flows`. It ends when all of them have ended. Without
    /// any: all flows, also those to come.
    #[arg(value_name = "FLOW")]
    flows: Vec<u64>,

    /// Also every report, with its values and what followed from it.
    #[arg(long)]
    reports: bool,

    /// Also what else its algorithm gets, and what its datapath is told.
    #[arg(long)]
    steps: bool,

    /// Print one JSON object per line.
    #[arg(long)]
    json: bool,

    /// End after so many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,

    /// End after this time: 500ms, 10s, 5min, 2h.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Option<Duration>,
}

/// Prints what happens until there has been enough, or Ctrl-C.
pub(crate) fn run(socket: &Path, args: &Args) -> anyhow::Result<ExitCode> {
    runtime()?.block_on(watch(socket, args))?;
    Ok(ExitCode::SUCCESS)
}

async fn watch(socket: &Path, args: &Args) -> anyhow::Result<()> {
    let mut ccpd = Client::connect(socket).await?;
    let watch = Watch {
        flows: args.flows.clone(),
        reports: args.reports,
        steps: args.steps,
    };
    ccpd.watch(&watch).await?;
    // Of a flow that is not there nothing would ever be heard. Nothing that happens while it is looked
    // for is missed.
    let mut left: HashSet<u64> = args.flows.iter().copied().collect();
    if !left.is_empty() {
        let mut look = Client::connect(socket).await?;
        for flow in &args.flows {
            let there = look.show(*flow).await;
            there.with_context(|| format!("can't watch flow {flow}"))?;
        }
    }
    let over = over(args.time);
    tokio::pin!(over);
    let mut enough = args.count;
    while enough != Some(0) {
        let happened = tokio::select! {
            happened = ccpd.next() => match happened {
                Err(ClientError::Frame(FrameError::Closed)) => {
                    bail!("ccpd has ended, or was replaced: nothing more will be heard from it")
                }
                happened => happened?,
            },
            () = &mut over => return Ok(()),
            interrupted = tokio::signal::ctrl_c() => {
                return interrupted.context("can't wait for signals");
            }
        };
        if !show(args, happened, &mut enough, &mut left)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Prints what happened. Returns whether anybody wants to see more.
fn show(
    args: &Args,
    happened: Happened,
    enough: &mut Option<u64>,
    left: &mut HashSet<u64>,
) -> anyhow::Result<bool> {
    let mut text = String::new();
    let mut line = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    if happened.lost > 0 {
        line(if args.json {
            let lost = Lost {
                lost: LostEvents {
                    events: happened.lost,
                },
            };
            serde_json::to_string(&lost).context("can't write JSON")?
        } else {
            format!(
                "({} events were lost here: they came faster than they were read)",
                happened.lost
            )
        });
    }
    let named = !left.is_empty();
    for event in happened.events {
        if *enough == Some(0) {
            break;
        }
        if let Some(enough) = enough {
            *enough -= 1;
        }
        line(if args.json {
            let object = Line {
                time_us: event.time_us,
                flow: event.flow,
                what: &event.what,
            };
            serde_json::to_string(&object).context("can't write JSON")?
        } else {
            told(&event)
        });
        if matches!(event.what, What::Closed { .. }) {
            left.remove(&event.flow);
        }
    }
    Ok(say(&text)? && (!named || !left.is_empty()))
}

/// An event as a line of JSON.
#[derive(Serialize)]
struct Line<'a> {
    time_us: u64,
    flow: u64,
    #[serde(flatten)]
    what: &'a What,
}

#[derive(Serialize)]
struct Lost {
    lost: LostEvents,
}

#[derive(Serialize)]
struct LostEvents {
    events: u64,
}

/// An event as a person reads it.
fn told(event: &Event) -> String {
    let what = match &event.what {
        What::Opened {
            status,
            origin,
            rule,
        } => {
            let rule = match rule {
                Some(rule) => format!("rule {rule}"),
                None => "the default".to_owned(),
            };
            let origin = match origin {
                FlowOrigin::New => "new",
                FlowOrigin::Adopted => "adopted",
                FlowOrigin::Resumed => "given back",
            };
            format!(
                "{origin}: {} -> {} on {}, {} ({rule})",
                status.src, status.dst, status.datapath, status.algorithm
            )
        }
        What::Closed { status } => {
            let data = match (status.delivered_bytes, status.lost_bytes) {
                (Some(delivered), Some(lost)) => {
                    format!(", {} delivered, {} lost", data(delivered), data(lost))
                }
                _ => String::new(),
            };
            format!(
                "closed after {}: {} -> {}, {} reports, {} updates{data}",
                age(status.age_us),
                status.src,
                status.dst,
                status.reports,
                status.updates
            )
        }
        What::AlgorithmChanged { from, to, why } => {
            format!("algorithm {from} -> {to} ({})", because(*why))
        }
        What::FellBack { why } => format!("fell back to its datapath ({})", because(*why)),
        What::Returned { cwnd_bytes } => format!("returned with a window of {cwnd_bytes} B"),
        What::ProgramFaults { program, count } => match program {
            Some(program) => format!("program {program} faulted {count} times"),
            None => format!("its program faulted {count} times"),
        },
        What::Panicked { algorithm, message } => format!("{algorithm} panicked: {message}"),
        What::UpdateRefused { algorithm, why } => {
            format!("an update of {algorithm} was refused: {why}")
        }
        What::Report {
            program,
            merged,
            cwnd_bytes,
            rate_bytes_per_s,
            fields,
            ..
        } => {
            let fields: Vec<String> = fields.iter().map(|(k, v)| format!("{k}={v}")).collect();
            let merged = match merged {
                0 => String::new(),
                merged => format!(" ({merged} merged)"),
            };
            let rate = match rate_bytes_per_s {
                0 => String::new(),
                set => format!(", {}", rate(*set)),
            };
            format!(
                "{program}{merged} {} -> {cwnd_bytes} B{rate}",
                fields.join(" ")
            )
        }
        What::ReportsMissed { count } => format!("{count} reports missed"),
        What::Announced(announced) => {
            let Announced {
                cwnd_bytes,
                mss_bytes,
                ..
            } = announced;
            format!("announced with a window of {cwnd_bytes} B, segments of {mss_bytes} B")
        }
        What::Woken => "its algorithm was woken".to_owned(),
        What::MssChanged { mss_bytes } => format!("segments of {mss_bytes} B"),
        What::Updated { program, fields } => {
            let start = program.iter().map(|program| format!("start {program}"));
            let set = fields.iter().map(|(k, v)| format!("{k}={v}"));
            let all: Vec<String> = start.chain(set).collect();
            format!("told: {}", all.join(" "))
        }
        other => format!("{other:?}"),
    };
    let (time, what) = (time_of_day(event.time_us), plain(&what));
    format!("{time} flow {} {what}", event.flow)
}

fn because(why: Why) -> &'static str {
    match why {
        Why::Assigned => "so the configuration or somebody says",
        Why::Panicked => "it panicked",
        Why::TakenOver => "its datapath took it over again and again",
        Why::DaemonAway => "ccpd did not run",
        Why::Datapath => "its datapath says so",
        Why::Quarantined => "it did not come back from its work",
        _ => "for another reason",
    }
}

#[cfg(test)]
mod tests {
    use ccp_control::{Announced, Event, FlowOrigin, What, Why};

    use super::{Line, told};

    fn events() -> Vec<Event> {
        let status = || Box::new(crate::show::tests::detail().status);
        let name = |name: &str| name.to_owned();
        let all = vec![
            What::Opened {
                status: status(),
                origin: FlowOrigin::New,
                rule: Some(2),
            },
            What::Report {
                algorithm: name("slow"),
                program: name("constant"),
                merged: 1,
                cwnd_bytes: 28_960,
                rate_bytes_per_s: 6_250_000,
                fields: vec![(name("acked"), 1448), (name("rtt"), 20_000)],
            },
            What::ReportsMissed { count: 3 },
            What::AlgorithmChanged {
                from: name("slow"),
                to: name("reno"),
                why: Why::Assigned,
            },
            What::FellBack {
                why: Why::DaemonAway,
            },
            What::Returned { cwnd_bytes: 14_480 },
            What::ProgramFaults {
                program: Some(name("constant")),
                count: 16,
            },
            What::Panicked {
                algorithm: name("slow"),
                message: name("index out of bounds"),
            },
            What::UpdateRefused {
                algorithm: name("slow"),
                why: name("a window of 0 bytes"),
            },
            What::Closed { status: status() },
            What::Announced(Announced {
                origin: FlowOrigin::New,
                generation: 1,
                faults: 0,
                mss_bytes: 1448,
                init_cwnd_bytes: 14_480,
                cwnd_bytes: 14_480,
                rate_bytes_per_s: 0,
                rtt_us: 0,
                min_rtt_us: 0,
            }),
            What::Woken,
            What::MssChanged { mss_bytes: 8_948 },
            What::Updated {
                program: Some(name("constant")),
                fields: vec![(name("Cwnd"), 28_960), (name("interval"), 10_000)],
            },
        ];
        let at = |(flow, what)| Event {
            time_us: 1_700_000_000_000_000 + flow * 1_000,
            flow,
            what,
        };
        (1..).zip(all).map(at).collect()
    }

    #[test]
    fn each_event_is_a_line() {
        let lines: Vec<String> = events().iter().map(told).collect();
        insta::assert_snapshot!("events", lines.join("\n"));
    }

    #[test]
    fn each_event_is_an_object() {
        let lines = events().into_iter().map(|event| {
            let line = Line {
                time_us: event.time_us,
                flow: event.flow,
                what: &event.what,
            };
            serde_json::to_string(&line).unwrap()
        });
        insta::assert_snapshot!("events_json", lines.collect::<Vec<_>>().join("\n"));
    }
}
