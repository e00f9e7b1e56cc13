use std::time::{Duration, Instant};

use ccp_control::{FlowMode, FlowOrder, FlowStatus, Selected};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::keys::{Action, action};
use super::model::{MOMENTS, Model};
use super::{drawn, view};
use crate::flows::Sort;

fn model() -> Model {
    Model::new(Sort::Rate, &[], Duration::from_secs(1))
}

fn flow(flow: u64, moment: u64) -> FlowStatus {
    let mut status = crate::flows::tests::flow(1);
    status.flow = flow;
    status.cwnd_bytes = 1448 * (10 + moment * flow);
    status.reports = 100 * moment;
    status.delivered_bytes = Some(1_250_000 * moment);
    status.lost_bytes = Some(12_500 * moment);
    status.age_us = 1_000_000 * moment;
    status
}

fn shown(model: &mut Model, flows: Vec<FlowStatus>, matching: u64, at: Instant) {
    model.show(Selected { flows, matching }, "0.1.0".to_owned(), at);
}

/// Three flows over ten seconds: one grows, one is native, one falls back.
fn after_a_while() -> Model {
    let mut model = model();
    let start = Instant::now();
    for moment in 0..10 {
        let (mut native, mut fallback) = (flow(2, moment), flow(3, 9 - moment));
        native.state = FlowMode::Native;
        native.algorithm = "reno".to_owned();
        (native.rate_bytes_per_s, native.rtt_us) = (0, 0);
        (native.delivered_bytes, native.lost_bytes) = (None, None);
        fallback.state = FlowMode::Fallback;
        let flows = vec![flow(1, moment), native, fallback];
        shown(
            &mut model,
            flows,
            100_000,
            start + Duration::from_secs(moment),
        );
    }
    model
}

fn press(model: &mut Model, keys: &str) -> bool {
    keys.chars().all(|letter| {
        let code = match letter {
            '\n' => KeyCode::Enter,
            '\u{1b}' => KeyCode::Esc,
            '\u{8}' => KeyCode::Backspace,
            letter => KeyCode::Char(letter),
        };
        let key = KeyEvent::new(code, KeyModifiers::NONE);
        let typed = model.typed().is_some();
        action(key, typed).is_none_or(|action| model.act(action))
    })
}

#[test]
fn flows_are_drawn_with_their_past() {
    insta::assert_snapshot!("wide", drawn(&mut after_a_while(), 150, 7));
}

#[test]
fn a_small_terminal_shows_what_fits() {
    insta::assert_snapshot!("narrow", drawn(&mut after_a_while(), 80, 5));
    // However small: nothing to see is no failure.
    for (width, height) in [(1, 1), (3, 2), (20, 3)] {
        drawn(&mut after_a_while(), width, height);
    }
}

#[test]
fn what_is_typed_filters() {
    let mut model = after_a_while();
    assert!(press(&mut model, "/10.1 rex\u{8}no"));
    insta::assert_snapshot!("typing", drawn(&mut model, 80, 4));
    assert!(press(&mut model, "\n"));
    assert!(model.changed());
    assert_eq!(model.question(5).words, ["10.1", "reno"]);
    assert!(drawn(&mut model, 80, 4).contains("with `10.1 reno`, by rate"));
    // Given up: the filter of before stays. Once more: none.
    assert!(press(&mut model, "/x\u{1b}"));
    assert_eq!(model.question(5).words, ["10.1", "reno"]);
    assert!(press(&mut model, "\u{1b}"));
    assert!(model.question(5).words.is_empty());
}

#[test]
fn keys_change_order_pause_and_end() {
    let mut model = after_a_while();
    assert_eq!(model.question(20).order, Some(FlowOrder::Rate));
    for (key, order) in [
        ("c", FlowOrder::Cwnd),
        ("R", FlowOrder::Rtt),
        ("s", FlowOrder::Loss),
    ] {
        assert!(press(&mut model, key));
        assert_eq!(model.question(20).order, Some(order));
        assert!(model.changed() && !model.changed());
    }
    for _ in Sort::Flow as usize..=Sort::Youngest as usize {
        assert!(press(&mut model, "s"));
    }
    assert_eq!(
        model.question(20).order,
        Some(FlowOrder::Loss),
        "once around"
    );
    assert!(press(&mut model, "p"));
    assert!(model.paused() && !model.changed());
    assert!(drawn(&mut model, 80, 4).contains(", by loss, paused"));
    assert!(press(&mut model, "tp"));
    assert!(drawn(&mut model, 150, 4).contains("TREND OF RATE"));
    assert!(!press(&mut model, "q"));
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(action(interrupt, true), Some(Action::Quit));
}

#[test]
fn one_scrolls_and_is_asked_for_no_more_than_is_seen() {
    let mut model = model();
    let many = |count: u64| (1..=count).map(|name| flow(name, 1)).collect::<Vec<_>>();
    shown(&mut model, many(20), 100_000, Instant::now());
    assert_eq!(model.question(20).limit, Some(20));
    for _ in 0..5 {
        assert!(model.act(Action::Scroll(1)));
    }
    assert_eq!(model.question(20).limit, Some(25));
    shown(&mut model, many(25), 100_000, Instant::now());
    let text = drawn(&mut model, 80, 6);
    assert!(text.contains("from the 6. on"), "{text}");
    assert_eq!(model.rows()[0].flow.flow, 6);
    // Never beyond the end, and never for everything.
    assert!(model.act(Action::Scroll(i32::MAX)));
    assert_eq!(model.question(20).limit, Some(super::MOST));
    // Most of them have gone.
    shown(&mut model, many(3), 3, Instant::now());
    assert_eq!(model.rows().len(), 1);
    assert!(model.act(Action::Scroll(-20)));
    assert_eq!(model.question(20).limit, Some(20));
}

#[test]
fn the_past_is_bounded_and_goes_with_its_flow() {
    let mut model = model();
    let start = Instant::now();
    for moment in 0..100 {
        let at = start + Duration::from_millis(500 * moment);
        shown(
            &mut model,
            vec![flow(moment % 2, moment), flow(7, moment)],
            2,
            at,
        );
    }
    assert_eq!(model.moments(7).count(), MOMENTS);
    assert_eq!(model.moments(0).count(), 0);
    assert_eq!(model.moments(1).count(), 1);
    // Two looks per second: what is counted per look is doubled.
    let row = &model.rows()[1];
    assert_eq!((row.goodput, row.reports), (Some(2_500_000), Some(200.0)));
}

#[test]
fn a_daemon_that_has_gone_is_told_and_what_was_seen_stays() {
    let mut model = after_a_while();
    model.fail("no ccpd listens on /run/ccpd/control.sock".to_owned());
    insta::assert_snapshot!("gone", drawn(&mut model, 80, 5));
    shown(&mut model, Vec::new(), 0, Instant::now());
    assert!(!drawn(&mut model, 80, 5).contains("no ccpd"));
}

#[test]
fn a_look_is_an_object() {
    let mut model = after_a_while();
    let line = super::lines::line(&model, 7).unwrap();
    assert!(line.ends_with("}\n") && line.lines().count() == 1, "{line}");
    let look: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&look["time_us"], &look["matching"]),
        (&7.into(), &100_000.into())
    );
    let first = &look["flows"][0];
    assert_eq!(first["flow"], 1);
    assert_eq!(first["goodput_bytes_per_s"], 1_250_000);
    assert_eq!(first["reports_per_s"], 100.0);
    assert_eq!(
        look["flows"][1]["goodput_bytes_per_s"],
        serde_json::Value::Null
    );
    // At the first look there is nothing to compare with.
    shown(&mut model, vec![flow(9, 1)], 1, Instant::now());
    let line = super::lines::line(&model, 8).unwrap();
    assert!(line.contains("\"reports_per_s\":null"), "{line}");
}

#[test]
fn a_terminal_holds_its_height() {
    assert_eq!(view::rows(24), 21);
    assert_eq!(view::rows(2), 0);
}
