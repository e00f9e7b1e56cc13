//! What a daemon has taken over: which flows, how soon after its start, with which window and algorithm.

use std::{
    collections::HashMap,
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use ccp_control::FlowStatus;
use ccp_lab::SwarmMember;

use crate::fairness::{Sample, Seen, is_no_chance};

/// A new daemon is to have every flow that sends so long after its start.
pub(crate) const WITHIN: Duration = Duration::from_secs(1);
/// What an acknowledgement needs at most to become a flow in the daemon's list.
pub(crate) const ANNOUNCED_WITHIN: Duration = Duration::from_millis(100);
/// So long after it was taken over, a flow runs its program: some acknowledgements have come.
const RUNS_AFTER: Duration = Duration::from_millis(150);

/// How long each thread of a process has waited for a processor that others had.
#[derive(Debug, Clone, Default)]
pub(crate) struct Waited(HashMap<String, Duration>);

impl Waited {
    /// Until now.
    pub(crate) fn of(pid: u32) -> Self {
        let threads = fs::read_dir(format!("/proc/{pid}/task"));
        let waited = threads.into_iter().flatten().flatten().map(|thread| {
            let text = fs::read_to_string(thread.path().join("schedstat")).unwrap_or_default();
            let waited = text
                .split_whitespace()
                .nth(1)
                .and_then(|ns| ns.parse().ok());
            let name = thread.file_name().to_string_lossy().into_owned();
            (name, Duration::from_nanos(waited.unwrap_or(0)))
        });
        Self(waited.collect())
    }

    /// What its work has waited since `before`: first on its first thread, and then on one at a time of the others,
    /// of which that counts which waited longest. Where that is long, the machine is so busy that what the kernel
    /// does for it waits as well, which is counted nowhere: then all count.
    pub(crate) fn since(&self, pid: u32, before: &Self) -> Duration {
        let first = pid.to_string();
        let since = |name: &String| {
            let now = self.0.get(name).copied().unwrap_or_default();
            now.saturating_sub(before.0.get(name).copied().unwrap_or_default())
        };
        let others = || self.0.keys().filter(|name| **name != first).map(since);
        let waited = since(&first) + others().max().unwrap_or_default();
        if waited < WITHIN / 2 {
            waited
        } else {
            since(&first) + others().sum::<Duration>()
        }
    }
}

/// What a flow is to get: the receivers' port, and the algorithm of its rule.
pub(crate) type Rules = [(u16, &'static str)];

/// When each of the first flows was taken over, as its daemon says.
#[derive(Debug)]
pub(crate) struct Adopted(pub(crate) Vec<Option<Instant>>);

impl Adopted {
    /// By a list that was made at `now`.
    ///
    /// # Errors
    ///
    /// With the first flow that has another algorithm than the rules say.
    pub(crate) fn new(
        listed: &[FlowStatus],
        now: Instant,
        members: &[SwarmMember],
        rules: &Rules,
    ) -> Result<Self, String> {
        // The kernel gives one local port to flows towards several.
        let by_ends: HashMap<(SocketAddr, SocketAddr), &FlowStatus> = listed
            .iter()
            .map(|flow| ((flow.src, flow.dst), flow))
            .collect();
        let adopted = members.iter().map(|member| {
            let Some(flow) = by_ends.get(&(member.local, member.peer)) else {
                return Ok(None);
            };
            let wanted = rules.iter().find(|(port, _)| *port == member.peer.port());
            if Some(flow.algorithm.as_str()) != wanted.map(|rule| rule.1) {
                return Err(format!("the rules give another algorithm to {flow:?}"));
            }
            // Answered, not only heard of.
            Ok((flow.updates > 0).then(|| now - Duration::from_micros(flow.age_us)))
        });
        Ok(Self(adopted.collect::<Result<_, _>>()?))
    }

    /// How long after `start` the last one was taken over.
    pub(crate) fn last_after(&self, start: Instant) -> Duration {
        let times = self.0.iter().flatten();
        times
            .map(|at| at.duration_since(start))
            .max()
            .unwrap_or_default()
    }

    /// Those that were not by `due`, though acknowledgements came between the two samples, and how many had
    /// none.
    pub(crate) fn late(
        &self,
        due: Instant,
        ready: &Sample,
        before_due: &Sample,
    ) -> (Vec<usize>, usize) {
        let late = self
            .0
            .iter()
            .enumerate()
            .filter(|(_, at)| at.is_none_or(|at| at > due));
        let (active, idle): (Vec<usize>, Vec<usize>) = late
            .map(|(flow, _)| flow)
            .partition(|flow| before_due.flows[*flow].acks > ready.flows[*flow].acks);
        (active, idle.len())
    }
}

/// What became of the windows of flows as they were taken over.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    /// Flows that lost nothing meanwhile.
    pub(crate) looked_at: usize,
    /// Those of them whose window is not what it may be then: with before and after.
    pub(crate) wrong: Vec<(usize, Seen, Seen)>,
    /// Flows, ours and native, that have less than two fifths of their window.
    pub(crate) shrunk: (usize, usize),
    /// Whether ours are more of them than chance explains.
    pub(crate) more_shrunk: bool,
}

impl Windows {
    /// By the samples around the moment at which each of ours, the first flows, was taken over; of each native flow
    /// those around the moment of one of ours.
    pub(crate) fn new(adopted: &Adopted, samples: &[Sample]) -> Self {
        let mut windows = Self::default();
        let (ours, flows) = (
            adopted.0.len(),
            samples.first().map_or(0, |s| s.flows.len()),
        );
        let mut shrunk = vec![false; flows];
        for (flow, shrunk) in shrunk.iter_mut().enumerate() {
            let Some(at) = adopted.0[flow % ours] else {
                continue;
            };
            let before = samples.iter().rev().find(|s| s.at <= at);
            let after = samples.iter().find(|s| s.at >= at + RUNS_AFTER);
            let (Some(before), Some(after)) = (before, after) else {
                continue;
            };
            let (before, after) = (before.flows[flow], after.flows[flow]);
            // A loss leaves half of it, or seven tenths, to the packet.
            *shrunk = after.window * 5 < before.window * 2;
            let lost = after.retransmits > before.retransmits;
            if flow >= ours || lost || !before.open || !after.open {
                continue;
            }
            windows.looked_at += 1;
            // Without a loss no window shrinks, but for the fraction of a packet that the socket does not see;
            // and none grows by more than what arrived.
            let most = before.window + (after.delivered - before.delivered) + 1;
            if !(before.window.saturating_sub(1)..=most).contains(&after.window) {
                windows.wrong.push((flow, before, after));
            }
        }
        let count = |shrunk: &[bool]| shrunk.iter().filter(|shrunk| **shrunk).count();
        let (first, rest) = shrunk.split_at(ours.min(flows));
        windows.shrunk = (count(first), count(rest));
        windows.more_shrunk = flows > ours && is_no_chance(&shrunk, ours);
        windows
    }
}
