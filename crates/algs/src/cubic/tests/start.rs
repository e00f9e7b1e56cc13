//! The first slow start.

use ccp_core::{Bytes, Micros, Origin};

use super::{BOTH, Kind, Link, MSS, UNLIMITED};

#[test]
fn slow_start_doubles_in_every_round_whatever_the_interval_of_reports() {
    // What used to happen elsewhere: the agent grew the window per report, and a report per
    // round-trip time made slow start lag by half of its window.
    for report in ["ack", "rtt", "500ms"] {
        for kind in BOTH {
            let text = format!("report = \"{report}\"");
            let mut link = Link::new(kind, &text, 10, Origin::New, UNLIMITED);
            assert_eq!(
                link.rounds(6),
                [20, 40, 80, 160, 320, 640],
                "{report} {kind:?}"
            );
        }
    }
}

/// A path that holds 100 packets in 40 ms, with a long queue.
fn short(kind: Kind, text: &str) -> Link {
    let mut link = Link::new(kind, text, 10, Origin::New, 100).with_rtt(Micros(40_000));
    link.queue = 1_900;
    link
}

#[test]
fn it_ends_before_the_queue_is_full() {
    for kind in BOTH {
        let mut with = short(kind, "ack_trains = false");
        let curve = with.rounds(12);
        assert!(curve.iter().all(|w| *w < 2_000), "{kind:?} {curve:?}");
        assert_eq!(with.reported("event"), 0, "{kind:?} {curve:?}");
        let ssthresh = with.flow.control("ssthresh");
        assert!(ssthresh < Some(2_000 * MSS), "{kind:?} {ssthresh:?}");

        let mut without = short(kind, "hystart = false");
        let curve = without.rounds(9);
        assert_eq!(without.reported("event"), 1, "{kind:?} {curve:?}");
    }
}

#[test]
fn rounds_of_conservative_slow_start_grow_by_a_quarter() {
    let mut link = short(Kind::Full, "ack_trains = false");
    // 10, 20, 40, 80 without a queue; in the round of 160 the round-trip time rises.
    let curve = link.rounds(8);
    assert_eq!(curve[..3], [20, 40, 80]);
    // Eight samples say so.
    assert!(curve[4] * 4 <= (curve[3] + 8) * 5, "{curve:?}");
    assert!(curve[5] * 4 <= curve[4] * 5, "{curve:?}");
}

#[test]
fn a_false_alarm_is_taken_back() {
    for kind in BOTH {
        let mut link = Link::new(kind, "", 10, Origin::New, UNLIMITED);
        assert_eq!(link.rounds(2), [20, 40]);
        // For a round and the one after it something else is in the way.
        link.rtt = Micros::from_millis(120);
        let slower = link.rounds(2);
        assert!(slower[1] < 160, "{kind:?} {slower:?}");
        link.rtt = Micros::from_millis(100);
        let again = link.rounds(4);
        assert!(again[3] >= 2 * again[2] - 1, "{kind:?} {again:?}");
        assert_eq!(
            link.flow.control("ssthresh").map(|s| s > 1 << 30),
            Some(true)
        );
    }
}

#[test]
fn it_is_for_the_first_slow_start_only() {
    // RFC 9406: later ones have a threshold that says something.
    for kind in BOTH {
        let mut link = Link::new(kind, "", 100, Origin::New, UNLIMITED);
        link.round();
        link.time_out();
        link.repair(5);
        for rtt in [100, 150, 200, 300] {
            link.rtt = Micros::from_millis(rtt);
            let (before, after) = (link.packets(), link.round());
            assert_eq!(after, (2 * before).min(140), "{kind:?}");
        }
    }
}

#[test]
fn the_agent_asks_for_a_report_per_round_as_long_as_it_needs_them() {
    let reports = |text: &str| {
        let mut link = Link::new(Kind::Base, text, 10, Origin::New, UNLIMITED);
        link.rounds(4);
        let first = link.flow.reports();
        link.lose();
        link.rounds(10);
        (first, link.flow.reports() - first)
    };
    for (text, later) in [
        ("report = \"10000ms\"", 1..=2),
        ("report = \"ack\"", 1_000..=10_000),
        ("", 8..=14),
    ] {
        let (first, then) = reports(text);
        assert!((3..=5).contains(&first), "{text}: {first}");
        assert!(later.contains(&then), "{text}: {then}");
    }
}

#[test]
fn an_end_of_slow_start_that_a_loss_has_overtaken_has_no_effect() {
    let mut link = Link::new(Kind::Base, "", 10, Origin::New, UNLIMITED);
    link.rounds(3);
    link.lose();
    let window = link.flow.cwnd();
    assert_eq!(window, Bytes(56_000));
    // What the agent would have said just before it heard of the loss.
    let before = link.flow.control("ssthresh");
    link.flow
        .report(&[("least", 100_000), ("samples", 80), ("cwnd", 80_000)]);
    for least in [200_000, 200_000, 200_000, 200_000, 200_000, 200_000] {
        link.flow
            .report(&[("least", least), ("samples", 80), ("cwnd", 80_000)]);
    }
    link.round();
    assert_eq!(link.flow.control("ssthresh"), before);
}

#[test]
fn hystart_can_be_turned_off_under_way() {
    for kind in BOTH {
        let mut link = Link::new(kind, "", 10, Origin::New, UNLIMITED);
        link.rounds(2);
        link.rtt = Micros::from_millis(150);
        let slower = link.rounds(2);
        assert!(slower[1] < 160, "{kind:?} {slower:?}");
        link.flow.reconfigure(super::cubic("hystart = false"));
        let before = link.round();
        let after = link.round();
        assert!(after >= 2 * before - 1, "{kind:?}: {before} {after}");
    }
}

#[test]
fn a_train_of_acknowledgements_as_long_as_half_of_the_path_ends_slow_start() {
    // A queue that is full before round-trip times tell.
    let short_queue = |text: &str| {
        let mut link = Link::new(Kind::Full, text, 10, Origin::New, 100);
        link.queue = 70;
        let curve = link.rounds(8);
        (link.reported("event"), curve)
    };
    let (losses, curve) = short_queue("");
    assert_eq!(losses, 0, "{curve:?}");
    // The path holds 100: the train of the round that begins with 80 is long enough in its middle.
    assert_eq!(curve[..3], [20, 40, 80]);
    assert!((125..=140).contains(&curve[3]), "{curve:?}");
    // And a twentieth per round from there.
    assert!((140..=165).contains(&curve[6]), "{curve:?}");
    let (losses, curve) = short_queue("ack_trains = false");
    assert_eq!(losses, 1, "{curve:?}");
}

#[test]
fn a_small_window_or_one_that_is_paced_is_no_full_path() {
    // A path that holds eight packets: the first round's train is longer than that already.
    let mut link = Link::new(Kind::Full, "", 10, Origin::New, 8).with_rtt(Micros(8_000));
    link.queue = 100;
    assert_eq!(link.round(), 16);
    assert!((16..=18).contains(&link.round()));
    // Acknowledgements over the whole of the round trip, since so it was sent.
    let mut paced = Link::new(Kind::Full, "", 10, Origin::New, UNLIMITED);
    paced.rtt = Micros(10_000);
    assert_eq!(paced.rounds(5), [20, 40, 80, 160, 320]);
}

#[test]
fn after_a_loss_a_window_does_not_probe() {
    let mut link = Link::new(Kind::Full, "", 10, Origin::New, 100);
    link.queue = 70;
    let curve = link.rounds(11);
    assert!(curve[10] < curve[9], "{curve:?}");
    // 0.5 segments per round or what the curve has, not a twentieth.
    let after = link.rounds(10);
    assert!(after[9] - after[8] <= 3, "{after:?}");
}
