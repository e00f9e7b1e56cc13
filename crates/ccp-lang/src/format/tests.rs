use proptest::prelude::*;

use super::{MAX_SOURCE, Tokens, format};
use crate::{RegisterTable, compile};

/// The words, brackets and comments, in order.
fn words(source: &str) -> Vec<&str> {
    Tokens::new(source).map(|token| token.text).collect()
}

/// Checks the laws of [`format`] on a text whose brackets are balanced.
fn lawful(source: &str) -> String {
    let formatted = format(source).unwrap();
    assert_eq!(words(source), words(&formatted), "{formatted}");
    assert_eq!(format(&formatted).unwrap(), formatted);
    let table = RegisterTable::well_known();
    let program = |text| compile(text, &table).map(|compiled| compiled.program).ok();
    assert_eq!(program(source), program(&formatted), "{formatted}");
    formatted
}

#[test]
fn the_usual_shape() {
    let source = "
# A program.


(def (Report (volatile rtt +infinity)# us
   (volatile acked_since_the_last_report 0) # bytes

 # own line
   (n 0)) (flag false)) # after
(when true (:= Report.rtt (min Report.rtt Flow.rtt_sample_us)) (if flag (:= Report.n 1))

   (if (> Report.n (+ 1 2)) (:= flag true) (if flag (:= Cwnd 1) (:= Rate 2)))(fallthrough))
(when (&& (> Micros 10000000) (&& (> Report.acked_since_the_last_report 1000000) (!= Report.rtt 1000000)))
  (:= Cwnd (+ Cwnd (/ (* 1448 Report.acked_since_the_last_report) (max Cwnd (min 1448 Report.rtt)))))
  (report) # say it
  (reset) # and again
  )
";
    insta::assert_snapshot!(lawful(source), @r"
    # A program.

    (def
        (Report
            (volatile rtt +infinity)                 # us
            (volatile acked_since_the_last_report 0) # bytes

            # own line
            (n 0))
        (flag false)) # after
    (when true
        (:= Report.rtt (min Report.rtt Flow.rtt_sample_us))
        (if flag (:= Report.n 1))

        (if (> Report.n (+ 1 2))
            (:= flag true)
            (if flag
                (:= Cwnd 1)
                (:= Rate 2)))
        (fallthrough))
    (when (&& (> Micros 10000000)
            (&& (> Report.acked_since_the_last_report 1000000) (!= Report.rtt 1000000)))
        (:= Cwnd
            (+ Cwnd (/ (* 1448 Report.acked_since_the_last_report) (max Cwnd (min 1448 Report.rtt)))))
        (report) # say it
        (reset)  # and again
    )
    ");
}

#[test]
fn odd_places_of_comments() {
    let source = "( # first\ndef (a # name\n 0) # default\n# last\n)(when # c\n true#d\n(report)\n\n\n#e\n)#f";
    insta::assert_snapshot!(lawful(source), @r"
    ( # first
        def
        (a     # name
            0) # default
        # last
    )
    (when    # c
        true #d
        (report)

        #e
    ) #f
    ");
}

#[test]
fn what_is_in_shape_stays() {
    assert_eq!(lawful(""), "");
    assert_eq!(lawful(" \r\n\t"), "");
    assert_eq!(lawful("# only\r\n"), "# only\n");
    assert_eq!(lawful("(a\r\n\r\n b)\r\n"), "(a b)\n");
    // A no-break space is part of a word, however wrong.
    assert_eq!(lawful("(a\u{a0} b)"), "(a\u{a0} b)\n");
}

#[test]
fn unbalanced_brackets_are_refused() {
    for source in ["(", ")", "((a)", "(a))", &" ".repeat(MAX_SOURCE + 1)] {
        assert!(format(source).is_err());
    }
}

#[test]
fn deep_nesting_does_not_multiply_the_text() {
    let deep = format!(
        "{}{}{}",
        "(a\n".repeat(120),
        "b ".repeat(5_000),
        ")".repeat(120)
    );
    assert!(lawful(&deep).len() < 5_000 * 70);
}

/// Balanced text of everything that matters to the shape.
fn text() -> impl Strategy<Value = String> {
    let space = || {
        prop::sample::select(vec![
            "",
            " ",
            "\n",
            "\n\n\n",
            " # c\n",
            "\n#d \r\n",
            "\t\r\n",
        ])
    };
    let word = prop::sample::select(vec![
        "def",
        "when",
        "if",
        "!if",
        "else",
        "Report",
        ":=",
        "+",
        "x",
        "Cwnd",
        "42",
        "+1",
        "é",
        "true",
        "a_rather_long_name_that_fills_a_line",
        "Flow.rtt_sample_us",
    ]);
    let leaf = (space(), word).prop_map(|(space, word)| format!("{space}{word} "));
    leaf.prop_recursive(6, 60, 7, move |inner| {
        (prop::collection::vec(inner, 0..7), space(), space())
            .prop_map(|(items, before, after)| format!("{before}({}{after})", items.concat()))
    })
}

proptest! {
    #[test]
    fn laws_hold_for_any_text(items in prop::collection::vec(text(), 0..5)) {
        lawful(&items.concat());
    }

    #[test]
    fn any_text_is_answered(source: String) {
        let _ = format(&source);
    }
}

#[test]
fn byte_order_marks_are_left_out() {
    for before in ["\u{feff}", " \u{feff}\r\n\u{feff}"] {
        let source = format!("{before}(def (Report (a 0)))\r\n(when true (report))\r\n");
        let formatted = lawful(&source);
        assert!(formatted.starts_with("(def "), "{formatted:?}");
    }
    // Elsewhere it is a mistake, which stays.
    assert!(lawful("(def (Report (a 0))) \u{feff}(when true (report))").contains('\u{feff}'));
}
