//! Nothing is left behind: not after a drop, a panic, or the death of the process. Need root.

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ccp_lab::{Bulk, Namespace, Need, Until, VethLink, VethSpec, skip_without, sweep};

const NEEDS: &[Need] = &[Need::Namespaces, Need::Tc, Need::Tun];

const SOON: Duration = Duration::from_secs(5);

/// True if any thread is in the namespace, or any file descriptor or mount holds it.
fn is_held(inode: u64) -> bool {
    let link = format!("net:[{inode}]");
    let is_it =
        |path: std::path::PathBuf| fs::read_link(path).is_ok_and(|to| to.as_os_str() == &*link);
    let dir = |path: &str| {
        fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .map(|e| e.path())
    };
    let mounted = fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .contains(&link);
    mounted
        || dir("/proc").any(|process| {
            let path = |what: &str| format!("{}/{what}", process.display());
            dir(&path("task")).any(|task| is_it(task.join("ns/net"))) || dir(&path("fd")).any(is_it)
        })
}

fn gone_within(limit: Duration, what: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while what() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    true
}

/// A namespace with one end of a link to `observer`; when the kernel destroys it, the observer's end goes.
fn observed(observer: &Namespace) -> Namespace {
    let ns = Namespace::new("observed").expect("a namespace");
    let (peer, name) = (observer.path(), "observed");
    let peer = peer.to_string_lossy();
    ns.ip([
        "link", "add", name, "type", "veth", "peer", "name", name, "netns", &peer,
    ])
    .expect("a link");
    ns
}

fn devices(ns: &Namespace) -> usize {
    ns.ip(["-o", "link"]).expect("ip").lines().count()
}

#[test]
fn root_drop_and_panic_leave_nothing() {
    if skip_without(NEEDS) {
        return;
    }
    let host = fs::read_to_string("/proc/net/dev")
        .expect("/proc/net/dev")
        .lines()
        .count();
    let observer = Namespace::new("observer").expect("a namespace");
    assert_eq!(devices(&observer), 1, "lo");

    let ns = observed(&observer);
    let inode = ns.inode();
    assert_eq!(devices(&observer), 2);
    assert!(is_held(inode));
    drop(ns);
    // A thread is joined a moment before the kernel takes its namespace away.
    assert!(gone_within(SOON, || is_held(inode)));
    assert!(
        gone_within(SOON, || devices(&observer) > 1),
        "the kernel removed it"
    );

    let inode = std::sync::Mutex::new(0);
    let panicked = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                let ns = observed(&observer);
                *inode.lock().expect("not poisoned") = ns.inode();
                let localhost = std::net::Ipv4Addr::LOCALHOST;
                let _flow = Bulk::new(Until::Stopped)
                    .start(&ns, &ns, localhost)
                    .expect("a flow");
                let mut command = Command::new("sleep");
                command.arg("1000");
                let _child = ns.spawn(command).expect("sleep");
                ns.publish().expect("a name");
                panic!("on purpose");
            })
            .join()
            .is_err()
    });
    assert!(panicked);
    let inode = inode.into_inner().expect("not poisoned");
    assert!(gone_within(SOON, || is_held(inode)));
    assert!(
        gone_within(SOON, || devices(&observer) > 1),
        "the kernel removed it"
    );
    assert_eq!(
        fs::read_to_string("/proc/net/dev")
            .expect("/proc/net/dev")
            .lines()
            .count(),
        host
    );
}

#[test]
fn root_a_panic_inside_a_namespace_continues_outside() {
    if skip_without(NEEDS) {
        return;
    }
    let ns = Namespace::new("panic").expect("a namespace");
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _ = ns.run(|| panic!("on purpose"));
    }));
    assert!(caught.is_err());
    assert_eq!(ns.run(|| 5).expect("still usable"), 5);
}

/// Not a test of its own: the process that the test below kills.
#[test]
#[ignore = "run by root_a_killed_process_leaves_nothing"]
fn victim() {
    let ns = Namespace::new("victim").expect("a namespace");
    let other = Namespace::new("other").expect("a namespace");
    let link = VethLink::new(&ns, &other, VethSpec::limited(1_000_000)).expect("a link");
    let _flow = Bulk::new(Until::Stopped)
        .start(&ns, &other, link.b_v4())
        .expect("a flow");
    let mut command = Command::new("sleep");
    command.arg("1000");
    let child = ns.spawn(command).expect("sleep");
    let name = ns.publish().expect("a name");
    // Past the harness's capture.
    let line = format!(
        "\nVICTIM {} {} {} {name}\n",
        ns.inode(),
        other.inode(),
        child.id()
    );
    std::io::Write::write_all(&mut std::io::stdout(), line.as_bytes()).expect("stdout");
    std::thread::sleep(Duration::from_secs(60));
}

#[test]
fn root_a_killed_process_leaves_nothing() {
    if skip_without(NEEDS) {
        return;
    }
    let mut process = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program again");
    let stdout = BufReader::new(process.stdout.take().expect("piped"));
    let line = stdout
        .lines()
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("VICTIM ").map(str::to_owned));
    let line = line.expect("its namespaces");
    let words: Vec<&str> = line.split(' ').collect();
    let [inode, other, child, name] = words[..] else {
        panic!("{line}")
    };
    let inodes: Vec<u64> = [inode, other].map(|n| n.parse().expect("an inode")).into();
    assert!(inodes.iter().all(|&inode| is_held(inode)));
    let file = format!("/run/netns/{name}");
    assert!(fs::exists(&file).expect("/run/netns"));

    process.kill().expect("kill -9");
    process.wait().expect("reaped");
    let child = format!("/proc/{child}");
    assert!(
        gone_within(SOON, || fs::exists(&child).expect("/proc")),
        "its child"
    );
    assert!(
        gone_within(SOON, || is_held(inodes[1])),
        "its namespace without a name"
    );
    // Only the published name is left, until someone sweeps.
    assert!(sweep().expect("/run/netns").contains(&name.to_owned()));
    assert!(!fs::exists(&file).expect("/run/netns"));
    assert!(gone_within(SOON, || is_held(inodes[0])));

    let alive = Namespace::new("alive").expect("a namespace");
    let name = alive.publish().expect("a name");
    assert_eq!(alive.publish().expect("the same"), name);
    assert!(
        !sweep().expect("/run/netns").contains(&name),
        "of a living process"
    );
    let output = Command::new("ip")
        .args(["netns", "exec", &name, "readlink", "/proc/self/ns/net"])
        .output();
    let output = output.expect("ip");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        format!("net:[{}]", alive.inode()),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    drop(alive);
    assert!(!fs::exists(format!("/run/netns/{name}")).expect("/run/netns"));
}
