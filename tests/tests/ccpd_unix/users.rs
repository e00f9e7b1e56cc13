//! Datapaths of several users on one socket: who is who is what the kernel says, and only what belongs to the
//! sender is answered.
//!
//! The users are threads that gave up root. Without root there are none: these tests say so and end.

use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::thread;
use std::time::Duration;

use bytes::BytesMut;
use ccp_wire::{Encode as _, MeasureBuf, Ready};
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_uid;

use super::fake::{Fake, Told, local, measure};
use super::{Daemon, PATIENCE};

const ALICE: u32 = 64_001;
const EVE: u32 = 64_002;

/// A daemon on whose socket everybody may send, in a directory where everybody may bind.
async fn open_to_all() -> Option<Daemon> {
    if !geteuid().is_root() {
        let name = thread::current().name().unwrap_or("test").to_owned();
        assert!(std::env::var("CI").is_err(), "{name} needs root");
        eprintln!("SKIPPED: {name}: only root can be several users");
        return None;
    }
    let daemon = Daemon::start().await;
    let open = |path: &Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    open(daemon.dir.path(), 0o777);
    open(&daemon.datapath(), 0o666);
    Some(daemon)
}

/// Does `work` as the user `uid`.
fn as_user<T: Send>(uid: u32, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let user = scope.spawn(|| {
            set_thread_uid(Uid::from_raw(uid)).unwrap();
            work()
        });
        user.join().unwrap()
    })
}

/// Whether nothing comes to `socket` for a while in which the daemon would have answered.
fn hears_nothing(socket: &UnixDatagram) -> bool {
    let wait = Duration::from_millis(200);
    socket.set_read_timeout(Some(wait)).unwrap();
    let error = socket.recv(&mut [0; 64]).err();
    error.is_some_and(|error| error.kind() == ErrorKind::WouldBlock)
}

fn ready() -> BytesMut {
    let ready = Ready {
        id: 0,
        capabilities: None,
    };
    ready.to_frame().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn any_user_may_have_a_datapath_and_nobody_elses() {
    let Some(daemon) = open_to_all().await else {
        return;
    };
    let at = daemon.datapath();
    let path = daemon.path("shared");
    // Eve's socket still has the name by which Alice's is known.
    let eves = as_user(EVE, || {
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::rename(&path, path.with_file_name("moved")).unwrap();
        socket
    });
    let mut alices = as_user(ALICE, || {
        let mut fake = Fake::ready(&at, "shared");
        fake.open(1, 1001);
        let (uid, _) = fake.started(1);
        fake.report(1, uid, &[50_000]);
        assert_eq!(fake.window(1), 50_000);
        (fake, uid)
    });
    let forged = [
        MeasureBuf::close(ccp_types::SockId(1)).to_frame().unwrap(),
        measure(1, alices.1, &[66_666]).to_frame().unwrap(),
        ready(),
    ];
    as_user(EVE, || {
        for frame in &forged {
            eves.send_to(frame, &at).unwrap();
        }
    });
    assert!(hears_nothing(&eves));
    let flows = daemon.flows().await;
    assert_eq!((flows.len(), flows[0].src), (1, local(1001)));
    as_user(ALICE, || {
        let (fake, uid) = &mut alices;
        fake.report(1, *uid, &[60_000]);
        // Neither the report nor a program that READY would have brought came in between.
        match fake.told() {
            Told::Update(update) => assert_eq!(update.fields[0].value, 60_000),
            other => panic!("{other:?}"),
        }
    });
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_another_users_by_now_is_another_datapath() {
    let Some(daemon) = open_to_all().await else {
        return;
    };
    let at = daemon.datapath();
    let alices = as_user(ALICE, || {
        let mut fake = Fake::ready(&at, "shared");
        fake.open(1, 1001);
        fake.started(1);
        fake
    });
    // Its process has ended, and before that is noticed somebody else uses the path.
    drop(alices);
    let eves = as_user(EVE, || {
        let mut fake = Fake::ready(&at, "shared");
        fake.open(1, 2001);
        fake.started(1);
        fake
    });
    let flows = daemon.await_flows(|flows| flows.len() == 1).await;
    assert_eq!(flows[0].src, local(2001));
    drop(eves);
    daemon.await_flows(<[_]>::is_empty).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_answered_at_somebody_elses_socket() {
    let Some(daemon) = open_to_all().await else {
        return;
    };
    let at = daemon.datapath();
    let path = daemon.path("victim");
    let eves = as_user(EVE, || {
        let socket = UnixDatagram::bind(&path).unwrap();
        std::fs::rename(&path, path.with_file_name("moved")).unwrap();
        socket
    });
    // A service of root, in a directory of the daemon's own user.
    let victim = UnixDatagram::bind(&path).unwrap();
    as_user(EVE, || eves.send_to(&ready(), &at).unwrap());
    assert!(hears_nothing(&victim));
    // An address that is no path, and one that is not in a directory that can be looked at.
    let name = format!("ccpd-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(name).unwrap();
    let nowhere = UnixDatagram::bind_addr(&address).unwrap();
    nowhere.send_to(&ready(), &at).unwrap();
    assert!(hears_nothing(&nowhere));
    assert_eq!(daemon.flows().await, []);
    // The service itself may be a datapath.
    victim.send_to(&ready(), &at).unwrap();
    victim.set_read_timeout(Some(PATIENCE)).unwrap();
    assert!(victim.recv(&mut [0; 1 << 16]).unwrap() > 8);
    daemon.stop().await;
}
