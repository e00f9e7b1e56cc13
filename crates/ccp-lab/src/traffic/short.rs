//! Many short flows: connections that open, carry a few bytes and close.

use std::{
    collections::BTreeMap,
    io::{self, Read, Write},
    net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    content::{Content, Mismatch},
    socket::{self, Options},
};
use crate::{LabError, Namespace, congestion_of};

/// Short flows of one size, some at a time. Content and length of each are checked.
#[derive(Debug, Clone)]
pub struct ShortFlows {
    count: usize,
    bytes: usize,
    at_once: usize,
    options: Options,
    port: u16,
    limit: Duration,
}

/// What became of short flows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortReport {
    /// Flows whose bytes all arrived unaltered.
    pub completed: usize,
    /// Why the others failed.
    pub failures: Vec<String>,
    /// Bytes of content that arrived with the completed ones.
    pub bytes: u64,
    /// From the first connection attempt to the end of the last flow.
    pub duration: Duration,
    /// Of each completed flow: from the connection attempt until the receiver had confirmed all. Sorted.
    pub times: Vec<Duration>,
    /// Algorithm that ran on the sender's socket at the end, and on how many flows.
    pub congestion: BTreeMap<String, usize>,
}

impl ShortFlows {
    /// `count` flows of `bytes` bytes each, ten at a time.
    #[must_use]
    pub fn new(count: usize, bytes: usize) -> Self {
        Self {
            count,
            bytes,
            at_once: 10,
            options: Options::default(),
            port: 0,
            limit: Duration::from_secs(30),
        }
    }

    /// How many run at a time, at least 1; each is a thread at either end.
    #[must_use]
    pub fn at_once(mut self, n: usize) -> Self {
        self.at_once = n.max(1);
        self
    }

    /// The senders' congestion-control algorithm.
    #[must_use]
    pub fn congestion(mut self, name: impl Into<String>) -> Self {
        self.options.congestion = Some(name.into());
        self
    }

    /// The receivers' port.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// How long one send or receive of a flow may take before it counts as failed (default 30 s).
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Starts them from namespace `from` to address `to_ip` in namespace `to`.
    ///
    /// # Errors
    ///
    /// [`LabError::Flow`] if the receivers' port cannot be had. Failures of flows are in the report.
    pub fn start(
        &self,
        from: &Namespace,
        to: &Namespace,
        to_ip: impl Into<IpAddr>,
    ) -> Result<RunningShortFlows, LabError> {
        let address = SocketAddr::new(to_ip.into(), self.port);
        let backlog = i32::try_from(self.at_once + 16).unwrap_or(i32::MAX);
        let listener = to.run(|| socket::listener(address, backlog, &Options::default()))??;
        let peer = listener.local_addr().map_err(|source| LabError::Flow {
            peer: address,
            what: "read its address",
            source,
        })?;
        let shared = Arc::new(Shared {
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            outcomes: Mutex::default(),
        });
        let mut flows = RunningShortFlows {
            started: Instant::now(),
            bytes: self.bytes as u64,
            shared: Arc::clone(&shared),
            senders: Vec::new(),
            acceptor: None,
        };
        let limit = self.limit;
        flows.acceptor = Some(spawn("acceptor", {
            let shared = Arc::clone(&shared);
            move || serve(&listener, limit, &shared)
        })?);
        for _ in 0..self.at_once.min(self.count) {
            let entrance = from.entrance()?;
            let (shared, spec) = (Arc::clone(&shared), self.clone());
            flows.senders.push(spawn("short-sender", move || {
                if let Err(e) = entrance.enter_thread() {
                    shared.push(Err(e.to_string()));
                    return;
                }
                while shared.next.fetch_add(1, Ordering::Relaxed) < spec.count
                    && !shared.stop.load(Ordering::Relaxed)
                {
                    shared.push(one(peer, &spec).map_err(|e| e.to_string()));
                }
            })?);
        }
        Ok(flows)
    }

    /// [`Self::start`] and [`RunningShortFlows::wait`].
    ///
    /// # Errors
    ///
    /// As [`Self::start`].
    pub fn run(
        &self,
        from: &Namespace,
        to: &Namespace,
        to_ip: impl Into<IpAddr>,
    ) -> Result<ShortReport, LabError> {
        Ok(self.start(from, to, to_ip)?.wait())
    }
}

#[derive(Debug)]
struct Outcome {
    time: Duration,
    congestion: String,
}

#[derive(Debug)]
struct Shared {
    /// Index of the next flow to start.
    next: AtomicUsize,
    /// No more flows shall start.
    stop: AtomicBool,
    /// All flows have ended.
    closed: AtomicBool,
    outcomes: Mutex<Vec<Result<Outcome, String>>>,
}

impl Shared {
    fn push(&self, outcome: Result<Outcome, String>) {
        self.outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(outcome);
    }
}

/// Short flows under way. Dropped, no new ones start and those under way end.
#[derive(Debug)]
pub struct RunningShortFlows {
    started: Instant,
    bytes: u64,
    shared: Arc<Shared>,
    senders: Vec<JoinHandle<()>>,
    acceptor: Option<JoinHandle<()>>,
}

impl RunningShortFlows {
    /// Starts no new ones.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Flows ended so far, well or badly.
    #[must_use]
    pub fn ended(&self) -> usize {
        self.shared
            .outcomes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Waits for all, and reports.
    #[must_use]
    pub fn wait(mut self) -> ShortReport {
        let panicked = self.join_senders();
        let duration = self.started.elapsed();
        let outcomes = std::mem::take(
            &mut *self
                .shared
                .outcomes
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut report = ShortReport {
            completed: 0,
            failures: vec!["a sender's thread panicked".to_owned(); panicked],
            bytes: 0,
            duration,
            times: Vec::new(),
            congestion: BTreeMap::new(),
        };
        for outcome in outcomes {
            match outcome {
                Ok(Outcome { time, congestion }) => {
                    report.completed += 1;
                    report.bytes += self.bytes;
                    report.times.push(time);
                    *report.congestion.entry(congestion).or_default() += 1;
                }
                Err(failure) => report.failures.push(failure),
            }
        }
        report.times.sort_unstable();
        report
    }

    fn join_senders(&mut self) -> usize {
        self.senders
            .drain(..)
            .map(JoinHandle::join)
            .filter(Result::is_err)
            .count()
    }
}

impl Drop for RunningShortFlows {
    fn drop(&mut self) {
        self.stop();
        self.join_senders();
        self.shared.closed.store(true, Ordering::Relaxed);
        let _ = self.acceptor.take().map(JoinHandle::join);
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LabError> {
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|e| LabError::system("start a thread", e))
}

/// One flow from the sender's side: sends, and has the receiver confirm the number of good bytes.
fn one(peer: SocketAddr, spec: &ShortFlows) -> Result<Outcome, LabError> {
    let started = Instant::now();
    let stream = socket::connection(peer, &spec.options)?;
    let outcome = exchange(&stream, peer, spec, started);
    if outcome.is_err() {
        socket::reset_on_close(&stream);
    }
    outcome
}

fn exchange(
    mut stream: &TcpStream,
    peer: SocketAddr,
    spec: &ShortFlows,
    started: Instant,
) -> Result<Outcome, LabError> {
    let failed = |what| move |source| LabError::Flow { peer, what, source };
    stream
        .set_write_timeout(Some(spec.limit))
        .map_err(failed("set SO_SNDTIMEO"))?;
    stream
        .set_read_timeout(Some(spec.limit))
        .map_err(failed("set SO_RCVTIMEO"))?;
    let local = stream
        .local_addr()
        .map_err(failed("read the sender's address"))?;
    let mut data = vec![0; spec.bytes];
    Content::new(local.port().into()).fill(&mut data);
    stream.write_all(&data).map_err(failed("send"))?;
    stream
        .shutdown(Shutdown::Write)
        .map_err(failed("finish sending"))?;
    let mut answer = [0; 18];
    stream
        .read_exact(&mut answer)
        .map_err(failed("receive the confirmation"))?;
    let time = started.elapsed();
    let congestion = congestion_of(stream).map_err(failed("read TCP_CONGESTION"))?;
    let word = |at: usize| u64::from_le_bytes(answer[at..at + 8].try_into().expect("8 bytes"));
    let (good, received, expected, got) = (word(0), word(8), answer[16], answer[17]);
    let sent = spec.bytes as u64;
    if good != received {
        return Err(LabError::Content {
            peer,
            offset: good,
            expected,
            got,
        });
    }
    if received != sent {
        return Err(LabError::Length {
            peer,
            sent,
            received,
        });
    }
    Ok(Outcome { time, congestion })
}

/// Accepts until all flows have ended; each connection has a thread of its own.
fn serve(listener: &TcpListener, limit: Duration, shared: &Shared) {
    thread::scope(|scope| {
        while !shared.closed.load(Ordering::Relaxed) {
            match socket::accept(listener, Duration::from_millis(20)) {
                Ok(Some((stream, from))) => {
                    // The sender sees and reports a connection that ends without confirmation.
                    scope.spawn(move || drop(confirm(stream, from, limit)));
                }
                Ok(None) => {}
                // A connection that was reset before it could be accepted.
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    });
}

/// The receiver's side: reads to the end, then answers with the number of good bytes, the number of all,
/// and the first wrong one (what must have come, what came).
fn confirm(mut stream: TcpStream, from: SocketAddr, limit: Duration) -> io::Result<()> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let mut content = Content::new(from.port().into());
    let mut buffer = vec![0; 16 * 1024];
    let mut received = 0u64;
    let mut wrong: Option<Mismatch> = None;
    loop {
        match stream.read(&mut buffer)? {
            0 => break,
            n => {
                received += n as u64;
                if let Err(mismatch) = content.check(&buffer[..n]) {
                    wrong.get_or_insert(mismatch);
                }
            }
        }
    }
    let mut answer = [0; 18];
    answer[..8].copy_from_slice(&wrong.map_or(received, |m| m.offset).to_le_bytes());
    answer[8..16].copy_from_slice(&received.to_le_bytes());
    if let Some(Mismatch { expected, got, .. }) = wrong {
        answer[16..].copy_from_slice(&[expected, got]);
    }
    stream.write_all(&answer)
}
