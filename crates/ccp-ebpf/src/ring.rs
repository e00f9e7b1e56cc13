//! Reads the ring buffer that frames come through.
//!
//! The kernel's ABI: one page with the consumer's position (ours to write), one page with the
//! producer's, then the data, mapped twice in a row so that a record never wraps. A record is a
//! header of eight bytes (length with two flags in its top bits, and an offset) and the data,
//! padded to eight.
//!
//! # Wake-ups
//! A report that wakes the reader costs the acknowledgement that sends it microseconds (the kernel
//! interrupts its own processor to do it). A reader that gets many says that it [`poll`](Ring::poll)s:
//! then reports are put into the ring without a word, and the reader looks by itself, a little
//! later. Before it sleeps it takes that back ([`rest`](Ring::rest)) and looks once more. No report
//! is missed: a program reserves its record, passes a full barrier, then looks whether the reader
//! polls; the reader says that it does not, passes a full barrier, then looks for records, reserved
//! ones included. One of the two sees the other.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};

use crate::layout::Config;
use crate::mapped::{MappedArray, Region};

const BUSY: u32 = 1 << 31;
const DISCARDED: u32 = 1 << 30;
const HEADER: u64 = 8;

/// The reading end of the ring buffer. Readable (`poll`, `epoll`) when there are frames.
#[derive(Debug)]
pub struct Ring {
    fd: OwnedFd,
    consumer: Region,
    producer: Region,
    size: u64,
    config: MappedArray<Config>,
}

impl Ring {
    pub(crate) fn new(fd: OwnedFd, size: u32, config: MappedArray<Config>) -> io::Result<Self> {
        let page = rustix::param::page_size();
        Ok(Self {
            consumer: Region::new(&fd, 0, page, true)?,
            producer: Region::new(&fd, page as u64, page + 2 * size as usize, false)?,
            size: u64::from(size),
            config,
            fd,
        })
    }

    /// From now on reports do not make the descriptor readable: the caller [`consume`](Self::consume)s
    /// by itself, until it [`rest`](Self::rest)s. Announcements and ends of flows still do.
    pub fn poll(&self) {
        self.set_polling(1);
    }

    /// From now on reports make the descriptor readable, if this says that the ring is empty.
    /// Otherwise the caller still polls: there is something to consume, now or in a moment.
    #[must_use = "if the ring is not empty, nothing will wake the caller"]
    pub fn rest(&self) -> bool {
        self.set_polling(0);
        fence(Ordering::SeqCst);
        let empty = self.backlog() == 0;
        if !empty {
            self.poll();
        }
        empty
    }

    fn set_polling(&self, polling: u32) {
        if let Some(config) = self.config.at(0) {
            // SAFETY: an aligned word within the mapping that only this process writes.
            unsafe { AtomicU32::from_ptr(&raw mut (*config).polling) }
                .store(polling, Ordering::SeqCst);
        }
    }

    /// Hands frames to `each`, in order, until the ring is empty or `most` were handed over, and
    /// says how many it were. A frame is exactly one of ccp-wire's.
    ///
    /// After fewer than `most` the descriptor becomes readable with the next frame, unless the caller
    /// [`poll`](Self::poll)s.
    pub fn consume(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> usize {
        let page = rustix::param::page_size();
        let (Some(consumed), Some(produced)) = (self.consumer.at(0, 8), self.producer.at(0, 8))
        else {
            return 0;
        };
        // SAFETY: both positions are naturally aligned words at the start of their pages, live as
        // long as `self`, and are only accessed atomically.
        let (consumed, produced) = unsafe {
            (
                AtomicU64::from_ptr(consumed.as_ptr().cast()),
                AtomicU64::from_ptr(produced.as_ptr().cast()),
            )
        };
        let mut at = consumed.load(Ordering::Relaxed);
        let mut n = 0;
        while n < most {
            // Looked at again after each record: the kernel wakes us only for a record that comes
            // when everything before it has been consumed.
            if at >= produced.load(Ordering::Acquire) {
                break;
            }
            let offset = page + (at & (self.size - 1)) as usize;
            let Some(header) = self.producer.at(offset, HEADER as usize) else {
                break;
            };
            // SAFETY: record headers are eight-byte aligned in the mapping; accessed atomically.
            let word =
                unsafe { AtomicU32::from_ptr(header.as_ptr().cast()) }.load(Ordering::Acquire);
            if word & BUSY != 0 {
                break;
            }
            let len = (word & !(BUSY | DISCARDED)) as usize;
            if word & DISCARDED == 0 {
                let Some(data) = self.producer.at(offset + HEADER as usize, len) else {
                    break;
                };
                // SAFETY: a committed record: the kernel does not touch its bytes before we move
                // the consumer's position past it.
                each(unsafe { std::slice::from_raw_parts(data.as_ptr(), len) });
                n += 1;
            }
            at += (HEADER + len as u64).next_multiple_of(8);
            consumed.store(at, Ordering::SeqCst);
        }
        n
    }

    /// How many bytes wait to be consumed, headers included.
    #[must_use]
    pub fn backlog(&self) -> u64 {
        let load = |region: &Region| {
            let Some(at) = region.at(0, 8) else {
                return 0;
            };
            // SAFETY: as in `consume`.
            unsafe { AtomicU64::from_ptr(at.as_ptr().cast()) }.load(Ordering::Acquire)
        };
        load(&self.producer).saturating_sub(load(&self.consumer))
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
