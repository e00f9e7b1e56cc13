//! `ccp demo`, from its first line to what it leaves.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use ccp_tests::{KernelTest, binaries, host, within};
use rustix::process::{Pid, Signal, kill_process};

/// What its sockets ask for.
const NAME: &str = "ccp_demo";
/// The shortest it runs; then it kills its daemon after five seconds and brings it back after six and a half.
const SECONDS: &str = "10";

/// Kills it if the test ends before it does; what its daemon left goes with the next start, or the sweep here.
struct Demo(Option<Child>);

impl Demo {
    fn start(out: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(binaries::ccp());
        command
            .args(["demo", "--seconds", SECONDS, "--out"])
            .arg(out);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Ok(Self(Some(command.spawn()?)))
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.0.as_ref().expect("not waited for yet");
        Ok(kill_process(Pid::from_child(child), signal)?)
    }

    fn wait(mut self) -> anyhow::Result<Output> {
        let child = self.0.take().expect("not waited for yet");
        Ok(child.wait_with_output()?)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
            host::remove_pins(NAME);
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn assert_nothing_left(out: &Path) {
    assert!(!host::is_available(NAME), "{:?}", host::available());
    assert!(!host::is_pinned(NAME));
    assert!(!out.join("control.sock").exists());
}

#[test]
fn root_the_demo_shows_draws_and_cleans_up() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let out = dir.path().join("a/b");
    let output = Demo::start(&out)?.wait()?;
    let (said, errors) = (text(&output.stdout), text(&output.stderr));
    println!("{said}{errors}");
    assert!(output.status.success(), "{:?} {errors}", output.status);

    // The configuration, the flows, the outage, the summary, the files.
    for wanted in [
        "[algorithms.reno]",
        "steady running 60 pkt",
        "kill -9 of ccpd",
        "steady on its own",
        "ccpd is started again",
        "No flow was reset",
    ] {
        assert!(said.contains(wanted), "no `{wanted}`");
    }
    let svg = fs::read_to_string(out.join("demo.svg"))?;
    assert!(svg.starts_with("<svg") || svg.starts_with("<?xml"));
    for wanted in [
        "congestion window",
        "round-trip time",
        "throughput",
        "ccpd is back",
    ] {
        assert!(svg.contains(wanted), "no `{wanted}` in the picture");
    }
    assert!(fs::read(out.join("demo.png"))?.starts_with(b"\x89PNG"));
    for file in ["demo.svg", "demo.png", "samples.csv", "ccpd.log"] {
        assert!(
            said.contains(&out.join(file).display().to_string()),
            "{file}"
        );
    }

    // In the samples: `steady` is held at 60 packets, left alone, and held again.
    let samples = fs::read_to_string(out.join("samples.csv"))?;
    let windows = |from: f64, to: f64| -> Vec<u32> {
        let rows = samples.lines().filter_map(|line| {
            let mut cells = line.split(',');
            let (flow, time, packets) = (cells.next()?, cells.next()?, cells.next()?);
            let time: f64 = time.parse().ok()?;
            (flow == "steady" && time > from && time < to).then(|| packets.parse().ok())?
        });
        rows.collect()
    };
    let held = |from, to| {
        let windows = windows(from, to);
        assert!(windows.len() > 20, "{} samples", windows.len());
        windows.iter().all(|&packets| packets == 60)
    };
    assert!(held(1.0, 5.0), "{:?}", windows(1.0, 5.0));
    assert!(!held(5.0, 6.5), "native CUBIC moves the window");
    assert!(held(7.5, 9.8), "{:?}", windows(7.5, 9.8));
    assert_nothing_left(&out);
    Ok(())
}

#[test]
fn root_an_interrupted_demo_leaves_nothing() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    // While its daemon runs, and while it lies dead.
    for (signal, after) in [(Signal::INT, 1500), (Signal::TERM, 5700)] {
        let dir = tempfile::tempdir()?;
        let demo = Demo::start(dir.path())?;
        let begun = within(Duration::from_secs(5), || {
            host::is_available(NAME).then_some(())
        });
        assert!(begun.is_some());
        std::thread::sleep(Duration::from_millis(after));
        demo.signal(signal)?;
        let output = demo.wait()?;
        let (said, errors) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(130), "{said}{errors}");
        assert!(errors.contains("interrupted"), "{errors}");
        assert_eq!(
            said.contains("kill -9 of ccpd"),
            signal == Signal::TERM,
            "{said}"
        );
        assert_nothing_left(dir.path());
    }
    Ok(())
}

#[test]
fn root_the_demo_says_what_is_missing() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
    let program = dir.path().join("ccp");
    fs::copy(binaries::ccp(), &program)?;

    // Not root. The program is copied: the way to the target directory may be closed to others.
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["demo", "--out"])
        .arg(dir.path().join("out"))
        .output()?;
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(
        errors.contains("not possible here") && errors.contains("run as root"),
        "{errors}"
    );

    // No daemon beside it.
    let output = Command::new(&program)
        .args(["demo", "--out"])
        .arg(dir.path().join("out"))
        .output()?;
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("there is no ccpd beside"), "{errors}");

    // What ccpd misses, the demo passes on: here the kernel's type information, hidden from both.
    fs::copy(binaries::ccpd(), dir.path().join("ccpd"))?;
    let hidden = "mount -t tmpfs none /sys/kernel/btf && exec \"$0\" \"$@\"";
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", hidden])
        .arg(&program)
        .args(["demo", "--out"])
        .arg(dir.path().join("out"))
        .output()?;
    let errors = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{errors}");
    assert!(errors.contains("CONFIG_DEBUG_INFO_BTF"), "{errors}");
    assert_nothing_left(&dir.path().join("out"));
    Ok(())
}
