//! The words every other crate shares: units, time and the description of a flow.
//!
//! Nothing here does IO, reads a clock or knows another crate of this workspace, and nothing
//! assumes TCP: a flow is one connection of some *datapath*, whatever that is.

#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]

mod attribute;
mod flow;
pub mod law;
mod time;
mod units;

pub use attribute::{Attribute, AttributeValue, Attributes};
pub use flow::{FlowInfo, FlowState, Origin, PathId, SockId};
pub use time::Timestamp;
pub use units::{Bytes, Micros, Rate};
