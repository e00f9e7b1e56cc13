//! The log of `ccpd` while nobody takes it, and its format while the daemon runs.

#[path = "ccpd_unix/fake.rs"]
#[allow(dead_code, reason = "it can more than is needed here")]
mod fake;

use std::io::{PipeReader, Read as _, pipe};
use std::ops::Range;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ccp_tests::{Process, within};
use fake::{Fake, Told};
use rustix::process::Signal;

const RULES: &str = "[[datapath]]\nkind = 'unix'\npath = '{dir}/datapath.sock'\n\
                     [algorithms.five]\nkind = 'constant'\ncwnd_packets = 5\n\
                     [algorithms.six]\nkind = 'constant'\ncwnd_packets = 6\n\
                     [policy]\ndefault = 'five'\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// A daemon that logs every report, and what its log goes to.
fn start(reports: bool) -> (Process, PipeReader) {
    let (reader, writer) = pipe().unwrap();
    let ccpd = Process::launch(RULES, None, |command| {
        command.stderr(writer);
        if reports {
            command.env("RUST_LOG", "info,ccpd::report=trace");
        }
    });
    ready(&ccpd);
    (ccpd, reader)
}

fn ready(ccpd: &Process) {
    let socket = ccpd.path("control.sock");
    let ready = within(PATIENCE, || {
        std::os::unix::net::UnixStream::connect(&socket).ok()
    });
    assert!(ready.is_some(), "it does not start: {}", ccpd.log());
}

/// The value of a metric that has one.
fn counted(ccpd: &Process, metric: &str) -> u64 {
    let json: serde_json::Value =
        serde_json::from_str(&ccpd.ccp(&["stats", metric, "--json"])).unwrap();
    json[0]["values"][0]["value"].as_f64().unwrap() as u64
}

/// A flow, which has the program that is returned.
fn open(fake: &mut Fake) -> u32 {
    fake.open(1, 40_001);
    fake.started(1).0
}

/// Reports that tell these round-trip times.
fn report(fake: &Fake, program: u32, rtts: Range<u64>) {
    for rtt in rtts {
        fake.report(1, program, &[1448, 0, 5 * 1448, rtt]);
    }
}

/// The flow is told `value`.
fn is_told(fake: &mut Fake, value: u64) {
    match fake.told() {
        Told::Update(update) => {
            let told = update.fields.iter().any(|field| field.value == value);
            assert!(told, "{update:?}");
        }
        other => panic!("{other:?}"),
    }
}

/// Nobody reads the log: flows go on, what is lost is counted, and told where it is missing.
#[test]
fn a_log_that_nobody_reads_holds_up_nobody() {
    let (mut ccpd, mut reader) = start(true);
    let mut fake = Fake::ready(&ccpd.path("datapath.sock"), "peer");
    let program = open(&mut fake);
    // More than a pipe and a queue hold.
    let mut reports = 0;
    let lost = within(PATIENCE, || {
        report(&fake, program, reports..reports + 1_000);
        reports += 1_000;
        (counted(&ccpd, "ccpd_log_lines_lost_total") > 0).then_some(())
    });
    assert!(lost.is_some(), "nothing is lost of {reports} lines");
    // What matters goes on.
    let flow = ccpd.flows()[0].flow.to_string();
    let begun = Instant::now();
    let _ = ccpd.ccp(&["set", &flow, "six"]);
    is_told(&mut fake, 6);
    assert!(begun.elapsed() < Duration::from_secs(5));
    let arrived = || counted(&ccpd, "ccpd_reports_total") + counted_missed(&ccpd);
    let all = within(PATIENCE, || (arrived() == reports).then_some(()));
    assert!(all.is_some(), "{} of {reports} reports", arrived());
    let missed = counted_missed(&ccpd);
    let lost = counted(&ccpd, "ccpd_log_lines_lost_total");

    // Somebody reads again: all is there, in order, but for what was lost.
    let text = Arc::new(Mutex::new(String::new()));
    let read = thread::spawn({
        let text = Arc::clone(&text);
        move || {
            let mut buffer = [0; 4096];
            while let Ok(len) = reader.read(&mut buffer)
                && len > 0
            {
                let new = std::str::from_utf8(&buffer[..len]).unwrap();
                text.lock().unwrap().push_str(new);
            }
        }
    });
    let told = |text: &str| text.lines().filter_map(told_lost).sum::<u64>();
    let all = within(PATIENCE, || {
        (told(&text.lock().unwrap()) >= lost).then_some(())
    });
    assert!(all.is_some(), "not all that was lost is told");
    ccpd.signal(Signal::TERM);
    assert_eq!(ccpd.wait().code(), Some(0));
    read.join().unwrap();
    let text = text.lock().unwrap().clone();
    let rtts: Vec<u64> = text.lines().filter_map(rtt).collect();
    assert!(rtts.is_sorted(), "lines are out of order");
    // That something was set by hand may be among what was lost.
    let written = rtts.len() as u64;
    let there = written + lost - (reports - missed);
    assert!(
        there <= 2,
        "{written} written, {lost} lost, {reports} reports, {missed} missed"
    );
    assert_eq!(told(&text), lost);
    assert!(text.ends_with("ccpd has stopped\n"), "{}", tail(&text));
}

fn counted_missed(ccpd: &Process) -> u64 {
    let json = ccpd.ccp(&["stats", "ccpd_reports_dropped_total", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    let values = json[0]["values"].as_array().unwrap();
    let missed = values.iter().find(|v| v["reason"] == "missed").unwrap();
    missed["value"].as_u64().unwrap()
}

fn rtt(line: &str) -> Option<u64> {
    let value = line.split("rtt=").nth(1)?;
    value.split(' ').next()?.parse().ok()
}

fn told_lost(line: &str) -> Option<u64> {
    let (before, _) = line.split_once(" lines were lost here")?;
    before.rsplit(' ').next()?.parse().ok()
}

fn tail(text: &str) -> &str {
    &text[text.len().saturating_sub(500)..]
}

/// It ends in time, and cleanly, though its last words can't be said.
#[test]
fn a_log_that_nobody_reads_does_not_keep_it_from_ending() {
    let (mut ccpd, reader) = start(true);
    let mut fake = Fake::ready(&ccpd.path("datapath.sock"), "peer");
    let program = open(&mut fake);
    // More than the pipe holds.
    report(&fake, program, 0..2_000);
    let begun = Instant::now();
    ccpd.signal(Signal::TERM);
    assert_eq!(ccpd.wait().code(), Some(0));
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    assert!(!ccpd.path("datapath.sock").exists());
    drop(reader);
}

/// Whoever read the log has gone.
#[test]
fn a_log_that_nobody_can_read_any_more_is_counted_as_lost() {
    let (mut ccpd, reader) = start(true);
    let mut fake = Fake::ready(&ccpd.path("datapath.sock"), "peer");
    let program = open(&mut fake);
    drop(reader);
    report(&fake, program, 0..10);
    let lost = within(PATIENCE, || {
        (counted(&ccpd, "ccpd_log_lines_lost_total") >= 10).then_some(())
    });
    assert!(lost.is_some());
    assert_eq!(ccpd.flows().len(), 1);
    ccpd.signal(Signal::TERM);
    assert_eq!(ccpd.wait().code(), Some(0));
}

/// The format changes with the configuration, and does not if there is no journal.
#[test]
fn a_reload_changes_the_format() {
    let ccpd = Process::start(RULES, None);
    let configuration = ccpd.path("ccpd.toml");
    let before = std::fs::read_to_string(&configuration).unwrap();
    let with = |format: &str| {
        std::fs::write(
            &configuration,
            format!("{before}[log]\nformat = '{format}'\n"),
        )
        .unwrap();
    };
    with("json");
    let _ = ccpd.ccp(&["reload"]);
    ccpd.await_log("\"message\":\"the configuration was read again\"");
    if !std::path::Path::new("/run/systemd/journal/socket").exists() {
        with("journald");
        let mut ccp = Command::new(ccp_tests::binaries::ccp());
        ccp.arg("--socket")
            .arg(ccpd.path("control.sock"))
            .arg("reload");
        let refused = ccp.output().unwrap();
        let why = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{why}");
        assert!(
            why.contains("no journal to log to (`log.format`). Nothing was changed"),
            "{why}"
        );
    }
    with("human");
    let _ = ccpd.ccp(&["reload"]);
    ccpd.await_log("INFO ccpd::change: the configuration was read again");
    let log = ccpd.log();
    assert_eq!(
        log.matches("the configuration was read again").count(),
        2,
        "{log}"
    );
    ccpd.stop();
}

/// The same of the journal: the test plays its side.
#[test]
fn root_a_journal_that_does_not_read_holds_up_nobody() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "needs root");
        eprintln!("SKIPPED: only root can give a process a journal of its own");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let journal = UnixDatagram::bind(dir.path().join("socket")).unwrap();
    let rules = format!("{RULES}[log]\nformat = 'journald'\n");
    let mut ccpd = Process::launch(&rules, None, |command| {
        // A /run of its own, with that journal.
        let place = dir.path().display();
        let script = format!(
            "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
             mount --bind {place} /run/systemd/journal && exec \"$@\""
        );
        let mut wrapped = Command::new("unshare");
        wrapped.args(["-m", "sh", "-c", &script, "sh"]);
        wrapped.arg(command.get_program()).args(command.get_args());
        wrapped.env("RUST_LOG", "info,ccpd::report=trace");
        *command = wrapped;
    });
    ready(&ccpd);
    let mut fake = Fake::ready(&ccpd.path("datapath.sock"), "peer");
    let program = open(&mut fake);
    let lost = within(PATIENCE, || {
        report(&fake, program, 0..1_000);
        (counted(&ccpd, "ccpd_log_lines_lost_total") > 0).then_some(())
    });
    assert!(lost.is_some());
    let flow = ccpd.flows()[0].flow.to_string();
    let _ = ccpd.ccp(&["set", &flow, "six"]);
    is_told(&mut fake, 6);

    let read = thread::spawn(move || {
        journal
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let (mut buffer, mut entries) = (vec![0; 1 << 16], Vec::new());
        while let Ok(len) = journal.recv(&mut buffer) {
            entries.push(String::from_utf8_lossy(&buffer[..len]).into_owned());
            if entries
                .last()
                .is_some_and(|e| e.contains("ccpd has stopped"))
            {
                break;
            }
        }
        entries
    });
    ccpd.signal(Signal::TERM);
    assert_eq!(ccpd.wait().code(), Some(0));
    let entries = read.join().unwrap();
    let with = |text: &str| entries.iter().filter(|e| e.contains(text)).count();
    assert_eq!(with("ccpd has stopped"), 1, "{:?}", entries.last());
    assert!(with("F_FLOW") > 1_000, "{} entries", entries.len());
    assert!(
        with("lines were lost here") > 0,
        "{} entries",
        entries.len()
    );
    assert_eq!(with("SYSLOG_IDENTIFIER"), with("PRIORITY"));
}
