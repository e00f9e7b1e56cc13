//! The datapaths that use one socket: which there are, whether they are still there, and what of theirs
//! is heard.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ccp_core::{Micros, SessionOptions};
use ccp_wire::{Encode as _, Features, Heartbeat, Kind, frames};
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use super::link::{self, Link};
use super::log_limit::LogLimit;
use crate::flow_task::FlowCell;
use crate::metrics::Count;
use crate::orders::Order;
use crate::outlet::Outlet;
use crate::shared::Shared;

/// So many datapaths may use one socket at once.
const MOST_PEERS: usize = 1024;
/// How often it is looked whether quiet datapaths are still there.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How often datapaths that ask for it are told that the daemon is alive, while what they send is read.
const BEAT_EVERY: Duration = Duration::from_millis(250);
/// Without such a sign for so long, they steer their flows by themselves.
const FALLBACK_AFTER: Micros = Micros::from_millis(1_000);
/// How often a datapath that takes nothing is tried again, for what is not a flow's.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Something is to be looked at: a peer has gone, or takes nothing.
#[derive(Debug, Default)]
pub(super) struct Attention {
    asked: AtomicBool,
    wake: Notify,
}

impl Attention {
    /// Asks for it.
    pub(super) fn ask(&self) {
        if !self.asked.swap(true, Ordering::Relaxed) {
            self.wake.notify_one();
        }
    }

    /// Waits until somebody asks for it.
    pub(super) async fn asked(&self) {
        self.wake.notified().await;
    }
}

/// The way to one datapath.
pub(super) trait Peer: Outlet {
    /// Whose process it is.
    fn uid(&self) -> u32;

    /// Whether it can't be answered any more.
    fn is_gone(&self) -> bool;

    /// Looks whether it is still there.
    fn probe(&self);

    /// Sends something that is not worth a second try.
    fn tell(&self, frame: &[u8]);
}

/// When something is to be done about all datapaths of a socket.
#[derive(Debug)]
pub(super) struct Times {
    probe: Interval,
    beat: Interval,
    retry: Interval,
    backed_up: bool,
}

/// What is to be done about all datapaths of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) enum Due {
    /// Look whether they are still there.
    Probe,
    /// Tell them that the daemon is alive.
    Beat,
    /// Try again to tell them what they did not take.
    Retry,
}

impl Times {
    pub(super) fn new() -> Self {
        let every = |period| {
            let mut interval = interval(period);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        };
        Self {
            probe: every(PROBE_EVERY),
            beat: every(BEAT_EVERY),
            retry: every(RETRY_EVERY),
            backed_up: false,
        }
    }

    /// Waits until something is to be done. Nothing is lost if the wait is given up.
    pub(super) async fn due(&mut self) -> Due {
        tokio::select! {
            _ = self.probe.tick() => Due::Probe,
            _ = self.beat.tick() => Due::Beat,
            _ = self.retry.tick(), if self.backed_up => Due::Retry,
        }
    }
}

/// A datapath that is known.
#[derive(Debug)]
struct Known<P> {
    peer: Arc<P>,
    link: Link,
}

/// What became of a datagram.
#[derive(Debug)]
pub(super) enum Heard {
    /// It was taken. If there was a report in it: the flow that has it, for which the caller does what there
    /// is to do, or wakes its task.
    Taken(Option<Arc<FlowCell>>),
    /// Its sender is not known.
    Stranger,
    /// Its sender's address is that of a datapath of this user, who did not send it.
    OtherUser(u32),
}

/// The datapaths that use one socket, by their addresses.
#[derive(Debug)]
pub(super) struct Peers<K, P> {
    /// The socket's name in the configuration.
    name: String,
    max_flows: usize,
    known: HashMap<K, Known<P>>,
    attention: Arc<Attention>,
    /// Another one each time that the daemon starts: a datapath that was there before announces its flows
    /// again.
    epoch: u32,
    beat: u32,
    shared: Arc<Shared>,
    log: LogLimit,
}

impl<K: Eq + Hash, P: Peer> Peers<K, P> {
    /// None yet.
    pub(super) fn new(name: String, max_flows: u32, shared: &Arc<Shared>) -> Self {
        Self {
            name,
            max_flows: usize::try_from(max_flows).unwrap_or(usize::MAX),
            known: HashMap::new(),
            attention: Arc::default(),
            epoch: new_epoch(),
            beat: 0,
            shared: Arc::clone(shared),
            log: LogLimit::new(Instant::now()),
        }
    }

    /// What a peer asks for when it has gone.
    pub(super) const fn attention(&self) -> &Arc<Attention> {
        &self.attention
    }

    /// The peers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &P)> {
        self.known.iter().map(|(key, known)| (key, &*known.peer))
    }

    /// The user `uid` sent `bytes` from `key`.
    pub(super) fn hear<Q>(&mut self, key: &Q, uid: u32, bytes: &[u8]) -> Heard
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(known) = self.known.get_mut(key) else {
            return Heard::Stranger;
        };
        if known.peer.uid() != uid {
            return Heard::OtherUser(known.peer.uid());
        }
        if begins_with_ready(bytes) {
            known.peer.probe();
        }
        let flow = known.link.on_bytes(bytes);
        if known.link.is_backed_up() {
            self.attention.ask();
        }
        Heard::Taken(flow)
    }

    /// Whether a further one of the user `uid` may come; it was refused if not.
    pub(super) fn has_room(&mut self, _uid: u32) -> bool {
        let room = self.known.len() < MOST_PEERS;
        if !room {
            let why = "there are as many datapaths as are served";
            self.refuse(Count::RefusedDatapaths, why);
        }
        room
    }

    /// One that was not known before, called `name` in logs, sent `bytes` first. Returns what
    /// [`Heard::Taken`] does.
    #[must_use]
    pub(super) fn admit(
        &mut self,
        key: K,
        name: String,
        peer: P,
        bytes: &[u8],
    ) -> Option<Arc<FlowCell>> {
        let options = SessionOptions {
            max_flows: self.max_flows,
            epoch: self.epoch,
            heartbeat: Micros(BEAT_EVERY.as_micros() as u64),
            fallback_after: FALLBACK_AFTER,
            ..SessionOptions::default()
        };
        let peer = Arc::new(peer);
        let outlet = Arc::clone(&peer);
        let mut link = Link::new(&self.name, name, outlet, options, &self.shared);
        let flow = link.on_bytes(bytes);
        if link.is_backed_up() {
            self.attention.ask();
        }
        self.known.insert(key, Known { peer, link });
        flow
    }

    /// The one at `key` is not there any more.
    pub(super) fn remove<Q>(&mut self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if let Some(mut known) = self.known.remove(key) {
            known.link.disconnect();
        }
    }

    /// Counts and says that something was not taken.
    pub(super) fn refuse(&mut self, refusal: Count, why: &str) {
        self.shared.metrics.count(refusal, 1);
        if let Some(line) = self.log.line(Instant::now()) {
            warn!(datapath = %self.name, why, swallowed = line.swallowed, "a datagram was dropped");
        }
    }

    /// Nobody is served any more: flows' tasks end, and write nothing more.
    pub(super) fn stop(&mut self) {
        self.known.clear();
    }

    /// Does what was ordered.
    pub(super) fn obey(&mut self, order: Order) {
        link::obey(order, self.known.values_mut().map(|known| &mut known.link));
        // Programs may wait for a datapath to take them.
        self.attention.ask();
    }

    /// Does what is due.
    pub(super) fn on_time(&mut self, due: Due) {
        match due {
            // Which have gone without anybody having tried to answer them.
            Due::Probe => self.known.values().for_each(|known| known.peer.probe()),
            Due::Beat => self.beat(),
            Due::Retry => self.attention.ask(),
        }
    }

    /// Tells datapaths that the daemon is alive.
    fn beat(&mut self) {
        self.beat = self.beat.wrapping_add(1);
        let beat = Heartbeat {
            epoch: self.epoch,
            beat: self.beat,
        };
        let Ok(frame) = beat.to_frame() else { return };
        for known in self.known.values_mut() {
            known.link.publish();
            let features = known.link.session().programs().features();
            if features.contains(Features::HEARTBEAT) {
                known.peer.tell(&frame);
            }
        }
    }

    /// Ends what belongs to datapaths that have gone, or that ask and never read, and tries again to
    /// tell the others what they did not take.
    pub(super) fn attend(&mut self, times: &mut Times) {
        if !self.attention.asked.swap(false, Ordering::Relaxed) {
            return;
        }
        let mut backed_up = false;
        self.known.retain(|_, known| {
            let gone = known.peer.is_gone();
            if !gone && !known.link.is_flooding() {
                backed_up |= !known.link.flush();
                return true;
            }
            if !gone {
                self.shared.metrics.count(Count::RefusedFlooding, 1);
                let datapath = known.link.name();
                warn!(%datapath, "a datapath asks and never reads: hanging up");
            }
            known.link.disconnect();
            false
        });
        times.backed_up = backed_up;
    }
}

/// A number that the daemon which ran here before most likely did not have; not 0.
fn new_epoch() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = since.unwrap_or_default().as_micros();
    // The low bits are those that differ.
    (micros as u32).max(1)
}

/// Whether a datapath says that it has just started.
fn begins_with_ready(bytes: &[u8]) -> bool {
    frames(bytes).next().is_some_and(|frame| {
        let kind = frame.map(|frame| frame.kind);
        kind.is_ok_and(|kind| kind == Kind::Ready)
    })
}
