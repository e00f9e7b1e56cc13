//! How a transport wants its datapath.

use std::net::SocketAddr;
use std::sync::Arc;

use ccp_program::{Limits, RegisterTable};
use ccp_types::{Bytes, Micros, PathId};

use crate::native::NativeLaw;

/// How a datapath is set up. Every duration may be 0 where it says so.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the transport measures, and what may be written. Default: libccp's.
    ///
    /// `Ack.now` and `Flow.was_timeout` are filled in by the crate, `Flow.mss` as well if it is there.
    /// With `Flow.recovery_state` (0 open, 1 disorder, 2 reduction by a mark, 3 recovery, 4 after a
    /// timeout: as Linux counts) the crate halves the window when recovery begins, unless the program
    /// has recovery to itself; without, that is the program's.
    pub registers: RegisterTable,
    /// The largest program that is taken. Default: [`Limits::MAX`].
    pub limits: Limits,
    /// What the datapath calls itself in READY. Default: 0.
    pub id: u32,
    /// How many flows there may be at once, 1 to 4,194,304. Default: 1,048,576. Memory is taken as they
    /// come.
    pub max_flows: usize,
    /// How many programs are kept at once, 1 or more; of more, the one installed first is forgotten
    /// (flows that run it go on). Default: 256.
    pub max_programs: usize,
    /// What steers flows that no program steers. Default: CUBIC.
    pub native: Native,
    /// After so many faults in a row a program is taken off its flow; 0 for never. Default: 16.
    pub max_fault_run: u32,
    /// How long a flow whose program faulted so often stays native before it is announced again.
    /// Default: 1 s.
    pub fault_pause: Micros,
    /// For how long no answer to a flow's reports is taken for a working daemon, if it sends
    /// heartbeats; then the flow falls back, alone, and is announced again. 0: for ever (default), as
    /// not every algorithm answers every report.
    pub unanswered_after: Micros,
    /// The same for a daemon without heartbeats, such as portus. Default: 10 s; 0: for ever.
    pub unanswered_after_legacy: Micros,
    /// How often READY is repeated as long as nobody answers. Default: 1 s.
    pub ready_every: Micros,
    /// How soon the announcement of a flow is repeated if it is not answered, at first; then half as
    /// often each time, down to once a second. Default: 100 ms.
    pub announce_every: Micros,
    /// How many announcements per second, over all flows, follow the return of a daemon; those of new
    /// flows are not limited. Default: 20,000.
    pub announcements_per_second: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            registers: RegisterTable::libccp(),
            limits: Limits::MAX,
            id: 0,
            max_flows: 1 << 20,
            max_programs: 256,
            native: Native::Cubic,
            max_fault_run: 16,
            fault_pause: Micros::from_secs(1),
            unanswered_after: Micros::ZERO,
            unanswered_after_legacy: Micros::from_secs(10),
            ready_every: Micros::from_secs(1),
            announce_every: Micros::from_millis(100),
            announcements_per_second: 20_000,
        }
    }
}

/// What steers a flow that no program steers: before its first one, without a daemon, and after
/// repeated faults.
#[derive(Clone)]
pub enum Native {
    /// RFC 5681.
    Reno,
    /// RFC 9438, with the end of the first slow start of RFC 9406.
    Cubic,
    /// The embedder's own, made anew each time that a flow becomes native.
    Own(Arc<dyn Fn() -> Box<dyn NativeLaw> + Send + Sync>),
}

impl std::fmt::Debug for Native {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Reno => "Reno",
            Self::Cubic => "Cubic",
            Self::Own(_) => "Own",
        })
    }
}

/// One flow, as it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowSpec {
    /// The local end.
    pub src: SocketAddr,
    /// The remote end.
    pub dst: SocketAddr,
    /// Largest segment, in bytes; 0 counts as 1.
    pub mss: u32,
    /// The window that it begins with; less than one segment counts as one.
    pub init_cwnd: Bytes,
    /// The algorithm that it asks for, at most 63 bytes without NUL; others are passed over.
    pub requested: Option<Box<str>>,
    /// The connection of several ways that it is one of, for multipath transports: the daemon may then
    /// steer them together. `None`: it stands for itself.
    pub path: Option<PathId>,
}

impl FlowSpec {
    /// A flow of `mss`-byte segments that starts with ten of them (RFC 6928).
    #[must_use]
    pub fn new(src: SocketAddr, dst: SocketAddr, mss: u32) -> Self {
        let mss = mss.max(1);
        Self {
            src,
            dst,
            mss,
            init_cwnd: Bytes::from_packets(10, mss),
            requested: None,
            path: None,
        }
    }
}
