//! The Prometheus endpoint: `GET /metrics` over HTTP, and nothing else.
//!
//! It has a thread and a runtime of its own, so that it also answers while algorithms hold up every
//! other thread. What a client may cost is bounded: how many there are, how long a request may take
//! and be. Any local user can connect where it listens by default, so places are not for whoever came first:
//! a new client gets that of the one that has kept us waiting for longest.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Count, Metrics, text};

/// So many clients are served at once.
const MOST_CLIENTS: usize = 64;
/// A request has to come within this time,
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// and its answer to be taken within this.
const DONE_WITHIN: Duration = Duration::from_secs(15);
/// Who has asked has so long to take the answer before the place may be another's.
const PATIENCE: Duration = Duration::from_secs(1);
/// The longest head of a request, in bytes: the least that `hyper` works with.
const LONGEST_HEAD: usize = 8 * 1024;
/// Pause after a failed `accept`: what it lacked (descriptors, memory) has to come back first.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The endpoint can't be made.
#[derive(Debug, Error)]
#[error("can't serve metrics on {address} (`metrics.listen`)")]
pub struct MetricsError {
    /// Where.
    pub address: SocketAddr,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

/// The endpoint. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct MetricsServer {
    address: SocketAddr,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl MetricsServer {
    /// Listens on `address` and answers.
    pub(crate) fn start(
        address: SocketAddr,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Result<Self, MetricsError> {
        let stop = stop.child_token();
        let started = Self::serve(address, Arc::clone(metrics), stop.clone());
        let (address, thread) = started.map_err(|source| MetricsError { address, source })?;
        info!(%address, "metrics are served");
        Ok(Self {
            address,
            stop,
            thread: Some(thread),
        })
    }

    fn serve(
        address: SocketAddr,
        metrics: Arc<Metrics>,
        stop: CancellationToken,
    ) -> io::Result<(SocketAddr, JoinHandle<()>)> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let _within = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let thread = thread::Builder::new().name("ccpd-metrics".to_owned());
        let thread = thread.spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = accept(listener, &metrics) => {}
                }
            });
        })?;
        Ok((address, thread))
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for MetricsServer {
    /// Its address is free again afterwards.
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It does nothing that takes long.
            let _ = thread.join();
        }
    }
}

async fn accept(listener: tokio::net::TcpListener, metrics: &Arc<Metrics>) {
    let mut clients = Clients::default();
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                if !clients.make_room() {
                    metrics.count(Count::RefusedScrapes, 1);
                }
                if clients.0.len() >= MOST_CLIENTS {
                    continue;
                }
                let (metrics, asked) = (Arc::clone(metrics), Arc::new(AtomicBool::new(false)));
                let has_asked = Arc::clone(&asked);
                let task = tokio::spawn(async move {
                    if let Err(error) = answer(stream, &metrics, &has_asked).await {
                        debug!(%from, error, "a client of the metrics was hung up on");
                    }
                });
                clients.0.push(Client {
                    since: Instant::now(),
                    asked,
                    task: task.abort_handle(),
                });
            }
            Err(error) => {
                warn!(%error, "can't take a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Those that are served, in the order in which they came.
#[derive(Debug, Default)]
struct Clients(Vec<Client>);

#[derive(Debug)]
struct Client {
    since: Instant,
    /// It has said what it wants.
    asked: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Clients {
    /// Makes room for one more where that can be: whoever has not asked yet is hung up on, or has not taken its
    /// answer for long, the first that came first. Returns whether nobody had to suffer for it, old or new.
    fn make_room(&mut self) -> bool {
        self.0.retain(|client| !client.task.is_finished());
        if self.0.len() < MOST_CLIENTS {
            return true;
        }
        let silent = |client: &Client| !client.asked.load(Ordering::Relaxed);
        let slow = |client: &Client| client.since.elapsed() >= PATIENCE;
        let first = self.0.iter().position(silent);
        if let Some(place) = first.or_else(|| self.0.iter().position(slow)) {
            self.0.remove(place).task.abort();
        }
        false
    }
}

/// One request, one answer.
async fn answer(stream: TcpStream, metrics: &Metrics, asked: &AtomicBool) -> Result<(), String> {
    let respond = |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let response = response(&request, metrics);
        async move { Ok::<_, Infallible>(response) }
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .keep_alive(false)
        .max_buf_size(LONGEST_HEAD)
        .serve_connection(TokioIo::new(stream), service_fn(respond));
    match timeout(DONE_WITHIN, connection).await {
        Ok(done) => done.map_err(|error| error.to_string()),
        Err(_) => Err("it does not take its answer".to_owned()),
    }
}

fn response(request: &Request<Incoming>, metrics: &Metrics) -> Response<Full<Bytes>> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        let allowed = hyper::header::HeaderValue::from_static("GET, HEAD");
        response.headers_mut().insert(ALLOW, allowed);
        return response;
    }
    match request.uri().path() {
        "/metrics" => {
            let mut response = Response::new(Full::from(text::encode(&metrics.gather())));
            let kind = hyper::header::HeaderValue::from_static(text::CONTENT_TYPE);
            response.headers_mut().insert(CONTENT_TYPE, kind);
            response
        }
        "/" => plain(StatusCode::OK, "ccpd: the metrics are at /metrics\n"),
        _ => plain(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let kind = hyper::header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests;
