//! The real C library as the datapath of the real daemon: two connections in this process, on a Unix
//! datagram socket, steered by `reno` and `constant`.
//!
//! In a test binary of its own, and without any logarithm: the crate `libccp` exports a C symbol `log`, which
//! takes the place of the mathematical one in whatever links it.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ccp_tests::{FlowLine, binaries, within};
use libccp::{
    CongestionOps, Connection, Datapath, DatapathBuilder, DatapathOps, FlowInfo, Primitives,
};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

const PATIENCE: Duration = Duration::from_secs(10);
const MSS: u32 = 1448;

/// The daemon, killed when dropped.
struct Ccpd {
    dir: tempfile::TempDir,
    child: Child,
}

impl Ccpd {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = format!(
            "[ccpd]
             control = '{dir}/control.sock'
             [[datapath]]
             kind = 'unix'
             path = '{dir}/datapath.sock'
             [algorithms.reno]
             report = 'ack'
             [algorithms.slow]
             kind = 'constant'
             cwnd_packets = 20
             rate_mbit = 50
             [policy]
             default = 'reno'
             [[policy.rule]]
             match = {{ dst_port = '5000-5999' }}
             algorithm = 'slow'",
            dir = dir.path().display()
        );
        let file = dir.path().join("ccpd.toml");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new(binaries::ccpd());
        command.arg("--config").arg(&file).stdin(Stdio::null());
        // C code in this process may end it without unwinding; the daemon must not outlive it.
        // SAFETY: `prctl` is one system call, allowed between `fork` and `exec`.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let child = command.spawn().unwrap();
        let ccpd = Self { dir, child };
        let socket = ccpd.path("datapath.sock");
        within(PATIENCE, || socket.exists().then_some(())).expect("the daemon's socket");
        ccpd
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn flows(&self) -> Vec<FlowLine> {
        let mut ccp = Command::new(binaries::ccp());
        ccp.arg("--socket").arg(self.path("control.sock"));
        let output = ccp.args(["flows", "--json"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let ended = within(PATIENCE, || self.child.try_wait().unwrap());
        assert_eq!(ended.expect("it stops").code(), Some(0));
    }
}

impl Drop for Ccpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the library sends with.
struct Socket(Arc<UnixDatagram>, PathBuf);

impl DatapathOps for Socket {
    fn send_msg(&mut self, message: &[u8]) {
        // Waits while the daemon's queue is full. Without the daemon it fails, which the library bears; a
        // panic would not get through its C code.
        let _ = self.0.send_to(message, &self.1);
    }
}

/// A datapath that has said READY, and the socket by which it is answered.
fn datapath(own: &Path, ccpd: &Path) -> (Datapath, Arc<UnixDatagram>) {
    // The crate takes its connection table (more than 128 KiB) from `malloc` and relies on zeros. A fixed
    // threshold makes every such block a fresh mapping.
    // SAFETY: `mallopt` with a valid parameter; no other thread runs yet that could change it.
    let ok = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024) };
    assert_eq!(ok, 1);
    let socket = Arc::new(UnixDatagram::bind(own).unwrap());
    socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let datapath = DatapathBuilder::default()
        .with_ops(Socket(Arc::clone(&socket), ccpd.to_owned()))
        .with_id(1)
        .init()
        .unwrap();
    (datapath, socket)
}

/// What the library last set.
#[derive(Default)]
struct Steered {
    cwnd: u32,
    rate: u32,
}

impl CongestionOps for Steered {
    fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = cwnd;
    }

    fn set_rate_abs(&mut self, rate: u32) {
        self.rate = rate;
    }
}

/// One connection, fully used, with a round-trip time of 20 ms.
struct Flow<'d>(Connection<'d, Steered>);

impl<'d> Flow<'d> {
    fn open(datapath: &'d Datapath, port: u16, to: u16) -> Self {
        let address = |last| u32::from_ne_bytes(Ipv4Addr::new(192, 0, 2, last).octets());
        let ports = (u32::from(port.to_be()), u32::from(to.to_be()));
        let info = FlowInfo::default()
            .with_mss(MSS)
            .with_init_cwnd(10 * MSS)
            .with_four_tuple(address(7), ports.0, address(1), ports.1);
        let steered = Steered {
            cwnd: 10 * MSS,
            rate: 0,
        };
        Self(Connection::start(datapath, steered, info).unwrap())
    }

    /// An acknowledgement of one segment; `lost` packets were found lost. Whether a program ran.
    fn ack(&mut self, lost: u32) -> bool {
        let cwnd = self.0.cwnd;
        let left = cwnd - MSS.min(cwnd);
        self.0.load_primitives(
            Primitives::default()
                .with_bytes_acked(MSS)
                .with_packets_acked(1)
                .with_lost_pkts_sample(lost)
                .with_rtt_sample_us(20_000)
                .with_bytes_in_flight(left)
                .with_packets_in_flight(left / MSS)
                .with_snd_cwnd(cwnd),
        );
        self.0.invoke().is_ok()
    }
}

/// The library hears what the daemon has said.
fn listen(datapath: &Datapath, socket: &UnixDatagram) {
    let mut buffer = [0; 1 << 16];
    while let Ok(len) = socket.recv(&mut buffer) {
        datapath.recv_msg(&mut buffer[..len]).unwrap();
    }
}

#[test]
fn reno_and_constant_steer_connections_of_the_c_library() {
    let ccpd = Ccpd::start();
    let (datapath, socket) = datapath(&ccpd.path("libccp.sock"), &ccpd.path("datapath.sock"));
    let mut reno = Flow::open(&datapath, 40_000, 443);
    let mut slow = Flow::open(&datapath, 40_001, 5_001);
    // Until a program runs, the window is the connection's own.
    let started = within(PATIENCE, || {
        listen(&datapath, &socket);
        (reno.ack(0) & slow.ack(0)).then_some(())
    });
    assert!(started.is_some(), "no program: {:#?}", ccpd.flows());

    // A constant is a constant, whatever happens.
    for lost in [0, 3, 0, 0, 1, 0] {
        slow.ack(lost);
        assert_eq!((slow.0.cwnd, slow.0.rate), (20 * MSS, 6_250_000));
    }

    // Slow start: by what is acknowledged, at every acknowledgement, without waiting for the daemon.
    let before = reno.0.cwnd;
    for n in 1..=30 {
        assert!(reno.ack(0));
        assert_eq!(reno.0.cwnd, before + n * MSS);
    }

    // A loss: the daemon is told and answers with half of what was outstanding, and with nothing else for
    // the rest of this window.
    let full = reno.0.cwnd;
    reno.ack(1);
    let halved = within(PATIENCE, || {
        listen(&datapath, &socket);
        reno.ack(1);
        (reno.0.cwnd < full).then_some(reno.0.cwnd)
    });
    let halved = halved.expect("the window is reduced");
    assert!(halved.abs_diff(full / 2) <= MSS, "{full} became {halved}");
    while_recovering(&mut reno, full);
    assert_eq!(
        reno.0.cwnd, halved,
        "one reduction for all losses of a window"
    );

    // Congestion avoidance: a segment for each window.
    let mut acks = 0;
    while reno.0.cwnd == halved {
        reno.ack(0);
        acks += 1;
    }
    assert_eq!(reno.0.cwnd, halved + MSS);
    let (least, most) = (halved / MSS - 1, halved / MSS + 2);
    assert!((least..=most).contains(&acks), "{acks} acknowledgements");

    // What the daemon says of it.
    let flows = within(PATIENCE, || {
        listen(&datapath, &socket);
        let flows = ccpd.flows();
        let current = flows.iter().any(|f| f.cwnd_bytes == u64::from(reno.0.cwnd));
        (flows.len() == 2 && current).then_some(flows)
    });
    let flows = flows.unwrap_or_else(|| panic!("{:#?} but {}", ccpd.flows(), reno.0.cwnd));
    let ends = |port: u16, to: u16| -> (SocketAddr, SocketAddr) {
        (([192, 0, 2, 7], port).into(), ([192, 0, 2, 1], to).into())
    };
    let line = |ends| flows.iter().find(|f| (f.src, f.dst) == ends).unwrap();
    let (first, second) = (line(ends(40_000, 443)), line(ends(40_001, 5_001)));
    assert_eq!(
        (&first.algorithm[..], &first.state[..]),
        ("reno", "running")
    );
    assert_eq!(
        (&second.algorithm[..], &second.state[..]),
        ("slow", "running")
    );
    assert_eq!(first.rtt_us, 20_000);
    assert_eq!(second.rate_bytes_per_s, 6_250_000);
    assert!(
        first.reports > 30,
        "one for each acknowledgement: {first:?}"
    );
    assert_eq!(first.updates, 2, "a program and one answer: {first:?}");
    assert_eq!(
        first.datapath,
        ccpd.path("datapath.sock").display().to_string()
    );

    // One ends, the other goes on.
    drop(reno);
    within(PATIENCE, || (ccpd.flows().len() == 1).then_some(())).expect("the flow has ended");
    assert!(slow.ack(0));
    ccpd.stop();
    // Without the daemon the library goes on with the program that it has.
    assert_eq!(slow.0.cwnd, 20 * MSS);
}

/// Everything is acknowledged that was outstanding at the loss; more of it was lost.
fn while_recovering(flow: &mut Flow<'_>, outstanding: u32) {
    for n in 0..outstanding / MSS {
        flow.ack(u32::from(n % 7 == 0 && n < outstanding / MSS / 2));
    }
}
