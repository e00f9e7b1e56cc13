//! The command `ccp`: what it prints and how it exits.

use std::process::{Command, Output};

use ccp_tests::binaries;

fn ccp(arguments: &[&str]) -> Output {
    Command::new(binaries::ccp())
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn without_a_daemon_it_says_where_it_looked() {
    for arguments in [
        &["--socket", "/nonexistent/c.sock", "flows"][..],
        &["flows", "--json", "--socket", "/nonexistent/c.sock"],
    ] {
        let output = ccp(arguments);
        assert_eq!(output.status.code(), Some(1));
        assert_eq!(text(&output.stdout), "");
        assert_eq!(
            text(&output.stderr),
            "ccp: no ccpd listens on /nonexistent/c.sock: is it running, and is `ccpd.control` in its \
             configuration this path?: No such file or directory (os error 2)\n"
        );
    }
}

#[test]
fn wrong_usage_exits_with_two() {
    for arguments in [&[][..], &["flow"], &["flows", "--yaml"], &["flows", "x"]] {
        let output = ccp(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert_eq!(text(&output.stdout), "");
        assert!(text(&output.stderr).contains("Usage"), "{arguments:?}");
    }
}

#[test]
fn help_goes_to_standard_output() {
    let output = ccp(&["flows", "--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    assert!(
        help.contains("--json") && help.contains("--socket <PATH>"),
        "{help}"
    );
    assert!(help.contains("[default: /run/ccpd/control.sock]"), "{help}");
}
