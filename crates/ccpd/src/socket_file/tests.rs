use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixDatagram, UnixListener};

use super::{Places, SocketError, SocketFile};

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
