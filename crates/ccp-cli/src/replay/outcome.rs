//! What came out.

use std::collections::BTreeMap;

use serde::Serialize;

/// What was run again, and what it did.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) source: Source,
    /// Nothing was changed: nothing should differ.
    pub(super) as_recorded: bool,
    pub(super) flows: Vec<FlowOutcome>,
}

/// The recording.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Source {
    pub(super) file: String,
    /// Of the daemon.
    pub(super) release: String,
    pub(super) first_us: u64,
    pub(super) last_us: u64,
    /// So many events are missing.
    pub(super) lost: u64,
    /// Whether it was ended, not cut.
    pub(super) whole: bool,
}

impl Source {
    /// Seconds since the recording began.
    pub(super) fn seconds(&self, time_us: u64) -> f64 {
        time_us.saturating_sub(self.first_us) as f64 / 1e6
    }
}

/// One flow.
#[derive(Debug)]
pub(super) struct FlowOutcome {
    pub(super) flow: u64,
    pub(super) mss: u32,
    pub(super) recorded: Side,
    pub(super) replayed: Side,
    /// Only if nothing was changed and the recording has all that it takes.
    pub(super) compared: Option<Compared>,
    /// Why it was not run again to the end.
    pub(super) refused: Option<String>,
    pub(super) notes: Vec<String>,
}

/// What an algorithm did.
#[derive(Clone, Debug, Default)]
pub(super) struct Side {
    pub(super) algorithm: String,
    pub(super) reports: u64,
    pub(super) updates: u64,
    /// What it set, by name, when, and to what: `Cwnd` in bytes, `Rate` in bytes per second, control
    /// variables of its program.
    pub(super) set: BTreeMap<String, Vec<(u64, u64)>>,
    /// The window in bytes as its reports found it: programs set it too.
    pub(super) seen: Vec<(u64, u64)>,
}

impl Side {
    /// An update with these values was sent.
    pub(super) fn updated(&mut self, time_us: u64, fields: &[(String, u64)]) {
        self.updates += 1;
        for (name, value) in fields {
            match self.set.get_mut(name) {
                Some(series) => series.push((time_us, *value)),
                None => {
                    self.set.insert(name.clone(), vec![(time_us, *value)]);
                }
            }
        }
    }

    /// What it set `name` to.
    pub(super) fn series(&self, name: &str) -> &[(u64, u64)] {
        self.set.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Values in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Spread {
    /// How many.
    pub(super) times: u64,
    pub(super) least: u64,
    pub(super) median: u64,
    pub(super) most: u64,
    pub(super) last: u64,
}

impl Spread {
    /// Of `series`, if there is anything in it.
    pub(super) fn of(series: &[(u64, u64)]) -> Option<Self> {
        let (_, last) = *series.last()?;
        let mut values: Vec<u64> = series.iter().map(|(_, value)| *value).collect();
        values.sort_unstable();
        Some(Self {
            times: values.len() as u64,
            least: *values.first()?,
            median: *values.get(values.len() / 2)?,
            most: *values.last()?,
            last,
        })
    }
}

/// Updates beside the recorded ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Compared {
    /// How many recorded ones were looked at.
    pub(super) updates: u64,
    /// How many of them differ.
    pub(super) differing: u64,
    pub(super) first: Option<Difference>,
}

/// Two updates that differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// Which update of the flow, from 1.
    pub(super) update: u64,
    pub(super) time_us: u64,
    pub(super) recorded: String,
    pub(super) replayed: String,
}

impl FlowOutcome {
    /// What either side set, the window and the rate first.
    pub(super) fn names(&self) -> Vec<&str> {
        let both = self.recorded.set.keys().chain(self.replayed.set.keys());
        let mut names: Vec<&str> = both.map(String::as_str).collect();
        let place = |name: &str| match name {
            "Cwnd" => 0,
            "Rate" => 1,
            _ => 2,
        };
        names.sort_unstable_by_key(|name| (place(name), *name));
        names.dedup();
        names
    }

    /// Both sides, with what they are called.
    pub(super) const fn sides(&self) -> [(&'static str, &Side); 2] {
        [("recorded", &self.recorded), ("replayed", &self.replayed)]
    }
}

impl Outcome {
    /// Every flow was run, and as recorded if nothing was changed.
    pub(super) fn is_good(&self) -> bool {
        self.flows.iter().all(|flow| {
            let same = flow.compared.as_ref().is_none_or(|c| c.differing == 0);
            flow.refused.is_none() && same
        })
    }

    /// The flows of which there is anything to show.
    pub(super) fn shown(&self) -> impl Iterator<Item = &FlowOutcome> {
        let reported = |flow: &&FlowOutcome| flow.recorded.reports > 0 || flow.recorded.updates > 0;
        self.flows.iter().filter(reported)
    }

    /// For scripts.
    pub(super) fn summary(&self) -> impl Serialize {
        let flows = self.flows.iter().map(|flow| FlowSummary {
            flow: flow.flow,
            mss_bytes: flow.mss,
            recorded: SideSummary::of(&flow.recorded),
            replayed: SideSummary::of(&flow.replayed),
            compared: flow.compared.clone(),
            refused: flow.refused.clone(),
            notes: flow.notes.clone(),
        });
        Summary {
            recording: self.source.clone(),
            flows: flows.collect(),
        }
    }
}

#[derive(Serialize)]
struct Summary {
    recording: Source,
    flows: Vec<FlowSummary>,
}

#[derive(Serialize)]
struct FlowSummary {
    flow: u64,
    mss_bytes: u32,
    recorded: SideSummary,
    replayed: SideSummary,
    compared: Option<Compared>,
    refused: Option<String>,
    notes: Vec<String>,
}

#[derive(Serialize)]
struct SideSummary {
    algorithm: String,
    reports: u64,
    updates: u64,
    /// By name.
    set: BTreeMap<String, Spread>,
    window_seen_bytes: Option<Spread>,
}

impl SideSummary {
    fn of(side: &Side) -> Self {
        Self {
            algorithm: side.algorithm.clone(),
            reports: side.reports,
            updates: side.updates,
            set: side
                .set
                .iter()
                .filter_map(|(name, series)| Some((name.clone(), Spread::of(series)?)))
                .collect(),
            window_seen_bytes: Spread::of(&side.seen),
        }
    }
}
