//! A real `ccpd` and datapaths that flood it: its memory stays bounded, what it refuses is counted and said,
//! and another datapath on the same socket is served on.

#[path = "ccpd_unix/fake.rs"]
#[allow(dead_code, reason = "each test program uses its part")]
mod fake;

use std::os::unix::fs::PermissionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ccp_tests::{FlowLine, Process, within};
use ccp_wire::{Encode as _, MeasureBuf, Ready};
use fake::{Fake, Told, local, measure};
use rustix::process::{Uid, geteuid};
use rustix::thread::set_thread_uid;
use serde_json::Value;

const MALLORY: u32 = 64_004;

/// What the daemon may grow by, in KiB: far less than any flood brings.
const MORE_KIB: u64 = 48 * 1024;
/// A datapath that does as it should is answered within this, whatever others do.
const SOON: Duration = Duration::from_secs(3);

fn start(limits: &str) -> Process {
    let rest = format!(
        "[[datapath]]
         kind = 'unix'
         path = '{{dir}}/datapath.sock'
         {limits}
         [algorithms.fixed]
         kind = 'constant'
         cwnd_packets = 20
         [policy]
         default = 'fixed'"
    );
    Process::start(&rest, None)
}

/// The value of a metric, or of the one with this label.
fn metric(ccpd: &Process, name: &str, label: Option<&str>) -> u64 {
    let all = ccpd.ccp(&["stats", "--all", "--json", name]);
    let metrics: Value = serde_json::from_str(&all).unwrap();
    let text = metrics.to_string();
    let found = samples(&metrics, name)
        .into_iter()
        .find(|(of, _)| *of == label);
    found
        .unwrap_or_else(|| panic!("no {name} {label:?} in {text}"))
        .1
}

/// Waits until that metric is at least `least`; returns it.
fn await_metric(ccpd: &Process, name: &str, label: &str, least: u64) -> u64 {
    // The counts of sessions become metrics a few times a second.
    let found = within(Duration::from_secs(10), || {
        let value = metric(ccpd, name, Some(label));
        (value >= least).then_some(value)
    });
    found.unwrap_or_else(|| panic!("{name} {label}: {}", metric(ccpd, name, Some(label))))
}

/// Label and value of each sample of the metric `name`.
fn samples<'v>(metrics: &'v Value, name: &str) -> Vec<(Option<&'v str>, u64)> {
    let named = |metric: &&Value| metric.get("name").and_then(Value::as_str) == Some(name);
    let metric = metrics.as_array().unwrap().iter().find(named).unwrap();
    let samples = metric.get("values").and_then(Value::as_array).unwrap();
    let sample = |sample: &'v Value| {
        let mut texts = sample.as_object().unwrap().values();
        let label = texts.find_map(Value::as_str);
        (label, sample.get("value").and_then(Value::as_u64).unwrap())
    };
    samples.iter().map(sample).collect()
}

/// The other datapath, which opens and ends a flow again and again. Returns how often, and the longest that
/// one had to wait.
struct Bystander {
    stop: AtomicBool,
}

impl Bystander {
    fn during(at: &Path, flood: impl FnOnce()) -> (u32, Duration) {
        let this = Self {
            stop: AtomicBool::new(false),
        };
        thread::scope(|scope| {
            let served = scope.spawn(|| this.serve(at));
            let flooded = catch_unwind(AssertUnwindSafe(flood));
            this.stop.store(true, Ordering::Relaxed);
            let served = served.join().unwrap();
            flooded.unwrap_or_else(|panic| resume_unwind(panic));
            served
        })
    }

    fn serve(&self, at: &Path) -> (u32, Duration) {
        let mut fake = Fake::ready(at, "bystander");
        let (mut flows, mut longest) = (0, Duration::ZERO);
        while !self.stop.load(Ordering::Relaxed) || flows == 0 {
            flows += 1;
            let began = Instant::now();
            fake.open(flows, 9);
            assert_eq!(fake.started(flows).1, Some(20 * 1448));
            longest = longest.max(began.elapsed());
            fake.close(flows);
        }
        (flows, longest)
    }
}

/// Runs `flood` beside a datapath that does as it should, and looks at what it leaves.
fn survives(ccpd: &Process, flood: impl FnOnce(&Path)) {
    let at = ccpd.path("datapath.sock");
    let before = ccpd.resident_kib();
    let (flows, longest) = Bystander::during(&at, || flood(&at));
    let after = ccpd.resident_kib();
    eprintln!("{before} KiB, then {after} KiB; {flows} other flows, the longest wait {longest:?}");
    assert!(after < before + MORE_KIB, "{before} KiB became {after}");
    assert!(longest < SOON, "{longest:?}");
}

#[test]
fn flows_in_a_loop_by_one_that_never_reads() {
    let ccpd = start("max_flows = 2000\nmute_ms = 600000");
    survives(&ccpd, |at| {
        let deaf = Fake::ready(at, "deaf");
        for flow in 1..=100_000 {
            deaf.open(flow, flow as u16);
        }
    });
    ccpd.await_log("it asks and never reads");
    ccpd.await_flows(<[_]>::is_empty);
    await_metric(&ccpd, "ccpd_refusals_total", "flows", 1_000);
    assert_eq!(metric(&ccpd, "ccpd_refusals_total", Some("flooding")), 1);
    await_metric(&ccpd, "ccpd_refusals_total", "muted", 10_000);
    ccpd.stop();
}

#[test]
fn flows_in_a_loop_by_one_that_reads() {
    let ccpd = start("max_flows = 2000");
    survives(&ccpd, |at| {
        let mut reads = Fake::ready(at, "reads");
        // Most of them at once; each that is turned away is told what to run without the daemon.
        for flow in 1..=2_500 {
            reads.open(flow, flow as u16);
            if flow % 20 == 0 {
                while reads.told_within(Duration::from_millis(1)).is_some() {}
            }
        }
        while reads.told_within(Duration::from_millis(200)).is_some() {}
        reads.open(5_000, 1);
        let Told::ChangeProg(native) = reads.told() else {
            panic!("no program")
        };
        assert_eq!(native.sock_id.0, 5_000);
        assert_ne!(native.program_uid, 1, "that is the algorithm's");
        // Then in and out again.
        for flow in 1..=2_000 {
            reads.close(flow);
        }
        for round in 0..5_000_u32 {
            let flow = 10_000 + round % 50;
            reads.open(flow, round as u16);
            reads.close(flow);
            if round % 20 == 0 {
                while reads.told_within(Duration::from_millis(1)).is_some() {}
            }
        }
    });
    ccpd.await_log("as many flows as are taken; further ones run natively");
    ccpd.stop();
}

#[test]
fn a_million_malformed_frames() {
    let ccpd = start("mute_ms = 2000");
    let mut bad = BytesMut::new();
    // CREATE, MEASURE, INSTALL, … without a body, and lengths that can't be.
    for kind in (0..8_000_u16).map(|n| n % 5) {
        bad.extend_from_slice(&[kind as u8, 0, 8, 0, 1, 0, 0, 0]);
    }
    survives(&ccpd, |at| {
        let loud = Fake::ready(at, "loud");
        loud.open(1, 1);
        for _ in 0..125 {
            loud.send(&bad);
        }
        for _ in 0..20_000 {
            loud.send(&[1, 0, 7, 0]);
        }
    });
    ccpd.await_log("it sends too much that is no message");
    ccpd.await_flows(<[_]>::is_empty);
    await_metric(&ccpd, "ccpd_refusals_total", "muted", 1);
    await_metric(&ccpd, "ccpd_malformed_frames_total", "body", 1_000);
    assert!(ccpd.log().lines().count() < 200, "the log is limited");
    // It may come back.
    thread::sleep(Duration::from_secs(2));
    let mut again = Fake::ready(&ccpd.path("datapath.sock"), "loud");
    again.open(2, 2);
    assert_eq!(again.started(2).1, Some(20 * 1448));
    ccpd.stop();
}

#[test]
fn reports_of_flows_that_do_not_exist() {
    let ccpd = start("");
    survives(&ccpd, |at| {
        let mut loud = Fake::ready(at, "loud");
        let mut many = BytesMut::new();
        for flow in 0..1_000 {
            measure(100 + flow, 1, &[7; 3]).encode(&mut many).unwrap();
        }
        for _ in 0..200 {
            loud.send(&many);
        }
        // That is no reason to hang up: after a restart of the daemon libccp's flows are such.
        loud.open(1, 1);
        assert_eq!(loud.started(1).1, Some(20 * 1448));
    });
    let name = "ccpd_reports_dropped_total";
    assert_eq!(await_metric(&ccpd, name, "unknown_flow", 200_000), 200_000);
    assert_eq!(ccpd.flows().len(), 1);
    ccpd.stop();
}

#[test]
fn a_daemon_that_stops_leaves_its_flows_a_program() {
    let ccpd = start("");
    let mut fake = Fake::ready(&ccpd.path("datapath.sock"), "left");
    for flow in 1..=3 {
        fake.open(flow, 1);
        assert_eq!(fake.started(flow).1, Some(20 * 1448));
    }
    ccpd.stop();
    let mut left: Vec<u32> = (0..3)
        .map(|_| match fake.told() {
            Told::ChangeProg(native) => native.sock_id.0,
            other => panic!("{other:?}"),
        })
        .collect();
    left.sort_unstable();
    assert_eq!(left, [1, 2, 3]);
}

/// One user alone can't have all that there is; root's datapath is served on.
#[test]
fn a_user_has_a_share() {
    if !geteuid().is_root() {
        assert!(
            std::env::var("CI").is_err(),
            "a_user_has_a_share needs root"
        );
        eprintln!("SKIPPED: a_user_has_a_share: only root can be several users");
        return;
    }
    let ccpd = start(
        "mode = '0666'\nmax_datapaths = 40\nmax_datapaths_per_user = 20\nmax_flows_total = 200\nmax_flows_per_user = 100",
    );
    std::fs::set_permissions(ccpd.dir(), PermissionsExt::from_mode(0o777)).unwrap();
    survives(&ccpd, |at| {
        let all = thread::scope(|scope| {
            let mallory = scope.spawn(|| {
                set_thread_uid(Uid::from_raw(MALLORY)).unwrap();
                let datapath = |n: u16| {
                    let fake = Fake::ready(at, &format!("mallory{n}"));
                    (1..=8).for_each(|flow| fake.open(flow, 1000 + n));
                    fake
                };
                (0..60).map(datapath).collect::<Vec<_>>()
            });
            mallory.join().unwrap()
        });
        let theirs = |flows: &[FlowLine]| flows.iter().filter(|f| f.src != local(9)).count();
        ccpd.await_flows(|flows| theirs(flows) == 100);
        drop(all);
    });
    ccpd.await_flows(<[_]>::is_empty);
    ccpd.await_log("max_datapaths_per_user = 20");
    ccpd.await_log("max_flows_per_user");
    await_metric(&ccpd, "ccpd_refusals_total", "datapaths", 40);
    assert_eq!(await_metric(&ccpd, "ccpd_refusals_total", "flows", 60), 60);
    ccpd.stop();
}

/// READY has all programs sent anew: again and again it is a flood.
#[test]
fn readys_again_and_again() {
    let ccpd = start("mute_ms = 600000");
    let ready = Ready {
        id: 0,
        capabilities: None,
    };
    survives(&ccpd, |at| {
        let mut loud = Fake::ready(at, "loud");
        for _ in 0..500 {
            loud.say(&ready);
            while loud.told_within(Duration::from_millis(1)).is_some() {}
        }
        loud.say(&MeasureBuf::close(ccp_types::SockId(1)));
    });
    ccpd.await_log("READY too often");
    ccpd.stop();
}
