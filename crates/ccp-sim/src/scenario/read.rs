//! Scenarios as TOML.

use std::sync::Arc;

use ccp_core::keys::{Found, Problem, Problems, Section, Source, read};
use ccp_core::{Params, SourceText};

use crate::random::Chance;
use crate::time::Nanos;

use super::{
    AppSpec, BurstSpec, ControlSpec, FlowSpec, LinkSpec, LossSpec, QueueKind, QueueSpec, RateSpec,
    Scenario, TcpSpec, Trace,
};

/// What a packet counts for where queues are counted in packets.
const PACKET: u64 = 1_500;
/// The longest simulation, in seconds.
const LONGEST_S: f64 = 86_400.0;
/// The longest time on the way, in milliseconds.
const FURTHEST_MS: f64 = 100_000.0;
const MOST_LINKS: usize = 1_000;
const MOST_FLOWS: usize = 10_000;

impl Scenario {
    /// Reads a scenario; `load` gives the text of the trace of that name, or says why it can't.
    ///
    /// # Errors
    /// With everything that is wrong: key, value, what is allowed, line.
    pub fn parse(
        text: &SourceText,
        load: &mut dyn FnMut(&str) -> Result<String, String>,
    ) -> Result<Self, Problems> {
        read(text, |root, source| scenario(&root, source, load))
    }
}

fn scenario(
    root: &Section<'_>,
    source: &Source,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Option<Scenario> {
    let head = root.section("scenario");
    if !root.has("scenario") {
        root.missing("scenario.duration_s", "how long it lasts, in seconds");
    }
    let title = head
        .as_ref()
        .and_then(|head| head.text("title", "a text"))
        .map_or_else(String::new, |found| found.value.to_owned());
    let duration = head.as_ref().and_then(|head| {
        if !head.has("duration_s") {
            head.missing("duration_s", "how long it lasts, in seconds");
        }
        head.number("duration_s", 0.001..=LONGEST_S, "seconds")
    });
    let whole = |key, range, unit| Some(head.as_ref()?.integer(key, range, unit)?.value);
    let sample = head
        .as_ref()
        .and_then(|head| head.number("sample_ms", 0.1..=60_000.0, "milliseconds"))
        .map_or(Nanos::from_millis(100), |found| millis(found.value));
    let seed = whole("seed", 0..=i64::MAX as u64, "").unwrap_or(1);
    if let Some(head) = head {
        head.finish();
    }
    let control = root
        .section("control")
        .map(read_control)
        .unwrap_or_default();

    let (algorithms, names) = match root.section("algorithms") {
        None => (Vec::new(), Vec::new()),
        Some(section) => {
            let names = section.names();
            (read_algorithms(&names, source), names)
        }
    };
    let links = read_links(root, load);
    let link_names: Vec<&str> = links.iter().map(|link| link.name.as_str()).collect();
    let mut flows: Vec<FlowSpec> = Vec::new();
    if !root.has("flow") {
        root.missing("flow", "what is sent, as [[flow]]");
    }
    for section in root.sections("flow").unwrap_or_default() {
        let at = section.span_of("name");
        for flow in read_flow(&section, &link_names, &names) {
            if flows.iter().any(|other| other.name == flow.name) {
                let text = format!(
                    "{}.name = \"{}\": is another flow's already",
                    section.path(),
                    flow.name
                );
                source.problem(&at, text);
            }
            flows.push(flow);
        }
        section.finish();
    }
    if flows.len() > MOST_FLOWS {
        root.missing(
            "flow",
            format_args!("there are {}, more than {MOST_FLOWS}", flows.len()),
        );
    }
    Some(Scenario {
        title,
        duration: secs(duration?.value),
        sample,
        seed,
        links,
        flows,
        algorithms,
        control,
    })
}

fn secs(s: f64) -> Nanos {
    Nanos((s * 1e9).round() as u64)
}

fn millis(ms: f64) -> Nanos {
    Nanos((ms * 1e6).round() as u64)
}

/// The time at `key` in milliseconds, from `least` on.
fn time(section: &Section<'_>, key: &str, least: f64) -> Option<Nanos> {
    let found = section.number(key, least..=FURTHEST_MS, "milliseconds")?;
    Some(millis(found.value))
}

fn moment(section: &Section<'_>, key: &str) -> Option<Nanos> {
    let found = section.number(key, 0.0..=LONGEST_S, "seconds")?;
    Some(secs(found.value))
}

fn chance(section: &Section<'_>, key: &str) -> Option<Chance> {
    let found = section.number(key, 0.0..=1.0, "")?;
    Some(Chance::new(found.value))
}

/// Bytes per second.
fn rate(section: &Section<'_>, key: &str) -> Option<u64> {
    let found = section.number(key, 0.001..=1_000_000.0, "Mbit/s")?;
    Some((found.value * 125_000.0).round() as u64)
}

fn read_algorithms(names: &[&str], source: &Source) -> Vec<Params> {
    let mut algorithms = Vec::new();
    for name in names {
        match Params::new(source.text(), name) {
            Ok(params) => algorithms.push(params),
            Err(error) => source.note(Problem::from(&error)),
        }
    }
    algorithms
}

fn read_control(section: Section<'_>) -> ControlSpec {
    let default = ControlSpec::default();
    let mut away: Vec<(Nanos, Nanos)> = Vec::new();
    for turn in section.sections("away").unwrap_or_default() {
        let from = moment(&turn, "from_s");
        let to = moment(&turn, "to_s");
        for key in ["from_s", "to_s"] {
            if !turn.has(key) {
                turn.missing(
                    key,
                    "when the control plane is killed, and when it is back, in seconds",
                );
            }
        }
        if let (Some(from), Some(to)) = (from, to) {
            let last = away.last().map_or(Nanos::ZERO, |(_, to)| *to);
            if from < last || to <= from {
                let found = turn.number("to_s", 0.0..=LONGEST_S, "seconds");
                if let Some(found) = found {
                    found.refused::<()>("must be after from_s, and from_s after those before");
                }
            } else {
                away.push((from, to));
            }
        }
        turn.finish();
    }
    let control = ControlSpec {
        delay: time(&section, "delay_ms", 0.0).unwrap_or(default.delay),
        loss: chance(&section, "loss").unwrap_or(default.loss),
        fallback_after: section
            .number("fallback_after_ms", 100.0..=60_000.0, "milliseconds")
            .map_or(default.fallback_after, |found| millis(found.value)),
        away,
    };
    section.finish();
    control
}

fn read_links(
    root: &Section<'_>,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Vec<LinkSpec> {
    if !root.has("link") {
        root.missing("link", "what flows go through, as [[link]]");
    }
    let mut links: Vec<LinkSpec> = Vec::new();
    for section in root.sections("link").unwrap_or_default() {
        let link = read_link(&section, load);
        if let Some(name) = section.text("name", "a text")
            && links.iter().any(|other| other.name == name.value)
        {
            name.refused::<()>("is another link's already");
        }
        section.finish();
        links.push(link);
    }
    if links.len() > MOST_LINKS {
        root.missing(
            "link",
            format_args!("there are {}, more than {MOST_LINKS}", links.len()),
        );
    }
    links
}

fn read_link(
    section: &Section<'_>,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
) -> LinkSpec {
    if !section.has("name") {
        section.missing("name", "what flows call it in their path");
    }
    let name = section
        .text("name", "a text")
        .map(|found| found.value.to_owned());
    let steady = rate(section, "rate_mbit");
    let trace = section.text("trace", "the path of a trace");
    let rate = match (section.has("rate_mbit"), trace) {
        (false, Some(found)) => read_trace(&found, load).map(|t| RateSpec::Trace(Arc::new(t))),
        (true, Some(found)) => found.refused("there is rate_mbit as well; one of the two"),
        (true, None) => steady.map(RateSpec::Steady),
        (false, None) => {
            if !section.has("trace") {
                section.missing("rate_mbit", "how fast it is, in Mbit/s; or `trace`");
            }
            None
        }
    };
    // What is wrong has been noted; the rest is still to be read.
    let rate = rate.unwrap_or(RateSpec::Steady(1));
    let queue = read_queue(section, &rate);
    LinkSpec {
        name: name.unwrap_or_default(),
        queue,
        rate,
        delay: time(section, "delay_ms", 0.0).unwrap_or_default(),
        jitter: time(section, "jitter_ms", 0.0).unwrap_or_default(),
        reorders: section.boolean("reorders").is_some_and(|found| found.value),
        loss: LossSpec {
            random: chance(section, "loss").unwrap_or_default(),
            burst: section.section("burst").map(read_burst),
            at: section
                .numbers("lose_at_s", 0.0..=LONGEST_S, "seconds")
                .unwrap_or_default()
                .iter()
                .map(|found| secs(found.value))
                .collect(),
            every: section
                .integer("lose_every", 2..=1_000_000_000, "packets")
                .map(|found| found.value),
        },
    }
}

fn read_trace(
    found: &Found<'_, &str>,
    load: &mut dyn FnMut(&str) -> Result<String, String>,
) -> Option<Trace> {
    let text = match load(found.value) {
        Ok(text) => text,
        Err(why) => return found.refused(why),
    };
    match Trace::parse(&text) {
        Ok(trace) => Some(trace),
        Err(why) => found.refused(format_args!("is no trace: {why}")),
    }
}

fn read_queue(section: &Section<'_>, rate: &RateSpec) -> QueueSpec {
    let rate = match rate {
        RateSpec::Steady(rate) => *rate,
        RateSpec::Trace(trace) => trace.average(),
    };
    let packets = section.integer("queue_packets", 1..=10_000_000, "packets");
    let span = section.number("queue_ms", 0.1..=FURTHEST_MS, "milliseconds");
    let limit = match (packets, span) {
        (Some(_), Some(span)) => span.refused("there is queue_packets as well; one of the two"),
        (Some(packets), None) => Some(packets.value * PACKET),
        (None, Some(span)) => Some((rate as f64 * span.value / 1e3) as u64),
        (None, None) => None,
    };
    let discipline = section.choice("discipline", &[("droptail", false), ("codel", true)]);
    let kind = if discipline.unwrap_or(false) {
        QueueKind::CoDel {
            target: time(section, "target_ms", 0.001).unwrap_or(Nanos::from_millis(5)),
            interval: time(section, "interval_ms", 0.001).unwrap_or(Nanos::from_millis(100)),
        }
    } else {
        let mark = section.integer("mark_packets", 0..=10_000_000, "packets");
        QueueKind::DropTail {
            mark_above: mark.map(|found| found.value * PACKET),
        }
    };
    QueueSpec {
        limit: limit.unwrap_or(100 * PACKET),
        kind,
    }
}

fn read_burst(section: Section<'_>) -> BurstSpec {
    for key in ["begin", "recover"] {
        if !section.has(key) {
            section.missing(
                key,
                "the probability, per packet, to go to or from the bad state",
            );
        }
    }
    let burst = BurstSpec {
        begin: chance(&section, "begin").unwrap_or_default(),
        recover: chance(&section, "recover").unwrap_or_default(),
        bad: chance(&section, "bad").unwrap_or(Chance::ALWAYS),
        good: chance(&section, "good").unwrap_or_default(),
    };
    section.finish();
    burst
}

/// The links of a path, by their places.
fn read_path(section: &Section<'_>, key: &str, links: &[&str]) -> Vec<u16> {
    let found = section.texts(key, "a list of names of links");
    let place = |found: &Found<'_, &str>| {
        let place = links.iter().position(|link| *link == found.value);
        match place.and_then(|place| u16::try_from(place).ok()) {
            Some(place) => Some(place),
            None => found.no_such("link", found.value, links),
        }
    };
    let mut path: Vec<u16> = found.unwrap_or_default().iter().filter_map(place).collect();
    // A packet counts the links that it has passed in a byte.
    path.truncate(usize::from(u8::MAX));
    path
}

fn read_flow(section: &Section<'_>, links: &[&str], algorithms: &[&str]) -> Vec<FlowSpec> {
    let name = section
        .text("name", "a text")
        .map(|found| found.value.to_owned());
    if !section.has("name") {
        section.missing("name", "what it is called in tables and plots");
    }
    let algorithm = section.text("algorithm", "the name of an algorithm");
    let algorithm = algorithm.and_then(|found| {
        if algorithms.contains(&found.value) {
            Some(found.value.to_owned())
        } else {
            found.no_such("algorithm", found.value, algorithms)
        }
    });
    let mut path = read_path(section, "path", links);
    if !section.has("path") {
        match links {
            [_] => path.push(0),
            _ => section.missing(
                "path",
                "the names of the links that it goes through, in order",
            ),
        }
    } else if path.is_empty() {
        section.missing("path[0]", "a flow goes through one link at least");
    }
    let spec = FlowSpec {
        name: name.unwrap_or_default(),
        algorithm,
        path,
        back: read_path(section, "back", links),
        delay: time(section, "delay_ms", 0.0).unwrap_or_default(),
        start: moment(section, "start_s").unwrap_or_default(),
        stop: moment(section, "stop_s"),
        app: read_app(section),
        tcp: read_tcp(section),
    };
    let count = section.integer("count", 1..=1_000, "flows");
    let every = moment(section, "every_s").unwrap_or_default();
    match count.map_or(1, |found| found.value) {
        1 => vec![spec],
        count => (0..count)
            .map(|nth| FlowSpec {
                name: format!("{} {}", spec.name, nth + 1),
                start: spec.start + Nanos(every.0 * nth),
                ..spec.clone()
            })
            .collect(),
    }
}

fn read_app(section: &Section<'_>) -> AppSpec {
    #[derive(Clone, Copy)]
    enum App {
        Bulk,
        OnOff,
        Responses,
        Limited,
    }
    let kinds = [
        ("bulk", App::Bulk),
        ("on-off", App::OnOff),
        ("responses", App::Responses),
        ("limited", App::Limited),
    ];
    let needs = |key, what: &str| {
        if !section.has(key) {
            section.missing(key, what);
        }
    };
    let size = || {
        let found = section.number("size_kb", 0.001..=1e9, "kilobytes")?;
        Some((found.value * 1e3).round() as u64)
    };
    match section.choice("app", &kinds).unwrap_or(App::Bulk) {
        App::Bulk => AppSpec::Bulk { bytes: size() },
        App::OnOff => {
            needs("on_s", "how long it sends, in seconds");
            needs("off_s", "how long it does not, in seconds");
            let span = |key| {
                let found = section.number(key, 0.001..=LONGEST_S, "seconds")?;
                Some(secs(found.value))
            };
            AppSpec::OnOff {
                on: span("on_s").unwrap_or(Nanos(1)),
                off: span("off_s").unwrap_or(Nanos(1)),
                random: section.boolean("random").is_some_and(|found| found.value),
            }
        }
        App::Responses => {
            needs("size_kb", "how large a response is, in kilobytes");
            AppSpec::Responses {
                bytes: size().unwrap_or(1),
                think: time(section, "think_ms", 0.0).unwrap_or_default(),
            }
        }
        App::Limited => {
            needs("rate_mbit", "how much it has to send, in Mbit/s");
            AppSpec::Limited {
                rate: rate(section, "rate_mbit").unwrap_or(1),
            }
        }
    }
}

fn read_tcp(section: &Section<'_>) -> TcpSpec {
    let default = TcpSpec::default();
    let whole = |key, range, unit, default| {
        let found = section.integer(key, range, unit);
        found.map_or(default, |found| {
            u32::try_from(found.value).unwrap_or(default)
        })
    };
    let flag = |key, default| section.boolean(key).map_or(default, |found| found.value);
    TcpSpec {
        mss: whole("mss", 100..=65_535, "bytes", default.mss),
        header: whole("header", 0..=1_000, "bytes", default.header),
        initial_window: whole(
            "initial_window",
            1..=1_000,
            "packets",
            default.initial_window,
        ),
        min_rto: time(section, "min_rto_ms", 1.0).unwrap_or(default.min_rto),
        paces: flag("pacing", default.paces),
        ecn: flag("ecn", default.ecn),
        ack_every: whole("ack_every", 1..=100, "packets", default.ack_every),
        ack_delay: time(section, "ack_delay_ms", 0.0).unwrap_or(default.ack_delay),
    }
}
