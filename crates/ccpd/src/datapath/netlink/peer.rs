//! The way to one datapath on netlink.

use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::BytesMut;
use ccp_core::{Command, FlowUpdate, ProgramTable};
use ccp_wire::{EncodeError, netlink_message};
use rustix::io::Errno;
use tracing::{debug, warn};

use super::super::peers::{Attention, Peer};
use super::super::turnstile::Turnstile;
use super::socket::NetlinkSocket;
use crate::outlet::{Haste, Outlet, Sent};

/// The kernel's own port.
pub(super) const KERNEL: u32 = 0;

/// One datapath: a port.
#[derive(Debug)]
pub(super) struct NetlinkPeer {
    port: u32,
    socket: Arc<NetlinkSocket>,
    turnstile: Turnstile,
    buffers: Mutex<Buffers>,
    gone: AtomicBool,
    /// Set when it has gone, for whoever buries it.
    attention: Arc<Attention>,
}

#[derive(Debug, Default)]
struct Buffers {
    frame: BytesMut,
    message: BytesMut,
}

impl NetlinkPeer {
    pub(super) fn new(port: u32, socket: &Arc<NetlinkSocket>, attention: &Arc<Attention>) -> Self {
        Self {
            port,
            socket: Arc::clone(socket),
            turnstile: Turnstile::default(),
            buffers: Mutex::default(),
            gone: AtomicBool::new(false),
            attention: Arc::clone(attention),
        }
    }

    /// Nobody has its port any more.
    pub(super) fn lose(&self) {
        self.gone.store(true, Ordering::Relaxed);
        self.attention.ask();
    }

    fn transmit(&self, message: &[u8]) -> Sent {
        match self.socket.send(message, self.port) {
            Ok(()) => Sent::Done,
            Err(Errno::AGAIN | Errno::NOBUFS | Errno::NOMEM | Errno::INTR) => Sent::Full,
            Err(Errno::MSGSIZE) => {
                let (port, len) = (self.port, message.len());
                warn!(
                    port,
                    len, "a message is longer than the datapath's socket takes"
                );
                Sent::Done
            }
            Err(error) => {
                debug!(port = self.port, %error, "a datapath can't be answered");
                self.lose();
                Sent::Done
            }
        }
    }

    fn say(&self, encode: impl FnOnce(&mut BytesMut) -> Result<bool, EncodeError>) -> Sent {
        if self.is_gone() {
            return Sent::Done;
        }
        let mut buffers = self.buffers.lock().unwrap_or_else(PoisonError::into_inner);
        let Buffers { frame, message } = &mut *buffers;
        frame.clear();
        message.clear();
        match encode(frame) {
            Ok(true) => {
                netlink_message(frame, message);
                let sent = self.transmit(message);
                self.turnstile.note(sent);
                sent
            }
            Ok(false) => Sent::Done,
            Err(error) => {
                warn!(port = self.port, %error, "a command can't be put in words");
                Sent::Done
            }
        }
    }
}

impl Outlet for NetlinkPeer {
    fn send(&self, programs: &ProgramTable, command: &Command) -> Sent {
        self.say(|frame| programs.encode(command, frame))
    }

    fn update(&self, programs: &ProgramTable, update: &FlowUpdate, _: Haste) -> Sent {
        self.say(|frame| {
            programs.encode_update(update, frame)?;
            Ok(true)
        })
    }

    /// The system does not tell when another socket has room.
    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let room = async { Err(ErrorKind::Unsupported.into()) };
        Box::pin(self.turnstile.wait(room))
    }
}

impl Peer for NetlinkPeer {
    /// Nobody else is heard.
    fn uid(&self) -> u32 {
        0
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }

    /// The kernel's list is looked at for all at once.
    fn probe(&self) {}

    fn tell(&self, frame: &[u8]) {
        if !self.is_gone() {
            let mut message = BytesMut::new();
            netlink_message(frame, &mut message);
            let _ = self.transmit(&message);
        }
    }
}
