use ccp_program::Clause;

use super::rewrite::compact;
use super::*;
use crate::codegen::check;

fn compiled(source: &str) -> Program {
    let table = crate::register_table();
    let compiled = ccp_lang::compile(source, &table)
        .unwrap_or_else(|e| panic!("{}", e.render(source, "test.ccp")));
    let program = compiled.program.bind(&table).unwrap();
    check(&program).unwrap();
    with_names(&program)
}

fn ordinary(source: &str) -> Option<Ordinary> {
    let program = compiled(source);
    let plan = Plan::new(&program).unwrap();
    Ordinary::new(&program, &plan, false)
}

/// How many clauses are left that do more than to give up, and how many instructions in all.
fn left(ordinary: &Ordinary) -> (usize, usize) {
    let does = |c: &&Clause| c.body != [Inst::Report];
    let clauses = ordinary.program.clauses.iter().filter(does).count();
    (clauses, ordinary.program.len())
}

#[test]
fn what_always_reports_or_needs_too_much_has_no_ordinary_acknowledgement() {
    assert!(ordinary("(def (Report (x 0))) (when true (:= Report.x Cwnd) (report))").is_none());
    // Nine that are kept and read at each acknowledgement.
    let sum = |i: usize| format!("(:= v{i} (+ v{i} Ack.bytes_acked)) ");
    let sums = |n: usize| -> String { (0..n).map(sum).collect() };
    let program = |n| format!("(def (x 0)) (when true {})", sums(n));
    assert!(ordinary(&program(8)).is_some());
    assert!(ordinary(&program(9)).is_none());
    // The latest valid one counts, and has to be computed.
    let rate = "(def (x 0)) (when (> Flow.rate_outgoing x) (:= Cwnd 100000))";
    assert!(ordinary(rate).is_none());
    assert!(ordinary("(def (x 0)) (when true (:= Micros 0))").is_none());
}

#[test]
fn what_is_rare_goes_with_all_that_follows_from_it() {
    let ordinary = ordinary(
        "(def (Report (lost 0) (cwnd 0)))
         (when true
             (:= reducing (&& (>= Flow.recovery_state 2) (<= Flow.recovery_state 3)))
             (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
             (:= Report.cwnd Cwnd)
             (fallthrough))
         (when (&& reducing (== was false)) (:= Cwnd (/ Cwnd 2)) (fallthrough))
         (when Flow.was_timeout (:= Cwnd 3000) (report) (fallthrough))
         (when true (:= was reducing))",
    );
    let ordinary = ordinary.unwrap();
    assert_eq!(left(&ordinary).1, 0, "{:?}", ordinary.program.clauses);
    // The rate has a word since there is room.
    let hot: Vec<usize> = ordinary.hot.iter().map(|h| h.register).collect();
    assert_eq!(hot, [REG_RATE]);
    // `was` is as such acknowledgements leave it, and nothing else is looked at.
    assert_eq!(ordinary.guards.len(), 1);
    assert_eq!(ordinary.guards[0].1, 0);
    // `Report.cwnd` is written before each report; so is `reducing` before it is read.
    assert_eq!(ordinary.stale.len(), 2);
}

#[test]
fn variables_get_words_by_how_often_they_are_needed() {
    let rare: String = (0..9).map(|i| format!("(:= v{i} (+ v{i} 1)) ")).collect();
    let ordinary = ordinary(&format!(
        "(def (every 7) (big +infinity))
         (when (< left Ack.bytes_acked) (:= left Cwnd) {rare} (:= big every))
         (when true (:= left (- left Ack.bytes_acked)))"
    ));
    let ordinary = ordinary.unwrap();
    // The first clause wants more than there is, and gives up as a whole.
    assert_eq!(ordinary.program.clauses[0].body, [Inst::Report]);
    assert_eq!(left(&ordinary), (1, 3), "{:?}", ordinary.program.clauses);
    assert_eq!(ordinary.hot.len(), 2, "{:?}", ordinary.hot);
    // What is changed last of all need not be undone.
    assert!(ordinary.saves.iter().all(Vec::is_empty));
}

#[test]
fn what_a_later_clause_may_give_up_is_saved_once() {
    let ordinary = ordinary(
        "(def (Report (volatile acked 0)) (every 1000))
         (when true (:= Report.acked (+ Report.acked Ack.bytes_acked)) (fallthrough))
         (when (> Report.acked Cwnd) (:= Cwnd (+ Cwnd Flow.mss)) (fallthrough))
         (when (>= Micros every) (report) (reset))",
    );
    let ordinary = ordinary.unwrap();
    let saved: Vec<usize> = ordinary.saves.iter().map(Vec::len).collect();
    assert_eq!(saved, [1, 1, 0]);
    let half: Vec<usize> = ordinary.hot.iter().map(|h| h.bytes).collect();
    assert_eq!(
        half.iter().filter(|bytes| **bytes == 4).count(),
        1,
        "`every`"
    );
    assert!(ordinary.micros.is_some());
}

#[test]
fn skips_lead_where_they_led() {
    let skip = |count| Inst::Skip { count };
    let cond = Operand::Primitive(0);
    let unless = |count| Inst::SkipUnless { cond, count };
    let go = Inst::Fallthrough;
    assert_eq!(
        compact(&[
            Some(unless(3)),
            Some(go),
            None,
            Some(skip(1)),
            None,
            Some(go)
        ]),
        // The second one led past what is gone.
        [unless(1), go, go]
    );
    assert_eq!(compact(&[Some(unless(1)), None, Some(go)]), [go]);
    assert_eq!(compact(&[None, Some(skip(0))]), []);
}

#[test]
fn temporaries_that_are_written_twice_get_two_names() {
    let program = compiled(
        "(def (x 0))
         (when (&& (&& (> Cwnd 1) (< Cwnd 9)) (> Ack.bytes_acked 0)) (:= Cwnd (+ Cwnd (* 2 x))))",
    );
    for clause in &program.clauses {
        let mut seen = HashSet::new();
        for inst in clause.condition.iter().chain(&clause.body) {
            if let Some(Reg::Temp(t)) = written(inst) {
                assert!(seen.insert(t), "{clause:?}");
            }
        }
        assert!(seen.iter().all(|t| *t < program.temps));
    }
}
