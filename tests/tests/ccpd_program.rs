//! The program `ccpd`: its command line, its exit codes, its signals.

#[path = "ccpd_unix/fake.rs"]
#[allow(dead_code, reason = "it can more than is needed here")]
mod fake;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ccp_tests::{binaries, within};
use rustix::process::{Pid, Signal, kill_process};

const PATIENCE: Duration = Duration::from_secs(10);

struct Files {
    dir: tempfile::TempDir,
}

impl Files {
    /// A configuration with a Unix datapath: it needs no privilege.
    fn new(rest: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let files = Self { dir };
        let text = format!(
            "[ccpd]\ncontrol = '{}'\n[[datapath]]\nkind = 'unix'\npath = '{}'\n{rest}",
            files.control().display(),
            files.datapath().display()
        );
        fs::write(files.config(), text).unwrap();
        files
    }

    fn config(&self) -> PathBuf {
        self.dir.path().join("ccpd.toml")
    }

    fn control(&self) -> PathBuf {
        self.dir.path().join("run/control.sock")
    }

    fn datapath(&self) -> PathBuf {
        self.dir.path().join("run/datapath.sock")
    }

    fn ccpd(&self) -> Command {
        let mut command = Command::new(binaries::ccpd());
        command.arg("--config").arg(self.config());
        command.stdin(Stdio::null());
        command
    }

    fn check(&self) -> Output {
        self.ccpd().arg("--check").output().unwrap()
    }

    /// A running daemon, ready.
    fn start(&self) -> Running {
        let child = self.ccpd().stderr(Stdio::null()).spawn().unwrap();
        let running = Running(child);
        within(PATIENCE, || self.control().exists().then_some(())).expect("a control socket");
        running
    }
}

/// Killed when dropped.
struct Running(Child);

impl Running {
    fn signal(&mut self, signal: Signal) -> Option<i32> {
        let pid = Pid::from_child(&self.0);
        kill_process(pid, signal).unwrap();
        let ended = within(PATIENCE, || self.0.try_wait().unwrap());
        ended.expect("it ends").code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_right_configuration_is_checked_in_silence() {
    let output = Files::new("[algorithms.reno]\n").check();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(text(&output.stdout) + &text(&output.stderr), "");
}

#[test]
fn a_program_that_does_not_compile_is_told_with_its_place() {
    let files = Files::new(
        "[algorithms.mine]\nkind = 'program'\nfile = 'mine.ccp'\n[policy]\ndefault = 'mine'\n",
    );
    let program = files.dir.path().join("mine.ccp");
    fs::write(&program, "(def (Report (x 0)))\n(when tru (report))\n").unwrap();
    let (config, program) = (files.config(), program.display().to_string());
    let output = files.check();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let first = format!(
        "{}:8:8: algorithms.mine.file: program `{program}` does not compile:\n",
        config.display()
    );
    assert!(said.starts_with(&first), "{said}");
    assert!(said.contains(&format!(" --> {program}:2:7\n")), "{said}");
    fs::write(&program, "(def (Report (x 0)))\n(when true (report))\n").unwrap();
    let output = files.check();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

/// It compiles, but something in it is probably not meant: said as `ccp lang check` says it, and no error.
#[test]
fn warnings_of_programs_are_told_and_are_no_error() {
    let files = Files::new(
        "[algorithms.mine]\nkind = 'program'\nfile = 'mine.ccp'\n[policy]\ndefault = 'mine'\n",
    );
    let program = files.dir.path().join("mine.ccp");
    fs::write(
        &program,
        "(def (Report (x 0)))\n(when true (:= unused 1) (report))\n",
    )
    .unwrap();
    let output = files.check();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let mut ccp = Command::new(binaries::ccp());
    let told = ccp.args(["lang", "check"]).arg(&program).output().unwrap();
    let told = text(&told.stderr) + &text(&told.stdout);
    let said = text(&output.stderr);
    assert!(said.starts_with("warning["), "{said}");
    assert!(told.contains(said.trim_end()), "{told}\n--\n{said}");
}

/// What a program without an agent reports is in the log for who wants to see it.
#[test]
fn reports_can_be_watched() {
    let files = Files::new(
        "[algorithms.mine]\nkind = 'program'\nsource = '(def (Report (acked 0) (cwnd 0))) \
         (when true (:= Report.acked Ack.bytes_acked) (:= Report.cwnd Cwnd) (report))'\n\
         [policy]\ndefault = 'mine'\n",
    );
    let mut command = files.ccpd();
    command
        .env("RUST_LOG", "ccpd::report=trace")
        .env("NO_COLOR", "1");
    let mut running = Running(command.stderr(Stdio::piped()).spawn().unwrap());
    let log = BufReader::new(running.0.stderr.take().unwrap());
    within(PATIENCE, || files.control().exists().then_some(())).expect("a control socket");
    let mut fake = fake::Fake::ready(&files.datapath(), "peer");
    fake.open(1, 40_001);
    let (uid, _) = fake.started(1);
    fake.report(1, uid, &[2896, 14480]);
    let line = log.lines().next().unwrap().unwrap();
    let said = "algorithm=\"mine\" program=\"algorithms.mine.source\"";
    assert!(
        line.contains("TRACE ccpd::report: acked=2896 cwnd=14480"),
        "{line}"
    );
    assert!(line.contains(said), "{line}");
    assert_eq!(running.signal(Signal::TERM), Some(0));
}

#[test]
fn a_check_touches_nothing() {
    let files = Files::new("");
    files.check();
    assert!(!files.control().parent().unwrap().exists());
}

#[test]
fn a_wrong_configuration_exits_with_two_and_all_that_is_wrong() {
    let files = Files::new(
        "max_flow = 3
[algorithms.slow]
kind = 'constant'
cwnd_packets = 0
[algorithms.quick]
kind = 'constant'
window = 20
[algorithms.other]
kind = 'cubix'
[algorithms.reno]
[policy]
default = 'renu'
",
    );
    // Names that do not exist hide nothing else; the parameters are looked at once all names do.
    let config = files.config().display().to_string();
    for arguments in [&["--check"][..], &[]] {
        let output = files.ccpd().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert_eq!(text(&output.stdout), "");
        assert_eq!(
            text(&output.stderr),
            format!(
                "{config}:6:1: datapath[0].max_flow: there is no key `max_flow`; did you mean `max_flows`?\n\
                 {config}:17:11: policy.default = 'renu': there is no algorithm `renu`; did you mean `reno`?\n"
            )
        );
    }
    let right = fs::read_to_string(files.config()).unwrap();
    let right = right.replace("renu", "reno").replace("max_flow = 3", "");
    fs::write(files.config(), right).unwrap();
    let output = files.check();
    assert_eq!(output.status.code(), Some(2));
    let said = text(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let [slow, quick, other] = &lines[..] else {
        panic!("{said}");
    };
    assert!(
        slow.contains(":9:16: algorithms.slow.cwnd_packets = 0: must be"),
        "{slow}"
    );
    assert!(
        quick.contains(":12:1: algorithms.quick.window: no such key"),
        "{quick}"
    );
    assert!(other.contains(":14:8: algorithms.other.kind"), "{other}");
    assert!(other.contains("there is no kind `cubix`"), "{other}");
}

#[test]
fn a_file_that_is_not_there_exits_with_two_and_its_name() {
    let output = Command::new(binaries::ccpd())
        .args(["--check", "--config", "/nonexistent/ccpd.toml"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        text(&output.stderr),
        "can't read the configuration /nonexistent/ccpd.toml: No such file or directory (os error 2)\n"
    );
}

#[test]
fn wrong_usage_exits_with_two() {
    for arguments in [&["--confg", "x"][..], &["now"], &["--check", "--cleanup"]] {
        let output = Command::new(binaries::ccpd())
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(
            text(&output.stderr).contains("Usage"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn what_fails_exits_with_one() {
    let files = Files::new("");
    fs::create_dir(files.datapath().parent().unwrap()).unwrap();
    let _other = UnixDatagram::bind(files.datapath()).unwrap();
    let output = files.ccpd().output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("is in use: another program listens on it"));
    assert!(!files.control().exists(), "nothing is left behind");
}

/// Without privilege kernel TCP is not possible. A user who is not root is one that we can be.
#[test]
fn what_is_not_possible_here_exits_with_three() {
    if !rustix::process::geteuid().is_root() {
        // Then the sample configuration, which is for kernel TCP, is enough.
        let output = Command::new(binaries::ccpd()).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{}", text(&output.stderr));
        return;
    }
    let dir = tempfile::Builder::new().tempdir_in("/tmp").unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    fs::set_permissions(dir.path(), open).unwrap();
    let config = dir.path().join("ccpd.toml");
    let control = dir.path().join("control.sock");
    fs::write(
        &config,
        format!(
            "[ccpd]\ncontrol = '{}'\n[[datapath]]\nkind = 'tcp'\nname = 'ccp_nobody'\n",
            control.display()
        ),
    )
    .unwrap();
    // Where a user without rights can read it.
    let ccpd = dir.path().join("ccpd");
    fs::copy(binaries::ccpd(), &ccpd).unwrap();
    let mut command = Command::new(ccpd);
    std::os::unix::process::CommandExt::uid(&mut command, 65_534);
    std::os::unix::process::CommandExt::gid(&mut command, 65_534);
    let output = command.arg("--config").arg(&config).output().unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("needs root"), "{said}");
    assert!(!control.exists());
}

#[test]
fn signals_stop_it_cleanly() {
    for signal in [Signal::TERM, Signal::INT] {
        let files = Files::new("");
        let mut running = files.start();
        // With a configuration file this one only has it read again.
        kill_process(Pid::from_child(&running.0), Signal::HUP).unwrap();
        assert_eq!(running.signal(signal), Some(0));
        assert!(!files.control().parent().unwrap().exists(), "{signal:?}");
    }
}

#[test]
fn a_configuration_that_cannot_be_read_to_its_end_does_not_hold_up_a_stop() {
    let files = Files::new("");
    let mut running = files.start();
    fs::remove_file(files.config()).unwrap();
    // Nobody writes to it.
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, files.config(), kind, mode, 0).unwrap();
    kill_process(Pid::from_child(&running.0), Signal::HUP).unwrap();
    // It has begun to read.
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(running.signal(Signal::TERM), Some(0));
    assert!(!files.control().parent().unwrap().exists());
}

#[test]
fn a_killed_one_leaves_sockets_that_the_next_one_replaces() {
    let files = Files::new("");
    let mut running = files.start();
    assert_eq!(running.signal(Signal::KILL), None);
    assert!(files.control().exists() && files.datapath().exists());
    let mut next = Running(files.ccpd().stderr(Stdio::null()).spawn().unwrap());
    let answers = || {
        let mut ccp = Command::new(binaries::ccp());
        ccp.arg("--socket")
            .arg(files.control())
            .args(["flows", "--json"]);
        let output = ccp.output().unwrap();
        output.status.success().then(|| text(&output.stdout))
    };
    assert_eq!(within(PATIENCE, answers).as_deref(), Some("[]\n"));
    assert_eq!(next.signal(Signal::TERM), Some(0));
    assert!(!files.control().exists() && !files.datapath().exists());
}

#[test]
fn the_sample_configuration_is_right() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/ccpd.toml");
    let output = Command::new(binaries::ccpd())
        .args(["--check", "--config", sample])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}
