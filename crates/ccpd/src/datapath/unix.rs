//! libccp datapaths on a Unix datagram socket.
//!
//! The socket is bound at a configured path. Every datapath binds a path of its own, by which it is
//! answered; it is known by that path and by its user, whom the kernel tells with each datagram. Several
//! use one socket at once. One that does not read costs its own flows
//! their updates and nobody else anything; one that has gone is noticed when it can't be answered, or
//! within two seconds.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ccp_control::plain;
use rustix::io::{Errno, ioctl_fionbio};
use rustix::net::sockopt::{Timeout, set_socket_passcred, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, connect, getsockname, send, socket_with,
};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::info;

use super::link::Handed;
use super::peers::{Attention, Due, Heard, Peers, Times};
use super::readers::{LOOK_EVERY, Readers, Source};
use crate::config::UnixConfig;
use crate::error::in_full;
use crate::metrics::Count;
use crate::orders::Order;
use crate::shared::Shared;
use crate::socket_file::{Places, SocketError, SocketFile};
use peer::UnixPeer;
use receive::{Datagram, Receiver};
use reply::Target;

mod frames;
mod peer;
mod receive;
mod reply;

/// If nobody can send to the socket by its path, who reads it looks up so often.
const LOOK_UP_EVERY: Duration = Duration::from_millis(250);

/// A bound socket and the datapaths that use it.
#[derive(Debug)]
pub(crate) struct UnixDatapath {
    socket: Arc<Socket>,
    /// Removes the socket when dropped.
    _file: SocketFile,
    path: String,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
}

/// What threads read.
#[derive(Debug)]
struct Socket {
    fd: Arc<OwnedFd>,
    /// Connected to it.
    rouser: OwnedFd,
    attention: Arc<Attention>,
    served: Mutex<Served>,
}

/// The datapaths that use a socket.
#[derive(Debug)]
struct Served {
    fd: Arc<OwnedFd>,
    /// By the path that they are bound at.
    peers: Peers<OsString, UnixPeer>,
    /// Nothing is taken any more.
    stopped: bool,
}

impl UnixDatapath {
    /// Makes the socket that `config` describes.
    pub(crate) fn bind(
        config: &UnixConfig,
        places: &mut Places,
        shared: &Arc<Shared>,
    ) -> Result<Self, SocketError> {
        let (file, fd) = SocketFile::datagram(&config.path, config.mode, places)?;
        let cannot = |source: io::Error| SocketError::Io {
            what: "ask for senders' credentials on",
            path: config.path.clone(),
            source,
        };
        // Again where the socket was made elsewhere.
        set_socket_passcred(&fd, true).map_err(|error| cannot(error.into()))?;
        let rouser = rouser(&fd).map_err(|source| SocketError::Io {
            what: "read from",
            path: config.path.clone(),
            source: source.into(),
        })?;
        let path = config.path.display().to_string();
        let peers = Peers::new(path.clone(), config.limits.clone(), shared);
        let fd = Arc::new(fd);
        Ok(Self {
            socket: Arc::new(Socket {
                fd: Arc::clone(&fd),
                rouser,
                attention: Arc::clone(peers.attention()),
                served: Mutex::new(Served {
                    fd,
                    peers,
                    stopped: false,
                }),
            }),
            _file: file,
            path,
            shared: Arc::clone(shared),
            orders: shared.orders.listen(),
        })
    }

    /// Serves datapaths until the daemon stops.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        let mut readers = Readers::start(&self.path, Arc::clone(&self.socket))?;
        info!(path = %self.path, "listening for libccp datapaths");
        let served = self.serve(&mut readers).await;
        self.socket.served().stop();
        readers.stop().await;
        served
    }

    async fn serve(&mut self, readers: &mut Readers<Socket>) -> io::Result<()> {
        let stop = self.shared.stop.clone();
        let socket = Arc::clone(&self.socket);
        let mut times = Times::new();
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut is_read = true;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                error = readers.failed() => return Err(error),
                Some(order) = self.orders.recv() => socket.served().peers.obey(order),
                () = socket.attention.asked() => {}
                due = times.due() => match due {
                    // It says that they are heard.
                    Due::Beat if !is_read => {}
                    due => socket.served().peers.on_time(due),
                },
                _ = look.tick() => {
                    is_read = readers.look();
                    continue;
                }
            }
            socket.served().peers.attend(&mut times);
        }
    }
}

/// Something that wakes up who reads `socket`, and waits in the system call that does.
fn rouser(socket: &OwnedFd) -> Result<OwnedFd, Errno> {
    ioctl_fionbio(socket, false)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let rouser = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
    if connect(&rouser, &getsockname(socket)?).is_err() {
        // Its mode forbids it.
        set_socket_timeout(socket, Timeout::Recv, Some(LOOK_UP_EVERY))?;
    }
    Ok(rouser)
}

/// A datapath's path for logs: it chose that itself.
fn shown(path: &Path) -> String {
    plain(&path.to_string_lossy()).into_owned()
}

impl Socket {
    fn served(&self) -> MutexGuard<'_, Served> {
        self.served.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Socket {
    type Batch = Receiver;

    fn batch(&self) -> Receiver {
        Receiver::new()
    }

    fn read(&self, batch: &mut Receiver) -> io::Result<()> {
        batch.read(&self.fd)
    }

    fn take<'b>(&self, batch: &'b mut Receiver) -> Option<Option<Handed<'b>>> {
        let datagram = batch.next()?;
        Some(self.served().on_datagram(&datagram))
    }

    fn is_empty(&self, batch: &Receiver) -> bool {
        batch.is_empty()
    }

    fn rouse(&self) {
        // If its queue is full, nobody waits.
        let _ = send(&self.rouser, &[], SendFlags::empty());
    }
}

impl Served {
    fn stop(&mut self) {
        self.stopped = true;
        self.peers.stop();
    }

    fn on_datagram<'b>(&mut self, datagram: &Datagram<'b>) -> Option<Handed<'b>> {
        if self.stopped {
            return None;
        }
        let (Some(from), Some(uid)) = (datagram.from, datagram.uid) else {
            let why =
                "a sender has no path, or sends along what is not taken: it could not be answered";
            self.peers.refuse(Count::RefusedUnanswerable, why);
            return None;
        };
        let key = from.as_os_str();
        match self.peers.hear(key, uid, datagram.bytes) {
            Heard::Taken(handed) => return handed,
            Heard::Stranger => {}
            // Either the path is theirs by now, or they only say so.
            Heard::OtherUser(owner) => {
                if let Err(error) = Target::open(from, uid) {
                    let (path, why) = (shown(from), in_full(&error));
                    let why =
                        format!("{path} is the datapath of user {owner}, not of user {uid}: {why}");
                    self.peers.refuse(Count::RefusedOtherUser, &why);
                    return None;
                }
                self.peers.remove(key);
            }
        }
        if !self.peers.has_room(uid) {
            return None;
        }
        match UnixPeer::new(from, uid, &self.fd, self.peers.attention()) {
            Ok(peer) => {
                let name = shown(from);
                self.peers.admit(key.to_owned(), name, peer, datagram.bytes)
            }
            Err(error) => {
                let why = format!("{} is not answered: {}", shown(from), in_full(&error));
                self.peers.refuse(Count::RefusedUnanswerable, &why);
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
