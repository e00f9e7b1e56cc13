//! Sockets made inside a namespace.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, ipproto, listen, socket_with,
        sockopt,
    },
};

use crate::{LabError, tcp_info::set_congestion};

/// How long a connection may take to be made.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Socket options set before connecting or listening.
#[derive(Debug, Clone, Default)]
pub(super) struct Options {
    pub(super) congestion: Option<String>,
    pub(super) send_buffer: Option<usize>,
    pub(super) receive_buffer: Option<usize>,
}

fn failed(peer: SocketAddr, what: &'static str) -> impl Fn(rustix::io::Errno) -> LabError {
    move |errno| LabError::Flow {
        peer,
        what,
        source: errno.into(),
    }
}

fn open(address: SocketAddr, options: &Options) -> Result<std::os::fd::OwnedFd, LabError> {
    let family = match address.ip() {
        IpAddr::V4(_) => AddressFamily::INET,
        IpAddr::V6(_) => AddressFamily::INET6,
    };
    let failed = |what| failed(address, what);
    let socket = socket_with(
        family,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        Some(ipproto::TCP),
    )
    .map_err(failed("create a socket"))?;
    if let Some(name) = &options.congestion {
        set_congestion(&socket, name)?;
    }
    if let Some(bytes) = options.send_buffer {
        sockopt::set_socket_send_buffer_size(&socket, bytes).map_err(failed("set SO_SNDBUF"))?;
    }
    if let Some(bytes) = options.receive_buffer {
        sockopt::set_socket_recv_buffer_size(&socket, bytes).map_err(failed("set SO_RCVBUF"))?;
    }
    Ok(socket)
}

/// A listener at `address` (port 0: any), in the calling thread's namespace.
pub(super) fn listener(
    address: SocketAddr,
    backlog: i32,
    options: &Options,
) -> Result<TcpListener, LabError> {
    let failed = |what| failed(address, what);
    let socket = open(address, options)?;
    sockopt::set_socket_reuseaddr(&socket, true).map_err(failed("set SO_REUSEADDR"))?;
    bind(&socket, &address).map_err(failed("bind the receiver's address"))?;
    listen(&socket, backlog).map_err(failed("listen"))?;
    Ok(socket.into())
}

/// A connection to `peer`, in the calling thread's namespace.
pub(super) fn connection(peer: SocketAddr, options: &Options) -> Result<TcpStream, LabError> {
    let failed = |what| failed(peer, what);
    let socket = open(peer, options)?;
    // Bounds `connect`, too.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(CONNECT_LIMIT))
        .map_err(failed("set SO_SNDTIMEO"))?;
    connect(&socket, &peer).map_err(failed("connect"))?;
    Ok(socket.into())
}

/// The next connection, waiting at most `limit` for it.
pub(super) fn accept(
    listener: &TcpListener,
    limit: Duration,
) -> io::Result<Option<(TcpStream, SocketAddr)>> {
    let timeout = Timespec {
        tv_sec: limit.as_secs().try_into().unwrap_or(i64::MAX),
        tv_nsec: limit.subsec_nanos().into(),
    };
    let mut fds = [PollFd::new(listener, PollFlags::IN)];
    match poll(&mut fds, Some(&timeout)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(None),
        Ok(_) => listener.accept().map(Some),
        Err(errno) => Err(errno.into()),
    }
}

/// Has the kernel forget the connection at once when its last handle is closed. Otherwise one that cannot
/// deliver its data lives on for minutes without an owner, and its namespace with it.
pub(super) fn reset_on_close(stream: &TcpStream) {
    let _ = sockopt::set_socket_linger(stream, Some(Duration::ZERO));
}
