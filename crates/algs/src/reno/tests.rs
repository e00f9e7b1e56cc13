use std::fmt::Write as _;

use ccp_core::testkit::{Ack, Path, Round, Setup, TestFlow};
use ccp_core::{Bytes, Event, Micros, Origin, Params, Place, Rate};
use ccp_program::RegisterTable;

use super::{Config, Interval, Reno};

fn reno(report: Interval) -> Reno {
    Reno::new(Config { report }).unwrap()
}

/// A flow on a datapath that measures much and reduces by itself, and one on a libccp datapath.
fn both(setup: &Setup) -> [(&'static str, TestFlow, Path); 2] {
    let base = Setup {
        registers: RegisterTable::libccp(),
        ..setup.clone()
    };
    let path = |reduces| Path {
        mss: setup.mss,
        reduces,
        ..Path::default()
    };
    // The first acknowledgement starts the program.
    let flow = |setup| {
        let mut flow = TestFlow::with(reno(Interval::Rtt), setup);
        flow.ack(&Ack::of(0));
        flow
    };
    [
        ("full", flow(setup), path(true)),
        ("base", flow(&base), path(false)),
    ]
}

fn window(packets: u64) -> Setup {
    Setup {
        cwnd: Bytes(packets * 1_000),
        ..Setup::default()
    }
}

const QUIET: Round = Round {
    lost: 0,
    timeout: false,
    only: None,
};

/// The window in packets after each round, for both programs.
fn curves(setup: &Setup, rounds: &[Round]) -> String {
    let mut text = String::new();
    for (name, mut flow, path) in both(setup) {
        let curve = path.run(&mut flow, rounds.iter().copied());
        writeln!(text, "{name} {curve:?}").unwrap();
    }
    text
}

fn script(parts: &[(usize, Round)]) -> Vec<Round> {
    parts
        .iter()
        .flat_map(|(times, round)| std::iter::repeat_n(*round, *times))
        .collect()
}

#[test]
fn curve_of_slow_start_loss_and_congestion_avoidance() {
    let rounds = script(&[(4, QUIET), (1, Round::lose(1)), (10, QUIET)]);
    insta::assert_snapshot!(curves(&window(10), &rounds));
}

#[test]
fn curve_of_a_timeout_and_the_way_back() {
    let rounds = script(&[
        (3, QUIET),
        (1, Round::timeout()),
        (8, QUIET),
        (1, Round::lose(1)),
        (4, QUIET),
    ]);
    insta::assert_snapshot!(curves(&window(10), &rounds));
}

#[test]
fn curve_of_losses_in_every_window() {
    let rounds = script(&[(6, Round::lose(1)), (3, QUIET)]);
    insta::assert_snapshot!(curves(&window(64), &rounds));
}

#[test]
fn slow_start_doubles_in_every_round_whatever_the_interval_of_reports() {
    // What used to happen elsewhere: the agent grew the window per report, and a report per
    // round-trip time made slow start lag by half of its window.
    for report in [
        Interval::Ack,
        Interval::Rtt,
        Interval::Every(Micros::from_millis(500)),
    ] {
        let mut flow = TestFlow::new(reno(report));
        let path = Path::default();
        assert_eq!(
            path.run(&mut flow, [QUIET; 6]),
            [20, 40, 80, 160, 320, 640],
            "{report}"
        );
    }
}

#[test]
fn congestion_avoidance_adds_one_segment_per_round_of_any_size() {
    for mss in [536, 1_448, 9_000, 65_483] {
        let setup = Setup {
            mss,
            cwnd: Bytes(100 * u64::from(mss)),
            origin: Origin::Adopted,
            ..Setup::default()
        };
        for (name, mut flow, path) in both(&setup) {
            let before = flow.cwnd().packets(mss);
            let after = path.run(&mut flow, [QUIET; 10]);
            assert_eq!(before, 100);
            assert_eq!(*after.last().unwrap(), 110, "{name} {mss}");
        }
    }
}

#[test]
fn one_reduction_per_loss_event_however_many_packets_and_reports() {
    // What used to happen elsewhere: every report of a loss reduced again, or, with the guard
    // against it counting packets against bytes, not at the right time.
    for (name, mut flow, path) in both(&Setup {
        origin: Origin::Adopted,
        ..window(40)
    }) {
        path.round(&mut flow, QUIET);
        let before = flow.cwnd().packets(1_000);
        for nth in 0..20 {
            flow.pass(Micros(100));
            if nth == 0 && path.reduces {
                flow.set_cwnd(Bytes(flow.cwnd().0 / 2));
            }
            let ack = Ack::of(0).lost(1).recovery_state(3);
            flow.ack(&ack.in_flight(Bytes(20_000)));
        }
        let after = flow.cwnd().packets(1_000);
        assert_eq!((before, after), (41, 20), "{name}");
    }
}

#[test]
fn a_second_loss_after_recovery_reduces_again() {
    for (name, mut flow, path) in both(&window(40)) {
        let first = path.round(&mut flow, Round::lose(1));
        let second = path.round(&mut flow, Round::lose(1));
        assert_eq!((first, second), (20, 10), "{name}");
    }
}

#[test]
fn the_window_is_never_less_than_two_segments_after_a_loss() {
    // What used to happen elsewhere: the floor was the initial window of ten segments, which is
    // unfair to everybody else on a path that holds fewer.
    for (name, mut flow, path) in both(&window(12)) {
        let curve = path.run(&mut flow, [Round::lose(1); 6]);
        assert_eq!(curve, [6, 3, 2, 2, 2, 2], "{name}");
    }
}

#[test]
fn after_a_timeout_the_window_is_one_segment_and_slow_start_ends_at_half_the_flight() {
    // What used to happen elsewhere: the window after a timeout was the initial window, and the
    // threshold halved itself instead of what was outstanding.
    for (name, mut flow, path) in both(&window(40)) {
        assert_eq!(path.round(&mut flow, QUIET), 80);
        flow.pass(path.rtt);
        if path.reduces {
            flow.set_cwnd(Bytes(1_000));
        }
        flow.ack(&Ack::timeout());
        assert_eq!(flow.cwnd(), Bytes(1_000), "{name}");
        assert_eq!(flow.control("ssthresh"), Some(40_000), "{name}");
    }
}

#[test]
fn a_second_timeout_does_not_halve_the_threshold_again() {
    for (name, mut flow, path) in both(&window(40)) {
        path.round(&mut flow, QUIET);
        for _ in 0..4 {
            if path.reduces {
                flow.set_cwnd(Bytes(1_000));
            }
            flow.pass(Micros::from_secs(1));
            flow.ack(&Ack::timeout());
        }
        assert_eq!(flow.control("ssthresh"), Some(40_000), "{name}");
        assert_eq!(flow.cwnd(), Bytes(1_000), "{name}");
    }
}

#[test]
fn slow_start_after_a_timeout_goes_on_in_the_program() {
    // What used to happen elsewhere: slow start in the program was not entered again.
    let rounds = script(&[(2, QUIET), (1, Round::timeout()), (7, QUIET)]);
    for (name, mut flow, path) in both(&window(10)) {
        let curve = path.run(&mut flow, rounds.iter().copied());
        // The first acknowledgement after the timeout is part of its round.
        assert_eq!(curve[2..], [2, 4, 8, 16, 20, 21, 22, 23], "{name}");
    }
}

#[test]
fn after_an_idle_time_slow_start_leads_back_to_three_quarters_of_the_window() {
    for (name, mut flow, path) in both(&window(40)) {
        if !path.reduces {
            continue;
        }
        assert_eq!(path.round(&mut flow, Round::lose(1)), 20, "{name}");
        let curve = path.run(&mut flow, [QUIET; 20]);
        assert_eq!(curve[19], 40, "{name}");
        flow.pass(Micros::from_secs(2));
        flow.set_cwnd(Bytes(10_000));
        let curve = path.run(&mut flow, [QUIET; 4]);
        assert_eq!(curve, [20, 30, 31, 32], "{name}");
        assert_eq!(flow.control("ssthresh"), Some(30_000), "{name}");
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    // What used to happen elsewhere: the window of an application that sends little grew for ever,
    // to be sent at once when there was something.
    for origin in [Origin::New, Origin::Adopted] {
        for (name, mut flow, path) in both(&Setup {
            origin,
            ..window(40)
        }) {
            let curve = path.run(&mut flow, [Round::only(4); 50]);
            assert_eq!(*curve.last().unwrap(), 40, "{name} {origin:?}");
            let grown = path.run(&mut flow, [QUIET; 4]);
            assert!(*grown.last().unwrap() > 40, "{name} {origin:?}");
        }
    }
}

#[test]
fn nothing_grows_in_recovery_nor_at_its_last_acknowledgement() {
    for (name, mut flow, path) in both(&Setup {
        origin: Origin::Adopted,
        ..window(40)
    }) {
        assert_eq!(path.round(&mut flow, Round::lose(3)), 20, "{name}");
        assert_eq!(flow.cwnd(), Bytes(20_000), "{name}");
    }
}

#[test]
fn a_flow_that_comes_back_does_not_double_the_window_it_has() {
    for origin in [Origin::Adopted, Origin::Resumed] {
        for (name, mut flow, path) in both(&Setup {
            origin,
            ..window(30)
        }) {
            assert_eq!(path.run(&mut flow, [QUIET; 3]), [31, 32, 33], "{name}");
            flow.resume(origin, Bytes(50_000));
            assert_eq!(path.run(&mut flow, [QUIET; 2]), [51, 52], "{name}");
        }
    }
}

#[test]
fn an_answer_that_another_loss_has_overtaken_has_no_effect() {
    let mut flow = TestFlow::new(reno(Interval::Rtt));
    let path = Path::default();
    path.run(&mut flow, [QUIET, Round::lose(1), Round::lose(1)]);
    let window = flow.cwnd();
    let update = flow.take_updates().pop().unwrap();
    let place = |name: &str| {
        let programs = reno(Interval::Rtt);
        let controls = &programs.programs.full.code.ir().controls;
        let place = controls.iter().position(|v| v.name == name).unwrap();
        Place::Control(u16::try_from(place).unwrap())
    };
    assert_eq!(update.value(place("answered")), Some(2));
    assert_eq!(update.cwnd(), None);
    // The report of the first loss, answered now: the program has seen the second.
    flow.report(&[("event", 1), ("flight", 90_000), ("mss", 1_000)]);
    flow.ack(&Ack::of(0));
    flow.ack(&Ack::of(0));
    assert_eq!(flow.cwnd(), window);
    assert!(flow.control("ssthresh").unwrap() <= window.0);
}

#[test]
fn a_loss_costs_half_of_what_was_outstanding_not_of_an_unused_window() {
    // RFC 5681: FlightSize, not cwnd.
    for (name, mut flow, path) in both(&window(100)) {
        path.run(&mut flow, [Round::only(60); 4]);
        let lost = Round {
            lost: 1,
            only: Some(60),
            ..Round::default()
        };
        let after = path.round(&mut flow, lost);
        assert!((29..=31).contains(&after), "{name}: {after}");
    }
}

#[test]
fn a_datapath_that_does_not_tell_what_is_outstanding_is_served() {
    let setup = Setup {
        registers: RegisterTable::libccp(),
        ..window(10)
    };
    let mut flow = TestFlow::with(reno(Interval::Rtt), &setup);
    for _ in 0..10 {
        flow.pass(Micros(1_000));
        flow.ack(&Ack::of(1_000));
    }
    assert_eq!(flow.cwnd(), Bytes(20_000));
    // At once: what the agent answers takes effect at the next acknowledgement only.
    flow.ack(&Ack::of(0).lost(1));
    assert_eq!(flow.cwnd(), Bytes(10_000));
}

#[test]
fn the_segment_size_may_change() {
    let setup = Setup {
        registers: RegisterTable::libccp(),
        origin: Origin::Adopted,
        ..Setup::default()
    };
    let mut flow = TestFlow::with(reno(Interval::Rtt), &setup);
    flow.event(&Event::MssChanged { mss: 500 });
    assert_eq!(flow.control("segment"), Some(500));
    let path = Path {
        mss: 500,
        ..Path::default()
    };
    assert_eq!(path.round(&mut flow, QUIET), 21);
}

#[test]
fn a_spurious_reduction_that_the_datapath_undoes_is_undone() {
    let mut flow = TestFlow::new(reno(Interval::Rtt));
    let path = Path::default();
    path.run(&mut flow, [QUIET; 2]);
    let before = flow.cwnd();
    assert_eq!(path.round(&mut flow, Round::lose(1)), 20);
    flow.set_cwnd(before);
    let infinite = u64::MAX;
    flow.ack(&Ack::of(1_000).set("Flow.ssthresh", infinite));
    assert_eq!(flow.control("ssthresh"), Some(infinite));
    assert_eq!(flow.cwnd(), before + Bytes(1_000));
}

#[test]
fn reports_come_when_they_are_asked_for() {
    let reports = |report, acks: u32| {
        let mut flow = TestFlow::new(reno(report));
        flow.ack(&Ack::of(0).set("Flow.srtt_us", 10_000));
        for _ in 0..acks {
            flow.pass(Micros(1_000));
            flow.ack(&Ack::of(1_000).set("Flow.srtt_us", 10_000));
        }
        flow.reports()
    };
    assert_eq!(reports(Interval::Ack, 100), 101);
    assert_eq!(reports(Interval::Rtt, 100), 10);
    assert_eq!(reports(Interval::Every(Micros::from_millis(25)), 100), 4);
    // A loss is reported at once.
    let mut flow = TestFlow::new(reno(Interval::Every(Micros::from_secs(10))));
    assert!(flow.ack(&Ack::of(1_000)).is_none());
    assert!(flow.ack(&Ack::of(0).lost(1).recovery_state(3)).is_some());
}

#[test]
fn the_interval_changes_under_way() {
    let mut flow = TestFlow::new(reno(Interval::Ack));
    let path = Path::default();
    path.run(&mut flow, [QUIET; 3]);
    let window = flow.cwnd();
    flow.take_updates();
    flow.reconfigure(reno(Interval::Every(Micros::from_millis(20))));
    let updates = flow.take_updates();
    assert!(updates.iter().all(|u| !u.change_program));
    assert_eq!(flow.control("every"), Some(20_000));
    assert_eq!(flow.cwnd(), window);
}

#[test]
fn a_rate_that_somebody_else_set_is_given_back() {
    let setup = Setup {
        origin: Origin::Adopted,
        ..Setup::default()
    };
    let mut flow = TestFlow::with(reno(Interval::Rtt), &setup);
    assert_eq!(flow.take_updates()[0].rate(), Some(0));
    assert_eq!(flow.rate(), Rate::ZERO);
}

#[test]
fn parameters_in_words() {
    let built = |text: &str| {
        Params::parse_toml("reno", text)
            .map_err(Into::into)
            .and_then(|p| Reno::from_params(&p))
            .map(|reno| reno.config.report)
            .map_err(|e| e.to_string())
    };
    assert_eq!(built(""), Ok(Interval::Rtt));
    assert_eq!(built("report = \"ack\""), Ok(Interval::Ack));
    assert_eq!(
        built("report = \"10ms\""),
        Ok(Interval::Every(Micros(10_000)))
    );
    assert!(built("report = \"10000ms\"").is_ok());
    for wrong in ["0ms", "10001ms", "-1ms", "+1ms", "1s", "ms", "often", ""] {
        assert_eq!(
            built(&format!("report = \"{wrong}\"")).unwrap_err(),
            format!(
                "parameters of `reno`:1:10: algorithms.reno.report = \"{wrong}\": expected \"rtt\", \
                 \"ack\" or a time from \"1ms\" to \"10000ms\""
            )
        );
    }
    assert!(
        built("reports = \"ack\"")
            .unwrap_err()
            .contains("did you mean `report`?")
    );
}
