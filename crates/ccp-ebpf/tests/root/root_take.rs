//! Flows that do not ask: which of them are taken, and what they get back.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ccp_ebpf::{Cgroups, Ends, Mode, Namespaces, Range, Take, TakeError, clean_up};
use ccp_lab::{Namespace, congestion_of, set_congestion};

use crate::common::{Attached, Daemon, skipped, still};

/// A connection within a namespace; the end that connected, and the one that accepted.
struct Pair {
    near: TcpStream,
    far: TcpStream,
}

impl Pair {
    /// To `to`, which has to be an address of the namespace's loopback.
    fn new(ns: &Namespace, to: &str) -> Self {
        Self::accepted_by(&Self::listener(ns, to), ns)
    }

    /// In the namespace of this process, which is the machine's.
    fn connected(to: &str) -> Self {
        let listener = TcpListener::bind(to).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (far, _) = listener.accept().unwrap();
        Self { near, far }
    }

    fn listener(ns: &Namespace, at: &str) -> TcpListener {
        let at: SocketAddr = at.parse().unwrap();
        ns.run(|| TcpListener::bind(at)).unwrap().unwrap()
    }

    fn accepted_by(listener: &TcpListener, ns: &Namespace) -> Self {
        let to = listener.local_addr().unwrap();
        let near = ns.run(|| TcpStream::connect(to)).unwrap().unwrap();
        let (far, _) = listener.accept().unwrap();
        Self { near, far }
    }

    fn near(&self) -> String {
        congestion_of(&self.near).unwrap()
    }

    fn far(&self) -> String {
        congestion_of(&self.far).unwrap()
    }

    /// Some bytes, and their acknowledgement.
    fn talk(&mut self) {
        let mut buffer = [0; 5];
        self.near.write_all(b"hello").unwrap();
        self.far.read_exact(&mut buffer).unwrap();
        self.far.write_all(b"salve").unwrap();
        self.near.read_exact(&mut buffer).unwrap();
    }
}

/// A namespace whose default is Reno, so that what a flow gets back tells where it comes from.
fn namespace() -> Namespace {
    let ns = Namespace::new("take").unwrap();
    ns.set_sysctl("net.ipv4.tcp_congestion_control", "reno")
        .unwrap();
    ns
}

fn range(text: &str) -> Range {
    let (address, bits) = text.split_once('/').unwrap();
    Range {
        address: address.parse::<IpAddr>().unwrap(),
        bits: bits.parse().unwrap(),
    }
}

fn towards(prefixes: &[&str]) -> Take {
    let which = Ends {
        dst: prefixes.iter().map(|p| range(p)).collect(),
        ..Ends::default()
    };
    Take {
        which,
        ..Take::default()
    }
}

/// A control group of the test's own, removed when it is dropped.
struct OwnCgroup(PathBuf);

impl OwnCgroup {
    fn new(path: &str) -> Self {
        let path = Path::new(path).strip_prefix("/").unwrap();
        let path = Cgroups::find().unwrap().mount().join(path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

fn takes(attached: &Attached) -> usize {
    let dir = attached.options().pin_root.join(attached.name());
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .filter(|e| e.file_name().to_string_lossy().starts_with("take-"))
        .count()
}

/// Without a daemon to beat: fresh for the whole test.
fn attached() -> Attached {
    Attached::with(|o| o.fallback_after = Duration::from_secs(3600))
}

#[test]
fn root_new_flows_towards_a_prefix_are_taken_and_given_back() {
    if skipped() {
        return;
    }
    let ns = namespace();
    ns.ip(["addr", "add", "fd77::1/128", "dev", "lo"]).unwrap();
    let attached = attached();
    let name = attached.name().to_owned();
    let taking = attached
        .take(Some(&towards(&["127.77.1.0/24", "fd77::/16"])))
        .unwrap();
    assert_eq!(taking.cgroups, [PathBuf::from("/")]);
    assert_eq!((taking.missing.len(), taking.living), (0, 0));

    let mut pairs = [
        Pair::new(&ns, "127.77.1.2:0"),
        Pair::new(&ns, "[fd77::1]:0"),
    ];
    for pair in &pairs {
        assert_eq!(pair.near(), name);
    }
    // Its remote end is the near one's address, which is another.
    assert_eq!(pairs[0].far(), "reno");
    // IPv4 over an IPv6 socket.
    let listener = Pair::listener(&ns, "[::]:0");
    let port = listener.local_addr().unwrap().port();
    let to: SocketAddr = format!("[::ffff:127.77.1.9]:{port}").parse().unwrap();
    let mapped = ns.run(|| TcpStream::connect(to)).unwrap().unwrap();
    assert_eq!(congestion_of(&mapped).unwrap(), name);
    // Just beside the prefix.
    assert_eq!(Pair::new(&ns, "127.77.2.1:0").near(), "reno");
    assert_eq!(Pair::new(&ns, "127.77.0.255:0").near(), "reno");
    let counters = attached.counters().unwrap();
    // Of the second pair both ends: they have one address.
    assert_eq!((counters.taken_new, counters.take_left), (4, 0));

    // Like any other flow: announced, and run by what it is told to.
    let mut daemon = Daemon::running(attached, &still(), &[(0, 200_000)]);
    daemon.until("the taken flow runs", |d| {
        pairs[0].talk();
        let local = pairs[0].near.local_addr().unwrap();
        let Some(create) = d.seen.of(local) else {
            return false;
        };
        let flow = d.datapath.flow(create.sock_id.0).unwrap();
        flow.mode == Mode::Running
    });

    let root = daemon.datapath.options().pin_root.clone();
    let left = daemon.datapath.detach();
    assert_eq!((left.refused, left.remaining), (0, 0), "{left:?}");
    assert_eq!(left.moved, left.given_back);
    for pair in &mut pairs {
        assert_eq!(pair.near(), "reno");
        pair.talk();
    }
    assert_eq!(congestion_of(&mapped).unwrap(), "reno");
    assert!(!root.exists());
    assert_eq!(Pair::new(&ns, "127.77.1.2:0").near(), "reno");
}

#[test]
fn root_what_a_flow_chose_is_left_unless_said_otherwise() {
    if skipped() {
        return;
    }
    let ns = namespace();
    let attached = attached();
    let name = attached.name().to_owned();
    let mut take = towards(&["127.77.3.0/24", "127.0.0.1/32"]);
    attached.take(Some(&take)).unwrap();
    // By its listening socket.
    let listener = Pair::listener(&ns, "127.77.3.1:0");
    set_congestion(&listener, "cubic").unwrap();
    let pair = Pair::accepted_by(&listener, &ns);
    assert_eq!((pair.near(), pair.far()), (name.clone(), "cubic".into()));
    assert_eq!(attached.counters().unwrap().take_left, 1);
    // By its route.
    ns.ip([
        "route",
        "add",
        "local",
        "127.77.3.7/32",
        "dev",
        "lo",
        "congctl",
        "cubic",
    ])
    .unwrap();
    let routed = Pair::new(&ns, "127.77.3.7:0");
    assert_eq!(routed.near(), "cubic");
    // Asked for by itself: nothing to take, nothing to count.
    let before = attached.counters().unwrap();
    set_congestion(&listener, &name).unwrap();
    let asked = Pair::accepted_by(&listener, &ns);
    assert_eq!(asked.far(), name);
    let after = attached.counters().unwrap();
    assert_eq!(after.taken_new, before.taken_new + 1, "the near end");
    assert_eq!(after.take_left, before.take_left);

    // Those too; they get back what they chose.
    take.chosen_too = true;
    attached.take(Some(&take)).unwrap();
    set_congestion(&listener, "cubic").unwrap();
    let chosen = Pair::accepted_by(&listener, &ns);
    assert_eq!(chosen.far(), name);
    let routed = Pair::new(&ns, "127.77.3.7:0");
    assert_eq!(routed.near(), name);
    // A route may also insist, for both ends.
    let insists = "route add local 127.77.3.8/32 dev lo congctl lock cubic";
    ns.ip(insists.split(' ')).unwrap();
    let locked = Pair::new(&ns, "127.77.3.8:0");
    assert_eq!(
        (locked.near(), locked.far()),
        ("cubic".into(), "cubic".into())
    );
    assert_eq!(attached.counters().unwrap().take_refused, 2);
    attached.detach();
    assert_eq!(
        (chosen.far(), chosen.near()),
        ("cubic".into(), "reno".into())
    );
    assert_eq!(routed.near(), "cubic");
    assert_eq!(asked.far(), "cubic");
}

#[test]
fn root_living_flows_are_taken_and_a_new_choice_replaces_the_old() {
    if skipped() {
        return;
    }
    let ns = namespace();
    let mut old = Pair::new(&ns, "127.77.4.1:0");
    let other = Pair::new(&ns, "127.77.5.1:0");
    let port = other.near.peer_addr().unwrap().port();
    let attached = attached();
    let name = attached.name().to_owned();
    // Not those under way.
    let mut take = towards(&["127.77.4.0/23"]);
    assert_eq!(attached.take(Some(&take)).unwrap().living, 0);
    assert_eq!(old.near(), "reno");
    take.living = true;
    take.except.dst_ports = vec![(port, port)];
    let taking = attached.take(Some(&take)).unwrap();
    assert_eq!((taking.living, taking.unreached.len()), (1, 0));
    assert_eq!((old.near(), other.near()), (name.clone(), "reno".into()));
    assert_eq!(takes(&attached), 1);
    old.talk();

    // Ports, both ends, and addresses that are left.
    let listener = Pair::listener(&ns, "127.77.4.2:0");
    let port = listener.local_addr().unwrap().port();
    let mut take = Take::default();
    take.which.src_ports = vec![(1, 1), (port, port)];
    take.except.dst = vec![range("127.77.4.3/32")];
    attached.take(Some(&take)).unwrap();
    let pair = Pair::accepted_by(&listener, &ns);
    assert_eq!((pair.near(), pair.far()), ("reno".into(), name.clone()));
    // Everything that is given has to fit.
    take.which.src = vec![range("127.77.4.9/32")];
    attached.take(Some(&take)).unwrap();
    assert_eq!(Pair::accepted_by(&listener, &ns).far(), "reno");
    assert_eq!(takes(&attached), 1);

    // What cannot be had changes nothing.
    let mut wrong = towards(&["127.77.6.0/24"]);
    wrong.which.dst_ports = vec![(1, 2); Take::MOST_PORTS + 1];
    let error = attached.take(Some(&wrong)).unwrap_err();
    assert!(matches!(error, TakeError::TooMany { .. }), "{error}");
    assert_eq!(takes(&attached), 1);
    // And none is none; what was taken stays.
    attached.take(None).unwrap();
    assert_eq!(takes(&attached), 0);
    assert_eq!(Pair::new(&ns, "127.77.4.1:0").near(), "reno");
    assert_eq!(old.near(), name);
    // Idle, and handed back all the same.
    attached.detach();
    assert_eq!((old.near(), pair.far()), ("reno".into(), "reno".into()));
}

#[test]
fn root_cgroups_that_come_later_are_found() {
    if skipped() {
        return;
    }
    let attached = attached();
    let path = format!("/{}", attached.name());
    let mut take = Take::default();
    take.which.cgroups = vec![PathBuf::from(&path)];
    let taking = attached.take(Some(&take)).unwrap();
    assert_eq!(taking.missing, [PathBuf::from(&path)]);
    assert_eq!(takes(&attached), 0);
    let pause = |cgroup: OwnCgroup| drop(cgroup);
    for _ in 0..2 {
        let cgroup = OwnCgroup::new(&path);
        let taking = attached.look_for_cgroups().unwrap();
        assert_eq!(taking.cgroups, [PathBuf::from(&path)]);
        assert_eq!((taking.missing.len(), takes(&attached)), (0, 1));
        assert_eq!(attached.look_for_cgroups().unwrap().cgroups.len(), 0);
        pause(cgroup);
        // Gone: so is the pin.
        let taking = attached.look_for_cgroups().unwrap();
        assert_eq!((taking.missing.len(), takes(&attached)), (1, 0));
    }
}

#[test]
fn root_a_dead_daemon_takes_nothing_and_beyond_limits_flows_keep_what_they_had() {
    if skipped() {
        return;
    }
    let ns = namespace();
    let limit = Duration::from_secs(1);
    let mut attached = Attached::with(|o| {
        o.fallback_after = limit;
        o.max_flows = 1;
    });
    let name = attached.name().to_owned();
    let take = towards(&["127.77.8.0/24"]);
    attached.take(Some(&take)).unwrap();
    attached.beat();
    let first = Pair::new(&ns, "127.77.8.1:0");
    assert_eq!(first.near(), name);
    // There is no slot for a second one.
    attached.beat();
    let second = Pair::new(&ns, "127.77.8.1:0");
    assert_eq!(second.near(), "reno");
    let counters = attached.counters().unwrap();
    assert_eq!((counters.native_limit, counters.take_refused), (1, 1));
    assert_eq!(counters.handover_failed, 0);
    drop(first);
    // Killed: for a moment as before (unless this machine took longer than that), then not any more.
    let beat = Instant::now();
    attached.datapath_mut().beat();
    attached.abandon();
    let third = Pair::new(&ns, "127.77.8.1:0");
    let then = third.near();
    assert!(then == name || beat.elapsed() > limit, "{then}");
    drop(third);
    std::thread::sleep(limit + Duration::from_millis(50));
    assert_eq!(Pair::new(&ns, "127.77.8.1:0").near(), "reno");
    assert_eq!(takes(&attached), 1);
    // The next one goes on, with a choice of its own.
    attached.attach_again();
    attached.take(Some(&take)).unwrap();
    attached.beat();
    assert_eq!(takes(&attached), 1);
    let fourth = Pair::new(&ns, "127.77.8.1:0");
    assert_eq!(fourth.near(), name);
    // Cleaned up after it was killed again.
    attached.abandon();
    let left = clean_up(attached.options()).unwrap().unwrap();
    assert_eq!((left.given_back, left.refused), (1, 0), "{left:?}");
    assert_eq!(fourth.near(), "reno");
    assert!(!attached.options().pin_root.exists());
}

#[test]
fn root_only_flows_of_the_namespaces_that_are_served_are_taken() {
    if skipped() {
        return;
    }
    let ns = namespace();
    let attached = Attached::with(|o| {
        o.fallback_after = Duration::from_secs(3600);
        o.namespaces = Namespaces::Initial;
    });
    let here = Pair::connected("127.77.9.1:0");
    let there = Pair::new(&ns, "127.77.9.1:0");
    let usual = here.near();
    let mut take = towards(&["127.77.9.0/24"]);
    take.living = true;
    let taking = attached.take(Some(&take)).unwrap();
    assert_eq!((taking.living, taking.unreached.len()), (1, 0));
    assert_eq!(here.near(), attached.name());
    assert_eq!(there.near(), "reno");
    assert_eq!(Pair::connected("127.77.9.1:0").near(), attached.name());
    assert_eq!(Pair::new(&ns, "127.77.9.1:0").near(), "reno");
    attached.detach();
    assert_eq!(here.near(), usual);
}

/// Others' programs at the same control group.
#[test]
fn root_others_programs_stay_and_may_keep_ours_out() {
    if skipped() {
        return;
    }
    let attached = attached();
    let path = format!("/{}", attached.name());
    let cgroup = OwnCgroup::new(&path);
    let dir = fs::File::open(&cgroup.0).unwrap();
    let theirs = sockops_program();
    let attach = |flags| {
        // SAFETY: open descriptors.
        unsafe {
            libbpf_sys::bpf_prog_attach(
                theirs.as_raw_fd(),
                dir.as_raw_fd(),
                libbpf_sys::BPF_CGROUP_SOCK_OPS,
                flags,
            )
        }
    };
    // Beside others.
    assert_eq!(attach(libbpf_sys::BPF_F_ALLOW_MULTI), 0);
    let mut take = Take::default();
    take.which.cgroups = vec![PathBuf::from(&path)];
    attached.take(Some(&take)).unwrap();
    assert_eq!(takes(&attached), 1);
    attached.take(None).unwrap();
    // SAFETY: open descriptors.
    let gone = unsafe {
        libbpf_sys::bpf_prog_detach2(
            theirs.as_raw_fd(),
            dir.as_raw_fd(),
            libbpf_sys::BPF_CGROUP_SOCK_OPS,
        )
    };
    assert_eq!(gone, 0, "it was still there");
    // One that wants to be alone. What was in force stays.
    assert_eq!(attach(0), 0);
    let before = towards(&["127.77.10.0/24"]);
    attached.take(Some(&before)).unwrap();
    let refused = attached.take(Some(&take)).unwrap_err().to_string();
    assert!(refused.contains(&path), "{refused}");
    assert!(refused.contains("allows none beside itself"), "{refused}");
    assert_eq!(takes(&attached), 1);
    let ns = namespace();
    assert_eq!(Pair::new(&ns, "127.77.10.1:0").near(), attached.name());
}

/// `return 1`.
fn sockops_program() -> OwnedFd {
    let insns = [
        libbpf_sys::bpf_insn {
            code: 0xb7,
            imm: 1,
            ..Default::default()
        },
        libbpf_sys::bpf_insn {
            code: 0x95,
            ..Default::default()
        },
    ];
    // SAFETY: two instructions, and strings that end with a zero.
    let fd = unsafe {
        libbpf_sys::bpf_prog_load(
            libbpf_sys::BPF_PROG_TYPE_SOCK_OPS,
            c"theirs".as_ptr(),
            c"GPL".as_ptr(),
            insns.as_ptr(),
            insns.len() as _,
            std::ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "{fd}");
    // SAFETY: just opened, and nobody else's.
    unsafe { OwnedFd::from_raw_fd(fd) }
}
