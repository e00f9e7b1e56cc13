//! Linux kernel TCP: one task that reads the frames of all flows and, by the same token, gives the
//! signs of life on which the kernel side lets programs run.

use std::collections::HashSet;
use std::future::ready;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use ccp_core::SessionOptions;
use ccp_ebpf::{AttachError, InstallError, Options, Ring, TakeError, TcpDatapath};
use ccp_wire::{Capabilities, Features};
use thiserror::Error;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

mod kernel;
mod names;
mod options;
mod take;

use kernel::Kernel;
use names::Names;
use options::options;

use super::link::{self, Link};
use super::polls::Polls;
use crate::config::{TakeConfig, TcpConfig};
use crate::orders::{Order, Untaken};
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
        // System calls that take milliseconds, and the kernel's verifier. Flows of a daemon before run natively
        // until it is done: both at once.
        let named = config.clone();
        let names = spawn_blocking(move || Names::new(&named));
        let started = spawn_blocking(move || Started::new(options, take, &shared));
        let (started, names) = (done(started.await)?, done(names.await));
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
            names,
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
        spawn_blocking(move || {
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

/// What came of it, or its panic.
fn done<T>(joined: Result<T, JoinError>) -> T {
    match joined {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
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

/// What a killed daemon left of `config` in the kernel goes. Returns whether there was anything.
pub(crate) fn clean_up(config: &TcpConfig) -> Result<bool, TcpError> {
    Ok(ccp_ebpf::clean_up(&options(config))?.is_some())
}
