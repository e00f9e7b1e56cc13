//! Linux kernel TCP: one task that reads the frames of all flows and, by the same token, gives the
//! signs of life on which the kernel side lets programs run.

use std::collections::{HashMap, HashSet};
use std::future::ready;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ccp_core::{Command, Form, Native, Place, Prefix, ProgramTable, SessionOptions};
use ccp_ebpf::layout::FIELD_CONTROL;
use ccp_ebpf::{
    AttachError, Ends, InstallError, Mailbox, MailboxError, Options, Range, Ring, Take, TakeError,
    Taking, TcpDatapath,
};
use ccp_types::{Bytes, FlowState, Micros, Rate, SockId};
use ccp_wire::{Capabilities, Features, Kind, Message, frames};
use smallvec::SmallVec;
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, error, info, warn};

use super::link::{self, Link};
use super::polls::Polls;
use super::resolver::Resolver;
use crate::config::{EndsConfig, Namespaces, TakeConfig, TcpConfig, TcpName};
use crate::orders::{Order, Untaken};
use crate::outlet::{Observed, Outlet, Sent};
use crate::shared::Shared;
use crate::turns::give_way;

/// After so many frames in a row, others get their turn.
const BATCH: usize = 256;
/// How often it is looked whether ends of flows were lost.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// So many signs of life within the time after which flows would fall back.
const BEATS: u32 = 4;

/// Kernel TCP is not possible here, or is not given to us.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TcpError {
    /// The datapath can't be attached.
    #[error(transparent)]
    Attach(#[from] AttachError),
    /// A program can't be put into the kernel.
    #[error("the program `{program}` can't be installed: {source}")]
    Install {
        /// The program.
        program: String,
        /// Why not.
        source: InstallError,
    },
    /// The flows that are chosen can't be taken.
    #[error("`take` of the datapath {datapath}")]
    Take {
        /// The datapath.
        datapath: String,
        /// Why not.
        source: TakeError,
    },
    /// The system refuses something else.
    #[error("can't read the kernel's reports")]
    Ring(#[source] io::Error),
}

impl TcpError {
    /// Whether this machine lacks something: rights, or a feature of its kernel.
    pub(crate) const fn is_not_possible_here(&self) -> bool {
        matches!(
            self,
            Self::Attach(
                AttachError::Host(_) | AttachError::Bpffs { .. } | AttachError::Load { .. }
            ) | Self::Take {
                source: TakeError::NoCgroups(_) | TakeError::Load { .. },
                ..
            }
        )
    }
}

/// Looks whether this machine can steer kernel TCP at all. Takes milliseconds, changes nothing.
pub(crate) fn check_host() -> Result<(), TcpError> {
    match ccp_ebpf::check_host() {
        Ok(_) => Ok(()),
        Err(error) => Err(TcpError::Attach(error.into())),
    }
}

/// A name that sockets may ask for, and what comes of it.
#[derive(Debug)]
pub(crate) struct TcpPath {
    kernel: Arc<Kernel>,
    ring: AsyncFd<Watched>,
    polls: Polls,
    link: Link,
    shared: Arc<Shared>,
    fallback_after: Duration,
    orders: mpsc::Receiver<Order>,
    name: String,
    names: Names,
    /// How many ends of flows were lost when the flows that are missing were last looked for.
    lost_ends: u64,
    told: Told,
}

impl TcpPath {
    /// Registers the name in the kernel and installs the programs.
    pub(crate) async fn attach(config: TcpConfig, shared: &Arc<Shared>) -> Result<Self, TcpError> {
        let options = options(&config);
        let shared = Arc::clone(shared);
        let take = config.take.as_deref().cloned();
        // System calls that take milliseconds, and the kernel's verifier.
        let started =
            tokio::task::spawn_blocking(move || Started::new(options, take, &shared)).await;
        let started = match started {
            Ok(started) => started?,
            Err(failed) => std::panic::resume_unwind(failed.into_panic()),
        };
        let Started {
            kernel,
            ring,
            link,
            shared,
        } = started;
        let watched = watch(ring).and_then(|ring| Ok((ring, Polls::new()?)));
        let (ring, polls) = match watched {
            Ok(watched) => watched,
            Err(error) => {
                kernel.detach().await;
                return Err(TcpError::Ring(error));
            }
        };
        Ok(Self {
            kernel,
            ring,
            polls,
            link,
            orders: shared.orders.listen(),
            shared,
            fallback_after: config.fallback_after,
            names: Names::new(&config),
            name: config.name,
            lost_ends: 0,
            told: Told::default(),
        })
    }

    /// Gives the name back, if nothing has run yet.
    pub(crate) async fn abandon(self) {
        drop(self.ring);
        self.kernel.detach().await;
    }

    /// Serves flows until the daemon stops, then hands them to the system's own algorithm, or leaves them to the
    /// next daemon.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        let served = self.serve().await;
        // Nothing is to be written to flows that are being handed over.
        self.shared.stop.cancel();
        self.link.stop();
        self.shared.flows_ended().await;
        drop(self.ring);
        if self.shared.leaves.get() {
            self.kernel.leave();
        } else {
            self.kernel.detach().await;
        }
        served
    }

    async fn serve(&mut self) -> io::Result<()> {
        let stop = self.shared.stop.clone();
        let beat_every = self.fallback_after / BEATS;
        let mut beat = interval(beat_every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut last_beat = Instant::now();
        let mut more = false;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                // Cleared before reading: what comes afterwards makes it ready again.
                ready = self.ring.readable_mut() => ready?.clear_ready(),
                due = self.polls.due() => due?,
                () = ready(()), if more => {}
                Some(order) = self.orders.recv() => self.obey(order),
                _ = beat.tick() => {}
                _ = look.tick() => {
                    self.end_missing();
                    self.tell();
                    self.kernel.look_for_cgroups();
                }
            }
            // Whatever it was: should a wake-up get lost, reports come with the next sign of life.
            more = self.read()?;
            // After reading, so that it proves that reports are read.
            let since = last_beat.elapsed();
            if since >= beat_every {
                self.beat(since);
                last_beat = Instant::now();
            }
            // Others get their turn, however much there is to read.
            if more {
                give_way().await;
            }
        }
    }

    fn obey(&mut self, order: Order) {
        let Order::Take(takes, done) = order else {
            return link::obey(order, [&mut self.link]);
        };
        let ours = takes.iter().find(|(name, _)| *name == self.name);
        let take = ours.and_then(|(_, take)| take.clone());
        let (kernel, datapath) = (Arc::clone(&self.kernel), self.name.clone());
        // System calls that take milliseconds, and the kernel's verifier.
        tokio::task::spawn_blocking(move || {
            let taken = kernel.take(take);
            // Who gave the order and did not wait for the answer does not get one.
            let _ = done.send(taken.map_err(|why| Untaken { datapath, why }));
        });
    }

    /// Reads what is there, and settles what it reads next for. Says whether there may be more.
    fn read(&mut self) -> io::Result<bool> {
        let (link, names) = (&mut self.link, &mut self.names);
        let ring = &mut self.ring.get_mut().0;
        let read = ring.consume(BATCH, |frame| names.pass(frame, link));
        let polled = self.polls.on();
        if self.polls.looked(Instant::now(), read)? {
            if !polled {
                ring.poll();
            }
        } else if polled && !ring.rest() {
            self.polls.again()?;
        }
        Ok(read >= BATCH)
    }

    /// A sign of life, the first for the time `since`.
    fn beat(&mut self, since: Duration) {
        let kernel = Arc::clone(&self.kernel);
        let tcp = kernel.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tcp) = &*tcp else {
            return;
        };
        if since > self.fallback_after {
            // This process was stopped: the flows run natively, and what it knows of them is old.
            let epoch = tcp.bump_epoch();
            self.link.session().suspend(epoch);
            self.link.drain();
            warn!(
                datapath = %self.name,
                seconds = since.as_secs_f64(),
                "ccpd did not run for so long that flows went on natively: taking them back"
            );
        }
        tcp.beat();
    }

    /// Says what the kernel counted that somebody should know: each program that faults once, flows
    /// beyond a limit and flows whose reports lie when there are more of them.
    fn tell(&mut self) {
        self.link.publish();
        let kernel = Arc::clone(&self.kernel);
        let tcp = kernel.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tcp) = &*tcp else {
            return;
        };
        let datapath = &self.name;
        let programs = self.link.session().programs();
        for (uid, faults) in tcp.faults().unwrap_or_default() {
            if faults > 0 && self.told.faulty.insert(uid) {
                let program = programs.get(uid).map_or("", |p| p.program.name());
                warn!(%datapath, program, faults, "a program faults: these invocations had no effect");
            }
        }
        let Ok(counters) = tcp.counters() else {
            return;
        };
        self.link.metrics().set_kernel(counters);
        let limits = [
            (counters.native_limit, "max_flows"),
            (counters.native_namespace_limit, "max_flows_per_namespace"),
            (counters.native_user_limit, "max_flows_per_user"),
        ];
        for ((now, limit), told) in limits.into_iter().zip(&mut self.told.limits) {
            let flows = now.saturating_sub(std::mem::replace(told, now));
            if flows > 0 {
                warn!(%datapath, limit, flows, "there are more flows than are taken: these run natively");
            }
        }
        let before = std::mem::replace(&mut self.told.refused, counters.take_refused);
        let flows = counters.take_refused.saturating_sub(before);
        if flows > 0 {
            warn!(%datapath, flows, "flows were to be taken and could not be: they keep the algorithm that they have");
        }
        let before = std::mem::replace(&mut self.told.unanswered, counters.unanswered);
        let flows = counters.unanswered.saturating_sub(before);
        if flows > 0 {
            warn!(%datapath, flows, "the algorithms of some flows do not come back from their reports: these run natively");
        }
    }

    /// A flow that ends while the ring is full can't say so. Such flows are found by looking.
    fn end_missing(&mut self) {
        let kernel = Arc::clone(&self.kernel);
        let tcp = kernel.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tcp) = &*tcp else {
            return;
        };
        let lost = tcp.counters().map_or(self.lost_ends, |c| c.close_full);
        if lost == self.lost_ends {
            return;
        }
        // In the ring may be announcements of flows that have ended since.
        let (link, names) = (&mut self.link, &mut self.names);
        let read = self
            .ring
            .get_mut()
            .0
            .consume(BATCH, |frame| names.pass(frame, link));
        if read >= BATCH {
            return;
        }
        self.lost_ends = lost;
        let flows = link
            .session()
            .end_missing(|sock_id| tcp.flow(sock_id.0).is_some());
        link.drain();
        info!(datapath = %self.name, flows, "flows ended whose messages of it were lost");
    }
}

/// What was last told of what the kernel counts.
#[derive(Debug, Default)]
struct Told {
    /// Programs of whose faults it was told.
    faulty: HashSet<u32>,
    limits: [u64; 3],
    refused: u64,
    unanswered: u64,
}

/// What flows ask for by the name that they use, and what the kernel's numbers mean.
#[derive(Debug)]
struct Names {
    requests: HashMap<String, String>,
    resolver: Resolver,
}

impl Names {
    fn new(config: &TcpConfig) -> Self {
        let requests = |name: &TcpName| Some((name.name.clone(), name.requests.clone()?));
        Self {
            requests: config.names.iter().filter_map(requests).collect(),
            resolver: Resolver::new(),
        }
    }

    /// Passes on a frame of the kernel's, in whose announcements stand the name that the socket
    /// uses, and numbers: what is asked for and meant by them is for us to say.
    fn pass(&mut self, frame: &[u8], link: &mut Link) {
        let announces = frame
            .first_chunk()
            .is_some_and(|kind| u16::from_le_bytes(*kind) == Kind::Create.to_wire());
        if !announces {
            if let Some(flow) = link.on_bytes(frame) {
                flow.inbox.wake();
            }
            return;
        }
        for frame in frames(frame) {
            match frame.and_then(|frame| frame.message()) {
                Ok(Message::Create(mut create)) => {
                    let requests = |name| self.requests.get(&name).cloned();
                    create.cong_alg = create.cong_alg.and_then(requests);
                    create.attributes = self.resolver.resolve(&create.attributes);
                    let _no_report = link.on_message(&Message::Create(create));
                }
                Ok(message) => {
                    if let Some(flow) = link.on_message(&message) {
                        flow.inbox.wake();
                    }
                }
                Err(_) => link.session().on_garbage(),
            }
        }
    }
}

/// A ring that the runtime watches.
#[derive(Debug)]
struct Watched(Ring);

impl AsRawFd for Watched {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

#[allow(
    unsafe_code,
    reason = "what the runtime asks of everything that it watches"
)]
fn watch(ring: Ring) -> io::Result<AsyncFd<Watched>> {
    // SAFETY: the ring owns its descriptor, and neither it nor we close or replace it before the
    // `AsyncFd` that owns the ring from here on is dropped.
    let watched = unsafe { AsyncFd::register_with_interest(Watched(ring), Interest::READABLE) };
    watched.map_err(io::Error::from)
}

struct Started {
    kernel: Arc<Kernel>,
    ring: Ring,
    link: Link,
    shared: Arc<Shared>,
}

impl Started {
    fn new(
        options: Options,
        take: Option<TakeConfig>,
        shared: &Arc<Shared>,
    ) -> Result<Self, TcpError> {
        let name = options.name.clone();
        let max_flows = usize::try_from(options.max_flows).unwrap_or(usize::MAX);
        let mut tcp = TcpDatapath::attach(options)?;
        if let Some(path) = tcp.mounted_bpffs() {
            info!(path = %path.display(), "mounted a BPF file system");
        }
        let adopted = tcp.adopted();
        let ring = tcp.take_ring();
        let kernel = Arc::new(Kernel {
            mailbox: tcp.mailbox(),
            tcp: RwLock::new(Some(tcp)),
            refused: RwLock::new(None),
            taken: Mutex::default(),
        });
        let outlet = Arc::clone(&kernel);
        let options = SessionOptions {
            max_flows,
            attributes: true,
            natives: true,
            ..SessionOptions::default()
        };
        let mut link = Link::new(&name, name.clone(), outlet, options, shared);
        let mut capabilities =
            Capabilities::new(TcpDatapath::register_table(), TcpDatapath::limits());
        capabilities.features = Features::ALL;
        link.session().on_ready(Some(&capabilities));
        link.drain();
        let refused = {
            let mut refused = kernel
                .refused
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            refused.take()
        };
        let ready = match (refused, ring) {
            (Some((program, source)), _) => Err(TcpError::Install { program, source }),
            (None, None) => Err(TcpError::Ring(io::ErrorKind::NotFound.into())),
            // Last: what is taken from here on finds everything in its place.
            (None, Some(ring)) => kernel.take(take).map(|()| ring).map_err(|source| {
                let datapath = name.clone();
                TcpError::Take { datapath, source }
            }),
        };
        let failure = match ready {
            Err(failure) => failure,
            Ok(ring) => {
                info!(datapath = %name, adopted, "steering kernel TCP");
                return Ok(Self {
                    kernel,
                    ring,
                    link,
                    shared: Arc::clone(shared),
                });
            }
        };
        kernel.detach_now();
        Err(failure)
    }
}

/// The kernel's side: what flows' tasks write to.
#[derive(Debug)]
struct Kernel {
    mailbox: Mailbox,
    /// Gone once it is detached.
    tcp: RwLock<Option<TcpDatapath>>,
    /// The first program that the kernel did not take, and why.
    refused: RwLock<Option<(String, InstallError)>>,
    taken: Mutex<Taken>,
}

/// Which flows are taken without having asked, and what was told of it.
#[derive(Debug, Default)]
struct Taken {
    chosen: Option<TakeConfig>,
    /// Control groups of which it was told that they are not there.
    missing: Vec<PathBuf>,
    /// What was in the way when control groups were last looked for.
    failure: String,
}

impl Kernel {
    async fn detach(self: Arc<Self>) {
        // Waits for busy flows to hand themselves over.
        let done = tokio::task::spawn_blocking(move || self.detach_now()).await;
        if done.is_err() {
            error!("giving the name back failed; this is an error in ccpd");
        }
    }

    /// Lets go of everything and leaves it in the kernel, for the next daemon.
    fn leave(&self) {
        let mut tcp = self.tcp.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tcp) = tcp.take() {
            info!(datapath = %tcp.options().name, "flows are left to the next daemon");
        }
    }

    fn detach_now(&self) {
        let tcp = self
            .tcp
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(tcp) = tcp else {
            return;
        };
        let name = tcp.options().name.clone();
        match tcp.detach() {
            Ok(left) => {
                info!(datapath = %name, moved = left.moved, "flows handed to the system's CUBIC");
                if left.given_back > 0 {
                    info!(
                        datapath = %name,
                        flows = left.given_back,
                        "of these, flows that had been taken went back to the algorithm that they had"
                    );
                }
                if left.refused + left.remaining > 0 || !left.unreached.is_empty() {
                    warn!(
                        datapath = %name,
                        refused = left.refused,
                        remaining = left.remaining,
                        unreached = ?left.unreached,
                        "some flows switch by themselves, with their next ACK or when they close"
                    );
                }
            }
            Err(error) => error!(datapath = %name, %error, "the kernel is not as it was before"),
        }
    }

    /// Takes the flows that are chosen, instead of those that were chosen before. If that fails, those
    /// still are. Blocks for milliseconds.
    fn take(&self, chosen: Option<TakeConfig>) -> Result<(), TakeError> {
        let tcp = self.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tcp) = &*tcp else {
            return Ok(());
        };
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let taking = tcp.take(chosen.as_ref().map(flows_of).as_ref())?;
        if chosen.is_some() || taken.chosen.is_some() {
            let cgroups = taking.cgroups.len() + taking.missing.len();
            info!(
                datapath = %tcp.options().name,
                cgroups = if chosen.is_some() { cgroups } else { 0 },
                living = taking.living,
                "taking flows that do not ask"
            );
        }
        *taken = Taken {
            chosen,
            ..Taken::default()
        };
        taken.tell(&tcp.options().name, &taking);
        Ok(())
    }

    /// Control groups come and go. They are looked for aside: flows have to be looked through.
    fn look_for_cgroups(self: &Arc<Self>) {
        {
            // Held while a choice comes into force: then they are looked for anyway.
            let Ok(taken) = self.taken.try_lock() else {
                return;
            };
            if taken.chosen.is_none() {
                return;
            }
        }
        let kernel = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let tcp = kernel.tcp.read().unwrap_or_else(PoisonError::into_inner);
            let Some(tcp) = &*tcp else {
                return;
            };
            let datapath = &tcp.options().name;
            let mut taken = kernel.taken.lock().unwrap_or_else(PoisonError::into_inner);
            match tcp.look_for_cgroups() {
                Ok(taking) => {
                    taken.failure.clear();
                    for cgroup in &taking.cgroups {
                        info!(%datapath, cgroup = %cgroup.display(), "taking the flows of a control group that has come");
                    }
                    taken.tell(datapath, &taking);
                }
                Err(error) => {
                    let failure = error.to_string();
                    if failure != taken.failure {
                        warn!(%datapath, %error, "the flows of a control group are not taken");
                        taken.failure = failure;
                    }
                }
            }
        });
    }

    fn install(&self, uid: u32, program: &str, form: &Form) {
        let Form::Whole(whole) = form else {
            debug_assert!(false, "kernel TCP announced that it takes whole programs");
            return;
        };
        let tcp = self.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let Some(tcp) = &*tcp else {
            return;
        };
        match tcp.install(uid, whole) {
            Ok(()) => debug!(uid, program, "installed"),
            Err(error) => {
                // At the start this ends it. Later, with a new configuration, the flows that are to run it
                // go on natively.
                error!(program, %error, "the kernel does not take a program");
                let mut refused = self.refused.write().unwrap_or_else(PoisonError::into_inner);
                refused.get_or_insert((program.to_owned(), error));
            }
        }
    }
}

impl Taken {
    /// Says what somebody should know of what is being taken, once.
    fn tell(&mut self, datapath: &str, taking: &Taking) {
        for cgroup in &taking.missing {
            if !self.missing.contains(cgroup) {
                warn!(%datapath, cgroup = %cgroup.display(), "there is no such control group: its flows are taken once it is there");
            }
        }
        self.missing.clone_from(&taking.missing);
        if !taking.unreached.is_empty() {
            warn!(%datapath, unreached = ?taking.unreached, "living flows there are not taken");
        }
    }
}

impl Drop for Kernel {
    /// Where nobody came to do it in order: a start that was given up, a task that failed.
    fn drop(&mut self) {
        self.detach_now();
    }
}

impl Outlet for Kernel {
    fn send(&self, _: &ProgramTable, command: &Command) -> Sent {
        let written = match command {
            Command::Install(installed) => {
                self.install(installed.uid, installed.program.name(), &installed.form);
                Ok(())
            }
            Command::Update(update) => {
                let fields: SmallVec<[(usize, u64); 8]> = update
                    .fields
                    .iter()
                    .filter_map(|(place, value)| match *place {
                        // `Ssthresh` is for programs to set.
                        Place::Writable(2..) => None,
                        Place::Writable(place) => Some((usize::from(place), *value)),
                        Place::Control(place) => Some((FIELD_CONTROL + usize::from(place), *value)),
                    })
                    .collect();
                let program = update.change_program.then_some(update.program_uid);
                let (sock_id, generation) = (update.sock_id.0, update.generation);
                self.mailbox.write(sock_id, generation, program, &fields)
            }
            Command::Native {
                sock_id,
                generation,
                by,
                ..
            } => match by {
                Native::Own => {
                    let native = Some(ccp_ebpf::NATIVE);
                    self.mailbox.write(sock_id.0, *generation, native, &[])
                }
                Native::Named(name) => self.mailbox.hand_over(sock_id.0, *generation, name),
            },
            // It needs no hello: what the hello says is in the options it was attached with.
            _ => Ok(()),
        };
        if let Err(error) = written {
            log_refusal(&error);
        }
        Sent::Done
    }

    fn ready(&self) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(ready(()))
    }

    fn handled(&self, sock_id: SockId) {
        self.mailbox.handled(sock_id.0);
    }

    fn observe(&self, sock_id: SockId) -> Option<Observed> {
        let tcp = self.tcp.read().unwrap_or_else(PoisonError::into_inner);
        let flow = tcp.as_ref()?.flow(sock_id.0)?;
        Some(Observed {
            state: FlowState {
                cwnd: Bytes(flow.cwnd_bytes),
                rate: Rate(flow.pacing_rate.unwrap_or(0)),
                srtt: Micros(flow.srtt_us.unwrap_or(0).into()),
                min_rtt: Micros(flow.min_rtt_us.unwrap_or(0).into()),
            },
            mss: flow.mss,
            mode: match flow.mode {
                ccp_ebpf::Mode::Native => ccp_control::FlowMode::Native,
                ccp_ebpf::Mode::Running => ccp_control::FlowMode::Running,
                ccp_ebpf::Mode::Fallback => ccp_control::FlowMode::Fallback,
            },
            sent: flow.bytes_sent,
            delivered: flow.bytes_delivered,
            lost: flow.bytes_lost,
            timeouts: flow.timeouts,
            faults: flow.faults,
        })
    }

    fn faults(&self) -> Option<Vec<(u32, u64)>> {
        let tcp = self.tcp.read().unwrap_or_else(PoisonError::into_inner);
        tcp.as_ref()?.faults().ok()
    }
}

/// The program or field was checked before: this is not the algorithm's doing.
fn log_refusal(error: &MailboxError) {
    warn!(%error, "an update can't be written");
}

/// What a killed daemon left of `config` in the kernel goes. Returns whether there was anything.
pub(crate) fn clean_up(config: &TcpConfig) -> Result<bool, TcpError> {
    Ok(ccp_ebpf::clean_up(&options(config))?.is_some())
}

/// As the kernel's side has it.
fn flows_of(chosen: &TakeConfig) -> Take {
    let ends = |ends: &EndsConfig| Ends {
        cgroups: ends.cgroups.clone(),
        dst: ends.dst.iter().map(range).collect(),
        src: ends.src.iter().map(range).collect(),
        dst_ports: ends.dst_port.iter().map(|ports| ports.ends()).collect(),
        src_ports: ends.src_port.iter().map(|ports| ports.ends()).collect(),
    };
    Take {
        which: ends(&chosen.which),
        except: ends(&chosen.except),
        living: chosen.living,
        chosen_too: chosen.chosen_too,
    }
}

fn range(prefix: &Prefix) -> Range {
    Range {
        address: prefix.address(),
        bits: prefix.bits(),
    }
}

fn options(config: &TcpConfig) -> Options {
    let mut options = Options::named(&config.name);
    options.namespaces = match config.namespaces {
        Namespaces::Initial => ccp_ebpf::Namespaces::Initial,
        Namespaces::Any => ccp_ebpf::Namespaces::Any,
    };
    let name = |name: &TcpName| ccp_ebpf::Name {
        name: name.name.clone(),
        ecn: name.ecn,
    };
    options.more_names = config.names.iter().map(name).collect();
    options.fallback_after = config.fallback_after;
    options.max_flows = config.max_flows;
    options.unanswered_after = config.unanswered_after;
    options.max_fault_run = config.max_fault_run;
    let half = (config.max_flows / 2).max(1);
    let share = |limit: Option<u32>| Some(limit.unwrap_or(half));
    options.max_flows_per_namespace = share(config.max_flows_per_namespace);
    options.max_flows_per_user = share(config.max_flows_per_user);
    options
}
