//! `ccp top`: flows, live.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use super::{Daemon, ccp, text};

/// A terminal, and `ccp top` in it.
struct Top {
    terminal: File,
    slave: File,
    before: String,
    child: Child,
    seen: String,
}

impl Top {
    fn start(daemon: &Daemon) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let slave = File::options().read(true).write(true).open(name).unwrap();
        let size = rustix::termios::Winsize {
            ws_row: 12,
            ws_col: 160,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(&slave, size).unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        let before = modes(&slave);
        let child = ccp(
            &daemon.path("control.sock"),
            &["top", "--interval", "200ms"],
        )
        .stdin(slave.try_clone().unwrap())
        .stdout(slave.try_clone().unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
        Self {
            terminal: master.into(),
            slave,
            before,
            child,
            seen: String::new(),
        }
    }

    /// Waits until `text` has been drawn since it was last waited for.
    fn sees(&mut self, text: &str) {
        let seen = ccp_tests::within(Duration::from_secs(10), || {
            self.read();
            self.seen.contains(text).then_some(())
        });
        assert!(seen.is_some(), "no `{text}` in {:?}", self.seen);
        self.seen.clear();
    }

    fn read(&mut self) {
        let mut bytes = [0; 65_536];
        while let Ok(len) = self.terminal.read(&mut bytes) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes[..len]));
        }
    }

    /// It has ended, and the terminal is as it was.
    fn ended(mut self) {
        let ended = ccp_tests::within(Duration::from_secs(10), || {
            self.read();
            self.child.try_wait().unwrap()
        });
        assert_eq!(ended.expect("it ends").code(), Some(0));
        self.read();
        assert!(self.seen.contains("\x1b[?1049l"), "{:?}", self.seen);
        assert_eq!(modes(&self.slave), self.before);
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn modes(terminal: &File) -> String {
    let modes = rustix::termios::tcgetattr(terminal).unwrap();
    format!(
        "{:?} {:?} {:?}",
        modes.input_modes, modes.output_modes, modes.local_modes
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn flows_are_shown_live_and_the_terminal_is_put_back() {
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    fake.open(1, 1);
    let (uid, _) = fake.started(1);
    fake.open_to(2, 2, 1003);
    fake.started(2);
    let mut top = Top::start(&daemon);
    top.sees("fragile");
    assert_ne!(modes(&top.slave), top.before, "keys come at once");
    // What changes is drawn.
    fake.report(1, uid, &[1448 * 77]);
    fake.window(1);
    top.sees("77");
    top.terminal.write_all(b"/fragile\r").unwrap();
    top.sees("with `fragile`");
    top.terminal.write_all(b"c").unwrap();
    top.sees("cwnd");
    top.terminal.write_all(b"q").unwrap();
    top.ended();
    // Also when it is ended from outside.
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        let mut top = Top::start(&daemon);
        top.sees("echo");
        let pid = rustix::process::Pid::from_child(&top.child);
        rustix::process::kill_process(pid, signal).unwrap();
        top.ended();
    }
    // A daemon that goes is told, and waited for.
    let mut top = Top::start(&daemon);
    top.sees("echo");
    daemon.stop().await;
    top.sees("trying again");
    top.terminal.write_all(b"q").unwrap();
    top.ended();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_terminal_one_frame_is_printed_or_the_way_told() {
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    for flow in 1..=3_u16 {
        fake.open(flow.into(), flow);
        let (uid, _) = fake.started(flow.into());
        fake.report(flow.into(), uid, &[1448 * u64::from(flow)]);
        fake.window(flow.into());
    }
    let none = daemon.ccp(&["top"]);
    assert_eq!(none.status.code(), Some(2));
    assert_eq!(
        text(&none.stderr),
        "ccp: `top` needs a terminal: `ccp top --once` prints one frame, `ccp top --json` is for scripts\n"
    );
    let frame = daemon.ccp(&["top", "--once", "--sort", "cwnd", "--limit", "2"]);
    let frame = text(&frame.stdout);
    let lines: Vec<&str> = frame.lines().collect();
    assert!(lines[0].ends_with("3 flows, by cwnd"), "{frame}");
    assert!(
        lines[2].contains("3 pkt") && lines[3].contains("2 pkt"),
        "{frame}"
    );
    assert_eq!(lines.len(), 4, "{frame}");
    daemon.stop().await;
}
