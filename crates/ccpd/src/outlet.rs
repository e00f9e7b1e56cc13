//! The way to a datapath.

use std::fmt::Debug;
use std::pin::Pin;

use ccp_control::FlowMode;
use ccp_core::{Command, FlowState, FlowUpdate, ProgramTable, SockId};

/// Takes commands to a datapath. Flow tasks use it at the same time.
pub(crate) trait Outlet: Debug + Send + Sync + 'static {
    /// Tells the datapath, or says that it takes nothing now. Never waits.
    ///
    /// What the datapath can't be told at all (it is gone, its language has no word for it) counts as
    /// sent: trying again would not help.
    fn send(&self, programs: &ProgramTable, command: &Command) -> Sent;

    /// The same with an update of a flow.
    fn update(&self, programs: &ProgramTable, update: &FlowUpdate, haste: Haste) -> Sent;

    /// Tells the datapath what it was to be told [soon](Haste::Soon).
    fn flush(&self) {}

    /// Waits until it is worth trying again after [`Sent::Full`].
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// The task of a flow has come back from its work, whether or not it answered.
    fn handled(&self, _sock_id: SockId) {}

    /// How a flow is at this moment, where the datapath lets one look.
    fn observe(&self, _sock_id: SockId) -> Option<Observed> {
        None
    }

    /// How many invocations of each program had no effect, by the program's number, where the datapath
    /// tells.
    fn faults(&self) -> Option<Vec<(u32, u64)>> {
        None
    }
}

/// How a flow really is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Observed {
    pub(crate) state: FlowState,
    pub(crate) mss: u32,
    pub(crate) mode: FlowMode,
    /// Payload in bytes since the flow was taken.
    pub(crate) sent: u64,
    pub(crate) delivered: u64,
    pub(crate) lost: u64,
    pub(crate) timeouts: u32,
    /// Invocations of its programs without effect.
    pub(crate) faults: u32,
}

/// When a datapath is told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Haste {
    /// At once.
    Now,
    /// Who says so calls [`Outlet::flush`] before waiting for anything.
    Soon,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There is nothing left to do about it.
    Done,
    /// The datapath takes nothing at the moment: keep it.
    Full,
}
