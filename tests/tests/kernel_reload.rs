//! The configuration changes, and a flow is given another algorithm by hand, while kernel TCP sends.

use std::time::Duration;

use ccp_lab::{Bulk, Namespace, Until, VethLink, VethSpec};
use ccp_tests::{KernelTest, Setup, within};

const PATIENCE: Duration = Duration::from_secs(5);

fn rules(packets: u64) -> String {
    format!(
        "[algorithms.fixed]\nkind = \"constant\"\ncwnd_packets = {packets}\n\
         [algorithms.cubic]\n[policy]\ndefault = \"fixed\"\n"
    )
}

#[test]
fn root_flows_follow_a_new_configuration_without_a_break() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::limited(100_000_000))?;
    let keys = "namespaces = \"any\"";
    let setup = Setup::with_datapath(keys, &rules(7));
    let mut daemon = setup.start(&client);
    let flow =
        Bulk::new(Until::Stopped)
            .congestion(setup.name())
            .start(&client, &server, link.b_v4())?;
    let window = |packets| {
        let reached = within(PATIENCE, || {
            let now = flow.info().ok()?.cwnd_packets;
            (now == packets).then_some(())
        });
        assert!(reached.is_some(), "not {packets} but {:?}", flow.info());
    };
    window(7);
    setup.write(keys, &rules(12));
    daemon.hang_up();
    window(12);

    // A wrong file is refused, with the line; the flow goes on as it was.
    setup.write(keys, &rules(0));
    daemon.hang_up();
    let refused = within(PATIENCE, || {
        let log = setup.log();
        log.contains("cwnd_packets = 0: must be 1 to 1000000")
            .then_some(())
    });
    assert!(refused.is_some(), "{}", setup.log());
    window(12);

    let line = daemon.await_flow(&flow, PATIENCE, |line| line.state == "running");
    let name = line.flow.to_string();
    let none = daemon.ccp(&["set", &name, "fixed", "cwnd_packets=9"]);
    assert_eq!(none, "");
    window(9);
    assert_eq!(daemon.ccp(&["set", &name, "cubic"]), "");
    let line = daemon.await_flow(&flow, PATIENCE, |l| l.algorithm == "cubic" && l.reports > 3);
    assert_eq!(line.state, "running");
    assert_eq!(daemon.ccp(&["set", &name, "native"]), "");
    daemon.await_flow(&flow, PATIENCE, |l| {
        l.algorithm == "native" && l.state == "native"
    });
    setup.write(keys, &rules(11));
    let said = daemon.ccp(&["reload"]);
    assert_eq!(said, "2 algorithms (new or changed: fixed), 0 rules\n");
    window(11);
    flow.stop();
    assert!(flow.wait()?.bytes > 0);
    Ok(())
}
