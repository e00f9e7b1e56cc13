//! One long flow: what it shall be like.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use super::{
    RunningFlow,
    running::Plan,
    socket::{self, CONNECT_LIMIT, Options},
};
use crate::{LabError, Namespace};

/// How late a sender may notice that it shall stop.
const STOP_LATENCY: Duration = Duration::from_millis(50);

/// When a sender has sent enough. It can also be stopped before, see [`RunningFlow::stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// After a time. What the socket has buffered by then is still delivered.
    Elapsed(Duration),
    /// After so many bytes.
    Bytes(u64),
    /// When it is stopped.
    Stopped,
}

/// A TCP flow that sends as fast as it may.
///
/// By default: the namespace's congestion control, a free port, a sample every 100 ms, content checked.
#[derive(Debug, Clone)]
pub struct Bulk {
    plan: Plan,
    options: Options,
    port: u16,
}

impl Bulk {
    /// A flow that lasts `until`.
    #[must_use]
    pub fn new(until: Until) -> Self {
        let plan = Plan {
            until,
            sample_every: Some(Duration::from_millis(100)),
            check_content: true,
            drain_limit: Duration::from_secs(30),
            before_others: false,
        };
        Self {
            plan,
            options: Options::default(),
            port: 0,
        }
    }

    /// The sender's congestion-control algorithm (`TCP_CONGESTION`).
    #[must_use]
    pub fn congestion(mut self, name: impl Into<String>) -> Self {
        self.options.congestion = Some(name.into());
        self
    }

    /// The receiver's port. May be used again as soon as the flow has started.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Interval of `TCP_INFO` samples; `None` for none.
    #[must_use]
    pub fn sample_every(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.plan.sample_every = interval.into();
        self
    }

    /// Whether the receiver compares every byte with what must come. Costs CPU; turn it off to measure
    /// the cost of something else.
    #[must_use]
    pub fn check_content(mut self, check: bool) -> Self {
        self.plan.check_content = check;
        self
    }

    /// Fixed send buffer in bytes (`SO_SNDBUF`, which the kernel doubles) instead of the kernel's own
    /// tuning.
    #[must_use]
    pub fn send_buffer(mut self, bytes: usize) -> Self {
        self.options.send_buffer = Some(bytes);
        self
    }

    /// Fixed receive buffer in bytes (`SO_RCVBUF`, which the kernel doubles) instead of the kernel's own
    /// tuning. Bounds the window that the sender is offered.
    #[must_use]
    pub fn receive_buffer(mut self, bytes: usize) -> Self {
        self.options.receive_buffer = Some(bytes);
        self
    }

    /// Sender, receiver and sampler run before whatever else keeps the CPUs busy, as the emulated link
    /// does: what they do then does not depend on the machine's load. Only for flows that need a small
    /// part of a CPU, since nothing else runs while these do.
    #[must_use]
    pub fn before_others(mut self) -> Self {
        self.plan.before_others = true;
        self
    }

    /// How long the rest may take to arrive after the sender has finished (default 30 s).
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> Self {
        self.plan.drain_limit = limit;
        self
    }

    /// Connects from namespace `from` to address `to_ip` in namespace `to` (the same one for loopback)
    /// and starts sending.
    ///
    /// # Errors
    ///
    /// [`LabError::Congestion`] if the algorithm is refused; [`LabError::Flow`] if the connection cannot be
    /// made within 10 s.
    pub fn start(
        &self,
        from: &Namespace,
        to: &Namespace,
        to_ip: impl Into<IpAddr>,
    ) -> Result<RunningFlow, LabError> {
        let address = SocketAddr::new(to_ip.into(), self.port);
        let receiver_options = Options {
            receive_buffer: self.options.receive_buffer,
            ..Options::default()
        };
        let sender_options = Options {
            receive_buffer: None,
            ..self.options.clone()
        };
        let listener = to.run(|| socket::listener(address, 8, &receiver_options))??;
        let peer = listener.local_addr().map_err(|source| LabError::Flow {
            peer: address,
            what: "read its address",
            source,
        })?;
        let failed = |what| move |source| LabError::Flow { peer, what, source };
        let sender = from.run(|| socket::connection(peer, &sender_options))??;
        let local = sender
            .local_addr()
            .map_err(failed("read the sender's address"))?;
        let receiver = loop {
            match socket::accept(&listener, CONNECT_LIMIT).map_err(failed("accept"))? {
                Some((stream, from)) if from == local => break stream,
                Some(_) => {}
                None => {
                    let source = io::Error::from(io::ErrorKind::TimedOut);
                    return Err(LabError::Flow {
                        peer,
                        what: "accept",
                        source,
                    });
                }
            }
        };
        // Short, so that a stopped or timed-out sender notices on a link that is stuck.
        sender
            .set_write_timeout(Some(STOP_LATENCY))
            .map_err(failed("set SO_SNDTIMEO"))?;
        RunningFlow::start(self.plan.clone(), sender, receiver, local, peer)
    }

    /// Starts `n` such flows, one after the other.
    ///
    /// # Errors
    ///
    /// As [`Self::start`]; the flows started so far are aborted.
    pub fn start_many(
        &self,
        n: usize,
        from: &Namespace,
        to: &Namespace,
        to_ip: impl Into<IpAddr>,
    ) -> Result<Vec<RunningFlow>, LabError> {
        let to_ip = to_ip.into();
        (0..n).map(|_| self.start(from, to, to_ip)).collect()
    }
}
