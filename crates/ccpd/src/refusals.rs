//! What is refused to datapaths on sockets, and how often it was.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! refusals {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $name:literal, )+) => {
        /// Something that is refused to a datapath on a socket.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Refusal { $( $(#[doc = $doc])+ $variant, )+ }

        impl Refusal {
            /// All of them, in the order of their counts.
            pub(crate) const ALL: &'static [Self] = &[$( Self::$variant, )+];

            /// Its name in outputs, and what it means.
            #[allow(dead_code, reason = "for whoever exports the counts")]
            pub(crate) const fn describe(self) -> (&'static str, &'static str) {
                match self { $( Self::$variant => ($name, concat!($($doc),+)), )+ }
            }
        }
    };
}

refusals! {
    /// Datagrams of senders that have no path, or whose path cannot be trusted or answered.
    Unanswerable = "unanswerable",
    /// Datagrams of another user than the one whose datapath has that path.
    OtherUser = "other_user",
    /// Datagrams of datapaths beyond those that one socket serves.
    Datapaths = "datapaths",
}

/// How often each was.
#[derive(Debug)]
pub(crate) struct Refusals([AtomicU64; Refusal::ALL.len()]);

impl Default for Refusals {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; Refusal::ALL.len()])
    }
}

impl Refusals {
    /// It happened once more.
    pub(crate) fn count(&self, refusal: Refusal) {
        if let Some(count) = self.0.get(refusal as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How often it was.
    #[allow(dead_code, reason = "for whoever exports the counts")]
    pub(crate) fn get(&self, refusal: Refusal) -> u64 {
        let count = self.0.get(refusal as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }
}
