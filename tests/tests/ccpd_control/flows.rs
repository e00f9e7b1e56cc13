//! `ccp flows`: many of them, in order and in pages.

use ccp_control::{FlowOrder, Selection};
use serde_json::Value;

use super::{Daemon, json};

#[tokio::test(flavor = "multi_thread")]
async fn many_flows_come_in_order_and_in_pages() {
    const FLOWS: u16 = 1_000;
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    for flow in 1..=FLOWS {
        fake.open(flow.into(), flow);
        let (uid, _) = fake.started(flow.into());
        fake.report(flow.into(), uid, &[u64::from(flow) * 1_000]);
        fake.window(flow.into());
    }
    let mut client = daemon.client().await;
    assert_eq!(client.flows().await.unwrap().len(), usize::from(FLOWS));
    let top = Selection {
        order: Some(FlowOrder::Cwnd),
        limit: Some(300),
        ..Selection::default()
    };
    let selected = client.select(&top).await.unwrap();
    assert_eq!(selected.matching, u64::from(FLOWS));
    let windows: Vec<u64> = selected.flows.iter().map(|f| f.cwnd_bytes).collect();
    let expected: Vec<u64> = (701..=1_000).rev().map(|flow| flow * 1_000).collect();
    assert_eq!(windows, expected);

    let found = json(&daemon.ccp(&["flows", "--json", "--filter", "ECHO", "--filter", ".7:77"]));
    let found = found.as_array().unwrap();
    let ports: Vec<&str> = found.iter().map(|f| f["src"].as_str().unwrap()).collect();
    assert_eq!(ports.len(), 11, "77 and 770 to 779: {ports:?}");
    let few = json(&daemon.ccp(&["flows", "--json", "--sort", "cwnd", "--limit", "2"]));
    assert_eq!(few[0]["cwnd_bytes"], 1_000_000);
    assert_eq!(
        (few[1]["cwnd_bytes"].as_u64(), &few[2]),
        (Some(999_000), &Value::Null)
    );
    daemon.stop().await;
}
