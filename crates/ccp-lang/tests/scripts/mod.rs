//! What published programs do, as scripts: `programs/NAME.acks` beside `programs/NAME.ccp`. Shared
//! by tests that run them on different machines.
//!
//! A line is one acknowledgement and what follows from it:
//!
//! ```text
//! TIME NAME VALUE … => [cwnd BYTES] [rate BYTES] [report NAME VALUE …]
//! ```
//!
//! TIME is in microseconds, `+N` that much later, `+N*COUNT` so many times. Measurements are named
//! without `Ack.` and `Flow.`; those of the flow stay until they change, those of an acknowledgement
//! and `was_timeout` are zero unless said. Window and rate stay what they are unless said;
//! without `report` there is none, and of a report what is named is compared.
//! `set NAME VALUE` is the agent: a control variable, `Cwnd` or `Rate`. `#` begins a comment.

use std::collections::BTreeMap;

/// What runs one program on one flow.
pub(crate) trait Machine {
    /// The agent sets a control variable.
    fn set(&mut self, control: &str, value: u64);

    /// One acknowledgement with this window and rate; the report if there is one.
    fn ack(
        &mut self,
        measured: &Measured,
        window: &mut [u64; 2],
        now_us: u64,
    ) -> Option<BTreeMap<String, u64>>;
}

/// The measurements by their short names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured(BTreeMap<String, u64>);

impl Measured {
    pub(crate) fn get(&self, name: &str) -> u64 {
        let short = name.split_once('.').map_or(name, |(_, short)| short);
        self.0.get(short).copied().unwrap_or(0)
    }

    fn next(&mut self) {
        const LASTING: [&str; 6] = [
            "bytes_in_flight",
            "bytes_pending",
            "packets_in_flight",
            "rate_incoming",
            "rate_outgoing",
            "rtt_sample_us",
        ];
        self.0.retain(|name, _| LASTING.contains(&name.as_str()));
    }
}

/// Runs `script` on `machine`; gives how many reports there were.
pub(crate) fn run(name: &str, script: &str, machine: &mut impl Machine) -> usize {
    let mut measured = Measured::default();
    let (mut now, mut reports) = (0, 0);
    let mut window = [14_480, 0];
    let mut expected = window;
    for (number, line) in (1..).zip(script.lines()) {
        let line = line.split('#').next().unwrap_or("").trim();
        let place = format!("{name}.acks:{number}: {line}");
        if line.is_empty() {
            continue;
        }
        if let Some(rest) = line.strip_prefix("set ") {
            let (what, value) = rest.trim().split_once(' ').expect(&place);
            let value = value.trim().parse().expect(&place);
            match what {
                "Cwnd" => (window[0], expected[0]) = (value, value),
                "Rate" => (window[1], expected[1]) = (value, value),
                control => machine.set(control, value),
            }
            continue;
        }
        let (given, follows) = line.split_once("=>").expect(&place);
        let mut given = given.split_whitespace();
        let time = given.next().expect(&place);
        let (step, times) = match time.strip_prefix('+') {
            Some(step) => {
                let (step, times) = step.split_once('*').unwrap_or((step, "1"));
                (
                    Some(step.parse().expect(&place)),
                    times.parse().expect(&place),
                )
            }
            None => (None, 1),
        };
        let at = time.parse().unwrap_or(now);
        measured.next();
        for (name, value) in pairs(given, &place) {
            measured.0.insert(name.to_owned(), value);
        }
        let mut follows = follows.split_whitespace();
        let mut report = None;
        while let Some(word) = follows.next() {
            let mut value = || follows.next().and_then(|v| v.parse().ok()).expect(&place);
            match word {
                "cwnd" => expected[0] = value(),
                "rate" => expected[1] = value(),
                "report" => {
                    report = Some(pairs(&mut follows, &place));
                }
                other => panic!("{place}: {other}?"),
            }
        }
        for _ in 0..times {
            now = step.map_or(at, |step: u64| now + step);
            measured.0.insert("now".to_owned(), now);
            let got = machine.ack(&measured, &mut window, now);
            assert_eq!(window, expected, "window and rate at {place}");
            match (&got, &report) {
                (None, None) => {}
                (Some(got), Some(report)) => {
                    reports += 1;
                    for (name, value) in report {
                        assert_eq!(got.get(*name), Some(value), "{name} at {place}: {got:?}");
                    }
                }
                _ => panic!("{place}: the report is {got:?}"),
            }
        }
    }
    reports
}

fn pairs<'w>(words: impl Iterator<Item = &'w str>, place: &str) -> Vec<(&'w str, u64)> {
    let words: Vec<&str> = words.collect();
    words
        .chunks(2)
        .map(|pair| match pair {
            [name, value] => (*name, value.parse().expect(place)),
            _ => panic!("{place}: a name without a value"),
        })
        .collect()
}

macro_rules! published {
    ($($name:literal)*) => {
        [$((
            $name,
            include_str!(concat!("../programs/", $name, ".ccp")),
            include_str!(concat!("../programs/", $name, ".acks")),
        )),*]
    };
}

/// Every published program: its name, its text and its script.
pub(crate) const PUBLISHED: [(&str, &str, &str); 23] = published!(
    "aimd" "bare" "bbr_cycle" "bbr_init" "bbr_probe_bw" "bbr_probe_rtt" "copa" "cycle_and_choice" "gca_ack" "gca_interval"
    "gca_rtt" "gca_slow_start" "minrtt" "nimbus" "portus_basic" "portus_ecn" "portus_forms"
    "portus_preset" "portus_timing" "portus_twoflow" "portus_update" "portus_volatile" "vegas"
);
