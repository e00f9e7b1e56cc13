//! Scenarios that are wrong, those that are shipped, and what links do.

use std::fs;
use std::path::Path;

use ccp_core::SourceText;
use ccp_sim::{Outcome, Scenario, simulate};

fn parse(text: &str) -> Result<Scenario, String> {
    let text = SourceText::new("x.toml", text);
    Scenario::parse(&text, &mut |name| match name {
        "odd.trace" => Ok("1\n3\n2\n".to_owned()),
        _ => Ok((1..=1_000).map(|ms| format!("{ms}\n")).collect()),
    })
    .map_err(|problems| problems.to_string())
}

fn run(text: &str) -> Outcome {
    simulate(&parse(text).unwrap(), &algs::registry()).unwrap()
}

#[test]
fn everything_that_is_wrong_is_said_with_its_place() {
    let wrong = parse(
        r#"
[scenario]
duration_s = 0
sample = 5

[control]
loss = 1.5
away = [{ from_s = 5, to_s = 4 }]

[algorithms.reno]

[[link]]
name = "a"
rate_mbit = "fast"
queue_packets = 10
queue_ms = 5
discipline = "red"
burst = { begin = 0.1 }

[[link]]
name = "a"
trace = "odd.trace"
lose_at_s = [1, "2"]

[[flow]]
name = "one"
algorithm = "remo"
path = ["a", "b"]
app = "on-off"
on_s = 3

[[flow]]
name = "one"
path = []
ecn = 1
"#,
    );
    insta::assert_snapshot!(wrong.unwrap_err());
    insta::assert_snapshot!(parse("").unwrap_err());
    insta::assert_snapshot!(parse("[scenario\n").unwrap_err());
}

#[test]
fn parameters_of_algorithms_are_refused_with_their_place() {
    let scenario = "[scenario]\nduration_s = 1\n[algorithms.cubic]\nbeta = 2\n[[link]]\nname = 'l'\n\
                    rate_mbit = 1\n[[flow]]\nname = 'f'\nalgorithm = 'cubic'\n";
    let error = simulate(&parse(scenario).unwrap(), &algs::registry()).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("x.toml:4:8: algorithms.cubic.beta = 2"),
        "{error}"
    );
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the caller here is the test")]
fn shipped_scenarios_are_right() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/scenarios");
    let mut seen = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).unwrap();
        let text = SourceText::new(&path.display().to_string(), &text);
        let mut load = |name: &str| fs::read_to_string(dir.join(name)).map_err(|e| e.to_string());
        let mut scenario = Scenario::parse(&text, &mut load).unwrap();
        assert!(!scenario.title.is_empty(), "{}", path.display());
        // Enough to see that algorithms can be made and that something arrives.
        scenario.duration = ccp_sim::Nanos::from_secs(2);
        let outcome = simulate(&scenario, &algs::registry()).unwrap();
        assert!(
            outcome.summary.flows[0].bytes > 100_000,
            "{}",
            path.display()
        );
        assert_eq!(
            outcome.summary.control.notices,
            [""; 0],
            "{}",
            path.display()
        );
    }
    assert!(seen >= 8, "{seen}");
}

/// One flow of `kind` on `link`, which has 20 Mbit/s or what `link` says.
fn on(link: &str, flow: &str) -> Outcome {
    run(&format!(
        "[scenario]\nduration_s = 20\n[algorithms.cubic]\n[algorithms.reno]\n[[link]]\nname = 'l'\ndelay_ms = 10\n\
         {link}\n[[flow]]\nname = 'f'\nalgorithm = 'cubic'\n{flow}\n"
    ))
}

#[test]
fn codel_keeps_the_queue_short_and_marks_instead_of_dropping() {
    let long = on("rate_mbit = 20\nqueue_packets = 500", "");
    let short = on(
        "rate_mbit = 20\nqueue_packets = 500\ndiscipline = 'codel'",
        "",
    );
    let marked = on(
        "rate_mbit = 20\nqueue_packets = 500\ndiscipline = 'codel'",
        "ecn = true",
    );
    let rtt = |outcome: &Outcome| outcome.summary.flows[0].rtt_ms.p50;
    assert!(rtt(&long) > 150.0, "{}", rtt(&long));
    assert!(
        rtt(&short) < 35.0 && rtt(&marked) < 35.0,
        "{} {}",
        rtt(&short),
        rtt(&marked)
    );
    let [short, marked] = [&short, &marked].map(|outcome| &outcome.summary.links[0]);
    assert!(short.dropped > 0 && short.marked == 0, "{short:?}");
    assert!(marked.dropped == 0 && marked.marked > 0, "{marked:?}");
    assert!(short.used > 0.9 && marked.used > 0.9);
}

#[test]
fn droptail_marks_above_its_threshold() {
    let outcome = on(
        "rate_mbit = 20\nqueue_packets = 200\nmark_packets = 20",
        "ecn = true",
    );
    let link = &outcome.summary.links[0];
    assert!(link.marked > 0 && link.dropped == 0, "{link:?}");
    let flow = &outcome.summary.flows[0];
    assert!(flow.resent == 0 && flow.reductions > 0, "{flow:?}");
}

#[test]
fn traces_carry_what_they_say() {
    // An opportunity of 1,504 bytes in each millisecond.
    let link = &on("trace = 'even.trace'\nqueue_packets = 50", "")
        .summary
        .links[0];
    assert!((link.throughput_mbit - 12.032).abs() < 0.3, "{link:?}");
}

#[test]
fn loss_is_as_often_as_it_should_be() {
    let flow = "app = 'limited'\nrate_mbit = 10";
    let lost = |link: &str| {
        let outcome = on(
            &format!("rate_mbit = 1000\nqueue_packets = 1000\n{link}"),
            flow,
        );
        let flow = &outcome.summary.flows[0];
        outcome.summary.links[0].lost as f64 / flow.packets as f64
    };
    let random = lost("loss = 0.01");
    assert!((0.008..0.012).contains(&random), "{random}");
    // In the bad state for one packet in twenty-one, of which half is lost.
    let burst = lost("burst = { begin = 0.01, recover = 0.2, bad = 0.5 }");
    assert!((0.018..0.030).contains(&burst), "{burst}");
    assert_eq!(lost(""), 0.0);
}

#[test]
fn reordering_is_not_taken_for_loss() {
    // Less than a quarter of the round-trip time.
    let link =
        "rate_mbit = 20\nqueue_packets = 500\ndiscipline = 'codel'\njitter_ms = 3\nreorders = true";
    let flow = &on(link, "ecn = true").summary.flows[0];
    assert!(flow.loss < 0.001 && flow.timeouts == 0, "{flow:?}");
    assert!(flow.throughput_mbit > 16.0, "{flow:?}");
}

#[test]
fn everything_lost_is_sent_again_after_timeouts() {
    // Nothing gets through for some seconds, in the middle of responses.
    let link = "rate_mbit = 20\nburst = { begin = 0.002, recover = 0.02 }";
    let outcome = on(link, "app = 'responses'\nsize_kb = 100\nthink_ms = 10");
    let flow = &outcome.summary.flows[0];
    assert!(flow.timeouts > 0, "{flow:?}");
    let (count, _) = flow.responses.unwrap();
    assert!(count > 10 && flow.bytes >= count * 100_000, "{flow:?}");
}

#[test]
fn flows_go_on_without_their_control_plane_and_come_back() {
    let outcome = run(
        "[scenario]\nduration_s = 20\n[algorithms.slow]\nkind = 'constant'\ncwnd_packets = 10\n\
         [control]\ndelay_ms = 50\nloss = 0.2\nfallback_after_ms = 1000\n[[control.away]]\nfrom_s = 6\nto_s = 12\n\
         [[link]]\nname = 'l'\nrate_mbit = 20\ndelay_ms = 10\n[[flow]]\nname = 'f'\nalgorithm = 'slow'\n",
    );
    let samples = &outcome.flows[0].samples;
    let at = |second: u64| {
        let time = ccp_sim::Nanos::from_secs(second);
        samples.iter().find(|s| s.at >= time).unwrap()
    };
    // Ten packets, then what CUBIC finds, then ten again.
    assert!(at(5).steered && at(5).cwnd == 14_480, "{:?}", at(5));
    assert!(
        !at(8).steered && !at(11).steered && at(11).cwnd > 30_000,
        "{:?}",
        at(11)
    );
    assert!(at(14).steered && at(14).cwnd == 14_480, "{:?}", at(14));
}
