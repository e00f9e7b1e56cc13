//! The commands of `ccp` while kernel TCP sends: what they show of its flows, and a recording of one that is run
//! again.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ccp_lab::{Bulk, Namespace, RunningFlow, Until, VethLink, VethSpec};
use ccp_tests::{Daemon, KernelTest, Setup, binaries, within};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(15);
const RULES: &str = "[algorithms.reno]\n[algorithms.fixed]\nkind = \"constant\"\ncwnd_packets = 20\n\
                     [policy]\ndefault = \"reno\"\n\
                     [[policy.rule]]\nmatch = { dst_port = 5202, netns = \"any\" }\nalgorithm = \"fixed\"\n";

fn json(daemon: &Daemon<'_>, arguments: &[&str]) -> Value {
    let said = daemon.ccp(arguments);
    serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

fn lines(said: &str) -> Vec<Value> {
    said.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")))
        .collect()
}

fn start(
    setup: &Setup,
    (client, server): (&Namespace, &Namespace),
    link: &VethLink,
    port: u16,
) -> anyhow::Result<RunningFlow> {
    Ok(Bulk::new(Until::Stopped)
        .congestion(setup.name())
        .port(port)
        .start(client, server, link.b_v4())?)
}

#[test]
fn root_the_commands_show_kernel_flows_as_they_are() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    let link = VethLink::new(&client, &server, VethSpec::limited(50_000_000))?;
    let setup = Setup::with_datapath("namespaces = \"any\"", RULES);
    let daemon = setup.start(&client);
    let reno = start(&setup, (&client, &server), &link, 5201)?;
    let fixed = start(&setup, (&client, &server), &link, 5202)?;
    let of = |flow: &RunningFlow| {
        daemon.await_flow(flow, PATIENCE, |l| l.state == "running" && l.reports > 5)
    };
    let (reno_line, fixed_line) = (of(&reno), of(&fixed));
    assert_eq!(
        (&*reno_line.algorithm, &*fixed_line.algorithm),
        ("reno", "fixed")
    );
    let number = fixed_line.flow.to_string();

    // One flow: the kernel's own numbers, and why it has what it has.
    let shown = json(&daemon, &["show", &number, "--json"]);
    let mss = shown["status"]["mss_bytes"]
        .as_u64()
        .expect("a segment size");
    assert_eq!(shown["status"]["cwnd_bytes"].as_u64(), Some(20 * mss));
    assert_eq!(fixed.info()?.cwnd_packets, 20);
    assert_eq!(shown["kind"], "constant");
    assert_eq!(shown["parameters"]["cwnd_packets"], "20");
    assert!(
        shown["status"]["delivered_bytes"].as_u64() > Some(0),
        "{shown}"
    );
    assert!(shown["min_rtt_us"].as_u64() > Some(0), "{shown}");
    assert!(
        shown["last_report"]["fields"].is_object() || shown["last_report"]["fields"].is_array()
    );
    let told = daemon.ccp(&["show", &number]);
    assert!(told.contains("because      rule 1 (fixed)"), "{told}");

    // Live: two looks, of which the second knows what happened in between.
    let arguments = [
        "top",
        "--json",
        "--count",
        "2",
        "--interval",
        "400ms",
        "--sort",
        "flow",
    ];
    let looks = lines(&daemon.ccp(&arguments));
    assert_eq!(looks.len(), 2, "{looks:?}");
    assert!(looks[0]["flows"][0]["goodput_bytes_per_s"].is_null());
    for line in [&reno_line, &fixed_line] {
        let flows = looks[1]["flows"].as_array().expect("flows");
        let seen = flows
            .iter()
            .find(|f| f["flow"] == line.flow)
            .expect("the flow");
        assert!(seen["goodput_bytes_per_s"].as_u64() > Some(0), "{seen}");
        assert!(seen["reports_per_s"].as_f64() > Some(0.0), "{seen}");
    }
    assert!(daemon.ccp(&["top", "--once"]).contains("fixed"));

    // Events: reports of this flow alone, with the window that it has.
    let arguments = ["watch", "--reports", "--json", "--count", "5", &number];
    let events = lines(&daemon.ccp(&arguments));
    assert_eq!(events.len(), 5);
    for event in &events {
        assert_eq!(event["flow"], fixed_line.flow, "{event}");
        assert_eq!(event["report"]["program"], "constant", "{event}");
        assert_eq!(
            event["report"]["cwnd_bytes"].as_u64(),
            Some(20 * mss),
            "{event}"
        );
    }

    // Programs: what runs in the kernel, and for whom.
    let programs = json(&daemon, &["programs", "--json"]);
    let programs = programs.as_array().expect("programs");
    let constant = programs
        .iter()
        .find(|p| p["name"] == "constant")
        .expect("it");
    assert_eq!(constant["datapath"], setup.name());
    assert_eq!(constant["flows"], 1);
    let source = json(&daemon, &["programs", "show", "constant", "--json"]);
    assert!(
        source["source"]
            .as_str()
            .expect("its text")
            .contains("(when")
    );

    // Counters: also the kernel's.
    let stats = json(&daemon, &["stats", "--json"]);
    let value = |name: &str| {
        let all = stats.as_array().expect("metrics");
        let of = all.iter().find(|m| m["name"] == name);
        let values = of.unwrap_or_else(|| panic!("no {name}"))["values"].clone();
        values[0]["value"]
            .as_f64()
            .unwrap_or_else(|| panic!("{name}: {values}"))
    };
    assert!(value("ccpd_reports_total") > 10.0);
    assert!(value("ccpd_flows") >= 2.0);
    let zeros = daemon.ccp(&["stats", "ccpd_algorithm_panics"]);
    assert!(zeros.lines().count() > 1, "{zeros}");

    // Another algorithm by hand: the kernel's window follows, and whoever watches hears of it.
    let changed = json(
        &daemon,
        &["set", &number, "fixed", "cwnd_packets=9", "--json"],
    );
    assert_eq!(changed["flow"], fixed_line.flow);
    let nine = within(PATIENCE, || {
        (fixed.info().ok()?.cwnd_packets == 9).then_some(())
    });
    assert!(nine.is_some(), "{:?}", fixed.info());
    let shown = json(&daemon, &["show", &number, "--json"]);
    assert_eq!(shown["parameters"]["cwnd_packets"], "9");
    for flow in [&reno, &fixed] {
        flow.stop();
    }
    for flow in [reno, fixed] {
        assert!(flow.wait()?.bytes > 0);
    }
    assert_eq!(daemon.stop().code(), 0);
    Ok(())
}

/// `ccp replay`, which needs no daemon.
fn replay(file: &str, arguments: &[&str]) -> (Output, Value) {
    let mut ccp = Command::new(binaries::ccp());
    let output = ccp
        .args(["replay", "--json", file])
        .args(arguments)
        .output()
        .expect("ccp can be started");
    let outcome = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (output, outcome)
}

#[test]
fn root_a_recorded_kernel_flow_is_decided_again_as_it_was() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    // It is congested: `reno` loses, and has something to decide.
    let link = VethLink::new(&client, &server, VethSpec::limited(20_000_000))?;
    let setup = Setup::with_datapath("namespaces = \"any\"", RULES);
    let daemon = setup.start(&client);
    let file = setup.dir().join("flow.ccprec");
    let mut recorder = Command::new(binaries::ccp())
        .arg("--socket")
        .arg(setup.socket())
        .args(["record", "--json", "--out"])
        .arg(&file)
        .stdout(Stdio::piped())
        .spawn()?;
    let begun = || {
        fs::metadata(&file)
            .is_ok_and(|file| file.len() > 0)
            .then_some(())
    };
    within(PATIENCE, begun).expect("it records");
    let flow = start(&setup, (&client, &server), &link, 5201)?;
    daemon.await_flow(&flow, PATIENCE, |line| line.reports > 60);
    flow.stop();
    assert!(flow.wait()?.bytes > 0);
    let gone = within(PATIENCE, || daemon.flows().is_empty().then_some(()));
    assert!(gone.is_some(), "{:?}", daemon.flows());
    kill_process(Pid::from_child(&recorder), Signal::INT)?;
    let recorded = recorder.wait()?;
    assert!(recorded.success(), "{recorded}");
    let mut said = String::new();
    std::io::Read::read_to_string(recorder.stdout.as_mut().expect("piped"), &mut said)?;
    let done: Value = serde_json::from_str(&said)?;
    assert!(done["reports"].as_u64() > Some(60), "{done}");
    assert_eq!(done["lost"], 0, "{done}");
    assert_eq!(daemon.stop().code(), 0);

    let path = file.display().to_string();
    let (output, outcome) = replay(&path, &[]);
    let mut compared = 0;
    for flow in outcome["flows"].as_array().expect("flows") {
        assert_eq!(flow["compared"]["differing"], 0, "{flow:#}");
        compared += flow["compared"]["updates"].as_u64().expect("a number");
    }
    assert!(output.status.success() && compared > 0, "{outcome:#}");
    // Twice the same.
    let (again, _) = replay(&path, &[]);
    assert_eq!(again.stdout, output.stdout);
    // Another one decides something else, and other parameters of the same do.
    let (_, other) = replay(&path, &["--algorithm", "constant", "cwnd_packets=7"]);
    let sender = |outcome: &Value| {
        let flows = outcome["flows"].as_array().expect("flows").clone();
        let most = flows
            .into_iter()
            .max_by_key(|f| f["recorded"]["reports"].as_u64());
        most.expect("a flow")
    };
    let (same, other) = (sender(&outcome), sender(&other));
    assert_eq!(same["replayed"]["algorithm"], "reno", "{same:#}");
    assert_eq!(same["replayed"]["set"], same["recorded"]["set"]);
    assert_ne!(
        other["replayed"]["set"], same["recorded"]["set"],
        "{other:#}"
    );
    Ok(())
}
