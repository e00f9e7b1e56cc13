//! One flow, owned by the thread that runs it.

use std::net::SocketAddr;
use std::sync::Arc;

use ccp_program::Fault;
use ccp_types::{Bytes, Micros, Origin, Rate, SockId, Timestamp};
use ccp_wire::{MeasureBuf, ReportFrame, ReportTrailer, Totals};

use crate::config::FlowSpec;
use crate::datapath::Shared;
use crate::mail::MailBox;
use crate::measure::{Measurements, Primitive, Writable};
use crate::native::{self, NativeAck, NativeLaw};
use crate::programs::Installed;
use crate::sink::{Refused, Sink};
use crate::stats::count;
use crate::vm::{self, CWND, File, RATE};

mod announce;
mod attend;
mod invoke;

pub use invoke::Decision;

/// Who steers a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The native law: no program was chosen (yet).
    Native,
    /// A program of the daemon.
    Running,
    /// The native law: the daemon is gone or does not answer, or the program faulted too often.
    Fallback,
}

/// What a flow has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FlowCounts {
    /// Reports that the sink took.
    pub reports: u64,
    /// Reports that it did not take, and that went into later ones.
    pub merged: u64,
    /// Times that the daemon said something that was applied.
    pub updates: u64,
    /// Invocations that were undone.
    pub faults: u64,
    /// Times that the flow fell back.
    pub fallbacks: u64,
}

/// One flow of a [`Datapath`](crate::Datapath).
///
/// It belongs to one thread at a time; any. Closing tells the daemon ([`close`](Self::close)); so does
/// dropping it, a little later and without totals.
///
/// Every call that says what the transport measured returns a [`Decision`]. `now` may not go back; if it
/// does, it counts as the latest there was.
pub struct Connection {
    shared: Arc<Shared>,
    mail: Arc<MailBox<Installed>>,
    /// What of the mail was seen.
    seen: u32,
    /// The link's epoch in which it was last announced.
    epoch: u32,
    /// When there is something to look at besides mail and link; 0 at every call.
    next_look: Timestamp,
    mode: Mode,
    running: Option<Running>,
    /// When the present program's `Micros` was 0.
    micros_zero: u64,
    merged: u32,
    fault_run: u32,
    mss: u32,
    /// The window that was last decided.
    cwnd: Bytes,
    recovery: Recovery,
    srtt: Micros,
    min_rtt: Micros,
    now: Timestamp,
    /// Since when reports wait for an answer; the end of time if none does.
    waiting_since: Timestamp,
    rest: Box<Rest>,
}

/// A program and the registers that it runs on.
struct Running {
    installed: Arc<Installed>,
    file: File,
}

/// What is not looked at with each acknowledgement.
struct Rest {
    sock_id: SockId,
    generation: u32,
    origin: Origin,
    spec: FlowSpec,
    answered: bool,
    announced_at: Timestamp,
    announce_again: Micros,
    faulted_at: Option<Timestamp>,
    last_fault: Option<Fault>,
    /// Whether the flow ever ran: then its window is not the initial one.
    has_history: bool,
    native: Option<Box<dyn NativeLaw>>,
    /// Writable registers beyond window and rate while no program runs; the window if the daemon set it
    /// before the program.
    writables: Box<[u64]>,
    cwnd_pending: bool,
    counts: FlowCounts,
    closed: bool,
}

/// What Linux calls the state of congestion avoidance, where the transport tells it.
type Recovery = u8;

/// The end of time.
const NEVER: Timestamp = Timestamp(u64::MAX);

impl Connection {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        now: Timestamp,
        sock_id: SockId,
        mail: Arc<MailBox<Installed>>,
        mut spec: FlowSpec,
        sink: &mut dyn Sink,
    ) -> Self {
        spec.mss = spec.mss.max(1);
        let mss = spec.mss;
        let cwnd = spec.init_cwnd.max(Bytes(u64::from(mss)));
        let generation = mail.generation();
        let mut law = native::new(&shared.config.native);
        law.start(cwnd, mss, false);
        let mut flow = Self {
            seen: mail.seq(),
            epoch: 0,
            next_look: Timestamp(0),
            mode: Mode::Fallback,
            running: None,
            micros_zero: now.0,
            merged: 0,
            fault_run: 0,
            mss,
            cwnd,
            recovery: 0,
            srtt: Micros::ZERO,
            min_rtt: Micros::ZERO,
            now,
            waiting_since: NEVER,
            rest: Box::new(Rest {
                sock_id,
                generation,
                origin: Origin::New,
                spec,
                answered: false,
                announced_at: now,
                announce_again: shared.config.announce_every,
                faulted_at: None,
                last_fault: None,
                has_history: false,
                native: Some(law),
                writables: vec![0; shared.config.registers.writables().len()].into(),
                cwnd_pending: false,
                counts: FlowCounts::default(),
                closed: false,
            }),
            shared: Arc::clone(shared),
            mail,
        };
        if flow.shared.link.is_alive(now) {
            flow.new_generation(now, Origin::New, sink);
        }
        flow
    }

    /// What the daemon knows it by.
    #[must_use]
    pub fn sock_id(&self) -> SockId {
        self.rest.sock_id
    }

    /// Who steers it.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The number of the program that runs, if one does.
    #[must_use]
    pub fn program_uid(&self) -> Option<u32> {
        self.running.as_ref().map(|r| r.installed.uid)
    }

    /// Whether the program that runs has recovery to itself: then the window that it decides is the one that holds,
    /// also while the transport recovers from losses.
    #[must_use]
    pub fn has_own_recovery(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|running| running.installed.code.own_recovery)
    }

    /// Window and rate as they were last decided.
    #[must_use]
    pub fn decision(&self) -> Decision {
        Decision {
            cwnd: self.cwnd,
            rate: Rate(self.writable(Writable::RATE)),
            mode: self.mode,
        }
    }

    /// A writable register, as the program or the daemon left it. 0 for one that is not there.
    #[must_use]
    pub fn writable(&self, writable: Writable) -> u64 {
        let place = usize::from(writable.0);
        match &self.running {
            Some(running) if place < running.installed.code.writables => running.file.get(place),
            Some(_) => 0,
            None if place == CWND => self.cwnd.0,
            None => self.rest.writables.get(place).copied().unwrap_or(0),
        }
    }

    /// Largest segment, in bytes.
    #[must_use]
    pub const fn mss(&self) -> u32 {
        self.mss
    }

    /// Smoothed and least round-trip time, as far as they were measured; else 0.
    #[must_use]
    pub const fn round_trip_times(&self) -> (Micros, Micros) {
        (self.srtt, self.min_rtt)
    }

    /// Why an invocation was last undone, if one was.
    #[must_use]
    pub fn last_fault(&self) -> Option<Fault> {
        self.rest.last_fault
    }

    /// What was counted.
    #[must_use]
    pub fn counts(&self) -> FlowCounts {
        self.rest.counts
    }

    /// The transport sends other segments from now on, of at least one byte. Programs see it if the
    /// datapath has `Flow.mss`; if not, the flow is announced again, so that its algorithm learns it.
    pub fn set_mss(&mut self, mss: u32) {
        let mss = mss.max(1);
        if mss == self.mss {
            return;
        }
        self.mss = mss;
        self.rest.spec.mss = mss;
        self.cwnd = self.cwnd.max(Bytes(u64::from(mss)));
        if self.shared.known.mss.is_none() && self.epoch != 0 {
            self.announce_anew();
        }
    }

    /// The transport set the window itself, for example after an idle time: programs and native laws go
    /// on from there.
    pub fn set_cwnd(&mut self, cwnd: Bytes) {
        self.cwnd = cwnd.max(Bytes(u64::from(self.mss)));
        if let Some(running) = &mut self.running {
            running.file.set(CWND, self.cwnd.0);
        }
    }

    /// The flow goes another way now: what was measured of the old one is forgotten, and it is
    /// announced again, as one that begins with the window `cwnd`.
    pub fn change_path(&mut self, src: SocketAddr, dst: SocketAddr, mss: u32, cwnd: Bytes) {
        self.mss = mss.max(1);
        self.rest.spec.src = src;
        self.rest.spec.dst = dst;
        self.rest.spec.mss = self.mss;
        self.rest.spec.init_cwnd = cwnd;
        (self.srtt, self.min_rtt) = (Micros::ZERO, Micros::ZERO);
        self.recovery = 0;
        self.enter_native(self.now, false);
        self.set_cwnd(cwnd);
        self.rest.has_history = false;
        self.announce_anew();
    }

    /// The flow has ended. `totals` is what it did in its life, if the transport counts.
    pub fn close(mut self, totals: Option<Totals>, sink: &mut dyn Sink) {
        self.end(totals, Some(sink));
    }

    fn end(&mut self, totals: Option<Totals>, sink: Option<&mut dyn Sink>) {
        if std::mem::replace(&mut self.rest.closed, true) {
            return;
        }
        let (sock_id, generation) = (self.rest.sock_id, self.rest.generation);
        if self.epoch != 0 {
            let end = MeasureBuf {
                sock_id,
                program_uid: self.program_uid().unwrap_or(0),
                fields: Vec::new(),
                trailer: Some(ReportTrailer {
                    generation,
                    merged: self.merged,
                }),
                totals,
            };
            self.shared.close(end, sink);
        }
        self.shared.free(sock_id, generation);
    }

    /// Bytes of memory that the flow has for itself, beyond its place in the table.
    #[must_use]
    pub fn memory(&self) -> usize {
        let file = self
            .running
            .as_ref()
            .map_or(0, |r| size_of_val(r.file.all()));
        let writables = size_of_val(&*self.rest.writables);
        let law = self
            .rest
            .native
            .as_ref()
            .map_or(0, |law| size_of_val(&**law));
        size_of::<Self>()
            + size_of::<Rest>()
            + size_of::<MailBox<Installed>>()
            + file
            + writables
            + law
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.end(None, None);
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("sock_id", &self.rest.sock_id)
            .field("generation", &self.rest.generation)
            .field("mode", &self.mode)
            .field("program", &self.program_uid())
            .field("cwnd", &self.cwnd)
            .finish_non_exhaustive()
    }
}
