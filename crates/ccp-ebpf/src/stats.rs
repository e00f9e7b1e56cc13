//! Counters and snapshots: what the glue tells without being asked.

use crate::layout::Slot;

/// Defines [`Counters`] with one field per counter of the glue, in the order of `enum ccp_stat`.
macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident),+ $(,)?) => {
        /// What the glue counted since the name was first registered, over all processors.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Counters {
            $($(#[doc = $doc])+ pub $name: u64,)+
            /// Slots that flows use now.
            pub slots_in_use: u64,
        }

        impl Counters {
            /// The counters' names, in the order of the glue's array.
            pub const NAMES: &[&str] = &[$(stringify!($name)),+];

            pub(crate) fn from_values(values: &[u64]) -> Self {
                let mut values = values.iter().copied();
                let mut next = || values.next().unwrap_or(0);
                let mut counters = Self::default();
                $(counters.$name = next();)+
                counters.slots_in_use = counters.flows.saturating_sub(counters.closed);
                counters
            }

            /// Every name in the order of [`iter`](Self::iter), and what it counts.
            pub fn described() -> impl Iterator<Item = (&'static str, &'static str)> {
                const ALL: &[(&str, &str)] = &[$((stringify!($name), concat!($($doc),+)),)+];
                let last = ("slots_in_use", "Slots that flows use now.");
                ALL.iter().copied().chain([last]).map(|(name, doc)| (name, doc.trim()))
            }

            /// Names and values, in order.
            #[must_use]
            pub fn iter(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name),)+ ("slots_in_use", self.slots_in_use)]
            }
        }
    };
}

counters! {
    /// Flows that got a slot.
    flows,
    /// Flows that gave it back.
    closed,
    /// Handed to the system's CUBIC: of a network namespace that is not taken.
    native_namespace,
    /// Handed to the system's CUBIC: all slots were in use.
    native_limit,
    /// Handed to the system's CUBIC: clean stop.
    native_stopping,
    /// Handed to the system's CUBIC: no memory for the flow's state.
    native_memory,
    /// The system's CUBIC refused: the flow runs native CUBIC inside the glue.
    handover_failed,
    /// Slots lost because the list of free ones was busy.
    slot_leaked,
    /// CREATE frames sent.
    announced,
    /// CREATE frames that did not fit the ring; sent again later.
    announce_full,
    /// Close frames that did not fit the ring; the flows are found by looking.
    close_full,
    /// Mailbox writes that flows applied.
    updates,
    /// Mailbox writes that were for an earlier generation.
    refused_generation,
    /// Mailbox writes that named no installed program.
    refused_program,
    /// Mailbox reads that met a write in progress; the next look reads again.
    torn,
    /// ACKs of flows whose program had been removed; they fell back.
    no_program,
    /// Flows that fell back since the heartbeat was too old.
    fallbacks,
    /// Flows that fell back since their program faulted too often in a row.
    fault_fallbacks,
    /// Program faults (added up at least once per round-trip time of a flow).
    faults,
    /// Reports accepted by the ring (likewise).
    reports,
    /// Reports that did not fit the ring and were merged into later ones (likewise).
    ring_full,
    /// Handed to the system's CUBIC: flows of one network namespace had its share of the slots.
    native_namespace_limit,
    /// Handed to the system's CUBIC: flows of one user had their share.
    native_user_limit,
    /// Flows that fell back since their reports were not handled.
    unanswered,
    /// Flows taken without having asked as they began.
    taken_new,
    /// Flows taken without having asked while they were under way.
    taken_living,
    /// Flows that would have been taken, but run another algorithm than the default of their network
    /// namespace: as they began, and each time living ones are looked through.
    take_left,
    /// Flows that were to be taken, but the kernel or a limit refused; they keep what they had.
    take_refused,
}

/// Who runs a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Native CUBIC: announced, no program chosen yet.
    Native,
    /// A program.
    Running,
    /// Native CUBIC: the daemon is gone, or the program faulted too often.
    Fallback,
}

impl Mode {
    const fn from_glue(mode: u32) -> Self {
        match mode {
            0 => Self::Native,
            1 => Self::Running,
            _ => Self::Fallback,
        }
    }

    /// `native`, `running` or `fallback`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Running => "running",
            Self::Fallback => "fallback",
        }
    }
}

/// What the glue last noted of a flow: at most one round-trip time old while ACKs come, except
/// for `mode`, which is noted when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowSnapshot {
    /// The flow, as in frames.
    pub sock_id: u32,
    /// Its latest announcement; 0 if it was never announced.
    pub generation: u32,
    /// Who runs it.
    pub mode: Mode,
    /// The program that steers it, 0 if none.
    pub program_uid: u32,
    /// Its window, bytes.
    pub cwnd_bytes: u64,
    /// Its largest segment, bytes.
    pub mss: u32,
    /// Its pacing rate, bytes/s; `None` before the first.
    pub pacing_rate: Option<u64>,
    /// Smoothed RTT, µs; `None` before the first sample.
    pub srtt_us: Option<u32>,
    /// Minimum RTT, µs; `None` before the first sample.
    pub min_rtt_us: Option<u32>,
    /// Linux' congestion state (0 open to 4 loss).
    pub ca_state: u32,
    /// Bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Bytes delivered while a program ran, and before as far as accounted for.
    pub bytes_delivered: u64,
    /// Bytes lost, likewise.
    pub bytes_lost: u64,
    /// Retransmission timeouts.
    pub timeouts: u32,
    /// Program faults.
    pub faults: u32,
    /// Reports sent.
    pub reports: u32,
    /// Reports that did not fit the ring.
    pub ring_full: u32,
    /// Inode of its network namespace.
    pub netns: u32,
}

impl FlowSnapshot {
    pub(crate) fn from_slot(s: &Slot) -> Option<Self> {
        (s.live == 1).then(|| Self {
            sock_id: s.sock_id,
            generation: s.generation,
            mode: Mode::from_glue(s.mode),
            program_uid: s.program_uid,
            cwnd_bytes: u64::from(s.snd_cwnd) * u64::from(s.mss),
            mss: s.mss,
            pacing_rate: (s.pacing_rate != u64::MAX).then_some(s.pacing_rate),
            srtt_us: (s.srtt_us != 0).then_some(s.srtt_us),
            min_rtt_us: (s.min_rtt_us != u32::MAX).then_some(s.min_rtt_us),
            ca_state: s.ca_state,
            bytes_sent: s.bytes_sent,
            bytes_delivered: s.bytes_delivered,
            bytes_lost: s.bytes_lost,
            timeouts: s.timeouts,
            faults: s.faults,
            reports: s.reports,
            ring_full: s.ring_full,
            netns: s.netns_inum,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names here and in `enum ccp_stat`, in the same order.
    #[test]
    fn counters_are_the_headers() {
        let header = include_str!("bpf/intf.h");
        let body = header.split("enum ccp_stat {").nth(1).unwrap();
        let body = body.split("CCP_STATS,").next().unwrap();
        let names: Vec<String> = body
            .lines()
            .filter_map(|l| l.trim().strip_prefix("CCP_STAT_"))
            .map(|l| l.split([',', ' ']).next().unwrap().to_lowercase())
            .collect();
        assert_eq!(names, Counters::NAMES);
    }

    #[test]
    fn values_go_to_their_fields() {
        let values: Vec<u64> = (100..100 + Counters::NAMES.len() as u64).collect();
        let counters = Counters::from_values(&values);
        assert_eq!(
            (counters.flows, counters.closed, counters.ring_full),
            (100, 101, 120)
        );
        assert_eq!(counters.slots_in_use, 0);
    }
}
