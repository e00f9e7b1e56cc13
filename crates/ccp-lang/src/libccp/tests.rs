use ccp_program::interp::Registers;
use ccp_program::libccp::{Bytecode, Class, Opcode};
use ccp_program::{BinaryOp, Clause, Inst, Limits, Operand, Program, Reg, RegisterTable, verify};

use super::{LimitError, MAX_INSTRUCTIONS, lower, lower_compiled};
use crate::tests::good;

mod machine;
mod random;

use machine::Machine;

fn code(source: &str) -> Bytecode {
    lower(&good(source).program).expect("fits libccp")
}

fn refused(source: &str) -> LimitError {
    lower(&good(source).program).expect_err("does not fit libccp")
}

/// Runs both and compares everything that a datapath can see.
fn same(program: &Program, acks: &[(u64, Vec<u64>)]) {
    let code = lower(program).expect("fits libccp");
    let mut machine = Machine::new(&code);
    let mut registers = Registers::new(program, 0);
    for (step, (now, prims)) in acks.iter().enumerate() {
        let place = |name: &str| {
            let base = RegisterTable::libccp();
            usize::from(base.primitive(name).expect("one of libccp's").0)
        };
        let ours: Vec<u64> = program
            .primitives
            .iter()
            .map(|d| prims[place(&d.name)])
            .collect();
        let (cwnd, rate) = (registers.writable[0], registers.writable[1]);
        let expected = registers.invoke(program, &ours, *now);
        let got = machine.invoke(&code, prims, cwnd, rate, *now);
        let context = || {
            format!(
                "ack {step}\n{}\n{}",
                crate::listing(program),
                super::listing(&code)
            )
        };
        let Ok(expected) = expected else {
            // The C library leaves the registers half written: nothing to compare from here on.
            // It misses some overflows of products.
            return;
        };
        let got = got.unwrap_or_else(|fault| panic!("{fault} at {}", context()));
        assert_eq!(got.report, expected.report, "{}", context());
        assert_eq!(machine.cwnd(), registers.writable[0], "{}", context());
        assert_eq!(machine.rate(), registers.writable[1], "{}", context());
        assert_eq!(machine.micros_zero, registers.micros_zero, "{}", context());
        let count = program.reports.len();
        assert_eq!(
            &machine.reports[..count],
            &registers.report[..],
            "{}",
            context()
        );
        assert_eq!(
            &machine.controls[..program.controls.len()],
            &registers.control[..],
            "{}",
            context()
        );
        if got.report {
            machine.reset_volatile(&code);
            registers.reported(program);
        }
    }
}

#[test]
fn declarations_come_first_with_their_classes() {
    let code = code(
        "(def (Report (a 1) (volatile b +infinity)) (c true) (volatile d 3))
         (when true (:= e 1) (:= Report.a e) (report))",
    );
    let defs: Vec<(Class, u32, u32)> = code
        .instructions
        .iter()
        .take_while(|i| i.op == Opcode::Def)
        .map(|i| (i.ret.class, i.ret.index, i.right.index))
        .collect();
    assert_eq!(
        defs,
        [
            (Class::Report, 0, 1),
            (Class::VolatileReport, 1, u32::MAX),
            (Class::Control, 0, 1),
            (Class::VolatileControl, 1, 3),
            // The local variable.
            (Class::Control, 2, 0),
        ]
    );
    assert_eq!(code.expressions[0].condition_start, 5);
}

#[test]
fn temporaries_are_used_again_and_sixteen_fit() {
    // (+ 1 (+ 1 (+ 1 …))) over a register needs one more result for each level.
    let nested = |depth: usize| {
        format!(
            "(def (Report (x 0))) (when true (:= Report.x {}(+ Cwnd Rate){}) (report))",
            "(+ (+ Cwnd 1) ".repeat(depth),
            ")".repeat(depth)
        )
    };
    assert!(lower(&good(&nested(15)).program).is_ok());
    let error = refused(&nested(16));
    assert!(
        matches!(
            error,
            LimitError::Temporaries {
                clause: 0,
                needed: 17,
                ..
            }
        ),
        "{error:?}"
    );
    // A hundred statements need no more than one.
    let many = "(:= Report.x (+ (+ Report.x 1) (+ Cwnd 1)))".repeat(60);
    let code = code(&format!("(def (Report (x 0))) (when true {many} (report))"));
    let classes = |class: Class| {
        code.instructions
            .iter()
            .filter(move |i| i.ret.class == class)
    };
    assert_eq!(classes(Class::Temp).map(|i| i.ret.index).max(), Some(1));
    assert_eq!(classes(Class::Local).count(), 0);
}

#[test]
fn two_hundred_and_fifty_five_instructions_fit() {
    // A declaration, the condition, then one for each statement.
    let long = |n: usize| format!("(def (Report (x 0))) (when true {})", "(report)".repeat(n));
    let code = code(&long(MAX_INSTRUCTIONS - 2));
    assert_eq!(code.instructions.len(), 255);
    let source = long(MAX_INSTRUCTIONS - 1);
    let error = refused(&source);
    assert_eq!(
        error,
        LimitError::Instructions {
            got: 256,
            clause: 0
        }
    );
    let errors = lower_compiled(&good(&source), &source).expect_err("the same");
    assert_eq!(errors.iter().next().map(|d| d.position.column), Some(22));
}

#[test]
fn what_libccp_does_not_have_is_refused_by_name_and_place() {
    let source = "(def (Report (x 0)))\n(when true\n  (:= Report.x Flow.mss)\n  (report))";
    assert_eq!(
        refused(source),
        LimitError::Primitive {
            clause: 0,
            inst: 0,
            name: "Flow.mss".into()
        }
    );
    let errors = lower_compiled(&good(source), source).expect_err("the same");
    assert_eq!(
        errors.to_string(),
        "3:16: error: libccp does not measure `Flow.mss`"
    );
    for (default, fits) in [
        ("1073741822", true),
        ("1073741823", false),
        ("1073741824", true),
        ("4294967295", true),
        ("4294967296", false),
        ("+infinity", true),
    ] {
        let source = format!("(def (Report (x {default}))) (when true (report))");
        let result = lower(&good(&source).program);
        assert_eq!(result.is_ok(), fits, "{default}");
        if let Err(error) = result {
            assert!(matches!(&error, LimitError::Default { name, .. } if name == "Report.x"));
            assert!(error.span(&good(&source).map).is_some());
        }
    }
    let locals: String = (0..111).map(|n| format!("(:= v{n} 1)")).collect();
    assert!(matches!(
        refused(&format!(
            "(def (Report (x 0))) (when true {locals} (report))"
        )),
        LimitError::Controls {
            controls: 0,
            locals: 111
        }
    ));
    let mut unverified = good("(def (Report (x 0))) (when true (report))").program;
    unverified.clauses.clear();
    assert!(matches!(lower(&unverified), Err(LimitError::Invalid(_))));
}

#[test]
fn large_constants_are_built() {
    for value in [1_u64 << 32, u64::MAX - 1, 0x1234_5678_9abc_def0] {
        let program = good(&format!(
            "(def (Report (x 0))) (when true (:= Report.x {value}) (report))"
        ))
        .program;
        let code = lower(&program).expect("fits libccp");
        let mut machine = Machine::new(&code);
        machine.invoke(&code, &[0; 15], 0, 0, 0).expect("no fault");
        assert_eq!(machine.reports[0], value);
    }
}

#[test]
fn fallthrough_is_taken_back_where_it_matters() {
    let program = good(
        "(def (Report (a 0) (b 0) (c 0)))
         (when true (:= Report.a (+ Report.a 1)) (fallthrough))
         (when (> Report.a 1) (:= Report.b (+ Report.b 1)))
         (when true (:= Report.c (+ Report.c 1)) (report))",
    )
    .program;
    let acks: Vec<_> = (0..4).map(|n| (n, vec![0; 15])).collect();
    same(&program, &acks);
    let code = lower(&program).expect("fits libccp");
    let cleared = |i: &&ccp_program::libccp::Instruction| {
        i.op == Opcode::Bind
            && i.ret.class == Class::Implicit
            && i.ret.index == 1
            && i.right.index == 0
    };
    // Only in the second clause: after the last there is nothing to fall into.
    assert_eq!(code.instructions.iter().filter(cleared).count(), 1);
}

#[test]
fn what_a_false_if_passes_over_does_not_fault() {
    for (expr, op) in [
        ("(/ 100 d)", BinaryOp::Div),
        ("(- d 1)", BinaryOp::Sub),
        ("(+ (- d 1) 5)", BinaryOp::Add),
        ("(* (- d 1) 5)", BinaryOp::Mul),
    ] {
        let mut program = good(&format!(
            "(def (Report (x 7)) (d 0))
             (when true (:= Report.x (if (> d 0) {expr})) (report))"
        ))
        .program;
        assert!(
            program.clauses[0]
                .body
                .iter()
                .any(|i| matches!(i, Inst::Binary { op: used, .. } if *used == op))
        );
        same(&program, &[(0, vec![0; 15]), (1, vec![0; 15])]);
        program.controls[0].default = 4;
        same(&program, &[(0, vec![0; 15]), (1, vec![0; 15])]);
    }
}

#[test]
fn an_ewma_of_too_much_weight_faults_there_too() {
    let program =
        good("(def (Report (x 7)) (w 11)) (when true (:= Report.x (ewma w 100)) (report))").program;
    let code = lower(&program).expect("fits libccp");
    let mut machine = Machine::new(&code);
    assert!(machine.invoke(&code, &[0; 15], 0, 0, 0).is_err());
    machine.controls[0] = 10;
    assert!(machine.invoke(&code, &[0; 15], 0, 0, 0).is_ok());
}

#[test]
fn skips_that_cross_are_refused() {
    let mut program = good("(def (Report (x 0)) (a 0) (b 0)) (when true (report))").program;
    let skip = |control: u16, count: u16| Inst::SkipIf {
        cond: Operand::Reg(Reg::Control(control)),
        count,
    };
    let bump = Inst::Move {
        dst: Reg::Report(0),
        src: Operand::Imm(1),
    };
    // The first skip leads into what the second passes over.
    program.clauses[0].body = vec![skip(0, 2), bump, skip(1, 2), bump, bump, Inst::Report];
    assert!(verify(&program, &Limits::MAX).is_ok());
    assert!(matches!(
        lower(&program),
        Err(LimitError::ControlFlow { clause: 0, inst: 3 })
    ));
}

#[test]
fn if_and_else_with_one_result() {
    // t0 = if a { 1 } else if b { 2 } else { 3 }; x = t0
    let reg = |r: Reg| Operand::Reg(r);
    let set = |value: u64| Inst::Move {
        dst: Reg::Temp(0),
        src: Operand::Imm(value),
    };
    let unless = |control: u16, count: u16| Inst::SkipUnless {
        cond: reg(Reg::Control(control)),
        count,
    };
    let mut program = good("(def (Report (x 0)) (a 0) (b 0)) (when true (report))").program;
    program.temps = 1;
    program.clauses = vec![Clause {
        condition: vec![],
        test: None,
        body: vec![
            unless(0, 2),
            set(1),
            Inst::Skip { count: 4 },
            unless(1, 2),
            set(2),
            Inst::Skip { count: 1 },
            set(3),
            Inst::Move {
                dst: Reg::Report(0),
                src: reg(Reg::Temp(0)),
            },
            Inst::Report,
        ],
    }];
    for (a, b, x) in [(0, 0, 3), (0, 5, 2), (1, 0, 1), (9, 9, 1)] {
        program.controls[0].default = a;
        program.controls[1].default = b;
        same(&program, &[(0, vec![0; 15])]);
        let mut registers = Registers::new(&program, 0);
        registers.invoke(&program, &[], 0).expect("no fault");
        assert_eq!(registers.report[0], x);
    }
}
