//! A file in the datapath language steers kernel TCP, without any agent.

use std::{fs, time::Duration};

use ccp_lab::{Bulk, EmulatedLink, Namespace, Pipe, Until};
use ccp_tests::{KernelTest, Setup, within};

const AIMD: &str = include_str!("../../config/programs/aimd.ccp");

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Fills a bottleneck with a queue of one window, loses, and goes on: throughput near the link's, some
/// losses, and a window around what the path holds.
#[test]
fn root_the_sample_program_fills_a_bottleneck() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    // 20 Mbit/s · 20 ms: 50 kB on the way, and as much in the queue.
    let pipe = Pipe::new(20_000_000, ms(10)).queue_bytes(50_000);
    let link = EmulatedLink::new(&client, &server, pipe)?;
    let setup = Setup::new(
        "[algorithms.mine]\nkind = \"program\"\nfile = \"mine.ccp\"\nown_recovery = true\n\n\
         [policy]\ndefault = \"mine\"\n",
    );
    fs::write(setup.dir().join("mine.ccp"), AIMD)?;
    let daemon = setup.start(&client);
    let flow =
        Bulk::new(Until::Stopped)
            .congestion(setup.name())
            .start(&client, &server, link.b_v4())?;
    let line = daemon.await_flow(&flow, ms(2000), |line| line.state == "running");
    assert_eq!(line.algorithm, "mine");
    std::thread::sleep(ms(1000));
    let (start, from) = (std::time::Instant::now(), flow.info()?.bytes_acked);
    std::thread::sleep(ms(4000));
    let info = flow.info()?;
    let bps = (info.bytes_acked - from) as f64 * 8.0 / start.elapsed().as_secs_f64();
    let line = daemon.flow(&flow).expect("the flow is listed");
    println!("{bps} bit/s, {line:?}, {info:?}");
    assert!((15e6..20.5e6).contains(&bps), "{bps} bit/s of 20 Mbit/s");
    assert!(info.retransmits > 0, "it never filled the queue: {info:?}");
    assert!(line.reports > 20, "{line:?}");
    // The window is the program's: between half and all of path and queue, give or take.
    let sane = within(ms(2000), || {
        let cwnd = daemon.flow(&flow)?.cwnd_bytes;
        (20_000..150_000).contains(&cwnd).then_some(())
    });
    assert!(sane.is_some(), "{:?}", daemon.flow(&flow));
    flow.stop();
    let report = flow.wait()?;
    assert!(report.bytes > 0);
    Ok(())
}

/// Parameters are control variables: this program's window is what its parameter says.
#[test]
fn root_parameters_reach_the_program() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let pipe = Pipe::new(20_000_000, ms(10)).queue_bytes(200_000);
    let link = EmulatedLink::new(&client, &server, pipe)?;
    let setup = Setup::new(
        "[algorithms.fixed]\nkind = \"program\"\npackets = 7\nsource = '''\n\
         (def (Report (cwnd 0)) (packets 1))\n\
         (when true (:= Cwnd (* packets Flow.mss)) (:= Report.cwnd Cwnd))\n'''\n\n\
         [policy]\ndefault = \"fixed\"\n",
    );
    let daemon = setup.start(&client);
    let flow =
        Bulk::new(Until::Stopped)
            .congestion(setup.name())
            .start(&client, &server, link.b_v4())?;
    daemon.await_flow(&flow, ms(2000), |line| line.state == "running");
    let seven = within(ms(3000), || {
        (flow.info().ok()?.cwnd_packets == 7).then_some(())
    });
    assert!(seven.is_some(), "{:?}", flow.info()?);
    Ok(())
}
