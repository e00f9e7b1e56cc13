//! What a running `ccpd` tells: one flow, what happens, programs, what is logged. Asked by the client
//! library and by the command `ccp`; the datapath is one on a Unix socket that says what the test wants it
//! to say.

#[path = "../ccpd_unix/fake.rs"]
#[allow(dead_code, reason = "it can more than is needed here")]
mod fake;
#[path = "../ccpd_unix/kinds.rs"]
#[allow(dead_code, reason = "it can more than is needed here")]
mod kinds;

mod flows;
mod log_level;
mod programs;
mod rights;
mod show;
mod top;
mod watch;

use std::fs::File;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output};
use std::time::Duration;

use ccp_control::{Client, Event, Happened};
use ccp_tests::binaries;
use ccpd::{Ccpd, Config, Handle};
use serde_json::Value;

use fake::Fake;
use kinds::{Manner, Missed, Test};

/// A daemon within this process, and its files.
struct Daemon {
    dir: tempfile::TempDir,
    handle: Handle,
}

fn configuration(dir: &std::path::Path, ccpd: &str) -> String {
    format!(
        "[ccpd]\ncontrol = '{dir}/control.sock'\n{ccpd}\n[[datapath]]\nkind = 'unix'\npath = '{dir}/datapath.sock'\n\
         [algorithms.echo]\n[algorithms.fragile]\n[algorithms.few]\nkind = 'constant'\ncwnd_packets = 4\n\
         [policy]\ndefault = 'echo'\n\
         [[policy.rule]]\nmatch = {{ dst_port = 1003 }}\nalgorithm = 'fragile'\n",
        dir = dir.display()
    )
}

impl Daemon {
    /// `echo` is what flows get, those to port 1003 `fragile`.
    async fn start(ccpd: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config: Config = configuration(dir.path(), ccpd).parse().unwrap();
        let missed = Missed::default();
        let mut builder = Ccpd::builder().config(config);
        for (kind, manner) in [
            ("echo", Manner::Echo),
            ("fragile", Manner::PanicsAtTheThird),
        ] {
            let missed = missed.clone();
            builder = builder.kind(kind, move |params| Test::new(manner, &missed, params));
        }
        let handle = builder.spawn().await.unwrap();
        Self { dir, handle }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn fake(&self) -> Fake {
        Fake::ready(&self.path("datapath.sock"), "peer")
    }

    async fn client(&self) -> Client {
        Client::connect(self.path("control.sock")).await.unwrap()
    }

    fn ccp(&self, arguments: &[&str]) -> Output {
        ccp(&self.path("control.sock"), arguments).output().unwrap()
    }

    async fn stop(self) {
        self.handle.stop();
        self.handle.wait().await.unwrap();
    }
}

fn ccp(socket: &std::path::Path, arguments: &[&str]) -> Command {
    let mut ccp = Command::new(binaries::ccp());
    ccp.arg("--socket").arg(socket).args(arguments);
    ccp
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What is told, until `enough` says that it is all.
async fn told(client: &mut Client, enough: impl Fn(&[Event]) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    while !enough(&events) {
        let next = tokio::time::timeout(Duration::from_secs(10), client.next()).await;
        let Happened { lost, events: more } = next.expect("more events").unwrap();
        assert_eq!(lost, 0);
        events.extend(more);
    }
    events
}

/// A `ccpd` process, whose log is its own.
struct Process {
    dir: tempfile::TempDir,
    child: Child,
}

impl Process {
    fn start(ccpd: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let open = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).unwrap();
        let file = dir.path().join("ccpd.toml");
        let text = format!(
            "[ccpd]\ncontrol = '{dir}/control.sock'\n{ccpd}[[datapath]]\nkind = 'unix'\npath = '{dir}/datapath.sock'\n",
            dir = dir.path().display()
        );
        std::fs::write(&file, text).unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = Command::new(binaries::ccpd())
            .arg("--config")
            .arg(&file)
            .env_remove("RUST_LOG")
            .env_remove("NOTIFY_SOCKET")
            .stderr(log)
            .spawn()
            .unwrap();
        let process = Self { dir, child };
        let ready = || process.ccp(&["flows"]).status.success().then_some(());
        ccp_tests::within(Duration::from_secs(10), ready).expect("it runs");
        process
    }

    fn ccp(&self, arguments: &[&str]) -> Output {
        ccp(&self.dir.path().join("control.sock"), arguments)
            .output()
            .unwrap()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
