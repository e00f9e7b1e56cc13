//! Frames that are to be sent, each as a datagram of its own.

use std::io::IoSlice;
use std::os::fd::OwnedFd;

use bytes::{Buf as _, BytesMut};
use ccp_wire::EncodeError;
use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, send, sendmmsg};
use smallvec::SmallVec;

/// So many are sent by one system call, at most.
const AT_ONCE: usize = 6;

/// Frames in the order in which they are to be sent.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: BytesMut,
    /// Where each ends.
    ends: SmallVec<[usize; AT_ONCE]>,
}

impl Frames {
    /// Adds what `encode` appends, if it says that there is something.
    pub(super) fn add(
        &mut self,
        encode: impl FnOnce(&mut BytesMut) -> Result<bool, EncodeError>,
    ) -> Result<bool, EncodeError> {
        let added = encode(&mut self.bytes)?;
        if added {
            self.ends.push(self.bytes.len());
        }
        Ok(added)
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(super) fn first(&self) -> Option<&[u8]> {
        self.get(0)
    }

    fn get(&self, place: usize) -> Option<&[u8]> {
        let end = *self.ends.get(place)?;
        let start = place
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        self.bytes.get(start.copied().unwrap_or(0)..end)
    }

    /// The first `count` are not needed any more.
    pub(super) fn drop_first(&mut self, count: usize) {
        if count >= self.len() {
            return self.clear();
        }
        let gone: usize = (self.ends.drain(..count)).next_back().unwrap_or(0);
        self.bytes.advance(gone);
        for end in &mut self.ends {
            *end -= gone;
        }
    }

    /// The last one is not to be sent.
    pub(super) fn drop_last(&mut self) {
        self.ends.pop();
        let end = self.ends.last().copied().unwrap_or(0);
        self.bytes.truncate(end);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }
}

/// Sends the first of `frames` to whom `socket` is connected to, without waiting; returns how many.
pub(super) fn send_many(socket: &OwnedFd, frames: &Frames) -> Result<usize, Errno> {
    if let (1, Some(only)) = (frames.len(), frames.first()) {
        return send(socket, only, SendFlags::DONTWAIT).map(|_| 1);
    }
    let parts: [_; AT_ONCE] =
        std::array::from_fn(|n| [IoSlice::new(frames.get(n).unwrap_or_default())]);
    let mut nothing: [_; AT_ONCE] = std::array::from_fn(|_| SendAncillaryBuffer::default());
    let messages = parts.iter().zip(&mut nothing).take(frames.len());
    let mut messages: SmallVec<[_; AT_ONCE]> = messages
        .map(|(part, nothing)| MMsgHdr::new(part, nothing))
        .collect();
    sendmmsg(socket, &mut messages, SendFlags::DONTWAIT)
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixDatagram;

    use rustix::io::Errno;

    use super::{AT_ONCE, Frames, send_many};

    fn add(frames: &mut Frames, text: &str) {
        let added = frames.add(|bytes| {
            bytes.extend_from_slice(text.as_bytes());
            Ok(true)
        });
        assert_eq!(added, Ok(true));
    }

    #[test]
    fn what_goes_in_comes_out_frame_by_frame() {
        let mut frames = Frames::default();
        assert_eq!(frames.add(|_| Ok(false)), Ok(false));
        assert_eq!((frames.first(), frames.is_empty()), (None, true));
        for text in ["one", "two", "three", "four"] {
            add(&mut frames, text);
        }
        frames.drop_last();
        frames.drop_first(1);
        assert_eq!((frames.first(), frames.len()), (Some(&b"two"[..]), 2));
        add(&mut frames, "five");
        frames.drop_first(2);
        assert_eq!((frames.first(), frames.len()), (Some(&b"five"[..]), 1));
        frames.drop_last();
        assert_eq!((frames.first(), frames.bytes.len()), (None, 0));
        frames.drop_last();
        assert!(frames.is_empty());
    }

    #[test]
    fn they_are_sent_in_order_as_far_as_there_is_room() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let ours = OwnedFd::from(ours);
        theirs.set_nonblocking(true).unwrap();
        let mut frames = Frames::default();
        let texts: Vec<String> = (0..1_000).map(|n| format!("frame {n}")).collect();
        let mut texts_left = texts.iter();
        let (mut read, mut full) = (Vec::new(), 0);
        while read.len() < texts.len() {
            while frames.len() < 7
                && let Some(text) = texts_left.next()
            {
                add(&mut frames, text);
            }
            while !frames.is_empty() {
                match send_many(&ours, &frames) {
                    Ok(sent) => {
                        assert!((1..=AT_ONCE).contains(&sent));
                        frames.drop_first(sent);
                    }
                    Err(Errno::AGAIN) => {
                        full += 1;
                        break;
                    }
                    Err(error) => panic!("{error}"),
                }
            }
            // Half of what would empty it, so that it is full at times.
            let mut buffer = [0; 64];
            for _ in 0..3 {
                if let Ok(len) = theirs.recv(&mut buffer) {
                    read.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
                }
            }
        }
        assert_eq!(read, texts);
        assert!(full > 0);
    }
}
