//! Transports: how frames of datapaths reach their sessions, and commands reach datapaths.

mod link;
mod log_limit;
mod polls;
pub(crate) mod tcp;
pub(crate) mod unix;
