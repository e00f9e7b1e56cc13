//! `ccp watch`: what happens, while it happens.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use ccp_control::{Event, FlowOrigin, Watch, What, Why};
use ccp_types::{Bytes, SockId};
use serde_json::Value;

use super::fake::local;
use super::{Daemon, ccp, text, told};

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
