//! Very many flows that all send as fast as they may: for what happens to each of them while something happens
//! to who steers them.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{Shutdown, shutdown},
};

use super::{
    crowd::allow_files,
    socket::{self, CONNECT_LIMIT, Options},
};
use crate::{LabError, Namespace, TcpInfo};

/// What a sender has lying in its socket at least, in bytes: it never waits for its thread.
const SEND_BUFFER: usize = 64 * 1024;
/// How often the threads look after their sockets.
const TURN: Duration = Duration::from_millis(10);
/// Moved at once.
const PIECE: usize = 64 * 1024;

/// Flows from one namespace to another, all ends of which belong to two threads. Started flow after flow;
/// dropped, they are closed.
#[derive(Debug)]
pub struct Swarm {
    senders: Vec<Arc<TcpStream>>,
    members: Vec<SwarmMember>,
    stop: Arc<AtomicBool>,
    /// What is still on its way does not matter any more.
    abandoned: Arc<AtomicBool>,
    sending: Option<JoinHandle<Vec<io::Result<u64>>>>,
    receiving: Option<JoinHandle<Vec<io::Result<u64>>>>,
    failure: Arc<Mutex<Option<(usize, io::Error)>>>,
}

/// A flow of a [`Swarm`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwarmMember {
    /// The sender's address.
    pub local: SocketAddr,
    /// The receiver's address.
    pub peer: SocketAddr,
}

/// A flow of a swarm that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SwarmEnd {
    /// Bytes that the sending program handed over.
    pub sent: u64,
    /// Bytes that the receiving program got.
    pub received: u64,
}

impl Swarm {
    /// Opens flows from `from` to `to_ip` in `to`, and lets them send: `count` for each of `groups`, which are
    /// the senders' algorithm, the receivers' port, and `count`. They are opened in turn, one of each group after
    /// the other, so that no group has the link to itself first.
    ///
    /// # Errors
    ///
    /// [`LabError::Congestion`] if the algorithm is refused; [`LabError::Flow`] if a connection cannot be made
    /// within 10 s.
    pub fn start(
        from: &Namespace,
        to: &Namespace,
        to_ip: impl Into<IpAddr>,
        groups: &[(&str, u16, usize)],
    ) -> Result<Self, LabError> {
        let to_ip = to_ip.into();
        let count: usize = groups.iter().map(|group| group.2).sum();
        allow_files(2 * count + 500);
        let mut listening = Vec::new();
        for &(congestion, port, count) in groups {
            let peer = SocketAddr::new(to_ip, port);
            let options = Options {
                congestion: Some(congestion.to_owned()),
                send_buffer: Some(SEND_BUFFER),
                receive_buffer: None,
            };
            let listener = to.run(|| socket::listener(peer, 64, &Options::default()))??;
            listening.push((listener, peer, options, count, Vec::new()));
        }
        for turn in 0..groups.iter().map(|group| group.2).max().unwrap_or(0) {
            for (listener, peer, options, count, flows) in &mut listening {
                if turn < *count {
                    flows.push(open(from, listener, *peer, options)?);
                }
            }
        }
        let (mut senders, mut receivers, mut members) = (Vec::new(), Vec::new(), Vec::new());
        for (sender, receiver, member) in listening.into_iter().flat_map(|group| group.4) {
            senders.push(Arc::new(sender));
            receivers.push(receiver);
            members.push(member);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let abandoned = Arc::new(AtomicBool::new(false));
        let failure = Arc::new(Mutex::new(None));
        let sending = {
            let (senders, stop, failure) =
                (senders.clone(), Arc::clone(&stop), Arc::clone(&failure));
            spawn("swarm-out", move || send(&senders, &stop, &failure))?
        };
        let receiving = {
            let (stop, failure) = (Arc::clone(&stop), Arc::clone(&failure));
            let abandoned = Arc::clone(&abandoned);
            let over = move || abandoned.load(Ordering::Relaxed);
            spawn("swarm-in", move || {
                receive(&receivers, &stop, over, &failure)
            })?
        };
        Ok(Self {
            senders,
            members,
            stop,
            abandoned,
            sending: Some(sending),
            receiving: Some(receiving),
            failure,
        })
    }

    /// The flows, group by group, in the order of [`infos`](Self::infos).
    #[must_use]
    pub fn members(&self) -> &[SwarmMember] {
        &self.members
    }

    /// `TCP_INFO` of every sender now, in microseconds each.
    ///
    /// # Errors
    ///
    /// [`LabError::Flow`] with the first flow that failed: that was reset, or whose socket is gone.
    pub fn infos(&self) -> Result<Vec<TcpInfo>, LabError> {
        let failure = self.failure.lock();
        if let Some((flow, error)) = failure.unwrap_or_else(PoisonError::into_inner).take() {
            return Err(self.failed(flow, error));
        }
        let infos = self.senders.iter().enumerate();
        infos
            .map(|(flow, sender)| TcpInfo::of(&**sender).map_err(|error| self.failed(flow, error)))
            .collect()
    }

    /// Each sender's algorithm now.
    ///
    /// # Errors
    ///
    /// [`LabError::Flow`] with the kernel's answer.
    pub fn congestions(&self) -> Result<Vec<String>, LabError> {
        let senders = self.senders.iter().enumerate();
        senders
            .map(|(flow, sender)| {
                crate::congestion_of(&**sender).map_err(|error| self.failed(flow, error))
            })
            .collect()
    }

    /// Has all stop, waits until what they sent has arrived, for at most `limit`, and says what each moved.
    ///
    /// # Errors
    ///
    /// [`LabError::Flow`] with the first flow that failed, or did not deliver everything in time.
    pub fn finish(mut self, limit: Duration) -> Result<Vec<SwarmEnd>, LabError> {
        self.stop.store(true, Ordering::Relaxed);
        let gone = || LabError::system("end flows", io::Error::other("their thread has ended"));
        let join = |thread: Option<JoinHandle<Vec<io::Result<u64>>>>| {
            thread.and_then(|t| t.join().ok()).ok_or_else(gone)
        };
        let until = Instant::now() + limit;
        let receiving = self.receiving.take();
        let sent = join(self.sending.take())?;
        while receiving.as_ref().is_some_and(|t| !t.is_finished()) {
            if Instant::now() >= until {
                let source = io::Error::from(ErrorKind::TimedOut);
                return Err(LabError::system("deliver all that was sent", source));
            }
            thread::sleep(TURN);
        }
        let received = join(receiving)?;
        let mut ends = Vec::new();
        for (flow, (sent, received)) in sent.into_iter().zip(received).enumerate() {
            ends.push(SwarmEnd {
                sent: sent.map_err(|error| self.failed(flow, error))?,
                received: received.map_err(|error| self.failed(flow, error))?,
            });
        }
        Ok(ends)
    }

    fn failed(&self, flow: usize, source: io::Error) -> LabError {
        LabError::Flow {
            peer: self.members[flow].peer,
            what: "keep a flow going",
            source,
        }
    }
}

impl Drop for Swarm {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // What waits in a full queue, also the end of a flow, may never arrive.
        self.abandoned.store(true, Ordering::Relaxed);
        let _ = self.sending.take().map(JoinHandle::join);
        let _ = self.receiving.take().map(JoinHandle::join);
    }
}

type Failure = Mutex<Option<(usize, io::Error)>>;

/// One flow: its two ends, and their addresses.
fn open(
    from: &Namespace,
    listener: &TcpListener,
    peer: SocketAddr,
    options: &Options,
) -> Result<(TcpStream, TcpStream, SwarmMember), LabError> {
    let failed = |what| move |source| LabError::Flow { peer, what, source };
    let sender = from.run(|| socket::connection(peer, options))??;
    let local = sender
        .local_addr()
        .map_err(failed("read the sender's address"))?;
    let accepted = socket::accept(listener, CONNECT_LIMIT).map_err(failed("accept"))?;
    let (receiver, _) = accepted.ok_or_else(|| LabError::Flow {
        peer,
        what: "accept",
        source: ErrorKind::TimedOut.into(),
    })?;
    for stream in [&sender, &receiver] {
        stream
            .set_nonblocking(true)
            .map_err(failed("set O_NONBLOCK"))?;
        socket::reset_on_close(stream);
    }
    Ok((sender, receiver, SwarmMember { local, peer }))
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, LabError> {
    let thread = thread::Builder::new().name(name.to_owned());
    thread
        .spawn(work)
        .map_err(|error| LabError::system("start a thread", error))
}

/// Notes the first failure of all.
fn note(failure: &Failure, flow: usize, error: &io::Error) -> io::Error {
    let copy = || {
        let number = error.raw_os_error();
        number.map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
    };
    let mut first = failure.lock().unwrap_or_else(PoisonError::into_inner);
    first.get_or_insert_with(|| (flow, copy()));
    copy()
}

/// Keeps all senders' buffers full until it is stopped, then says that no more comes.
fn send(senders: &[Arc<TcpStream>], stop: &AtomicBool, failure: &Failure) -> Vec<io::Result<u64>> {
    let piece = vec![0x5a; PIECE];
    let mut sent: Vec<io::Result<u64>> = senders.iter().map(|_| Ok(0)).collect();
    while !stop.load(Ordering::Relaxed) {
        let open = |flow: &usize| sent[*flow].is_ok();
        for flow in ready(senders.len(), PollFlags::OUT, |flow| &senders[flow], open) {
            // Once: what is left of the buffer is for the next turn.
            match (&*senders[flow]).write(&piece) {
                Ok(n) => sent[flow] = sent[flow].as_ref().map_or(Ok(0), |s| Ok(s + n as u64)),
                Err(error) if is_no_failure(&error) => {}
                Err(error) => sent[flow] = Err(note(failure, flow, &error)),
            }
        }
        thread::sleep(TURN);
    }
    for sender in senders {
        let _ = shutdown(&**sender, Shutdown::Write);
    }
    sent
}

/// Reads what comes until all have come to their end, or it is `over`.
fn receive(
    receivers: &[TcpStream],
    stop: &AtomicBool,
    over: impl Fn() -> bool,
    failure: &Failure,
) -> Vec<io::Result<u64>> {
    let mut piece = vec![0; PIECE];
    let mut received: Vec<io::Result<u64>> = receivers.iter().map(|_| Ok(0)).collect();
    let mut ended = vec![false; receivers.len()];
    while ended.contains(&false) && !over() {
        let open = |flow: &usize| !ended[*flow];
        for flow in ready(
            receivers.len(),
            PollFlags::IN,
            |flow| &receivers[flow],
            open,
        ) {
            match (&receivers[flow]).read(&mut piece) {
                Ok(0) => {
                    ended[flow] = true;
                    if !stop.load(Ordering::Relaxed) {
                        let error = ErrorKind::UnexpectedEof.into();
                        received[flow] = Err(note(failure, flow, &error));
                    }
                }
                Ok(n) => {
                    received[flow] = received[flow].as_ref().map_or(Ok(0), |r| Ok(r + n as u64));
                }
                Err(error) if is_no_failure(&error) => {}
                Err(error) => {
                    ended[flow] = true;
                    received[flow] = Err(note(failure, flow, &error));
                }
            }
        }
        thread::sleep(TURN);
    }
    received
}

fn is_no_failure(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// Those of the `count` flows that are `open` and ready, waiting a little for the first.
fn ready<'s>(
    count: usize,
    events: PollFlags,
    stream: impl Fn(usize) -> &'s TcpStream,
    open: impl Fn(&usize) -> bool,
) -> Vec<usize> {
    let flows: Vec<usize> = (0..count).filter(open).collect();
    let mut fds: Vec<PollFd<'_>> = flows
        .iter()
        .map(|&flow| PollFd::from_borrowed_fd(stream(flow).as_fd(), events))
        .collect();
    let wait = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    if poll(&mut fds, Some(&wait)).is_err() {
        return Vec::new();
    }
    let ready = flows
        .iter()
        .zip(&fds)
        .filter(|(_, fd)| !fd.revents().is_empty());
    ready.map(|(flow, _)| *flow).collect()
}
