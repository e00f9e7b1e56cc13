//! `ccp record` and `ccp replay`: what a running `ccpd` decides is decided again from the file, to the
//! last value.

#[path = "ccpd_unix/fake.rs"]
#[allow(dead_code, reason = "it can more than is needed here")]
mod fake;

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ccp_control::What;
use ccp_control::recording::{Entry, Reader};
use ccp_tests::{binaries, within};
use ccpd::{Ccpd, Config, Handle};
use fake::Fake;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(10);

/// A program that does all by itself.
const OWN: &str = "(def (Report (volatile acked 0) (cwnd 0)) (size 10))
(when true
    (:= Report.acked (+ Report.acked Ack.bytes_acked))
    (:= Cwnd (* size 1448))
    (:= Report.cwnd Cwnd)
    (report))
";

struct Daemon {
    dir: tempfile::TempDir,
    handle: Handle,
}

impl Daemon {
    /// Flows get `reno`, those to port 1003 the program `own`, those to port 1004 a constant window.
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("own.ccp"), OWN).unwrap();
        let text = format!(
            "[ccpd]\ncontrol = '{dir}/control.sock'\n[[datapath]]\nkind = 'unix'\npath = '{dir}/datapath.sock'\n\
             [algorithms.reno]\nreport = 'ack'\n[algorithms.own]\nkind = 'program'\nfile = 'own.ccp'\nsize = 12\n\
             [algorithms.few]\nkind = 'constant'\ncwnd_packets = 4\n[policy]\ndefault = 'reno'\n\
             [[policy.rule]]\nmatch = {{ dst_port = 1003 }}\nalgorithm = 'own'\n\
             [[policy.rule]]\nmatch = {{ dst_port = 1004 }}\nalgorithm = 'few'\n",
            dir = dir.path().display()
        );
        let file = dir.path().join("ccpd.toml");
        fs::write(&file, text).unwrap();
        let config = Config::load(&file).unwrap();
        let handle = Ccpd::builder().config(config).spawn().await.unwrap();
        Self { dir, handle }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ccp(&self, arguments: &[&str]) -> Command {
        let mut ccp = Command::new(binaries::ccp());
        ccp.arg("--socket").arg(self.path("control.sock"));
        ccp.args(arguments).current_dir(self.dir.path());
        ccp
    }

    /// A recorder of these flows that misses nothing any more.
    fn record(&self, file: &str, arguments: &[&str]) -> Child {
        let mut ccp = self.ccp(&["record", "-o", file]);
        let child = ccp.args(arguments).stdout(Stdio::piped()).spawn().unwrap();
        let begun = || fs::metadata(self.path(file)).is_ok_and(|file| file.len() > 0);
        within(PATIENCE, || begun().then_some(())).expect("it records");
        child
    }

    async fn stop(self) {
        self.handle.stop();
        self.handle.wait().await.unwrap();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What was printed by a command that ended with this code.
fn printed(output: &Output, code: i32) -> String {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{said}");
    text(&output.stdout)
}

/// What is in a recording, which may still be written.
fn entries(path: &Path) -> Vec<Entry> {
    let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
    std::iter::from_fn(|| reader.next_entry().unwrap()).collect()
}

fn ended(path: &Path) -> usize {
    let ended = |entry: &&Entry| match entry {
        Entry::Event(event) => matches!(event.what, What::Closed { .. }),
        _ => false,
    };
    entries(path).iter().filter(ended).count()
}

/// Reports of `reno_base` with a loss here and there; each is answered before the next one.
fn lossy(fake: &mut Fake, sock_id: u32, program: u32) {
    let (mut event, mut cwnd) = (0, 14_480);
    for round in 1..=60 {
        cwnd += 1448;
        let lost = u64::from(round % 7 == 0);
        event += lost;
        let fields = [
            14_480,
            lost,
            0,
            event,
            cwnd,
            cwnd,
            20_000 + 13 * round,
            1448,
        ];
        fake.report(sock_id, program, &fields);
        if lost > 0 {
            cwnd /= 2;
            fake.told();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_decided_again() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.path("datapath.sock"), "peer");
    // One that was there before.
    fake.open(1, 1);
    let (reno, _) = fake.started(1);
    let recorder = daemon.record("all.ccprec", &[]);
    lossy(&mut fake, 1, reno);
    fake.open(2, 2);
    assert_eq!(fake.started(2).0, reno);
    lossy(&mut fake, 2, reno);
    fake.open_to(3, 3, 1003);
    let (own, _) = fake.started(3);
    for round in 0..5 {
        fake.report(3, own, &[1448 * round, 17_376]);
    }
    for sock_id in 1..=3 {
        fake.close(sock_id);
    }
    let file = daemon.path("all.ccprec");
    within(PATIENCE, || (ended(&file) == 3).then_some(())).expect("all is recorded");
    kill_process(Pid::from_child(&recorder), Signal::INT).unwrap();
    let recorded = printed(&recorder.wait_with_output().unwrap(), 0);
    assert!(
        recorded.starts_with("all.ccprec: 3 flows, 125 reports, "),
        "{recorded}"
    );
    assert!(recorded.ends_with("nothing was lost\n"), "{recorded}");
    daemon.handle.stop();

    // As it was. The daemon is not needed any more.
    let replay = |arguments: &[&str]| {
        let mut ccp = Command::new(binaries::ccp());
        ccp.args(["replay", "all.ccprec"]).args(arguments);
        ccp.current_dir(daemon.dir.path()).output().unwrap()
    };
    let shown = printed(&replay(&[]), 0);
    let line = |flow: u32| {
        let prefix = format!("flow {flow}: ");
        let line = shown.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("{shown}")).to_owned()
    };
    let flows: Vec<u64> = entries(&file)
        .iter()
        .filter_map(|entry| match entry {
            Entry::Event(event) => match &event.what {
                What::Closed { status } => Some((status.sock_id, event.flow)),
                _ => None,
            },
            _ => None,
        })
        .map(|(sock_id, flow)| {
            assert_eq!(u64::from(sock_id), flow, "flows are counted from 1");
            flow
        })
        .collect();
    assert_eq!(flows.len(), 3);
    assert!(line(1).starts_with("it was there before"), "{shown}");
    assert_eq!(line(2), "identical: all 9 updates that were compared");
    assert_eq!(line(3), "identical: all 1 updates that were compared");
    assert_eq!(printed(&replay(&[]), 0), shown);

    let json: Value =
        serde_json::from_str(&printed(&replay(&["--json", "--flow", "2"]), 0)).unwrap();
    let [flow] = json["flows"].as_array().unwrap().as_slice() else {
        panic!("{json}");
    };
    assert_eq!(
        (&flow["flow"], &flow["compared"]["updates"]),
        (&2.into(), &9.into())
    );
    assert_eq!(flow["replayed"]["set"], flow["recorded"]["set"]);
    assert_eq!(flow["replayed"]["set"]["answered"]["last"], 8);
    assert_eq!(flow["replayed"]["reports"], 60);

    // Something else.
    let other = ["--flow", "2", "--algorithm", "constant", "cwnd_packets=20"];
    let constant = printed(&replay(&other), 0);
    assert!(constant.contains("constant(cwnd_packets=20)"), "{constant}");
    assert!(constant.contains("is not known"), "{constant}");
    assert!(!constant.contains("identical"), "{constant}");
    let every = printed(&replay(&["--flow", "2", "report=rtt"]), 0);
    assert!(every.contains("reno(report=\"rtt\")"), "{every}");
    let unfed = printed(&replay(&["--flow", "2", "--algorithm", "cubic"]), 1);
    assert!(
        unfed.contains("flow 2: can't be run again: its program `cubic"),
        "{unfed}"
    );
    assert!(
        unfed.contains(" needs ") && unfed.contains("w_max"),
        "{unfed}"
    );
    let none = replay(&["--algorithm", "nonsense"]);
    printed(&none, 1);
    let said = text(&none.stderr);
    assert!(said.contains("there is no algorithm `nonsense`"), "{said}");
    assert!(
        said.contains("constant, cubic, own, program, reno"),
        "{said}"
    );
    let none = replay(&["--flow", "77"]);
    printed(&none, 1);
    assert!(text(&none.stderr).contains("flow 77 is not in the recording"));

    // Another program in the place of the recorded one.
    let changed = OWN.replace("(size 10)", "(size 10) (more 3)");
    fs::write(daemon.path("changed.ccp"), changed).unwrap();
    let shown = printed(&replay(&["--flow", "3", "file=changed.ccp", "more=7"]), 0);
    assert!(shown.contains("more") && shown.contains("size"), "{shown}");

    // Pictures.
    let shown = printed(&replay(&["--plot", "plots", "--flow", "2"]), 0);
    assert!(
        shown.ends_with("plots/flow-2.png\nplots/flow-2.svg\n"),
        "{shown}"
    );
    let picture = fs::read(daemon.path("plots/flow-2.png")).unwrap();
    assert!(picture.starts_with(b"\x89PNG"));

    // What there is of a file that was cut.
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[..whole.len() / 2]).unwrap();
    let cut = printed(&replay(&[]), 0);
    assert!(
        cut.contains("the file ends in the midst of the recording"),
        "{cut}"
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recording_of_named_flows_ends_with_them_and_overwrites_nothing() {
    let daemon = Daemon::start().await;
    let mut fake = Fake::ready(&daemon.path("datapath.sock"), "peer");
    fake.open_to(1, 1, 1004);
    fake.started(1);
    fake.open(2, 2);
    fake.started(2);
    let recorder = daemon.record("one.ccprec", &["1"]);
    fake.close(1);
    let recorded = printed(&recorder.wait_with_output().unwrap(), 0);
    assert!(
        recorded.starts_with("one.ccprec: 1 flows, 0 reports, "),
        "{recorded}"
    );
    let kept = fs::read(daemon.path("one.ccprec")).unwrap();

    let again = daemon
        .ccp(&["record", "-o", "one.ccprec"])
        .output()
        .unwrap();
    printed(&again, 1);
    let said = text(&again.stderr);
    assert_eq!(
        said,
        "ccp: one.ccprec is there already; --force writes over it\n"
    );
    assert_eq!(fs::read(daemon.path("one.ccprec")).unwrap(), kept);
    let forced = ["record", "-o", "one.ccprec", "--force", "--for", "50ms"];
    let recorded = printed(&daemon.ccp(&forced).output().unwrap(), 0);
    assert!(recorded.starts_with("one.ccprec: 1 flows, "), "{recorded}");

    let none = daemon
        .ccp(&["record", "-o", "none.ccprec", "77"])
        .output()
        .unwrap();
    printed(&none, 1);
    assert!(text(&none.stderr).contains("can't record flow 77: there is no such flow"));
    daemon.stop().await;
}
