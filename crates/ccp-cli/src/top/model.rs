//! What there is to show, without a terminal.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use ccp_control::{FlowOrder, FlowStatus, Selected, Selection};
use clap::ValueEnum as _;

use super::MOST;
use super::keys::Action;
use crate::flows::Sort;

/// So many moments of a flow are kept.
pub(super) const MOMENTS: usize = 24;
/// More letters are not taken.
const LONGEST_FILTER: usize = 64;

/// What is shown, and how.
#[derive(Debug)]
pub(super) struct Model {
    sort: Sort,
    trend: Trend,
    words: Vec<String>,
    /// What is being typed.
    typed: Option<String>,
    paused: bool,
    offset: u32,
    interval: Duration,
    /// Something else has to be asked for.
    changed: bool,
    release: String,
    matching: u64,
    rows: Vec<Row>,
    past: HashMap<u64, Past>,
    error: Option<String>,
}

/// A flow, and what it was before.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) flow: FlowStatus,
    /// Data that reached the other end, or else nothing, in bytes per second since the last look.
    pub(super) goodput: Option<u64>,
    /// Reports per second since the last look.
    pub(super) reports: Option<f64>,
}

/// What of a flow is drawn over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trend {
    Cwnd,
    Rate,
    Rtt,
}

#[derive(Debug)]
struct Past {
    /// Window, rate, round-trip time.
    moments: VecDeque<[u64; 3]>,
    at: Instant,
    delivered: Option<u64>,
    reports: u64,
}

impl Model {
    pub(super) fn new(sort: Sort, words: &[String], interval: Duration) -> Self {
        Self {
            sort,
            trend: Trend::Cwnd,
            words: words.to_vec(),
            typed: None,
            paused: false,
            offset: 0,
            interval,
            changed: false,
            release: String::new(),
            matching: 0,
            rows: Vec::new(),
            past: HashMap::new(),
            error: None,
        }
    }

    /// What is to be asked to fill `rows` rows.
    pub(super) fn question(&self, rows: u16) -> Selection {
        Selection {
            words: self.words.clone(),
            order: Some(FlowOrder::from(self.sort)),
            limit: Some(self.offset.saturating_add(rows.into()).min(MOST)),
        }
    }

    /// Shows what was answered at the time `at`.
    pub(super) fn show(&mut self, selected: Selected, release: String, at: Instant) {
        self.error = None;
        self.release = release;
        self.matching = selected.matching;
        let mut past = std::mem::take(&mut self.past);
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX);
        // There may be fewer than there were.
        let offset = offset.min(selected.flows.len().saturating_sub(1));
        self.offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.rows.clear();
        for (place, flow) in selected.flows.into_iter().enumerate() {
            let mut known = past
                .remove(&flow.flow)
                .unwrap_or_else(|| Past::new(&flow, at));
            let (goodput, reports) = known.look(&flow, at);
            self.past.insert(flow.flow, known);
            if place >= offset {
                self.rows.push(Row {
                    flow,
                    goodput,
                    reports,
                });
            }
        }
    }

    /// The daemon did not answer; what was shown before stays.
    pub(super) fn fail(&mut self, error: String) {
        self.error = Some(error);
    }

    /// Does what is wanted. Returns whether to go on.
    pub(super) fn act(&mut self, action: Action) -> bool {
        match action {
            Action::Quit => return false,
            Action::Pause => {
                self.paused = !self.paused;
                self.changed = !self.paused;
            }
            Action::Sort(sort) => self.sort_by(sort),
            Action::NextSort => {
                let all = Sort::value_variants();
                let place = all.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                let next = all.get(place + 1).or_else(|| all.first());
                self.sort_by(next.copied().unwrap_or(self.sort));
            }
            Action::NextTrend => {
                self.trend = match self.trend {
                    Trend::Cwnd => Trend::Rate,
                    Trend::Rate => Trend::Rtt,
                    Trend::Rtt => Trend::Cwnd,
                };
            }
            Action::Scroll(rows) => {
                let last = u32::try_from(self.matching.saturating_sub(1)).unwrap_or(MOST);
                let offset = self.offset.saturating_add_signed(rows);
                self.offset = offset.min(last).min(MOST - 1);
                self.changed = true;
            }
            Action::Top => {
                self.offset = 0;
                self.changed = true;
            }
            Action::Type => self.typed = Some(self.words.join(" ")),
            Action::Letter(letter) => {
                if let Some(typed) = &mut self.typed
                    && typed.chars().count() < LONGEST_FILTER
                {
                    typed.push(letter);
                }
            }
            Action::Back => {
                if let Some(typed) = &mut self.typed {
                    typed.pop();
                }
            }
            Action::Accept => {
                if let Some(typed) = self.typed.take() {
                    self.filter_by(&typed);
                }
            }
            Action::Cancel => {
                if self.typed.take().is_none() {
                    self.filter_by("");
                }
            }
        }
        true
    }

    fn sort_by(&mut self, sort: Sort) {
        self.sort = sort;
        self.offset = 0;
        self.changed = true;
    }

    fn filter_by(&mut self, words: &str) {
        self.words = words.split_whitespace().map(str::to_owned).collect();
        self.offset = 0;
        self.changed = true;
    }

    /// Whether something else has to be asked for since this was last called.
    pub(super) const fn changed(&mut self) -> bool {
        std::mem::replace(&mut self.changed, false)
    }

    pub(super) const fn sort(&self) -> Sort {
        self.sort
    }

    pub(super) const fn trend(&self) -> Trend {
        self.trend
    }

    pub(super) fn words(&self) -> &[String] {
        &self.words
    }

    pub(super) fn typed(&self) -> Option<&str> {
        self.typed.as_deref()
    }

    pub(super) const fn paused(&self) -> bool {
        self.paused
    }

    pub(super) const fn offset(&self) -> u32 {
        self.offset
    }

    pub(super) const fn interval(&self) -> Duration {
        self.interval
    }

    pub(super) fn release(&self) -> &str {
        &self.release
    }

    pub(super) const fn matching(&self) -> u64 {
        self.matching
    }

    pub(super) fn rows(&self) -> &[Row] {
        &self.rows
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// The moments of a flow that are drawn, the latest last.
    pub(super) fn moments(&self, flow: u64) -> impl Iterator<Item = u64> {
        let place = match self.trend {
            Trend::Cwnd => 0,
            Trend::Rate => 1,
            Trend::Rtt => 2,
        };
        let moments = self.past.get(&flow).map(|past| &past.moments);
        moments
            .into_iter()
            .flatten()
            .map(move |moment| moment[place])
    }
}

impl Past {
    fn new(flow: &FlowStatus, at: Instant) -> Self {
        Self {
            moments: VecDeque::with_capacity(MOMENTS),
            at,
            delivered: flow.delivered_bytes,
            reports: flow.reports,
        }
    }

    /// Takes up how the flow is now; gives goodput and reports per second since before.
    fn look(&mut self, flow: &FlowStatus, at: Instant) -> (Option<u64>, Option<f64>) {
        if self.moments.len() == MOMENTS {
            self.moments.pop_front();
        }
        let moment = [flow.cwnd_bytes, flow.rate_bytes_per_s, flow.rtt_us];
        self.moments.push_back(moment);
        let seconds = at.duration_since(self.at).as_secs_f64();
        let (delivered, reports) = (self.delivered, self.reports);
        *self = Self {
            moments: std::mem::take(&mut self.moments),
            ..Self::new(flow, at)
        };
        if seconds <= 0.0 {
            return (None, None);
        }
        let more = flow.delivered_bytes.zip(delivered);
        let goodput = more.map(|(now, then)| (now.saturating_sub(then) as f64 / seconds) as u64);
        let reports = flow.reports.saturating_sub(reports) as f64 / seconds;
        (goodput, Some(reports))
    }
}
