//! What an algorithm wants done, as values.

use ccp_types::{Bytes, Rate, Timestamp};
use smallvec::SmallVec;

use crate::alg::FlowId;
use crate::program::{CompiledProgram, ControlField, FieldValue};

/// Which flow an update is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Target {
    /// The flow that returned it.
    #[default]
    Own,
    /// Another flow of the same group.
    Flow(FlowId),
}

/// One change to a flow.
#[derive(Clone, Debug)]
pub enum Change {
    /// Run this program. Its variables start at their defaults; window and rate stay.
    Program(CompiledProgram),
    /// Set a writable register of the datapath: 0 is the window in bytes, 1 the rate in bytes per
    /// second.
    Writable(u16, u64),
    /// Set a control variable of the program that runs once the changes before this one are done.
    Control(u16, u64),
}

/// One change, addressed.
#[derive(Clone, Debug)]
pub struct Update {
    /// For which flow.
    pub flow: Target,
    /// What.
    pub change: Change,
}

/// What an algorithm wants done, in order. Takes effect together, at the flow's next
/// acknowledgement.
///
/// ```
/// use ccp_core::{Bytes, Rate, Updates};
/// let updates = Updates::none().cwnd(Bytes(14_480)).rate(Rate::from_mbit(50));
/// assert_eq!(updates.iter().count(), 2);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "updates do nothing unless they are returned"]
pub struct Updates {
    target: Target,
    changes: SmallVec<[Update; 4]>,
    wake_at: Option<Timestamp>,
}

impl Updates {
    /// Nothing to do.
    #[inline]
    pub fn none() -> Self {
        Self::default()
    }

    /// Run `program` from the acknowledgement on at which this takes effect.
    #[inline]
    pub fn run(program: &CompiledProgram) -> Self {
        Self::none().program(program)
    }

    /// What follows is for the flow `id`, one of the same group.
    #[inline]
    pub const fn to(mut self, id: FlowId) -> Self {
        self.target = Target::Flow(id);
        self
    }

    /// Run `program` from the acknowledgement on at which this takes effect.
    #[inline]
    pub fn program(self, program: &CompiledProgram) -> Self {
        self.push(Change::Program(program.clone()))
    }

    /// Set the congestion window.
    #[inline]
    pub fn cwnd(self, cwnd: Bytes) -> Self {
        self.push(Change::Writable(0, cwnd.0))
    }

    /// Set the pacing rate; [`Rate::ZERO`] gives pacing back to the datapath.
    #[inline]
    pub fn rate(self, rate: Rate) -> Self {
        self.push(Change::Writable(1, rate.0))
    }

    /// Set a control variable of the program that runs then.
    pub fn set<T: FieldValue>(self, field: ControlField<T>, value: T) -> Self {
        self.push(Change::Control(field.index, value.into_bits()))
    }

    /// Call [`Flow::on_timer`](crate::Flow::on_timer) at `time`, instead of at the time asked for
    /// before.
    #[inline]
    pub const fn wake_at(mut self, time: Timestamp) -> Self {
        self.wake_at = Some(time);
        self
    }

    /// The changes, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Update> {
        self.changes.iter()
    }

    /// When to be woken, if that was asked for.
    #[must_use]
    pub const fn wake(&self) -> Option<Timestamp> {
        self.wake_at
    }

    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.wake_at.is_none()
    }

    /// Adds a change for the flow that gets these updates.
    pub(crate) fn add(&mut self, change: Change) {
        self.changes.push(Update {
            flow: Target::Own,
            change,
        });
    }

    #[inline]
    fn push(mut self, change: Change) -> Self {
        self.changes.push(Update {
            flow: self.target,
            change,
        });
        self
    }
}
