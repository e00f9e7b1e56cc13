//! With the three capabilities that the service unit leaves to `ccpd`, and no others.

use std::time::Duration;

use ccp_lab::{Bulk, Namespace, Until, VethLink, VethSpec};
use ccp_tests::{KernelTest, Setup, host, within};

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
fn root_three_capabilities_are_enough() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let unit = include_str!("../../config/ccpd.service");
    assert!(unit.contains("\nCapabilityBoundingSet=CAP_BPF CAP_PERFMON CAP_NET_ADMIN\n"));
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::limited(100_000_000))?;
    let setup = Setup::new(
        "[algorithms.usual]\nkind = \"constant\"\ncwnd_packets = 5\n\
         [algorithms.fixed]\nkind = \"constant\"\ncwnd_packets = 7\n\
         [policy]\ndefault = \"usual\"\n\
         [[policy.rule]]\nmatch = { netns = \"any\", cgroup = \"/\" }\nalgorithm = \"fixed\"\n",
    );
    let daemon = setup.start_within(
        &client,
        &[
            "setpriv",
            "--bounding-set=-all,+bpf,+perfmon,+net_admin",
            "--inh-caps=-all",
            "--no-new-privs",
        ],
    );
    let flow =
        Bulk::new(Until::Stopped)
            .congestion(setup.name())
            .start(&client, &server, link.b_v4())?;
    let steered = within(PATIENCE, || {
        (flow.info().ok()?.cwnd_packets == 7).then_some(())
    });
    assert!(steered.is_some(), "{:?}", flow.info());
    // A clean stop reaches the flows of its own namespace.
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.log);
    assert!(!ended.log.contains("unreached"), "{}", ended.log);
    assert!(!host::is_available(setup.name()));
    flow.stop();
    assert_eq!(flow.wait()?.congestion, "cubic");
    Ok(())
}
