//! Coming, staying, going.

use std::collections::HashSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Duration;

use ccp_ebpf::layout::{LAYOUT_VERSION, MAX_PROGRAMS};
use ccp_ebpf::{AttachError, Mode, Options, TcpDatapath, clean_up};
use ccp_lab::{Bulk, Namespace, Until, congestion_of, set_congestion};
use ccp_types::Origin;
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::common::{
    Attached, Daemon, bound, is_registered, options, skipped, still, unique_name, wait,
};

const DEFAULT: &str = "net.ipv4.tcp_congestion_control";

fn attach_error(options: Options) -> AttachError {
    match TcpDatapath::attach(options) {
        Ok(datapath) => {
            datapath.detach().unwrap();
            panic!("attached");
        }
        Err(e) => e,
    }
}

#[test]
fn root_attach_and_detach_leave_nothing() {
    if skipped() {
        return;
    }
    let datapath = Attached::new();
    let name = datapath.name().to_owned();
    let root = datapath.options().pin_root.clone();
    assert!(is_registered(&name));
    assert!(!datapath.adopted());
    assert!(root.join(&name).join("link").exists());
    let options = datapath.options().clone();
    let left = datapath.detach();
    assert_eq!(
        (
            left.moved,
            left.refused,
            left.defaults_reset,
            left.remaining
        ),
        (0, 0, 0, 0)
    );
    assert!(!is_registered(&name));
    assert!(!root.exists());
    assert!(clean_up(&options).unwrap().is_none());
}

#[test]
fn root_names_are_refused_by_what_is_wrong() {
    if skipped() {
        return;
    }
    let mut cubic = options(&unique_name());
    cubic.name = "cubic".into();
    let root = cubic.pin_root.clone();
    let taken = attach_error(cubic);
    assert!(matches!(taken, AttachError::NameTaken { .. }), "{taken}");
    assert!(taken.to_string().contains("`cubic` is taken"), "{taken}");
    assert!(!root.exists());
    assert!(is_registered("cubic"));

    let long = attach_error(options("a_name_of_sixteen"));
    assert!(long.to_string().contains("too long"), "{long}");

    let first = Attached::new();
    let second = attach_error(first.options().clone());
    assert!(matches!(second, AttachError::Running { .. }), "{second}");
    assert!(
        second
            .to_string()
            .contains("another process runs the datapath"),
        "{second}"
    );
    let cleaning = clean_up(first.options()).unwrap_err();
    assert!(
        matches!(cleaning, AttachError::Running { .. }),
        "{cleaning}"
    );

    // The same name from elsewhere: the kernel refuses, and the first one is untouched.
    let mut elsewhere = first.options().clone();
    elsewhere.pin_root = root;
    let other = attach_error(elsewhere);
    assert!(matches!(other, AttachError::NameTaken { .. }), "{other}");
    assert!(is_registered(first.name()));
}

/// A killed daemon: flows go on, new ones too; the next daemon adopts all of them. Several times.
#[test]
fn root_a_restarted_daemon_adopts() {
    if skipped() {
        return;
    }
    let mut attached = Attached::with(|o| o.fallback_after = Duration::from_millis(100));
    let name = attached.name().to_owned();
    let ns = Namespace::new("adopt").unwrap();
    let bulk = || {
        Bulk::new(Until::Stopped)
            .congestion(&name)
            .start(&ns, &ns, Ipv4Addr::LOCALHOST)
            .unwrap()
    };
    let mut flows = vec![bulk()];
    for round in 0..3 {
        let mut daemon = Daemon::running(attached, &still(), &[]);
        let n = flows.len();
        daemon.until("every flow announced", |d| d.seen.creates.len() >= n);
        daemon.until("every flow running", |d| {
            d.datapath
                .flows()
                .filter(|f| f.mode == Mode::Running)
                .count()
                == n
        });
        let origins = daemon
            .seen
            .creates
            .iter()
            .map(|c| c.details.unwrap().origin);
        let adopted = origins.filter(|o| *o == Origin::Adopted).count();
        assert_eq!(adopted, if round == 0 { 0 } else { n }, "round {round}");
        attached = daemon.datapath;
        assert_eq!(attached.adopted(), round > 0);
        attached.abandon();
        assert!(is_registered(&name));
        // With nobody there.
        flows.push(bulk());
        std::thread::sleep(Duration::from_millis(150));
        for flow in &flows {
            let before = flow.bytes_received();
            wait("bytes", || flow.bytes_received() > before);
            assert_eq!(flow.congestion().unwrap(), name);
        }
        attached.attach_again();
    }
    drop(attached);
    assert!(!is_registered(&name));
    for flow in flows {
        assert_eq!(flow.congestion().unwrap(), "cubic");
        flow.stop();
        flow.wait().unwrap();
    }
}

/// A flow that carries the handle of a program of before does not take another program for its own.
#[test]
fn root_a_restarted_daemon_uses_no_handle_again() {
    if skipped() {
        return;
    }
    let mut attached = Attached::new();
    let maps = attached.options().pin_root.join(attached.name());
    let path = maps.join(format!("v{LAYOUT_VERSION}")).join("program_meta");
    let handles = || -> Vec<u32> {
        let map = MapHandle::from_pinned_path(&path).unwrap();
        let handle = |index: u32| {
            let value = map.lookup(&index.to_ne_bytes(), MapFlags::ANY).unwrap();
            u32::from_ne_bytes(value.unwrap()[..4].try_into().unwrap())
        };
        (1..MAX_PROGRAMS as u32).map(handle).collect()
    };
    let mut seen = HashSet::new();
    let program = bound(&still());
    for _ in 0..3 {
        attached.install(1, &program).unwrap();
        // One that is gone already when the daemon dies counts too.
        attached.install(2, &program).unwrap();
        let installed: Vec<u32> = handles().into_iter().filter(|h| h & 0xff != 0).collect();
        assert_eq!(installed.len(), 2);
        for handle in installed {
            assert!(seen.insert(handle), "{handle:#x} again");
        }
        assert!(attached.remove(2).unwrap());
        attached.abandon();
        attached.attach_again();
        assert!(handles().iter().all(|h| h & 0xff == 0), "all void");
    }
}

/// Busy and idle flows, listening sockets and defaults, here and in other namespaces.
#[test]
fn root_a_clean_stop_hands_everything_back() {
    if skipped() {
        return;
    }
    let attached = Attached::new();
    let name = attached.name().to_owned();
    let mut daemon = Daemon::running(attached, &still(), &[]);
    let ns = Namespace::new("stop").unwrap();
    ns.set_sysctl(DEFAULT, &name).unwrap();
    let busy = Bulk::new(Until::Stopped)
        .start(&ns, &ns, Ipv4Addr::LOCALHOST)
        .unwrap();
    assert_eq!(busy.congestion().unwrap(), name);
    let (listener, idle, accepted) = ns
        .run(|| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let idle = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            let (accepted, _) = listener.accept().unwrap();
            (listener, idle, accepted)
        })
        .unwrap();
    assert_eq!(congestion_of(&accepted).unwrap(), name);
    // In the namespace of this test's own process: on loopback, with the name asked for.
    let here = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    set_congestion(&here, &name).unwrap();

    daemon.until("flows", |d| d.datapath.flows().count() == 4);
    daemon.until("busy", |d| d.seen.of(busy.local()).is_some());
    daemon.until("33 packets", |d| {
        let info = busy.info().unwrap();
        d.write(busy.local(), None, &[(0, 33 * u64::from(info.mss_bytes))]);
        info.cwnd_packets == 33
    });

    let left = daemon.datapath.detach();
    assert_eq!(
        (left.refused, left.defaults_reset, left.remaining),
        (0, 1, 0),
        "{left:?}"
    );
    assert!(!is_registered(&name));
    let default = ns.sysctl(DEFAULT).unwrap();
    let allowed = fs::read_to_string("/proc/sys/net/ipv4/tcp_allowed_congestion_control").unwrap();
    let allowed: Vec<&str> = allowed.split_whitespace().collect();
    if allowed.contains(&"cubic") {
        assert_eq!(default.trim(), "cubic");
    } else {
        assert!(
            allowed.contains(&default.trim()),
            "{default} of {allowed:?}"
        );
    }
    assert_eq!(busy.congestion().unwrap(), "cubic");
    for socket in [&idle, &accepted] {
        assert_eq!(congestion_of(socket).unwrap(), "cubic");
    }
    for socket in [&listener, &here] {
        assert_eq!(congestion_of(socket).unwrap(), "cubic");
    }
    // The window went along, and does not start slowly again.
    let info = busy.info().unwrap();
    assert!((20..200).contains(&info.cwnd_packets), "{info:?}");
    assert!(info.ssthresh_packets.is_some(), "{info:?}");
    busy.stop();
    busy.wait().unwrap();
}

/// What is left when nobody comes back.
#[test]
fn root_leftovers_can_be_cleaned_up() {
    if skipped() {
        return;
    }
    let mut attached = Attached::new();
    let name = attached.name().to_owned();
    let ns = Namespace::new("left").unwrap();
    let flow = Bulk::new(Until::Stopped)
        .congestion(&name)
        .start(&ns, &ns, Ipv4Addr::LOCALHOST)
        .unwrap();
    attached.abandon();
    let left = clean_up(attached.options())
        .unwrap()
        .expect("something was left");
    assert_eq!(left.remaining, 0, "{left:?}");
    assert!(!is_registered(&name));
    assert!(!attached.options().pin_root.exists());
    assert_eq!(flow.congestion().unwrap(), "cubic");
    flow.stop();
    flow.wait().unwrap();
}

/// A start that was killed between its pins and its registration does not stop the next one.
#[test]
fn root_pins_without_a_name_are_thrown_away() {
    if skipped() {
        return;
    }
    let mut attached = Attached::new();
    attached.abandon();
    let dir = attached.options().pin_root.join(attached.name());
    // Takes the name away, as if it had never been registered.
    fs::remove_file(dir.join("link")).unwrap();
    wait("the name to go", || !is_registered(attached.name()));
    attached.attach_again();
    assert!(!attached.adopted());
    assert!(is_registered(attached.name()));
}

/// Whoever removed the pins by hand did part of a clean stop; the rest is done all the same.
#[test]
fn root_a_stop_bears_pins_that_were_removed_by_hand() {
    if skipped() {
        return;
    }
    let attached = Attached::new();
    let name = attached.name().to_owned();
    let dir = attached.options().pin_root.join(&name);
    fs::remove_file(dir.join("link")).unwrap();
    let maps = format!("v{LAYOUT_VERSION}");
    for entry in fs::read_dir(dir.join(&maps)).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    fs::remove_dir(dir.join(&maps)).unwrap();
    fs::remove_dir(&dir).unwrap();
    attached.detach();
    assert!(!is_registered(&name));
}
