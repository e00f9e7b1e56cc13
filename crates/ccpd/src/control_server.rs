//! The answering end of the control socket. What a client may cost is bounded: how many there are,
//! how long a hello and an answer may take, how long a frame is.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ccp_control::{
    AlgorithmStatus, ClientHello, FrameError, MAGIC, METRICS_PER_RESPONSE, PROTOCOL_VERSION,
    Receiver, Refusal, Reloaded, Request, Response, Sender, ServerHello, split,
};
use ccp_core::{Bytes, FlowId, FlowInfo, SockId};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::change::{AlgorithmInfo, Changer};
use crate::error::in_full;
use crate::log::LogFilter;
use crate::metrics::Count;
use crate::shared::Shared;
use crate::socket_file::{Places, SocketError, SocketFile};

mod flows;
mod programs;
pub(crate) mod told;
mod watch;

/// So many clients are served at once,
const MOST_CLIENTS: usize = 32;
/// and so many more of those who may change something: whoever else may ask could take all the other places,
/// and keep them.
const RESERVED: usize = 8;
/// So many more are told at once that there are too many; the others are hung up on.
const MOST_REFUSED: usize = 32;
/// A hello has to come, and an answer has to be taken, within this time.
const PATIENCE: Duration = Duration::from_secs(5);
/// Pause after a failed `accept`: what it lacked (descriptors, memory) has to come back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens on the control socket.
#[derive(Debug)]
pub(crate) struct ControlServer {
    listener: UnixListener,
    /// Removes the socket when dropped.
    _file: SocketFile,
    clients: Arc<Clients>,
}

#[derive(Debug)]
struct Clients {
    shared: Arc<Shared>,
    changer: Changer,
    log: Option<LogFilter>,
    served: Semaphore,
    /// Further places, for those who may change something.
    reserved: Semaphore,
    refused: Semaphore,
}

impl ControlServer {
    /// Makes the socket at `path`, with this file mode.
    pub(crate) fn bind(
        (path, mode): (&Path, u32),
        places: &mut Places,
        shared: Arc<Shared>,
        changer: Changer,
        log: Option<LogFilter>,
    ) -> Result<Self, SocketError> {
        let (file, socket) = SocketFile::listen(path, mode, places)?;
        let listener = UnixListener::from_std(std::os::unix::net::UnixListener::from(socket))
            .map_err(|source| SocketError::Io {
                what: "listen on",
                path: path.to_owned(),
                source,
            })?;
        Ok(Self {
            listener,
            _file: file,
            clients: Arc::new(Clients {
                shared,
                changer,
                log,
                served: Semaphore::new(MOST_CLIENTS),
                reserved: Semaphore::new(RESERVED),
                refused: Semaphore::new(MOST_REFUSED),
            }),
        })
    }

    /// Serves clients until the daemon stops.
    pub(crate) async fn run(self) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = self.clients.shared.stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    let clients = Arc::clone(&self.clients);
                    tasks.spawn(async move { clients.take(stream).await });
                }
                Err(error) => {
                    warn!(%error, "can't take a control connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        tasks.close();
        tasks.wait().await;
    }
}

impl Clients {
    async fn take(&self, stream: UnixStream) {
        let stopped = self.shared.stop.cancelled();
        // Who can't be told from others may not change anything.
        let may_change = stream.peer_cred().is_ok_and(|peer| may_change(peer.uid()));
        let serve = async {
            let (mut receiver, mut sender) = split(stream);
            if let Some(_place) = self.place(may_change) {
                self.serve(&mut receiver, &mut sender, may_change).await
            } else if let Ok(_permit) = self.refused.try_acquire() {
                self.shared.metrics.count(Count::RefusedControl, 1);
                let reserved = if may_change { RESERVED } else { 0 };
                let refusal = Refusal::TooManyClients {
                    limit: count(MOST_CLIENTS + reserved),
                };
                refuse(&mut receiver, &mut sender, refusal).await
            } else {
                self.shared.metrics.count(Count::RefusedControl, 1);
                Ok(())
            }
        };
        tokio::select! {
            () = stopped => {}
            result = serve => if let Err(error) = result {
                debug!(error = &error as &dyn Error, "control connection ended");
            }
        }
    }

    /// A place to be served at, if there is one left.
    fn place(&self, may_change: bool) -> Option<SemaphorePermit<'_>> {
        let place = self.served.try_acquire();
        let place = place.or_else(|full| match may_change {
            true => self.reserved.try_acquire(),
            false => Err(full),
        });
        place.ok()
    }

    async fn serve(
        &self,
        receiver: &mut Receiver<UnixStream>,
        sender: &mut Sender<UnixStream>,
        may_change: bool,
    ) -> Result<(), FrameError> {
        if !greet(receiver, sender).await? {
            return Ok(());
        }
        // What ended a watch.
        let mut next = None;
        loop {
            let request: Request = match next.take() {
                Some(request) => request,
                None => match receiver.receive().await {
                    Err(FrameError::Closed) => return Ok(()),
                    other => other?,
                },
            };
            let response = match request {
                request if request.is_change() && !may_change => {
                    Response::Refused(Refusal::NotAllowed)
                }
                Request::Flows(selection) => {
                    self.flows(&selection, sender).await?;
                    continue;
                }
                Request::Watch(watch) => {
                    match self.watch(&watch, receiver, sender).await {
                        Err(FrameError::Closed) => return Ok(()),
                        Err(error) => return Err(error),
                        Ok(request) => next = request,
                    }
                    continue;
                }
                Request::Show { flow } => self.show(FlowId(flow)).await,
                Request::Programs => self.programs().await,
                Request::Program { program, datapath } => {
                    self.program(&program, datapath.as_deref()).await
                }
                Request::LogFilter { filter } => self.log_filter(filter.as_deref()),
                Request::Algorithms => self.algorithms().await,
                Request::Metrics => {
                    self.metrics(sender).await?;
                    continue;
                }
                Request::Explain {
                    datapath,
                    src,
                    dst,
                    requested,
                    attributes,
                } => {
                    let mut flow = FlowInfo::new(SockId(0), src, dst, 1, Bytes(1));
                    flow.requested = requested;
                    flow.attributes = told::read(attributes);
                    self.changer.as_told(&mut flow, &datapath).await;
                    let explained = self.changer.explain(&flow, &datapath);
                    Response::Explained(told::explained(explained))
                }
                Request::Reload => self.reload().await,
                Request::Set {
                    flow,
                    algorithm,
                    parameters,
                } => {
                    let flow = FlowId(flow);
                    match self.changer.set(flow, &algorithm, &parameters).await {
                        Ok(()) => Response::Done,
                        Err(error) => refused(&error),
                    }
                }
                // A request of this version that this daemon does not know can't be: hang up.
                _ => return Ok(()),
            };
            within(sender.send(&response)).await?;
        }
    }

    async fn algorithms(&self) -> Response {
        let all = self.changer.algorithms().await.into_iter();
        let status = |info: AlgorithmInfo| AlgorithmStatus {
            name: info.name,
            kind: info.kind,
            programs: info.programs,
            parameters: info.parameters,
            default: info.default,
            rules: info.rules.into_iter().map(|rule| count(rule + 1)).collect(),
            quarantined: info.quarantined,
        };
        Response::Algorithms(all.map(status).collect())
    }

    async fn reload(&self) -> Response {
        match self.changer.reload().await {
            Ok(done) => Response::Reloaded(Reloaded {
                changed: done.changed,
                algorithms: count(done.algorithms),
                rules: count(done.rules),
            }),
            Err(error) => {
                warn!(
                    error = &error as &dyn Error,
                    "the configuration is not read again"
                );
                refused(&error)
            }
        }
    }

    async fn metrics(&self, sender: &mut Sender<UnixStream>) -> Result<(), FrameError> {
        let mut all = self.shared.metrics.gather();
        loop {
            let rest = all.split_off(all.len().min(METRICS_PER_RESPONSE));
            let last = rest.is_empty();
            let response = Response::Metrics { metrics: all, last };
            within(sender.send(&response)).await?;
            if last {
                return Ok(());
            }
            all = rest;
        }
    }

    fn log_filter(&self, filter: Option<&str>) -> Response {
        let Some(log) = &self.log else {
            let why =
                "the log of this daemon is not its own: the program that it is part of writes it";
            return Response::Refused(Refusal::Failed(why.to_owned()));
        };
        let set = filter.map_or(Ok(()), |filter| log.set(filter));
        match set.and_then(|()| log.current()) {
            Ok(filter) => Response::LogFilter(filter),
            Err(error) => refused(&error),
        }
    }
}

/// Root, and the user that this process runs as.
fn may_change(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn refused(error: &(dyn Error + 'static)) -> Response {
    Response::Refused(Refusal::Failed(in_full(error)))
}

/// Says hello. `false` if the client is none, or of another version: then there is nothing to say.
async fn greet(
    receiver: &mut Receiver<UnixStream>,
    sender: &mut Sender<UnixStream>,
) -> Result<bool, FrameError> {
    let hello: ClientHello = within(receiver.receive()).await?;
    if hello.magic != MAGIC {
        return Ok(false);
    }
    let answer = ServerHello::new(env!("CARGO_PKG_VERSION"));
    within(sender.send(&answer)).await?;
    Ok(hello.version == PROTOCOL_VERSION)
}

async fn refuse(
    receiver: &mut Receiver<UnixStream>,
    sender: &mut Sender<UnixStream>,
    refusal: Refusal,
) -> Result<(), FrameError> {
    if greet(receiver, sender).await? {
        let _request: Request = within(receiver.receive()).await?;
        within(sender.send(&Response::Refused(refusal))).await?;
    }
    Ok(())
}

/// What takes too long has failed.
async fn within<T>(done: impl Future<Output = Result<T, FrameError>>) -> Result<T, FrameError> {
    match timeout(PATIENCE, done).await {
        Ok(result) => result,
        Err(_) => Err(FrameError::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

#[cfg(test)]
mod tests;
