use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};

use super::{Leaves, PassedSocket, Places, SocketError, SocketFile};

fn mode(path: &std::path::Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn the_file_has_its_mode_from_the_start_and_goes_with_its_owner() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/for/it/control.sock");
    let (file, _socket) = SocketFile::listen(&path, 0o600, &mut Places::default()).unwrap();
    assert_eq!(mode(&path), 0o600);
    drop(file);
    assert!(!path.exists());
    assert!(
        !path.parent().unwrap().exists(),
        "the directory was made for it"
    );
}

#[test]
fn wider_rights_are_given_whatever_the_mask() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("datapath.sock");
    let (_file, _socket) = SocketFile::datagram(&path, 0o666, &mut Places::default()).unwrap();
    assert_eq!(mode(&path), 0o666);
}

#[test]
fn a_directory_that_was_there_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("control.sock");
    drop(SocketFile::listen(&path, 0o600, &mut Places::default()).unwrap());
    assert!(dir.path().is_dir());
}

#[test]
fn who_listens_keeps_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    for result in [
        SocketFile::listen(&path, 0o600, &mut Places::default()),
        SocketFile::datagram(&path, 0o600, &mut Places::default()),
    ] {
        assert!(
            matches!(result, Err(SocketError::InUse { .. })),
            "{result:?}"
        );
    }
    assert!(path.exists());
    drop(listener);

    fs::remove_file(&path).unwrap();
    let datagram = UnixDatagram::bind(&path).unwrap();
    let error = SocketFile::datagram(&path, 0o600, &mut Places::default()).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("is in use: another program listens"),
        "{error}"
    );
    drop(datagram);
}

#[test]
fn what_a_killed_daemon_left_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    drop(UnixDatagram::bind(&path).unwrap());
    assert!(path.exists());
    let (_file, _socket) = SocketFile::datagram(&path, 0o600, &mut Places::default()).unwrap();
    UnixDatagram::unbound().unwrap().connect(&path).unwrap();
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    fs::write(&path, "precious").unwrap();
    let error = SocketFile::listen(&path, 0o600, &mut Places::default()).unwrap_err();
    assert!(matches!(error, SocketError::NotASocket { .. }), "{error:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
}

#[test]
fn a_file_that_took_our_place_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let (file, _socket) = SocketFile::listen(&path, 0o600, &mut Places::default()).unwrap();
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    drop(file);
    assert!(path.exists());
    drop(other);
}

#[test]
fn a_directory_goes_with_the_last_of_its_sockets() {
    let dir = tempfile::tempdir().unwrap();
    let made = dir.path().join("made");
    let mut places = Places::default();
    let first = SocketFile::listen(&made.join("a"), 0o600, &mut places).unwrap();
    let second = SocketFile::datagram(&made.join("b"), 0o600, &mut places).unwrap();
    drop(places);
    drop(first);
    assert!(made.join("b").exists() && !made.join("a").exists());
    drop(second);
    assert!(!made.exists());
}

/// All that was made goes, and nothing else: neither what was there nor what others put there.
#[test]
fn directories_within_each_other_go_together() {
    let dir = tempfile::tempdir().unwrap();
    let (one, two) = (dir.path().join("one"), dir.path().join("one/two/three"));
    let mut places = Places::default();
    let (deep, _socket) = SocketFile::listen(&two.join("a"), 0o600, &mut places).unwrap();
    let (flat, _socket) = SocketFile::listen(&one.join("b"), 0o600, &mut places).unwrap();
    drop(places);
    drop(deep);
    assert!(!one.join("two").exists());
    assert!(one.join("b").exists());
    drop(flat);
    assert!(!one.exists());
    assert!(dir.path().exists());
}

/// The store of a service manager can hold one whose file was removed and one that was made instead.
#[test]
fn the_second_of_two_kept_sockets_with_one_path_does_not_cost_the_first_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let kept = || {
        let _ = fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        PassedSocket::new(PassedSocket::KEPT, socket.into())
    };
    let passed = vec![kept(), kept()];
    let mut places = Places::new(passed, Leaves::default()).unwrap();
    let (file, _socket) = SocketFile::datagram(&path, 0o600, &mut places).unwrap();
    assert_eq!(places.finish().unwrap().len(), 1);
    assert!(path.exists());
    drop(file);
    assert!(!path.exists());
}

/// Anybody may do so who can read the directory.
#[test]
fn a_directory_that_somebody_keeps_locked_does_not_keep_the_daemon_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let theirs = fs::File::open(dir.path()).unwrap();
    rustix::fs::flock(&theirs, rustix::fs::FlockOperation::LockShared).unwrap();
    let (made, is_made) = std::sync::mpsc::channel();
    let path = dir.path().join("s");
    let thread = std::thread::spawn(move || {
        made.send(SocketFile::listen(&path, 0o600, &mut Places::default()).is_ok())
    });
    let is_made = is_made.recv_timeout(super::LOCKED_WITHIN * 10);
    drop(theirs);
    assert_eq!(is_made, Ok(true));
    thread.join().unwrap().unwrap();
}

/// Whose directory it is could put a link to any file in the place of the socket before its mode is set.
#[test]
fn others_directories_are_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("not run: only root can give directories away");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (theirs, ours) = (dir.path().join("theirs"), dir.path().join("theirs/ours"));
    fs::create_dir_all(&ours).unwrap();
    std::os::unix::fs::chown(&theirs, Some(1001), None).unwrap();
    for path in [theirs.join("s"), ours.join("s"), theirs.join("new/s")] {
        let error = SocketFile::datagram(&path, 0o666, &mut Places::default()).unwrap_err();
        let expected = format!("{} belongs to user 1001, who could", theirs.display());
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(!path.exists());
    }
    std::os::unix::fs::chown(&theirs, Some(0), None).unwrap();
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o777)).unwrap();
    let path = theirs.join("s");
    let error = SocketFile::listen(&path, 0o600, &mut Places::default()).unwrap_err();
    assert!(
        error.to_string().contains("can be written by everybody"),
        "{error}"
    );
    // As /tmp is.
    fs::set_permissions(&theirs, fs::Permissions::from_mode(0o1777)).unwrap();
    SocketFile::listen(&path, 0o600, &mut Places::default()).unwrap();
}
