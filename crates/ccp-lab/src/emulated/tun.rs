//! TUN devices: network devices whose other side is a file descriptor.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
};

use rustix::{
    fs::OFlags,
    ioctl::{Opcode, Setter, ioctl, opcode},
};

use crate::LabError;

/// A TUN device of the namespace in which it was created. Gone when dropped.
#[derive(Debug)]
pub(super) struct Tun {
    file: File,
    mtu: u16,
}

/// `struct ifreq` of `TUNSETIFF`: a name and flags; the rest of its union is not used.
#[repr(C)]
#[derive(Debug)]
struct Request {
    name: [u8; 16],
    flags: u16,
    unused: [u8; 22],
}

/// `_IOW('T', 202, int)`: the size in the number is that of `int`, whatever the argument.
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;

impl Tun {
    /// Creates a device in the calling thread's namespace. `name` has at most 15 bytes.
    pub(super) fn create(name: &str, mtu: u16) -> Result<Self, LabError> {
        let failed = |e| LabError::system(format!("create the TUN device {name}"), e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
            .open("/dev/net/tun")
            .map_err(failed)?;
        let mut request = Request {
            name: [0; 16],
            flags: IFF_TUN | IFF_NO_PI,
            unused: [0; 22],
        };
        debug_assert!(name.len() < request.name.len());
        for (to, from) in request.name[..15].iter_mut().zip(name.bytes()) {
            *to = from;
        }
        // SAFETY: `TUNSETIFF` takes a `struct ifreq`, of which `Request` has layout and size (40 bytes).
        unsafe { ioctl(&file, Setter::<TUNSETIFF, Request>::new(request)) }
            .map_err(|errno| failed(errno.into()))?;
        Ok(Self { file, mtu })
    }

    /// Reads a packet into `buffer`, which is replaced; `WouldBlock` if there is none.
    pub(super) fn read(&self, buffer: &mut Vec<u8>) -> io::Result<()> {
        buffer.resize(usize::from(self.mtu), 0);
        let n = (&self.file).read(buffer)?;
        buffer.truncate(n);
        Ok(())
    }

    /// Has the device receive a packet.
    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
