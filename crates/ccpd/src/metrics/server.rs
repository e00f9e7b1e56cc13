//! The Prometheus endpoint: `GET /metrics` over HTTP, and nothing else.
//!
//! It has a thread and a runtime of its own, so that it also answers while algorithms hold up every
//! other thread. What a client may cost is bounded: how many there are, how long a request may take
//! and be.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

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
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::{Count, Metrics, text};

/// So many clients are served at once; further ones are hung up on.
const MOST_CLIENTS: usize = 16;
/// A request has to come within this time,
const HEAD_WITHIN: Duration = Duration::from_secs(5);
/// and its answer to be taken within this.
const DONE_WITHIN: Duration = Duration::from_secs(15);
/// The longest head of a request, in bytes.
const LONGEST_HEAD: usize = 16 * 1024;
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
    let places = Arc::new(Semaphore::new(MOST_CLIENTS));
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                    metrics.count(Count::RefusedScrapes, 1);
                    continue;
                };
                let metrics = Arc::clone(metrics);
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &metrics).await {
                        debug!(%from, error, "a client of the metrics was hung up on");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "can't take a connection for metrics");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// One request, one answer.
async fn answer(stream: TcpStream, metrics: &Metrics) -> Result<(), String> {
    let respond = |request: Request<Incoming>| {
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
