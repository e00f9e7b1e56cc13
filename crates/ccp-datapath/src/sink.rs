//! Where frames for the daemon go.

use std::collections::VecDeque;

use thiserror::Error;

/// Takes frames for the daemon, one per call: a socket, a queue, a channel of a simulator.
///
/// Closures of the same form are sinks as well. A sink must not block: who cannot take a frame says so,
/// and nothing is lost. Nor may it call the datapath that calls it: locks may be held. Every thread may
/// have a sink of its own to the same daemon, as long as what each takes arrives in order.
pub trait Sink {
    /// Takes `frame` as a whole or not at all.
    ///
    /// # Errors
    /// Why it is not taken.
    fn send(&mut self, frame: &[u8]) -> Result<(), Refused>;
}

impl<F: FnMut(&[u8]) -> Result<(), Refused>> Sink for F {
    fn send(&mut self, frame: &[u8]) -> Result<(), Refused> {
        self(frame)
    }
}

/// Why a sink does not take a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Refused {
    /// There is no room now (`EAGAIN`, `ENOBUFS`): it is tried again later, reports merge.
    #[error("there is no room for another frame now")]
    Full,
    /// Nobody is there (`ECONNREFUSED`, `ENOENT`): flows fall back at once, and the daemon is looked
    /// for.
    #[error("no daemon is there")]
    Gone,
}

/// A bounded queue as a sink, for who hands frames on by polling.
#[derive(Clone, Debug)]
pub struct FrameQueue {
    frames: VecDeque<Vec<u8>>,
    spare: Vec<Vec<u8>>,
    limit: usize,
}

impl FrameQueue {
    /// A queue of at most `limit` frames.
    #[must_use]
    pub const fn new(limit: usize) -> Self {
        Self {
            frames: VecDeque::new(),
            spare: Vec::new(),
            limit,
        }
    }

    /// The oldest frame. Give it back with [`recycle`](Self::recycle) to save allocations.
    pub fn pop(&mut self) -> Option<Vec<u8>> {
        self.frames.pop_front()
    }

    /// Uses the memory of a frame again.
    pub fn recycle(&mut self, mut frame: Vec<u8>) {
        frame.clear();
        if self.spare.len() < self.limit {
            self.spare.push(frame);
        }
    }

    /// How many frames wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
}

impl Sink for FrameQueue {
    fn send(&mut self, frame: &[u8]) -> Result<(), Refused> {
        if self.frames.len() >= self.limit {
            return Err(Refused::Full);
        }
        let mut place = self.spare.pop().unwrap_or_default();
        place.extend_from_slice(frame);
        self.frames.push_back(place);
        Ok(())
    }
}
