//! What cannot be done is refused by name, with what to do about it.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    process::Command,
    time::Duration,
};

use ccp_lab::Namespace;
use ccp_tests::{Ended, KernelTest, Setup, binaries, host, unique_name};

const CONFIG: &str = "[algorithms.reno]\n\n[policy]\ndefault = \"reno\"\n";
/// The exit codes: it failed; the configuration is wrong; it is not possible here.
const FAILED: i32 = 1;
const WRONG: i32 = 2;
const NOT_HERE: i32 = 3;

fn assert_refused(ended: &Ended, code: i32, texts: &[&str]) {
    assert_eq!(ended.code(), code, "{}", ended.log);
    for text in texts {
        assert!(
            ended.log.contains(text),
            "no `{text}` in the refusal:\n{}",
            ended.log
        );
    }
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
}

#[test]
fn root_a_name_belongs_to_one() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let ns = Namespace::new("refusals")?;
    let setup = Setup::new(CONFIG);
    let daemon = setup.start(&ns);

    // The same name from another configuration, with a control socket of its own.
    let second = Setup::new(CONFIG);
    let text = fs::read_to_string(second.config())?.replace(second.name(), setup.name());
    fs::write(second.config(), text)?;
    let refused = second.refused(&ns);
    assert_refused(
        &refused,
        FAILED,
        &[setup.name(), "another process", "another name"],
    );
    // The same control socket under another name.
    let text = fs::read_to_string(setup.config())?.replace(setup.name(), &unique_name());
    fs::write(second.config(), text)?;
    let refused = second.refused(&ns);
    let socket = setup.socket();
    assert_refused(&refused, FAILED, &[&socket.to_string_lossy()]);
    // A name of the kernel's own.
    let text = fs::read_to_string(Setup::new(CONFIG).config())?;
    let name = text.lines().find(|line| line.starts_with("name"));
    let text = text.replace(name.expect("a name"), "name = \"reno\"");
    fs::write(second.config(), text)?;
    let refused = second.refused(&ns);
    assert_refused(&refused, FAILED, &["`reno` is taken", "another name"]);

    // The first one is none the worse.
    assert!(daemon.flows().is_empty());
    assert!(host::is_available(setup.name()) && host::is_available("reno"));
    assert_eq!(daemon.stop().code(), 0);
    Ok(())
}

#[test]
fn root_a_wrong_configuration_is_refused_before_anything_happens() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let ns = Namespace::new("refusals")?;
    let available = host::available();
    let setup = Setup::new(CONFIG);
    let good = fs::read_to_string(setup.config())?;
    let longest = "a23456789012345";
    let cases: [(&str, String, &[&str]); 5] = [
        (
            "a name of 16 bytes",
            good.replace(setup.name(), "a234567890123456"),
            &["ccpd.toml:6", "datapath[0].name", "1 to 15"],
        ),
        (
            "a name that the kernel would refuse",
            good.replace(setup.name(), "a/b"),
            &["ccpd.toml:6", "datapath[0].name", "1 to 15"],
        ),
        (
            "an unknown key",
            good.replace("namespaces", "namespace"),
            &["ccpd.toml:7", "`namespace`", "did you mean `namespaces`"],
        ),
        (
            "an algorithm that is not there",
            good.replace("default = \"reno\"", "default = \"remo\""),
            &["`remo`", "`reno`"],
        ),
        (
            "not TOML",
            good.replace("[policy]", "[policy"),
            &["not TOML"],
        ),
    ];
    for (what, text, wanted) in cases {
        println!("{what}");
        fs::write(setup.config(), text)?;
        let refused = setup.refused(&ns);
        println!("{}", refused.log);
        assert_refused(&refused, WRONG, wanted);
        // `--check` says the same.
        let checked = Command::new(binaries::ccpd())
            .args(["--check", "--config"])
            .arg(setup.config())
            .output()?;
        assert_eq!(checked.status.code(), Some(WRONG));
        let said = String::from_utf8_lossy(&checked.stderr).into_owned();
        assert!(wanted.iter().all(|text| said.contains(text)), "{said}");
    }
    assert_eq!(host::available(), available);

    // The last name that works; `--check` does not touch the kernel.
    fs::write(setup.config(), good.replace(setup.name(), longest))?;
    let checked = Command::new(binaries::ccpd())
        .args(["--check", "--config"])
        .arg(setup.config())
        .output()?;
    assert!(
        checked.status.success(),
        "{}",
        String::from_utf8_lossy(&checked.stderr)
    );
    assert_eq!(host::available(), available);
    assert!(!host::is_pinned(longest) && !setup.socket().exists());

    fs::remove_file(setup.config())?;
    let refused = setup.refused(&ns);
    assert_refused(&refused, WRONG, &["ccpd.toml", "No such file"]);
    Ok(())
}

#[test]
fn root_what_this_machine_lacks_is_named() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let ns = Namespace::new("refusals")?;
    let setup = Setup::new(CONFIG);

    // A user who may enter the directory, read the file and make the socket, but is not root. The program is
    // copied: the way to the target directory may be closed to others.
    const NOBODY: u32 = 65_534;
    let program = setup.dir().join("ccpd");
    fs::copy(binaries::ccpd(), &program)?;
    fs::set_permissions(setup.dir(), fs::Permissions::from_mode(0o755))?;
    chown(setup.dir(), Some(NOBODY), Some(NOBODY))?;
    let user = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "sh",
        "-c",
        "shift; exec \"$0\" \"$@\"",
    ];
    let program = program.to_string_lossy();
    let refused = setup.refused_within(&ns, &[&user[..], &[&program]].concat());
    println!("{}", refused.log);
    assert_refused(&refused, NOT_HERE, &["CAP_BPF", "needs root"]);

    // Root without one of the capabilities.
    let without = [
        "setpriv",
        "--bounding-set=-net_admin",
        "--inh-caps=-net_admin",
    ];
    let refused = setup.refused_within(&ns, &without);
    println!("{}", refused.log);
    assert_refused(&refused, NOT_HERE, &["CAP_NET_ADMIN is missing"]);
    assert!(
        !refused.log.contains("CAP_BPF is missing"),
        "{}",
        refused.log
    );

    // A kernel without type information: hidden in a mount namespace of the daemon's own.
    let hidden = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"";
    let refused = setup.refused_within(&ns, &["unshare", "--mount", "sh", "-c", hidden]);
    println!("{}", refused.log);
    assert_refused(
        &refused,
        NOT_HERE,
        &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"],
    );

    assert!(!host::is_available(setup.name()) && !host::is_pinned(setup.name()));
    Ok(())
}

#[test]
fn root_the_command_says_when_there_is_no_daemon() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let ns = Namespace::new("refusals")?;
    let setup = Setup::new(CONFIG);
    let ask = || {
        let output = Command::new(binaries::ccp())
            .arg("--socket")
            .arg(setup.socket())
            .args(["flows", "--json"])
            .output()
            .expect("ccp can be started");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), said)
    };
    let nobody = "no ccpd listens on";
    let (code, said) = ask();
    assert!(code == Some(1) && said.contains(nobody), "{code:?} {said}");

    let daemon = setup.start(&ns);
    assert_eq!(ask().0, Some(0));
    let mode = fs::metadata(setup.socket())?.permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "{mode:o}");
    daemon.kill();
    // The socket's file is left, and nobody behind it.
    assert!(setup.socket().exists());
    let (code, said) = ask();
    assert!(code == Some(1) && said.contains(nobody), "{code:?} {said}");

    // Which the next daemon knows.
    let daemon = setup.start(&ns);
    assert_eq!(ask().0, Some(0));
    assert_eq!(daemon.stop().code(), 0);
    Ok(())
}
