//! What a session counts.

/// Counts of one datapath, since its session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStats {
    /// Flows that came under control.
    pub flows_opened: u64,
    /// Flows that ended: the datapath said so, or its name was taken by another.
    pub flows_closed: u64,
    /// Flows that ended because their datapath started again or went away.
    pub flows_lost: u64,
    /// Flows that were announced again.
    pub flows_resumed: u64,
    /// Flows whose name another flow took before their end was heard of. Also counted as closed.
    pub flows_replaced: u64,
    /// Flows that were found gone without having said so. Also counted as closed.
    pub ends_unheard: u64,
    /// Announcements of flows that were not taken because there were as many as may be.
    pub flows_refused: u64,
    /// Flows that got the default, or nothing, because the datapath does not run what the
    /// algorithm of their rule needs.
    pub flows_without_their_algorithm: u64,
    /// Announcements that make no sense: a segment of 0 bytes, a port above 65,535.
    pub bad_creates: u64,
    /// Reports handed on.
    pub reports: u64,
    /// Reports that the datapath could not send and made part of a later one.
    pub reports_merged: u64,
    /// Reports, or ends, of flows that are not known.
    pub reports_of_unknown_flows: u64,
    /// Reports of programs that were never installed.
    pub reports_of_unknown_programs: u64,
    /// Reports with more or fewer values than their program has report variables.
    pub reports_of_wrong_length: u64,
    /// Reports that belong to an earlier announcement of their flow.
    pub reports_of_earlier_announcements: u64,
    /// Reports of flows that were yet to be announced again.
    pub reports_while_suspended: u64,
    /// Programs that the datapath does not run.
    pub programs_refused: u64,
    /// Algorithms that cannot steer its flows for that reason.
    pub algorithms_unavailable: u64,
    /// How often the datapath started again.
    pub restarts: u64,
    /// Frames that are no message.
    pub garbage: u64,
    /// Messages of a type that this version does not know.
    pub unknown_messages: u64,
    /// Messages that only a control plane sends.
    pub unexpected_messages: u64,
}
