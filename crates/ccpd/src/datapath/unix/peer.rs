//! The way to one datapath on a Unix datagram socket.

use std::io;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use ccp_core::{Command, ProgramTable};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, send, sendto,
    socket_with,
};
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tracing::{debug, warn};

use crate::outlet::{Outlet, Sent};

/// How long one waits for a datapath that takes nothing if the system can't tell when it does.
const PAUSE: Duration = Duration::from_millis(5);

/// One datapath.
#[derive(Debug)]
pub(super) struct Peer {
    address: SocketAddrUnix,
    way: Way,
    frame: Mutex<BytesMut>,
    gone: AtomicBool,
    /// Set when it has gone, for whoever buries it.
    attention: Arc<AtomicBool>,
}

/// By which socket it is answered.
#[derive(Debug)]
enum Way {
    /// One of its own, connected: its queue is nobody else's, and the system tells when there is room
    /// in it.
    Own(UnixDatagram),
    /// The daemon's: the datapath listens to the path that it sends to, and to nothing else.
    Common(Arc<UnixDatagram>),
}

impl Peer {
    /// The way to the datapath that is bound at `path`; `common` is the daemon's socket.
    pub(super) fn new(
        path: &Path,
        common: &Arc<UnixDatagram>,
        attention: &Arc<AtomicBool>,
    ) -> io::Result<Self> {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let own = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        let way = match connect(&own, &address) {
            Ok(()) => Way::Own(UnixDatagram::from_std(own.into())?),
            // It is connected to our path itself.
            Err(Errno::PERM) => Way::Common(Arc::clone(common)),
            Err(error) => return Err(error.into()),
        };
        Ok(Self {
            address,
            way,
            frame: Mutex::new(BytesMut::new()),
            gone: AtomicBool::new(false),
            attention: Arc::clone(attention),
        })
    }

    /// Whether it can't be answered any more.
    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    fn lose(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.attention.store(true, Ordering::Relaxed);
    }

    /// Looks whether it is still there, and turns to who is bound at its path now: a datapath that has
    /// started again may have come before the end of the one before was noticed.
    pub(super) fn probe(&self) {
        let found = match &self.way {
            Way::Own(own) => connect(own.as_fd(), &self.address),
            Way::Common(_) => {
                let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                match socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None) {
                    Ok(probe) => connect(&probe, &self.address),
                    Err(_) => return,
                }
            }
        };
        match found {
            Ok(()) => {}
            // It listens to our path only, and is there.
            Err(Errno::PERM) if matches!(self.way, Way::Common(_)) => {}
            Err(_) => self.lose(),
        }
    }

    /// Sends something that is not worth a second try.
    pub(super) fn tell(&self, frame: &[u8]) {
        if !self.is_gone() {
            let _ = self.transmit(frame);
        }
    }

    fn transmit(&self, frame: &[u8]) -> Sent {
        match self.try_send(frame) {
            Ok(()) => Sent::Done,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => Sent::Full,
            Err(Errno::MSGSIZE) => {
                warn!(
                    path = ?self.address,
                    len = frame.len(),
                    "a message is longer than the datapath's socket takes"
                );
                Sent::Done
            }
            Err(error) => {
                debug!(path = ?self.address, %error, "a datapath can't be answered");
                self.lose();
                Sent::Done
            }
        }
    }

    /// Sends without waiting. Not through the runtime's idea of what is writable: on the common
    /// socket one datapath that does not read would look like all of them, and a new socket is not
    /// known to be writable yet.
    fn try_send(&self, frame: &[u8]) -> Result<(), Errno> {
        let own = match &self.way {
            Way::Own(own) => own,
            Way::Common(common) => {
                let (fd, flags) = (common.as_fd(), SendFlags::DONTWAIT);
                return sendto(fd, frame, flags, &self.address).map(|_| ());
            }
        };
        let send_now = || send(own.as_fd(), frame, SendFlags::DONTWAIT).map(|_| ());
        match send_now() {
            Err(Errno::CONNREFUSED | Errno::NOTCONN | Errno::CONNRESET) => {
                // Another one may have been bound at the path since: the datapath, started again.
                connect(own.as_fd(), &self.address)?;
                send_now()
            }
            Err(Errno::AGAIN) => {
                // Again through the runtime, which notes that it has to wait for room.
                let again = own.try_io(Interest::WRITABLE, || send_now().map_err(Into::into));
                again.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::AGAIN))
            }
            other => other,
        }
    }
}

impl Outlet for Peer {
    fn send(&self, programs: &ProgramTable, command: &Command) -> Sent {
        if self.is_gone() {
            return Sent::Done;
        }
        let mut frame = self.frame.lock().unwrap_or_else(PoisonError::into_inner);
        frame.clear();
        match programs.encode(command, &mut frame) {
            Ok(true) => self.transmit(&frame),
            Ok(false) => Sent::Done,
            Err(error) => {
                warn!(path = ?self.address, %error, "a command can't be put in words");
                Sent::Done
            }
        }
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            match &self.way {
                Way::Own(socket) if socket.writable().await.is_ok() => {}
                _ => tokio::time::sleep(PAUSE).await,
            }
        })
    }
}
