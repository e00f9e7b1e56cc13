//! A libccp datapath that runs no program: it says what a test wants it to say, and shows what it is told.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ccp_types::SockId;
use ccp_wire::{
    ChangeProg, Create, Encode, FieldTarget, MeasureBuf, Message, Ready, UpdateFields, frames,
};

/// A datapath has to be answered within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a datapath is told.
#[derive(Debug)]
pub(crate) enum Told {
    Install,
    ChangeProg(ChangeProg),
    Update(UpdateFields),
}

#[derive(Debug)]
pub(crate) struct Fake {
    socket: UnixDatagram,
    path: PathBuf,
    ccpd: PathBuf,
    told: VecDeque<Told>,
    /// How many programs it was given since it said READY.
    pub(crate) installed: usize,
}

impl Fake {
    /// A datapath called `name` that speaks to the daemon at `ccpd`, and has said READY.
    pub(crate) fn ready(ccpd: &Path, name: &str) -> Self {
        let path = ccpd.with_file_name(name);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        Self::begin(socket, path, ccpd)
    }

    /// The same, but it listens to the daemon's own path only.
    pub(crate) fn connected(ccpd: &Path, name: &str) -> Self {
        let path = ccpd.with_file_name(name);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.connect(ccpd).unwrap();
        Self::begin(socket, path, ccpd)
    }

    fn begin(socket: UnixDatagram, path: PathBuf, ccpd: &Path) -> Self {
        let fake = Self {
            socket,
            path,
            ccpd: ccpd.to_owned(),
            told: VecDeque::new(),
            installed: 0,
        };
        fake.say(&Ready {
            id: 0,
            capabilities: None,
        });
        fake
    }

    pub(crate) fn say(&self, message: &impl Encode) {
        self.send(&message.to_frame().unwrap());
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        // Blocks while the daemon's queue is full: that is backpressure.
        self.socket
            .send_to(bytes, &self.ccpd)
            .or_else(|_| self.socket.send(bytes))
            .unwrap();
    }

    /// Opens a flow from port `port` to 192.0.2.1:443.
    pub(crate) fn open(&self, sock_id: u32, port: u16) {
        self.open_to(sock_id, port, 443);
    }

    pub(crate) fn open_to(&self, sock_id: u32, port: u16, to: u16) {
        let address = |last| u32::from_ne_bytes(Ipv4Addr::new(192, 0, 2, last).octets());
        // As ccp-kernel writes it: network order throughout.
        self.say(&Create {
            sock_id: SockId(sock_id),
            init_cwnd: 14_480,
            mss: 1448,
            src_ip: address(7),
            src_port: u32::from(port.to_be()),
            dst_ip: address(1),
            dst_port: u32::from(to.to_be()),
            cong_alg: None,
            details: None,
            path: None,
            attributes: Default::default(),
        });
    }

    pub(crate) fn report(&self, sock_id: u32, program_uid: u32, fields: &[u64]) {
        self.say(&measure(sock_id, program_uid, fields));
    }

    pub(crate) fn close(&self, sock_id: u32) {
        self.say(&MeasureBuf::close(SockId(sock_id)));
    }

    /// The next thing that it is told, apart from programs.
    pub(crate) fn told(&mut self) -> Told {
        self.told_within(PATIENCE).expect("it is told something")
    }

    pub(crate) fn told_within(&mut self, limit: Duration) -> Option<Told> {
        let deadline = Instant::now() + limit;
        loop {
            match self.told.pop_front() {
                Some(Told::Install) => self.installed += 1,
                Some(other) => return Some(other),
                None => self.read(deadline.checked_duration_since(Instant::now())?)?,
            }
        }
    }

    /// The flow is told to run a program: which, and with which window.
    pub(crate) fn started(&mut self, sock_id: u32) -> (u32, Option<u64>) {
        match self.told() {
            Told::ChangeProg(change) => {
                assert_eq!(change.sock_id, SockId(sock_id));
                (change.program_uid, window(&change.fields))
            }
            other => panic!("{other:?}"),
        }
    }

    /// The flow is told another window: which.
    pub(crate) fn window(&mut self, sock_id: u32) -> u64 {
        match self.told() {
            Told::Update(update) => {
                assert_eq!(update.sock_id, SockId(sock_id));
                window(&update.fields).expect("a window")
            }
            other => panic!("{other:?}"),
        }
    }

    fn read(&mut self, limit: Duration) -> Option<()> {
        let limit = limit.max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(limit)).unwrap();
        let mut buffer = vec![0; 1 << 16];
        let len = self.socket.recv(&mut buffer).ok()?;
        let mut count = 0;
        for frame in frames(&buffer[..len]) {
            count += 1;
            self.told
                .push_back(match frame.unwrap().message().unwrap() {
                    Message::Install(_) => Told::Install,
                    Message::ChangeProg(change) => Told::ChangeProg(change),
                    Message::UpdateFields(update) => Told::Update(update),
                    other => panic!("a libccp datapath does not know {other:?}"),
                });
        }
        assert_eq!(count, 1, "libccp reads one frame of a datagram");
        Some(())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

pub(crate) fn measure(sock_id: u32, program_uid: u32, fields: &[u64]) -> MeasureBuf {
    MeasureBuf {
        sock_id: SockId(sock_id),
        program_uid,
        fields: fields.to_vec(),
        trailer: None,
        totals: None,
    }
}

/// Several messages as one datagram.
pub(crate) fn together(messages: &[MeasureBuf]) -> BytesMut {
    let mut bytes = BytesMut::new();
    for message in messages {
        message.encode(&mut bytes).unwrap();
    }
    bytes
}

fn window(fields: &[ccp_wire::Field]) -> Option<u64> {
    let field = fields
        .iter()
        .find(|f| matches!(f.target, FieldTarget::Cwnd))?;
    Some(field.value)
}

pub(crate) fn local(port: u16) -> std::net::SocketAddr {
    (IpAddr::from([192, 0, 2, 7]), port).into()
}
