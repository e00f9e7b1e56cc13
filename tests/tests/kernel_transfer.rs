//! Much, and many: what is sent arrives, and what ends is returned.

use std::time::Duration;

use ccp_lab::{Bulk, Namespace, ShortFlows, Until, VethLink, VethSpec};
use ccp_tests::{KernelTest, Setup, within};

const PATIENCE: Duration = Duration::from_secs(3);

/// The receiver compares every byte with what was sent at its place, which is more than a hash would tell.
#[test]
fn root_a_gigabyte_arrives_intact_with_a_report_on_every_acknowledgement() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(90)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::limited(3_000_000_000))?;
    let setup = Setup::new(
        r#"
[algorithms.reno]
report = "ack"

[policy]
default = "reno"
"#,
    );
    let daemon = setup.start(&client);
    let bytes = 1_000_000_000;
    let flow = Bulk::new(Until::Bytes(bytes))
        .congestion(setup.name())
        .sample_every(Duration::from_millis(20))
        .start(&client, &server, link.b_v4())?;
    let mut counts = vec![daemon.await_flow(&flow, PATIENCE, |line| line.reports > 0)];
    let early = (counts[0].reports, flow.info()?.segments_received);
    let all = within(Duration::from_secs(60), || {
        counts.extend(daemon.flow(&flow));
        (flow.bytes_received() == bytes).then_some(())
    });
    assert!(all.is_some(), "{} bytes arrived", flow.bytes_received());
    // The last acknowledgements and their reports are on their way.
    let settled = within(PATIENCE, || {
        counts.extend(daemon.flow(&flow));
        let [.., before, last] = &counts[..] else {
            return None;
        };
        (before.reports == last.reports).then_some(last.reports)
    });
    let reports = settled.expect("reports end when traffic does") - early.0;
    let acknowledgements = flow.info()?.segments_received - early.1;
    let report = flow.wait()?;
    println!(
        "{:.0} Mbit/s in {:?}, {reports} reports on {acknowledgements} acknowledgements",
        report.goodput_bps() / 1e6,
        report.duration,
    );
    assert_eq!(report.bytes, bytes);
    assert_eq!(report.congestion, setup.name());
    assert!(
        counts.len() >= 3,
        "asked at least three times while it ran: {counts:#?}"
    );
    assert!(
        counts.iter().all(|line| line.state == "running"),
        "{counts:#?}"
    );
    assert!(
        counts.windows(2).all(|c| c[0].reports <= c[1].reports),
        "never fewer: {counts:#?}"
    );
    // The program runs on each acknowledgement and asks for a report each time. What the socket receives is
    // acknowledgements; a few are counted on one side only, since both were read under way.
    let ratio = reports as f64 / f64::from(acknowledgements);
    assert!(acknowledgements > 1000, "{acknowledgements}");
    assert!(
        (0.95..1.05).contains(&ratio),
        "{reports} reports on {acknowledgements} acknowledgements"
    );
    Ok(())
}

#[test]
fn root_two_hundred_flows_come_and_go_through_sixteen_places() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::unlimited())?;
    let config = "[algorithms.reno]\n\n[policy]\ndefault = \"reno\"\n";
    let keys = "namespaces = \"any\"\nmax_flows = 16\nmax_flows_per_namespace = 16";
    let setup = Setup::with_datapath(keys, config);
    let daemon = setup.start(&client);
    // Eight at a time, so places are free as long as each is returned when its flow ends. A place that were
    // not returned would be missing after sixteen flows: the next would run natively.
    for to in [link.b_v4(), link.b_v6()] {
        let report = ShortFlows::new(200, 30_000)
            .at_once(8)
            .congestion(setup.name())
            .run(&client, &server, to)?;
        assert_eq!(report.completed, 200, "{:?}", report.failures);
        assert_eq!(report.bytes, 6_000_000);
        let ours = report.congestion.get(setup.name());
        assert_eq!(ours, Some(&200), "{:?}", report.congestion);
        let gone = within(PATIENCE, || daemon.flows().is_empty().then_some(()));
        assert!(gone.is_some(), "{:#?}", daemon.flows());
    }

    // Sixteen at once all get a place; the seventeenth runs natively, and is steered as little as it is hurt.
    let flow = Bulk::new(Until::Stopped).congestion(setup.name());
    let mut flows = flow.start_many(16, &client, &server, link.b_v4())?;
    let all = within(PATIENCE, || {
        let lines = daemon.flows();
        (lines.len() == 16 && lines.iter().all(|line| line.state == "running")).then_some(())
    });
    assert!(all.is_some(), "{:#?}", daemon.flows());
    let beyond = flow.start(&client, &server, link.b_v4())?;
    assert_eq!(beyond.congestion()?, "cubic");
    assert!(daemon.flow(&beyond).is_none());
    // One ends: its place is the next one's.
    let ended = flows.pop().expect("sixteen");
    ended.stop();
    ended.wait()?;
    let fewer = within(PATIENCE, || (daemon.flows().len() == 15).then_some(()));
    assert!(fewer.is_some(), "{:#?}", daemon.flows());
    let next = within(PATIENCE, || {
        let flow = flow.start(&client, &server, link.b_v4()).ok()?;
        (flow.congestion().ok()? == setup.name()).then_some(flow)
    });
    let next = next.expect("a flow in the place that became free");
    daemon.await_flow(&next, PATIENCE, |line| line.state == "running");
    beyond.stop();
    beyond.wait()?;
    Ok(())
}
