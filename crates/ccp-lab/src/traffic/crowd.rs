//! Very many connections at once that say little: for what a datapath can hold and how fast they may come
//! and go.

use std::{
    collections::VecDeque,
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{UnshareFlags, unshare_unsafe},
};

use super::socket::{self, CONNECT_LIMIT, Options};
use crate::{LabError, Namespace, TcpInfo, namespace::Entrance};

/// Content of one [`Member::talk`]: far less than any buffer, so that one thread can be both ends.
const WORDS: [u8; 512] = [7; 512];

/// Connections over the loopback of one namespace, both ends of which belong to one thread.
///
/// Thousands of them need neither a thread each nor an event loop: what is sent always fits the buffers, and
/// has arrived when the sender's call returns, or soon after.
#[derive(Debug, Clone)]
pub struct Crowd {
    count: usize,
    options: Options,
    ports: Vec<u16>,
}

impl Crowd {
    /// `count` connections at once, to 127.0.0.1 and the ports 20000 to 20015 in turn.
    ///
    /// One port has room for as many connections as there are ephemeral ports (28,232 as Linux comes).
    #[must_use]
    pub fn new(count: usize) -> Self {
        Self {
            count,
            options: Options::default(),
            ports: (20_000..20_016).collect(),
        }
    }

    /// The senders' congestion-control algorithm.
    #[must_use]
    pub fn congestion(mut self, name: impl Into<String>) -> Self {
        self.options.congestion = Some(name.into());
        self
    }

    /// The receivers' ports; the i-th connection goes to the i-th of them, and from the first again.
    #[must_use]
    pub fn ports(mut self, ports: impl IntoIterator<Item = u16>) -> Self {
        self.ports = ports.into_iter().collect();
        self
    }

    /// Opens all of them, one after the other.
    ///
    /// The limit of open files (two for each connection) is raised as far as this process may; each crowd
    /// has a table of open files of its own, so that several together can have more.
    ///
    /// # Errors
    ///
    /// [`LabError::Parameter`] without ports, [`LabError::Congestion`] if the algorithm is refused,
    /// [`LabError::Flow`] if a connection cannot be made.
    pub fn open(&self, ns: &Namespace) -> Result<OpenCrowd, LabError> {
        allow_files(2 * self.count + self.ports.len() + 100);
        let crowd = OpenCrowd::start(ns.entrance()?, self.clone())?;
        crowd.add(self.count)?;
        Ok(crowd)
    }

    /// For `length`: opens connections as fast as this thread can, has each talk, lets it live until `count`
    /// others have come after it, has it talk once more, asks `steered` about it, and closes it.
    ///
    /// # Errors
    ///
    /// As [`Self::open`].
    pub fn churn(
        &self,
        ns: &Namespace,
        length: Duration,
        steered: impl Fn(&Member, &TcpInfo) -> bool + Sync,
    ) -> Result<Churned, LabError> {
        allow_files(2 * self.count + self.ports.len() + 1000);
        ns.run(|| {
            let mut room = Room::new(self)?;
            let started = Instant::now();
            let mut churned = Churned::default();
            while started.elapsed() < length {
                let member = room.connect()?;
                member.talk()?;
                room.members.push_back(member);
                if room.members.len() <= self.count {
                    continue;
                }
                if let Some(member) = room.members.pop_front() {
                    member.talk()?;
                    let info = member.info()?;
                    churned.flows += 1;
                    churned.steered += usize::from(steered(&member, &info));
                }
            }
            churned.duration = started.elapsed();
            Ok(churned)
        })?
    }
}

/// What became of connections that came and went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Churned {
    /// Opened and closed.
    pub flows: usize,
    /// Those among them that were steered at their end.
    pub steered: usize,
    /// From the first to the last.
    pub duration: Duration,
}

type Job = Box<dyn FnOnce(&mut Room) + Send>;

/// Connections that are open. Dropped, they are closed.
#[derive(Debug)]
pub struct OpenCrowd {
    /// To the thread that has them.
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl OpenCrowd {
    fn start(entrance: Entrance, crowd: Crowd) -> Result<Self, LabError> {
        let (jobs, todo) = mpsc::channel::<Job>();
        let (tell, told) = mpsc::sync_channel(1);
        let (give, given) = mpsc::sync_channel(1);
        let work = move || {
            let entered = entrance.enter_thread();
            // Its file is not this thread's to close once it has a table of its own.
            let _ = give.send(entrance);
            let made = entered
                .and_then(|()| own_files())
                .and_then(|()| Room::new(&crowd));
            match made {
                Ok(mut room) => {
                    let _ = tell.send(Ok(()));
                    todo.into_iter().for_each(|job| job(&mut room));
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        };
        let thread = thread::Builder::new()
            .name("crowd".to_owned())
            .spawn(work)
            .map_err(|e| LabError::system("start a thread", e))?;
        drop(given.recv());
        let started = told.recv().unwrap_or_else(|_| Err(gone()));
        let crowd = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        started.map(|()| crowd)
    }

    /// Has `ask` told of each that is open, the oldest first.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if the thread that has them has ended.
    pub fn each<R: Send + 'static>(
        &self,
        mut ask: impl FnMut(&Member) -> R + Send + 'static,
    ) -> Result<Vec<R>, LabError> {
        self.run(move |room| room.members.iter().map(&mut ask).collect())
    }

    /// Opens `n` more.
    ///
    /// # Errors
    ///
    /// [`LabError::Congestion`] if the algorithm is refused, [`LabError::Flow`] if a connection cannot be made.
    pub fn add(&self, n: usize) -> Result<(), LabError> {
        self.run(move |room| {
            for _ in 0..n {
                let member = room.connect()?;
                room.members.push_back(member);
            }
            Ok(())
        })?
    }

    /// Closes all but those that `keep` wants.
    ///
    /// # Errors
    ///
    /// [`LabError::System`] if the thread that has them has ended.
    pub fn retain(
        &self,
        keep: impl FnMut(&Member) -> bool + Send + 'static,
    ) -> Result<(), LabError> {
        self.run(move |room| room.members.retain(keep))
    }

    /// On the thread that has them.
    fn run<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Room) -> R + Send + 'static,
    ) -> Result<R, LabError> {
        let (tell, told) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |room| {
            let _ = tell.send(work(room));
        });
        let sent = self.jobs.as_ref().map(|jobs| jobs.send(job));
        if !matches!(sent, Some(Ok(()))) {
            return Err(gone());
        }
        told.recv().map_err(|_| gone())
    }
}

impl Drop for OpenCrowd {
    fn drop(&mut self) {
        self.jobs = None;
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn gone() -> LabError {
    let source = io::Error::other("its thread has ended");
    LabError::system("have connections talk", source)
}

/// Gives the calling thread, which shall end soon after its last socket, an empty table of open files.
fn own_files() -> Result<(), LabError> {
    let failed = |e| LabError::system("have a table of open files of its own", e);
    // SAFETY: what is unshared is a copy; this thread uses no file of before, and closes only its copies.
    unsafe { unshare_unsafe(UnshareFlags::FILES) }.map_err(|e| failed(e.into()))?;
    // SAFETY: as above. Standard input and output stay.
    let closed = unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    if closed != 0 {
        return Err(failed(io::Error::last_os_error()));
    }
    Ok(())
}

/// Connections and where they come from.
#[derive(Debug)]
struct Room {
    doors: Vec<Door>,
    options: Options,
    /// Since the beginning.
    opened: usize,
    members: VecDeque<Member>,
}

#[derive(Debug)]
struct Door {
    listener: TcpListener,
    address: SocketAddr,
}

impl Room {
    /// In the calling thread's namespace.
    fn new(crowd: &Crowd) -> Result<Self, LabError> {
        if crowd.ports.is_empty() {
            return Err(LabError::Parameter {
                name: "ports",
                value: "none".to_owned(),
                range: "at least one",
            });
        }
        let open = |&port| {
            let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            let listener = socket::listener(address, 8, &Options::default())?;
            Ok(Door { listener, address })
        };
        let doors = crowd
            .ports
            .iter()
            .map(open)
            .collect::<Result<_, LabError>>()?;
        Ok(Self {
            doors,
            options: crowd.options.clone(),
            opened: 0,
            members: VecDeque::new(),
        })
    }

    fn connect(&mut self) -> Result<Member, LabError> {
        let door = &self.doors[self.opened % self.doors.len()];
        let peer = door.address;
        let failed = |what| move |source| LabError::Flow { peer, what, source };
        let sender = socket::connection(peer, &self.options)?;
        let local = sender
            .local_addr()
            .map_err(failed("read the sender's address"))?;
        // Nobody else comes through this door.
        let accepted = socket::accept(&door.listener, CONNECT_LIMIT).map_err(failed("accept"))?;
        let (receiver, _) = accepted.ok_or_else(|| LabError::Flow {
            peer,
            what: "accept",
            source: io::ErrorKind::TimedOut.into(),
        })?;
        receiver
            .set_read_timeout(Some(CONNECT_LIMIT))
            .map_err(failed("set SO_RCVTIMEO"))?;
        self.opened += 1;
        Ok(Member {
            sender,
            receiver,
            local,
            peer,
        })
    }
}

/// One connection of a [`Crowd`].
#[derive(Debug)]
pub struct Member {
    // Dropped first, so that it is the sender that ends the connection.
    sender: TcpStream,
    receiver: TcpStream,
    local: SocketAddr,
    peer: SocketAddr,
}

impl Member {
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

    /// Sends a few bytes and waits until they have arrived.
    ///
    /// # Errors
    ///
    /// [`LabError::Flow`] if they do not.
    pub fn talk(&self) -> Result<(), LabError> {
        let mut heard = [0; WORDS.len()];
        (&self.sender)
            .write_all(&WORDS)
            .map_err(self.failed("send"))?;
        (&self.receiver)
            .read_exact(&mut heard)
            .map_err(self.failed("receive"))
    }

    /// `TCP_INFO` of the sender now.
    ///
    /// # Errors
    ///
    /// [`LabError::Flow`] with the kernel's answer.
    pub fn info(&self) -> Result<TcpInfo, LabError> {
        TcpInfo::of(&self.sender).map_err(self.failed("read TCP_INFO"))
    }

    fn failed(&self, what: &'static str) -> impl Fn(io::Error) -> LabError {
        let peer = self.peer;
        move |source| LabError::Flow { peer, what, source }
    }
}

/// Raises the limit of open files of each table to `wanted`, as far as this process may. What cannot be had
/// shows in the first socket that fails.
pub(super) fn allow_files(wanted: usize) {
    let wanted = wanted as u64;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raise = |maximum: Option<u64>| {
        let current = Some(maximum.map_or(wanted, |maximum| maximum.min(wanted)));
        setrlimit(Resource::Nofile, Rlimit { current, maximum })
    };
    // Above the maximum only with CAP_SYS_RESOURCE.
    if raise(limit.maximum.map(|maximum| maximum.max(wanted))).is_err() {
        let _ = raise(limit.maximum);
    }
}
