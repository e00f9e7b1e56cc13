//! What changes while `ccpd` runs: its configuration, and the algorithm of one flow. The datapath is one
//! on a Unix socket that says what the test wants it to say.

#[path = "ccpd_unix/fake.rs"]
#[allow(dead_code, reason = "it can more than is needed here")]
mod fake;

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::time::Duration;

use ccp_control::Client;
use ccpd::{Ccpd, Handle, ReloadError};
use fake::{Fake, Told};

const MSS: u64 = 1448;

struct Daemon {
    dir: tempfile::TempDir,
    handle: Handle,
}

impl Daemon {
    /// Flows to port 1001 get `five`, the others `many`: constant windows, of `many` packets.
    async fn start(many: u64) -> Self {
        Self::start_with("", many).await
    }

    /// The same with more under `[ccpd]`.
    async fn start_with(ccpd: &str, many: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        write(&dir, ccpd, &rules(many));
        let file = dir.path().join("ccpd.toml");
        let builder = Ccpd::builder().config_file(&file).unwrap();
        let handle = builder.spawn().await.unwrap();
        Self { dir, handle }
    }

    async fn reload(&self, rest: &str) -> Result<Vec<String>, ReloadError> {
        write(&self.dir, "", rest);
        let reloaded = self.handle.changer().reload().await?;
        Ok(reloaded.changed)
    }

    async fn client(&self) -> Client {
        Client::connect(self.dir.path().join("control.sock"))
            .await
            .unwrap()
    }

    /// The flow with this name in its datapath: its name in the daemon and its algorithm.
    async fn flow(&self, sock_id: u32) -> (u64, String) {
        let flows = self.client().await.flows().await.unwrap();
        let flow = flows.into_iter().find(|f| f.sock_id == sock_id).unwrap();
        (flow.flow, flow.algorithm)
    }

    fn fake(&self) -> Fake {
        Fake::ready(&self.dir.path().join("datapath.sock"), "peer")
    }

    async fn stop(self) {
        self.handle.stop();
        self.handle.wait().await.unwrap();
    }
}

fn write(dir: &tempfile::TempDir, ccpd: &str, rest: &str) {
    let at: PathBuf = dir.path().join("ccpd.toml");
    let dir = dir.path().display();
    let text = format!(
        "[ccpd]\ncontrol = '{dir}/control.sock'\n{ccpd}[[datapath]]\nkind = 'unix'\npath = '{dir}/datapath.sock'\n{rest}"
    );
    std::fs::write(at, text).unwrap();
}

fn rules(many: u64) -> String {
    format!(
        "[algorithms.five]\nkind = 'constant'\ncwnd_packets = 5\n\
         [algorithms.many]\nkind = 'constant'\ncwnd_packets = {many}\n\
         [policy]\ndefault = 'many'\n\
         [[policy.rule]]\nmatch = {{ dst_port = 1001 }}\nalgorithm = 'five'\n"
    )
}

/// The window, in packets, that the flow is told next.
fn told(fake: &mut Fake, sock_id: u32) -> u64 {
    let fields = match fake.told() {
        Told::Update(update) if update.sock_id.0 == sock_id => update.fields,
        Told::ChangeProg(change) if change.sock_id.0 == sock_id => change.fields,
        other => panic!("{other:?}"),
    };
    let windows = fields.iter().map(|field| field.value);
    windows
        .into_iter()
        .find(|value| *value != MSS && *value != 0)
        .expect("a window")
}

#[tokio::test(flavor = "multi_thread")]
async fn new_parameters_reach_the_flows_they_are_for_and_no_others() {
    let daemon = Daemon::start(10).await;
    let mut fake = daemon.fake();
    fake.open_to(1, 40_001, 1001);
    assert_eq!(told(&mut fake, 1), 5);
    fake.open_to(2, 40_002, 443);
    assert_eq!(told(&mut fake, 2), 10);

    assert_eq!(daemon.reload(&rules(20)).await.unwrap(), ["many"]);
    // Under way: the program goes on. The other flow hears nothing.
    match fake.told() {
        Told::Update(update) => {
            assert_eq!(update.sock_id.0, 2);
            assert!(update.fields.iter().any(|f| f.value == 20), "{update:?}");
        }
        other => panic!("{other:?}"),
    }
    // Neither does anybody if nothing has changed.
    assert!(daemon.reload(&rules(20)).await.unwrap().is_empty());
    fake.open_to(3, 40_003, 443);
    assert_eq!(told(&mut fake, 3), 20);
    drop(fake);
    daemon.stop().await;
}

/// A file in the datapath language runs on the C library's datapaths; its parameters change under way,
/// and another program in the file is started anew on the flows that there are.
#[tokio::test(flavor = "multi_thread")]
async fn a_program_in_a_file_changes_with_its_parameters_and_with_the_file() {
    let daemon = Daemon::start(10).await;
    let mut fake = daemon.fake();
    let file = daemon.dir.path().join("mine.ccp");
    let program = |set: &str| {
        format!("(def (Report (x 0)) (n 1) (on true)) (when on {set} (:= Report.x n) (report))")
    };
    let rules = |more: &str| {
        format!(
            "[algorithms.mine]\nkind = 'program'\nfile = 'mine.ccp'\n{more}[policy]\ndefault = 'mine'\n"
        )
    };
    std::fs::write(&file, program("(:= Cwnd n)")).unwrap();
    assert_eq!(daemon.reload(&rules("")).await.unwrap(), ["mine"]);
    fake.open_to(1, 40_001, 443);
    let (uid, _) = fake.started(1);
    assert_eq!(daemon.flow(1).await.1, "mine");

    assert_eq!(daemon.reload(&rules("n = 7\n")).await.unwrap(), ["mine"]);
    match fake.told() {
        Told::Update(update) => {
            assert_eq!(update.sock_id.0, 1);
            let values: Vec<u64> = update.fields.iter().map(|f| f.value).collect();
            assert_eq!(values, [7]);
        }
        other => panic!("{other:?}"),
    }
    // The same configuration; the file says something else.
    std::fs::write(&file, program("(:= Rate n)")).unwrap();
    assert_eq!(daemon.reload(&rules("n = 7\n")).await.unwrap(), ["mine"]);
    let (other, _) = fake.started(1);
    assert_ne!(other, uid);

    // What does not compile changes nothing.
    std::fs::write(&file, program("(:= Rat n)")).unwrap();
    let error = daemon.reload(&rules("n = 8\n")).await.unwrap_err();
    let place = format!("{}:1:", file.display());
    assert!(error.to_string().contains(&place), "{error}");
    assert!(daemon.flow(1).await.1 == "mine");
    drop(fake);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_rules_reach_the_flows_that_there_are() {
    let daemon = Daemon::start(10).await;
    let mut fake = daemon.fake();
    fake.open_to(1, 40_001, 1001);
    assert_eq!(told(&mut fake, 1), 5);
    let turned = rules(10).replace("1001", "443");
    assert!(daemon.reload(&turned).await.unwrap().is_empty());
    assert_eq!(told(&mut fake, 1), 10);
    assert_eq!(daemon.flow(1).await.1, "many");
    // An algorithm of another kind starts its own program, and leaves the window as it is.
    let reno = "[algorithms.reno]\n";
    assert_eq!(daemon.reload(reno).await.unwrap(), ["reno"]);
    let (uid, window) = fake.started(1);
    assert!(uid > 1);
    assert_eq!(window, None);
    assert_eq!(daemon.flow(1).await.1, "reno");
    drop(fake);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_changes_nothing_and_says_why() {
    let daemon = Daemon::start(10).await;
    let mut fake = daemon.fake();
    fake.open_to(1, 40_001, 443);
    assert_eq!(told(&mut fake, 1), 10);
    let file = daemon.dir.path().join("ccpd.toml").display().to_string();
    let error = daemon.reload(&rules(0)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("{file}:11:16: algorithms.many.cwnd_packets = 0: must be 1 to 1000000")
    );
    let error = daemon
        .reload("[policy]\ndefault = 'x'\n")
        .await
        .unwrap_err();
    assert!(error.to_string().contains("policy.default"), "{error}");
    // What can't change under way is said as well.
    let more = format!(
        "{}[[datapath]]\nkind = 'unix'\npath = '/run/x.sock'\n",
        rules(20)
    );
    let error = daemon.reload(&more).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the datapath /run/x.sock cannot change while ccpd runs: restart it, or put that back. Nothing was changed"
    );
    let path = daemon.dir.path().join("datapath.sock");
    let more = format!("mode = '0660'\nmute_ms = 500\n{}", rules(20));
    write(&daemon.dir, "control_mode = '0660'\n", &more);
    let error = daemon.handle.changer().reload().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "ccpd.control_mode, mode of the datapath {path}, mute_ms of the datapath {path} cannot change while \
             ccpd runs: restart it, or put that back. Nothing was changed",
            path = path.display()
        )
    );
    std::fs::remove_file(daemon.dir.path().join("ccpd.toml")).unwrap();
    let error = daemon.handle.changer().reload().await.unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("can't read the configuration"),
        "{error}"
    );
    fake.open_to(2, 40_002, 443);
    assert_eq!(
        told(&mut fake, 2),
        10,
        "as before, and flow 1 was told nothing"
    );
    drop(fake);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_flow_is_given_another_algorithm() {
    let daemon = Daemon::start(10).await;
    let mut fake = daemon.fake();
    fake.open_to(1, 40_001, 443);
    assert_eq!(told(&mut fake, 1), 10);
    fake.open_to(2, 40_002, 443);
    assert_eq!(told(&mut fake, 2), 10);
    let mut client = daemon.client().await;
    let (flow, _) = daemon.flow(1).await;
    client.set(flow, "five", &[]).await.unwrap();
    assert_eq!(told(&mut fake, 1), 5);
    assert_eq!(daemon.flow(1).await.1, "five");
    let eight = [("cwnd_packets".to_owned(), "8".to_owned())];
    client.set(flow, "many", &eight).await.unwrap();
    assert_eq!(told(&mut fake, 1), 8);
    assert_eq!(daemon.flow(1).await.1, "many(cwnd_packets=8)");
    assert_eq!(daemon.flow(2).await.1, "many");
    // A wrong parameter changes nothing.
    let zero = [("cwnd_packets".to_owned(), "0".to_owned())];
    let error = client.set(flow, "many", &zero).await.unwrap_err();
    assert!(
        error.to_string().contains("must be 1 to 1000000"),
        "{error}"
    );
    assert_eq!(daemon.flow(1).await.1, "many(cwnd_packets=8)");
    // Left to the datapath: libccp has no algorithm of its own, so it is given ours.
    client.set(flow, "native", &[]).await.unwrap();
    match fake.told() {
        Told::ChangeProg(change) => assert_eq!(change.sock_id.0, 1),
        other => panic!("{other:?}"),
    }
    assert_eq!(daemon.flow(1).await.1, "native");
    // The next reload puts it under the rules again.
    daemon.handle.changer().reload().await.unwrap();
    assert_eq!(told(&mut fake, 1), 10);
    drop(fake);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rules_are_explained() {
    let daemon = Daemon::start(10).await;
    let ccp = |words: &[&str]| {
        let mut ccp = std::process::Command::new(ccp_tests::binaries::ccp());
        ccp.arg("--socket")
            .arg(daemon.dir.path().join("control.sock"))
            .args(["policy", "explain"])
            .args(words);
        let output = ccp.output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        (output.status.code(), text)
    };
    let told = ccp(&["dst=192.0.2.1 dst_port=1001"]);
    assert_eq!(
        told,
        (Some(0), "rule 1 (five): fits: dst_port 1001\n".to_owned())
    );
    let told = ccp(&["dst=192.0.2.1", "dst_port=443"]);
    let expected = "rule 1 (five): dst_port 1001 does not fit\nno rule fits: the default (many)\n";
    assert_eq!(told, (Some(0), expected.to_owned()));
    let (code, json) = ccp(&["--json", "dst_port=1001"]);
    assert_eq!(code, Some(0));
    assert!(json.contains("\"algorithm\": \"five\""), "{json}");
    let (code, why) = ccp(&["dst=nowhere"]);
    assert_eq!(code, Some(2));
    assert!(why.contains("expected an IPv4 or IPv6 address"), "{why}");
    daemon.stop().await;
}

/// `ccp` as the user nobody, from a place that everybody may enter.
fn as_nobody(daemon: &Daemon, arguments: &[&str]) -> std::process::Output {
    let ccp = daemon.dir.path().join("ccp");
    if !ccp.exists() {
        std::fs::copy(ccp_tests::binaries::ccp(), &ccp).unwrap();
    }
    let mut command = std::process::Command::new(ccp);
    command
        .arg("--socket")
        .arg(daemon.dir.path().join("control.sock"))
        .args(arguments)
        .current_dir("/")
        .uid(65_534)
        .gid(65_534);
    // A process that another test is starting may still have the copy open for writing.
    let started = ccp_tests::within(Duration::from_secs(10), || match command.output() {
        Err(error) if error.kind() == ErrorKind::ExecutableFileBusy => None,
        other => Some(other),
    });
    started.expect("a copy that nobody writes to").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn root_others_may_ask_if_they_are_let_in_and_change_nothing() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("SKIPPED: only root can be another user");
        return;
    }
    let daemon = Daemon::start_with("control_mode = '0666'\n", 10).await;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(daemon.dir.path(), open).unwrap();
    let said = as_nobody(&daemon, &["flows", "--json"]);
    assert_eq!(String::from_utf8(said.stdout).unwrap(), "[]\n");
    for change in [&["reload"][..], &["set", "1", "five"]] {
        let refused = as_nobody(&daemon, change);
        assert_eq!(refused.status.code(), Some(1));
        assert_eq!(
            String::from_utf8(refused.stderr).unwrap(),
            "ccp: only root and the user that ccpd runs as may change what it does\n"
        );
    }
    daemon.stop().await;
    // Without being let in they may not even ask.
    let daemon = Daemon::start(10).await;
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(daemon.dir.path(), open).unwrap();
    let refused = as_nobody(&daemon, &["flows"]);
    let why = String::from_utf8(refused.stderr).unwrap();
    assert!(why.contains("not allowed to ask the ccpd"), "{why}");
    daemon.stop().await;
}
