use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use rustix::process::geteuid;

use super::{Target, Untrusted};

fn own() -> u32 {
    geteuid().as_raw()
}

#[test]
fn a_socket_of_the_senders_own_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("datapath");
    let socket = UnixDatagram::bind(&path).unwrap();
    let target = Target::open(&path, own()).unwrap();
    let sender = UnixDatagram::unbound().unwrap();
    let proc = format!("{:?}", target.address());
    assert!(proc.contains("/proc/self/fd/"), "{proc}");
    rustix::net::connect(&sender, target.address()).unwrap();
    sender.send(b"there").unwrap();
    let mut buffer = [0; 8];
    assert_eq!(socket.recv(&mut buffer).unwrap(), 5);
}

#[test]
fn what_is_not_the_senders_is_not_answered() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("datapath");
    let _socket = UnixDatagram::bind(&path).unwrap();
    let other = own() + 4711;
    let error = Target::open(&path, other).unwrap_err();
    assert!(
        matches!(error, Untrusted::Socket { owner, sender } if owner == own() && sender == other),
        "{error}"
    );
    // Through a link it would be another one's all the same.
    let link = dir.path().join("link");
    symlink(&path, &link).unwrap();
    let error = Target::open(&link, own()).unwrap_err();
    assert!(matches!(error, Untrusted::NoSocket), "{error}");
    std::fs::write(dir.path().join("file"), "").unwrap();
    let error = Target::open(&dir.path().join("file"), own()).unwrap_err();
    assert!(matches!(error, Untrusted::NoSocket), "{error}");
    let error = Target::open(&dir.path().join("nothing"), own()).unwrap_err();
    assert!(matches!(error, Untrusted::Missing(_)), "{error}");
    for relative in ["datapath", "", "./datapath"] {
        let error = Target::open(Path::new(relative), own()).unwrap_err();
        assert!(matches!(error, Untrusted::Relative), "{relative}: {error}");
    }
}

#[test]
fn a_directory_of_a_third_user_is_not_trusted() {
    if own() != 0 {
        eprintln!("SKIPPED: a directory can be given to another user by root only");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let theirs = dir.path().join("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::set_permissions(&theirs, PermissionsExt::from_mode(0o777)).unwrap();
    let path = theirs.join("datapath");
    let _socket = UnixDatagram::bind(&path).unwrap();
    std::os::unix::fs::chown(&path, Some(1001), None).unwrap();
    std::os::unix::fs::chown(&theirs, Some(1002), None).unwrap();
    let error = Target::open(&path, 1001).unwrap_err();
    assert!(
        matches!(error, Untrusted::Directory { owner: 1002 }),
        "{error}"
    );
    // Root's own directory, or the sender's, will do.
    for owner in [0, 1001] {
        std::os::unix::fs::chown(&theirs, Some(owner), None).unwrap();
        Target::open(&path, 1001).unwrap();
    }
}
