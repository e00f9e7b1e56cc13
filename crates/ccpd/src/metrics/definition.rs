//! What is counted: each metric with its name, type, unit, meaning and labels, in one place. The Prometheus
//! endpoint, `ccp stats` and `docs/metrics.md` say what stands here.
//!
//! To count something new: add a line to a table below, call [`Metrics::count`](super::Metrics::count)
//! where it happens, and add the line to `docs/metrics.md` that the test `reference` asks for.

use std::borrow::Cow;

use ccp_control::MetricKind;

/// What there is to say of a metric, apart from its values.
#[derive(Clone, Debug)]
pub struct Definition {
    /// Its name in every output.
    pub name: Cow<'static, str>,
    /// What its values can do.
    pub kind: MetricKind,
    /// What is counted or measured: `reports`, `seconds`.
    pub unit: &'static str,
    /// What it means.
    pub help: Cow<'static, str>,
    /// The label that tells its values apart, if it has several.
    pub label: Option<&'static str>,
    /// The values of that label and what each means; empty if the configuration names them, or if there
    /// is no label.
    pub values: Vec<(&'static str, &'static str)>,
}

/// The static part of a [`Definition`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: MetricKind,
    pub(super) unit: &'static str,
    pub(super) help: &'static str,
    pub(super) label: Option<&'static str>,
    /// One for each value; those without a label have one without a name.
    pub(super) series: &'static [(&'static str, &'static str)],
}

/// A set of values that are kept together.
pub(super) trait Table {
    /// The metrics, whose values follow each other in this order.
    const FAMILIES: &'static [Family];
}

macro_rules! series {
    () => {
        ("", "")
    };
    ($value:expr, $meaning:literal) => {
        ($value, $meaning)
    };
}

macro_rules! label {
    () => {
        None
    };
    ($label:literal) => {
        Some($label)
    };
}

/// `Kind "name" ["unit"] "help"`, then either `{ Variant }`, or, with `by "label"`, one
/// `Variant = "value" => "what it means"` for each value of the label.
macro_rules! table {
    (
        $(#[$doc:meta])*
        $enum:ident:
        $(
            $kind:ident $name:literal [$unit:literal] $help:literal $(by $label:literal)?
            { $( $variant:ident $(= $value:expr => $meaning:literal)? ),+ $(,)? }
        )+
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(clippy::enum_variant_names, reason = "they are named like the metrics")]
        pub(crate) enum $enum { $($( $variant, )+)+ }

        impl $enum {
            /// How many values there are.
            pub(crate) const ALL: usize = [$($( Self::$variant, )+)+].len();
        }

        impl Table for $enum {
            const FAMILIES: &'static [Family] = &[$(Family {
                name: $name,
                kind: MetricKind::$kind,
                unit: $unit,
                help: $help,
                label: label!($($label)?),
                series: &[$( series!($($value, $meaning)?) ),+],
            }),+];
        }
    };
}

table! {
    /// Counted for the daemon as a whole.
    Count:

    Counter "ccpd_reports_total" ["reports"]
        "Reports that reached the algorithm of their flow." { Reports }
    Counter "ccpd_reports_merged_total" ["reports"]
        "Reports that a datapath could not send and made part of a later one." { ReportsMerged }
    Counter "ccpd_reports_dropped_total" ["reports"]
        "Reports that reached no algorithm." by "reason" {
        ReportsMissed = "missed" => "Newer ones of the same flow pushed them out before its algorithm took them; it was told how many.",
        ReportsStale = "stale" => "Of a program that the flow does not run any more, or of a flow that only its datapath steers.",
        ReportsUnknownFlow = "unknown_flow" => "Of a flow that was never announced, or has ended. Also ends of such flows.",
        ReportsUnknownProgram = "unknown_program" => "Of a program that was never installed.",
        ReportsWrongLength = "wrong_length" => "With more or fewer values than their program has.",
        ReportsEarlier = "earlier_announcement" => "Of an earlier announcement of their flow.",
        ReportsSuspended = "suspended" => "Of flows that their datapath had taken over and not announced again.",
    }
    Counter "ccpd_updates_total" ["updates"]
        "Updates sent to datapaths." { Updates }
    Counter "ccpd_updates_coalesced_total" ["updates"]
        "Decisions of algorithms that became part of an update that was still to be sent." { UpdatesCoalesced }
    Counter "ccpd_updates_refused_total" ["updates"]
        "Updates of algorithms that could not be, such as a window of 0, and had no effect." { UpdatesRefused }
    Counter "ccpd_updates_bounded_total" ["updates"]
        "Updates whose window was beyond what a flow can have, and was lowered to that." { UpdatesBounded }
    Counter "ccpd_group_updates_dropped_total" ["updates"]
        "Updates for another flow of the same group that found too many waiting." { GroupUpdatesDropped }
    Counter "ccpd_program_faults_total" ["invocations"]
        "Invocations of programs that had no effect because of a fault, where the datapath tells with the next announcement of the flow." { ProgramFaults }
    Counter "ccpd_flows_given_up_total" ["flows"]
        "Flows that lost their algorithm because their datapath took over again and again." { FlowsTakenOver }

    Counter "ccpd_malformed_frames_total" ["frames"]
        "Frames from datapaths that are no message." by "cause" {
        MalformedHeader = "header" => "Less than a header was left of a datagram.",
        MalformedLength = "length" => "The length in the header is too small or too large.",
        MalformedTruncated = "truncated" => "The datagram ends inside the frame.",
        MalformedBody = "body" => "The frame ends inside one of its fields.",
        MalformedCount = "count" => "It holds more of something than is taken.",
        MalformedValue = "value" => "A number means nothing in its place.",
        MalformedText = "text" => "A text is none, or not of the form demanded.",
        MalformedNetlink = "netlink" => "The header of a netlink message is wrong, or tells of an error.",
        MalformedOther = "other" => "Anything else.",
    }
    Counter "ccpd_messages_refused_total" ["messages"]
        "Well-formed messages from datapaths that were passed over." by "reason" {
        MessagesUnknown = "unknown" => "Of a type that this version does not know.",
        MessagesUnexpected = "unexpected" => "That only a control plane sends.",
        MessagesRepeated = "repeated" => "A second READY in one datagram.",
        MessagesSenseless = "senseless" => "An announcement that makes no sense: a segment of 0 bytes, a port above 65,535.",
    }
    Counter "ccpd_refusals_total" ["refusals"]
        "What was refused because of a limit, or because it cannot be trusted." by "why" {
        RefusedFlows = "flows" => "Announcements of flows beyond `max_flows`, `max_flows_per_user` or `max_flows_total` of a socket; they run natively.",
        RefusedDatapaths = "datapaths" => "Datagrams of datapaths beyond those that one socket serves.",
        RefusedUnanswerable = "unanswerable" => "Datagrams of senders that have no path, or whose path cannot be trusted or answered.",
        RefusedOtherUser = "other_user" => "Datagrams of another user than the one whose datapath has that path.",
        RefusedNotRoot = "not_root" => "Datagrams on netlink of others than the kernel and root.",
        RefusedFlooding = "flooding" => "Datapaths hung up on because they ask and never read, or send too much that is no message.",
        RefusedMuted = "muted" => "Datagrams of datapaths that were hung up on, for `mute_ms` after it.",
        RefusedControl = "control_clients" => "Clients of the control socket beyond those that are served at once.",
        RefusedScrapes = "metrics_clients" => "Connections to the metrics endpoint beyond those that are served at once.",
    }
    Counter "ccpd_netlink_overruns_total" ["overruns"]
        "How often datagrams on netlink were lost because they came faster than they were read." { NetlinkOverruns }
    Counter "ccpd_programs_refused_total" ["programs"]
        "Programs that a datapath does not run." { ProgramsRefused }
    Counter "ccpd_flows_without_their_algorithm_total" ["flows"]
        "Flows that got the default, or nothing, because their datapath does not run what the algorithm of their rule needs." { FlowsWithoutAlgorithm }
    Counter "ccpd_reloads_total" ["reloads"]
        "How often the configuration was read again." by "result" {
        ReloadsDone = "done" => "It was right, and is what holds now.",
        ReloadsRefused = "refused" => "Something was wrong with it: nothing changed.",
    }
    Gauge "ccpd_threads_held_up" ["threads"]
        "Threads that are with algorithms which do not come back." { ThreadsHeldUp }
    Gauge "ccpd_threads_spare" ["threads"]
        "Threads in reserve for those that algorithms hold up." { ThreadsSpare }
    Gauge "ccpd_datapaths" ["datapaths"]
        "Datapaths that are connected: each kernel TCP, and each that uses a socket." { Datapaths }
    Counter "ccpd_datapath_restarts_total" ["restarts"]
        "How often a datapath said that it has started again." { DatapathRestarts }
}

table! {
    /// Counted for each datapath of the configuration: its name is the label.
    OfDatapath:

    Gauge "ccpd_flows" ["flows"]
        "Flows under control now; one whose algorithm does not come back counts as another flow until it does." { Flows }
    Gauge "ccpd_flows_fallback" ["flows"]
        "Flows that their datapath steers because something failed, as far as the daemon knows." { FlowsFallback }
    Counter "ccpd_flows_opened_total" ["flows"]
        "Flows that came under control." { FlowsOpened }
    Counter "ccpd_flows_closed_total" ["flows"]
        "Flows that ended: their datapath said so, or was found without them." { FlowsClosed }
    Counter "ccpd_flows_lost_total" ["flows"]
        "Flows that ended because their datapath started again or went away." { FlowsLost }
    Counter "ccpd_flows_resumed_total" ["flows"]
        "How often flows were announced again: after a fallback, or to a new daemon." { FlowsResumed }
}

table! {
    /// Counted for each algorithm of the configuration: its name is the label.
    OfAlgorithm:

    Gauge "ccpd_algorithm_flows" ["flows"]
        "Flows that the algorithm steers now; `native` are those that only their datapath steers." { AlgorithmFlows }
    Counter "ccpd_algorithm_panics_total" ["panics"]
        "How often the algorithm panicked, which costs the flow a switch to the default algorithm." { Panics }
    Counter "ccpd_algorithm_quarantines_total" ["quarantines"]
        "How often the algorithm was taken from all flows because it did not come back from its work." { Quarantines }
    Gauge "ccpd_algorithm_quarantined" ["boolean"]
        "1 while no flow gets the algorithm because it did not come back from its work; a reload ends that." { Quarantined }
}

table! {
    /// Looked up when somebody asks.
    Looked:

    Gauge "ccpd_build_info" ["info"]
        "Always 1; the label tells the release of the daemon." by "version" {
        BuildInfo = env!("CARGO_PKG_VERSION") => "The release.",
    }
    Gauge "ccpd_uptime_seconds" ["seconds"]
        "How long the daemon has been running." { Uptime }
    Gauge "process_start_time_seconds" ["seconds"]
        "When the process was started, since 1970." { StartTime }
    Counter "process_cpu_seconds_total" ["seconds"]
        "Processor time that the process has used, in user space and in the kernel." { CpuTime }
    Gauge "process_resident_memory_bytes" ["bytes"]
        "Memory of the process that is in RAM." { ResidentMemory }
    Gauge "process_virtual_memory_bytes" ["bytes"]
        "Address space of the process." { VirtualMemory }
    Gauge "process_open_fds" ["descriptors"]
        "Open file descriptors of the process." { OpenFds }
    Counter "ccpd_log_lines_suppressed_total" ["lines"]
        "Lines that were not logged because there were too many of the same cause." { LogLinesSuppressed }
    Counter "ccpd_log_lines_lost_total" ["lines"]
        "Lines of the log that were lost because what takes it did not take them in time, or not at all." { LogLinesLost }
    Gauge "process_threads" ["threads"]
        "Threads of the process." { Threads }
}

/// The one distribution that is measured.
pub(super) const LATENCY: Family = Family {
    name: "ccpd_report_latency_seconds",
    kind: MetricKind::Histogram,
    unit: "seconds",
    help: "From when the daemon has read a report to when its algorithm's answer is written to the datapath. \
           One report in 16 is measured.",
    label: None,
    series: &[],
};

/// What the names of the kernel's counters begin with, for each name of kernel TCP.
pub(super) const KERNEL_PREFIX: &str = "ccpd_tcp_";

/// Every metric, in the order of every output.
#[must_use]
pub fn definitions() -> Vec<Definition> {
    let mut all = Vec::new();
    all.extend(Looked::FAMILIES.iter().map(|f| f.define(None)));
    all.extend(
        OfDatapath::FAMILIES
            .iter()
            .map(|f| f.define(Some("datapath"))),
    );
    all.extend(
        OfAlgorithm::FAMILIES
            .iter()
            .map(|f| f.define(Some("algorithm"))),
    );
    all.extend(Count::FAMILIES.iter().map(|f| f.define(None)));
    all.push(LATENCY.define(None));
    all.extend(kernel());
    all
}

/// What the kernel side of each kernel TCP counts.
pub(super) fn kernel() -> impl Iterator<Item = Definition> {
    let counters = ccp_ebpf::Counters::described();
    counters.map(|(name, help)| {
        let is_gauge = name == "slots_in_use";
        let end = if is_gauge { "" } else { "_total" };
        Definition {
            name: format!("{KERNEL_PREFIX}{name}{end}").into(),
            kind: if is_gauge {
                MetricKind::Gauge
            } else {
                MetricKind::Counter
            },
            unit: "events",
            help: format!("In the kernel: {}", without_links(help)).into(),
            label: Some("datapath"),
            values: Vec::new(),
        }
    })
}

/// The text of a documentation comment as it is read: of its links, what they show.
pub(super) fn without_links(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, link)) = rest.split_once("[`") {
        plain.push_str(before);
        let Some((shown, after)) = link.split_once("`]") else {
            rest = link;
            break;
        };
        plain.push_str(shown);
        rest = match after.strip_prefix('(').and_then(|to| to.split_once(')')) {
            Some((_, after)) => after,
            None => after,
        };
    }
    plain.push_str(rest);
    plain
}

impl Family {
    /// With the label `outer` if the configuration names its values.
    fn define(&self, outer: Option<&'static str>) -> Definition {
        Definition {
            name: self.name.into(),
            kind: self.kind,
            unit: self.unit,
            help: self.help.into(),
            label: outer.or(self.label),
            values: match self.label {
                Some(_) => self.series.to_vec(),
                None => Vec::new(),
            },
        }
    }
}
