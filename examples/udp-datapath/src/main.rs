//! A transport over UDP whose congestion control is `ccpd`'s: sends to itself through loopback for a while.
//!
//! ```sh
//! udp-datapath /tmp/ccp/ccpd.sock 3      # the daemon's Unix datapath, seconds
//! ```
//!
//! Packets carry a number and the time, which the other end sends back; what three later ones have overtaken
//! is lost.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ccp_datapath::{
    Config, Datapath, Delivered, FlowSpec, Mode, Pacer, Primitive, Reduction, Refused, Sink,
};
use ccp_types::{Bytes, Micros, Timestamp};

const MSS: usize = 1200;
const RTO: Micros = Micros::from_millis(200);

/// The way to the daemon: a socket bound at a path, so that it can be answered.
struct Daemon {
    socket: UnixDatagram,
    at: PathBuf,
}

impl Sink for Daemon {
    fn send(&mut self, frame: &[u8]) -> Result<(), Refused> {
        match self.socket.send_to(frame, &self.at) {
            Ok(_) => Ok(()),
            Err(e) if e.kind() == ErrorKind::WouldBlock => Err(Refused::Full),
            Err(_) => Err(Refused::Gone),
        }
    }
}

/// The other end.
fn echo(socket: UdpSocket) {
    let mut packet = [0; MSS];
    while let Ok((len, from)) = socket.recv_from(&mut packet) {
        let _ = socket.send_to(packet.get(..len.min(16)).unwrap_or(&[]), from);
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let at = PathBuf::from(
        args.next()
            .ok_or("usage: udp-datapath DAEMON.sock [SECONDS]")?,
    );
    let seconds: u64 = args.next().map_or(Ok(3), |text| text.parse())?;

    let other = UdpSocket::bind("127.0.0.1:0")?;
    let peer = other.local_addr()?;
    std::thread::spawn(move || echo(other));
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.connect(peer)?;
    socket.set_nonblocking(true)?;
    let own = std::env::temp_dir().join(format!("udp-datapath-{}.sock", std::process::id()));
    let ipc = UnixDatagram::bind(&own)?;
    ipc.set_nonblocking(true)?;
    let mut daemon = Daemon {
        socket: ipc.try_clone()?,
        at,
    };

    // 1. A datapath, which looks for the daemon, and a flow.
    let begun = Instant::now();
    let clock = || Timestamp(1_000_000 + begun.elapsed().as_micros() as u64);
    let datapath = Datapath::new(Config::default());
    datapath.on_timer(clock(), &mut daemon);
    let spec = FlowSpec::new(socket.local_addr()?, peer, MSS as u32);
    let mut flow = datapath.open(clock(), spec, &mut daemon)?;
    let mut measured = datapath.measurements();
    let mut pacer = Pacer::new(10 * MSS as u64);

    // The way down after a loss, and the packet with whose acknowledgement it is over.
    let (mut reduction, mut recovered_at) = (Reduction::default(), 0);

    let (mut next, mut acked, mut lost) = (0_u64, 0_u64, 0_u64);
    let (mut in_flight, mut heard) = (BTreeSet::new(), clock());
    let mut buffer = [0; 1 << 16];
    while begun.elapsed() < Duration::from_secs(seconds) {
        // 2. What the daemon says. What is refused is counted, and no reason to stop.
        while let Ok(len) = ipc.recv(&mut buffer) {
            let _ = datapath.on_message(clock(), buffer.get(..len).unwrap_or(&[]));
        }
        let now = clock(); // 3. Timers: the datapath's, and the flow's.
        if datapath.next_timer().is_some_and(|at| at <= now) {
            datapath.on_timer(now, &mut daemon);
        }
        if flow.next_timer().is_some_and(|at| at <= now) {
            flow.on_timer(now, &mut daemon);
        }
        let mut packet = [0; MSS]; // 4. Acknowledgements, and a timer if none comes.
        while let Ok(len) = socket.recv(&mut packet) {
            let words = packet.get(..len).map_or(&[][..], |p| p.as_chunks().0);
            let &[number, sent_at] = words else { continue };
            let (number, sent_at) = (u64::from_le_bytes(number), u64::from_le_bytes(sent_at));
            let outstanding = in_flight.len() * MSS;
            if in_flight.take(&number).is_none() {
                continue;
            }
            if number >= recovered_at {
                reduction.end();
            }
            heard = clock();
            let kept = in_flight.split_off(&number.saturating_sub(3));
            let overtaken = std::mem::replace(&mut in_flight, kept).len() as u64;
            (acked, lost) = (acked + MSS as u64, lost + overtaken);
            if overtaken > 0 && number >= recovered_at {
                reduction.begin(Bytes(outstanding as u64));
                recovered_at = next;
            }
            let left = Bytes((in_flight.len() * MSS) as u64);
            measured.clear();
            measured
                .set(Primitive::BYTES_ACKED, MSS as u64)
                .set(Primitive::LOST_PACKETS, overtaken)
                .set(Primitive::BYTES_IN_FLIGHT, left.0)
                .set(Primitive::RTT_SAMPLE_US, (heard.0 - sent_at).max(1));
            let decision = flow.on_ack(heard, &measured, &mut daemon);
            reduction.on_ack(&Delivered {
                bytes: Bytes(MSS as u64),
                in_flight: left,
                safe: overtaken == 0,
                target: decision.cwnd,
                mss: MSS as u32,
            });
        }
        if !in_flight.is_empty() && clock() > heard + RTO {
            measured.clear();
            measured.set(Primitive::LOST_PACKETS, in_flight.len() as u64);
            lost += std::mem::take(&mut in_flight).len() as u64;
            heard = clock();
            reduction.end();
            flow.on_timeout(heard, &measured, &mut daemon);
        }
        // 5. As much as the window and the rate allow.
        if flow.has_own_recovery() {
            reduction.end();
        }
        let decision = flow.decision();
        let nanos = || begun.elapsed().as_nanos() as u64;
        pacer.set_rate(nanos(), decision.rate);
        while ((in_flight.len() + 1) * MSS) as u64 <= reduction.window(decision.cwnd).0
            && pacer.may_send(nanos())
        {
            let mut packet = [0; MSS];
            let head = [next.to_le_bytes(), clock().0.to_le_bytes()].concat();
            packet
                .iter_mut()
                .zip(head)
                .for_each(|(to, from)| *to = from);
            if socket.send(&packet).is_err() {
                break;
            }
            pacer.sent(nanos(), MSS as u64);
            reduction.on_sent(Bytes(MSS as u64));
            in_flight.insert(next);
            next += 1;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    let (window, running) = (flow.decision().cwnd, flow.mode() == Mode::Running);
    let reports = flow.counts().reports;
    println!("{acked} bytes acknowledged, {lost} packets lost, window {window}");
    println!("steered by the daemon at the end: {running}, {reports} reports");
    flow.close(None, &mut daemon);
    std::fs::remove_file(own)?;
    Ok(())
}
