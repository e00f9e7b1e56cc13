//! Whose flows are taken.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread::JoinHandle,
    time::Duration,
};

use ccp_lab::{Bulk, Namespace, Until, congestion_of, set_congestion};
use ccp_tests::{KernelTest, Setup, within};

const PATIENCE: Duration = Duration::from_secs(3);
const CONFIG: &str = r#"
[algorithms.slow]
kind = "constant"
cwnd_packets = 11

[policy]
default = "slow"
"#;

/// A connection over the loopback of the machine's initial namespace, where this process is.
struct HostFlow {
    sender: TcpStream,
    receiver: Option<JoinHandle<u64>>,
}

impl HostFlow {
    fn start(name: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sender = TcpStream::connect(listener.local_addr()?)?;
        let (mut stream, _) = listener.accept()?;
        sender.set_write_timeout(Some(PATIENCE))?;
        let receiver = std::thread::spawn(move || {
            let (mut buffer, mut sum) = (vec![0; 65_536], 0);
            while let Ok(n @ 1..) = stream.read(&mut buffer) {
                sum += n as u64;
            }
            sum
        });
        let flow = Self {
            sender,
            receiver: Some(receiver),
        };
        // Under way already: the algorithm may change at any time.
        set_congestion(&flow.sender, name)?;
        Ok(flow)
    }

    fn send(&mut self, bytes: usize) -> std::io::Result<()> {
        self.sender.write_all(&vec![7; bytes])
    }

    fn local(&self) -> SocketAddr {
        self.sender.local_addr().expect("connected")
    }

    fn end(mut self) -> u64 {
        self.sender
            .shutdown(std::net::Shutdown::Write)
            .expect("connected");
        let receiver = self.receiver.take().expect("not ended yet");
        receiver.join().expect("the receiver")
    }
}

#[test]
fn root_initial_means_the_machines_namespace_and_others_run_natively() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let ns = Namespace::new("other")?;
    // "initial" is the default. The daemon itself may be anywhere.
    let setup = Setup::with_datapath("", CONFIG);
    let daemon = setup.start(&ns);

    let mut host = HostFlow::start(setup.name())?;
    let running = within(PATIENCE, || {
        host.send(100_000).expect("it sends");
        let mut lines = daemon.flows().into_iter();
        lines.find(|line| line.src == host.local() && line.state == "running")
    });
    assert!(running.is_some(), "{:#?}", daemon.flows());
    assert_eq!(congestion_of(&host.sender)?, setup.name());

    let localhost = std::net::Ipv4Addr::LOCALHOST;
    let other = Bulk::new(Until::Bytes(5_000_000))
        .congestion(setup.name())
        .start(&ns, &ns, localhost)?;
    assert_eq!(other.congestion()?, "cubic", "handed to the system's own");
    assert!(daemon.flow(&other).is_none());
    let report = other.wait()?;
    assert_eq!(
        (report.bytes, report.congestion.as_str()),
        (5_000_000, "cubic")
    );

    host.send(1_000_000)?;
    assert!(host.end() >= 1_100_000);
    Ok(())
}

#[test]
fn root_any_takes_the_flows_of_every_namespace() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (one, two) = (Namespace::new("one")?, Namespace::new("two")?);
    let setup = Setup::with_datapath("namespaces = \"any\"", CONFIG);
    let daemon = setup.start(&one);
    // The same addresses and ports in both: told apart all the same.
    let localhost = std::net::Ipv4Addr::LOCALHOST;
    let bulk = Bulk::new(Until::Stopped)
        .congestion(setup.name())
        .port(5000);
    let flows = [
        bulk.start(&one, &one, localhost)?,
        bulk.start(&two, &two, localhost)?,
    ];
    for flow in &flows {
        daemon.await_flow(flow, PATIENCE, |line| line.state == "running");
        let windows = || flow.info().map(|info| info.cwnd_packets);
        let reached = within(PATIENCE, || windows().ok().filter(|&w| w == 11));
        assert!(reached.is_some(), "{:?}", windows());
    }
    let lines = daemon.flows();
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert_ne!(lines[0].sock_id, lines[1].sock_id);

    let mut host = HostFlow::start(setup.name())?;
    let running = within(PATIENCE, || {
        host.send(100_000).expect("it sends");
        let mut lines = daemon.flows().into_iter();
        lines.find(|line| line.src == host.local() && line.state == "running")
    });
    assert!(running.is_some(), "{:#?}", daemon.flows());
    host.end();
    Ok(())
}
