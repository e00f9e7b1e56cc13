//! The output of `ss -tinHOe`, parsed.

use std::{net::SocketAddr, time::Duration};

/// A TCP socket as `ss` shows it. What `ss` did not print is `None`, or 0 for counters.
#[derive(Debug, Clone, PartialEq)]
pub struct SsSocket {
    /// State, as `ESTAB`.
    pub state: String,
    /// Local address (an interface zone after `%` is left out).
    pub local: SocketAddr,
    /// Remote address.
    pub peer: SocketAddr,
    /// Bytes received and not read by the application.
    pub receive_queue: u64,
    /// Bytes sent and not acknowledged, or waiting.
    pub send_queue: u64,
    /// Congestion-control algorithm.
    pub congestion: Option<String>,
    /// Congestion window in packets.
    pub cwnd_packets: Option<u32>,
    /// Slow-start threshold in packets; `None` while infinite.
    pub ssthresh_packets: Option<u32>,
    /// Maximum segment size in bytes.
    pub mss_bytes: Option<u32>,
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Variation of the round-trip time.
    pub rtt_var: Option<Duration>,
    /// Minimum round-trip time.
    pub min_rtt: Option<Duration>,
    /// Pacing rate in bits per second.
    pub pacing_bps: Option<f64>,
    /// Delivery rate in bits per second.
    pub delivery_bps: Option<f64>,
    /// Window over round-trip time in bits per second.
    pub send_bps: Option<f64>,
    /// Bytes acknowledged.
    pub bytes_acked: u64,
    /// Bytes sent, retransmissions included.
    pub bytes_sent: u64,
    /// Bytes retransmitted.
    pub bytes_retransmitted: u64,
    /// Bytes received.
    pub bytes_received: u64,
    /// Packets on their way.
    pub unacked_packets: u32,
    /// Packets presumed lost.
    pub lost_packets: u32,
    /// Packets retransmitted and not acknowledged.
    pub retransmits_in_flight: u32,
    /// Retransmissions since the start.
    pub retransmits: u32,
    /// Inode number of the socket.
    pub inode: Option<u64>,
    /// The kernel's cookie of the socket.
    pub cookie: Option<u64>,
}

/// Parses the output of `ss -tinHOe` (one line per socket; also without `-e`). Lines that are not a TCP
/// socket's are left out.
#[must_use]
pub fn parse_ss(text: &str) -> Vec<SsSocket> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<SsSocket> {
    let mut words = line.split_whitespace().peekable();
    let mut state = words.next()?;
    // Without `-t`, or with several families, `ss` puts the protocol first.
    if state == "tcp" {
        state = words.next()?;
    }
    let receive_queue = words.next()?.parse().ok()?;
    let send_queue = words.next()?.parse().ok()?;
    let local = address(words.next()?)?;
    let peer = address(words.next()?)?;
    let mut socket = SsSocket {
        state: state.to_owned(),
        local,
        peer,
        receive_queue,
        send_queue,
        congestion: None,
        cwnd_packets: None,
        ssthresh_packets: None,
        mss_bytes: None,
        srtt: None,
        rtt_var: None,
        min_rtt: None,
        pacing_bps: None,
        delivery_bps: None,
        send_bps: None,
        bytes_acked: 0,
        bytes_sent: 0,
        bytes_retransmitted: 0,
        bytes_received: 0,
        unacked_packets: 0,
        lost_packets: 0,
        retransmits_in_flight: 0,
        retransmits: 0,
        inode: None,
        cookie: None,
    };
    while let Some(word) = words.next() {
        if let Some((key, value)) = word.split_once(':') {
            // A block of its own, as `bbr:(bw:1,mrtt:2)` or `timer:(on,200ms,0)`, may hold blanks.
            if value.starts_with('(') {
                let mut last = word;
                while !last.ends_with(')') {
                    let Some(word) = words.next() else { break };
                    last = word;
                }
                continue;
            }
            socket.set(key, value);
            continue;
        }
        match word {
            "send" => socket.send_bps = words.next().and_then(rate),
            "pacing_rate" => socket.pacing_bps = words.next().and_then(rate),
            "delivery_rate" => socket.delivery_bps = words.next().and_then(rate),
            // Options of the connection, directions of shutdown, marks.
            "ts" | "sack" | "ecn" | "ecnseen" | "fastopen" | "app_limited" | "<->" | "-->"
            | "<--" | "---" => {}
            name if socket.congestion.is_none() => socket.congestion = Some(name.to_owned()),
            _ => {}
        }
    }
    Some(socket)
}

impl SsSocket {
    fn set(&mut self, key: &str, value: &str) {
        let number = || value.parse().ok();
        let count = || value.parse().unwrap_or(0);
        match key {
            "cwnd" => self.cwnd_packets = value.parse().ok(),
            "ssthresh" => self.ssthresh_packets = value.parse().ok(),
            "mss" => self.mss_bytes = value.parse().ok(),
            "rtt" => {
                let (mean, variation) = value.split_once('/').unwrap_or((value, ""));
                self.srtt = millis(mean);
                self.rtt_var = millis(variation);
            }
            "minrtt" => self.min_rtt = millis(value),
            "bytes_acked" => self.bytes_acked = count(),
            "bytes_sent" => self.bytes_sent = count(),
            "bytes_retrans" => self.bytes_retransmitted = count(),
            "bytes_received" => self.bytes_received = count(),
            "unacked" => self.unacked_packets = value.parse().unwrap_or(0),
            "lost" => self.lost_packets = value.parse().unwrap_or(0),
            "retrans" => {
                let (now, total) = value.split_once('/').unwrap_or(("0", value));
                self.retransmits_in_flight = now.parse().unwrap_or(0);
                self.retransmits = total.parse().unwrap_or(0);
            }
            "ino" => self.inode = number(),
            "sk" => self.cookie = u64::from_str_radix(value, 16).ok(),
            _ => {}
        }
    }
}

fn millis(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse::<f64>().ok()? / 1e3).ok()
}

/// `12345bps`, or rounded with `-H`-less versions as `12.3Mbps`.
fn rate(text: &str) -> Option<f64> {
    let text = text.strip_suffix("bps")?;
    let (digits, factor) = match text.chars().last()? {
        'K' => (&text[..text.len() - 1], 1e3),
        'M' => (&text[..text.len() - 1], 1e6),
        'G' => (&text[..text.len() - 1], 1e9),
        'T' => (&text[..text.len() - 1], 1e12),
        _ => (text, 1.0),
    };
    digits.parse::<f64>().ok().map(|number| number * factor)
}

/// `10.0.0.1:80`, `10.0.0.1%eth0:80`, `[fd00::1]:80`, `[fe80::1]%eth0:80`.
fn address(text: &str) -> Option<SocketAddr> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.split('%').next()?.trim_matches(['[', ']']);
    Some(SocketAddr::new(host.parse().ok()?, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
ESTAB      72027  0      127.0.0.1:5999  127.0.0.1:46942 ino:13526 sk:1 cgroup:/ <-> ts sack bbr \
wscale:10,10 rto:204 rtt:0.047/0.023 ato:40 mss:32768 pmtu:65535 rcvmss:47616 advmss:65483 cwnd:10 \
bytes_received:200000 segs_out:4 bbr:(bw:0bps,mrtt:0.047) send 55775319149bps lastsnd:880 \
pacing_rate 159397563976bps delivered:1 app_limited rcv_space:95232 minrtt:0.047 snd_wnd:65536     
ESTAB 0 1448000 [fd00::1%veth0]:40000 [fd00::2]:443 timer:(on,196ms,0) uid:1000 ino:77 sk:1f \
cgroup:unreachable:1 <-> ts sack ecn ccp wscale:7,7 rto:224 backoff:1 rtt:20.5/1.25 mss:1428 \
pmtu:1500 rcvmss:536 advmss:1428 cwnd:21 ssthresh:20 bytes_sent:1000000 bytes_retrans:4284 \
bytes_acked:900001 segs_out:700 ccp send 11.7Mbps pacing_rate 50000000bps delivery_rate 11.5Mbps \
delivered:650 busy:900ms unacked:19 retrans:2/3 lost:1 sacked:4 minrtt:20.1
LISTEN 0 128 *:22 *:* ino:1
TIME-WAIT 0 0 10.1.0.1%tun0:5000 10.1.0.2:6000 timer:(timewait,59sec,0) ino:0 sk:20
";

    #[test]
    fn reads_all_that_is_there() {
        let sockets = parse_ss(TEXT);
        let [first, second, third] = &sockets[..] else {
            panic!("three sockets: {sockets:#?}")
        };

        assert_eq!(
            (first.state.as_str(), first.receive_queue),
            ("ESTAB", 72_027)
        );
        assert_eq!(first.congestion.as_deref(), Some("bbr"));
        assert_eq!(
            (first.cwnd_packets, first.ssthresh_packets),
            (Some(10), None)
        );
        assert_eq!(first.pacing_bps, Some(159_397_563_976.0));
        assert_eq!(first.srtt, Some(Duration::from_micros(47)));
        assert_eq!(first.bytes_received, 200_000);

        assert_eq!(second.local, "[fd00::1]:40000".parse().expect("an address"));
        assert_eq!(second.peer, "[fd00::2]:443".parse().expect("an address"));
        assert_eq!(second.congestion.as_deref(), Some("ccp"));
        assert_eq!(
            (second.cwnd_packets, second.ssthresh_packets),
            (Some(21), Some(20))
        );
        assert_eq!(
            (second.mss_bytes, second.send_queue),
            (Some(1428), 1_448_000)
        );
        assert_eq!(second.srtt, Some(Duration::from_micros(20_500)));
        assert_eq!(second.rtt_var, Some(Duration::from_micros(1250)));
        assert_eq!(second.min_rtt, Some(Duration::from_micros(20_100)));
        assert_eq!(second.pacing_bps, Some(50e6));
        assert_eq!(
            (second.send_bps, second.delivery_bps),
            (Some(11.7e6), Some(11.5e6))
        );
        assert_eq!(
            (second.bytes_acked, second.bytes_sent),
            (900_001, 1_000_000)
        );
        assert_eq!((second.retransmits_in_flight, second.retransmits), (2, 3));
        assert_eq!((second.lost_packets, second.unacked_packets), (1, 19));
        assert_eq!((second.bytes_retransmitted, second.inode), (4284, Some(77)));
        assert_eq!(second.cookie, Some(0x1f));

        assert_eq!(
            (third.state.as_str(), third.congestion.as_deref()),
            ("TIME-WAIT", None)
        );
        assert_eq!(third.local, "10.1.0.1:5000".parse().expect("an address"));
        assert_eq!(third.cwnd_packets, None);
    }

    #[test]
    fn foreign_text_gives_nothing() {
        assert_eq!(parse_ss(""), []);
        assert_eq!(
            parse_ss("Cannot open netlink socket: Protocol not supported\n"),
            []
        );
        assert_eq!(
            parse_ss("ESTAB 0 0 [::1]: 5:6 rtt:/ cwnd: bbr:(never closed\n"),
            []
        );
        let sockets =
            parse_ss("ESTAB 0 0 1.2.3.4:5 6.7.8.9:10 rtt:/ cwnd: retrans:x/ bbr:(open send\n");
        assert_eq!(sockets.len(), 1);
        assert_eq!(sockets[0].cwnd_packets, None);
    }
}
