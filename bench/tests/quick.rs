//! The benchmarks measure what they promise, and a smoke run changes no file.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use ccp_tests::{KernelTest, binaries};
use serde::Deserialize;

#[derive(Deserialize)]
struct Outcome {
    section: String,
    values: BTreeMap<String, f64>,
}

fn docs() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs")
}

fn run(args: &[&str]) -> Vec<Outcome> {
    let output = Command::new(env!("CARGO_BIN_EXE_ccp-bench"))
        .args(["--quick", "--json", "--docs"])
        .arg(docs())
        .arg("--ccpd")
        .arg(binaries::ccpd())
        .args(args)
        .output()
        .expect("ccp-bench can be started");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}:\n{error}", output.status);
    serde_json::from_slice(&output.stdout).expect("it prints JSON")
}

/// Each of `expected` is there and is a number of something that happened.
fn has(outcomes: &[Outcome], section: &str, expected: &[&str]) {
    let found = outcomes.iter().find(|outcome| outcome.section == section);
    let values = &found
        .unwrap_or_else(|| panic!("no section {section}"))
        .values;
    for name in expected {
        let value = values.get(*name).copied();
        assert!(
            value.is_some_and(|v| v.is_finite() && v > 0.0),
            "{section}: {name} is {value:?} of {values:?}"
        );
    }
}

#[test]
fn beside_portus() {
    let before = document();
    let outcomes = run(&["--only", "unix"]);
    for agent in ["ccpd", "portus"] {
        for flows in ["1_flows", "100_flows"] {
            for what in ["reports_per_s", "cpu_us", "answered_p50_us"] {
                has(&outcomes, "unix", &[&format!("{agent}.{flows}.{what}")]);
            }
        }
    }
    let outcomes = run(&["--only", "unix-crowd"]);
    for agent in ["ccpd", "portus"] {
        for what in ["opened_per_s", "bytes_per_flow", "answered_p99_us"] {
            has(&outcomes, "unix-crowd", &[&format!("{agent}.{what}")]);
        }
    }
    let valgrind = Command::new("valgrind").arg("--version").output();
    if valgrind.is_ok_and(|output| output.status.success()) {
        let outcomes = run(&["--only", "instructions"]);
        for name in ["measure_2.ours", "measure_2.portus", "compile_2.ours"] {
            has(&outcomes, "instructions", &[name]);
        }
    } else {
        eprintln!("SKIPPED: counting instructions: no command `valgrind`");
    }
    assert_eq!(document(), before);
}

#[test]
fn root_beside_the_kernel() {
    // Before the test's time begins.
    let _built = binaries::ccpd();
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return;
    };
    let before = document();
    let outcomes = run(&["--only", "latency,kernel-reports"]);
    for load in ["light", "full", "heavy"] {
        for part in ["to_algorithm", "applied"] {
            has(&outcomes, "latency", &[&format!("{load}.{part}.p50_us")]);
        }
    }
    for what in ["1_flows.cpu_us", "10_flows.reports_per_s"] {
        has(&outcomes, "kernel-reports", &[what]);
    }
    assert_eq!(document(), before);
}

#[test]
fn root_beside_the_kernels_own() {
    let _built = binaries::ccpd();
    let Some(_alone) = KernelTest::begin(Duration::from_secs(180)) else {
        return;
    };
    let before = document();
    let outcomes = run(&["--kernel"]);
    for link in ["bdp", "shallow", "loss", "deep"] {
        for key in ["reno", "cubic"] {
            for what in ["mbit_per_s", "rtt_ms", "rtt_p95_ms"] {
                let names = [key, &format!("kernel_{key}")]
                    .map(|contender| format!("{link}.{contender}.{what}"));
                has(&outcomes, "fidelity", &[&names[0], &names[1]]);
                let ratio = format!("{link}.{key}.{what}_ratio");
                has(&outcomes, "fidelity", &[&ratio]);
            }
        }
    }
    for size in ["10kb", "100kb"] {
        for key in ["reno", "kernel_reno", "cubic", "kernel_cubic"] {
            let times = ["p50_ms", "p95_ms"].map(|time| format!("{size}.{key}.{time}"));
            has(&outcomes, "short-flows", &[&times[0], &times[1]]);
        }
    }
    for key in ["reno", "reno_ack", "kernel_reno", "cubic", "kernel_cubic"] {
        for flows in [1, 8] {
            let speed = format!("{flows}_flows.{key}.gbit_per_s");
            let ratio = format!("{flows}_flows.{key}.speed_ratio");
            has(&outcomes, "throughput", &[&speed, &ratio]);
        }
    }
    for key in ["reno", "kernel_reno", "cubic", "kernel_cubic"] {
        for flows in [1, 8, 64] {
            let cost = format!("{flows}_flows.{key}.cpu_ms_per_gb");
            has(&outcomes, "cpu", &[&cost]);
        }
    }
    for key in [
        "empty",
        "hand_reno",
        "idle",
        "constant",
        "reno",
        "reno_ack",
        "hand_cubic",
        "cubic",
    ] {
        has(&outcomes, "ack-cost", &[&format!("{key}.ns")]);
    }
    for what in ["at_once.steered", "at_once.known", "churn.per_s"] {
        has(&outcomes, "scale", &[what]);
    }
    assert_eq!(document(), before);
}

fn document() -> String {
    std::fs::read_to_string(docs().join("benchmarks.md")).expect("the document is there")
}
