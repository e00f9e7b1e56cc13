//! The asking end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::frame::{FrameError, Receiver, Sender, split};
use crate::protocol::{
    AlgorithmStatus, ClientHello, Explanation, FlowStatus, MAGIC, PROTOCOL_VERSION, Refusal,
    Reloaded, Request, Response, ServerHello,
};

/// A daemon that does not answer for so long is taken for stopped or hung.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a running `ccpd`.
#[derive(Debug)]
pub struct Client {
    receiver: Receiver<UnixStream>,
    sender: Sender<UnixStream>,
    release: String,
    path: PathBuf,
}

/// The daemon could not be asked, or did not answer as it should.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "no ccpd listens on {}: is it running, and is `ccpd.control` in its configuration this path?",
        path.display()
    )]
    NotRunning {
        /// The socket asked for.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The socket belongs to another user.
    #[error(
        "not allowed to ask the ccpd on {}: its socket is for the user that started it",
        path.display()
    )]
    NotAllowed {
        /// The socket asked for.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The socket could not be connected to for another reason.
    #[error("can't connect to {}", path.display())]
    Connect {
        /// The socket asked for.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// Something else listens there.
    #[error("what listens on {} is not ccpd", path.display())]
    NotCcpd {
        /// The socket asked for.
        path: PathBuf,
    },
    /// The daemon speaks another version.
    #[error(
        "ccpd {release} speaks version {theirs} of the control protocol, this command version \
         {PROTOCOL_VERSION}: use the `ccp` that came with that ccpd"
    )]
    OtherVersion {
        /// The daemon's version of the protocol.
        theirs: u16,
        /// The daemon's release.
        release: String,
    },
    /// The daemon is there, but says nothing.
    #[error(
        "ccpd on {} has not answered for {} s: is it stopped, or hung?",
        path.display(),
        PATIENCE.as_secs()
    )]
    NoAnswer {
        /// The socket asked.
        path: PathBuf,
    },
    /// The connection failed, or a frame was not what it should be.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The daemon did not do what was asked.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Client {
    /// Connects to the daemon that listens on `path`.
    ///
    /// # Errors
    /// If nobody listens there, it is not allowed, it is not `ccpd` or of another version, or it does
    /// not answer for [`PATIENCE`].
    pub async fn connect(path: impl AsRef<Path>) -> Result<Self, ClientError> {
        let path = path.as_ref();
        within(path, Self::connect_to(path)).await
    }

    async fn connect_to(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| connect_error(path, source))?;
        let (mut receiver, mut sender) = split(stream);
        sender.send(&ClientHello::new()).await?;
        let hello: ServerHello = receiver.receive().await.map_err(|error| match error {
            FrameError::Malformed { .. } | FrameError::TooLong => ClientError::NotCcpd {
                path: path.to_owned(),
            },
            other => other.into(),
        })?;
        if hello.magic != MAGIC {
            return Err(ClientError::NotCcpd {
                path: path.to_owned(),
            });
        }
        if hello.version != PROTOCOL_VERSION {
            return Err(ClientError::OtherVersion {
                theirs: hello.version,
                release: hello.release,
            });
        }
        Ok(Self {
            receiver,
            sender,
            release: hello.release,
            path: path.to_owned(),
        })
    }

    /// The daemon's release.
    #[must_use]
    pub fn release(&self) -> &str {
        &self.release
    }

    /// The flows that the daemon knows, ordered by datapath and socket id.
    ///
    /// # Errors
    /// If the connection fails, the daemon refuses, or does not answer for [`PATIENCE`].
    pub async fn flows(&mut self) -> Result<Vec<FlowStatus>, ClientError> {
        self.send(&Request::Flows).await?;
        let mut all = Vec::new();
        loop {
            match self.receive().await? {
                Response::Flows { flows, last } => {
                    all.extend(flows);
                    if last {
                        break;
                    }
                }
                other => return Err(self.unexpected(other)),
            }
        }
        all.sort_by(|a, b| (&a.datapath, a.sock_id).cmp(&(&b.datapath, b.sock_id)));
        Ok(all)
    }

    /// The algorithms that flows may get, in the order of the configuration.
    ///
    /// # Errors
    /// As [`flows`](Self::flows).
    pub async fn algorithms(&mut self) -> Result<Vec<AlgorithmStatus>, ClientError> {
        self.send(&Request::Algorithms).await?;
        match self.receive().await? {
            Response::Algorithms(algorithms) => Ok(algorithms),
            other => Err(self.unexpected(other)),
        }
    }

    /// What the rules give a flow of the datapath called `datapath` between `src`, its local end, and
    /// `dst`, that asks for the algorithm `requested`.
    ///
    /// # Errors
    /// As [`flows`](Self::flows).
    pub async fn explain(
        &mut self,
        datapath: &str,
        src: SocketAddr,
        dst: SocketAddr,
        requested: Option<&str>,
    ) -> Result<Explanation, ClientError> {
        let request = Request::Explain {
            datapath: datapath.to_owned(),
            src,
            dst,
            requested: requested.map(str::to_owned),
        };
        self.send(&request).await?;
        match self.receive().await? {
            Response::Explained(explanation) => Ok(explanation),
            other => Err(self.unexpected(other)),
        }
    }

    /// The daemon reads its configuration file again and does what it says.
    ///
    /// # Errors
    /// If something is wrong with the file: then nothing has changed. Also as [`flows`](Self::flows).
    pub async fn reload(&mut self) -> Result<Reloaded, ClientError> {
        self.send(&Request::Reload).await?;
        match self.receive().await? {
            Response::Reloaded(reloaded) => Ok(reloaded),
            other => Err(self.unexpected(other)),
        }
    }

    /// Gives the flow called `flow` ([`FlowStatus::flow`]) to the algorithm called `algorithm`, with
    /// other values for some of its parameters; `native` leaves it to its datapath.
    ///
    /// # Errors
    /// If there is no such flow or algorithm, a parameter is wrong, or the datapath does not run what
    /// the algorithm needs: then nothing has changed. Also as [`flows`](Self::flows).
    pub async fn set(
        &mut self,
        flow: u64,
        algorithm: &str,
        parameters: &[(String, String)],
    ) -> Result<(), ClientError> {
        let request = Request::Set {
            flow,
            algorithm: algorithm.to_owned(),
            parameters: parameters.to_vec(),
        };
        self.send(&request).await?;
        match self.receive().await? {
            Response::Done => Ok(()),
            other => Err(self.unexpected(other)),
        }
    }

    async fn send(&mut self, request: &Request) -> Result<(), ClientError> {
        let Self { sender, path, .. } = self;
        within(path, async { Ok(sender.send(request).await?) }).await
    }

    async fn receive(&mut self) -> Result<Response, ClientError> {
        let Self { receiver, path, .. } = self;
        within(path, async { Ok(receiver.receive().await?) }).await
    }

    /// The answer is not what was asked for.
    fn unexpected(&self, response: Response) -> ClientError {
        match response {
            Response::Refused(refusal) => refusal.into(),
            _ => ClientError::NotCcpd {
                path: self.path.clone(),
            },
        }
    }
}

/// What `asking` gives, if it does so in time.
async fn within<T>(
    path: &Path,
    asking: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    timeout(PATIENCE, asking).await.unwrap_or_else(|_| {
        Err(ClientError::NoAnswer {
            path: path.to_owned(),
        })
    })
}

fn connect_error(path: &Path, source: std::io::Error) -> ClientError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            ClientError::NotRunning { path, source }
        }
        ErrorKind::PermissionDenied => ClientError::NotAllowed { path, source },
        _ => ClientError::Connect { path, source },
    }
}

#[cfg(test)]
mod tests;
