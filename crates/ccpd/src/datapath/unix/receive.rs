//! Datagrams with the credentials of who sent them.

use std::io::{self, IoSliceMut};
use std::os::fd::AsRawFd;

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrLike as _, UnixAddr, recvmsg};

/// The longest datagram that is read: a frame's length is 16 bits.
const LONGEST: usize = 1 << 16;

/// An address of so many bytes has a family and nothing else.
const FAMILY: u32 = 2;

/// What one datagram after the other is read into. The socket has to pass credentials on
/// (`SO_PASSCRED`).
#[derive(Debug)]
pub(super) struct Receiver {
    bytes: Box<[u8]>,
    control: Vec<u8>,
}

/// A datagram.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) bytes: &'a [u8],
    /// What its sender is bound at.
    pub(super) from: Option<UnixAddr>,
    /// The sender's real user, as the kernel tells it.
    pub(super) uid: Option<u32>,
}

impl Receiver {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; LONGEST].into_boxed_slice(),
            // Room for credentials and nothing else: descriptors that somebody sends along are dropped
            // by the kernel.
            control: nix::cmsg_space!(nix::libc::ucred),
        }
    }

    /// Waits for the next datagram of `socket` and reads it.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn read(&mut self, socket: &impl AsRawFd) -> io::Result<Datagram<'_>> {
        let Self { bytes, control } = self;
        let mut parts = [IoSliceMut::new(bytes)];
        let message = recvmsg::<UnixAddr>(
            socket.as_raw_fd(),
            &mut parts,
            Some(control),
            MsgFlags::MSG_CMSG_CLOEXEC,
        )?;
        let uid = message.cmsgs().ok().and_then(|mut messages| {
            messages.find_map(|message| match message {
                ControlMessageOwned::ScmCredentials(credentials) => Some(credentials.uid()),
                _ => None,
            })
        });
        // Somebody who is bound to nothing has an address without length, whose kind nix would not tell.
        let from = message.address.filter(|address| address.len() > FAMILY);
        let len = message.bytes;
        Ok(Datagram {
            bytes: self.bytes.get(..len).unwrap_or_default(),
            from,
            uid,
        })
    }
}
