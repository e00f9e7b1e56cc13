//! The control protocol: how one asks a running `ccpd` what it is doing, and the client that does.
//!
//! # On the socket
//!
//! A Unix stream socket. Both directions carry frames: a length of four bytes, little-endian, of at
//! most [`MAX_FRAME`], then as many bytes. A frame holds one value in the [postcard] encoding.
//!
//! 1. The client sends [`ClientHello`], the daemon answers with [`ServerHello`]. If it does not speak
//!    the client's version it says which it speaks and closes. These two frames never change.
//! 2. The client sends a [`Request`]; the daemon answers with one [`Response`] or, where a list may be
//!    long, with several, the last of which says so. Then the next request.
//! 3. After [`Request::Watch`] the daemon tells what happens, with [`Response::Events`], until the client
//!    sends its next request, which is answered after the last of them. The first has no events: it says
//!    that nothing is missed from then on. At least once per second comes one, if need be without
//!    events, so that a daemon that hangs can be told from a quiet one.
//!    What waits for a client is bounded: one that does not read loses events and is told how many.
//!
//! Asking is for everybody whom the socket's file mode lets in; changing ([`Request::is_change`]) is
//! for root and for the user that the daemon runs as.
//!
//! Requests are answered in order. The daemon closes a connection that sends something it can't read.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format
//!
//! ```no_run
//! # async fn ask() -> Result<(), ccp_control::ClientError> {
//! let mut ccpd = ccp_control::Client::connect("/run/ccpd/control.sock").await?;
//! for flow in ccpd.flows().await? {
//!     println!("{} -> {} runs {}", flow.src, flow.dst, flow.algorithm);
//! }
//! # Ok(()) }
//! ```

#![forbid(unsafe_code)]

mod attributes;
mod client;
mod frame;
mod plain;
mod protocol;
pub mod recording;
mod stats;

pub use attributes::{AttributeValue, Attributes};
pub use client::{Client, ClientError, Happened, PATIENCE, Selected};
pub use frame::{FrameError, MAX_FRAME, Receiver, Sender, split};
pub use plain::plain;
pub use protocol::{
    AlgorithmStatus, Announced, ClientHello, Event, Explanation, FLOWS_PER_RESPONSE, Fit,
    FlowDetail, FlowMode, FlowOrder, FlowOrigin, FlowStatus, KeyVerdict, LastReport, MAGIC,
    METRICS_PER_RESPONSE, MOST_WATCHED, MOST_WORDS, PROTOCOL_VERSION, ProgramDetail, ProgramStatus,
    Refusal, Reloaded, Request, Response, RuleVerdict, Selection, ServerHello, Watch, What, Why,
};
pub use stats::{Bucket, Metric, MetricKind, MetricSample, MetricValue};

/// Where the daemon listens unless its configuration says otherwise.
pub const DEFAULT_SOCKET: &str = "/run/ccpd/control.sock";
