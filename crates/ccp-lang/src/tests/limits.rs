//! No text makes the compiler panic, hang or overflow the stack.

use ccp_program::RegisterTable;

use super::{bad, good};
use crate::{MAX_DEPTH, MAX_SOURCE, compile};

fn codes(source: &str) -> Vec<&'static str> {
    bad(source).iter().map(|d| d.code).collect()
}

/// `(def …)(when true (:= Report.x EXPR) (report))` with sums nested `depth` deep in `EXPR`.
fn nested(depth: usize) -> String {
    format!(
        "(def (Report (x 0))) (when true (:= Report.x {}1{}) (report))",
        "(+ 1 ".repeat(depth),
        ")".repeat(depth)
    )
}

#[test]
fn depth_is_limited_before_anything_recurses() {
    // The clause and the assignment are two levels.
    good(&nested(MAX_DEPTH - 2));
    assert_eq!(codes(&nested(MAX_DEPTH - 1)), ["too-deep"]);
    assert_eq!(codes(&nested(10_000)), ["too-deep"]);
    assert_eq!(codes(&"(".repeat(1_000_000)), ["too-deep"]);
    let errors = bad(&")".repeat(1_000_000));
    assert_eq!(errors.len(), 21);
    assert_eq!(errors.iter().last().map(|d| d.code), Some("more"));
}

#[test]
fn nesting_to_the_left_is_as_deep() {
    let depth = MAX_DEPTH - 2;
    let source = format!(
        "(def (Report (x 0))) (when true (:= Report.x {}1{}) (report))",
        "(+ ".repeat(depth),
        " 1)".repeat(depth)
    );
    good(&source);
    let source = format!(
        "(def (Report (x 0))) (when true {}(report){})",
        "(if Cwnd ".repeat(depth),
        ")".repeat(depth)
    );
    good(&source);
}

#[test]
fn the_deepest_program_needs_little_stack() {
    // Half of what a thread of the runtime has, unoptimised.
    let run = || {
        let depth = MAX_DEPTH - 2;
        let deep = |depth: usize, open: &str, middle: &str, close: &str| {
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            format!("(def (Report (x 0))) (when true {open}{middle}{close} (report))")
        };
        let value = |open: &str, close: &str| {
            // Two levels at once at the most, and two within the innermost.
            let brackets = open.matches("(:=").count() + open.matches("(rtt").count() + 1;
            let depth = (depth - 4) / brackets;
            let (open, close) = (open.repeat(depth), close.repeat(depth));
            format!("(def (Report (x 0))) (when true (:= Report.x {open}1{close}) (report))")
        };
        let _ = compile(&nested(10_000), &RegisterTable::well_known());
        for source in [
            nested(depth),
            deep(depth, "(if Cwnd ", "(report)", ")"),
            deep(depth / 2, "(if Cwnd (report) (else ", "(report)", "))"),
            value("(if Cwnd (if Rate 1 2) ", ")"),
            value("(if (&& true (> (/ 8 Rate) 1)) 3 ", ")"),
            value("(-| ", " Cwnd)"),
            value("(cycle ", " (5/4 1rtt) (1 10ms))"),
            value("(cycle 1 (rtt ", ") (5/4 1rtt))"),
            value("(+ Cwnd (:= Rate ", "))"),
        ] {
            match compile(&source, &RegisterTable::well_known()) {
                Ok(compiled) => drop(crate::libccp::lower(&compiled.program)),
                Err(errors) => assert!(errors.iter().all(|e| e.code == "too-many"), "{errors}"),
            }
        }
    };
    let thread = std::thread::Builder::new().stack_size(1 << 20).spawn(run);
    assert!(thread.expect("a thread").join().is_ok());
}

#[test]
fn megabytes_are_answered() {
    let def = "(def (Report (x 0)))";
    let fill = |unit: &str| unit.repeat(1_000_000 / unit.len());
    for source in [
        fill("(a)"),
        fill("9"),
        fill("+"),
        fill("# comment\n"),
        fill("((a)"),
        format!("{def} (when {} (report))", fill("a")),
        format!("{def} (when true {})", fill("(foo)")),
    ] {
        answered(&source);
    }
}

/// It does not compile, and what is said about it is short.
fn answered(source: &str) {
    let Err(errors) = compile(source, &RegisterTable::well_known()) else {
        panic!("this compiled: {}…", &source[..60]);
    };
    assert!(!errors.is_empty() && errors.len() <= 21);
    assert!(errors.render(source, "big.ccp").len() < 100_000);
}

#[test]
fn much_of_the_same_is_answered() {
    let def = "(def (Report (x 0)))";
    let fill = |unit: &str| unit.repeat(100_000 / unit.len());
    for source in [
        fill("()"),
        fill("a "),
        fill("(when true (report))"),
        fill("é"),
        fill("\0"),
        format!("(def {})", fill("(a 0)")),
        format!("(def {})", fill("(volatile a 0 1)")),
        format!("{def} (when true {})", fill("(report)")),
        format!("{def} (when true {})", fill("(:= x 1)")),
        format!("{def} {}", fill("(when x (y))")),
    ] {
        answered(&source);
    }
    // Many operands, phases, statements of an `if`, each good by itself.
    for (before, unit, after) in [
        ("(:= Report.x (+ 1", " Cwnd", "))"),
        ("(:= Report.x (max 1", " 2", "))"),
        ("(if (&& true", " (> (/ 8 Cwnd) 1)", ") (report))"),
        ("(:= Rate (cycle Cwnd", " (5/4 1rtt)", "))"),
        ("(if Cwnd", " (:= Rate 1)", ")"),
        ("(if Cwnd (report) (else", " (:= Rate 1)", "))"),
        ("(:= Report.x (if Cwnd", " 1", "))"),
        ("", "(if Cwnd (report) (else (reset)))", ""),
    ] {
        let body = format!("{before}{}{after}", fill(unit));
        let source = format!("{def} (when true {body} (report))");
        match compile(&source, &RegisterTable::well_known()) {
            // Operands without effect are computed by the compiler.
            Ok(compiled) => assert!(unit == " 2" && compiled.program.len() < 10),
            Err(errors) => assert!(!errors.is_empty() && errors.len() <= 21, "{unit}"),
        }
    }
    // Many names, each new.
    let names: String = (0..20_000).map(|n| format!("(:= v{n} 1)")).collect();
    assert!(codes(&format!("{def} (when true {names} (report))")).contains(&"too-many"));
    let names: String = (0..20_000).map(|n| format!("(v{n} 1)")).collect();
    assert!(codes(&format!("(def {names}) (when true (:= Cwnd 1))")).contains(&"too-many"));
}

#[test]
fn text_beyond_the_limit_is_not_even_read() {
    assert_eq!(codes(&" ".repeat(MAX_SOURCE + 1)), ["too-long"]);
    assert_eq!(codes(&" ".repeat(MAX_SOURCE)), ["missing-def"]);
}

#[test]
fn limits_of_every_datapath_hold() {
    let def = "(def (Report (x 0)))";
    let statements = |n: usize| format!("{def} (when true {})", "(report)".repeat(n));
    good(&statements(4096));
    assert_eq!(codes(&statements(4097)), ["too-many"]);
    let clauses = |n: usize| format!("{def} {}", "(when Cwnd (report) (fallthrough))".repeat(n));
    good(&clauses(256));
    assert_eq!(codes(&clauses(257)), ["too-many"]);
    let reports = |n: usize| {
        let decls: String = (0..n).map(|i| format!("(r{i} 0)")).collect();
        format!("(def (Report {decls})) (when true (report))")
    };
    good(&reports(110));
    assert_eq!(codes(&reports(111)), ["too-many"]);
}

proptest::proptest! {
    #[test]
    fn arbitrary_text_is_answered(source: String) {
        let _ = compile(&source, &RegisterTable::well_known());
    }

    #[test]
    fn arbitrary_tokens_are_answered(tokens in proptest::collection::vec(token(), 0..120)) {
        let source = tokens.join(" ");
        match compile(&source, &RegisterTable::well_known()) {
            Ok(compiled) => {
                let _ = crate::listing(&compiled.program);
                let _ = compiled.warnings.render(&source, "any.ccp");
            }
            Err(errors) => assert!(!errors.render(&source, "any.ccp").is_empty()),
        }
    }
}

fn token() -> impl proptest::strategy::Strategy<Value = &'static str> {
    proptest::sample::select(vec![
        "(",
        ")",
        "(",
        ")",
        "(def (Report (x 0)) (a true))",
        "(when",
        "true",
        "false",
        "def",
        "when",
        "Report",
        "(:=",
        "(+",
        "(if",
        "(!if",
        "(ewma",
        "(report)",
        "(fallthrough)",
        "(reset)",
        "Report.x",
        "a",
        "Cwnd",
        "Micros",
        "1",
        "+infinity",
        "Flow.rtt_sample_us",
        "18446744073709551616",
        "12ab",
        "#",
        "\n",
        "(&&",
        "(==",
        "volatile",
        "(else",
        "(! ",
        "(-| ",
        "(cycle",
        "(rtt",
        "(5/4 1rtt)",
        "(1.5 10ms)",
        "(1/3",
        "2rtt)",
        "42ms",
        "1_000",
        "20000000000000s",
        "Ssthresh",
        "(|| ",
        "=",
        ":",
        "é",
        "\u{0}",
    ])
}
