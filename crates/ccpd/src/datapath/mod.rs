//! Transports: how frames of datapaths reach their sessions, and commands reach datapaths.

mod budget;
mod link;
pub(crate) mod netlink;
mod peers;
mod polls;
mod readers;
mod resolver;
pub(crate) mod room;
pub(crate) mod tcp;
mod turnstile;
pub(crate) mod unix;
