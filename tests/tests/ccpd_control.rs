//! What a running `ccpd` tells: one flow, what happens, programs, what is logged. Asked by the client
//! library and by the command `ccp`; the datapath is one on a Unix socket that says what the test wants it
//! to say.

#[path = "ccpd_unix/fake.rs"]
#[allow(dead_code, reason = "it can more than is needed here")]
mod fake;
#[path = "ccpd_unix/kinds.rs"]
#[allow(dead_code, reason = "it can more than is needed here")]
mod kinds;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ccp_control::{Client, Event, FlowOrder, FlowOrigin, Happened, Selection, Watch, What, Why};
use ccp_tests::binaries;
use ccp_types::{Bytes, SockId};
use ccpd::{Ccpd, Config, Handle};
use fake::{Fake, local};
use kinds::{Manner, Missed, Test};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use serde_json::Value;

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

#[tokio::test(flavor = "multi_thread")]
async fn everything_about_one_flow_is_shown() {
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    fake.open(5, 40_000);
    let (uid, _) = fake.started(5);
    fake.report(5, uid, &[30_000]);
    assert_eq!(fake.window(5), 30_000);
    let mut client = daemon.client().await;
    let flow = client.flows().await.unwrap()[0].flow;

    let detail = client.show(flow).await.unwrap();
    assert_eq!(
        (detail.status.cwnd_bytes, detail.status.reports),
        (30_000, 1)
    );
    assert_eq!(
        (detail.origin, detail.init_cwnd_bytes),
        (FlowOrigin::New, 14_480)
    );
    assert_eq!(
        (detail.rules.rule, &*detail.rules.algorithm),
        (None, "echo")
    );
    assert_eq!((detail.rules.rules.len(), detail.by_hand), (1, false));
    assert_eq!(
        (detail.kind.as_deref(), detail.program_uid),
        (Some("echo"), Some(uid))
    );
    assert!(detail.program_instructions.unwrap() > 0);
    assert!(detail.status.age_us > 0);
    let report = detail.last_report.unwrap();
    assert_eq!(
        (&*report.program, &*report.fields),
        ("echo", &[("value".to_owned(), 30_000)][..])
    );

    client.set(flow, "few", &[]).await.unwrap();
    fake.started(5);
    let shown = json(&daemon.ccp(&["show", &flow.to_string(), "--json"]));
    assert_eq!(shown["status"]["algorithm"], "few");
    assert_eq!(shown["by_hand"], true);
    assert_eq!(shown["parameters"]["cwnd_packets"], "4");
    assert_eq!(shown["rules"]["algorithm"], "echo");
    let shown = text(&daemon.ccp(&["show", &flow.to_string()]).stdout);
    let because = "given few by hand, instead of no rule fits: the default (echo)";
    assert!(shown.contains(because), "{shown}");
    assert!(shown.contains("    value  30000"), "{shown}");

    let none = daemon.ccp(&["show", "4711"]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(text(&none.stderr), "ccp: there is no such flow\n");
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_happens_is_told_while_it_happens() {
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    let mut watching = daemon.client().await;
    let reports = Watch {
        reports: true,
        ..Watch::default()
    };
    watching.watch(&reports).await.unwrap();
    fake.open_to(1, 1, 1003);
    let (fragile, _) = fake.started(1);
    fake.report(1, fragile, &[20_000]);
    assert_eq!(fake.window(1), 20_000);
    fake.report(1, fragile, &[20_001]);
    assert_eq!(fake.window(1), 20_001);
    // The third one kills it: the default takes over.
    fake.report(1, fragile, &[0]);
    fake.started(1);
    let mut other = daemon.client().await;
    let flow = other.flows().await.unwrap()[0].flow;
    other.set(flow, "few", &[]).await.unwrap();
    fake.started(1);
    // What is told with the end counts.
    fake.say(&ccp_wire::MeasureBuf {
        trailer: Some(ccp_wire::ReportTrailer {
            generation: 0,
            merged: 0,
        }),
        totals: Some(ccp_wire::Totals {
            delivered: Bytes(4_711),
            ..ccp_wire::Totals::default()
        }),
        ..ccp_wire::MeasureBuf::close(SockId(1))
    });
    let closed = |events: &[Event]| {
        matches!(
            events.last(),
            Some(Event {
                what: What::Closed { .. },
                ..
            })
        )
    };
    let events = told(&mut watching, closed).await;
    assert!(events.iter().all(|event| event.flow == flow));
    assert!(events.is_sorted_by_key(|event| event.time_us));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let age = now.unwrap().as_micros() as u64 - events[0].time_us;
    assert!(age < 60_000_000, "{age} µs ago");
    let what: Vec<&What> = events.iter().map(|event| &event.what).collect();
    let changed = |from: &str, to: &str, why| What::AlgorithmChanged {
        from: from.to_owned(),
        to: to.to_owned(),
        why,
    };
    let report = |value| What::Report {
        algorithm: "fragile".to_owned(),
        program: "fragile".to_owned(),
        merged: 0,
        cwnd_bytes: value,
        rate_bytes_per_s: 0,
        fields: vec![("value".to_owned(), value)],
    };
    let [opened, one, two, third, panicked, failed, by_hand, closed] = what.as_slice() else {
        panic!("{what:#?}");
    };
    match opened {
        What::Opened {
            status,
            origin,
            rule,
        } => {
            assert_eq!((status.src, &*status.algorithm), (local(1), "fragile"));
            assert_eq!((*origin, *rule), (FlowOrigin::New, Some(1)));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!((*one, *two), (&report(20_000), &report(20_001)));
    assert!(matches!(third, What::Report { fields, .. } if fields[0].1 == 0));
    assert!(matches!(panicked, What::Panicked { message, .. } if message == "three is too many"));
    assert_eq!(*failed, &changed("fragile", "echo", Why::Panicked));
    assert_eq!(*by_hand, &changed("echo", "few", Why::Assigned));
    assert!(
        matches!(closed, What::Closed { status } if status.reports == 3 && status.updates >= 4)
    );
    // The connection is good for other questions, which end that.
    assert_eq!(watching.flows().await.unwrap(), []);
    let none = tokio::time::timeout(Duration::from_millis(50), watching.next()).await;
    assert!(none.is_err(), "{none:?}");
    daemon.stop().await;
}

/// `ccp watch`, and what it prints line by line.
fn watch(daemon: &Daemon, arguments: &[&str]) -> (Child, Receiver<String>) {
    let mut ccp = ccp(&daemon.path("control.sock"), &["watch"]);
    let ccp = ccp.args(arguments).stdout(Stdio::piped());
    let mut child = ccp.stderr(Stdio::piped()).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    let (tell, lines) = channel();
    std::thread::spawn(move || {
        for line in out.lines() {
            let _ = tell.send(line.unwrap());
        }
    });
    (child, lines)
}

/// The first line, while `happen` makes something happen again and again.
fn first_line(lines: &Receiver<String>, mut happen: impl FnMut()) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        happen();
        match lines.recv_timeout(Duration::from_millis(20)) {
            Ok(line) => return line,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => panic!("it ended without a word"),
        }
    }
    panic!("nothing was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_watches_until_it_has_seen_enough() {
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    fake.open(1, 1);
    let (uid, _) = fake.started(1);
    let flow = daemon.client().await.flows().await.unwrap()[0].flow;
    let name = flow.to_string();

    // It ends when the flow does; others are not told of.
    let (mut watched, lines) = watch(&daemon, &[&name, "--json", "--reports"]);
    let line = first_line(&lines, || {
        fake.report(1, uid, &[50_000]);
        fake.window(1);
    });
    fake.open(2, 2);
    fake.started(2);
    fake.close(1);
    let mut all = vec![line];
    all.extend(lines.iter());
    assert!(watched.wait().unwrap().success());
    let all: Vec<Value> = all
        .iter()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    assert!(all.iter().all(|event| event["flow"] == flow), "{all:#?}");
    assert_eq!(all[0]["report"]["fields"]["value"], 50_000);
    assert_eq!(all.last().unwrap()["closed"]["status"]["algorithm"], "echo");

    let (mut counted, lines) = watch(&daemon, &["--count", "2", "--reports"]);
    while counted.try_wait().unwrap().is_none() {
        fake.report(2, uid, &[60_000]);
        fake.window(2);
    }
    let lines: Vec<String> = lines.iter().collect();
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].ends_with("echo value=60000 -> 60000 B"),
        "{lines:?}"
    );

    let began = Instant::now();
    let silent = daemon.ccp(&["watch", "--for", "300ms"]);
    assert!(silent.status.success() && silent.stdout.is_empty());
    assert!(began.elapsed() >= Duration::from_millis(300));

    let none = daemon.ccp(&["watch", "4711"]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(
        text(&none.stderr),
        "ccp: can't watch flow 4711: there is no such flow\n"
    );

    // Ctrl-C is how it usually ends: no failure.
    let (mut interrupted, lines) = watch(&daemon, &["--reports"]);
    first_line(&lines, || {
        fake.report(2, uid, &[60_000]);
        fake.window(2);
    });
    let pid = rustix::process::Pid::from_child(&interrupted);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(interrupted.wait().unwrap().code(), Some(0));

    // A daemon that ends is no failure of the command's, but not what it was asked for.
    let (alone, lines) = watch(&daemon, &["--reports"]);
    first_line(&lines, || {
        fake.report(2, uid, &[60_000]);
        fake.window(2);
    });
    daemon.stop().await;
    let alone = alone.wait_with_output().unwrap();
    assert_eq!(alone.status.code(), Some(1));
    assert_eq!(
        text(&alone.stderr),
        "ccp: ccpd has ended, or was replaced: nothing more will be heard from it\n"
    );
}

/// Who watches and does not read holds up nobody, costs bounded memory, and learns what that cost.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_watcher_loses_events_and_is_told_how_many() {
    const REPORTS: u64 = 30_000;
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    fake.open(1, 1);
    let (uid, _) = fake.started(1);
    let mut slow = daemon.client().await;
    let reports = Watch {
        reports: true,
        ..Watch::default()
    };
    slow.watch(&reports).await.unwrap();
    // It has begun when the first report has been told; then it stops reading.
    let mut seen = 0;
    while seen == 0 {
        fake.report(1, uid, &[1]);
        fake.window(1);
        let next = tokio::time::timeout(Duration::from_millis(50), slow.next()).await;
        if let Ok(happened) = next {
            seen = happened.unwrap().events.len() as u64;
        }
    }
    let before = daemon.client().await.flows().await.unwrap()[0].reports;
    let mut worst = Duration::ZERO;
    for report in 2..=REPORTS {
        let asked = Instant::now();
        fake.report(1, uid, &[report]);
        assert_eq!(fake.window(1), report);
        worst = worst.max(asked.elapsed());
    }
    assert!(worst < Duration::from_secs(1), "{worst:?}");
    let handed_on = daemon.client().await.flows().await.unwrap()[0].reports - before;
    assert_eq!(handed_on, REPORTS - 1);
    // What it gets in the end, and what it is told that it lost, is all that happened.
    let (mut lost, mut got, mut last) = (0, 0, 0);
    while lost + got < handed_on {
        let next = tokio::time::timeout(Duration::from_secs(10), slow.next()).await;
        let happened = next.expect("all is accounted for").unwrap();
        lost += happened.lost;
        for event in happened.events {
            let What::Report { fields, .. } = event.what else {
                panic!("{event:?}");
            };
            assert!(fields[0].1 > last, "in order");
            last = fields[0].1;
            got += 1;
        }
    }
    assert_eq!(lost + got, handed_on);
    assert!(lost > 0 && got > 2_000, "{lost} lost, {got} got");
    // It goes on with what is new.
    fake.report(1, uid, &[77_777]);
    let events = told(&mut slow, |events| !events.is_empty()).await;
    assert!(matches!(&events[0].what, What::Report { fields, .. } if fields[0].1 == 77_777));
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_flows_come_in_order_and_in_pages() {
    const FLOWS: u16 = 1_000;
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    for flow in 1..=FLOWS {
        fake.open(flow.into(), flow);
        let (uid, _) = fake.started(flow.into());
        fake.report(flow.into(), uid, &[u64::from(flow) * 1_000]);
        fake.window(flow.into());
    }
    let mut client = daemon.client().await;
    assert_eq!(client.flows().await.unwrap().len(), usize::from(FLOWS));
    let top = Selection {
        order: Some(FlowOrder::Cwnd),
        limit: Some(300),
        ..Selection::default()
    };
    let selected = client.select(&top).await.unwrap();
    assert_eq!(selected.matching, u64::from(FLOWS));
    let windows: Vec<u64> = selected.flows.iter().map(|f| f.cwnd_bytes).collect();
    let expected: Vec<u64> = (701..=1_000).rev().map(|flow| flow * 1_000).collect();
    assert_eq!(windows, expected);

    let found = json(&daemon.ccp(&["flows", "--json", "--filter", "ECHO", "--filter", ".7:77"]));
    let found = found.as_array().unwrap();
    let ports: Vec<&str> = found.iter().map(|f| f["src"].as_str().unwrap()).collect();
    assert_eq!(ports.len(), 11, "77 and 770 to 779: {ports:?}");
    let few = json(&daemon.ccp(&["flows", "--json", "--sort", "cwnd", "--limit", "2"]));
    assert_eq!(few[0]["cwnd_bytes"], 1_000_000);
    assert_eq!(
        (few[1]["cwnd_bytes"].as_u64(), &few[2]),
        (Some(999_000), &Value::Null)
    );
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_programs_are_listed_and_printed() {
    let daemon = Daemon::start("").await;
    let mut fake = daemon.fake();
    fake.open(1, 1);
    let (uid, _) = fake.started(1);
    // The same once more: several peers are one line.
    let mut other = Fake::ready(&daemon.path("datapath.sock"), "other");
    other.open(1, 2);
    other.started(1);
    let all = json(&daemon.ccp(&["programs", "--json"]));
    let all = all.as_array().unwrap();
    let named = |name: &str| all.iter().find(|p| p["name"] == name).unwrap();
    let echo = named("echo");
    assert_eq!(
        (echo["uid"].as_u64(), echo["flows"].as_u64()),
        (Some(uid.into()), Some(2))
    );
    assert_eq!(
        (echo["peers"].as_u64(), &echo["faults"]),
        (Some(2), &Value::Null)
    );
    assert_eq!(echo["algorithms"][0], "echo");
    assert!(echo["instructions"].as_u64().unwrap() > 0);
    assert_eq!(named("fragile")["flows"], 0);
    // Ours, for flows that nobody steers.
    assert_eq!(named("native")["algorithms"].as_array().unwrap().len(), 0);

    let shown = daemon.ccp(&["programs", "show", "echo"]);
    let shown = text(&shown.stdout);
    assert!(
        shown.contains("# reports: value\n# control variables: tag\n"),
        "{shown}"
    );
    assert!(
        shown.contains("(:= Report.value Ack.bytes_acked)"),
        "{shown}"
    );
    let shown = json(&daemon.ccp(&["programs", "show", &uid.to_string(), "--json"]));
    assert_eq!(shown["status"]["name"], "echo");
    let none = daemon.ccp(&["programs", "show", "vegas"]);
    assert_eq!(none.status.code(), Some(1));
    assert_eq!(
        text(&none.stderr),
        "ccp: no datapath runs a program `vegas`; there are: echo, fragile, native\n"
    );
    daemon.stop().await;
}

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
        "ccp: `top` needs a terminal: `ccp top --once` prints one frame, `ccp flows --json` is for scripts\n"
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

#[test]
fn what_is_logged_is_changed_under_way() {
    let process = Process::start("");
    let level = |arguments: &[&str]| {
        let output = process.ccp(&[&["log-level"], arguments].concat());
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    assert_eq!(level(&[]), (Some(0), "info\n".to_owned(), String::new()));
    let open = |port| {
        let fake = Fake::ready(
            &process.dir.path().join("datapath.sock"),
            &format!("p{port}"),
        );
        fake.open(1, port);
        fake
    };
    let _one = open(1001);
    assert_eq!(level(&["info,ccpd::datapath=debug"]).0, Some(0));
    let _two = open(1002);
    let told = ccp_tests::within(Duration::from_secs(10), || {
        process.log().contains("192.0.2.7:1002").then_some(())
    });
    assert!(told.is_some(), "{}", process.log());
    assert!(
        !process.log().contains("192.0.2.7:1001"),
        "{}",
        process.log()
    );
    let now: Value = serde_json::from_str(&level(&["--json"]).1).unwrap();
    let filter = now["filter"].as_str().unwrap();
    assert!(
        filter.contains("ccpd::datapath=debug") && filter.contains("info"),
        "{filter}"
    );
    let (code, _, why) = level(&["ccpd=loud"]);
    assert_eq!(code, Some(1));
    assert!(
        why.starts_with("ccp: `ccpd=loud` is no filter: expected levels"),
        "{why}"
    );
    assert_eq!(
        level(&["warn"]),
        (Some(0), "warn\n".to_owned(), String::new())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_within_another_program_leaves_its_log_alone() {
    let daemon = Daemon::start("").await;
    let refused = daemon.ccp(&["log-level"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("is not its own"),
        "{refused:?}"
    );
    daemon.stop().await;
}

#[test]
fn root_others_may_look_and_change_nothing() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("SKIPPED: only root can be another user");
        return;
    }
    let process = Process::start("control_mode = '0666'\n");
    let copy = process.dir.path().join("ccp");
    std::fs::copy(binaries::ccp(), &copy).unwrap();
    let nobody = |arguments: &[&str]| {
        let mut command = Command::new(&copy);
        command
            .arg("--socket")
            .arg(process.dir.path().join("control.sock"))
            .args(arguments)
            .current_dir("/")
            .uid(65_534)
            .gid(65_534);
        // A process that another test is starting may still have the copy open for writing.
        let started = ccp_tests::within(Duration::from_secs(10), || match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            other => Some(other),
        });
        started.expect("a copy that nobody writes to").unwrap()
    };
    let mut fake = Fake::ready(&process.dir.path().join("datapath.sock"), "peer");
    fake.open(1, 1);
    fake.started(1);
    let flows = json(&nobody(&["flows", "--json"]));
    let flow = flows[0]["flow"].to_string();
    for look in [
        &["show", &flow][..],
        &["watch", "--for", "100ms"],
        &["programs"],
        &["programs", "show", "reno_base"],
        &["algorithms"],
        &["log-level"],
    ] {
        let looked = nobody(look);
        assert_eq!(
            looked.status.code(),
            Some(0),
            "{look:?}: {}",
            text(&looked.stderr)
        );
    }
    for change in [
        &["log-level", "trace"][..],
        &["set", &flow, "native"],
        &["reload"],
    ] {
        let refused = nobody(change);
        assert_eq!(refused.status.code(), Some(1), "{change:?}");
        assert_eq!(
            text(&refused.stderr),
            "ccp: only root and the user that ccpd runs as may change what it does\n"
        );
    }
    assert_eq!(text(&process.ccp(&["log-level"]).stdout), "info\n");
}
