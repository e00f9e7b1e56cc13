//! Whole lives of flows: the window in packets after each round.

use std::fmt::Write as _;

use super::{BOTH, Kind, Link};
use ccp_core::Origin;

/// What `life` gives for both programs.
fn both(life: impl Fn(Kind) -> Vec<u64>) -> String {
    let mut text = String::new();
    for kind in BOTH {
        writeln!(text, "{kind:?} {:?}", life(kind)).unwrap();
    }
    text
}

#[test]
fn curve_of_a_flow_alone_on_a_link() {
    // HyStart++ ends slow start while the queue fills; in the agent, a round later, which is too
    // late here. After a loss the window returns to where it was.
    insta::assert_snapshot!(both(|kind| {
        let mut link = Link::new(kind, "", 10, Origin::New, 100);
        link.queue = 400;
        link.rounds(80)
    }));
}

#[test]
fn curve_of_slow_start_without_hystart() {
    insta::assert_snapshot!(both(|kind| {
        let mut link = Link::new(kind, "hystart = false", 10, Origin::New, 100);
        link.rounds(40)
    }));
}

#[test]
fn curve_from_a_loss_to_beyond_the_former_maximum() {
    insta::assert_snapshot!(both(|kind| {
        let mut link = Link::long(kind, "", 500);
        link.lose();
        link.rounds(140)
    }));
}

#[test]
fn curve_of_a_timeout_and_the_way_back() {
    insta::assert_snapshot!(both(|kind| {
        let mut link = Link::long(kind, "", 60);
        let mut curve = vec![link.lose(), link.round(), link.time_out()];
        let outstanding = curve[1];
        curve.push(link.repair(outstanding));
        curve.extend(link.rounds(40));
        curve
    }));
}

#[test]
fn curve_of_losses_in_every_window() {
    insta::assert_snapshot!(both(|kind| {
        let mut link = Link::long(kind, "", 60);
        let mut curve: Vec<u64> = (0..12).map(|_| link.lose()).collect();
        curve.extend(link.rounds(5));
        curve
    }));
}

#[test]
fn curve_in_the_reno_friendly_region() {
    insta::assert_snapshot!(both(|kind| {
        let mut link = Link::long(kind, "", 40).with_rtt(ccp_core::Micros(500));
        link.lose();
        link.rounds(60)
    }));
}
