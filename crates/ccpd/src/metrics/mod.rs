//! What the daemon counts, for the Prometheus endpoint and `ccp stats`.
//!
//! Counting takes no lock and no memory; several threads that count the same thing do so each in memory
//! of its own. What is counted is bounded: nothing is kept per flow, and labels have the values that this
//! code or the configuration names.

mod definition;
mod process;
mod server;
mod text;
mod values;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use ccp_control::{Metric, MetricSample, MetricValue};
use ccp_core::{Counts, FlowMode, SessionStats};
use ccp_wire::DecodeError;

use crate::log::{LogLimit, LogWriter};

pub(crate) use definition::{Count, OfAlgorithm, OfDatapath};
pub use definition::{Definition, definitions};

pub use server::MetricsError;
pub(crate) use server::MetricsServer;

use definition::{Family, LATENCY, Looked, Table};
use process::Process;
use values::{Latencies, Sharded, Values};

/// The name of flows that only their datapath steers among those of algorithms.
const NATIVE: &str = "native";
/// At most so many names are told apart: after many reloads with ever new ones the rest is one.
const MOST_NAMES: usize = 256;
const OTHERS: &str = "others";
/// One report in so many is measured.
const MEASURE_EVERY: u32 = 16;

/// What the daemon has counted.
#[derive(Debug)]
pub(crate) struct Metrics {
    since: Instant,
    counts: Sharded<{ Count::ALL }>,
    latencies: Latencies,
    datapaths: Mutex<BTreeMap<String, Arc<DatapathMetrics>>>,
    algorithms: Mutex<BTreeMap<String, Arc<AlgorithmMetrics>>>,
    log: OnceLock<LogLimit>,
    written: OnceLock<LogWriter>,
}

/// What is counted of one datapath.
#[derive(Debug)]
pub(crate) struct DatapathMetrics {
    values: Values<OfDatapath>,
    /// What its kernel side has counted, if it has one.
    kernel: Mutex<Option<ccp_ebpf::Counters>>,
}

/// What is counted of one algorithm.
#[derive(Debug)]
pub(crate) struct AlgorithmMetrics {
    values: Values<OfAlgorithm>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        Self {
            since: Instant::now(),
            counts: Sharded::new(),
            latencies: Latencies::default(),
            datapaths: Mutex::default(),
            algorithms: Mutex::default(),
            log: OnceLock::new(),
            written: OnceLock::new(),
        }
    }

    /// What is left out of the log is counted by `limit`.
    pub(crate) fn count_log(&self, limit: LogLimit) {
        // There is one log.
        let _ = self.log.set(limit);
    }

    /// What of the log is lost is counted by `writer`.
    pub(crate) fn count_written(&self, writer: LogWriter) {
        let _ = self.written.set(writer);
    }

    /// It happened `times` more.
    pub(crate) fn count(&self, what: Count, times: u64) {
        if times > 0 {
            self.counts.add(what as usize, times);
        }
    }

    /// One less: for what also goes down.
    pub(crate) fn uncount(&self, what: Count) {
        self.counts.add(what as usize, 1_u64.wrapping_neg());
    }

    /// A frame that is no message.
    pub(crate) fn malformed(&self, error: &DecodeError) {
        let cause = match error {
            DecodeError::NoHeader { .. } => Count::MalformedHeader,
            DecodeError::LengthTooSmall { .. } | DecodeError::LengthTooLarge { .. } => {
                Count::MalformedLength
            }
            DecodeError::Truncated { .. } => Count::MalformedTruncated,
            DecodeError::BodyTooShort { .. } => Count::MalformedBody,
            DecodeError::TooMany { .. } => Count::MalformedCount,
            DecodeError::BadValue { .. } => Count::MalformedValue,
            DecodeError::BadText { .. } => Count::MalformedText,
        };
        self.count(cause, 1);
    }

    /// A report that was read so long ago has been dealt with.
    pub(crate) fn answered(&self, took: Duration) {
        self.latencies.observe(took);
    }

    /// What a flow has counted `now`, and had `before`.
    pub(crate) fn flow(&self, before: &Counts, now: &Counts) {
        for (what, before, now) in [
            (Count::Reports, before.reports, now.reports),
            (Count::Updates, before.updates, now.updates),
            (Count::ReportsMerged, before.merged, now.merged),
            (Count::ReportsMissed, before.missed, now.missed),
            (Count::ReportsStale, before.stale, now.stale),
            (Count::UpdatesCoalesced, before.coalesced, now.coalesced),
            (Count::UpdatesRefused, before.refused, now.refused),
            (Count::UpdatesBounded, before.bounded, now.bounded),
            (Count::ProgramFaults, before.faults, now.faults),
        ] {
            self.count(what, now.wrapping_sub(before));
        }
    }

    /// What a session with a datapath has counted `now`, and had `before`.
    pub(crate) fn session(
        &self,
        datapath: &DatapathMetrics,
        before: &SessionStats,
        now: &SessionStats,
    ) {
        for (what, before, now) in [
            (
                OfDatapath::FlowsOpened,
                before.flows_opened,
                now.flows_opened,
            ),
            (
                OfDatapath::FlowsClosed,
                before.flows_closed,
                now.flows_closed,
            ),
            (OfDatapath::FlowsLost, before.flows_lost, now.flows_lost),
            (
                OfDatapath::FlowsResumed,
                before.flows_resumed,
                now.flows_resumed,
            ),
        ] {
            datapath.count(what, now.wrapping_sub(before));
        }
        for (what, before, now) in [
            (Count::RefusedFlows, before.flows_refused, now.flows_refused),
            (
                Count::FlowsWithoutAlgorithm,
                before.flows_without_their_algorithm,
                now.flows_without_their_algorithm,
            ),
            (
                Count::MessagesSenseless,
                before.bad_creates,
                now.bad_creates,
            ),
            (
                Count::MessagesUnknown,
                before.unknown_messages,
                now.unknown_messages,
            ),
            (
                Count::MessagesUnexpected,
                before.unexpected_messages,
                now.unexpected_messages,
            ),
            (
                Count::ReportsUnknownFlow,
                before.reports_of_unknown_flows,
                now.reports_of_unknown_flows,
            ),
            (
                Count::ReportsUnknownProgram,
                before.reports_of_unknown_programs,
                now.reports_of_unknown_programs,
            ),
            (
                Count::ReportsWrongLength,
                before.reports_of_wrong_length,
                now.reports_of_wrong_length,
            ),
            (
                Count::ReportsEarlier,
                before.reports_of_earlier_announcements,
                now.reports_of_earlier_announcements,
            ),
            (
                Count::ReportsSuspended,
                before.reports_while_suspended,
                now.reports_while_suspended,
            ),
            (
                Count::ProgramsRefused,
                before.programs_refused,
                now.programs_refused,
            ),
            (Count::DatapathRestarts, before.restarts, now.restarts),
        ] {
            self.count(what, now.wrapping_sub(before));
        }
    }

    /// The datapath of the configuration called `name`.
    pub(crate) fn datapath(&self, name: &str) -> Arc<DatapathMetrics> {
        named(&self.datapaths, name, || DatapathMetrics {
            values: Values::new(OfDatapath::ALL),
            kernel: Mutex::default(),
        })
    }

    /// The algorithm called `name`; `None` is what datapaths have themselves.
    pub(crate) fn algorithm(&self, name: Option<&str>) -> Arc<AlgorithmMetrics> {
        named(&self.algorithms, name.unwrap_or(NATIVE), || {
            AlgorithmMetrics {
                values: Values::new(OfAlgorithm::ALL),
            }
        })
    }

    /// Everything, in the order of [`definitions`].
    pub(crate) fn gather(&self) -> Vec<Metric> {
        let mut all = self.looked();
        let datapaths: Vec<_> = entries(&self.datapaths);
        let algorithms: Vec<_> = entries(&self.algorithms);
        per(&mut all, "datapath", &datapaths);
        per(&mut all, "algorithm", &algorithms);
        let mut place = 0;
        for family in Count::FAMILIES {
            let samples = family.series.iter().map(|(value, _)| {
                let whole = MetricValue::Whole(self.counts.value(place));
                place += 1;
                family.sample(value, whole)
            });
            let samples = samples.collect();
            all.push(family.metric(samples));
        }
        all.push(LATENCY.metric(vec![LATENCY.sample("", self.latencies.value())]));
        all.extend(kernel(&datapaths));
        all
    }

    fn looked(&self) -> Vec<Metric> {
        let process = Process::now();
        let suppressed = self.log.get().map_or(0, LogLimit::suppressed) as f64;
        let lost = self.written.get().map_or(0, LogWriter::lost) as f64;
        let mut values = [0.0; Looked::ALL];
        for (what, value) in [
            (Looked::BuildInfo, 1.0),
            (Looked::Uptime, self.since.elapsed().as_secs_f64()),
            (Looked::StartTime, process.start_time),
            (Looked::CpuTime, process.cpu),
            (Looked::ResidentMemory, process.resident),
            (Looked::VirtualMemory, process.address_space),
            (Looked::OpenFds, process.descriptors),
            (Looked::Threads, process.threads),
            (Looked::LogLinesSuppressed, suppressed),
            (Looked::LogLinesLost, lost),
        ] {
            values[what as usize] = value;
        }
        let families = Looked::FAMILIES.iter().zip(values);
        families
            .map(|(family, value)| {
                let name = family.series.first().map_or("", |(name, _)| name);
                family.metric(vec![family.sample(name, MetricValue::Number(value))])
            })
            .collect()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl DatapathMetrics {
    fn count(&self, what: OfDatapath, times: u64) {
        self.values.add_at(what as usize, times);
    }

    /// What its kernel side has counted since it was loaded.
    pub(crate) fn set_kernel(&self, counters: ccp_ebpf::Counters) {
        *self.kernel.lock().unwrap_or_else(PoisonError::into_inner) = Some(counters);
    }
}

impl AlgorithmMetrics {
    /// It happened once more.
    pub(crate) fn count(&self, what: OfAlgorithm) {
        self.values.add_at(what as usize, 1);
    }

    /// It is so from now on.
    pub(crate) fn set(&self, what: OfAlgorithm, to: bool) {
        self.values.set_at(what as usize, to.into());
    }
}

/// Counts one flow as long as there is one, where it belongs at the moment.
#[derive(Debug)]
pub(crate) struct CountedFlow {
    datapath: Arc<DatapathMetrics>,
    algorithm: Arc<AlgorithmMetrics>,
    on_fallback: bool,
}

impl CountedFlow {
    pub(crate) fn new(datapath: Arc<DatapathMetrics>, algorithm: Arc<AlgorithmMetrics>) -> Self {
        datapath.count(OfDatapath::Flows, 1);
        algorithm.count(OfAlgorithm::AlgorithmFlows);
        Self {
            datapath,
            algorithm,
            on_fallback: false,
        }
    }

    /// Another algorithm has it.
    pub(crate) fn belongs_to(&mut self, algorithm: Arc<AlgorithmMetrics>) {
        algorithm.count(OfAlgorithm::AlgorithmFlows);
        let before = std::mem::replace(&mut self.algorithm, algorithm);
        before.leave();
    }

    /// Who decides on its window.
    pub(crate) fn is_in(&mut self, mode: FlowMode) {
        let now = mode == FlowMode::Fallback;
        if now != self.on_fallback {
            self.on_fallback = now;
            let more = if now { 1 } else { MINUS_ONE };
            self.datapath.count(OfDatapath::FlowsFallback, more);
        }
    }
}

/// Added to a value, it is one less.
const MINUS_ONE: u64 = u64::MAX;

impl AlgorithmMetrics {
    fn leave(&self) {
        self.values
            .add_at(OfAlgorithm::AlgorithmFlows as usize, MINUS_ONE);
    }
}

impl Drop for CountedFlow {
    fn drop(&mut self) {
        self.is_in(FlowMode::Native);
        self.algorithm.leave();
        self.datapath.count(OfDatapath::Flows, MINUS_ONE);
    }
}

impl Family {
    fn metric(&self, samples: Vec<MetricSample>) -> Metric {
        Metric {
            name: self.name.to_owned(),
            kind: self.kind,
            unit: self.unit.to_owned(),
            help: self.help.to_owned(),
            samples,
        }
    }

    /// Its value for the value `of` its label, if it has one.
    fn sample(&self, of: &str, value: MetricValue) -> MetricSample {
        MetricSample {
            label: self.label.map(|label| (label.to_owned(), of.to_owned())),
            value,
        }
    }
}

type Named<T> = Mutex<BTreeMap<String, Arc<T>>>;

fn locked<T>(all: &Named<T>) -> MutexGuard<'_, BTreeMap<String, Arc<T>>> {
    // Nothing that holds the lock can leave it half done.
    all.lock().unwrap_or_else(PoisonError::into_inner)
}

fn named<T>(all: &Named<T>, name: &str, new: impl FnOnce() -> T) -> Arc<T> {
    let mut all = locked(all);
    if let Some(known) = all.get(name) {
        return Arc::clone(known);
    }
    let name = if all.len() < MOST_NAMES { name } else { OTHERS };
    Arc::clone(
        all.entry(name.to_owned())
            .or_insert_with(|| Arc::new(new())),
    )
}

fn entries<T>(all: &Named<T>) -> Vec<(String, Arc<T>)> {
    let all = locked(all);
    let entry = |(name, of): (&String, &Arc<T>)| (name.clone(), Arc::clone(of));
    all.iter().map(entry).collect()
}

/// The metrics of the table that [`PerName`] says, for each of `names`.
fn per<T: PerName>(to: &mut Vec<Metric>, label: &str, names: &[(String, Arc<T>)]) {
    for (place, family) in T::Values::FAMILIES.iter().enumerate() {
        let sample = |(name, of): &(String, Arc<T>)| MetricSample {
            label: Some((label.to_owned(), name.clone())),
            value: MetricValue::Whole(of.values().value(place)),
        };
        to.push(family.metric(names.iter().map(sample).collect()));
    }
}

/// Something with a name in the configuration that has a table of values.
trait PerName {
    type Values: Table;
    fn values(&self) -> &Values<Self::Values>;
}

impl PerName for DatapathMetrics {
    type Values = OfDatapath;
    fn values(&self) -> &Values<OfDatapath> {
        &self.values
    }
}

impl PerName for AlgorithmMetrics {
    type Values = OfAlgorithm;
    fn values(&self) -> &Values<OfAlgorithm> {
        &self.values
    }
}

/// What the kernel side of each kernel TCP has counted.
fn kernel(datapaths: &[(String, Arc<DatapathMetrics>)]) -> Vec<Metric> {
    let counted: Vec<(&String, Vec<_>)> = datapaths
        .iter()
        .filter_map(|(name, of)| {
            let kernel = of.kernel.lock().unwrap_or_else(PoisonError::into_inner);
            Some((name, (*kernel)?.iter()))
        })
        .collect();
    let metric = |(place, definition): (usize, Definition)| Metric {
        name: definition.name.into_owned(),
        kind: definition.kind,
        unit: definition.unit.to_owned(),
        help: definition.help.into_owned(),
        samples: counted
            .iter()
            .filter_map(|(name, values)| {
                let (_, value) = values.get(place)?;
                Some(MetricSample {
                    label: Some(("datapath".to_owned(), (*name).clone())),
                    value: MetricValue::Whole(*value),
                })
            })
            .collect(),
    };
    definition::kernel().enumerate().map(metric).collect()
}

/// Says which reports are measured: one in [`MEASURE_EVERY`] of those that one reader reads.
#[derive(Debug, Default)]
pub(crate) struct Sampler(u32);

impl Sampler {
    /// Whether the next one is.
    pub(crate) const fn next(&mut self) -> bool {
        self.0 = self.0.wrapping_add(1);
        self.0.is_multiple_of(MEASURE_EVERY)
    }
}

#[cfg(test)]
mod tests;
