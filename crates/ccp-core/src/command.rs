//! What the control plane tells a datapath, as values.

use std::sync::Arc;

use ccp_types::SockId;
use ccp_wire::Hello;
use smallvec::SmallVec;

use crate::alg::FlowId;
use crate::policy::Native;
use crate::table::Installed;

/// Something that a datapath is to do.
///
/// A datapath behind a socket gets it as a frame
/// ([`ProgramTable::encode`](crate::ProgramTable::encode)); one that is called, such as the
/// kernel's, acts on the value.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Command {
    /// The control plane answers a datapath with capabilities: use these extensions, announce your
    /// flows again if the epoch is another than before.
    Hello(Hello),
    /// Take a program.
    Install(Arc<Installed>),
    /// Change a flow.
    Update(FlowUpdate),
    /// Steer a flow natively from now on: nobody else does.
    Native {
        /// The flow.
        flow: FlowId,
        /// Its name within the datapath.
        sock_id: SockId,
        /// The announcement that it is meant for.
        generation: u32,
        /// Its largest segment, in bytes.
        mss: u32,
        /// By which algorithm. A datapath that has only its own takes that.
        by: Native,
    },
}

/// A register of a flow that the control plane may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A writable register of the datapath: 0 is the window in bytes, 1 the rate in bytes per
    /// second.
    Writable(u16),
    /// A control variable of the program, by its place there.
    Control(u16),
}

/// Changes to one flow that take effect together, at its next acknowledgement; on kernel TCP at the
/// first one at which it looks, every sixteenth of a round-trip time (25 µs to 1 ms).
///
/// Several that were not yet taken are made one: the last value of each register holds. So one
/// that is sent never undoes or loses what another one says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowUpdate {
    /// The flow.
    pub flow: FlowId,
    /// Its name within its datapath.
    pub sock_id: SockId,
    /// The announcement of the flow that it is meant for: a datapath that has announced it again
    /// since passes over it. 0 where the datapath does not count.
    pub generation: u32,
    /// The program that runs once the update is applied, whose control variables are meant; 0 if
    /// none does.
    pub program_uid: u32,
    /// Whether that program is (re)started by the update. If not it runs already.
    pub change_program: bool,
    /// Registers and their new values, each register once.
    pub fields: SmallVec<[(Place, u64); 4]>,
}

impl FlowUpdate {
    /// The window it sets, in bytes, if it sets one.
    #[must_use]
    pub fn cwnd(&self) -> Option<u64> {
        self.value(Place::Writable(0))
    }

    /// The rate it sets, in bytes per second, if it sets one.
    #[must_use]
    pub fn rate(&self) -> Option<u64> {
        self.value(Place::Writable(1))
    }

    /// The value it gives to the register `place`, if it gives one.
    #[must_use]
    pub fn value(&self, place: Place) -> Option<u64> {
        self.fields
            .iter()
            .find(|(p, _)| *p == place)
            .map(|(_, value)| *value)
    }

    pub(crate) fn set(&mut self, place: Place, value: u64) {
        match self.fields.iter_mut().find(|(p, _)| *p == place) {
            Some((_, old)) => *old = value,
            None => self.fields.push((place, value)),
        }
    }

    /// A program starts: what was set of the one before means nothing any more.
    pub(crate) fn start(&mut self, program_uid: u32) {
        self.program_uid = program_uid;
        self.change_program = true;
        self.fields
            .retain(|(place, _)| matches!(place, Place::Writable(_)));
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.change_program && self.fields.is_empty()
    }
}
