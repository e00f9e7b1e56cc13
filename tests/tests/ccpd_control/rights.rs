//! Who may look, and who may change something.

use std::os::unix::process::CommandExt as _;
use std::process::Command;
use std::time::Duration;

use ccp_tests::binaries;

use super::fake::Fake;
use super::{Process, json, text};

#[test]
fn root_others_may_look_and_change_nothing() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("SKIPPED: only root can be another user");
        return;
    }
    let process = Process::start("control_mode = '0666'\n");
    let copy = process.dir.path().join("ccp");
    std::fs::copy(binaries::ccp(), &copy).unwrap();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command
            .arg("--socket")
            .arg(process.dir.path().join("control.sock"))
            .args(arguments)
            .current_dir("/")
            .uid(65_534)
            .gid(65_534);
        // A process that another test is starting may still have the copy open for writing.
        let started = ccp_tests::within(Duration::from_secs(10), || match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            other => Some(other),
        });
        started.expect("a copy that nobody writes to").unwrap()
    };
    let mut fake = Fake::ready(&process.dir.path().join("datapath.sock"), "peer");
    fake.open(1, 1);
    fake.started(1);
    let flows = json(&nobody(&["flows", "--json"]));
    let flow = flows[0]["flow"].to_string();
    for look in [
        &["show", &flow][..],
        &["watch", "--for", "100ms"],
        &["programs"],
        &["programs", "show", "reno_base"],
        &["algorithms"],
        &["log-level"],
    ] {
        let looked = nobody(look);
        assert_eq!(
            looked.status.code(),
            Some(0),
            "{look:?}: {}",
            text(&looked.stderr)
        );
    }
    for change in [
        &["log-level", "trace"][..],
        &["set", &flow, "native"],
        &["reload"],
    ] {
        let refused = nobody(change);
        assert_eq!(refused.status.code(), Some(1), "{change:?}");
        assert_eq!(
            text(&refused.stderr),
            "ccp: only root and the user that ccpd runs as may change what it does\n"
        );
    }
    assert_eq!(text(&process.ccp(&["log-level"]).stdout), "info\n");
}
