//! Datapaths that speak as the CCP kernel module does: on `NETLINK_USERSOCK`, in the multicast group 22 of
//! the daemon's network namespace.
//!
//! Any local user may send there. Only the kernel (port 0) and processes of root are heard: the kernel tells
//! with each datagram who sent it. Every port is a datapath of its own, and is answered at its port.
//! Datagrams are lost when the daemon does not keep up; that is counted and said, and nothing is known of
//! what was in them.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ccp_wire::netlink_payloads;
use nix::sys::socket::NetlinkAddr;
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::link::Handed;
use super::peers::{Due, Heard, Peers, Times};
use crate::config::NetlinkConfig;
use crate::metrics::Count;
use crate::orders::Order;
use crate::shared::Shared;
use crate::turns::give_way;
use peer::{KERNEL, NetlinkPeer};
use socket::{Datagram, NetlinkSocket, Received};

mod peer;
mod socket;

pub use socket::NetlinkError;

/// After so many datagrams in a row, or so long, others get their turn.
const BATCH: usize = 64;
const SLICE: Duration = Duration::from_millis(2);

/// A socket in the group, and the datapaths that speak there.
#[derive(Debug)]
pub(crate) struct NetlinkDatapath {
    socket: Arc<NetlinkSocket>,
    /// By their ports.
    peers: Peers<u32, NetlinkPeer>,
    shared: Arc<Shared>,
    orders: mpsc::Receiver<Order>,
}

impl NetlinkDatapath {
    /// Joins the group.
    pub(crate) fn join(config: &NetlinkConfig, shared: &Arc<Shared>) -> Result<Self, NetlinkError> {
        let name = NetlinkConfig::NAME.to_owned();
        Ok(Self {
            socket: Arc::new(NetlinkSocket::join()?),
            peers: Peers::new(name, config.limits.clone(), shared),
            shared: Arc::clone(shared),
            orders: shared.orders.listen(),
        })
    }

    /// Serves datapaths until the daemon stops.
    pub(crate) async fn run(mut self) -> io::Result<()> {
        info!("listening for datapaths on netlink");
        let stop = self.shared.stop.clone();
        let socket = Arc::clone(&self.socket);
        let attention = Arc::clone(self.peers.attention());
        let mut buffer = socket::buffer();
        let mut times = Times::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                ready = socket.readable() => {
                    ready?;
                    if self.read(&mut buffer)? {
                        // Others get their turn, however much there is to read.
                        give_way().await;
                    }
                }
                Some(order) = self.orders.recv() => self.peers.obey(order),
                () = attention.asked() => {}
                due = times.due() => {
                    if matches!(due, Due::Probe) {
                        self.look_for_ports();
                    }
                    self.peers.on_time(due);
                }
            }
            self.peers.attend(&mut times);
        }
    }

    /// Reads for a while. Returns whether there may be more.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        let socket = Arc::clone(&self.socket);
        let until = Instant::now() + SLICE;
        for _ in 0..BATCH {
            match socket.read(buffer) {
                Ok(Received::Datagram(datagram)) => self.on_datagram(&datagram),
                Ok(Received::Overrun) => self.on_overrun(),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            if Instant::now() >= until {
                break;
            }
        }
        Ok(true)
    }

    /// The kernel says once for all that was lost since the last time.
    fn on_overrun(&mut self) {
        self.shared.metrics.count(Count::NetlinkOverruns, 1);
        warn!("datagrams on netlink came faster than they were read: some were lost");
    }

    fn on_datagram(&mut self, datagram: &Datagram<'_>) {
        let port = datagram.from.as_ref().map(NetlinkAddr::pid);
        // The kernel itself has no credentials but root's.
        let (Some(port), Some(0)) = (port, datagram.uid) else {
            let mut why = "only the kernel and root are heard on netlink".to_owned();
            if let (Some(port), Some(uid)) = (port, datagram.uid) {
                let _ = write!(why, ", not user {uid} (port {port})");
            }
            self.peers.refuse(Count::RefusedNotRoot, &why);
            return;
        };
        for payload in netlink_payloads(datagram.bytes) {
            match payload {
                Ok(bytes) => self.on_payload(port, bytes),
                Err(error) => {
                    self.shared.metrics.count(Count::MalformedNetlink, 1);
                    debug!(port, %error, "not a netlink message");
                }
            }
        }
    }

    fn on_payload(&mut self, port: u32, bytes: &[u8]) {
        let handed = match self.peers.hear(&port, 0, bytes) {
            Heard::Taken(handed) => handed,
            _ => self.admit(port, bytes),
        };
        if let Some(handed) = handed {
            handed.leave();
        }
    }

    fn admit<'m>(&mut self, port: u32, bytes: &'m [u8]) -> Option<Handed<'m>> {
        if !self.peers.has_room(0) {
            return None;
        }
        let name = match port {
            KERNEL => "netlink: the kernel".to_owned(),
            port => format!("netlink: port {port}"),
        };
        let peer = NetlinkPeer::new(port, &self.socket, self.peers.attention());
        self.peers.admit(port, name, Arc::new(peer), bytes)
    }

    /// A process that ends says nothing, and one that only listens is never sent anything: the kernel lists
    /// which ports there are.
    fn look_for_ports(&self) {
        if !self.peers.iter().any(|(port, _)| *port != KERNEL) {
            return;
        }
        // Where it can't be read, one that has gone is noticed when it is answered.
        let Ok(list) = std::fs::read_to_string("/proc/thread-self/net/netlink") else {
            return;
        };
        let ports = open_ports(&list);
        for (port, peer) in self.peers.iter() {
            if *port != KERNEL && !ports.contains(port) {
                peer.lose();
            }
        }
    }
}

/// The ports of `NETLINK_USERSOCK` in the kernel's list: after a line of headings, each line has the
/// address, protocol and port of a socket, and more.
fn open_ports(list: &str) -> HashSet<u32> {
    const USERSOCK: &str = "2";
    let lines = list.lines().skip(1);
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            (words.next()? == USERSOCK).then(|| words.next()?.parse().ok())?
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::open_ports;

    #[test]
    fn ports_are_found_in_the_kernels_list() {
        let list = "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n\
                    00000000d2e2b0d2 0   651        80000551 0        0        0     2        0        4711\n\
                    0000000013e2b0d2 2   4002       00200000 0        0        0     2        0        4712\n\
                    0000000014e2b0d2 2   2886722135 00000000 0        0        0     2        0        4713\n";
        let ports = open_ports(list);
        assert_eq!(ports, [4002, 2_886_722_135].into());
        assert!(open_ports("").is_empty());
    }
}
