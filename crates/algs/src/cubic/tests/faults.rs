//! What other implementations got wrong, and what must hold of each reduction.

use ccp_core::testkit::{Ack, Setup, TestFlow};
use ccp_core::{Bytes, Event, Micros, Origin};
use ccp_program::RegisterTable;

use super::{BOTH, Kind, Link, MSS, UNLIMITED, cubic};

#[test]
fn the_window_is_what_the_curve_says_for_now_not_for_two_round_trips_ago() {
    // What used to happen elsewhere: the least round-trip time was taken off the time on the curve
    // instead of being added to it.
    for kind in BOTH {
        let mut link = Link::long(kind, "", 1_000);
        link.lose();
        // C (t - K)^3 + W_max, K = cbrt(300 / 0.4) = 9.086 s.
        let w = |t: f64| 0.4 * (t - 9.086_f64).powi(3) + 1_000.0;
        for round in 1..=150 {
            let window = link.round();
            let (behind, now) = (w(f64::from(round - 1) / 10.0), w(f64::from(round) / 10.0));
            assert!(
                (behind.min(now) - 1.5..=now + 1.5).contains(&(window as f64)),
                "{kind:?}, round {round}: {window} packets, {now} on the curve"
            );
        }
    }
}

#[test]
fn k_is_known_at_the_first_acknowledgement_after_recovery() {
    // What must not be: that the curve waits for the agent.
    let mut link = Link::long(Kind::Full, "", 1_000);
    link.lose();
    link.flow.pass(Micros(100));
    let ack = link.ack(1);
    link.flow.ack(&ack);
    assert_eq!(link.reported("k"), 9_085);
    assert_eq!(link.reported("w_max"), 1_000 * MSS);
    // The other program has found it while recovery lasted.
    let mut link = Link::long(Kind::Base, "", 1_000);
    link.lose();
    assert_eq!(link.reported("k"), 9_085);
}

#[test]
fn a_loss_leaves_seven_tenths_in_the_same_moment() {
    for kind in BOTH {
        let mut link = Link::long(kind, "report = \"10000ms\"", 100);
        link.rounds(3);
        let before = link.flow.cwnd();
        if kind == Kind::Full {
            link.flow.set_cwnd(Bytes(before.0 / 2));
        }
        link.flow.pass(Micros(100));
        let found = link.ack(0).recovery_state(3).lost(1);
        let report = link.flow.ack(&found);
        assert_eq!(link.flow.cwnd(), Bytes(before.0 * 7 / 10), "{kind:?}");
        assert!(report.is_some(), "a loss is reported at once");
    }
}

#[test]
fn beta_and_c_are_what_was_configured() {
    for kind in BOTH {
        let mut link = Link::long(kind, "beta = 0.85\nc = 1.2", 1_000);
        assert_eq!(link.lose(), 850, "{kind:?}");
        link.rounds(1);
        // cbrt(150 / 1.2) = 5 s
        assert!((4_998..=5_000).contains(&link.reported("k")), "{kind:?}");
    }
}

#[test]
fn a_second_loss_below_the_former_maximum_gives_up_more() {
    for (text, second) in [
        ("", 70_000 * 85 / 100),
        ("fast_convergence = false", 70_000),
    ] {
        for kind in BOTH {
            let mut link = Link::long(kind, text, 100);
            assert_eq!(link.lose(), 70);
            assert_eq!(link.reported("w_max"), 100_000);
            assert_eq!(link.lose(), 49);
            assert_eq!(link.reported("w_max"), second, "{kind:?}");
        }
    }
}

#[test]
fn one_reduction_per_loss_event_however_many_packets_and_reports() {
    // What used to happen elsewhere: every report of a loss reduced again, or, with the guard
    // against it counting packets against bytes, not at the right time.
    for kind in BOTH {
        let mut link = Link::long(kind, "report = \"ack\"", 100);
        link.round();
        let before = link.packets();
        for nth in 0..20 {
            link.flow.pass(Micros(100));
            if nth == 0 && kind == Kind::Full {
                link.flow.set_cwnd(Bytes(before / 2 * MSS));
            }
            let found = link.ack(0).recovery_state(3).lost(1);
            link.flow.ack(&found);
        }
        assert_eq!(link.packets(), before * 7 / 10, "{kind:?}");
        assert_eq!(link.reported("event"), 1, "{kind:?}");
    }
}

#[test]
fn the_window_is_never_less_than_two_segments_after_a_loss() {
    // What used to happen elsewhere: the floor was the initial window of ten segments, which is
    // unfair to everybody else on a path that holds fewer.
    for kind in BOTH {
        let mut link = Link::long(kind, "", 8);
        let curve: Vec<u64> = (0..6).map(|_| link.lose()).collect();
        assert_eq!(curve[4..], [2, 2], "{kind:?} {curve:?}");
    }
}

#[test]
fn after_a_timeout_the_window_is_one_segment_and_slow_start_ends_at_seven_tenths() {
    // What used to happen elsewhere: the window after a timeout was the initial window, and the
    // threshold shrank itself instead of what was outstanding.
    for kind in BOTH {
        let mut link = Link::long(kind, "", 100);
        assert_eq!(link.time_out(), 1, "{kind:?}");
        assert_eq!(link.flow.control("ssthresh"), Some(70_000), "{kind:?}");
        for _ in 0..4 {
            assert_eq!(link.time_out(), 1, "{kind:?}");
        }
        assert_eq!(link.flow.control("ssthresh"), Some(70_000), "{kind:?}");
        assert_eq!(link.reported("event"), 1, "{kind:?}");
    }
}

#[test]
fn after_a_timeout_nothing_is_left_of_the_curve_before() {
    // What used to happen elsewhere: how much of a segment had been earned before the timeout, and
    // how fast, was taken along into the time after it.
    for kind in BOTH {
        let mut link = Link::long(kind, "", 200);
        link.lose();
        link.rounds(20);
        link.time_out();
        link.repair(200);
        let mut curve = link.rounds(30);
        curve.retain(|w| *w > 100);
        let start = link.reported("w_max");
        assert!(link.reported("k") <= 1, "{kind:?}");
        assert!(start < 150_000, "{kind:?} {start}");
        // Flat at first: no more than Reno's segment per round.
        for pair in curve[..8].windows(2) {
            assert!(pair[1] - pair[0] <= 2, "{kind:?} {curve:?}");
        }
    }
}

#[test]
fn no_round_trip_makes_the_window_grow_by_more_than_half() {
    // What used to happen elsewhere: nothing limited the growth of a window that had been below
    // the curve for long.
    for kind in BOTH {
        let mut link = Link::long(kind, "c = 4", 20);
        let mut before = link.round();
        let mut fastest = 0.0_f64;
        for _ in 0..120 {
            // No more packets than that a test can send.
            if before > 3_000 {
                break;
            }
            let window = link.round();
            fastest = fastest.max(window as f64 / before as f64);
            before = window;
        }
        assert!((1.05..1.52).contains(&fastest), "{kind:?}: {fastest}");
    }
}

#[test]
fn time_without_anything_to_send_does_not_count_on_the_curve() {
    // What used to happen elsewhere: after an idle minute the window jumped.
    for kind in BOTH {
        let mut steady = Link::long(kind, "", 1_000);
        let mut idle = Link::long(kind, "", 1_000);
        for link in [&mut steady, &mut idle] {
            link.lose();
            link.rounds(30);
        }
        idle.flow.pass(Micros::from_secs(600));
        let (steady, idle) = (steady.rounds(30), idle.rounds(30));
        for (s, i) in steady.iter().zip(&idle) {
            // A round trip of the idle time counts.
            assert!(s.abs_diff(*i) <= 6, "{kind:?}\n{steady:?}\n{idle:?}");
        }
    }
}

#[test]
fn after_an_idle_time_slow_start_leads_back_to_three_quarters_and_the_curve_goes_on() {
    // What used to happen: at the first acknowledgement of congestion avoidance the window jumped to
    // what Reno's had been.
    for (text, rtt, rounds) in [("", 100, 12), ("c = 0.04", 5, 80)] {
        let mut link = Link::long(Kind::Full, text, 100).with_rtt(Micros::from_millis(rtt));
        link.lose();
        let old = link.flow.control("ssthresh").unwrap();
        let before = link.rounds(rounds)[rounds - 1];
        link.flow.pass(Micros::from_secs(2));
        link.flow.set_cwnd(Bytes(10 * MSS));
        let mut windows = vec![10];
        for _ in 0..1_000 {
            link.flow.pass(Micros(link.rtt.0 / link.packets()));
            let ack = link.ack(1);
            link.flow.ack(&ack);
            windows.push(link.packets());
        }
        let threshold = link.flow.control("ssthresh").unwrap().max(old) / MSS;
        let three_quarters = before * 3 / 4;
        assert!(threshold.abs_diff(three_quarters.max(old / MSS)) <= 1);
        // Slow start: one segment per acknowledgement. Then no more than its fractions add.
        let back = usize::try_from(threshold).unwrap() - 10;
        assert_eq!(windows[back], threshold, "{text}: {before}");
        for pair in windows.windows(2) {
            assert!(pair[1] - pair[0] <= 2, "{text}: {before} {pair:?}");
        }
        let after = windows[1_000];
        assert!(after > threshold + 1, "{text}: {before} {after}");
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow_and_the_curve_waits() {
    // What used to happen elsewhere: the window of an application that sends little grew for ever,
    // to be sent at once when there was something.
    for kind in BOTH {
        let mut link = Link::long(kind, "", 1_000);
        link.lose();
        let before = link.rounds(30)[29];
        for _ in 0..1_000 {
            link.flow.pass(Micros(100_000));
            let ack = link.ack(1).app_limited().in_flight(Bytes(20_000));
            link.flow.ack(&ack);
        }
        assert!(link.packets() <= before + 7, "{kind:?}: {}", link.packets());
        let after = link.rounds(2)[1];
        assert!(after - before <= 30, "{kind:?}: {before} {after}");
    }
}

#[test]
fn a_loss_costs_a_part_of_what_was_outstanding_not_of_an_unused_window() {
    for kind in BOTH {
        let mut link = Link::long(kind, "", 100);
        for _ in 0..4 {
            for _ in 0..60 {
                link.flow.pass(Micros(1_700));
                let ack = link.ack(1).app_limited().in_flight(Bytes(59_000));
                link.flow.ack(&ack);
            }
        }
        if kind == Kind::Full {
            link.flow.set_cwnd(Bytes(50_000));
        }
        let found = link.ack(0).app_limited().recovery_state(3).lost(1);
        link.flow.ack(&found.in_flight(Bytes(60_000)));
        assert_eq!(link.packets(), 42, "{kind:?}");
    }
}

#[test]
fn nothing_grows_in_recovery_nor_at_its_last_acknowledgement() {
    for kind in BOTH {
        let mut link = Link::long(kind, "", 100);
        link.lose();
        assert_eq!(link.flow.cwnd(), Bytes(70_000), "{kind:?}");
    }
}

#[test]
fn a_spurious_reduction_that_the_datapath_undoes_is_undone_with_its_curve() {
    let mut link = Link::long(Kind::Full, "", 1_000);
    link.lose();
    link.rounds(40);
    let (window, k, w_max) = (link.flow.cwnd(), 9_085, 1_000 * MSS);
    let mut twin = Link::long(Kind::Full, "", 1_000);
    twin.lose();
    twin.rounds(40);
    link.lose();
    assert_eq!(link.packets(), window.0 * 7 / 10 / MSS);
    // Linux counts in packets: what is less than one is lost.
    link.flow.set_cwnd(Bytes(window.0 / MSS * MSS));
    let (link_on, twin_on) = (link.rounds(60), twin.rounds(60));
    for (l, t) in link_on.iter().zip(&twin_on) {
        assert!(l.abs_diff(*t) <= 3, "{link_on:?}\n{twin_on:?}");
    }
    assert_eq!((link.reported("k"), link.reported("w_max")), (k, w_max));
}

#[test]
fn a_spurious_first_reduction_leads_back_to_slow_start() {
    let mut link = Link::new(Kind::Full, "", 10, Origin::New, UNLIMITED);
    assert_eq!(link.rounds(2), [20, 40]);
    let before = link.flow.cwnd();
    assert_eq!(link.lose(), 28);
    link.flow.set_cwnd(before);
    assert_eq!(link.rounds(2), [80, 160]);
    assert_eq!(link.reported("w_max"), 0);
}

#[test]
fn a_window_raised_by_hand_is_no_undone_reduction() {
    let mut link = Link::long(Kind::Full, "", 1_000);
    link.lose();
    link.rounds(5);
    let k = link.reported("k");
    link.flow.set_cwnd(link.flow.cwnd() + Bytes(20_000));
    link.rounds(1);
    assert_eq!(link.reported("k"), k);
}

#[test]
fn a_flow_that_comes_back_begins_where_its_window_is() {
    for origin in [Origin::Adopted, Origin::Resumed] {
        for kind in BOTH {
            let mut link = Link::new(kind, "", 30, origin, UNLIMITED);
            let curve = link.rounds(5);
            assert!(curve[4] <= 35, "{kind:?} {curve:?}");
            link.flow.resume(origin, Bytes(50_000));
            let curve = link.rounds(5);
            assert!((50..=55).contains(&curve[4]), "{kind:?} {curve:?}");
        }
    }
}

#[test]
fn a_reduction_under_way_when_the_flow_is_taken_over_is_not_made_twice() {
    let setup = Setup {
        cwnd: Bytes(70_000),
        origin: Origin::Adopted,
        ..Setup::default()
    };
    let mut flow = TestFlow::with(cubic(""), &setup);
    let recovery = Ack::of(0).recovery_state(3).lost(1);
    for _ in 0..5 {
        flow.pass(Micros(1_000));
        flow.ack(&recovery.clone().set("Flow.ssthresh", 70_000));
    }
    assert_eq!(flow.cwnd(), Bytes(70_000));
}

#[test]
fn the_segment_size_may_change() {
    let mut link = Link::long(Kind::Base, "", 20);
    link.flow.event(&Event::MssChanged { mss: 500 });
    assert_eq!(link.flow.control("segment"), Some(500));
    link.flow.event(&Event::MssChanged { mss: 70_000 });
    assert_eq!(link.flow.control("segment"), Some(65_535));
}

#[test]
fn a_datapath_that_does_not_tell_what_is_outstanding_is_served() {
    let setup = Setup {
        registers: RegisterTable::libccp(),
        ..Setup::default()
    };
    let mut flow = TestFlow::with(cubic(""), &setup);
    for _ in 0..10 {
        flow.pass(Micros(1_000));
        flow.ack(&Ack::of(1_000));
    }
    assert_eq!(flow.cwnd(), Bytes(20_000));
    flow.ack(&Ack::of(0).lost(1));
    assert_eq!(flow.cwnd(), Bytes(14_000));
}
