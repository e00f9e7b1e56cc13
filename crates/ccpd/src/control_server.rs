//! The answering end of the control socket. What a client may cost is bounded: how many there are,
//! how long a hello and an answer may take, how long a frame is.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ccp_control::{
    ClientHello, FLOWS_PER_RESPONSE, FrameError, MAGIC, PROTOCOL_VERSION, Receiver, Refusal,
    Request, Response, Sender, ServerHello, split,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::board::Board;
use crate::socket_file::{Directories, SocketError, SocketFile};

/// So many clients are served at once.
const MOST_CLIENTS: usize = 32;
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
    board: Arc<Board>,
    served: Semaphore,
    refused: Semaphore,
    stop: CancellationToken,
}

impl ControlServer {
    /// Makes the socket at `path`, for its owner only.
    pub(crate) fn bind(
        path: &Path,
        directories: &mut Directories,
        board: Arc<Board>,
        stop: CancellationToken,
    ) -> Result<Self, SocketError> {
        let (file, socket) = SocketFile::listen(path, 0o600, directories)?;
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
                board,
                served: Semaphore::new(MOST_CLIENTS),
                refused: Semaphore::new(MOST_REFUSED),
                stop,
            }),
        })
    }

    /// Serves clients until the daemon stops.
    pub(crate) async fn run(self) {
        let tasks = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                () = self.clients.stop.cancelled() => break,
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
        let stopped = self.stop.cancelled();
        let serve = async {
            let (mut receiver, mut sender) = split(stream);
            if let Ok(_permit) = self.served.try_acquire() {
                self.serve(&mut receiver, &mut sender).await
            } else if let Ok(_permit) = self.refused.try_acquire() {
                let refusal = Refusal::TooManyClients {
                    limit: MOST_CLIENTS as u32,
                };
                refuse(&mut receiver, &mut sender, refusal).await
            } else {
                Ok(())
            }
        };
        tokio::select! {
            () = stopped => {}
            result = serve => if let Err(error) = result {
                debug!(error = &error as &dyn std::error::Error, "control connection ended");
            }
        }
    }

    async fn serve(
        &self,
        receiver: &mut Receiver<UnixStream>,
        sender: &mut Sender<UnixStream>,
    ) -> Result<(), FrameError> {
        if !greet(receiver, sender).await? {
            return Ok(());
        }
        loop {
            let request: Request = match receiver.receive().await {
                Err(FrameError::Closed) => return Ok(()),
                other => other?,
            };
            match request {
                Request::Flows => self.flows(sender).await?,
                // A request of this version that this daemon does not know can't be: hang up.
                _ => return Ok(()),
            }
        }
    }

    async fn flows(&self, sender: &mut Sender<UnixStream>) -> Result<(), FrameError> {
        let mut all = self.board.flows().await;
        loop {
            let rest = all.split_off(all.len().min(FLOWS_PER_RESPONSE));
            let last = rest.is_empty();
            let response = Response::Flows { flows: all, last };
            within(sender.send(&response)).await?;
            if last {
                return Ok(());
            }
            all = rest;
        }
    }
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
