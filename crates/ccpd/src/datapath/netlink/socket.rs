//! The socket in the group.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::{Mutex, PoisonError};

use ccp_wire::{MAX_FRAME, NETLINK_GROUP, NETLINK_HEADER_LEN};
use nix::errno::Errno as NixErrno;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, NetlinkAddr, recvmsg};
use rustix::io::Errno;
use rustix::net::netlink::{SocketAddrNetlink, USERSOCK};
use rustix::net::sockopt::{
    set_socket_passcred, set_socket_recv_buffer_size, set_socket_recv_buffer_size_force,
};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, sendto, socket_with};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// So many bytes may wait to be read: many thousand reports. What comes beyond is lost.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Datapaths on netlink can't be listened to.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The rights are missing.
    #[error(
        "can't join the netlink group of CCP datapaths: that needs root, or CAP_NET_ADMIN in the \
         network namespace"
    )]
    NotAllowed,
    /// The kernel has no such sockets.
    #[error("this kernel has no netlink sockets for user space (NETLINK_USERSOCK)")]
    Missing(
        /// What the system says.
        #[source]
        io::Error,
    ),
    /// The system refuses.
    #[error("can't {what} the netlink socket")]
    Io {
        /// What was to be done.
        what: &'static str,
        /// What the system says.
        #[source]
        source: io::Error,
    },
}

impl NetlinkError {
    /// Whether rights or a feature of the kernel are missing.
    pub(crate) const fn is_not_possible_here(&self) -> bool {
        matches!(self, Self::NotAllowed | Self::Missing(_))
    }
}

/// What came.
#[derive(Debug)]
pub(super) enum Received<'a> {
    Datagram(Datagram<'a>),
    /// Some did not fit and are lost.
    Overrun,
}

/// A datagram.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) from: Option<NetlinkAddr>,
    /// The sender's real user, as the kernel tells it.
    pub(super) uid: Option<u32>,
}

/// Room for the longest frame in a message.
pub(super) fn buffer() -> Box<[u8]> {
    vec![0; NETLINK_HEADER_LEN + MAX_FRAME + 1].into_boxed_slice()
}

/// A socket in the group, with a port that the kernel gave it.
#[derive(Debug)]
pub(super) struct NetlinkSocket {
    watched: AsyncFd<OwnedFd>,
    /// Room for credentials and nothing else.
    control: Mutex<Vec<u8>>,
}

impl NetlinkSocket {
    pub(super) fn join() -> Result<Self, NetlinkError> {
        let failed = |what| {
            move |error: Errno| NetlinkError::Io {
                what,
                source: error.into(),
            }
        };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = AddressFamily::NETLINK;
        let socket = match socket_with(family, SocketType::RAW, flags, Some(USERSOCK)) {
            Err(error @ (Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT)) => {
                return Err(NetlinkError::Missing(error.into()));
            }
            other => other.map_err(failed("make"))?,
        };
        set_socket_passcred(&socket, true).map_err(failed("ask for senders' credentials on"))?;
        // Beyond the system's limit if one may; otherwise as much as one gets.
        if set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER).is_err() {
            let _ = set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER);
        }
        // Groups count from 1 and are given as a mask.
        let group = SocketAddrNetlink::new(0, 1 << (NETLINK_GROUP - 1));
        match bind(&socket, &group) {
            Err(Errno::PERM | Errno::ACCESS) => return Err(NetlinkError::NotAllowed),
            other => other.map_err(failed("join the group with"))?,
        }
        #[allow(
            unsafe_code,
            reason = "Tokio asks for it, as a descriptor could change under way"
        )]
        // SAFETY: an `OwnedFd` keeps its descriptor until it is dropped, after its registration ends.
        let watched = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
        let watched = watched.map_err(|source| NetlinkError::Io {
            what: "wait for",
            source: source.into(),
        })?;
        Ok(Self {
            watched,
            control: Mutex::new(nix::cmsg_space!(nix::libc::ucred)),
        })
    }

    /// Waits until there may be something to read.
    pub(super) async fn readable(&self) -> io::Result<()> {
        self.watched
            .readable()
            .await
            .map(|mut ready| ready.retain_ready())
    }

    /// Reads the next datagram into `buffer`, without waiting.
    ///
    /// # Errors
    /// [`WouldBlock`](io::ErrorKind::WouldBlock) if there is none; what else the system says.
    pub(super) fn read<'b>(&self, buffer: &'b mut [u8]) -> io::Result<Received<'b>> {
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let read = self.watched.try_io(Interest::READABLE, |socket| {
            let mut parts = [IoSliceMut::new(buffer)];
            let message = recvmsg::<NetlinkAddr>(
                socket.as_raw_fd(),
                &mut parts,
                Some(&mut control),
                MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC,
            );
            let message = match message {
                Err(NixErrno::ENOBUFS) => return Ok(None),
                other => other?,
            };
            let uid = message.cmsgs().ok().and_then(|mut messages| {
                messages.find_map(|message| match message {
                    ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.uid()),
                    _ => None,
                })
            });
            Ok(Some((message.bytes, message.address, uid)))
        })?;
        Ok(match read {
            None => Received::Overrun,
            Some((len, from, uid)) => Received::Datagram(Datagram {
                bytes: buffer.get(..len).unwrap_or_default(),
                from,
                uid,
            }),
        })
    }

    /// Sends `message` to `port`, without waiting.
    pub(super) fn send(&self, message: &[u8], port: u32) -> Result<(), Errno> {
        let to = SocketAddrNetlink::new(port, 0);
        sendto(
            self.watched.get_ref().as_fd(),
            message,
            SendFlags::DONTWAIT,
            &to,
        )
        .map(|_| ())
    }
}
