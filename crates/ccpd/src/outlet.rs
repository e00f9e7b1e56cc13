//! The way to a datapath.

use std::fmt::Debug;
use std::pin::Pin;

use ccp_core::{Command, ProgramTable};

/// Takes commands to a datapath. Flow tasks use it at the same time.
pub(crate) trait Outlet: Debug + Send + Sync + 'static {
    /// Tells the datapath, or says that it takes nothing now. Never waits.
    ///
    /// What the datapath can't be told at all (it is gone, its language has no word for it) counts as
    /// sent: trying again would not help.
    fn send(&self, programs: &ProgramTable, command: &Command) -> Sent;

    /// Waits until it is worth trying again after [`Sent::Full`].
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// There is nothing left to do about it.
    Done,
    /// The datapath takes nothing at the moment: keep it.
    Full,
}
