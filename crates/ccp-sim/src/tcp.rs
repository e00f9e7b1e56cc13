//! A transport like TCP: packets, selective acknowledgements, loss detection, timeouts, pacing.

mod board;
mod receiver;
mod rtt;
mod sender;

pub(crate) use receiver::{Answer, Receiver};
pub(crate) use sender::{Heard, Sender};
