//! Datagrams with the credentials of who sent them, as many at once as wait.
//!
//! With libc's own `recvmmsg`: rustix has none, and nix' does not set again, before the next call, what the
//! kernel wrote over, so that one short address shortens all that come after it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::{mem, ptr};

use nix::libc;

/// The longest datagram that is read: a frame's length is 16 bits.
const LONGEST: usize = 1 << 16;
/// So many are read at once, at most. The first is answered when all have been dealt with, and those who send
/// fill the queue again meanwhile: what comes then waits for as many more.
const MOST: usize = 6;
/// After so many times that there was only one, it is not looked whether there are more
const LONE: u32 = 4;
/// but once in so many times.
const LOOK_EVERY: u32 = 8;

/// Room for credentials and nothing else: descriptors that somebody sends along are dropped by the kernel.
// SAFETY: it computes a number.
#[allow(unsafe_code, reason = "as above")]
const CONTROL: usize = unsafe { libc::CMSG_SPACE(size_of::<libc::ucred>() as u32) } as usize;

/// What datagrams are read into. The socket has to pass credentials on (`SO_PASSCRED`).
pub(super) struct Receiver {
    places: Box<[Place; MOST]>,
    headers: [libc::mmsghdr; MOST],
    /// So many were read,
    count: usize,
    /// of which so many have been taken out.
    taken: usize,
    /// So many times in a row, there was only one.
    lone: u32,
}

/// What one datagram is read into.
struct Place {
    bytes: Box<[u8]>,
    from: libc::sockaddr_un,
    control: Control,
}

/// Aligned like what the kernel writes.
#[repr(C)]
union Control {
    bytes: [u8; CONTROL],
    _header: libc::cmsghdr,
}

/// A datagram.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) bytes: &'a [u8],
    /// What its sender is bound at, if that is a file.
    pub(super) from: Option<&'a Path>,
    /// The sender's real user, as the kernel tells it; `None` if something else was sent along.
    pub(super) uid: Option<u32>,
}

// SAFETY: the pointers in its headers are used in `read` only, which sets them before.
#[allow(unsafe_code, reason = "as above")]
unsafe impl Send for Receiver {}

impl Receiver {
    pub(super) fn new() -> Self {
        // SAFETY: all of these may be 0.
        #[allow(unsafe_code, reason = "as above")]
        let (from, header) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let place = |_| Place {
            bytes: vec![0; LONGEST].into_boxed_slice(),
            from,
            control: Control {
                bytes: [0; CONTROL],
            },
        };
        Self {
            places: Box::new([(); MOST].map(place)),
            headers: [header; MOST],
            count: 0,
            taken: 0,
            lone: 0,
        }
    }

    /// Waits for the next datagram of `socket` and reads it with others that wait; what was read before and not
    /// taken out is gone.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn read(&mut self, socket: &OwnedFd) -> io::Result<()> {
        (self.count, self.taken) = (0, 0);
        // Looking for a second one costs a tenth of what reading one does.
        let looks = self.lone < LONE || self.lone.is_multiple_of(LOOK_EVERY);
        let most = if looks { MOST } else { 1 };
        let mut parts = [libc::iovec {
            iov_base: ptr::null_mut(),
            iov_len: 0,
        }; MOST];
        let places = self.places.iter_mut().zip(&mut self.headers);
        for ((place, header), part) in places.zip(&mut parts).take(most) {
            part.iov_base = place.bytes.as_mut_ptr().cast();
            part.iov_len = place.bytes.len();
            let header = &mut header.msg_hdr;
            header.msg_name = (&raw mut place.from).cast();
            header.msg_namelen = size_of::<libc::sockaddr_un>() as libc::socklen_t;
            header.msg_iov = part;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut place.control).cast();
            header.msg_controllen = CONTROL as _;
            header.msg_flags = 0;
        }
        let flags = libc::MSG_WAITFORONE | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: there are `most` headers, whose pointers are to memory of `self` and of this function, with
        // its length, that nothing else uses meanwhile; the kernel does not keep them.
        #[allow(unsafe_code, reason = "as above")]
        let count = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                self.headers.as_mut_ptr(),
                most as libc::c_uint,
                flags as _,
                ptr::null_mut(),
            )
        };
        self.count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        self.lone = match self.count {
            ..=1 => self.lone.wrapping_add(1),
            _ => 0,
        };
        Ok(())
    }

    /// Takes out the next of those that were read.
    pub(super) fn next(&mut self) -> Option<Datagram<'_>> {
        if self.taken >= self.count {
            return None;
        }
        let (place, header) = (self.places.get(self.taken)?, self.headers.get(self.taken)?);
        self.taken += 1;
        Some(Datagram {
            bytes: place
                .bytes
                .get(..header.msg_len as usize)
                .unwrap_or_default(),
            from: path(&place.from, header.msg_hdr.msg_namelen),
            uid: uid(&place.control, &header.msg_hdr),
        })
    }

    /// Whether there is none left.
    pub(super) const fn is_empty(&self) -> bool {
        self.taken >= self.count
    }
}

/// The file at `address`, which the kernel says has `len` bytes. Without one: somebody who is bound to nothing,
/// or to an abstract name, which begins with 0.
fn path(address: &libc::sockaddr_un, len: libc::socklen_t) -> Option<&Path> {
    let before = mem::offset_of!(libc::sockaddr_un, sun_path);
    let len = usize::try_from(len).ok()?.checked_sub(before)?;
    // As bytes, whatever the sign of C's characters is here.
    let all = &address.sun_path;
    // SAFETY: bytes are as long as C's characters, and may be anything.
    #[allow(unsafe_code, reason = "as above")]
    let all = unsafe { std::slice::from_raw_parts(all.as_ptr().cast::<u8>(), all.len()) };
    let name = all.get(..len.min(all.len()))?;
    let name = name.split(|byte| *byte == 0).next()?;
    (!name.is_empty()).then(|| Path::new(OsStr::from_bytes(name)))
}

/// Whom the kernel names in `control`, if it named nothing else.
fn uid(control: &Control, header: &libc::msghdr) -> Option<u32> {
    if header.msg_flags & libc::MSG_CTRUNC != 0 || header.msg_controllen < CONTROL as _ {
        return None;
    }
    // SAFETY: all of it was written at the start, and may be anything.
    #[allow(unsafe_code, reason = "as above")]
    let bytes = unsafe { &control.bytes };
    let number = |at: usize| Some(i32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?));
    let level = number(mem::offset_of!(libc::cmsghdr, cmsg_level))?;
    let kind = number(mem::offset_of!(libc::cmsghdr, cmsg_type))?;
    if (level, kind) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) {
        return None;
    }
    // Behind the header, which is as long as its alignment makes it.
    let at = size_of::<libc::cmsghdr>() + mem::offset_of!(libc::ucred, uid);
    Some(number(at)?.cast_unsigned())
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;
    use std::path::PathBuf;

    use rustix::net::sockopt::set_socket_passcred;
    use rustix::process::getuid;

    use super::{LONE, LOOK_EVERY, MOST, Receiver};

    /// A socket that is read, and where it is.
    fn socket(dir: &tempfile::TempDir) -> (OwnedFd, PathBuf) {
        let path = dir.path().join("here");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let socket = OwnedFd::from(socket);
        set_socket_passcred(&socket, true).unwrap();
        (socket, path)
    }

    type Taken = (Vec<u8>, Option<PathBuf>, Option<u32>);

    fn take(receiver: &mut Receiver) -> Vec<Taken> {
        let mut all = Vec::new();
        while let Some(datagram) = receiver.next() {
            let from = datagram.from.map(PathBuf::from);
            all.push((datagram.bytes.to_vec(), from, datagram.uid));
        }
        assert!(receiver.is_empty());
        all
    }

    /// A short address, or none, is no limit for those that come after it into the same place.
    #[test]
    fn each_datagram_has_its_sender() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, path) = socket(&dir);
        let mut receiver = Receiver::new();
        let uid = Some(getuid().as_raw());
        let nameless = UnixDatagram::unbound().unwrap();
        let names = ["a", "a longer name than the one before", "b"].map(|n| dir.path().join(n));
        let named = names.clone().map(|name| UnixDatagram::bind(name).unwrap());
        for round in 0..3_u8 {
            nameless.send_to(&[round], &path).unwrap();
            receiver.read(&socket).unwrap();
            assert_eq!(take(&mut receiver), [(vec![round], None, uid)]);
            for (sender, byte) in named.iter().zip(round..) {
                sender.send_to(&[byte; 3], &path).unwrap();
            }
            receiver.read(&socket).unwrap();
            let expected: Vec<Taken> = (names.iter().zip(round..))
                .map(|(name, byte)| (vec![byte; 3], Some(name.clone()), uid))
                .collect();
            assert_eq!(take(&mut receiver), expected);
        }
        let error = receiver.read(&socket).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(receiver.next().is_none());
    }

    #[test]
    fn who_sends_descriptors_along_has_no_name() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let dir = tempfile::tempdir().unwrap();
        let (socket, path) = socket(&dir);
        let sender = UnixDatagram::bind(dir.path().join("sender")).unwrap();
        sender.connect(&path).unwrap();
        let mut space = [std::mem::MaybeUninit::uninit(); 64];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [std::os::fd::AsFd::as_fd(&socket)];
        assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
        let parts = [std::io::IoSlice::new(b"x")];
        sendmsg(&sender, &parts, &mut control, SendFlags::empty()).unwrap();
        sender.send(b"y").unwrap();
        let mut receiver = Receiver::new();
        receiver.read(&socket).unwrap();
        let uids: Vec<_> = take(&mut receiver)
            .into_iter()
            .map(|t| (t.0, t.2))
            .collect();
        let uid = getuid().as_raw();
        assert_eq!(uids, [(b"x".to_vec(), None), (b"y".to_vec(), Some(uid))]);
    }

    /// Where one always came alone, it is looked for more only now and then; but it is.
    #[test]
    fn what_waits_is_read_soon() {
        let dir = tempfile::tempdir().unwrap();
        let (socket, path) = socket(&dir);
        let sender = UnixDatagram::bind(dir.path().join("sender")).unwrap();
        let mut receiver = Receiver::new();
        for _ in 0..100 {
            sender.send_to(b"1", &path).unwrap();
            receiver.read(&socket).unwrap();
            assert_eq!(take(&mut receiver).len(), 1);
        }
        let mut reads = 0;
        loop {
            for _ in 0..MOST {
                let _ = sender.send_to(b"1", &path);
            }
            receiver.read(&socket).unwrap();
            let count = take(&mut receiver).len();
            reads += 1;
            if count > 1 {
                assert_eq!(count, MOST);
                break;
            }
            assert!(reads < LONE + LOOK_EVERY);
            // What is left is not for the next round.
            while receiver.read(&socket).is_ok() {}
        }
    }
}
