//! What was counted.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! stats {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// What a datapath has counted since it was made.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
        }

        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        impl Counters {
            pub(crate) fn read(&self) -> Stats {
                Stats { $($name: self.$name.load(Ordering::Relaxed),)* }
            }
        }
    };
}

stats! {
    /// Flows opened.
    opened,
    /// Flows closed.
    closed,
    /// Announcements (CREATE) that were sent.
    announced,
    /// READY messages that were sent.
    readies,
    /// Messages that were obeyed.
    messages,
    /// Messages that were not: no messages, for nobody, or with something that is not there.
    refused_messages,
    /// Messages for an earlier announcement of their flow.
    stale_messages,
    /// Messages of a type that this version does not know.
    unknown_messages,
    /// Programs installed.
    programs,
    /// Programs refused.
    refused_programs,
    /// Flows that fell back because the daemon was gone.
    fallbacks,
    /// Flows that fell back because nobody answered their reports.
    unanswered_fallbacks,
    /// Flows that fell back because their program faulted too often.
    fault_fallbacks,
    /// Ends of flows that could not be told; the daemon is asked to start afresh then.
    lost_closes,
}

pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
