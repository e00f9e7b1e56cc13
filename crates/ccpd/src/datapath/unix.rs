//! libccp datapaths on a Unix datagram socket.
//!
//! The socket is bound at a configured path. Every datapath binds a path of its own, by which it is
//! answered; it is known by that path and by its user, whom the kernel tells with each datagram. Several
//! use one socket at once. One that does not read costs its own flows
//! their updates and nobody else anything; one that has gone is noticed when it can't be answered, or
//! within two seconds.

use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Instant;

use nix::sys::socket::UnixAddr;
use rustix::net::sockopt::set_socket_passcred;
use tokio::net::UnixDatagram;
use tokio::sync::mpsc;
use tracing::info;

use super::peers::{BATCH, Heard, Peers, SLICE, Times};
use crate::config::UnixConfig;
use crate::error::in_full;
use crate::metrics::Count;
use crate::orders::Order;
use crate::shared::Shared;
use crate::socket_file::{Places, SocketError, SocketFile};
use crate::turns::give_way;
use peer::UnixPeer;
use receive::{Datagram, Receiver};
use reply::Target;

mod peer;
mod receive;
mod reply;

/// A bound socket and the datapaths that use it.
#[derive(Debug)]
pub(crate) struct UnixDatapath {
    socket: Arc<UnixDatagram>,
    /// Removes the socket when dropped.
    _file: SocketFile,
    /// By the path that they are bound at.
    peers: Peers<OsString, UnixPeer>,
    path: String,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
}

impl UnixDatapath {
    /// Makes the socket that `config` describes.
    pub(crate) fn bind(
        config: &UnixConfig,
        places: &mut Places,
        shared: &Arc<Shared>,
    ) -> Result<Self, SocketError> {
        let (file, socket) = SocketFile::datagram(&config.path, config.mode, places)?;
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
        let path = config.path.display().to_string();
        Ok(Self {
            socket: Arc::new(socket),
            _file: file,
            peers: Peers::new(path.clone(), config.max_flows, shared),
            path,
            shared: Arc::clone(shared),
            orders: shared.orders.listen(),
        })
    }

    /// Serves datapaths until the daemon stops.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        info!(path = %self.path, "listening for libccp datapaths");
        let stop = self.shared.stop.clone();
        let socket = Arc::clone(&self.socket);
        let mut receiver = Receiver::new();
        let mut times = Times::new();
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
                Some(order) = self.orders.recv() => self.peers.obey(order),
                due = times.due() => self.peers.on_time(due),
            }
            self.peers.attend(&mut times);
        }
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
            self.peers.refuse(Count::RefusedUnanswerable, why);
            return;
        };
        let key = from.as_os_str();
        match self.peers.hear(key, uid, datagram.bytes) {
            Heard::Taken => return,
            Heard::Stranger => {}
            // Either the path is theirs by now, or they only say so.
            Heard::OtherUser(owner) => {
                if let Err(error) = Target::open(from, uid) {
                    let (path, why) = (from.display(), in_full(&error));
                    let why =
                        format!("{path} is the datapath of user {owner}, not of user {uid}: {why}");
                    self.peers.refuse(Count::RefusedOtherUser, &why);
                    return;
                }
                self.peers.remove(key);
            }
        }
        if !self.peers.has_room(uid) {
            return;
        }
        match UnixPeer::new(from, uid, &self.socket, self.peers.attention()) {
            Ok(peer) => {
                let name = from.display().to_string();
                self.peers.admit(key.to_owned(), name, peer, datagram.bytes);
            }
            Err(error) => {
                let why = format!("{} is not answered: {}", from.display(), in_full(&error));
                self.peers.refuse(Count::RefusedUnanswerable, &why);
            }
        }
    }
}
