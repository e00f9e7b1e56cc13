//! `ccp show`: everything about one flow.

use ccp_control::FlowOrigin;

use super::{Daemon, json, text};

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_one_flow_is_shown() {
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    fake.open(5, 40_000);
    let (uid, _) = fake.started(5);
    fake.report(5, uid, &[30_000]);
    assert_eq!(fake.window(5), 30_000);
    let mut client = daemon.client().await;
    let flow = client.flows().await.unwrap()[0].flow;

    let detail = client.show(flow).await.unwrap();
    assert_eq!(
        (detail.status.cwnd_bytes, detail.status.reports),
        (30_000, 1)
    );
    assert_eq!(
        (detail.origin, detail.init_cwnd_bytes),
        (FlowOrigin::New, 14_480)
    );
    assert_eq!(
        (detail.rules.rule, &*detail.rules.algorithm),
        (None, "echo")
    );
    assert_eq!((detail.rules.rules.len(), detail.by_hand), (1, false));
    assert_eq!(
        (detail.kind.as_deref(), detail.program_uid),
        (Some("echo"), Some(uid))
    );
    assert!(detail.program_instructions.unwrap() > 0);
    assert!(detail.status.age_us > 0);
    let report = detail.last_report.unwrap();
    assert_eq!(
        (&*report.program, &*report.fields),
        ("echo", &[("value".to_owned(), 30_000)][..])
    );

    client.set(flow, "few", &[]).await.unwrap();
    fake.started(5);
    let shown = json(&daemon.ccp(&["show", &flow.to_string(), "--json"]));
    assert_eq!(shown["status"]["algorithm"], "few");
    assert_eq!(shown["by_hand"], true);
    assert_eq!(shown["parameters"]["cwnd_packets"], "4");
    assert_eq!(shown["rules"]["algorithm"], "echo");
    let shown = text(&daemon.ccp(&["show", &flow.to_string()]).stdout);
    let because = "given few by hand, instead of no rule fits: the default (echo)";
    assert!(shown.contains(because), "{shown}");
    assert!(shown.contains("    value  30000"), "{shown}");

    let none = daemon.ccp(&["show", "4711"]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(text(&none.stderr), "ccp: there is no such flow\n");
    daemon.stop().await;
}
