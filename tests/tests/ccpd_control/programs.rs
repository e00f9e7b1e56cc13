//! `ccp programs`: what datapaths run.

use serde_json::Value;

use super::fake::Fake;
use super::{Daemon, json, text};

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_are_listed_and_printed() {
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    fake.open(1, 1);
    let (uid, _) = fake.started(1);
    // The same once more: several peers are one line.
    let mut other = Fake::ready(&daemon.path("datapath.sock"), "other");
    other.open(1, 2);
    other.started(1);
    let all = json(&daemon.ccp(&["programs", "--json"]));
    let all = all.as_array().unwrap();
    let named = |name: &str| all.iter().find(|p| p["name"] == name).unwrap();
    let echo = named("echo");
    assert_eq!(
        (echo["uid"].as_u64(), echo["flows"].as_u64()),
        (Some(uid.into()), Some(2))
    );
    assert_eq!(
        (echo["peers"].as_u64(), &echo["faults"]),
        (Some(2), &Value::Null)
    );
    assert_eq!(echo["algorithms"][0], "echo");
    assert!(echo["instructions"].as_u64().unwrap() > 0);
    assert_eq!(named("fragile")["flows"], 0);
    // Ours, for flows that nobody steers.
    assert_eq!(named("native")["algorithms"].as_array().unwrap().len(), 0);

    let shown = daemon.ccp(&["programs", "show", "echo"]);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("# reports: value\n# control variables: tag\n"),
        "{shown}"
    );
    assert!(
        shown.contains("(:= Report.value Ack.bytes_acked)"),
        "{shown}"
    );
    let shown = json(&daemon.ccp(&["programs", "show", &uid.to_string(), "--json"]));
    assert_eq!(shown["status"]["name"], "echo");
    let none = daemon.ccp(&["programs", "show", "vegas"]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(
        text(&none.stderr),
        "ccp: no datapath runs a program `vegas`; there are: echo, fragile, native\n"
    );
    daemon.stop().await;
}
