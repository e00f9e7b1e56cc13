//! The way to one datapath on a Unix datagram socket.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::BytesMut;
use ccp_core::{Command, FlowUpdate, ProgramTable};
use ccp_wire::EncodeError;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketFlags, SocketType, connect, sendto, socket_with,
};
use thiserror::Error;
use tokio::net::UnixDatagram;
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::super::peers::{Attention, Peer};
use super::super::turnstile::Turnstile;
use super::frames::{Frames, send_many};
use super::reply::{Target, Untrusted};
use super::shown;
use crate::outlet::{Haste, Outlet, Sent};

/// So many frames lie here at most; nothing is taken before they are sent.
const MOST_LYING: usize = 16;
/// Who waits for room looks so often whether the datapath is known at all.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// One datapath: a path, and the user who sends from there.
#[derive(Debug)]
pub(super) struct UnixPeer {
    path: PathBuf,
    uid: u32,
    way: Way,
    turnstile: Turnstile,
    out: Mutex<Out>,
    gone: AtomicBool,
    /// Set when it has gone, for whoever buries it.
    attention: Arc<Attention>,
    itself: Weak<Self>,
}

/// What it is about to be told.
#[derive(Debug, Default)]
struct Out {
    frames: Frames,
    /// Somebody waits until it takes them.
    awaited: bool,
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
    ) -> Result<Arc<Self>, NoWay> {
        let unreachable = |error: Errno| NoWay::Unreachable(error.into());
        let target = Target::open(path, uid)?;
        let own = new_socket().map_err(unreachable)?;
        let way = match connect(&own, target.address()) {
            Ok(()) => Way::Own(own),
            // It is connected to our path itself.
            Err(Errno::PERM) => Way::Common(Arc::clone(common), Mutex::new(target)),
            Err(error) => return Err(unreachable(error)),
        };
        Ok(Arc::new_cyclic(|itself| Self {
            path: path.to_owned(),
            uid,
            way,
            turnstile: Turnstile::default(),
            out: Mutex::default(),
            gone: AtomicBool::new(false),
            attention: Arc::clone(attention),
            itself: Weak::clone(itself),
        }))
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

    fn out(&self) -> MutexGuard<'_, Out> {
        self.out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a frame behind those that lie here, and sends them if there is haste.
    fn say(
        &self,
        haste: Haste,
        encode: impl FnOnce(&mut BytesMut) -> Result<bool, EncodeError>,
    ) -> Sent {
        if self.is_gone() {
            return Sent::Done;
        }
        let mut out = self.out();
        let frames = &mut out.frames;
        if frames.len() >= MOST_LYING && self.transmit(frames) == Sent::Full {
            return Sent::Full;
        }
        match frames.add(encode) {
            Ok(true) if haste == Haste::Now => {
                let sent = self.transmit(frames);
                if sent == Sent::Full {
                    // Who said it says it again.
                    frames.drop_last();
                }
                sent
            }
            Ok(_) => Sent::Done,
            Err(error) => {
                warn!(path = %shown(&self.path), %error, "a command can't be put in words");
                Sent::Done
            }
        }
    }

    /// Sends `frames`, as far as the datapath takes them.
    fn transmit(&self, frames: &mut Frames) -> Sent {
        let sent = self.try_transmit(frames);
        self.turnstile.note(sent);
        sent
    }

    fn try_transmit(&self, frames: &mut Frames) -> Sent {
        while let Some(first) = frames.first() {
            let len = first.len();
            match self.try_send(frames) {
                Ok(sent) => frames.drop_first(sent),
                Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => {
                    return Sent::Full;
                }
                Err(Errno::MSGSIZE) => {
                    warn!(
                        path = %shown(&self.path),
                        len,
                        "a message is longer than the datapath's socket takes"
                    );
                    frames.drop_first(1);
                }
                Err(error) => {
                    debug!(path = %shown(&self.path), %error, "a datapath can't be answered");
                    self.lose();
                    frames.clear();
                }
            }
        }
        Sent::Done
    }

    /// Sends without waiting; returns how many of `frames`. Not through the runtime's idea of what is
    /// writable: on the common socket one datapath that does not read would look like all of them.
    fn try_send(&self, frames: &Frames) -> Result<usize, Errno> {
        let own = match &self.way {
            Way::Own(own) => own,
            Way::Common(common, target) => {
                let (fd, flags) = (common.as_fd(), SendFlags::DONTWAIT);
                let target = target.lock().unwrap_or_else(PoisonError::into_inner);
                let frame = frames.first().unwrap_or_default();
                return sendto(fd, frame, flags, target.address()).map(|_| 1);
            }
        };
        match send_many(own, frames) {
            Err(Errno::CONNREFUSED | Errno::NOTCONN | Errno::CONNRESET) => {
                // Another one may have been bound at the path since: the datapath, started again.
                self.turn_to_present().map_err(|_| Errno::CONNREFUSED)?;
                send_many(own, frames)
            }
            other => other,
        }
    }

    /// Waits for room for what lies here, as long as anybody knows the datapath.
    async fn send_later(itself: Weak<Self>) {
        while let Some(peer) = itself.upgrade() {
            if timeout(LOOK_EVERY, peer.ready()).await.is_err() {
                continue;
            }
            let mut out = peer.out();
            if peer.is_gone() || peer.transmit(&mut out.frames) == Sent::Done {
                out.awaited = false;
                return;
            }
        }
    }
}

impl Outlet for UnixPeer {
    fn send(&self, programs: &ProgramTable, command: &Command) -> Sent {
        self.say(Haste::Now, |frames| programs.encode(command, frames))
    }

    fn update(&self, programs: &ProgramTable, update: &FlowUpdate, haste: Haste) -> Sent {
        self.say(haste, |frames| {
            programs.encode_update(update, frames)?;
            Ok(true)
        })
    }

    fn flush(&self) {
        let mut out = self.out();
        if out.frames.is_empty() || out.awaited {
            return;
        }
        if self.transmit(&mut out.frames) == Sent::Full {
            out.awaited = true;
            Handle::current().spawn(Self::send_later(Weak::clone(&self.itself)));
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
        self.say(Haste::Now, |frames| {
            frames.extend_from_slice(frame);
            Ok(true)
        });
    }
}
