//! What can be said in a configuration, and when reports come.

use ccp_core::testkit::{Setup, TestFlow};
use ccp_core::{Micros, Origin, Params, Rate};
use ccp_types::law::cubic::Shape;

use super::super::{Cubic, Settings};
use super::{BOTH, Kind, Link, cubic};
use crate::Interval;

fn built(text: &str) -> Result<Settings, String> {
    Params::parse_toml("cubic", text)
        .map_err(Into::into)
        .and_then(|p| Cubic::from_params(&p))
        .map(|cubic| cubic.settings)
        .map_err(|e| e.to_string())
}

#[test]
fn parameters_in_words() {
    let default = Settings {
        report: Interval::Rtt,
        shape: Shape::default(),
        hystart: true,
        ack_trains: true,
    };
    assert_eq!(built(""), Ok(default));
    let all = "report = \"10ms\"\nbeta = 0.85\nc = 0.041\nfast_convergence = false\nhystart = false\nack_trains = false";
    let expected = Settings {
        report: Interval::Every(Micros(10_000)),
        shape: Shape {
            beta: 850,
            c: 41,
            fast_convergence: false,
        },
        hystart: false,
        ack_trains: false,
    };
    assert_eq!(built(all), Ok(expected));
    for ok in ["beta = 0.5", "beta = 0.9", "c = 0.04", "c = 4"] {
        assert!(built(ok).is_ok(), "{ok}");
    }
    for (wrong, range) in [
        ("beta = 0.49", "0.5 to 0.9"),
        ("beta = 0.91", "0.5 to 0.9"),
        ("beta = nan", "0.5 to 0.9"),
        ("beta = 1e300", "0.5 to 0.9"),
        ("c = 0.039", "0.04 to 4"),
        ("c = -0.4", "0.04 to 4"),
        ("c = inf", "0.04 to 4"),
    ] {
        let error = built(wrong).unwrap_err();
        assert!(error.contains(range), "{wrong}: {error}");
    }
    assert!(
        built("betta = 0.7")
            .unwrap_err()
            .contains("did you mean `beta`?")
    );
    assert!(
        built("report = \"1s\"")
            .unwrap_err()
            .contains("\"10000ms\"")
    );
}

#[test]
fn a_program_without_an_agent_s_parameters_is_as_the_rfc_recommends() {
    let alg = cubic("");
    for program in [&alg.programs.full, &alg.programs.base] {
        let default = |name: &str| {
            let controls = &program.code.ir().controls;
            controls.iter().find(|v| v.name == name).map(|v| v.default)
        };
        let shape = Shape::default();
        assert_eq!(default("beta"), Some(u64::from(shape.beta)));
        assert_eq!(default("c"), Some(u64::from(shape.c)));
        assert_eq!(default("alpha"), Some(shape.alpha()));
        assert_eq!(default("shrink"), Some(shape.shrink()));
    }
}

#[test]
fn reports_come_when_they_are_asked_for() {
    for kind in BOTH {
        let reports = |text: &str| {
            let mut link = Link::long(kind, text, 50);
            link.rounds(10);
            link.flow.reports()
        };
        assert!(reports("report = \"ack\"") >= 500, "{kind:?}");
        let per_rtt = reports("");
        assert!((9..=12).contains(&per_rtt), "{kind:?}: {per_rtt}");
        assert_eq!(reports("report = \"250ms\""), 3, "{kind:?}");
    }
}

#[test]
fn parameters_change_under_way_and_leave_the_window_alone() {
    for kind in BOTH {
        let mut link = Link::long(kind, "", 100);
        link.rounds(3);
        let window = link.flow.cwnd();
        link.flow.take_updates();
        let other = "report = \"20ms\"\nbeta = 0.5\nc = 1";
        link.flow.reconfigure(cubic(other));
        assert!(link.flow.take_updates().iter().all(|u| !u.change_program));
        assert_eq!(link.flow.control("every"), Some(20_000));
        assert_eq!(link.flow.control("beta"), Some(500));
        assert_eq!(link.flow.control("c"), Some(1_000));
        assert_eq!(link.flow.control("alpha"), Some(1_000));
        assert_eq!(link.flow.cwnd(), window);
        assert_eq!(link.lose(), window.0 / 2 / 1_000, "{kind:?}");
    }
}

#[test]
fn a_rate_that_somebody_else_set_is_given_back() {
    let setup = Setup {
        origin: Origin::Adopted,
        ..Setup::default()
    };
    let mut flow = TestFlow::with(cubic(""), &setup);
    assert_eq!(flow.take_updates()[0].rate(), Some(0));
    assert_eq!(flow.rate(), Rate::ZERO);
}

#[test]
fn the_daemon_is_told_window_and_round_trip_time() {
    for kind in BOTH {
        let mut link = Link::long(kind, "report = \"ack\"", 100);
        link.rounds(3);
        let status = link.flow.status();
        assert_eq!(status.state.cwnd, link.flow.cwnd(), "{kind:?}");
        assert_eq!(status.state.srtt, Micros(100_000), "{kind:?}");
        if kind == Kind::Full {
            assert_eq!(status.mss, 1_000);
        }
    }
}
