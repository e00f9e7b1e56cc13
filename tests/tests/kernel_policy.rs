//! Which flow gets what, and what `ccp flows` tells of it.

use std::time::Duration;

use ccp_lab::{Bulk, Namespace, RunningFlow, Until, VethLink, VethSpec};
use ccp_tests::{KernelTest, Setup, within};

const PATIENCE: Duration = Duration::from_secs(3);

#[test]
fn root_rules_give_flows_their_algorithms_all_at_once() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::limited(100_000_000))?;
    let (v4, v6) = (link.b_v4(), link.b_v6());
    let setup = Setup::new(&format!(
        r#"
[algorithms.slow]
kind = "constant"
cwnd_packets = 7
rate_mbit = 4

[algorithms.reno]

[algorithms.six]
kind = "constant"
cwnd_packets = 9
rate_mbit = 6

[policy]
default = "reno"

[[policy.rule]]
match = {{ netns = "any", dst = "{v4}/32", dst_port = "5000-5009" }}
algorithm = "slow"

[[policy.rule]]
match = {{ netns = "any", dst = "fd00::/16", dst_port = 5000 }}
algorithm = "six"
"#
    ));
    let daemon = setup.start(&client);
    let start = |to, port| {
        Bulk::new(Until::Stopped)
            .congestion(setup.name())
            .port(port)
            .start(&client, &server, to)
    };
    // The first and the last port of a range, and those beside them.
    let cases = [
        (start(v4, 5000)?, "slow", Some(7)),
        (start(v4, 5009)?, "slow", Some(7)),
        (start(v4, 4999)?, "reno", None),
        (start(v4, 5010)?, "reno", None),
        (start(v6, 5000)?, "six", Some(9)),
        (start(v6, 5001)?, "reno", None),
    ];
    let foreign = Bulk::new(Until::Stopped)
        .congestion("cubic")
        .start(&client, &server, v4)?;
    for (flow, algorithm, packets) in &cases {
        let line = daemon.await_flow(flow, PATIENCE, |line| line.state == "running");
        assert_eq!(line.algorithm, *algorithm, "{line:?}");
        assert_eq!(line.datapath, setup.name());
        assert_eq!((line.src, line.dst), (flow.local(), flow.peer()));
        assert!(line.updates > 0, "{line:?}");
        let windows = || flow.info().map(|info| info.cwnd_packets);
        if let Some(packets) = packets {
            let reached = within(PATIENCE, || windows().ok().filter(|w| w == packets));
            assert!(reached.is_some(), "{line:?} has {:?}", windows());
        }
    }
    // All are known, each once, and nothing else is.
    let lines = daemon.flows();
    assert_eq!(lines.len(), cases.len(), "{lines:#?}");
    let mut ids: Vec<u32> = lines.iter().map(|line| line.sock_id).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), cases.len(), "{lines:#?}");
    assert!(daemon.flow(&foreign).is_none());

    // Algorithms that follow the network get reports; `ccp flows` knows the round-trip time.
    let reno = &cases[2].0;
    let line = daemon.await_flow(reno, PATIENCE, |line| line.reports >= 10);
    assert!(
        line.rtt_us > 0 && line.rtt_us < 1_000_000,
        "a round-trip time: {line:?}"
    );
    // A person's table has the same flows.
    let table = daemon.ccp(&["flows"]);
    assert_eq!(table.lines().count(), cases.len() + 1, "{table}");

    let flows: Vec<RunningFlow> = cases.into_iter().map(|(flow, ..)| flow).collect();
    flows.iter().for_each(RunningFlow::stop);
    for flow in flows {
        flow.wait()?;
    }
    let gone = within(PATIENCE, || daemon.flows().is_empty().then_some(()));
    assert!(gone.is_some(), "{:#?}", daemon.flows());
    Ok(())
}
