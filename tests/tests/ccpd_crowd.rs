//! What a flow costs the daemon in memory, counted for thousands at once.

use std::io::ErrorKind;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ccp_tests::binaries;
use ccp_types::{Bytes, FlowInfo, SockId};
use ccp_wire::{Create, Encode, Message, Ready, frames};

const FLOWS: u32 = 10_000;
/// For each flow, with what the allocator adds, in bytes.
const LIMIT: u64 = 3_000;

struct Daemon(Child);

impl Daemon {
    fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let kib: u64 = line.unwrap().trim_end_matches("kB").trim().parse().unwrap();
        kib * 1024
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Tells `message`; what is told meanwhile is read, since queues are short. Returns how many flows were
/// started.
fn tell(socket: &UnixDatagram, message: &impl Encode) -> u32 {
    let frame = message.to_frame().unwrap();
    let mut started = 0;
    while let Err(error) = socket.send(&frame) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
        started += hear(socket);
    }
    started
}

fn hear(socket: &UnixDatagram) -> u32 {
    let (mut started, mut buffer) = (0, [0; 65_536]);
    while let Ok(len) = socket.recv(&mut buffer) {
        for frame in frames(&buffer[..len]) {
            if let Ok(Message::ChangeProg(_)) = frame.unwrap().message() {
                started += 1;
            }
        }
    }
    started
}

#[test]
fn a_flow_takes_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let (config, path) = (dir.path().join("ccpd.toml"), dir.path().join("agent"));
    let text = format!(
        "[ccpd]\ncontrol = '{0}/control'\n[[datapath]]\nkind = 'unix'\npath = '{0}/agent'\n",
        dir.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let daemon = Command::new(binaries::ccpd())
        .arg("--config")
        .arg(&config)
        .stderr(Stdio::null())
        .spawn();
    let daemon = Daemon(daemon.unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    let socket = UnixDatagram::bind(dir.path().join("datapath")).unwrap();
    while socket.connect(&path).is_err() {
        assert!(Instant::now() < deadline, "the daemon does not listen");
        std::thread::sleep(Duration::from_millis(10));
    }
    socket.set_nonblocking(true).unwrap();

    let mut started = tell(
        &socket,
        &Ready {
            id: 0,
            capabilities: None,
        },
    );
    let mut open = |flows: std::ops::RangeInclusive<u32>| {
        let last = *flows.end();
        for sock_id in flows {
            let end = |last| std::net::SocketAddr::from(([192, 0, 2, last], 443));
            let info = FlowInfo::new(SockId(sock_id), end(1), end(2), 1_448, Bytes(14_480));
            started += tell(&socket, &Create::from_flow_info(&info, 0));
        }
        while started < last {
            assert!(Instant::now() < deadline, "{started} of {last} flows run");
            started += hear(&socket);
        }
    };
    // What the first ones take is not a flow's.
    open(1..=10);
    let before = daemon.resident_bytes();
    open(11..=10 + FLOWS);
    let grown = daemon.resident_bytes().saturating_sub(before);
    let each = grown / u64::from(FLOWS);
    eprintln!("{each} bytes for each flow");
    assert!(each <= LIMIT, "{each} bytes for each flow");
    assert!(each >= 200, "{each} bytes for each flow: that can't be all");
}
