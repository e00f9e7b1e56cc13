//! The asking end.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use crate::Attributes;
use crate::frame::{FrameError, Receiver, Sender, split};
use crate::protocol::{
    AlgorithmStatus, ClientHello, Event, Explanation, FlowDetail, FlowStatus, MAGIC,
    PROTOCOL_VERSION, ProgramDetail, ProgramStatus, Refusal, Reloaded, Request, Response,
    Selection, ServerHello, Watch,
};
use crate::stats::Metric;

/// A daemon that does not answer for so long is taken for stopped or hung.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a running `ccpd`.
#[derive(Debug)]
pub struct Client {
    receiver: Receiver<UnixStream>,
    sender: Sender<UnixStream>,
    release: String,
    path: PathBuf,
    /// The daemon tells what happens: that has to end before it answers anything else.
    watching: bool,
}

/// Flows that were asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// The flows, in the order that was asked for.
    pub flows: Vec<FlowStatus>,
    /// How many flows fit what was asked for, also if not so many were wanted.
    pub matching: u64,
}

/// What has happened since it was last asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// So many events before these were lost, because they were not taken in time.
    pub lost: u64,
    /// In the order in which they happened to each flow.
    pub events: Vec<Event>,
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
            watching: false,
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
        let mut all = self.select(&Selection::default()).await?.flows;
        all.sort_by(|a, b| (&a.datapath, a.sock_id).cmp(&(&b.datapath, b.sock_id)));
        Ok(all)
    }

    /// The flows that fit `selection`, in its order.
    ///
    /// # Errors
    /// As [`flows`](Self::flows).
    pub async fn select(&mut self, selection: &Selection) -> Result<Selected, ClientError> {
        let mut selected = Selected::default();
        let mut response = self.ask(&Request::Flows(selection.clone())).await?;
        loop {
            match response {
                Response::Flows {
                    flows,
                    matching,
                    last,
                } => {
                    selected.flows.extend(flows);
                    selected.matching = matching;
                    if last {
                        return Ok(selected);
                    }
                }
                other => return Err(self.unexpected(other)),
            }
            response = self.receive().await?;
        }
    }

    /// Everything that is known of the flow called `flow` ([`FlowStatus::flow`]).
    ///
    /// # Errors
    /// If there is no such flow. Also as [`flows`](Self::flows).
    pub async fn show(&mut self, flow: u64) -> Result<FlowDetail, ClientError> {
        match self.ask(&Request::Show { flow }).await? {
            Response::Flow(detail) => Ok(*detail),
            other => Err(self.unexpected(other)),
        }
    }

    /// From now on the daemon tells what happens to flows: [`next`](Self::next) gives it. Any other
    /// question ends that. Nothing is missed that happens after this has returned.
    ///
    /// # Errors
    /// If too many flows are named. Also as [`flows`](Self::flows).
    pub async fn watch(&mut self, watch: &Watch) -> Result<(), ClientError> {
        self.send(&Request::Watch(watch.clone())).await?;
        self.stop_watching().await?;
        // The first response has no events: it says that from now on all is told.
        match self.receive().await? {
            Response::Events { .. } => {
                self.watching = true;
                Ok(())
            }
            other => Err(self.unexpected(other)),
        }
    }

    /// What happened since the last call; waits until something has. Safe to cancel: nothing is lost.
    /// Who calls it too seldom loses events, and is told how many. Without [`watch`](Self::watch) there
    /// is nothing to wait for.
    ///
    /// # Errors
    /// As [`flows`](Self::flows).
    pub async fn next(&mut self) -> Result<Happened, ClientError> {
        loop {
            if !self.watching {
                std::future::pending::<()>().await;
            }
            match self.receive().await? {
                Response::Events { lost, events, last } => {
                    self.watching = !last;
                    if lost > 0 || !events.is_empty() {
                        return Ok(Happened { lost, events });
                    }
                }
                other => return Err(self.unexpected(other)),
            }
        }
    }

    /// The algorithms that flows may get, in the order of the configuration.
    ///
    /// # Errors
    /// As [`flows`](Self::flows).
    pub async fn algorithms(&mut self) -> Result<Vec<AlgorithmStatus>, ClientError> {
        match self.ask(&Request::Algorithms).await? {
            Response::Algorithms(algorithms) => Ok(algorithms),
            other => Err(self.unexpected(other)),
        }
    }

    /// What the daemon has counted since it was started.
    ///
    /// # Errors
    /// As [`flows`](Self::flows).
    pub async fn metrics(&mut self) -> Result<Vec<Metric>, ClientError> {
        self.send(&Request::Metrics).await?;
        let mut all = Vec::new();
        loop {
            match self.receive().await? {
                Response::Metrics { metrics, last } => {
                    all.extend(metrics);
                    if last {
                        return Ok(all);
                    }
                }
                other => return Err(self.unexpected(other)),
            }
        }
    }

    /// What the rules give a flow of the datapath called `datapath` between `src`, its local end, and
    /// `dst`, that asks for the algorithm `requested` and of which its datapath tells `attributes`.
    ///
    /// # Errors
    /// As [`flows`](Self::flows).
    pub async fn explain(
        &mut self,
        datapath: &str,
        src: SocketAddr,
        dst: SocketAddr,
        requested: Option<&str>,
        attributes: Attributes,
    ) -> Result<Explanation, ClientError> {
        let request = Request::Explain {
            datapath: datapath.to_owned(),
            src,
            dst,
            requested: requested.map(str::to_owned),
            attributes,
        };
        match self.ask(&request).await? {
            Response::Explained(explanation) => Ok(explanation),
            other => Err(self.unexpected(other)),
        }
    }

    /// The daemon reads its configuration file again and does what it says.
    ///
    /// # Errors
    /// If something is wrong with the file: then nothing has changed. Also as [`flows`](Self::flows).
    pub async fn reload(&mut self) -> Result<Reloaded, ClientError> {
        match self.ask(&Request::Reload).await? {
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
        match self.ask(&request).await? {
            Response::Done => Ok(()),
            other => Err(self.unexpected(other)),
        }
    }

    /// The programs that the datapaths run, by datapath and number.
    ///
    /// # Errors
    /// As [`flows`](Self::flows).
    pub async fn programs(&mut self) -> Result<Vec<ProgramStatus>, ClientError> {
        match self.ask(&Request::Programs).await? {
            Response::Programs(programs) => Ok(programs),
            other => Err(self.unexpected(other)),
        }
    }

    /// The program of the name or number `program`, with its text; `datapath` says of which datapath,
    /// where several have different ones.
    ///
    /// # Errors
    /// If there is none, or several. Also as [`flows`](Self::flows).
    pub async fn program(
        &mut self,
        program: &str,
        datapath: Option<&str>,
    ) -> Result<ProgramDetail, ClientError> {
        let request = Request::Program {
            program: program.to_owned(),
            datapath: datapath.map(str::to_owned),
        };
        match self.ask(&request).await? {
            Response::Program(program) => Ok(*program),
            other => Err(self.unexpected(other)),
        }
    }

    /// What the daemon logs, as in `RUST_LOG`; with `filter`, from now on that.
    ///
    /// # Errors
    /// If `filter` is none, or the daemon's log is not its own. Also as [`flows`](Self::flows).
    pub async fn log_filter(&mut self, filter: Option<&str>) -> Result<String, ClientError> {
        let filter = filter.map(str::to_owned);
        match self.ask(&Request::LogFilter { filter }).await? {
            Response::LogFilter(filter) => Ok(filter),
            other => Err(self.unexpected(other)),
        }
    }

    /// Sends `request` and gives the first response to it.
    async fn ask(&mut self, request: &Request) -> Result<Response, ClientError> {
        self.send(request).await?;
        self.stop_watching().await?;
        self.receive().await
    }

    /// Passes over what is still told, after a request that ends it.
    async fn stop_watching(&mut self) -> Result<(), ClientError> {
        while self.watching {
            match self.receive().await? {
                Response::Events { last, .. } => self.watching = !last,
                other => return Err(self.unexpected(other)),
            }
        }
        Ok(())
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
