//! `ccpd` and datapaths on netlink, over the real socket family: a process in a network namespace of its own
//! plays the CCP kernel module, which speaks to a multicast group and is answered by unicast.
//!
//! What is not played is port 0: that is the kernel's.

use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ccp_lab::{Namespace, Need, skip_without};
use ccp_tests::{Process, within};
use ccp_types::SockId;
use ccp_wire::{
    ChangeProg, Create, Encode, FieldTarget, MeasureBuf, Message, NETLINK_GROUP, Ready, frames,
    netlink_message, netlink_payloads,
};
use portus::ipc::Ipc as _;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::{SocketAddrNetlink, USERSOCK};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, recv, sendto,
    socket_with,
};
use rustix::process::{Signal, Uid};
use rustix::thread::set_thread_uid;
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);
const SOMEBODY: u32 = 64_003;

const CONFIG: &str = "
[[datapath]]
kind = 'netlink'
[algorithms.fixed]
kind = 'constant'
cwnd_packets = 20
[algorithms.wide]
kind = 'constant'
cwnd_packets = 40
[policy]
default = 'fixed'
";

/// A namespace for a test, or none: it was said why.
fn namespace(label: &str) -> Option<Namespace> {
    if skip_without(&[Need::Namespaces]) {
        return None;
    }
    Some(Namespace::new(label).unwrap())
}

/// The module's side: one socket.
struct Module {
    socket: OwnedFd,
    port: u32,
}

impl Module {
    fn new(namespace: &Namespace) -> Self {
        namespace.run(Self::here).unwrap()
    }

    /// In the namespace of this thread.
    fn here() -> Self {
        let flags = SocketFlags::CLOEXEC;
        let family = AddressFamily::NETLINK;
        let socket = socket_with(family, SocketType::RAW, flags, Some(USERSOCK)).unwrap();
        bind(&socket, &SocketAddrNetlink::new(0, 0)).unwrap();
        let name = getsockname(&socket).unwrap();
        let port = SocketAddrNetlink::try_from(name).unwrap().pid();
        Self { socket, port }
    }

    /// Sends a datagram to everybody who listens, as the module does.
    fn multicast(&self, datagram: &[u8]) -> Result<(), Errno> {
        self.multicast_to(NETLINK_GROUP, datagram)
    }

    fn multicast_to(&self, group: u32, datagram: &[u8]) -> Result<(), Errno> {
        let group = SocketAddrNetlink::new(0, 1 << (group - 1));
        match sendto(&self.socket, datagram, SendFlags::empty(), &group) {
            // What is sent to a group goes to a port as well, and nobody is at the kernel's.
            Ok(_) | Err(Errno::CONNREFUSED) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn say(&self, message: &impl Encode) {
        self.multicast(&wrapped(&message.to_frame().unwrap()))
            .unwrap();
    }

    fn ready(&self) {
        self.say(&Ready {
            id: 0,
            capabilities: None,
        });
    }

    fn open(&self, sock_id: u32) {
        self.say(&create(sock_id));
    }

    /// What it is told next; `None` if nothing.
    fn told(&self, limit: Duration) -> Option<BytesMut> {
        let limit = Timespec::try_from(limit).unwrap();
        let mut wanted = [PollFd::new(&self.socket, PollFlags::IN)];
        if poll(&mut wanted, Some(&limit)).unwrap() == 0 {
            return None;
        }
        let mut buffer = vec![0; 1 << 17];
        let (_, len) = recv(self.socket.as_fd(), &mut buffer[..], RecvFlags::empty()).unwrap();
        let payloads: Vec<_> = netlink_payloads(&buffer[..len]).collect();
        let [Ok(frame)] = payloads[..] else {
            panic!("{payloads:?}")
        };
        Some(frame.into())
    }

    /// Which flow is given a program next.
    fn answered(&self) -> u32 {
        let bytes = self.told(PATIENCE).expect("it is told something");
        match frames(&bytes).next().unwrap().unwrap().message().unwrap() {
            Message::ChangeProg(change) => change.sock_id.0,
            other => panic!("{other:?}"),
        }
    }

    /// The program and window that the flow `sock_id` is given next, and how many programs came before.
    fn given(&self, sock_id: u32) -> (Option<u64>, usize) {
        let mut installs = 0;
        loop {
            let bytes = self.told(PATIENCE).expect("it is told something");
            let mut told = frames(&bytes);
            match told.next().unwrap().unwrap().message().unwrap() {
                Message::Install(_) => installs += 1,
                Message::ChangeProg(change) => {
                    assert_eq!(change.sock_id, SockId(sock_id));
                    return (window(&change), installs);
                }
                other => panic!("{other:?}"),
            }
            assert_eq!(told.next(), None, "one frame in each");
        }
    }
}

fn window(change: &ChangeProg) -> Option<u64> {
    let mut fields = change.fields.iter();
    let field = fields.find(|f| matches!(f.target, FieldTarget::Cwnd))?;
    Some(field.value)
}

/// How much of `counter` the daemon has counted where its label says so.
fn counted(ccpd: &Process, counter: &str, label: Option<(&str, &str)>) -> u64 {
    let text = ccpd.ccp(&["stats", "--all", "--json", counter]);
    let metrics: Value = serde_json::from_str(&text).expect("what is counted");
    let values = metrics[0]["values"].as_array().expect("its values").iter();
    let values = values.filter(|value| label.is_none_or(|(of, says)| value[of] == says));
    values.filter_map(|value| value["value"].as_u64()).sum()
}

/// Waits until it has counted so many.
fn await_counted(ccpd: &Process, counter: &str, label: (&str, &str), wanted: u64) {
    let mut last = 0;
    let counted = within(PATIENCE, || {
        last = counted(ccpd, counter, Some(label));
        (last == wanted).then_some(())
    });
    assert!(counted.is_some(), "{counter}: {last} instead of {wanted}");
}

/// A datagram of one message, as the module makes it.
fn wrapped(payload: &[u8]) -> BytesMut {
    const DONE: u16 = 3;
    let mut datagram = BytesMut::new();
    netlink_message(payload, &mut datagram);
    datagram[4..6].copy_from_slice(&DONE.to_ne_bytes());
    datagram
}

fn create(sock_id: u32) -> Create {
    let address = |last| u32::from_ne_bytes(Ipv4Addr::new(192, 0, 2, last).octets());
    let port = u16::try_from(sock_id).unwrap();
    Create {
        sock_id: SockId(sock_id),
        init_cwnd: 14_480,
        mss: 1448,
        src_ip: address(7),
        src_port: u32::from(port.to_be()),
        dst_ip: address(1),
        dst_port: u32::from(443_u16.to_be()),
        cong_alg: None,
        details: None,
        path: None,
        attributes: Default::default(),
    }
}

fn report(sock_id: u32, fields: usize) -> BytesMut {
    let report = MeasureBuf {
        sock_id: SockId(sock_id),
        program_uid: 1,
        fields: vec![7; fields],
        trailer: None,
        totals: None,
    };
    report.to_frame().unwrap()
}

#[test]
fn root_a_module_is_steered() {
    let Some(namespace) = namespace("module") else {
        return;
    };
    let ccpd = Process::start(CONFIG, Some(&namespace));
    let module = Module::new(&namespace);
    module.ready();
    module.open(5);
    let (window, installs) = module.given(5);
    assert_eq!(window, Some(20 * 1448));
    assert!(installs >= 1, "the programs come first");
    let flows = ccpd.flows();
    let local = (IpAddr::from([192, 0, 2, 7]), 5).into();
    assert_eq!((&flows[0].datapath[..], flows[0].src), ("netlink", local));
    // What is decided later arrives as well.
    let _ = ccpd.ccp(&["set", &flows[0].flow.to_string(), "wide"]);
    let told = module.told(PATIENCE).unwrap();
    match frames(&told).next().unwrap().unwrap().message().unwrap() {
        Message::UpdateFields(update) => assert_eq!(update.sock_id, SockId(5)),
        other => panic!("{other:?}"),
    }

    // Several messages in a datagram, several frames in a message.
    let mut both = create(6).to_frame().unwrap();
    both.extend_from_slice(&create(7).to_frame().unwrap());
    let mut datagram = wrapped(&both);
    datagram.extend_from_slice(&wrapped(&create(8).to_frame().unwrap()));
    module.multicast(&datagram).unwrap();
    let mut answered: Vec<u32> = (0..3).map(|_| module.answered()).collect();
    answered.sort_unstable();
    assert_eq!(answered, [6, 7, 8]);
    module.say(&MeasureBuf::close(SockId(5)));
    ccpd.await_flows(|flows| flows.len() == 3);

    // A second datapath, which speaks to the daemon alone, and ends without a word.
    let second = Module::new(&namespace);
    second.ready();
    second.open(5);
    assert_eq!(second.given(5).0, Some(20 * 1448));
    assert_ne!(second.port, module.port);
    ccpd.await_flows(|flows| flows.len() == 4);
    drop(second);
    ccpd.await_flows(|flows| flows.len() == 3);
    ccpd.stop();
}

/// Headers that are cut, lie about their length, or tell of an error; and another group.
#[test]
fn root_what_is_no_message_is_counted_and_does_nothing() {
    const MALFORMED: &str = "ccpd_malformed_frames_total";
    const NETLINK: (&str, &str) = ("cause", "netlink");
    let Some(namespace) = namespace("headers") else {
        return;
    };
    let ccpd = Process::start(CONFIG, Some(&namespace));
    let module = Module::new(&namespace);
    module.ready();
    module.open(1);
    module.given(1);
    let mut wrong = 0;
    let whole = wrapped(&create(2).to_frame().unwrap());
    for len in 1..whole.len() {
        module.multicast(&whole[..len]).unwrap();
        wrong += 1;
    }
    let header = |at: usize, bytes: &[u8]| {
        let mut datagram = whole.clone();
        datagram[at..at + bytes.len()].copy_from_slice(bytes);
        datagram
    };
    let len = u32::try_from(whole.len()).unwrap();
    for lie in [0, 1, 15, len + 1, u32::MAX] {
        module.multicast(&header(0, &lie.to_ne_bytes())).unwrap();
        wrong += 1;
    }
    // NLMSG_ERROR and NLMSG_OVERRUN.
    for kind in [2_u16, 4] {
        module.multicast(&header(4, &kind.to_ne_bytes())).unwrap();
        wrong += 1;
    }
    await_counted(&ccpd, MALFORMED, NETLINK, wrong);
    // NLMSG_NOOP says nothing, which is right.
    module.multicast(&header(4, &1_u16.to_ne_bytes())).unwrap();
    // Another group is not ours.
    for group in [NETLINK_GROUP - 1, NETLINK_GROUP + 1] {
        module.multicast_to(group, &whole).unwrap();
    }
    // Type, flags, sequence number and port of a header are the sender's affair.
    module.multicast(&header(4, &[0xff; 12])).unwrap();
    assert_eq!(module.given(2), (Some(20 * 1448), 0));
    assert_eq!(ccpd.flows().len(), 2);
    assert_eq!(counted(&ccpd, MALFORMED, Some(NETLINK)), wrong);
    ccpd.stop();
}

#[test]
fn root_nobody_else_is_heard_on_netlink() {
    let Some(namespace) = namespace("strangers") else {
        return;
    };
    let ccpd = Process::start(CONFIG, Some(&namespace));
    let module = Module::new(&namespace);
    module.ready();
    module.open(1);
    module.given(1);
    namespace
        .run(|| {
            // Without root, but with the module's socket as well as one of its own.
            set_thread_uid(Uid::from_raw(SOMEBODY)).unwrap();
            let own = Module::here();
            for stranger in [&own, &module] {
                stranger.ready();
                stranger.open(2);
                stranger.say(&MeasureBuf::close(SockId(1)));
            }
            assert_eq!(own.told(Duration::from_millis(200)), None);
        })
        .unwrap();
    assert_eq!(ccpd.flows().len(), 1);
    ccpd.await_log("only the kernel and root are heard on netlink, not user 64003");
    // Three datagrams from each of two sockets.
    await_counted(&ccpd, "ccpd_refusals_total", ("why", "not_root"), 6);
    module.open(3);
    assert_eq!(module.given(3), (Some(20 * 1448), 0));
    ccpd.stop();
}

#[test]
fn root_an_overrun_is_said_and_survived() {
    let Some(namespace) = namespace("overrun") else {
        return;
    };
    let mut ccpd = Process::start(CONFIG, Some(&namespace));
    let module = Module::new(&namespace);
    module.ready();
    module.open(1);
    module.given(1);
    ccpd.signal(Signal::STOP);
    let report = wrapped(&report(1, 110));
    // More than its socket holds.
    let overrun = (0..40_000).find(|_| module.multicast(&report).is_err());
    assert_eq!(overrun, None, "who speaks to a group does not hear of it");
    ccpd.signal(Signal::CONT);
    ccpd.await_log("datagrams on netlink came faster than they were read: some were lost");
    assert!(counted(&ccpd, "ccpd_netlink_overruns_total", None) >= 1);
    // What comes until it has read all that fitted is lost as well. A flow is announced until it is answered.
    let answered = within(PATIENCE, || {
        module.open(2);
        module.told(Duration::from_millis(100))
    });
    assert!(answered.is_some());
    assert_eq!(ccpd.flows().len(), 2);
    ccpd.stop();
}

#[test]
fn root_a_module_may_come_and_go() {
    let Some(namespace) = namespace("again") else {
        return;
    };
    let ccpd = Process::start(CONFIG, Some(&namespace));
    // It was there before the daemon: it does not say READY again.
    let first = Module::new(&namespace);
    first.open(1);
    let (window, installs) = first.given(1);
    assert_eq!((window, installs >= 1), (Some(20 * 1448), true));
    // It is loaded again: its flows of before are gone.
    first.ready();
    first.open(9);
    assert!(first.given(9).1 >= 1);
    let flows = ccpd.await_flows(|flows| flows.len() == 1);
    assert_eq!(flows[0].sock_id, 9);
    // Not being answered is noticed at once.
    drop(first);
    let began = Instant::now();
    let _ = ccpd.ccp(&["set", &flows[0].flow.to_string(), "wide"]);
    ccpd.await_flows(<[_]>::is_empty);
    assert!(began.elapsed() < Duration::from_secs(4));
    ccpd.stop();
}

#[test]
fn root_without_the_right_it_does_not_start() {
    let Some(namespace) = namespace("rights") else {
        return;
    };
    let without = |command: &mut Command| {
        let program = command.get_program().to_owned();
        let args: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        let mut wrapped = Command::new("setpriv");
        wrapped.args(["--bounding-set=-all", "--inh-caps=-all"]);
        wrapped.arg(program).args(args);
        *command = wrapped;
    };
    let mut ccpd = Process::launch(CONFIG, Some(&namespace), without);
    assert_eq!(ccpd.wait().code(), Some(3));
}

/// What stands for the module here is what portus takes for it.
#[test]
fn root_portus_hears_the_same() {
    let Some(namespace) = namespace("portus") else {
        return;
    };
    namespace
        .run(|| {
            use portus::ipc::{Blocking, netlink::Socket};
            // First: its port is that of the process.
            let agent = Socket::<Blocking>::new().expect("a socket of portus");
            let module = Module::here();
            let create = create(1).to_frame().unwrap();
            for frame in [&create, &report(1, 3)] {
                module.multicast(&wrapped(frame)).unwrap();
                let mut heard = [0; 1024];
                let (len, ()) = agent.recv(&mut heard).unwrap();
                assert_eq!(heard[..len], frame[..]);
            }
            // There is no module: it is told so, as ccpd is.
            assert!(agent.send(&create, &()).is_err());
        })
        .unwrap();
}
