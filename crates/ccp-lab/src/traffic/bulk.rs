//! One long flow: sender, receiver and sampler, each a thread.

use std::{
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    content::{Content, Mismatch},
    socket::{self, CONNECT_LIMIT, Options},
};
use crate::{LabError, Namespace, TcpInfo, congestion_of, set_congestion};

/// When a sender has sent enough. It can also be stopped before, see [`RunningFlow::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After a time. What the socket has buffered by then is still delivered.
    Elapsed(Duration),
    /// After so many bytes.
    Bytes(u64),
    /// When it is stopped.
    Stopped,
}

/// A TCP flow that sends as fast as it may.
///
/// By default: the namespace's congestion control, a free port, a sample every 100 ms, content checked.
#[derive(Debug, Clone)]
pub struct Bulk {
    until: Until,
    options: Options,
    port: u16,
    sample_every: Option<Duration>,
    check_content: bool,
    drain_limit: Duration,
}

impl Bulk {
    /// A flow that lasts `until`.
    #[must_use]
    pub fn new(until: Until) -> Self {
        Self {
            until,
            options: Options::default(),
            port: 0,
            sample_every: Some(Duration::from_millis(100)),
            check_content: true,
            drain_limit: Duration::from_secs(30),
        }
    }

    /// The sender's congestion-control algorithm (`TCP_CONGESTION`).
    #[must_use]
    pub fn congestion(mut self, name: impl Into<String>) -> Self {
        self.options.congestion = Some(name.into());
        self
    }

    /// The receiver's port. May be used again as soon as the flow has started.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Interval of `TCP_INFO` samples; `None` for none.
    #[must_use]
    pub fn sample_every(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.sample_every = interval.into();
        self
    }

    /// Whether the receiver compares every byte with what must come. Costs CPU; turn it off to measure
    /// the cost of something else.
    #[must_use]
    pub fn check_content(mut self, check: bool) -> Self {
        self.check_content = check;
        self
    }

    /// Fixed send buffer in bytes (`SO_SNDBUF`, which the kernel doubles) instead of the kernel's own
    /// tuning.
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.options.send_buffer = Some(bytes);
        self
    }

    /// Fixed receive buffer in bytes (`SO_RCVBUF`, which the kernel doubles) instead of the kernel's own
    /// tuning. Bounds the window that the sender is offered.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.options.receive_buffer = Some(bytes);
        self
    }

    /// How long the rest may take to arrive after the sender has finished (default 30 s).
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.drain_limit = limit;
        self
    }

    /// Connects from namespace `from` to address `to_ip` in namespace `to` (the same one for loopback)
    /// and starts sending.
    ///
    /// # Errors
    ///
    /// [`LabError::Congestion`] if the algorithm is refused; [`LabError::Flow`] if the connection cannot be
    /// made within 10 s.
    pub fn start(
        &self,
        from: &Namespace,
        to: &Namespace,
        to_ip: impl Into<IpAddr>,
    ) -> Result<RunningFlow, LabError> {
        let address = SocketAddr::new(to_ip.into(), self.port);
        let receiver_options = Options {
            receive_buffer: self.options.receive_buffer,
            ..Options::default()
        };
        let sender_options = Options {
            receive_buffer: None,
            ..self.options.clone()
        };
        let listener = to.run(|| socket::listener(address, 8, &receiver_options))??;
        let peer = listener.local_addr().map_err(|source| LabError::Flow {
            peer: address,
            what: "read its address",
            source,
        })?;
        let failed = |what| move |source| LabError::Flow { peer, what, source };
        let sender = from.run(|| socket::connection(peer, &sender_options))??;
        let local = sender
            .local_addr()
            .map_err(failed("read the sender's address"))?;
        let receiver = loop {
            match socket::accept(&listener, CONNECT_LIMIT).map_err(failed("accept"))? {
                Some((stream, from)) if from == local => break stream,
                Some(_) => {}
                None => {
                    let source = io::Error::from(io::ErrorKind::TimedOut);
                    return Err(LabError::Flow {
                        peer,
                        what: "accept",
                        source,
                    });
                }
            }
        };
        // Short, so that a stopped or timed-out sender notices on a link that is stuck.
        sender
            .set_write_timeout(Some(STOP_LATENCY))
            .map_err(failed("set SO_SNDTIMEO"))?;
        RunningFlow::start(self.clone(), sender, receiver, local, peer)
    }

    /// Starts `n` such flows, one after the other.
    ///
    /// # Errors
    ///
    /// As [`Self::start`]; the flows started so far are aborted.
    pub fn start_many(
        &self,
        n: usize,
        from: &Namespace,
        to: &Namespace,
        to_ip: impl Into<IpAddr>,
    ) -> Result<Vec<RunningFlow>, LabError> {
        let to_ip = to_ip.into();
        (0..n).map(|_| self.start(from, to, to_ip)).collect()
    }
}

const STOP_LATENCY: Duration = Duration::from_millis(50);
const CHUNK: usize = 128 * 1024;

/// The kernel's view of a flow at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// Time since the start of the flow.
    pub at: Duration,
    /// `TCP_INFO` of the sender.
    pub info: TcpInfo,
}

/// What became of a flow.
#[derive(Debug, Clone)]
pub struct FlowReport {
    /// The sender's address.
    pub local: SocketAddr,
    /// The receiver's address.
    pub peer: SocketAddr,
    /// When the connection stood and sending began; the zero of [`Sample::at`].
    pub started: Instant,
    /// From the start until the receiver had the last byte.
    pub duration: Duration,
    /// Bytes that arrived; all that were sent, in order, and unaltered if that was checked.
    pub bytes: u64,
    /// The algorithm that ran on the sender's socket at the end, as the kernel says.
    pub congestion: String,
    /// `TCP_INFO` of the sender at the end.
    pub last: TcpInfo,
    /// Samples taken while it ran, in order.
    pub samples: Vec<Sample>,
}

impl FlowReport {
    /// Bits of content per second over the whole flow.
    #[must_use]
    pub fn goodput_bps(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.duration.as_secs_f64().max(1e-9)
    }

    /// Bits per second acknowledged between two times of the flow, from the samples next to them; `None`
    /// if there are no two samples there.
    #[must_use]
    pub fn goodput_between(&self, from: Duration, to: Duration) -> Option<f64> {
        let mut inside = self.samples.iter().filter(|s| s.at >= from && s.at <= to);
        let first = inside.next()?;
        let last = inside.next_back()?;
        let bytes = last.info.bytes_acked.saturating_sub(first.info.bytes_acked);
        Some(bytes as f64 * 8.0 / (last.at - first.at).as_secs_f64())
    }

    /// The samples between two times of the flow.
    pub fn samples_between(
        &self,
        from: Duration,
        to: Duration,
    ) -> impl Iterator<Item = &Sample> + '_ {
        self.samples
            .iter()
            .filter(move |s| s.at >= from && s.at <= to)
    }
}

/// What the threads of a flow share.
#[derive(Debug)]
struct Shared {
    /// The sender shall finish.
    stop: AtomicBool,
    /// The sampler shall finish.
    done: AtomicBool,
    sent: AtomicU64,
    received: AtomicU64,
    samples: Mutex<Vec<Sample>>,
}

/// The receiver's end: when the last byte came.
type Received = Result<Instant, LabError>;

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

impl RunningFlow {
    fn start(
        bulk: Bulk,
        sender: TcpStream,
        receiver: TcpStream,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Result<Self, LabError> {
        let (sender, receiver) = (Arc::new(sender), Arc::new(receiver));
        let shared = Arc::new(Shared {
            stop: AtomicBool::new(false),
            done: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            samples: Mutex::default(),
        });
        let (tell, received) = mpsc::channel();
        let started = Instant::now();
        // From here on `drop` cleans up if a thread cannot be started.
        let mut flow = Self {
            local,
            peer,
            started,
            drain_limit: bulk.drain_limit,
            sender: Arc::clone(&sender),
            receiver: Arc::clone(&receiver),
            shared: Arc::clone(&shared),
            received,
            sending: None,
            receiving: None,
            sampling: None,
        };
        // Both ends know the port, so every flow has its own content.
        let content = bulk
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
        flow.receiving = Some(spawn("receiver", work)?);
        if let Some(interval) = bulk.sample_every {
            let (sender, shared) = (Arc::clone(&sender), Arc::clone(&shared));
            let work = move || sample(&sender, started, interval, &shared);
            flow.sampling = Some(spawn("sampler", work)?);
        }
        let until = bulk.until;
        let work = move || {
            let result = send(&sender, peer, content, until, started, &shared);
            // Also after an error: then the receiver must not wait for more.
            let _ = sender.shutdown(Shutdown::Write);
            result
        };
        flow.sending = Some(spawn("sender", work)?);
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
    work: impl FnOnce() -> R + Send + 'static,
) -> Result<JoinHandle<R>, LabError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|e| LabError::system("start a thread", e))
}

fn join<R>(thread: JoinHandle<R>) -> R {
    thread
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn receive(
    mut stream: &TcpStream,
    peer: SocketAddr,
    mut content: Option<Content>,
    count: &AtomicU64,
) -> Received {
    let mut buffer = vec![0; 2 * CHUNK];
    let mut last = Instant::now();
    loop {
        let n = match stream.read(&mut buffer) {
            Ok(0) => return Ok(last),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(LabError::Flow {
                    peer,
                    what: "receive",
                    source,
                });
            }
        };
        last = Instant::now();
        if let Some(content) = &mut content {
            content.check(&buffer[..n]).map_err(|m| {
                let Mismatch {
                    offset,
                    expected,
                    got,
                } = m;
                LabError::Content {
                    peer,
                    offset,
                    expected,
                    got,
                }
            })?;
        }
        count.fetch_add(n as u64, Ordering::Relaxed);
    }
}

fn send(
    mut stream: &TcpStream,
    peer: SocketAddr,
    mut content: Option<Content>,
    until: Until,
    started: Instant,
    shared: &Shared,
) -> Result<(), LabError> {
    let mut buffer = vec![0; CHUNK];
    let mut left = 0;
    let mut sent = 0u64;
    loop {
        let enough = match until {
            Until::Elapsed(duration) => started.elapsed() >= duration,
            Until::Bytes(bytes) => sent >= bytes,
            Until::Stopped => false,
        };
        if enough || shared.stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        if left == 0 {
            left = buffer.len();
            if let Some(content) = &mut content {
                content.fill(&mut buffer);
            }
        }
        let mut ready = &buffer[buffer.len() - left..];
        if let Until::Bytes(bytes) = until {
            ready = &ready[..ready
                .len()
                .min(usize::try_from(bytes - sent).unwrap_or(usize::MAX))];
        }
        match stream.write(ready) {
            Ok(n) => {
                left -= n;
                sent += n as u64;
                shared.sent.store(sent, Ordering::Relaxed);
            }
            // The write timeout: look whether it is time to stop.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(source) => {
                return Err(LabError::Flow {
                    peer,
                    what: "send",
                    source,
                });
            }
        }
    }
}

fn sample(stream: &TcpStream, started: Instant, interval: Duration, shared: &Shared) {
    let mut next = started;
    loop {
        if let Ok(info) = TcpInfo::of(stream) {
            let sample = Sample {
                at: started.elapsed(),
                info,
            };
            shared
                .samples
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(sample);
        }
        // In step with the clock; a step that was missed is left out.
        let now = Instant::now();
        while next <= now {
            next += interval.max(Duration::from_micros(100));
        }
        loop {
            if shared.done.load(Ordering::Relaxed) {
                return;
            }
            match next.checked_duration_since(Instant::now()) {
                Some(rest) if !rest.is_zero() => thread::park_timeout(rest),
                _ => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What the receiver says of `sent` when the stream of seed 1 must come.
    fn received(sent: &[u8]) -> (Received, u64) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let peer = listener.local_addr().expect("bound");
        let mut sender = TcpStream::connect(peer).expect("connect");
        let (receiver, _) = listener.accept().expect("accept");
        sender.write_all(sent).expect("fits the socket's buffer");
        drop(sender);
        let count = AtomicU64::new(0);
        let result = receive(&receiver, peer, Some(Content::new(1)), &count);
        (result, count.into_inner())
    }

    #[test]
    fn the_receiver_tells_wrong_content_and_its_place() {
        let mut data = vec![0; 50_000];
        Content::new(1).fill(&mut data);
        assert!(matches!(received(&data), (Ok(_), 50_000)));
        data[40_000] ^= 1;
        let (result, _) = received(&data);
        let error = result.expect_err("one byte is wrong");
        assert!(
            matches!(error, LabError::Content { offset: 40_000, .. }),
            "{error}"
        );
        // One byte too few in the middle moves all behind it.
        data.remove(123);
        assert!(matches!(
            received(&data),
            (Err(LabError::Content { offset: 123.., .. }), _)
        ));
    }
}
