//! The datapath as a whole: what the daemon says, and the way to it.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::BytesMut;
use ccp_program::{Limits, RegisterTable};
use ccp_types::{Micros, SockId, Timestamp};
use ccp_wire::{Capabilities, Encode as _, MeasureBuf, Ready};

use crate::config::{Config, FlowSpec};
use crate::connection::Connection;
use crate::error::{MessageError, OpenError};
use crate::link::Link;
use crate::mail::MailBox;
use crate::measure::{Measurements, Primitive, Writable, events};
use crate::programs::{Installed, Programs};
use crate::sink::{Refused, Sink};
use crate::stats::{Counters, Stats, count};
use crate::sync::{Mutex, lock};
use crate::table::Table;

mod receive;

pub use receive::{Received, Touched};

/// So many ends of flows wait for the sink to take them. If there are more, the daemon is asked to start
/// afresh, since it could not know otherwise which flows are there.
const MOST_CLOSES: usize = 4096;

/// A transport's side of the conversation with the daemon.
///
/// One per way to a daemon. It is a handle: clones are the same datapath, and may be used from any
/// thread. What a [`Connection`] does at each acknowledgement takes no lock and touches nothing that
/// another thread writes, except now and then; opening and closing flows, and messages from the daemon,
/// take short locks on parts of the table.
///
/// * Give it what the daemon sends: [`on_message`](Self::on_message).
/// * Call [`on_timer`](Self::on_timer) at the start, and when [`next_timer`](Self::next_timer) says.
/// * Open flows: [`open`](Self::open).
///
/// `now` is any clock that all calls of one datapath share, in microseconds.
#[derive(Clone, Debug)]
pub struct Datapath {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) link: Link,
    pub(crate) flows: Table<MailBox<Installed>>,
    pub(crate) stats: Counters,
    pub(crate) known: Known,
    pub(crate) events: Arc<[u16]>,
    way: Mutex<Way>,
    closes: Mutex<VecDeque<MeasureBuf>>,
}

/// Places of measurements that the crate itself looks at, where the transport has them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    pub(crate) mss: Option<Primitive>,
    /// Smoothed and least round-trip time, if the transport has both.
    pub(crate) rtt: Option<(Primitive, Primitive)>,
    pub(crate) cwnd_limited: Option<Primitive>,
    pub(crate) recovery_state: Option<Primitive>,
}

/// What was said on the way to the daemon.
#[derive(Debug)]
struct Way {
    programs: Programs,
    /// READY was sent, and nothing was heard since.
    asked: bool,
    ready_at: Timestamp,
    /// The epoch that HELLO named, and how long a heartbeat lasts.
    hello: Option<(u32, Micros)>,
    /// The daemon is to be asked to start afresh.
    afresh: bool,
}

impl Datapath {
    /// A datapath that has not said anything yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let table = &config.registers;
        let find = |name| table.primitive(name).map(|(place, _)| Primitive(place));
        Self {
            shared: Arc::new(Shared {
                link: Link::new(config.announcements_per_second),
                flows: Table::new(config.max_flows),
                stats: Counters::default(),
                known: Known {
                    mss: find("Flow.mss"),
                    rtt: find("Flow.srtt_us").zip(find("Flow.min_rtt_us")),
                    cwnd_limited: find("Flow.cwnd_limited"),
                    recovery_state: find("Flow.recovery_state"),
                },
                events: events(table),
                way: Mutex::new(Way {
                    programs: Programs::new(config.max_programs),
                    asked: false,
                    ready_at: Timestamp::default(),
                    hello: None,
                    afresh: true,
                }),
                closes: Mutex::default(),
                config,
            }),
        }
    }

    /// The daemon sent `bytes`: one or more frames. All are read; what is not obeyed is counted, leaves
    /// everything as it was, and is no reason to hang up.
    ///
    /// Returns which flow has something new, so that the embedder may call
    /// [`Connection::on_timer`] there at once; without, it is found at the next acknowledgement.
    ///
    /// # Errors
    /// The first thing that was not obeyed, after everything else was.
    pub fn on_message(&self, now: Timestamp, bytes: &[u8]) -> Result<Received, MessageError> {
        self.shared.receive(now, bytes)
    }

    /// Says READY as long as nobody answers, and tells of the ends of flows that could not be told.
    pub fn on_timer(&self, now: Timestamp, sink: &mut dyn Sink) {
        self.shared.look_for_daemon(now, sink);
        self.shared.flush_closes(sink);
    }

    /// When [`on_timer`](Self::on_timer) is to be called again; `None` if not before the next
    /// message or the next end of a flow.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        let shared = &self.shared;
        let every = shared.config.ready_every;
        let (afresh, ready_at) = {
            let way = lock(&shared.way);
            (way.afresh, way.ready_at)
        };
        let until = shared.link.alive_until();
        let dies = if afresh || shared.link.epoch() == 0 {
            Some(ready_at + every)
        } else {
            (until != Timestamp(u64::MAX)).then(|| (until + Micros(1)).max(ready_at + every))
        };
        let closes = !lock(&shared.closes).is_empty();
        let retry = closes.then(|| ready_at + every);
        [dies, retry].into_iter().flatten().min()
    }

    /// Opens a flow, and announces it at once if a daemon is there.
    ///
    /// # Errors
    /// If there are as many as the configuration allows.
    pub fn open(
        &self,
        now: Timestamp,
        spec: FlowSpec,
        sink: &mut dyn Sink,
    ) -> Result<Connection, OpenError> {
        let shared = &self.shared;
        let flow = shared.flows.open(MailBox::new);
        let (sock_id, mail) = flow.ok_or_else(|| OpenError::TooMany {
            limit: shared.flows.limit(),
        })?;
        count(&shared.stats.opened);
        Ok(Connection::new(shared, now, sock_id, mail, spec, sink))
    }

    /// A set of measurements, all 0 but round-trip times and thresholds, which are unknown
    /// (`u64::MAX`).
    #[must_use]
    pub fn measurements(&self) -> Measurements {
        Measurements::new(&self.shared.config.registers, &self.shared.events)
    }

    /// The measurement called `name`.
    #[must_use]
    pub fn primitive(&self, name: &str) -> Option<Primitive> {
        let (place, _) = self.shared.config.registers.primitive(name)?;
        Some(Primitive(place))
    }

    /// The writable register called `name`.
    #[must_use]
    pub fn writable(&self, name: &str) -> Option<Writable> {
        let (place, _) = self.shared.config.registers.writable(name)?;
        Some(Writable(place))
    }

    /// Whether a daemon is there and alive at `now`.
    #[must_use]
    pub fn is_steered(&self, now: Timestamp) -> bool {
        self.shared.link.is_alive(now)
    }

    /// How many flows there are.
    #[must_use]
    pub fn flow_count(&self) -> usize {
        self.shared.flows.len()
    }

    /// What was counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.stats.read()
    }
}

impl Shared {
    fn look_for_daemon(&self, now: Timestamp, sink: &mut dyn Sink) {
        let mut way = lock(&self.way);
        if !way.afresh && self.link.is_alive(now) {
            return;
        }
        let due = way.ready_at + self.config.ready_every;
        if way.ready_at != Timestamp::default() && now < due {
            return;
        }
        way.ready_at = now.max(Timestamp(1));
        let ready = Ready {
            id: self.config.id,
            capabilities: Some(self.capabilities()),
        };
        let mut frame = BytesMut::new();
        // A table that has no place in READY (names that are none, too many) is the embedder's mistake:
        // libccp's READY says less, and works.
        if ready.encode(&mut frame).is_err() {
            let plain = Ready {
                id: self.config.id,
                capabilities: None,
            };
            if plain.encode(&mut frame).is_err() {
                return;
            }
        }
        if sink.send(&frame).is_ok() {
            count(&self.stats.readies);
            way.asked = true;
        }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.config.registers.clone(), self.config.limits)
    }

    /// Tells the end of a flow, now or later.
    pub(crate) fn close(&self, end: MeasureBuf, sink: Option<&mut dyn Sink>) {
        let mut closes = lock(&self.closes);
        if let Some(sink) = sink {
            Self::flush(&mut closes, sink);
            if closes.is_empty() && Self::tell(&end, sink).is_ok() {
                return;
            }
        }
        if closes.len() < MOST_CLOSES {
            closes.push_back(end);
            return;
        }
        closes.clear();
        drop(closes);
        count(&self.stats.lost_closes);
        self.start_afresh();
    }

    /// The daemon is told READY again: it forgets all flows, and is told those that are there.
    pub(crate) fn start_afresh(&self) {
        lock(&self.way).afresh = true;
    }

    fn flush_closes(&self, sink: &mut dyn Sink) {
        Self::flush(&mut lock(&self.closes), sink);
    }

    fn flush(closes: &mut VecDeque<MeasureBuf>, sink: &mut dyn Sink) {
        while let Some(end) = closes.front() {
            if Self::tell(end, sink).is_err() {
                return;
            }
            closes.pop_front();
        }
    }

    fn tell(end: &MeasureBuf, sink: &mut dyn Sink) -> Result<(), Refused> {
        match end.to_frame() {
            Ok(frame) => sink.send(&frame),
            // The end of a flow always has a place in the format.
            Err(_) => Ok(()),
        }
    }

    pub(crate) fn table(&self) -> (&RegisterTable, &Limits) {
        (&self.config.registers, &self.config.limits)
    }

    /// A flow has gone.
    pub(crate) fn free(&self, sock_id: SockId, generation: u32) {
        self.flows.close(sock_id, generation);
        count(&self.stats.closed);
    }
}
