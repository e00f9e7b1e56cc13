//! `ccpd` is given its sockets, and gives them on: to a service manager's store, to the daemon after it, to the
//! program that takes its place. The test plays the manager's side of sd_listen_fds(3) and sd_notify(3).

use std::fs::{self, File};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, OwnedFd, RawFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use ccp_tests::{binaries, within};
use ccp_wire::{Encode as _, Kind, Ready, frames};
use rustix::net::sockopt::set_socket_passcred;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(10);

/// The directory of a daemon after a daemon, and the manager's socket in it.
struct Manager {
    dir: tempfile::TempDir,
    notify: UnixDatagram,
}

/// What a manager was told, and the descriptors that came with it.
#[derive(Debug)]
struct Told(String, Vec<OwnedFd>);

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notify = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        notify.set_read_timeout(Some(PATIENCE)).unwrap();
        let manager = Self { dir, notify };
        manager.configure("");
        manager
    }

    fn configure(&self, more: &str) {
        let text = format!(
            "[ccpd]\ncontrol = '{}'\n[[datapath]]\nkind = 'unix'\npath = '{}'\n{more}\n",
            self.control().display(),
            self.datapath().display()
        );
        fs::write(self.path("ccpd.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn control(&self) -> PathBuf {
        self.path("control.sock")
    }

    fn datapath(&self) -> PathBuf {
        self.path("datapath.sock")
    }

    /// Starts a daemon with these sockets.
    fn start(&self, program: &Path, sockets: &[(&str, OwnedFd)]) -> Running {
        let names: Vec<&str> = sockets.iter().map(|(name, _)| *name).collect();
        // Only the process itself knows its number, and keeps it when it becomes the daemon.
        let mut command = Command::new("sh");
        command
            .args(["-c", "LISTEN_PID=$$ exec \"$@\"", "sh"])
            .arg(program)
            .arg("--config")
            .arg(self.path("ccpd.toml"))
            .env("NO_COLOR", "1")
            .env("NOTIFY_SOCKET", self.path("notify"))
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .stdin(Stdio::null())
            .stderr(self.log_file());
        if sockets.is_empty() {
            command
                .env_remove("LISTEN_FDS")
                .env_remove("LISTEN_FDNAMES");
        }
        let numbers: Vec<RawFd> = sockets.iter().map(|(_, fd)| fd.as_raw_fd()).collect();
        let place = move || {
            // Aside first: one may stand where another is to be.
            let mut aside = [0; 8];
            for (aside, number) in aside.iter_mut().zip(&numbers) {
                // SAFETY: `fcntl` with numbers only.
                *aside = unsafe { libc::fcntl(*number, libc::F_DUPFD_CLOEXEC, 100) };
            }
            for (at, aside) in (3..).zip(&aside[..numbers.len()]) {
                // SAFETY: after the fork, in the child that becomes another program.
                if unsafe { libc::dup2(*aside, at) } < 0 {
                    return Err(std::io::Error::last_os_error());
                }
            }
            Ok(())
        };
        // SAFETY: `place` makes system calls only.
        unsafe { command.pre_exec(place) };
        Running(command.spawn().unwrap())
    }

    fn log_file(&self) -> File {
        let mut log = File::options();
        log.create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn told(&self) -> Told {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let iov = &mut [IoSliceMut::new(&mut text)];
        let received = recvmsg(&self.notify, iov, &mut control, RecvFlags::CMSG_CLOEXEC);
        let received = received.unwrap_or_else(|e| panic!("nothing is told: {e}\n{}", self.log()));
        let mut sockets = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                sockets.extend(fds);
            }
        }
        let text = String::from_utf8(text[..received.bytes].to_vec()).unwrap();
        Told(text, sockets)
    }

    /// What it is given to keep until the daemon is ready.
    fn kept_until_ready(&self) -> Vec<(&'static str, OwnedFd)> {
        let mut kept = Vec::new();
        loop {
            let Told(text, sockets) = self.told();
            if text.starts_with("READY=1") {
                return kept;
            }
            if text.starts_with("RELOADING=1") {
                continue;
            }
            if text.trim_end() == "FDSTOREREMOVE=1\nFDNAME=kept" {
                kept.clear();
                continue;
            }
            assert_eq!(text.trim_end(), "FDSTORE=1\nFDNAME=kept\nFDPOLL=0");
            kept.extend(sockets.into_iter().map(|socket| ("kept", socket)));
        }
    }

    fn told_in_time(&self, beginning: &str) {
        let told = within(PATIENCE, || {
            self.told().0.starts_with(beginning).then_some(())
        });
        assert!(told.is_some(), "{beginning} is not told");
    }
}

struct Running(Child);

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    fn ended(&mut self) -> ExitStatus {
        let ended = within(PATIENCE, || self.0.try_wait().unwrap());
        ended.expect("it ends")
    }

    fn end(mut self, signal: Signal) -> ExitStatus {
        self.signal(signal);
        self.ended()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A datapath that connected to the daemon's socket once, before there was one perhaps, and never again: it
/// hears from this socket only.
struct Peer(UnixDatagram);

impl Peer {
    fn connect(manager: &Manager) -> Self {
        let socket = UnixDatagram::bind(manager.path("peer")).unwrap();
        socket.connect(manager.datapath()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }

    fn say_ready(&self) {
        let ready = Ready {
            id: 0,
            capabilities: None,
        };
        let frame = ready.to_frame().unwrap();
        // Nobody notices that nobody reads at the moment.
        assert_eq!(self.0.send(&frame).expect("somebody is there"), frame.len());
    }

    /// A program comes, as often as it says that it is ready.
    fn await_answer(&self, manager: &Manager) {
        let mut buffer = [0; 65_536];
        let len = self.0.recv(&mut buffer);
        let len = len.unwrap_or_else(|e| panic!("no answer: {e}\n{}", manager.log()));
        let first = frames(&buffer[..len]).next().unwrap().unwrap();
        assert_eq!(first.kind, Kind::Install);
        self.0.set_nonblocking(true).unwrap();
        while self.0.recv(&mut buffer).is_ok() {}
        self.0.set_nonblocking(false).unwrap();
    }
}

fn inode(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().ino()
}

#[test]
fn sockets_of_a_service_manager_are_used_and_stay_its_own() {
    let manager = Manager::new();
    let datapath = UnixDatagram::bind(manager.datapath()).unwrap();
    // PassCredentials=yes
    set_socket_passcred(&datapath, true).unwrap();
    let control = UnixListener::bind(manager.control()).unwrap();
    fs::set_permissions(manager.control(), fs::Permissions::from_mode(0o600)).unwrap();
    // Both come before the daemon does.
    let peer = Peer::connect(&manager);
    peer.say_ready();
    let _client = UnixStream::connect(manager.control()).unwrap();
    let sockets = [
        ("ccpd.socket", OwnedFd::from(datapath)),
        ("ccpd.socket", OwnedFd::from(control)),
    ];
    let daemon = manager.start(&binaries::ccpd(), &sockets);
    let kept = manager.kept_until_ready();
    assert!(kept.is_empty(), "they are not ours: {kept:?}");
    peer.await_answer(&manager);
    assert!(daemon.end(Signal::TERM).success(), "{}", manager.log());
    assert!(manager.datapath().exists() && manager.control().exists());
}

/// Whatever ends a daemon but a stop: sockets, and who is connected to them, do not notice.
#[test]
fn sockets_are_kept_from_daemon_to_daemon_and_a_stop_removes_them() {
    let manager = Manager::new();
    let daemon = manager.start(&binaries::ccpd(), &[]);
    let mut kept = manager.kept_until_ready();
    assert_eq!(kept.len(), 2, "control and datapath");
    let inodes = [inode(&manager.datapath()), inode(&manager.control())];
    let peer = Peer::connect(&manager);
    peer.say_ready();
    peer.await_answer(&manager);
    let mut daemon = daemon;
    for signal in [Signal::USR1, Signal::KILL] {
        let copies = |kept: &[(&'static str, OwnedFd)]| -> Vec<(&'static str, OwnedFd)> {
            let copy = |(name, fd): &(&'static str, OwnedFd)| (*name, fd.try_clone().unwrap());
            kept.iter().map(copy).collect()
        };
        let status = daemon.end(signal);
        assert_eq!(status.success(), signal == Signal::USR1, "{status}");
        // Nobody runs.
        peer.say_ready();
        daemon = manager.start(&binaries::ccpd(), &copies(&kept));
        while !manager.told().0.starts_with("READY=1") {}
        peer.await_answer(&manager);
        assert_eq!(
            inodes,
            [inode(&manager.datapath()), inode(&manager.control())]
        );
        assert!(UnixStream::connect(manager.control()).is_ok());
    }
    assert!(daemon.end(Signal::TERM).success());
    manager.told_in_time("FDSTOREREMOVE=1\nFDNAME=kept");
    assert!(!manager.datapath().exists() && !manager.control().exists());

    // A manager that gives back what has no file any more: it is made anew. And what the configuration does not
    // have any more goes.
    let other = UnixDatagram::bind(manager.path("other.sock")).unwrap();
    kept.push(("kept", OwnedFd::from(other)));
    let daemon = manager.start(&binaries::ccpd(), &kept);
    assert_eq!(manager.kept_until_ready().len(), 2);
    assert!(!manager.path("other.sock").exists(), "{}", manager.log());
    Peer::connect_as(&manager, "another").say_ready();
    assert!(daemon.end(Signal::TERM).success());
}

impl Peer {
    fn connect_as(manager: &Manager, name: &str) -> Self {
        let socket = UnixDatagram::bind(manager.path(name)).unwrap();
        socket.connect(manager.datapath()).unwrap();
        Self(socket)
    }
}

/// What a store gives back that is not, or no longer, what the daemon had put there keeps it from nothing.
#[test]
fn what_a_store_has_wrong_is_left_aside() {
    let manager = Manager::new();
    // Of a configuration before, which had the two the other way round.
    let stream = UnixListener::bind(manager.datapath()).unwrap();
    let datagram = UnixDatagram::bind(manager.control()).unwrap();
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let wrong: [(&str, OwnedFd); 6] = [
        ("kept", File::open("/dev/null").unwrap().into()),
        ("kept", stream.into()),
        ("kept", UnixDatagram::unbound().unwrap().into()),
        ("kept", tcp.into()),
        ("kept", datagram.into()),
        (
            "kept",
            File::open(manager.path("ccpd.toml")).unwrap().into(),
        ),
    ];
    let daemon = manager.start(&binaries::ccpd(), &wrong);
    let mut kept = manager.kept_until_ready();
    assert_eq!(kept.len(), 2, "{}", manager.log());
    let peer = Peer::connect(&manager);
    peer.say_ready();
    peer.await_answer(&manager);
    assert!(UnixStream::connect(manager.control()).is_ok());

    // And the same socket twice: the second one is of no use, and does no harm.
    assert!(!daemon.end(Signal::KILL).success());
    let again = kept
        .iter()
        .map(|(name, fd)| (*name, fd.try_clone().unwrap()));
    let again: Vec<_> = again.collect();
    kept.extend(again);
    let daemon = manager.start(&binaries::ccpd(), &kept);
    assert_eq!(manager.kept_until_ready().len(), 2, "{}", manager.log());
    peer.say_ready();
    peer.await_answer(&manager);
    assert!(daemon.end(Signal::TERM).success());
    assert!(!manager.datapath().exists() && !manager.control().exists());
}

/// SIGUSR2: another program in the same process, with the same sockets; if there is nothing wrong with it.
#[test]
fn a_daemon_is_replaced_in_place() {
    let manager = Manager::new();
    let program = manager.path("ccpd");
    let install = |from: &Path| {
        let new = manager.path("new");
        fs::copy(from, &new).unwrap();
        fs::rename(&new, &program).unwrap();
    };
    install(&binaries::ccpd());
    let mut daemon = manager.start(&program, &[]);
    let running = |daemon: &Running| {
        fs::metadata(format!("/proc/{}/exe", daemon.0.id()))
            .unwrap()
            .ino()
    };
    assert_eq!(manager.kept_until_ready().len(), 2);
    let peer = Peer::connect(&manager);
    peer.say_ready();
    peer.await_answer(&manager);
    let (inode_before, old) = (inode(&manager.datapath()), running(&daemon));

    install(&binaries::ccpd());
    daemon.signal(Signal::USR2);
    manager.told_in_time("RELOADING=1");
    peer.say_ready();
    // A manager that has them already knows them again.
    assert_eq!(manager.kept_until_ready().len(), 2);
    peer.await_answer(&manager);
    assert_ne!(running(&daemon), old);
    assert_eq!(running(&daemon), inode(&program));
    assert_eq!(inode(&manager.datapath()), inode_before);
    assert!(UnixStream::connect(manager.control()).is_ok());

    // A program that does not run, and a configuration that is wrong, change nothing.
    let old = running(&daemon);
    install(Path::new("/bin/false"));
    daemon.signal(Signal::USR2);
    await_log(&manager, "--check` ends with exit status: 1");
    install(&binaries::ccpd());
    manager.configure("max_flow = 1");
    daemon.signal(Signal::USR2);
    await_log(&manager, "did you mean `max_flows`?");
    assert_eq!(running(&daemon), old);
    peer.say_ready();
    peer.await_answer(&manager);
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success());
    assert!(!manager.datapath().exists() && !manager.control().exists());
}

fn await_log(manager: &Manager, text: &str) {
    let found = within(PATIENCE, || manager.log().contains(text).then_some(()));
    assert!(found.is_some(), "no `{text}` in:\n{}", manager.log());
}

#[test]
fn sockets_that_do_not_fit_the_configuration_are_refused() {
    let manager = Manager::new();
    let bound = |name: &str| {
        let _ = fs::remove_file(manager.path(name));
        OwnedFd::from(UnixDatagram::bind(manager.path(name)).unwrap())
    };
    let refused = |socket: OwnedFd, why: &str| {
        let mut daemon = manager.start(&binaries::ccpd(), &[("x", socket)]);
        assert_eq!(daemon.ended().code(), Some(1));
        let log = manager.log();
        let last = log.lines().last().unwrap_or_default();
        let begins = "socket 3 that was passed to this process (LISTEN_FDS) ";
        assert!(last.starts_with(begins) && last.contains(why), "{last}");
    };
    refused(
        bound("elsewhere"),
        "is neither `ccpd.control` nor the `path`",
    );
    refused(
        bound("control.sock"),
        "where a listening stream socket (ListenStream=) belongs",
    );
    fs::remove_file(manager.control()).unwrap();
    let listener = UnixListener::bind(manager.datapath()).unwrap();
    refused(
        OwnedFd::from(listener),
        "where a datagram socket (ListenDatagram=) belongs",
    );
    refused(
        OwnedFd::from(File::open("/dev/null").unwrap()),
        "is no socket",
    );
    let unnamed = UnixDatagram::unbound().unwrap();
    refused(OwnedFd::from(unnamed), "has no path");
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    refused(OwnedFd::from(tcp), "is no Unix socket");
}
