//! What is pinned outlives a daemon, and is what the next one finds: half of it, none of it, or where it can't be
//! read. Flows go on whatever it is.

use std::time::Duration;

use ccp_lab::{Bulk, Namespace, RunningFlow, Until};
use ccp_tests::{Daemon, Ended, KernelTest, Setup, host, within};
use rustix::process::Signal;

const PATIENCE: Duration = Duration::from_secs(20);
const CONFIG: &str = "[algorithms.reno]\n\n[policy]\ndefault = \"reno\"\n";
/// Has the rest of the command line see a BPF file system that it cannot write to.
const READ_ONLY: &str =
    "mount --make-rprivate / && mount -o remount,bind,ro /sys/fs/bpf && exec \"$0\" \"$@\"";
/// And none.
const ABSENT: &str =
    "mount --make-rprivate / && mount -t tmpfs none /sys/fs/bpf && exec \"$0\" \"$@\"";

fn flow(ns: &Namespace, name: &str) -> anyhow::Result<RunningFlow> {
    let localhost = std::net::Ipv4Addr::LOCALHOST;
    Ok(Bulk::new(Until::Stopped)
        .congestion(name)
        .start(ns, ns, localhost)?)
}

fn goes_on(flow: &RunningFlow) {
    let before = flow.bytes_received();
    let more = within(PATIENCE, || (flow.bytes_received() > before).then_some(()));
    assert!(more.is_some(), "it stands still");
}

/// A new daemon has the flow, and its clean stop leaves nothing.
fn is_recovered(setup: &Setup, daemon: Daemon<'_>, flow: RunningFlow) -> anyhow::Result<()> {
    daemon.await_flow(&flow, PATIENCE, |line| line.state == "running");
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.log);
    assert!(!host::is_pinned(setup.name()) && !host::is_available(setup.name()));
    assert_eq!(flow.congestion()?, "cubic");
    flow.stop();
    flow.wait()?;
    Ok(())
}

/// Moments in a start or a stop, in milliseconds: to the last of them it is over, or nearly.
fn moments() -> impl Iterator<Item = u64> {
    (0..12).map(|i| 5 + i * i * 8)
}

fn killed_after(setup: &Setup, ns: &Namespace, ms: u64) -> Ended {
    // Not `timeout`, which does not wait for its end.
    let kill = format!(
        "\"$0\" \"$@\" & sleep {:.3}; kill -KILL $!; wait $!",
        ms as f64 / 1000.0
    );
    setup.refused_within(ns, &["sh", "-c", &kill])
}

#[test]
fn root_a_start_is_killed_at_any_moment() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    let ns = Namespace::new("moments")?;
    let setup = Setup::new(CONFIG);
    // Of the first daemon ever, whose pins are half there.
    let mut begun = 0;
    for ms in moments() {
        let ended = killed_after(&setup, &ns, ms);
        assert!(!ended.status.success(), "{}", ended.log);
        begun += usize::from(host::is_pinned(setup.name()));
    }
    assert!(begun > 0, "none came so far that something was pinned");
    let daemon = setup.start(&ns);
    let flow = flow(&ns, setup.name())?;
    daemon.await_flow(&flow, PATIENCE, |line| line.state == "running");
    daemon.kill();
    // And of one that takes over.
    for ms in moments() {
        let ended = killed_after(&setup, &ns, ms);
        assert!(!ended.status.success(), "{}", ended.log);
        goes_on(&flow);
        assert_eq!(flow.congestion()?, setup.name());
    }
    is_recovered(&setup, setup.start(&ns), flow)
}

#[test]
fn root_a_stop_is_killed_at_any_moment() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    let ns = Namespace::new("moments")?;
    let setup = Setup::new(CONFIG);
    for ms in moments().step_by(2) {
        // Passes SIGTERM on, and kills what has not ended so soon.
        let after = format!("--kill-after={:.3}", ms as f64 / 1000.0);
        let daemon = setup.start_within(&ns, &["timeout", "--foreground", &after, "60"]);
        let flow = flow(&ns, setup.name())?;
        let ended = daemon.stop_by(Signal::TERM);
        println!(
            "killed {ms} ms after it was asked to stop: {}",
            ended.status
        );
        goes_on(&flow);
        // Under the name that is still there, or has gone.
        flow.stop();
        flow.wait()?;
    }
    let daemon = setup.start(&ns);
    let flow = flow(&ns, setup.name())?;
    is_recovered(&setup, daemon, flow)
}

#[test]
fn root_pins_cannot_be_made() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let ns = Namespace::new("readonly")?;
    let setup = Setup::new(CONFIG);
    let read_only = ["unshare", "--mount", "sh", "-c", READ_ONLY];
    let ended = setup.refused_within(&ns, &read_only);
    println!("{}", ended.log);
    assert_eq!(ended.code(), 1, "{}", ended.log);
    let dir = host::pin_dir(setup.name());
    assert!(ended.log.contains(&*dir.to_string_lossy()), "{}", ended.log);
    assert!(ended.log.contains("Read-only file system"), "{}", ended.log);
    assert!(!host::is_pinned(setup.name()) && !host::is_available(setup.name()));

    // What is pinned can be taken over, but not removed: a stop says so, and is for the rest a stop.
    let daemon = setup.start(&ns);
    let first = flow(&ns, setup.name())?;
    daemon.await_flow(&first, PATIENCE, |line| line.state == "running");
    daemon.kill();
    let daemon = setup.start_within(&ns, &read_only);
    daemon.await_flow(&first, PATIENCE, |line| line.state == "running");
    let ended = daemon.stop();
    let said = "the kernel is not as it was before";
    assert!(ended.log.contains(said), "{}", ended.log);
    assert!(!host::is_available(setup.name()) && host::is_pinned(setup.name()));
    assert_eq!(first.congestion()?, "cubic");
    goes_on(&first);
    first.stop();
    first.wait()?;
    let daemon = setup.start(&ns);
    let next = flow(&ns, setup.name())?;
    is_recovered(&setup, daemon, next)
}

#[test]
fn root_no_bpf_file_system_is_there() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let ns = Namespace::new("absent")?;
    let setup = Setup::new(CONFIG);
    let absent = ["unshare", "--mount", "sh", "-c", ABSENT];
    // It mounts one, where it may.
    let daemon = setup.start_within(&ns, &absent);
    assert!(!host::is_pinned(setup.name()), "the usual one is another");
    let first = flow(&ns, setup.name())?;
    is_recovered(&setup, daemon, first)?;
    let may_not = "mount --make-rprivate / && mount -t tmpfs none /sys/fs/bpf && exec setpriv \
                   --bounding-set=-sys_admin --inh-caps=-sys_admin \"$0\" \"$@\"";
    let ended = setup.refused_within(&ns, &["unshare", "--mount", "sh", "-c", may_not]);
    println!("{}", ended.log);
    assert_eq!(ended.code(), 3, "{}", ended.log);
    assert!(
        ended.log.contains("mount -t bpf bpf /sys/fs/bpf"),
        "{}",
        ended.log
    );

    // What another left is not to be seen there: the name is somebody's.
    let daemon = setup.start(&ns);
    let flow = flow(&ns, setup.name())?;
    daemon.await_flow(&flow, PATIENCE, |line| line.state == "running");
    daemon.kill();
    let ended = setup.refused_within(&ns, &absent);
    println!("{}", ended.log);
    assert_eq!(ended.code(), 1, "{}", ended.log);
    assert!(
        ended.log.contains("is taken by something else"),
        "{}",
        ended.log
    );
    goes_on(&flow);
    is_recovered(&setup, setup.start(&ns), flow)
}
