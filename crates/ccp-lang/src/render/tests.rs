use proptest::prelude::*;

use super::{coloured, json, plain, short};
use crate::error::{Diagnostic, Severity};
use crate::span::{Lines, Span};

fn at(source: &str, start: u32, end: u32) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        code: "test",
        message: "a message".into(),
        label: "a label".into(),
        hint: Some("a hint".into()),
        span: Span { start, end },
        position: Lines::new(source).position(start),
    }
}

proptest! {
    /// Whatever the place: beyond the end, within a character, turned round.
    #[test]
    fn no_place_makes_it_panic(
        source in "\u{feff}?[ab\u{e9}\u{4e2d}\u{1f600}\t\r\n() ]{0,60}",
        start in 0u32..80,
        end in 0u32..80,
    ) {
        let wrong = [at(&source, start, end)];
        prop_assert!(plain(&wrong, &source, "x.ccp").contains("a hint"));
        prop_assert!(coloured(&wrong, &source, "x.ccp", 0).contains("a hint"));
    }
}

#[test]
fn long_lines_and_long_places_are_cut() {
    let long = "é".repeat(1 << 19);
    for (start, end) in [(0, 1 << 20), (1 << 19, 1 << 20), (1 << 20, 1 << 20)] {
        let text = plain(&[at(&long, start, end)], &long, "x.ccp");
        assert!(text.len() < 4096, "{}", text.len());
        assert!(text.contains(&format!("x.ccp:1:{}", start / 2 + 1)));
    }
    let lines = "word\n".repeat(1 << 17);
    let text = plain(&[at(&lines, 5, 1 << 19)], &lines, "x.ccp");
    assert!(text.len() < 4096, "{text}");
}

#[test]
fn several_lines_are_marked_from_first_to_last() {
    let source = "(when true\n    # nothing\n)\n";
    insta::assert_snapshot!(plain(&[at(source, 0, 26)], source, "x.ccp"), @r"
    error[test]: a message
     --> x.ccp:1:1
      |
    1 | / (when true
    2 | |     # nothing
    3 | | )
      | |_^ a label
      |
      = help: a hint
    ");
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    let source = "(a \u{1b}[31m)";
    let mut wrong = at(source, 3, 4);
    wrong.message = "\u{1b}[31m".into();
    wrong.label = "\u{1b}[31m".into();
    wrong.hint = Some("\u{1b}[31m\u{202e}".into());
    for name in ["x.ccp", "\u{1b}[31m\n.ccp"] {
        let text = plain(std::slice::from_ref(&wrong), source, name);
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
        assert!(!short(std::slice::from_ref(&wrong), name).contains('\u{1b}'));
    }
}

/// The colours are all that is different.
#[test]
fn in_colour_it_says_the_same() {
    let source = "(def)\n(a b)\n";
    let wrong = [at(source, 6, 11)];
    let coloured = coloured(&wrong, source, "x.ccp", 120);
    let mut bare = String::new();
    let mut pieces = coloured.split("\u{1b}[");
    bare.push_str(pieces.next().unwrap());
    for piece in pieces {
        bare.push_str(piece.split_once('m').unwrap().1);
    }
    assert_ne!(coloured, bare);
    assert_eq!(bare, plain(&wrong, source, "x.ccp"));
}

#[test]
fn one_line_each() {
    let source = "(def)\n(a b)";
    let mut wrong = at(source, 9, 10);
    insta::assert_snapshot!(short(&[wrong.clone()], "x.ccp"), @"x.ccp:2:4: error[test]: a message: a label");
    wrong.label = String::new();
    wrong.severity = Severity::Warning;
    insta::assert_snapshot!(short(&[wrong], "x.ccp"), @"x.ccp:2:4: warning[test]: a message");
}

#[test]
fn the_json_is_the_documented_one() {
    let source = "(def)\n(a \"b)";
    let mut wrong = at(source, 9, 10);
    wrong.message = "a \"quoted\" \u{1}".into();
    insta::assert_snapshot!(json(&[wrong.clone()], "x.ccp"), @r#"{"severity":"error","code":"test","message":"a \"quoted\" \u0001","label":"a label","hint":"a hint","file":"x.ccp","span":{"start":9,"end":10},"line":2,"column":4}"#);
    wrong.label = String::new();
    wrong.hint = None;
    insta::assert_snapshot!(json(&[wrong], "x.ccp"), @r#"{"severity":"error","code":"test","message":"a \"quoted\" \u0001","label":null,"hint":null,"file":"x.ccp","span":{"start":9,"end":10},"line":2,"column":4}"#);
}
