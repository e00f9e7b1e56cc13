//! `ccp log-level`: what is logged.

use std::time::Duration;

use serde_json::Value;

use super::fake::Fake;
use super::{Daemon, Process, text};

#[test]
fn what_is_logged_is_changed_under_way() {
    let process = Process::start("");
    let level = |arguments: &[&str]| {
        let output = process.ccp(&[&["log-level"], arguments].concat());
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    assert_eq!(level(&[]), (Some(0), "info\n".to_owned(), String::new()));
    let open = |port| {
        let fake = Fake::ready(
            &process.dir.path().join("datapath.sock"),
            &format!("p{port}"),
        );
        fake.open(1, port);
        fake
    };
    let _one = open(1001);
    assert_eq!(level(&["info,ccpd::datapath=debug"]).0, Some(0));
    let _two = open(1002);
    let told = ccp_tests::within(Duration::from_secs(10), || {
        process.log().contains("192.0.2.7:1002").then_some(())
    });
    assert!(told.is_some(), "{}", process.log());
    assert!(
        !process.log().contains("192.0.2.7:1001"),
        "{}",
        process.log()
    );
    let now: Value = serde_json::from_str(&level(&["--json"]).1).unwrap();
    let filter = now["filter"].as_str().unwrap();
    assert!(
        filter.contains("ccpd::datapath=debug") && filter.contains("info"),
        "{filter}"
    );
    let (code, _, why) = level(&["ccpd=loud"]);
    assert_eq!(code, Some(1));
    assert!(
        why.starts_with("ccp: `ccpd=loud` is no filter: expected levels"),
        "{why}"
    );
    assert_eq!(
        level(&["warn"]),
        (Some(0), "warn\n".to_owned(), String::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_within_another_program_leaves_its_log_alone() {
    let daemon = Daemon::start("").await;
    let refused = daemon.ccp(&["log-level"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("is not its own"),
        "{refused:?}"
    );
    daemon.stop().await;
}
