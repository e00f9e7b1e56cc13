//! A long flow under way.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpStream},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, PoisonError, atomic::Ordering, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    FlowReport, Sample, Until,
    content::Content,
    socket,
    workers::{Received, Shared, receive, sample, send},
};
use crate::{LabError, TcpInfo, congestion_of, priority, set_congestion};

/// What a flow shall do once it is connected.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) until: Until,
    pub(super) sample_every: Option<Duration>,
    pub(super) check_content: bool,
    pub(super) drain_limit: Duration,
    pub(super) before_others: bool,
}

/// A flow under way. Dropped without [`Self::wait`], it is aborted.
#[derive(Debug)]
pub struct RunningFlow {
    local: SocketAddr,
    peer: SocketAddr,
    started: Instant,
    drain_limit: Duration,
    sender: Arc<TcpStream>,
    receiver: Arc<TcpStream>,
    shared: Arc<Shared>,
    received: mpsc::Receiver<Received>,
    sending: Option<JoinHandle<Result<(), LabError>>>,
    receiving: Option<JoinHandle<()>>,
    sampling: Option<JoinHandle<()>>,
}

/// The sender's socket.
impl AsFd for RunningFlow {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.sender.as_fd()
    }
}

impl RunningFlow {
    pub(super) fn start(
        plan: Plan,
        sender: TcpStream,
        receiver: TcpStream,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Self, LabError> {
        let (sender, receiver) = (Arc::new(sender), Arc::new(receiver));
        let shared = Arc::new(Shared::default());
        let (tell, received) = mpsc::channel();
        let started = Instant::now();
        let before_others = plan.before_others;
        // From here on `drop` cleans up if a thread cannot be started.
        let mut flow = Self {
            local,
            peer,
            started,
            drain_limit: plan.drain_limit,
            sender: Arc::clone(&sender),
            receiver: Arc::clone(&receiver),
            shared: Arc::clone(&shared),
            received,
            sending: None,
            receiving: None,
            sampling: None,
        };
        // Both ends know the port, so every flow has its own content.
        let content = plan
            .check_content
            .then(|| Content::new(local.port().into()));
        let work = {
            let (shared, content) = (Arc::clone(&shared), content.clone());
            move || {
                let result = receive(&receiver, peer, content, &shared.received);
                if result.is_err() {
                    // Ends the sender, which would otherwise wait for a window for ever.
                    let _ = receiver.shutdown(Shutdown::Both);
                    shared.stop.store(true, Ordering::Relaxed);
                }
                let _ = tell.send(result);
            }
        };
        flow.receiving = Some(spawn("receiver", before_others, work)?);
        if let Some(interval) = plan.sample_every {
            let (sender, shared) = (Arc::clone(&sender), Arc::clone(&shared));
            let work = move || sample(&sender, started, interval, &shared);
            flow.sampling = Some(spawn("sampler", before_others, work)?);
        }
        let until = plan.until;
        let work = move || {
            let result = send(&sender, peer, content, until, started, &shared);
            // Also after an error: then the receiver must not wait for more.
            let _ = sender.shutdown(Shutdown::Write);
            result
        };
        flow.sending = Some(spawn("sender", before_others, work)?);
        Ok(flow)
    }

    /// The sender's address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// The receiver's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// When sending began.
    #[must_use]
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Bytes that have arrived so far.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }

    /// `TCP_INFO` of the sender now.
    ///
    /// # Errors
    ///
    /// The kernel's answer.
    pub fn info(&self) -> io::Result<TcpInfo> {
        TcpInfo::of(&*self.sender)
    }

    /// The algorithm that runs on the sender's socket now.
    ///
    /// # Errors
    ///
    /// The kernel's answer.
    pub fn congestion(&self) -> io::Result<String> {
        congestion_of(&*self.sender)
    }

    /// Changes the algorithm of the sender's socket.
    ///
    /// # Errors
    ///
    /// [`LabError::Congestion`].
    pub fn set_congestion(&self, name: &str) -> Result<(), LabError> {
        set_congestion(&*self.sender, name)
    }

    /// The samples taken so far.
    #[must_use]
    pub fn samples(&self) -> Vec<Sample> {
        self.shared
            .samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The latest sample.
    #[must_use]
    pub fn latest(&self) -> Option<Sample> {
        self.shared
            .samples
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .last()
            .copied()
    }

    /// Lets the sender finish now; what its socket holds is still delivered. [`Self::wait`] tells the rest.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// True once the sender has finished (the rest may still be on its way).
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.sending.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits until everything has arrived, and reports.
    ///
    /// # Errors
    ///
    /// [`LabError::Flow`] if the connection broke, [`LabError::Content`] or [`LabError::Length`] if something
    /// else arrived than was sent, [`LabError::Drain`] if the rest does not arrive in time.
    ///
    /// # Panics
    ///
    /// If one of the flow's threads panicked.
    pub fn wait(mut self) -> Result<FlowReport, LabError> {
        let sending = self.sending.take().map_or(Ok(()), join);
        let received = self.received.recv_timeout(self.drain_limit);
        let counts = (
            self.shared.sent.load(Ordering::Relaxed),
            self.bytes_received(),
        );
        let ended = match received {
            // Wrong content explains the sender's broken connection, not the other way round.
            Ok(Err(error @ LabError::Content { .. })) => return Err(error),
            Ok(received) => sending.and(received)?,
            Err(_) => {
                sending?;
                let (sent, received) = counts;
                let limit = self.drain_limit;
                return Err(LabError::Drain {
                    peer: self.peer,
                    sent,
                    received,
                    limit,
                });
            }
        };
        let (sent, received) = counts;
        if sent != received {
            return Err(LabError::Length {
                peer: self.peer,
                sent,
                received,
            });
        }
        let failed = |what| {
            move |source| LabError::Flow {
                peer: self.peer,
                what,
                source,
            }
        };
        // The receiver's socket is still open, so the sender's is not yet in TIME_WAIT and tells all.
        let last = self.info().map_err(failed("read TCP_INFO"))?;
        let congestion = self.congestion().map_err(failed("read TCP_CONGESTION"))?;
        self.end_threads();
        let samples = std::mem::take(
            &mut *self
                .shared
                .samples
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        Ok(FlowReport {
            local: self.local,
            peer: self.peer,
            started: self.started,
            duration: ended - self.started,
            bytes: received,
            congestion,
            last,
            samples,
        })
    }

    /// Joins what still runs; a panic there was told already or does not matter any more.
    fn end_threads(&mut self) {
        self.shared.done.store(true, Ordering::Relaxed);
        if let Some(sampling) = self.sampling.take() {
            sampling.thread().unpark();
            let _ = sampling.join();
        }
        let _ = self.sending.take().map(JoinHandle::join);
        let _ = self.receiving.take().map(JoinHandle::join);
    }
}

impl Drop for RunningFlow {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if self.sending.is_some() || self.receiving.is_some() {
            for socket in [&self.receiver, &self.sender] {
                socket::reset_on_close(socket);
                // Wakes its thread.
                let _ = socket.shutdown(Shutdown::Both);
            }
        }
        self.end_threads();
    }
}

fn spawn<R: Send + 'static>(
    name: &str,
    before_others: bool,
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<JoinHandle<R>, LabError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            if before_others {
                priority::before_others(priority::ENDS);
            }
            work()
        })
        .map_err(|e| LabError::system("start a thread", e))
}

fn join<R>(thread: JoinHandle<R>) -> R {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
