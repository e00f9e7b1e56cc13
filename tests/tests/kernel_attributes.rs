//! Rules by what only the kernel tells of a flow: control group, user, mark, network namespace.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::{
        fd::AsRawFd as _,
        unix::fs::{MetadataExt as _, fchown},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use ccp_lab::{Bulk, Namespace, RunningFlow, Until, congestion_of, set_congestion};
use ccp_tests::{Daemon, FlowLine, KernelTest, Setup, unique_name, within};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(3);

/// A user whom no test machine has.
const USER: u32 = 61_347;

/// Where the control groups of version 2 are.
fn hierarchy() -> anyhow::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let mount = mounts.lines().find(|line| line.contains(" - cgroup2 "));
    let place = mount.and_then(|line| line.split(' ').nth(4));
    Ok(place
        .ok_or_else(|| anyhow::anyhow!("no cgroup2 is mounted"))?
        .into())
}

/// The control group of version 2 that this process is in.
fn own_group() -> anyhow::Result<String> {
    let groups = fs::read_to_string("/proc/self/cgroup")?;
    let own = groups.lines().find_map(|line| line.strip_prefix("0::"));
    Ok(own.unwrap_or("/").to_owned())
}

/// A control group with two below it, all removed in the end.
struct Groups {
    root: PathBuf,
    name: String,
    own: String,
}

impl Groups {
    fn new() -> anyhow::Result<Self> {
        let groups = Self {
            root: hierarchy()?,
            name: format!("/ccp-test-{}", unique_name()),
            own: own_group()?,
        };
        for below in ["", "/web", "/web/worker", "/webs"] {
            fs::create_dir(groups.at(&format!("{}{below}", groups.name)))?;
        }
        Ok(groups)
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// What `work` gives with this process in the group `below`. Sockets keep the group they were made in.
    fn within<T>(&self, below: &str, work: impl FnOnce() -> T) -> anyhow::Result<T> {
        let join =
            |path: &Path| fs::write(path.join("cgroup.procs"), std::process::id().to_string());
        join(&self.at(&format!("{}{below}", self.name)))?;
        let done = work();
        join(&self.at(&self.own))?;
        Ok(done)
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let _ = fs::write(
            self.at(&self.own).join("cgroup.procs"),
            std::process::id().to_string(),
        );
        for below in ["/webs", "/web/worker", "/web", ""] {
            let _ = fs::remove_dir(self.at(&format!("{}{below}", self.name)));
        }
    }
}

/// A connection over the loopback of the machine's initial namespace.
struct Local {
    sender: TcpStream,
    receiver: TcpStream,
}

impl Local {
    fn new() -> std::io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let sender = TcpStream::connect(listener.local_addr()?)?;
        let (receiver, _) = listener.accept()?;
        receiver.set_nonblocking(true)?;
        sender.set_nonblocking(true)?;
        Ok(Self { sender, receiver })
    }

    /// Sends for a moment.
    fn send(&mut self) {
        let mut bytes = [7; 65_536];
        for _ in 0..8 {
            let _ = self.sender.write(&bytes);
            while self.receiver.read(&mut bytes).is_ok_and(|n| n > 0) {}
            bytes.fill(7);
        }
    }

    fn mark(&self, mark: u32) -> std::io::Result<()> {
        // SAFETY: an integer of ours, and its size.
        let done = unsafe {
            libc::setsockopt(
                self.sender.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_MARK,
                (&raw const mark).cast(),
                size_of_val(&mark) as u32,
            )
        };
        if done == 0 {
            Ok(())
        } else {
            Err(std::io::Error::last_os_error())
        }
    }

    /// Waits until a program steers it.
    fn running(&mut self, daemon: &Daemon<'_>) -> FlowLine {
        let local = self.sender.local_addr().expect("connected");
        let running = within(PATIENCE, || {
            self.send();
            let mut lines = daemon.flows().into_iter();
            lines.find(|line| line.src == local && line.state == "running")
        });
        running.unwrap_or_else(|| panic!("not running: {:#?}", daemon.flows()))
    }
}

#[test]
fn root_rules_by_control_group_user_mark_and_namespace() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let groups = Groups::new()?;
    let (blue, other) = (Namespace::new("blue")?, Namespace::new("other")?);
    let named = blue.publish()?;
    let group = &groups.name;
    let number = other.inode();
    let mut rest = String::new();
    for (place, name) in [
        "web", "group", "user", "marked", "named", "numbered", "usual",
    ]
    .into_iter()
    .enumerate()
    {
        rest += &format!(
            "[algorithms.{name}]\nkind = \"constant\"\ncwnd_packets = {}\n",
            place + 4
        );
    }
    rest += "[policy]\ndefault = \"usual\"\n";
    for (matching, algorithm) in [
        (format!("cgroup = \"{group}/web\""), "web"),
        (format!("cgroup = \"{group}\", mark = 0"), "group"),
        (format!("uid = \"{USER}-{}\"", USER + 1), "user"),
        ("mark = \"0x10/0xf0\"".to_owned(), "marked"),
        (format!("netns = \"{named}\""), "named"),
        (format!("netns = {number}"), "numbered"),
        ("netns = \"initial\", uid = 0, mark = 3".to_owned(), "web"),
    ] {
        rest +=
            &format!("[[policy.rule]]\nmatch = {{ {matching} }}\nalgorithm = \"{algorithm}\"\n");
    }
    let setup = Setup::new(&rest);
    // A daemon that sees neither /sys/fs/cgroup nor more rights than it needs is another test's matter.
    let daemon = setup.start(&blue);

    let take = |socket: Local| -> anyhow::Result<Local> {
        set_congestion(&socket.sender, setup.name())?;
        Ok(socket)
    };
    let in_group = |below: &str| take(groups.within(below, Local::new)??);
    let mut cases = vec![
        (in_group("/web")?, "web", json!(format!("{group}/web"))),
        (
            in_group("/web/worker")?,
            "web",
            json!(format!("{group}/web/worker")),
        ),
        // Not below `/web`, though it begins like that.
        (in_group("/webs")?, "group", json!(format!("{group}/webs"))),
    ];
    let own = json!(groups.own);
    let users = Local::new()?;
    fchown(&users.sender, Some(USER), None)?;
    cases.push((take(users)?, "user", own.clone()));
    for (mark, algorithm) in [(0x1f_u32, "marked"), (0x20, "usual"), (3, "web")] {
        let marked = Local::new()?;
        marked.mark(mark)?;
        cases.push((take(marked)?, algorithm, own.clone()));
    }
    cases.push((take(Local::new()?)?, "usual", own.clone()));

    let initial = fs::metadata("/proc/2/ns/net")
        .or_else(|_| fs::metadata("/proc/1/ns/net"))?
        .ino();
    for (flow, algorithm, group) in &mut cases {
        let line = flow.running(&daemon);
        assert_eq!(line.algorithm, *algorithm, "{line:#?}");
        let told = &line.attributes;
        assert_eq!(told["cgroup"], *group, "{line:#?}");
        assert_eq!(told["netns"], json!([initial, "initial"]), "{line:#?}");
        assert!(told["uid"].is_u64() && told["mark"].is_u64(), "{line:#?}");
    }
    let told = |at: usize| cases[at].0.sender.local_addr().expect("connected");
    let lines = daemon.flows();
    let of = |at: usize| {
        lines
            .iter()
            .find(|line| line.src == told(at))
            .expect("it is there")
    };
    assert_eq!(of(3).attributes["uid"], json!(USER));
    assert_eq!(of(4).attributes["mark"], json!(0x1f));

    // Other namespaces: by name, by number, and one that no rule names, where rules do not hold.
    let third = Namespace::new("third")?;
    for (ns, algorithm, names) in [
        (&blue, "named", json!([blue.inode(), named])),
        (&other, "numbered", json!(number)),
        (&third, "usual", json!(third.inode())),
    ] {
        let flow = Bulk::new(Until::Stopped).congestion(setup.name()).start(
            ns,
            ns,
            Ipv4Addr::LOCALHOST,
        )?;
        // A flow of another namespace may have the same local address and port.
        let ends = (flow.local(), flow.peer());
        let running = within(PATIENCE, || {
            let mut lines = daemon.flows().into_iter();
            lines.find(|line| (line.src, line.dst) == ends && line.state == "running")
        });
        let line = running.unwrap_or_else(|| panic!("{ends:?}: {:#?}", daemon.flows()));
        assert_eq!(line.algorithm, algorithm, "{line:#?}");
        assert_eq!(line.attributes["netns"], names, "{line:#?}");
        flow.stop();
        flow.wait()?;
    }

    // What `ccp policy explain` says of the same.
    let explain = |flow: &str| daemon.ccp(&["policy", "explain", flow]);
    let said = explain(&format!(
        "cgroup={group}/web/worker netns=initial uid=0 mark=0"
    ));
    assert_eq!(
        said,
        format!("rule 1 (web): fits: cgroup {group}/web, netns initial\n")
    );
    let said = explain("dst=10.0.0.1 mark=0x11");
    let last = said.lines().last().expect("a line");
    assert_eq!(last, "rule 4 (marked): fits: mark 0x10/0xf0", "{said}");
    assert!(
        said.contains(&format!("cgroup {group}/web is not known of the flow")),
        "{said}"
    );
    Ok(())
}

/// Waits until the socket has the algorithm `name` and the daemon has no flow of it any more.
fn left(daemon: &Daemon<'_>, flow: &RunningFlow, name: &str) {
    let has = || flow.congestion().expect("its algorithm");
    let left = within(PATIENCE, || {
        (has() == name && daemon.flow(flow).is_none()).then_some(())
    });
    assert!(left.is_some(), "it has {}: {:#?}", has(), daemon.flows());
}

#[test]
fn root_rules_and_hands_leave_flows_to_the_kernels_algorithms() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let ns = Namespace::new("natives")?;
    let rest = |rules: &str| {
        format!(
            "[algorithms.slow]\nkind = \"constant\"\ncwnd_packets = 9\n\
             [policy]\ndefault = \"slow\"\n{rules}"
        )
    };
    let rule = |port: u16, algorithm: &str| {
        format!(
            "[[policy.rule]]\nmatch = {{ netns = \"any\", dst_port = {port} }}\nalgorithm = \"{algorithm}\"\n"
        )
    };
    let rules = rule(5001, "native:reno") + &rule(5002, "native:cubic") + &rule(5003, "native");
    let setup = Setup::new(&rest(&rules));
    let mut daemon = setup.start(&ns);
    let start = |port| {
        Bulk::new(Until::Stopped)
            .congestion(setup.name())
            .port(port)
            .start(&ns, &ns, Ipv4Addr::LOCALHOST)
    };
    let flows = [
        start(5001)?,
        start(5002)?,
        start(5003)?,
        start(5004)?,
        start(5005)?,
    ];
    let [reno, cubic, native, steered, reloaded] = &flows;
    left(&daemon, reno, "reno");
    left(&daemon, cubic, "cubic");
    // Without a name it stays under control: the kernel's CUBIC, run by us.
    let line = daemon.await_flow(native, PATIENCE, |line| line.algorithm == "native");
    assert_eq!(
        (&*line.state, native.congestion()?.as_str()),
        ("native", setup.name())
    );
    let said = daemon.ccp(&["policy", "explain", "dst_port=5001"]);
    assert_eq!(
        said,
        "rule 1 (native:reno): fits: dst_port 5001, netns any\n"
    );

    // By hand.
    for flow in [steered, native] {
        let line = daemon.await_flow(flow, PATIENCE, |_| true);
        let _ = daemon.ccp(&["set", &line.flow.to_string(), "native:reno"]);
        left(&daemon, flow, "reno");
    }
    // By a new rule. Its window was our algorithm's until then, and the kernel's paces no longer.
    let line = daemon.await_flow(reloaded, PATIENCE, |line| line.state == "running");
    assert_eq!(line.algorithm, "slow");
    setup.write("namespaces = \"any\"", &rest(&rule(5005, "native:cubic")));
    daemon.hang_up();
    left(&daemon, reloaded, "cubic");
    let grows = within(PATIENCE, || {
        reloaded.info().ok().filter(|info| info.cwnd_packets > 9)
    });
    assert!(grows.is_some(), "{:?}", reloaded.info());

    for flow in flows {
        flow.stop();
        assert!(flow.wait()?.bytes > 0);
    }
    // What is no algorithm of the kernel is refused, and nothing has changed.
    let mut local = Local::new()?;
    set_congestion(&local.sender, setup.name())?;
    let line = local.running(&daemon).flow.to_string();
    let refused = std::process::Command::new(ccp_tests::binaries::ccp())
        .arg("--socket")
        .arg(setup.socket())
        .args(["set", &line, "native:none_such"])
        .output()?;
    let why = String::from_utf8_lossy(&refused.stderr);
    assert!(
        !refused.status.success() && why.contains("modprobe tcp_none_such"),
        "{why}"
    );
    assert_eq!(local.running(&daemon).algorithm, "slow");
    assert_eq!(congestion_of(&local.sender)?, setup.name());
    Ok(())
}
