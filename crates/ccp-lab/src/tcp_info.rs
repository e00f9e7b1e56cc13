//! What the kernel tells of a TCP socket: `TCP_INFO` and `TCP_CONGESTION`.

use std::{
    io,
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use rustix::net::sockopt;

use crate::LabError;

/// A part of the kernel's `struct tcp_info` (`include/uapi/linux/tcp.h`). Fields that the running kernel
/// does not have are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpInfo {
    /// Congestion-control state: 0 open, 1 disorder, 2 CWR, 3 recovery, 4 loss.
    pub ca_state: u8,
    /// Congestion window in packets.
    pub cwnd_packets: u32,
    /// Slow-start threshold in packets; `None` while it is infinite.
    pub ssthresh_packets: Option<u32>,
    /// Sender's maximum segment size in bytes.
    pub mss_bytes: u32,
    /// Smoothed round-trip time.
    pub srtt: Duration,
    /// Variation of the round-trip time.
    pub rtt_var: Duration,
    /// Minimum round-trip time in the kernel's window; `None` before the first measurement.
    pub min_rtt: Option<Duration>,
    /// Packets sent and not acknowledged yet.
    pub unacked_packets: u32,
    /// Packets presumed lost and not retransmitted yet.
    pub lost_packets: u32,
    /// Retransmissions since the start.
    pub retransmits: u32,
    /// Pacing rate in bytes per second; `None` if unlimited.
    pub pacing_rate: Option<u64>,
    /// Latest delivery rate in bytes per second.
    pub delivery_rate: u64,
    /// True if the latest delivery rate was limited by the application.
    pub app_limited: bool,
    /// Bytes acknowledged since the start.
    pub bytes_acked: u64,
    /// Bytes sent since the start, retransmissions included.
    pub bytes_sent: u64,
    /// Bytes retransmitted since the start.
    pub bytes_retransmitted: u64,
    /// Bytes received in order since the start.
    pub bytes_received: u64,
    /// Segments received since the start: of a socket that only sends, the acknowledgements.
    pub segments_received: u32,
    /// Packets delivered since the start.
    pub delivered_packets: u32,
    /// Packets delivered with a congestion-experienced mark since the start.
    pub delivered_ce_packets: u32,
}

/// Long enough for every field below; the kernel fills what it has.
const BUFFER: usize = 256;

impl TcpInfo {
    /// Reads it from a socket.
    ///
    /// # Errors
    ///
    /// The kernel's answer, as for a socket that is not TCP.
    pub fn of(socket: impl AsFd) -> io::Result<Self> {
        let mut buffer = [0u8; BUFFER];
        let mut length: libc::socklen_t = BUFFER as libc::socklen_t;
        // SAFETY: the buffer is writable for `length` bytes and outlives the call; the kernel writes at most
        // that many and stores the number in `length`.
        let result = unsafe {
            libc::getsockopt(
                socket.as_fd().as_raw_fd(),
                libc::IPPROTO_TCP,
                libc::TCP_INFO,
                buffer.as_mut_ptr().cast(),
                &raw mut length,
            )
        };
        if result != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Self::parse(&buffer[..(length as usize).min(BUFFER)]))
    }

    fn parse(raw: &[u8]) -> Self {
        let u32_at = |at: usize| {
            raw.get(at..at + 4)
                .map_or(0, |b| u32::from_ne_bytes(b.try_into().expect("4 bytes")))
        };
        let u64_at = |at: usize| {
            raw.get(at..at + 8)
                .map_or(0, |b| u64::from_ne_bytes(b.try_into().expect("8 bytes")))
        };
        let micros = |at| Duration::from_micros(u32_at(at).into());
        // struct tcp_info: 8 bytes of small fields, 24 u32 from `rto` on, then `pacing_rate`.
        Self {
            ca_state: raw.get(1).copied().unwrap_or(0),
            app_limited: raw.get(7).is_some_and(|flags| flags & 1 != 0),
            mss_bytes: u32_at(16),
            unacked_packets: u32_at(24),
            lost_packets: u32_at(32),
            srtt: micros(68),
            rtt_var: micros(72),
            // TCP_INFINITE_SSTHRESH
            ssthresh_packets: Some(u32_at(76)).filter(|&n| n < 0x7fff_ffff),
            cwnd_packets: u32_at(80),
            retransmits: u32_at(100),
            pacing_rate: Some(u64_at(104)).filter(|&rate| rate != u64::MAX),
            bytes_acked: u64_at(120),
            bytes_received: u64_at(128),
            segments_received: u32_at(140),
            min_rtt: Some(u32_at(148))
                .filter(|&us| us != u32::MAX && us != 0)
                .map(|us| Duration::from_micros(us.into())),
            delivery_rate: u64_at(160),
            delivered_packets: u32_at(192),
            delivered_ce_packets: u32_at(196),
            bytes_sent: u64_at(200),
            bytes_retransmitted: u64_at(208),
        }
    }
}

/// The congestion-control algorithm that really runs on a socket.
///
/// # Errors
///
/// The kernel's answer.
pub fn congestion_of(socket: impl AsFd) -> io::Result<String> {
    Ok(sockopt::tcp_congestion(socket)?)
}

/// Chooses a socket's congestion-control algorithm.
///
/// # Errors
///
/// [`LabError::Congestion`] naming the algorithm and the error number.
pub fn set_congestion(socket: impl AsFd, name: &str) -> Result<(), LabError> {
    sockopt::set_tcp_congestion(socket, name).map_err(|errno| LabError::Congestion {
        name: name.to_owned(),
        errno: errno.raw_os_error(),
        source: errno.into(),
        hint: match errno {
            rustix::io::Errno::NOENT => {
                "it is not registered, see `sysctl net.ipv4.tcp_available_congestion_control`"
            }
            rustix::io::Errno::PERM => {
                "it is restricted: needs CAP_NET_ADMIN or a place in \
                 net.ipv4.tcp_allowed_congestion_control"
            }
            rustix::io::Errno::INVAL => "names have 1 to 15 bytes",
            rustix::io::Errno::BUSY => "its module or BPF program is going away",
            _ => "see tcp(7)",
        },
    })
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        net::{TcpListener, TcpStream},
    };

    use super::*;

    #[test]
    fn reads_a_loopback_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut sender =
            TcpStream::connect(listener.local_addr().expect("bound")).expect("connect");
        let (mut receiver, _) = listener.accept().expect("accept");
        sender.write_all(&[7; 1000]).expect("send");
        receiver.read_exact(&mut [0; 1000]).expect("receive");
        // The acknowledgement arrives at the sender on its own time.
        let info = (0..500)
            .map(|_| {
                std::thread::sleep(Duration::from_millis(2));
                TcpInfo::of(&sender).expect("TCP_INFO")
            })
            .find(|info| info.bytes_acked >= 1000)
            .expect("acknowledged within a second");
        // 1,000 bytes and, in the kernel's count, the SYN.
        assert!((1000..=1001).contains(&info.bytes_acked), "{info:?}");
        assert_eq!(info.bytes_sent, 1000);
        assert!(info.cwnd_packets >= 10 && info.mss_bytes >= 500, "{info:?}");
        assert!(
            info.srtt > Duration::ZERO && info.srtt < Duration::from_secs(1),
            "{info:?}"
        );
        assert_eq!(
            (
                info.unacked_packets,
                info.retransmits,
                info.ssthresh_packets
            ),
            (0, 0, None)
        );
        assert!(
            info.delivered_packets >= 1 && info.min_rtt.is_some(),
            "{info:?}"
        );
        // SYN+ACK and at least one acknowledgement.
        assert!((2..=10).contains(&info.segments_received), "{info:?}");
        assert_eq!(
            TcpInfo::of(&receiver).expect("TCP_INFO").bytes_received,
            1000
        );
    }

    #[test]
    fn an_unknown_algorithm_is_refused_by_name_and_number() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let error = set_congestion(&listener, "nosuchalgo").expect_err("not registered");
        let text = error.to_string();
        assert!(
            text.contains("`nosuchalgo`") && text.contains("errno 2"),
            "{text}"
        );
    }

    #[test]
    fn a_shorter_struct_of_an_older_kernel_gives_zeros() {
        let info = TcpInfo::parse(&[1; 104]);
        assert_eq!((info.cwnd_packets, info.bytes_acked), (0x0101_0101, 0));
        assert_eq!(info.min_rtt, None);
    }
}
