//! What programs do, through the reference semantics of the IR.

use ccp_program::interp::{Outcome, Registers};
use ccp_program::{Fault, Program, Reg};

use super::good;

/// One flow under one program.
struct Flow {
    program: Program,
    registers: Registers,
    prims: Vec<u64>,
}

impl Flow {
    fn new(source: &str) -> Self {
        let program = good(source).program;
        Self {
            registers: Registers::new(&program, 0),
            prims: vec![0; program.primitives.len()],
            program,
        }
    }

    fn set(&mut self, name: &str, value: u64) -> &mut Self {
        let place = self.program.primitives.iter().position(|p| p.name == name);
        self.prims[place.expect("the program uses it")] = value;
        self
    }

    fn control(&mut self, name: &str, value: u64) {
        let place = self.program.controls.iter().position(|c| c.name == name);
        self.registers.control[place.expect("declared")] = value;
    }

    fn ack(&mut self, now_us: u64) -> Result<Outcome, Fault> {
        self.registers.invoke(&self.program, &self.prims, now_us)
    }

    /// Runs once at time 0; it must not fault.
    fn run(&mut self) -> &mut Self {
        self.ack(0).expect("no fault");
        self
    }

    fn report(&self, name: &str) -> u64 {
        let place = self.program.reports.iter().position(|r| r.name == name);
        self.registers.report[place.expect("declared")]
    }
}

/// The value of `expr` when it is assigned to a report variable; `decls` declares more.
fn number(decls: &str, expr: &str) -> u64 {
    let source = format!("(def (Report (x 99)) {decls}) (when true (:= Report.x {expr}) (report))");
    Flow::new(&source).run().report("x")
}

fn boolean(decls: &str, expr: &str) -> bool {
    let source =
        format!("(def (Report (x false)) {decls}) (when true (:= Report.x {expr}) (report))");
    match Flow::new(&source).run().report("x") {
        0 => false,
        1 => true,
        other => panic!("{expr} is {other}"),
    }
}

#[test]
fn arithmetic_in_signs_and_in_words() {
    for (expr, value) in [
        ("(+ 10 20)", 30),
        ("(add 10 20)", 30),
        ("(- 17 7)", 10),
        ("(sub 17 7)", 10),
        ("(* 8 7)", 56),
        ("(mul 8 7)", 56),
        ("(/ 7 2)", 3),
        ("(div 7 2)", 3),
        ("(min 3 4)", 3),
        ("(max 3 4)", 4),
        ("(wrapped_max 4294967295 1)", 1),
        ("(+ (+ 7 3) (+ 4 6))", 20),
        ("(+ (- 17 7) (+ 4 (- 26 20)))", 20),
        ("(+1 2)", 3),
        ("(*(+ 1 2)(+ 3 4))", 21),
        ("18446744073709551615", u64::MAX),
        ("+infinity", u64::MAX),
        ("a", 5),
    ] {
        assert_eq!(number("(a 5)", expr), value, "{expr}");
    }
}

#[test]
fn comparisons_and_logic() {
    for (expr, value) in [
        ("(== 3 3)", true),
        ("(eq 3 4)", false),
        ("(!= 3 3)", false),
        ("(!= 3 4)", true),
        ("(> 3 2)", true),
        ("(gt 3 3)", false),
        ("(>= 3 3)", true),
        ("(>= 2 3)", false),
        ("(< 3 3)", false),
        ("(lt 2 3)", true),
        ("(<= 3 3)", true),
        ("(<= 4 3)", false),
        ("(&& true false)", false),
        ("(and true true)", true),
        ("(|| true true)", true),
        ("(or false false)", false),
        ("(== yes true)", true),
        ("(!= yes true)", false),
        ("(&& (> 2 1) (|| false (== yes false)))", false),
        ("yes", true),
        ("true", true),
    ] {
        assert_eq!(boolean("(yes true)", expr), value, "{expr}");
    }
}

#[test]
fn operators_take_as_many_operands_as_they_like() {
    for (expr, value) in [
        ("(+ 1 2 3)", 6),
        ("(+ a 2 a 3)", 15),
        ("(add 1 a 2)", 8),
        ("(* 2 a 3 a)", 150),
        ("(min 7 a 6)", 5),
        ("(max 3 a 9 4)", 9),
        ("(-| a 3)", 2),
        ("(-| 3 a)", 0),
        ("(sat_sub a 5)", 0),
        ("(sat_sub 7 3)", 4),
        ("(-|(+ a a)a)", 5),
        ("1_000_000", 1_000_000),
        ("(+ 10us 42ms 1s)", 1_042_010),
        ("(+ a 1_000us)", 1005),
    ] {
        assert_eq!(number("(a 5)", expr), value, "{expr}");
    }
    for (expr, value) in [
        ("(&& yes yes yes)", true),
        ("(&& yes false yes)", false),
        ("(and yes (not no) (! no))", true),
        ("(|| no no yes no)", true),
        ("(or no no no)", false),
        ("(! (> three 2))", false),
        ("(! (< three 2))", true),
        ("(! (== three 3))", false),
        ("(! (&& yes yes))", false),
        ("(! (! yes))", true),
        ("(ne three 3)", false),
        ("(ge three 3)", true),
        ("(le three 2)", false),
    ] {
        assert_eq!(
            boolean("(yes true) (no false) (three 3)", expr),
            value,
            "{expr}"
        );
    }
}

#[test]
fn what_need_not_be_evaluated_cannot_fault() {
    for (expr, value) in [
        ("(&& no (> (/ 1 zero) 0))", false),
        ("(&& no no (> (/ 1 zero) 0))", false),
        ("(&& (> zero 0) (> (/ 1 zero) 0) yes)", false),
        ("(|| yes (> (/ 1 zero) 0))", true),
        ("(|| no yes (> (/ 1 zero) 0) no)", true),
        ("(|| no (&& no (> (- zero 1) 0)) yes)", true),
        ("(! (|| yes (> (/ 1 zero) 0)))", false),
        ("(if no (> (/ 1 zero) 0) true)", true),
        ("(&& (|| no (> (+ 1 zero) 0)) (> (+ 2 zero) 1))", true),
        ("(&& (|| no (> (+ 1 zero) 1)) (> (/ 2 zero) 1))", false),
    ] {
        assert_eq!(
            boolean("(yes true) (no false) (zero 0)", expr),
            value,
            "{expr}"
        );
        // As a condition, too.
        let mut flow = Flow::new(&format!(
            "(def (Report (x 0)) (yes true) (no false) (zero 0))
             (when {expr} (:= Report.x 1) (if {expr} (:= Report.x 2)) (report))"
        ));
        assert_eq!(flow.run().report("x"), 2 * u64::from(value), "{expr}");
    }
    // What must be evaluated does.
    let mut flow = Flow::new(
        "(def (Report (x 0)) (yes true) (zero 0))
         (when (&& yes (> (/ 1 zero) 0)) (report))",
    );
    assert_eq!(flow.ack(0), Err(Fault::DivisionByZero));
}

#[test]
fn an_assignment_behind_a_short_circuit_may_not_happen() {
    let mut flow = Flow::new(
        "(def (Report (x 0) (r false)) (c false))
         (when true (:= Report.r (&& c (== (:= Report.x 5) 5))) (report))",
    );
    flow.run();
    assert_eq!((flow.report("x"), flow.report("r")), (0, 0));
    flow.control("c", 1);
    flow.run();
    assert_eq!((flow.report("x"), flow.report("r")), (5, 1));
    // An agent may call anything but zero true; a result is 0 or 1.
    flow.control("c", 7);
    flow.run();
    assert_eq!(flow.report("r"), 1);
}

#[test]
fn if_is_a_value() {
    for (expr, value) in [
        ("(if yes 1 2)", 1),
        ("(if no 1 2)", 2),
        ("(!if yes 1 2)", 2),
        ("(!if no 1 2)", 1),
        ("(+ 1 (if no 10 20))", 21),
        ("(if (> a 3) (+ a 1) (- 0 a))", 6),
        ("(if (> a 30) (- 0 a) (+ a 1))", 6),
        ("(if zero (/ 1 zero) (if yes a 2))", 5),
        ("(* (if yes a 1) (if no 1 a) 2)", 50),
        ("(if (if no yes no) 1 (if yes 2 3))", 2),
        ("(if (! yes) 1 2)", 2),
        ("(if yes (if no 1))", 99),
        ("(if yes (if no 1) 2)", 99),
        ("(if no (if no 1) 2)", 2),
        ("(if yes (ewma 5 1) 2)", 50),
        ("(if no (ewma 5 1) (ewma 10 5))", 99),
        ("(if Report.x Report.x 2)", 99),
        ("(if Report.x (+ Report.x 1) Report.x)", 100),
        ("(if a a Report.x)", 5),
        ("(if (> Report.x 1) (if (> a 9) 1 Report.x) 3)", 99),
    ] {
        let decls = "(yes true) (no false) (a 5) (zero 0)";
        assert_eq!(number(decls, expr), value, "{expr}");
    }
    assert!(boolean("(a 5)", "(if (> a 3) true false)"));
    assert!(boolean("(a 5)", "(! (if (> a 3) false (> a 2)))"));
}

#[test]
fn else_is_for_the_other_case() {
    let mut flow = Flow::new(
        "(def (Report (x 0) (y 0)) (c false) (d false))
         (when true
             (if c
                 (:= Report.x 1)
                 (if d (:= Report.y 1) (else (:= Report.y 2)))
                 (else (:= Report.x 2) (!if d (:= Report.y 3) (else (:= Report.y 4)))))
             (report))",
    );
    for (c, d, x, y) in [(0, 0, 2, 3), (0, 1, 2, 4), (1, 0, 1, 2), (1, 1, 1, 1)] {
        flow.control("c", c);
        flow.control("d", d);
        flow.run();
        assert_eq!((flow.report("x"), flow.report("y")), (x, y), "{c} {d}");
    }
    // `(fallthrough)` in the other case.
    let mut flow = Flow::new(
        "(def (Report (x 0)) (c false))
         (when true (if c (report) (else (fallthrough))))
         (when true (:= Report.x (+ Report.x 1)))",
    );
    assert_eq!(flow.run().report("x"), 1);
    flow.control("c", 1);
    assert_eq!(flow.run().report("x"), 1);
}

#[test]
fn a_branch_not_taken_has_no_effect_and_cannot_fault() {
    let mut flow = Flow::new(
        "(def (Report (x 1)) (c false))
         (when true
             (if c (:= Report.x (/ 1 0)) (:= Cwnd 5) (report) (else (:= Rate 7)))
             (if (:= c c) (:= Cwnd (/ 1 0)))
             (report))",
    );
    flow.run();
    assert_eq!(flow.report("x"), 1);
    assert_eq!(flow.registers.writable[..2], [0, 7]);
    flow.control("c", 1);
    assert_eq!(flow.ack(0), Err(Fault::DivisionByZero));
}

#[test]
fn the_first_true_clause_ends_the_run_unless_it_falls_through() {
    let mut flow = Flow::new(
        "(def (Report (a 0) (b 0) (c 0)) (go true))
         (when go (:= Report.a (+ Report.a 1)) (fallthrough))
         (when (== go false) (:= Report.a 100))
         (when true (:= Report.b (+ Report.b 1)))
         (when true (:= Report.c (+ Report.c 1)) (report))",
    );
    flow.run().run();
    // The third clause is true and does not fall through, although the first did.
    assert_eq!(
        (flow.report("a"), flow.report("b"), flow.report("c")),
        (2, 2, 0)
    );
    flow.control("go", 0);
    flow.run();
    assert_eq!(
        (flow.report("a"), flow.report("b"), flow.report("c")),
        (100, 2, 0)
    );
}

#[test]
fn conditions_are_any_expression_and_true_if_not_zero() {
    for (condition, runs) in [
        ("flag", true),
        ("number", true),
        ("nothing", false),
        ("Report.flag", false),
        ("Flow.was_timeout", true),
        ("Ack.lost_pkts_sample", false),
        ("(- number 3)", false),
        ("(|| Flow.was_timeout false)", true),
        ("7", true),
        ("true", true),
        ("Micros", false),
        ("Cwnd", true),
    ] {
        let mut flow = Flow::new(&format!(
            "(def (Report (x 0) (flag false)) (flag true) (number 3) (nothing 0))
             (when {condition} (:= Report.x 1) (report))"
        ));
        flow.registers.writable[0] = 14480;
        if condition.contains("was_timeout") {
            flow.set("Flow.was_timeout", 1);
        }
        assert_eq!(flow.run().report("x"), u64::from(runs), "{condition}");
    }
}

#[test]
fn micros_count_from_the_last_reset() {
    for reset in ["(reset)", "(:= Micros 0)", "(bind Micros 0)"] {
        let mut flow = Flow::new(&format!(
            "(def (Report (n 0))) (when (> Micros 100) (:= Report.n (+ Report.n 1)) {reset} (report))"
        ));
        for (now, reported) in [
            (100, false),
            (101, true),
            (150, false),
            (201, false),
            (202, true),
        ] {
            let outcome = flow.ack(now).expect("no fault");
            assert_eq!(outcome.report, reported, "{reset} at {now}");
        }
    }
    let mut flow = Flow::new(
        "(def (Report (seen 0)))
         (when true (:= Micros 40) (:= Report.seen Micros) (report))",
    );
    flow.ack(1000).expect("no fault");
    assert_eq!(flow.report("seen"), 40);
}

#[test]
fn volatile_variables_return_to_their_defaults() {
    // The program of one of portus' tests, in our words: ten ACKs, one report.
    let mut flow = Flow::new(
        "(def
             (volatile inner 0)
             (Report (volatile count 0) (total 0) (volatile sum 0))
             (outer 0)
         )
         (when true
             (:= Report.count (+ Report.count 1))
             (:= Report.total (+ Report.total 1))
             (:= inner (+ inner 1))
             (:= outer (+ outer 1))
             (:= Report.sum (+ inner outer))
             (fallthrough)
         )
         (when (== Report.count 10) (report))",
    );
    for round in 1..=3 {
        for ack in 1..=10 {
            assert_eq!(flow.ack(0).expect("no fault").report, ack == 10);
        }
        assert_eq!(
            (flow.report("count"), flow.report("total")),
            (10, 10 * round)
        );
        assert_eq!(flow.report("sum"), 10 + 10 * round);
        let program = flow.program.clone();
        flow.registers.reported(&program);
        assert_eq!((flow.report("count"), flow.report("sum")), (0, 0));
    }
}

#[test]
fn if_leaves_the_target_and_does_not_look_at_the_value() {
    let mut flow = Flow::new(
        "(def (Report (x 7) (y 7)) (divisor 0))
         (when true
             (:= Report.x (if (> divisor 0) (/ 100 divisor)))
             (:= Report.y (!if (> divisor 0) 1))
             (report)
         )",
    );
    flow.run();
    assert_eq!((flow.report("x"), flow.report("y")), (7, 1));
    flow.control("divisor", 4);
    flow.run();
    assert_eq!((flow.report("x"), flow.report("y")), (25, 1));
}

#[test]
fn if_with_a_number_as_condition_and_on_any_target() {
    let mut flow = Flow::new(
        "(def (Report (seen 0)) (n 0))
         (when true
             (:= Cwnd (if n 5000))
             (:= local (if n (if (> n 1) 3)))
             (:= Report.seen local)
             (report)
         )",
    );
    flow.registers.writable[0] = 10;
    assert_eq!(
        (flow.run().registers.writable[0], flow.report("seen")),
        (10, 0)
    );
    flow.control("n", 1);
    assert_eq!(
        (flow.run().registers.writable[0], flow.report("seen")),
        (5000, 0)
    );
    flow.control("n", 2);
    assert_eq!(flow.run().report("seen"), 3);
}

#[test]
fn if_as_a_statement() {
    let mut flow = Flow::new(
        "(def (Report (x 0) (later 0)) (c false))
         (when true
             (if c (:= Report.x (+ Report.x 1)) (report))
             (!if c (fallthrough))
         )
         (when true (:= Report.later (+ Report.later 1)))",
    );
    assert!(!flow.ack(0).expect("no fault").report);
    assert_eq!((flow.report("x"), flow.report("later")), (0, 1));
    flow.control("c", 1);
    assert!(flow.ack(0).expect("no fault").report);
    assert_eq!((flow.report("x"), flow.report("later")), (1, 1));
}

#[test]
fn ewma_weighs_in_tenths_and_starts_with_the_first_sample() {
    let mut flow = Flow::new(
        "(def (Report (avg 0)) (w 2))
         (when true
             (:= Report.avg (ewma 8 Flow.rate_outgoing))
             (:= smooth (ewma w (* 2 Flow.rate_outgoing)))
             (:= Rate smooth)
             (report)
         )",
    );
    flow.set("Flow.rate_outgoing", 100).run();
    assert_eq!((flow.report("avg"), flow.registers.writable[1]), (100, 200));
    flow.set("Flow.rate_outgoing", 200).run();
    assert_eq!((flow.report("avg"), flow.registers.writable[1]), (120, 360));
    flow.control("w", 11);
    assert_eq!(flow.ack(0), Err(Fault::Weight));
}

#[test]
fn locals_start_at_zero_and_are_kept() {
    let mut flow = Flow::new(
        "(def (Report (n 0) (late false)))
         (when late (:= Report.late true) (report))
         (when true
             (:= n (+ n 1))
             (:= late (>= n 2))
             (:= Report.n n)
         )",
    );
    assert_eq!(flow.run().report("n"), 1);
    assert_eq!(flow.run().report("n"), 2);
    assert_eq!((flow.run().report("n"), flow.report("late")), (2, 1));
    assert_eq!(flow.program.locals, 2);
}

#[test]
fn an_assignment_has_the_value_of_its_target() {
    assert_eq!(number("(a 0)", "(:= a 5)"), 5);
    assert_eq!(number("(a 0)", "(+ (:= a 5) a)"), 10);
    // The left operand is looked at first.
    assert_eq!(number("(a 1)", "(+ a (:= a 5))"), 6);
    assert_eq!(number("(a 1)", "(+ (+ a 0) (:= a 5))"), 6);
}

#[test]
fn a_fault_undoes_everything() {
    for (expr, fault) in [
        ("(- 5 6)", Fault::Underflow),
        ("(+ +infinity 1)", Fault::Overflow),
        ("(* +infinity 2)", Fault::Overflow),
        ("(/ 1 zero)", Fault::DivisionByZero),
    ] {
        let mut flow = Flow::new(&format!(
            "(def (Report (x 1)) (zero 0))
             (when true (:= Report.x 2) (:= Cwnd 3) (report) (:= Report.x {expr}))"
        ));
        let before = flow.registers.clone();
        assert_eq!(flow.ack(0), Err(fault), "{expr}");
        assert_eq!(flow.registers, before);
    }
    // Even a statement without effect is computed.
    let mut flow = Flow::new("(def (Report (x 1))) (when true (/ 1 0) (report))");
    assert_eq!(flow.ack(0), Err(Fault::DivisionByZero));
}

#[test]
fn the_program_names_what_it_uses_and_no_more() {
    let program = good(
        "(def (Report (x 0)))
         (when (> Flow.rtt_sample_us 5)
             (:= Report.x (+ Ack.bytes_acked Flow.rtt_sample_us)) (report))",
    )
    .program;
    let names: Vec<&str> = program.primitives.iter().map(|p| p.name.as_ref()).collect();
    assert_eq!(names, ["Flow.rtt_sample_us", "Ack.bytes_acked"]);
    let names: Vec<&str> = program.writables.iter().map(|w| w.name.as_ref()).collect();
    assert_eq!(names, ["Cwnd", "Rate"]);
}

#[test]
fn what_a_datapath_has_to_write_is_read_and_assigned_by_name() {
    use ccp_program::{RegisterDef, RegisterTable, Type, Unit};

    let threshold = RegisterDef::new("Tx.threshold", Type::Num, Unit::Bytes);
    let table = RegisterTable::well_known().with_writable([threshold]);
    let source = "(def (Report (x 0)))
        (when (> Cwnd Tx.threshold)
            (:= Tx.threshold (/ Tx.threshold 2))
            (:= Report.x Tx.threshold)
            (report))";
    let compiled = crate::compile(source, &table).expect("it is there");
    let program = compiled.program.clone();
    let names: Vec<&str> = program.writables.iter().map(|w| w.name.as_ref()).collect();
    assert_eq!(names, ["Cwnd", "Rate", "Tx.threshold"]);
    let mut registers = Registers::new(&program, 0);
    registers.writable.copy_from_slice(&[100, 0, 50]);
    assert!(registers.invoke(&program, &[], 0).expect("no fault").report);
    assert_eq!((registers.writable[2], registers.report[0]), (25, 25));
    // One that has no such register says so, by that name.
    let source_of_another = "(def (Report (x 0)))
        (when (> Flow.srtt_us 5) (:= Ssthresh 5) (:= Report.x Ssthresh) (report))";
    let errors = crate::compile(source_of_another, &RegisterTable::libccp()).expect_err("missing");
    let messages: Vec<&str> = errors.iter().map(|e| e.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "this datapath has no `Flow.srtt_us`",
            "this datapath has no `Ssthresh`",
            "this datapath has no `Ssthresh`",
        ]
    );
    let refusal = program.bind(&RegisterTable::libccp()).expect_err("missing");
    assert!(refusal.to_string().contains("`Tx.threshold`"), "{refusal}");
    let errors = crate::libccp::lower_compiled(&compiled, source).expect_err("missing");
    assert!(
        errors
            .to_string()
            .starts_with("2:23: error: libccp has no `Tx.threshold`"),
        "{errors}"
    );
}

#[test]
fn declarations_take_their_places_in_order() {
    let program = good(
        "(def (one 1) (Report.z 26) (Report (volatile a false) (b +infinity)) (volatile two true))
         (when true (:= Report.z one) (if two (:= Report.a two)) (:= Report.b one) (report))",
    )
    .program;
    let names = |vars: &[ccp_program::Variable]| -> Vec<(String, bool, u64)> {
        vars.iter()
            .map(|v| (v.name.clone(), v.volatile, v.default))
            .collect()
    };
    let expected = |list: &[(&str, bool, u64)]| -> Vec<(String, bool, u64)> {
        list.iter()
            .map(|(n, v, d)| ((*n).to_owned(), *v, *d))
            .collect()
    };
    // The block comes first, wherever it stands.
    assert_eq!(
        names(&program.reports),
        expected(&[("a", true, 0), ("b", false, u64::MAX), ("z", false, 26)])
    );
    assert_eq!(
        names(&program.controls),
        expected(&[("one", false, 1), ("two", true, 1)])
    );
}

#[test]
fn results_go_straight_to_their_targets() {
    let program =
        good("(def (Report (x 0))) (when true (:= Report.x (+ Report.x 1)) (report))").program;
    assert_eq!(program.clauses[0].body.len(), 2);
    assert_eq!(program.temps, 0);
    let deep = good(
        "(def (Report (x 0)) (a 1))
         (when true (:= Report.x (+ (+ (+ a 2) (+ a 4)) (+ (+ a 6) (+ a 8)))) (report))",
    );
    assert_eq!(deep.program.temps, 3);
    assert!(matches!(
        deep.program.clauses[0].body.last(),
        Some(ccp_program::Inst::Report)
    ));
    assert_eq!(Reg::CWND, Reg::Writable(0));
}

#[test]
fn a_byte_order_mark_says_nothing_and_is_no_column() {
    let source = "\u{feff}(def (Report (x 0)) (k z))\n(when true (report))";
    let errors = crate::tests::bad(source);
    assert_eq!(
        errors.to_string(),
        "1:24: error: the default of `k` must be a constant"
    );
    assert!(errors.render(source, "x.ccp").contains(" x.ccp:1:24\n"));
    good(&source.replace("(k z)", "(k 1)"));
}
