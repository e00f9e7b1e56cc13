//! The units of `config/` under a systemd that is booted for it.

use std::{path::Path, process::Command, time::Duration};

use ccp_tests::{KernelTest, binaries};

/// What the script says where it can't boot one.
const NOT_HERE: i32 = 3;

#[test]
fn root_the_units_do_what_they_say_under_a_booted_systemd() {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(300)) else {
        return;
    };
    let scripts = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts"));
    let output = Command::new(scripts.join("boot-systemd"))
        .arg(binaries::directory())
        .output()
        .expect("the script can be started");
    let (said, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    println!("{said}");
    if output.status.code() == Some(NOT_HERE) {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{errors}; with CI=true no test may be skipped"
        );
        eprintln!("{errors}");
        return;
    }
    assert!(output.status.success(), "{said}{errors}");
    // The last thing that it looks at.
    assert!(said.ends_with("ok: a stop of both leaves nothing behind\n"));
}
