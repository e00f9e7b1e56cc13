//! The datapaths that use one socket: which there are, whether they are still there, and what of theirs
//! is heard.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ccp_core::{Micros, SessionOptions};
use ccp_wire::{Encode as _, Features, Heartbeat, Kind, frames};
use foldhash::fast::RandomState;
use rustix::process::geteuid;
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use super::budget::Budget;
use super::link::{self, Handed, Link};
use super::room::{Level, Room};
use crate::config::SocketLimits;
use crate::metrics::Count;
use crate::orders::Order;
use crate::outlet::Outlet;
use crate::shared::Shared;

/// What READY costs of the budget for what makes no sense, when it is not the first: all programs are sent
/// anew.
const READY_COST: u32 = 100;
/// A datapath may have so many more flows for a moment than its limit says: those that have ended, but whose
/// tasks have not.
const ENDING: u32 = 1024;
/// How often it is looked whether quiet datapaths are still there.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How often datapaths that ask for it are told that the daemon is alive, while what they send is read.
const BEAT_EVERY: Duration = Duration::from_millis(250);
/// Without such a sign for so long, they steer their flows by themselves.
const FALLBACK_AFTER: Micros = Micros::from_millis(1_000);
/// How often a datapath that takes nothing is tried again, for what is not a flow's.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// Why a datapath is hung up on that lets lie what it asks for.
const DEAF: &str = "it asks and never reads";

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
    budget: Budget,
}

/// A datapath that is not listened to.
#[derive(Clone, Copy, Debug)]
struct Muted {
    uid: u32,
    until: Instant,
}

/// What became of a datagram.
#[derive(Debug)]
pub(super) enum Heard<'m> {
    /// It was taken. If there was a report in it: the flow that has it, for which the caller does what there
    /// is to do, or wakes its task.
    Taken(Option<Handed<'m>>),
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
    limits: SocketLimits,
    known: HashMap<K, Known<P>, RandomState>,
    muted: HashMap<K, Muted>,
    /// Of all flows.
    total: Arc<Level>,
    /// Of the flows of each user.
    of_users: HashMap<u32, Weak<Level>>,
    attention: Arc<Attention>,
    /// Another one each time that the daemon starts: a datapath that was there before announces its flows
    /// again.
    epoch: u32,
    beat: u32,
    shared: Arc<Shared>,
}

impl<K: Clone + Eq + Hash, P: Peer> Peers<K, P> {
    /// None yet.
    pub(super) fn new(name: String, limits: SocketLimits, shared: &Arc<Shared>) -> Self {
        Self {
            name,
            total: Level::new("max_flows_total", limits.max_flows_total),
            limits,
            known: HashMap::default(),
            muted: HashMap::new(),
            of_users: HashMap::new(),
            attention: Arc::default(),
            epoch: new_epoch(),
            beat: 0,
            shared: Arc::clone(shared),
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
    pub(super) fn hear<'m, Q>(&mut self, key: &Q, uid: u32, bytes: &'m [u8]) -> Heard<'m>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let Some(known) = self.known.get_mut(key) else {
            return match self.is_muted(key, uid) {
                true => Heard::Taken(None),
                false => Heard::Stranger,
            };
        };
        if known.peer.uid() != uid {
            return Heard::OtherUser(known.peer.uid());
        }
        let mut cost = 0;
        if begins_with_ready(bytes) {
            known.peer.probe();
            cost = READY_COST;
        }
        let handed = known.link.on_bytes(bytes);
        if known.link.is_backed_up() {
            self.attention.ask();
        }
        cost += known.link.take_malformed();
        let why = if cost > 0 && !known.budget.spend(cost, Instant::now()) {
            Some("it sends too much that is no message, or READY too often")
        } else if known.link.is_flooding() {
            // Here and not only when somebody gets round to attend: what it asks for takes memory.
            Some(DEAF)
        } else {
            None
        };
        if let Some(why) = why
            && let Some((key, _)) = self.known.get_key_value(key)
        {
            self.mute(&key.clone(), why);
        }
        Heard::Taken(handed)
    }

    /// Whether nothing is heard of `key` for a while.
    fn is_muted<Q>(&mut self, key: &Q, uid: u32) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        if self.muted.is_empty() {
            return false;
        }
        let muted = self.muted.get(key).copied();
        let muted = muted.is_some_and(|muted| muted.uid == uid && Instant::now() < muted.until);
        self.shared
            .metrics
            .count(Count::RefusedMuted, u64::from(muted));
        muted
    }

    /// The datapath at `key` is hung up on, and nothing is heard of it for a while.
    fn mute(&mut self, key: &K, why: &str) {
        let Some(mut known) = self.known.remove(key) else {
            return;
        };
        self.shared.metrics.count(Count::RefusedFlooding, 1);
        warn!(
            datapath = %known.link.name(),
            why,
            muted_for = ?self.limits.mute,
            "a datapath is hung up on; its flows run natively"
        );
        known.link.farewell();
        known.link.disconnect();
        let muted = Muted {
            uid: known.peer.uid(),
            until: Instant::now() + self.limits.mute,
        };
        self.muted.insert(key.clone(), muted);
    }

    /// Whether a further one of the user `uid` may come; it was refused if not.
    pub(super) fn has_room(&mut self, uid: u32) -> bool {
        // Those that are muted have a place as well, so that nobody makes place by being muted.
        let known = self.known.values().map(|known| known.peer.uid());
        let users = known.chain(self.muted.values().map(|muted| muted.uid));
        let (mut all, mut of_user) = (0, 0);
        for user in users {
            all += 1;
            of_user += u32::from(user == uid);
        }
        let limits = &self.limits;
        let why = if all >= limits.max_datapaths {
            format!(
                "there are as many datapaths as are served (max_datapaths = {})",
                limits.max_datapaths
            )
        } else if !is_trusted(uid) && of_user >= limits.datapaths_per_user() {
            format!(
                "user {uid} has as many datapaths as are served (max_datapaths_per_user = {})",
                limits.datapaths_per_user()
            )
        } else {
            return true;
        };
        self.refuse(Count::RefusedDatapaths, &why);
        false
    }

    /// What holds for the flows of a datapath of `uid`.
    fn room_of(&mut self, uid: u32) -> Arc<Room> {
        let of_datapath = Level::new("max_flows", self.limits.max_flows.saturating_add(ENDING));
        let mut levels = vec![of_datapath, Arc::clone(&self.total)];
        if !is_trusted(uid) {
            let known = self.of_users.get(&uid).and_then(Weak::upgrade);
            let level = known.unwrap_or_else(|| {
                let most = self.limits.flows_per_user();
                let level = Level::new("max_flows_per_user", most);
                self.of_users.retain(|_, level| level.strong_count() > 0);
                self.of_users.insert(uid, Arc::downgrade(&level));
                level
            });
            levels.push(level);
        }
        Room::new(levels)
    }

    /// One that was not known before, called `name` in logs, sent `bytes` first. Returns what
    /// [`Heard::Taken`] does.
    #[must_use]
    pub(super) fn admit<'m>(
        &mut self,
        key: K,
        name: String,
        peer: Arc<P>,
        bytes: &'m [u8],
    ) -> Option<Handed<'m>> {
        let options = SessionOptions {
            max_flows: usize::try_from(self.limits.max_flows).unwrap_or(usize::MAX),
            epoch: self.epoch,
            heartbeat: Micros(BEAT_EVERY.as_micros() as u64),
            fallback_after: FALLBACK_AFTER,
            ..SessionOptions::default()
        };
        let uid = peer.uid();
        let outlet = Arc::clone(&peer);
        let mut link = Link::new(&self.name, name, outlet, options, &self.shared);
        link.limit(self.room_of(uid));
        let handed = link.on_bytes(bytes);
        if link.is_backed_up() {
            self.attention.ask();
        }
        let mut budget = Budget::new(self.limits.max_malformed_per_s, Instant::now());
        budget.spend(link.take_malformed(), Instant::now());
        self.muted.remove(&key);
        self.known.insert(key, Known { peer, link, budget });
        handed
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
        warn!(datapath = %self.name, why, "a datagram was dropped");
    }

    /// Nobody is served any more: flows' tasks end, and write nothing more.
    pub(super) fn stop(&mut self) {
        for known in self.known.values_mut() {
            known.link.farewell();
        }
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
        if !self.muted.is_empty() {
            let now = Instant::now();
            self.muted.retain(|_, muted| now < muted.until);
        }
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
        let mut deaf = Vec::new();
        self.known.retain(|key, known| {
            if known.peer.is_gone() {
                known.link.disconnect();
                return false;
            }
            if known.link.is_flooding() {
                deaf.push(key.clone());
            } else {
                backed_up |= !known.link.flush();
            }
            true
        });
        for key in deaf {
            self.mute(&key, DEAF);
        }
        times.backed_up = backed_up;
    }
}

/// Whether no limits are needed for one user: root and the daemon's own could do worse.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == geteuid().as_raw()
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
    const FIRST: u8 = Kind::Ready.to_wire() as u8;
    // Most are reports: those are not cut in frames for this.
    bytes.first() == Some(&FIRST)
        && frames(bytes).next().is_some_and(|frame| {
            let kind = frame.map(|frame| frame.kind);
            kind.is_ok_and(|kind| kind == Kind::Ready)
        })
}
