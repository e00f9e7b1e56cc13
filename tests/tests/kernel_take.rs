//! Flows that do not ask for control, of programs that know nothing of it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use ccp_lab::{Namespace, NsChild, SsSocket, VethLink, VethSpec};
use ccp_tests::{Cgroup, Daemon, KernelTest, Setup, host, within};

const PATIENCE: Duration = Duration::from_secs(8);
/// What new sockets of the tests' namespaces get.
const USUAL: &str = "reno";
const RULES: &str = "[algorithms.fixed]\nkind = \"constant\"\ncwnd_packets = 7\n\
                     [policy]\ndefault = \"fixed\"\n";

struct Lab {
    client: Namespace,
    server: Namespace,
    link: VethLink,
    _alone: KernelTest,
}

impl Lab {
    /// `None` where it cannot be.
    fn new() -> anyhow::Result<Option<Self>> {
        let Some(alone) = KernelTest::begin(Duration::from_secs(60)) else {
            return Ok(None);
        };
        assert!(host::has("iperf3"), "`scripts/setup test` installs iperf3");
        let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
        for ns in [&client, &server] {
            ns.set_sysctl("net.ipv4.tcp_congestion_control", USUAL)?;
        }
        let link = VethLink::new(&client, &server, VethSpec::limited(50_000_000))?;
        Ok(Some(Self {
            client,
            server,
            link,
            _alone: alone,
        }))
    }

    /// `iperf3 -s` at this port, waiting for one client after the other.
    fn serve(&self, port: u16) -> anyhow::Result<NsChild> {
        let mut command = Command::new("iperf3");
        command.args(["-s", "-p", &port.to_string()]);
        let server = self.server.spawn(quiet(command))?;
        let listens = format!("sport = {port}");
        let listening = within(PATIENCE, || {
            let shown = self.server.output("ss", ["-tlnH", &listens]).ok()?;
            (!shown.trim().is_empty()).then_some(())
        });
        assert!(listening.is_some(), "iperf3 does not listen");
        Ok(server)
    }

    /// `iperf3 -c` towards `to`, for as long as the test may last.
    fn send(&self, within: Option<&Cgroup>, to: &str, port: u16) -> anyhow::Result<Iperf<'_>> {
        let port_text = port.to_string();
        let args = ["-c", to, "-p", &port_text, "-t", "60"];
        let command = match within {
            Some(cgroup) => cgroup.command("iperf3", &args),
            None => {
                let mut command = Command::new("iperf3");
                command.args(args);
                command
            }
        };
        let child = self.client.spawn(quiet(command))?;
        Ok(Iperf {
            child,
            ns: &self.client,
            port,
        })
    }
}

fn quiet(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// A client at work.
struct Iperf<'l> {
    child: NsChild,
    ns: &'l Namespace,
    port: u16,
}

impl Iperf<'_> {
    /// Its connection that carries the data, as `ss` shows it. The other one only steers.
    fn socket(&self) -> Option<SsSocket> {
        let sockets = self.ns.ss().expect("ss");
        let mut ours = sockets.into_iter().filter(|s| s.peer.port() == self.port);
        ours.find(|s| s.state == "ESTAB" && s.bytes_sent > 10_000)
    }

    fn until(&self, what: &str, wanted: impl Fn(&SsSocket) -> bool) -> SsSocket {
        let reached = within(PATIENCE, || self.socket().filter(&wanted));
        reached.unwrap_or_else(|| panic!("not {what}: {:#?}", self.socket()))
    }

    fn steered_by(&self, setup: &Setup) -> SsSocket {
        self.until("steered", |s| {
            s.congestion.as_deref() == Some(setup.name()) && s.cwnd_packets == Some(7)
        })
    }

    /// The connection, whoever steers it.
    fn now(&self, setup: &Setup) -> SsSocket {
        let ours = [USUAL, setup.name()];
        self.until("there", |s| {
            s.congestion.as_deref().is_some_and(|c| ours.contains(&c))
        })
    }

    fn usual(&self) -> SsSocket {
        self.until("as usual", |s| s.congestion.as_deref() == Some(USUAL))
    }

    /// That it still sends, on the connection that it had.
    fn goes_on(&mut self, before: &SsSocket) {
        let more = before.bytes_sent + 200_000;
        let now = self.until("sending", |s| s.bytes_sent > more);
        assert_eq!(now.local, before.local);
        let ended = self.child.try_wait().expect("its status");
        assert!(ended.is_none(), "iperf3 has ended: {ended:?}");
    }
}

/// Nothing of the daemon is left: no name, no pin, nothing at the control group.
fn nothing_left(setup: &Setup, cgroup: &Path) {
    assert!(!host::is_available(setup.name()) && !host::is_pinned(setup.name()));
    assert_eq!(programs_at(cgroup), 0, "at {}", cgroup.display());
}

/// How many programs of ours are at a control group.
fn programs_at(cgroup: &Path) -> usize {
    let path = format!(
        "{}:/usr/sbin:/sbin",
        std::env::var("PATH").unwrap_or_default()
    );
    let output = Command::new("bpftool")
        .env("PATH", path)
        .args(["cgroup", "show"])
        .arg(cgroup)
        .output()
        .expect("bpftool can be started");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    shown.lines().filter(|l| l.contains("sock_ops")).count()
}

/// Waits until it takes flows; it has the name a moment before.
fn taking(setup: &Setup) {
    let taking = within(PATIENCE, || {
        setup
            .log()
            .contains("taking flows that do not ask")
            .then_some(())
    });
    assert!(taking.is_some(), "{}", setup.log());
}

fn reload(daemon: &mut Daemon<'_>, setup: &Setup, keys: &str, said: &str) {
    let before = setup.log().len();
    setup.write(&format!("namespaces = \"any\"\n{keys}"), RULES);
    daemon.hang_up();
    let heard = within(PATIENCE, || {
        setup.log().split_off(before).contains(said).then_some(())
    });
    assert!(
        heard.is_some(),
        "no `{said}` in\n{}",
        setup.log().split_off(before)
    );
}

#[test]
fn root_iperf3_in_a_cgroup_is_steered() -> anyhow::Result<()> {
    let Some(lab) = Lab::new()? else {
        return Ok(());
    };
    let cgroup = Cgroup::new();
    let within = Cgroup::at(&cgroup.path().join("within"));
    let except = Cgroup::at(&cgroup.path().join("except"));
    let beside = Cgroup::new();
    let keys = |cgroup: &Cgroup, more: &str| {
        format!(
            "[datapath.take]\ncgroups = [\"{}\"]\n{more}",
            cgroup.path().display()
        )
    };
    let all_but = format!("except.cgroups = '{}'", except.path().display());
    let take = format!("namespaces = \"any\"\n{}", keys(&cgroup, &all_but));
    let setup = Setup::with_datapath(&take, RULES);
    let mut daemon = setup.start(&lab.client);
    taking(&setup);
    assert_eq!(programs_at(cgroup.dir()), 1);
    let (v4, v6) = (lab.link.b_v4().to_string(), lab.link.b_v6().to_string());
    let servers = [
        lab.serve(5201)?,
        lab.serve(5202)?,
        lab.serve(5203)?,
        lab.serve(5204)?,
    ];
    let mut flows = [
        lab.send(Some(&cgroup), &v4, 5201)?,
        lab.send(Some(&within), &v6, 5202)?,
    ];
    let other = lab.send(Some(&beside), &v4, 5203)?;
    let excepted = lab.send(Some(&except), &v4, 5204)?;
    for flow in &flows {
        let socket = flow.steered_by(&setup);
        let lines = daemon.flows();
        let line = lines.iter().find(|line| line.src == socket.local);
        let line = line.unwrap_or_else(|| panic!("{socket:?} is not among {lines:#?}"));
        assert_eq!((&line.algorithm[..], &line.state[..]), ("fixed", "running"));
    }
    other.usual();
    excepted.usual();

    // No exception any more, and those under way too: both connections that iperf3 has.
    reload(
        &mut daemon,
        &setup,
        &keys(&cgroup, "living = true"),
        "living=2",
    );
    excepted.steered_by(&setup);
    other.usual();
    assert_eq!(programs_at(cgroup.dir()), 1);
    // Another control group, while they send. What was taken stays.
    let keys = |path: &Path| format!("[datapath.take]\ncgroups = [\"{}\"]", path.display());
    reload(&mut daemon, &setup, &keys(beside.path()), "taking flows");
    assert_eq!(
        (programs_at(cgroup.dir()), programs_at(beside.dir())),
        (0, 1)
    );
    flows[0].steered_by(&setup);
    // A wrong file changes nothing.
    let wrong = "[datapath.take]\ncgroups = [\"user.slice\"]";
    reload(
        &mut daemon,
        &setup,
        wrong,
        "= \"user.slice\": must be a control group",
    );
    assert_eq!(programs_at(beside.dir()), 1);

    let before = flows.each_ref().map(|f| f.now(&setup));
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.log);
    assert!(
        ended
            .log
            .contains("went back to the algorithm that they had"),
        "{}",
        ended.log
    );
    nothing_left(&setup, beside.dir());
    for (flow, before) in flows.iter_mut().zip(&before) {
        flow.usual();
        flow.goes_on(before);
    }
    drop((flows, other, excepted, servers));
    Ok(())
}

/// Those that do ask: each of the ways that the documentation names.
#[test]
fn root_sockets_ask_by_option_by_route_and_by_default() -> anyhow::Result<()> {
    let Some(lab) = Lab::new()? else {
        return Ok(());
    };
    let setup = Setup::new(RULES);
    let daemon = setup.start(&lab.client);
    let name = setup.name();
    let v4 = lab.link.b_v4().to_string();
    let servers = [
        lab.serve(5201)?,
        lab.serve(5202)?,
        lab.serve(5203)?,
        lab.serve(5204)?,
    ];
    let usual = lab.send(None, &v4, 5204)?;
    usual.usual();

    let mut command = Command::new("iperf3");
    command.args(["-c", &v4, "-p", "5201", "-t", "60", "-C", name]);
    let by_option = Iperf {
        child: lab.client.spawn(quiet(command))?,
        ns: &lab.client,
        port: 5201,
    };
    by_option.steered_by(&setup);
    let to = format!(
        "route replace {v4}/32 dev {} congctl {name}",
        lab.link.device()
    );
    lab.client.ip(to.split(' '))?;
    let by_route = lab.send(None, &v4, 5202)?;
    by_route.steered_by(&setup);
    // What a server accepts and sends on, by the default of its namespace.
    lab.client.ip(["route", "del", &format!("{v4}/32")])?;
    lab.server
        .set_sysctl("net.ipv4.tcp_congestion_control", name)?;
    let mut command = Command::new("iperf3");
    command.args(["-c", &v4, "-p", "5203", "-t", "60", "-R"]);
    let by_default = lab.client.spawn(quiet(command))?;
    let steered = within(PATIENCE, || {
        let sockets = lab.server.ss().ok()?;
        let mut sends = sockets.into_iter().filter(|s| s.local.port() == 5203);
        sends.find(|s| s.congestion.as_deref() == Some(name) && s.cwnd_packets == Some(7))
    });
    assert!(steered.is_some(), "{:#?}", lab.server.ss());
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.log);
    let default = lab.server.sysctl("net.ipv4.tcp_congestion_control")?;
    assert_ne!(default, name);
    drop((usual, by_option, by_route, by_default, servers));
    Ok(())
}

#[test]
fn root_living_flows_towards_a_prefix_are_taken_and_survive_a_kill() -> anyhow::Result<()> {
    let Some(lab) = Lab::new()? else {
        return Ok(());
    };
    let v4 = lab.link.b_v4().to_string();
    let servers = [lab.serve(5201)?, lab.serve(5202)?, lab.serve(5203)?];
    let mut old = lab.send(None, &v4, 5201)?;
    let before = old.usual();
    // Everything towards the server, except for one port.
    let take = format!(
        "namespaces = \"any\"\n[datapath.take]\ndst = \"{v4}/32\"\nliving = true\nexcept = {{ dst_port = [5203] }}"
    );
    let setup = Setup::with_datapath(&take, RULES);
    let daemon = setup.start(&lab.client);
    old.steered_by(&setup);
    old.goes_on(&before);
    assert!(
        setup.log().contains("taking flows that do not ask"),
        "{}",
        setup.log()
    );
    let new = lab.send(None, &v4, 5202)?;
    new.steered_by(&setup);
    let except = lab.send(None, &v4, 5203)?;
    except.usual();

    // Killed: what is taken goes on natively, and comes back with the next daemon.
    daemon.kill();
    let before = old.now(&setup);
    old.goes_on(&before);
    let daemon = setup.start(&lab.client);
    old.steered_by(&setup);
    new.steered_by(&setup);
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.log);
    old.usual();
    new.usual();
    // A clean stop and a start: those that were given back are taken again.
    let daemon = setup.start(&lab.client);
    old.steered_by(&setup);
    new.steered_by(&setup);
    except.usual();
    // Killed for good.
    daemon.kill();
    let root = ccp_ebpf::Cgroups::find()?.mount().to_owned();
    assert_eq!(programs_at(&root), 1);
    let cleaned = Command::new(ccp_tests::binaries::ccpd())
        .args(["--cleanup", "--config"])
        .arg(setup.config())
        .output()?;
    assert!(
        cleaned.status.success(),
        "{}",
        String::from_utf8_lossy(&cleaned.stderr)
    );
    nothing_left(&setup, &root);
    let before = old.usual();
    old.goes_on(&before);
    drop((old, new, except, servers));
    Ok(())
}

#[test]
fn root_a_cgroup_that_comes_later_and_a_daemon_with_three_capabilities() -> anyhow::Result<()> {
    let Some(lab) = Lab::new()? else {
        return Ok(());
    };
    let path = Cgroup::new().path().to_owned();
    let take = format!(
        "namespaces = \"any\"\n[datapath.take]\ncgroups = \"{}\"\nliving = true",
        path.display()
    );
    let setup = Setup::with_datapath(&take, RULES);
    // What the service unit leaves, and the control groups as it shows them: read-only.
    let root = ccp_ebpf::Cgroups::find()?.mount().to_owned();
    let closed = format!(
        "mount -o remount,bind,ro '{0}' || mount --bind '{0}' '{0}' && mount -o remount,bind,ro '{0}' || exit 9; \
         exec setpriv --bounding-set=-all,+bpf,+perfmon,+net_admin --inh-caps=-all --no-new-privs \"$0\" \"$@\"",
        root.display()
    );
    let daemon = setup.start_within(&lab.client, &["unshare", "--mount", "sh", "-c", &closed]);
    taking(&setup);
    let said = within(PATIENCE, || {
        setup
            .log()
            .contains("there is no such control group")
            .then_some(())
    });
    assert!(said.is_some(), "{}", setup.log());
    let server = lab.serve(5201)?;
    let v4 = lab.link.b_v4().to_string();
    // It may send before the control group is seen: it is taken then.
    let cgroup = Cgroup::at(&path);
    let mut flow = lab.send(Some(&cgroup), &v4, 5201)?;
    let socket = flow.steered_by(&setup);
    assert_eq!(programs_at(cgroup.dir()), 1);
    let ended = daemon.stop();
    assert_eq!(ended.code(), 0, "{}", ended.log);
    assert!(!ended.log.contains("unreached"), "{}", ended.log);
    nothing_left(&setup, cgroup.dir());
    flow.usual();
    flow.goes_on(&socket);
    drop((flow, server));
    Ok(())
}

#[test]
fn root_without_control_groups_it_is_refused_with_what_to_do() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(30)) else {
        return Ok(());
    };
    let ns = Namespace::new("refusals")?;
    let setup = Setup::with_datapath("[datapath.take]\ndst = \"192.0.2.0/24\"", RULES);
    let none = "umount -l -a -t cgroup2 && exec \"$0\" \"$@\"";
    let refused = setup.refused_within(&ns, &["unshare", "--mount", "sh", "-c", none]);
    assert_eq!(refused.code(), 3, "{}", refused.log);
    for text in ["`take` of the datapath", "mount -t cgroup2"] {
        assert!(refused.log.contains(text), "{}", refused.log);
    }
    assert!(!host::is_available(setup.name()) && !host::is_pinned(setup.name()));
    // The host's are as they were.
    assert!(fs::read_to_string("/proc/self/mountinfo")?.contains("cgroup2"));
    Ok(())
}
