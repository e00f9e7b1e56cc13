//! A running daemon.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::task::{Id, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::builder::Builder;
use crate::change::{Changer, Made};
use crate::config::DatapathConfig;
use crate::control_server::ControlServer;
use crate::datapath::netlink::NetlinkDatapath;
use crate::datapath::tcp::{self, TcpError, TcpPath};
use crate::datapath::unix::UnixDatapath;
use crate::error::{RunError, StartError};
use crate::log::{LogFilter, LogLimit, LogWriter};
use crate::making::Maker;
use crate::shared::Shared;
use crate::socket_file::{Leaves, PassedSocket, Places};
use crate::turns::Nudge;
use crate::watchdog::{self, Exhaustion};

/// The daemon.
#[derive(Debug)]
pub struct Ccpd;

impl Ccpd {
    /// Starts to put one together.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }
}

/// A running daemon. Dropping it stops the daemon without waiting for it.
#[derive(Debug)]
pub struct Handle {
    stop: CancellationToken,
    changer: Changer,
    parts: Parts,
    sockets: Vec<PassedSocket>,
}

/// The tasks of the daemon that each run until it stops.
#[derive(Debug)]
struct Parts {
    tasks: JoinSet<Result<(), (String, io::Error)>>,
    names: Vec<(Id, String)>,
    shared: Arc<Shared>,
    _nudge: Nudge,
}

/// What of the log the daemon may change, and counts.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) filter: Option<LogFilter>,
    pub(crate) limit: Option<LogLimit>,
    pub(crate) writer: Option<LogWriter>,
}

impl Handle {
    pub(crate) async fn start(
        maker: Maker,
        file: Option<PathBuf>,
        made: Made,
        logs: Logs,
        passed: Vec<PassedSocket>,
        spare_threads: usize,
    ) -> Result<Self, StartError> {
        let config = made.config().clone();
        let stop = CancellationToken::new();
        let shared = Arc::new(Shared::new(made.plan()?, stop.clone()));
        if let Some(limit) = logs.limit {
            shared.metrics.count_log(limit);
        }
        if let Some(writer) = &logs.writer {
            shared.metrics.count_written(writer.clone());
        }
        let changer = Changer::new(maker, file, made, logs.writer, Arc::clone(&shared));
        if config
            .datapaths
            .iter()
            .any(|d| matches!(d, DatapathConfig::Tcp(_)))
        {
            // What this machine lacks is told before anything is made on it.
            tcp::check_host()?;
        }
        let mut places = Places::new(passed, shared.leaves.clone())?;
        let control = ControlServer::bind(
            (&config.control, config.control_mode),
            &mut places,
            Arc::clone(&shared),
            changer.clone(),
            logs.filter,
        )?;
        changer.serve_metrics(config.metrics)?;
        shared.watchdog.set_timeout(config.algorithm_timeout);
        // All that can fail comes before anything runs: what is there already is dropped again, the
        // kernel's names last, because they are given back by hand.
        let mut unix = Vec::new();
        for datapath in &config.datapaths {
            if let DatapathConfig::Unix(config) = datapath {
                let bound = UnixDatapath::bind(config, &mut places, &shared)?;
                unix.push((datapath.name(), bound));
            }
        }
        let sockets = places.finish()?;
        let mut netlink = None;
        for datapath in &config.datapaths {
            if let DatapathConfig::Netlink(config) = datapath {
                netlink = Some((datapath.name(), NetlinkDatapath::join(config, &shared)?));
            }
        }
        let tcp = attach(&config.datapaths, &shared).await?;
        let mut parts = Parts {
            tasks: JoinSet::new(),
            names: Vec::new(),
            shared,
            _nudge: Nudge::start(),
        };
        watchdog::start(&parts.shared, spare_threads);
        parts.spawn("the control socket".to_owned(), async {
            control.run().await;
            Ok(())
        });
        for (name, datapath) in unix {
            parts.spawn(name, datapath.run());
        }
        if let Some((name, datapath)) = netlink {
            parts.spawn(name, datapath.run());
        }
        for (name, datapath) in tcp {
            parts.spawn(name, datapath.run());
        }
        info!(control = %config.control.display(), "ccpd is running");
        Ok(Self {
            stop,
            changer,
            parts,
            sockets,
        })
    }

    /// Every socket of the daemon, as a descriptor of its own, to be passed to the daemon after this one
    /// ([`Builder::sockets`]); also to be kept by a service manager until then. Empty when asked again.
    #[must_use]
    pub fn take_sockets(&mut self) -> Vec<PassedSocket> {
        std::mem::take(&mut self.sockets)
    }

    /// Asks the daemon to stop: flows go back to their datapaths, sockets are removed. Returns at
    /// once; [`wait`](Self::wait) waits until it is done.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Something with which others can ask the daemon to stop.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper {
            stop: self.stop.clone(),
            leaves: self.parts.shared.leaves.clone(),
        }
    }

    /// Something with which others can change what the daemon does.
    #[must_use]
    pub fn changer(&self) -> Changer {
        self.changer.clone()
    }

    /// Something that tells when algorithms that do not come back hold up every thread.
    #[must_use]
    pub fn exhaustion(&self) -> Exhaustion {
        self.parts.shared.watchdog.exhaustion()
    }

    /// Something with which others can see whether the daemon works.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        Liveness(Arc::clone(&self.parts.shared))
    }

    /// Waits until the daemon has stopped and has left nothing behind. It does not wait for an
    /// algorithm that hangs: the thread that this holds up is the runtime's, which a program then
    /// ends with [`shutdown_timeout`](tokio::runtime::Runtime::shutdown_timeout).
    ///
    /// # Errors
    /// If it stopped because a part of it failed; the first failure is told.
    pub async fn wait(mut self) -> Result<(), RunError> {
        let mut result = Ok(());
        while let Some(ended) = self.parts.tasks.join_next_with_id().await {
            let failure = match ended {
                Ok((_, Ok(()))) => None,
                Ok((_, Err((datapath, source)))) => Some(RunError::Datapath { datapath, source }),
                Err(source) => Some(RunError::Task {
                    task: self.parts.name(source.id()),
                    source,
                }),
            };
            if let Some(failure) = failure {
                error!(
                    error = &failure as &dyn std::error::Error,
                    "a part has failed: stopping"
                );
                if result.is_ok() {
                    result = Err(failure);
                }
            }
            // No part ends by itself: if one has, the others follow.
            self.stop.cancel();
        }
        let hanging = self.parts.shared.flows_ended().await;
        if hanging > 0 {
            warn!(
                flows = hanging,
                "algorithms do not come back: stopping without their flows"
            );
        }
        if self.parts.shared.leaves.get() {
            info!("ccpd has ended; flows and sockets are the next one's");
        } else {
            info!("ccpd has stopped");
        }
        result
    }
}

/// Attaches kernel TCP under every name, or under none.
async fn attach(
    datapaths: &[DatapathConfig],
    shared: &Arc<Shared>,
) -> Result<Vec<(String, TcpPath)>, TcpError> {
    let mut attached: Vec<(String, TcpPath)> = Vec::new();
    for datapath in datapaths {
        let DatapathConfig::Tcp(config) = datapath else {
            continue;
        };
        match TcpPath::attach(config.clone(), shared).await {
            Ok(path) => attached.push((datapath.name(), path)),
            Err(error) => {
                for (_, path) in attached {
                    path.abandon().await;
                }
                return Err(error);
            }
        }
    }
    Ok(attached)
}

/// Asks a daemon to stop, from anywhere.
#[derive(Clone, Debug)]
pub struct Stopper {
    stop: CancellationToken,
    leaves: Leaves,
}

impl Stopper {
    /// Asks the daemon to stop; returns at once.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Asks the daemon to end and to leave everything to the one after it, which is to start at once: flows keep
    /// their name in the kernel and go on natively if nobody comes, the files of sockets stay. Returns at
    /// once. A stop that was asked for before remains one.
    pub fn leave(&self) {
        if !self.stop.is_cancelled() {
            self.leaves.set();
        }
        self.stop.cancel();
    }
}

/// Sees whether a daemon works, from anywhere: also from outside of the runtime that it runs on.
#[derive(Clone, Debug)]
pub struct Liveness(Arc<Shared>);

impl Liveness {
    /// Whether every datapath's task does what it is told, within five seconds. An algorithm that hangs
    /// does not change that unless it, with others, holds up every thread of the daemon.
    pub async fn is_alive(&self) -> bool {
        self.0.orders.ping().await.is_ok()
    }

    /// What the daemon does, in a line.
    #[must_use]
    pub fn status(&self) -> String {
        let count = |count: usize, of: &str| match count {
            1 => format!("1 {of}"),
            _ => format!("{count} {of}s"),
        };
        let flows = count(self.0.board.len(), "flow");
        format!(
            "steering {flows} of {}",
            count(self.0.orders.count(), "datapath")
        )
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
        // They end by themselves, each after its own cleaning up.
        self.parts.tasks.detach_all();
    }
}

impl Parts {
    fn spawn(&mut self, name: String, part: impl Future<Output = io::Result<()>> + Send + 'static) {
        let called = name.clone();
        let task = self
            .tasks
            .spawn(async move { part.await.map_err(|error| (called, error)) });
        self.names.push((task.id(), name));
    }

    fn name(&self, id: Id) -> String {
        let found = self.names.iter().find(|(known, _)| *known == id);
        found.map_or_else(|| "a task".to_owned(), |(_, name)| name.clone())
    }
}
