//! libccp datapaths on a Unix datagram socket.
//!
//! The socket is bound at a configured path. Every datapath binds a path of its own, by which it is
//! answered; it is known by that path and by its user, whom the kernel tells with each datagram. Several
//! use one socket at once. One that does not read costs its own flows
//! their updates and nobody else anything; one that has gone is noticed when it can't be answered, or
//! within [`PROBE_EVERY`].

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ccp_core::{Micros, SessionOptions};
use ccp_wire::{Encode as _, Features, Heartbeat, Kind, frames};
use nix::sys::socket::UnixAddr;
use rustix::net::sockopt::set_socket_passcred;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use super::link::{self, Link};
use super::log_limit::LogLimit;
use crate::config::UnixConfig;
use crate::error::in_full;
use crate::orders::Order;
use crate::refusals::Refusal;
use crate::shared::Shared;
use crate::socket_file::{Directories, SocketError, SocketFile};
use crate::turns::give_way;
use peer::Peer;
use receive::{Datagram, Receiver};
use reply::Target;

mod peer;
mod receive;
mod reply;

/// After so many datagrams in a row, or so long, others get their turn.
const BATCH: usize = 64;
const SLICE: Duration = Duration::from_millis(2);
/// So many datapaths may use one socket at once.
const MOST_PEERS: usize = 1024;
/// How often it is looked whether quiet datapaths are still there.
const PROBE_EVERY: Duration = Duration::from_secs(2);
/// How often datapaths that ask for it are told that the daemon is alive, by the task that reads what they
/// send.
const BEAT_EVERY: Duration = Duration::from_millis(250);
/// Without such a sign for so long, they steer their flows by themselves.
const FALLBACK_AFTER: Micros = Micros::from_millis(1_000);
/// How often a datapath that takes nothing is tried again, for what is not a flow's.
const RETRY_EVERY: Duration = Duration::from_millis(10);

/// A bound socket and the datapaths that use it.
#[derive(Debug)]
pub(crate) struct UnixDatapath {
    socket: Arc<UnixDatagram>,
    /// Removes the socket when dropped.
    _file: SocketFile,
    config: UnixConfig,
    name: String,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
    /// By the path that they are bound at.
    peers: HashMap<OsString, Known>,
    /// Something is to be looked at: a peer has gone, or takes nothing.
    attention: Arc<AtomicBool>,
    /// Another one each time that the daemon starts: a datapath that was there before announces its flows
    /// again.
    epoch: u32,
    beat: u32,
    log: LogLimit,
}

#[derive(Debug)]
struct Known {
    peer: Arc<Peer>,
    link: Link,
}

impl UnixDatapath {
    /// Makes the socket that `config` describes.
    pub(crate) fn bind(
        config: UnixConfig,
        directories: &mut Directories,
        shared: &Arc<Shared>,
    ) -> Result<Self, SocketError> {
        let (file, socket) = SocketFile::datagram(&config.path, config.mode, directories)?;
        let cannot = |source: io::Error| SocketError::Io {
            what: "ask for senders' credentials on",
            path: config.path.clone(),
            source,
        };
        // Again where the socket was made elsewhere.
        set_socket_passcred(&socket, true).map_err(|error| cannot(error.into()))?;
        let socket = UnixDatagram::from_std(socket.into()).map_err(|source| SocketError::Io {
            what: "read from",
            path: config.path.clone(),
            source,
        })?;
        Ok(Self {
            socket: Arc::new(socket),
            _file: file,
            name: config.path.display().to_string(),
            config,
            shared: Arc::clone(shared),
            orders: shared.orders.listen(),
            peers: HashMap::new(),
            attention: Arc::default(),
            epoch: new_epoch(),
            beat: 0,
            log: LogLimit::new(Instant::now()),
        })
    }

    /// Serves datapaths until the daemon stops.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        info!(path = %self.name, "listening for libccp datapaths");
        let stop = self.shared.stop.clone();
        let socket = Arc::clone(&self.socket);
        let mut receiver = Receiver::new();
        let mut probe = interval(PROBE_EVERY);
        probe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut retry = interval(RETRY_EVERY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beat = interval(BEAT_EVERY);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut backed_up = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ready = socket.readable() => {
                    ready?;
                    if self.read(&mut receiver)? {
                        // Others get their turn, however much there is to read.
                        give_way().await;
                    }
                }
                Some(order) = self.orders.recv() => self.obey(order),
                _ = probe.tick() => self.probe(),
                _ = beat.tick() => self.beat(),
                _ = retry.tick(), if backed_up => self.attention.store(true, Ordering::Relaxed),
            }
            if self.attention.swap(false, Ordering::Relaxed) {
                backed_up = self.attend();
            }
        }
    }

    fn obey(&mut self, order: Order) {
        link::obey(order, self.peers.values_mut().map(|known| &mut known.link));
        // Programs may wait for a datapath to take them.
        self.attention.store(true, Ordering::Relaxed);
    }

    /// Reads for a while. Returns whether there may be more.
    fn read(&mut self, receiver: &mut Receiver) -> io::Result<bool> {
        let socket = Arc::clone(&self.socket);
        let until = Instant::now() + SLICE;
        for _ in 0..BATCH {
            match receiver.read(&socket) {
                Ok(datagram) => self.on_datagram(&datagram),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                break;
            }
        }
        Ok(true)
    }

    fn on_datagram(&mut self, datagram: &Datagram<'_>) {
        let from = datagram.from.as_ref().and_then(UnixAddr::path);
        let (Some(from), Some(uid)) = (from, datagram.uid) else {
            let why =
                "a sender has no path, or sends along what is not taken: it could not be answered";
            self.refuse(Refusal::Unanswerable, why);
            return;
        };
        let bytes = datagram.bytes;
        if let Some(known) = self.peers.get_mut(from.as_os_str()) {
            if known.peer.uid() == uid {
                if begins_with_ready(bytes) {
                    known.peer.probe();
                }
                known.link.on_bytes(bytes);
                if known.link.is_backed_up() {
                    self.attention.store(true, Ordering::Relaxed);
                }
                return;
            }
            // Another user at the same path: either it is theirs by now, or they only say so.
            if let Err(error) = Target::open(from, uid) {
                let why = format!(
                    "{} is the datapath of user {}, not of user {uid}: {}",
                    from.display(),
                    known.peer.uid(),
                    in_full(&error)
                );
                self.refuse(Refusal::OtherUser, &why);
                return;
            }
            known.link.disconnect();
            self.peers.remove(from.as_os_str());
        }
        if self.peers.len() >= MOST_PEERS {
            let why = "there are as many datapaths as are served";
            self.refuse(Refusal::Datapaths, why);
            return;
        }
        let peer = match Peer::new(from, uid, &self.socket, &self.attention) {
            Ok(peer) => Arc::new(peer),
            Err(error) => {
                let why = format!("{} is not answered: {}", from.display(), in_full(&error));
                self.refuse(Refusal::Unanswerable, &why);
                return;
            }
        };
        let options = SessionOptions {
            max_flows: usize::try_from(self.config.max_flows).unwrap_or(usize::MAX),
            epoch: self.epoch,
            heartbeat: Micros(BEAT_EVERY.as_micros() as u64),
            fallback_after: FALLBACK_AFTER,
            ..SessionOptions::default()
        };
        let outlet = Arc::clone(&peer);
        let name = from.display().to_string();
        let mut link = Link::new(&self.name, name, outlet, options, &self.shared);
        link.on_bytes(bytes);
        if link.is_backed_up() {
            self.attention.store(true, Ordering::Relaxed);
        }
        self.peers
            .insert(from.as_os_str().to_owned(), Known { peer, link });
    }

    /// Looks which datapaths have gone without anybody having tried to answer them.
    fn probe(&self) {
        for known in self.peers.values() {
            known.peer.probe();
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
        for known in self.peers.values_mut() {
            let features = known.link.session().programs().features();
            if features.contains(Features::HEARTBEAT) {
                known.peer.tell(&frame);
            }
        }
    }

    /// Ends what belongs to datapaths that have gone, or that ask and never read, and tries again to
    /// tell the others what they did not take. Returns whether some still take nothing.
    fn attend(&mut self) -> bool {
        let mut backed_up = false;
        self.peers.retain(|path, known| {
            let gone = known.peer.is_gone();
            if !gone && !known.link.is_flooding() {
                backed_up |= !known.link.flush();
                return true;
            }
            if !gone {
                let path = path.display();
                warn!(%path, "a datapath asks and never reads: hanging up");
            }
            known.link.disconnect();
            false
        });
        backed_up
    }

    fn refuse(&mut self, refusal: Refusal, why: &str) {
        self.shared.refusals.count(refusal);
        if let Some(line) = self.log.line(Instant::now()) {
            warn!(path = %self.name, why, swallowed = line.swallowed, "a datagram was dropped");
        }
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
