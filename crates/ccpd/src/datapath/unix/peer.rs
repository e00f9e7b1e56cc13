//! The way to one datapath on a Unix datagram socket.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use ccp_core::{Command, ProgramTable};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, connect, send, sendto, socket_with,
};
use thiserror::Error;
use tokio::net::UnixDatagram;
use tracing::{debug, warn};

use super::super::peers::{Attention, Peer};
use super::super::turnstile::Turnstile;
use super::reply::{Target, Untrusted};
use super::shown;
use crate::outlet::{Outlet, Sent};

/// One datapath: a path, and the user who sends from there.
#[derive(Debug)]
pub(super) struct UnixPeer {
    path: PathBuf,
    uid: u32,
    way: Way,
    turnstile: Turnstile,
    frame: Mutex<BytesMut>,
    gone: AtomicBool,
    /// Set when it has gone, for whoever buries it.
    attention: Arc<Attention>,
}

/// By which socket it is answered.
#[derive(Debug)]
enum Way {
    /// One of its own, connected: its queue is nobody else's, and the system tells when there is room
    /// in it.
    Own(OwnedFd),
    /// The daemon's: the datapath listens to the path that it sends to, and to nothing else.
    Common(Arc<OwnedFd>, Mutex<Target>),
}

/// Why there is no way to a datapath.
#[derive(Debug, Error)]
pub(super) enum NoWay {
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    #[error("it can't be connected to")]
    Unreachable(#[source] io::Error),
}

/// A socket to reach somebody with.
fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)
}

/// Waits until the datapath that `own` is connected to takes something. The runtime watches the socket for
/// so long only: it would be woken for everything that the datapath reads.
async fn room(own: &OwnedFd) -> io::Result<()> {
    let watched = UnixDatagram::from_std(own.try_clone()?.into())?;
    watched.writable().await
}

impl UnixPeer {
    /// The way to the datapath of the user `uid` that is bound at `path`; `common` is the daemon's
    /// socket.
    ///
    /// # Errors
    /// If the path can't be trusted to be the sender's, or nobody listens there.
    pub(super) fn new(
        path: &Path,
        uid: u32,
        common: &Arc<OwnedFd>,
        attention: &Arc<Attention>,
    ) -> Result<Self, NoWay> {
        let unreachable = |error: Errno| NoWay::Unreachable(error.into());
        let target = Target::open(path, uid)?;
        let own = new_socket().map_err(unreachable)?;
        let way = match connect(&own, target.address()) {
            Ok(()) => Way::Own(own),
            // It is connected to our path itself.
            Err(Errno::PERM) => Way::Common(Arc::clone(common), Mutex::new(target)),
            Err(error) => return Err(unreachable(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            uid,
            way,
            turnstile: Turnstile::default(),
            frame: Mutex::new(BytesMut::new()),
            gone: AtomicBool::new(false),
            attention: Arc::clone(attention),
        })
    }

    fn lose(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.attention.ask();
    }

    /// Turns to who is bound at its path now, if that is still the same user's.
    fn turn_to_present(&self) -> Result<(), NoWay> {
        let unreachable = |error: Errno| NoWay::Unreachable(error.into());
        let target = Target::open(&self.path, self.uid)?;
        match &self.way {
            Way::Own(own) => connect(own.as_fd(), target.address()).map_err(unreachable),
            Way::Common(_, known) => {
                let Ok(probe) = new_socket() else {
                    return Ok(());
                };
                match connect(&probe, target.address()) {
                    // The latter: it listens to our path only, and is there.
                    Ok(()) | Err(Errno::PERM) => {
                        *known.lock().unwrap_or_else(PoisonError::into_inner) = target;
                        Ok(())
                    }
                    Err(error) => Err(unreachable(error)),
                }
            }
        }
    }

    fn transmit(&self, frame: &[u8]) -> Sent {
        match self.try_send(frame) {
            Ok(()) => Sent::Done,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => Sent::Full,
            Err(Errno::MSGSIZE) => {
                warn!(
                    path = %shown(&self.path),
                    len = frame.len(),
                    "a message is longer than the datapath's socket takes"
                );
                Sent::Done
            }
            Err(error) => {
                debug!(path = %shown(&self.path), %error, "a datapath can't be answered");
                self.lose();
                Sent::Done
            }
        }
    }

    /// Sends without waiting. Not through the runtime's idea of what is writable: on the common
    /// socket one datapath that does not read would look like all of them.
    fn try_send(&self, frame: &[u8]) -> Result<(), Errno> {
        let own = match &self.way {
            Way::Own(own) => own,
            Way::Common(common, target) => {
                let (fd, flags) = (common.as_fd(), SendFlags::DONTWAIT);
                let target = target.lock().unwrap_or_else(PoisonError::into_inner);
                return sendto(fd, frame, flags, target.address()).map(|_| ());
            }
        };
        let send_now = || send(own.as_fd(), frame, SendFlags::DONTWAIT).map(|_| ());
        match send_now() {
            Err(Errno::CONNREFUSED | Errno::NOTCONN | Errno::CONNRESET) => {
                // Another one may have been bound at the path since: the datapath, started again.
                self.turn_to_present().map_err(|_| Errno::CONNREFUSED)?;
                send_now()
            }
            other => other,
        }
    }
}

impl Outlet for UnixPeer {
    fn send(&self, programs: &ProgramTable, command: &Command) -> Sent {
        if self.is_gone() {
            return Sent::Done;
        }
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        frame.clear();
        match programs.encode(command, &mut frame) {
            Ok(true) => {
                let sent = self.transmit(&frame);
                self.turnstile.note(sent);
                sent
            }
            Ok(false) => Sent::Done,
            Err(error) => {
                warn!(path = %shown(&self.path), %error, "a command can't be put in words");
                Sent::Done
            }
        }
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.turnstile.wait(async {
            match &self.way {
                Way::Own(own) => room(own).await,
                Way::Common(..) => Err(ErrorKind::Unsupported.into()),
            }
        }))
    }
}

impl Peer for UnixPeer {
    fn uid(&self) -> u32 {
        self.uid
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// It turns to who is bound at its path now: a datapath that has started again may have come before
    /// the end of the one before was noticed.
    fn probe(&self) {
        if self.turn_to_present().is_err() {
            self.lose();
        }
    }

    fn tell(&self, frame: &[u8]) {
        if !self.is_gone() {
            let _ = self.transmit(frame);
        }
    }
}
