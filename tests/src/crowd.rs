//! Many flows at once in several network namespaces, each of which gets a window by its port.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::ops::Range;

use ccp_lab::{Crowd, LabError, Namespace, OpenCrowd};

/// In how many namespaces. Each has a crowd of its own: 16,384 files of 65,536 flows, less than the hard limit of
/// many a system.
pub const NAMESPACES: usize = 8;

/// The port of a flow says which algorithm it gets, and with it which window.
const PORTS: Range<u16> = 20_000..20_008;

/// The window, in packets, that flows to `port` get: another for each port, and none that a kernel begins with.
pub fn window(port: u16) -> u32 {
    11 + u32::from(port - PORTS.start)
}

/// Whether a flow to some port gets a window of so many packets.
pub fn is_window(packets: u32) -> bool {
    PORTS.into_iter().any(|port| window(port) == packets)
}

/// The name of the algorithm that flows to `port` get.
pub fn algorithm(port: u16) -> String {
    format!("to{port}")
}

/// What the daemon is told for that.
pub fn config() -> String {
    let default = algorithm(PORTS.start);
    let mut text = format!("[policy]\ndefault = \"{default}\"\n\n");
    for port in PORTS {
        let (name, packets) = (algorithm(port), window(port));
        let _ = write!(
            text,
            "[algorithms.{name}]\nkind = \"constant\"\ncwnd_packets = {packets}\n\n\
             [[policy.rule]]\nmatch = {{ netns = \"any\", dst_port = {port} }}\nalgorithm = \"{name}\"\n\n"
        );
    }
    text
}

/// Namespaces in which very many flows can come and go.
///
/// # Errors
/// [`LabError`] if they cannot be made.
pub fn namespaces() -> Result<Vec<Namespace>, LabError> {
    let all = (0..NAMESPACES).map(|_| {
        let namespace = Namespace::new("crowd")?;
        // What has been closed shall not wait: ports and memory are for those that come.
        namespace.set_sysctl("net.ipv4.tcp_max_tw_buckets", "0")?;
        namespace.set_sysctl("net.ipv4.ip_local_port_range", "1024 65535")?;
        Ok(namespace)
    });
    all.collect()
}

/// `count` flows in a namespace that ask for `congestion`.
pub fn crowd(count: usize, congestion: &str) -> Crowd {
    Crowd::new(count).congestion(congestion).ports(PORTS)
}

/// Opens `each` flows in each of the namespaces.
///
/// # Errors
/// [`LabError`] if one cannot be opened.
pub fn open(
    namespaces: &[Namespace],
    each: usize,
    congestion: &str,
) -> Result<Vec<OpenCrowd>, LabError> {
    let crowd = crowd(each, congestion);
    let all = namespaces.iter().map(|namespace| crowd.open(namespace));
    all.collect()
}

/// Has all flows talk; those with another window than their algorithm's, with that window.
///
/// # Errors
/// [`LabError`] if one is not open any more.
pub fn other_windows(crowds: &[OpenCrowd]) -> Result<Vec<(SocketAddr, SocketAddr, u32)>, LabError> {
    let mut wrong = Vec::new();
    for crowd in crowds {
        let windows = crowd.each(|member| {
            member.talk()?;
            let cwnd = member.info()?.cwnd_packets;
            Ok((member.local(), member.peer(), cwnd))
        })?;
        for window_of in windows {
            let (local, peer, cwnd) = window_of?;
            if cwnd != window(peer.port()) {
                wrong.push((local, peer, cwnd));
            }
        }
    }
    Ok(wrong)
}

/// The ends of all flows that are open.
///
/// # Errors
/// [`LabError`] if a crowd is gone.
pub fn ends(crowds: &[OpenCrowd]) -> Result<Vec<(SocketAddr, SocketAddr)>, LabError> {
    let mut open = Vec::new();
    for crowd in crowds {
        open.extend(crowd.each(|member| (member.local(), member.peer()))?);
    }
    Ok(open)
}
