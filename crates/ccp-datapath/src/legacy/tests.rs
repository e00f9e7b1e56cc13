use ccp_program::interp::Registers;
use ccp_program::libccp::{Bytecode, Class, Expression, Instruction, Opcode, Register};
use ccp_program::testing::{self, Rng};
use ccp_program::{Limits, Program, RegisterTable};

use super::{BytecodeError, to_program};

/// What algorithms of the other agent install.
const SOURCES: [&str; 4] = [
    "(def (Report (volatile minrtt +infinity)))
     (when true (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us)) (fallthrough))
     (when (> Micros 42000) (report) (:= Micros 0))",
    "(def (Report (volatile acked 0) (volatile timeout false)) (every 10))
     (when true
         (:= Report.acked (+ Report.acked Ack.bytes_acked))
         (:= Report.timeout Flow.was_timeout)
         (:= Cwnd (+ Cwnd Ack.bytes_acked))
         (fallthrough))
     (when (|| (|| Report.timeout (> Ack.lost_pkts_sample 0)) (> Micros every))
         (report) (:= Micros 0))",
    "(def (Report (rate 0)) (volatile done false))
     (when true
         (:= Report.rate (ewma 2 Flow.rate_incoming))
         (:= done (if (> Report.rate 5) true))
         (fallthrough))
     (when (&& done (> Report.rate 7)) (report))",
    "(def (Report (x 0)))
     (when (> (/ (* Ack.bytes_acked 1000) (max Cwnd 1)) 3)
         (:= seen (+ seen 1)) (:= Report.x (- (* 3 seen) 2)) (report))",
];

/// The compiler's own form of a program and what comes back from its bytecode do the same.
#[test]
fn what_was_bytecode_does_what_the_program_does() {
    let table = RegisterTable::libccp();
    let mut rng = Rng::new(5);
    for source in SOURCES {
        let original = ccp_lang::compile(source, &table).unwrap().program;
        let original = original.bind(&table).unwrap();
        let bytecode = ccp_lang::libccp::lower(&original).unwrap();
        let back = to_program(&bytecode, &table, &Limits::MAX).unwrap();
        let (mut a, mut b) = (Registers::new(&original, 0), Registers::new(&back, 0));
        let mut now = 0;
        for _ in 0..3_000 {
            now += rng.bits() % 5_000;
            let measured = testing::measurements(&mut rng, &original, now);
            let outcome = a.invoke(&original, &measured, now);
            assert_eq!(b.invoke(&back, &measured, now), outcome, "{source}");
            assert_eq!(
                (&a.writable, &a.report),
                (&b.writable, &b.report),
                "{source}"
            );
            if outcome.is_ok_and(|o| o.report) {
                a.reported(&original);
                b.reported(&back);
            }
        }
    }
}

#[test]
fn what_the_compiler_here_makes_for_libccp_is_understood() {
    let table = RegisterTable::libccp();
    let mut rng = Rng::new(9);
    let mut understood = 0;
    for _ in 0..500 {
        let shape = testing::Shape {
            table: table.clone(),
            wild: 0,
            ..testing::Shape::random(&mut rng, 40)
        };
        let program = testing::program(&mut rng, &shape);
        let Ok(bytecode) = ccp_lang::libccp::lower(&program) else {
            continue;
        };
        if to_program(&bytecode, &table, &Limits::MAX).is_ok() {
            understood += 1;
        }
    }
    assert!(understood > 50, "{understood}");
}

fn reg(class: Class, index: u32) -> Register {
    Register { class, index }
}

fn refused(instructions: Vec<Instruction>) -> BytecodeError {
    let len = instructions.len() as u32;
    let bytecode = Bytecode {
        expressions: vec![Expression {
            condition_start: 0,
            condition_len: 1.min(len),
            body_start: 1.min(len),
            body_len: len - 1.min(len),
        }],
        instructions,
    };
    to_program(&bytecode, &RegisterTable::libccp(), &Limits::MAX).unwrap_err()
}

fn bind(ret: Register, right: Register) -> Instruction {
    Instruction {
        op: Opcode::Bind,
        ret,
        left: ret,
        right,
    }
}

#[test]
fn every_register_has_to_exist_and_to_be_writable() {
    let flag = bind(reg(Class::Implicit, 0), reg(Class::Immediate, 1));
    let one = reg(Class::Immediate, 1);
    for (ret, right) in [
        (reg(Class::Control, 0), one),
        (reg(Class::Report, 200), one),
        (reg(Class::VolatileReport, u32::MAX), one),
        (reg(Class::Temp, 16), one),
        (reg(Class::Local, 8), one),
        (reg(Class::Implicit, 6), one),
        (reg(Class::Local, 0), reg(Class::Primitive, 15)),
        (reg(Class::Local, 0), reg(Class::Control, 65_536)),
    ] {
        let error = refused(vec![flag, bind(ret, right)]);
        assert!(
            matches!(error, BytecodeError::NoRegister { inst: 1, .. }),
            "{error}"
        );
    }
    for ret in [reg(Class::Primitive, 0), one] {
        let error = refused(vec![flag, bind(ret, one)]);
        assert!(
            matches!(error, BytecodeError::ReadOnly { inst: 1, .. }),
            "{error}"
        );
    }
}

#[test]
fn a_condition_has_to_say_something_and_a_report_to_have_values() {
    let one = reg(Class::Immediate, 1);
    let error = refused(vec![bind(reg(Class::Temp, 0), one)]);
    assert!(matches!(error, BytecodeError::Odd { .. }), "{error}");
    let flag = bind(reg(Class::Implicit, 0), one);
    let error = refused(vec![flag, bind(reg(Class::Implicit, 2), one)]);
    assert!(matches!(error, BytecodeError::Verify(_)), "{error}");
    let error = refused(vec![]);
    assert!(matches!(error, BytecodeError::Odd { .. }), "{error}");
}

#[test]
fn infinity_is_the_largest_number_and_no_other_constant_is() {
    let one = reg(Class::Immediate, 1);
    let flag = bind(reg(Class::Implicit, 0), one);
    let value = |number: u32| -> Program {
        let def = Instruction {
            op: Opcode::Def,
            ret: reg(Class::Report, 0),
            left: reg(Class::Report, 0),
            right: reg(Class::Immediate, number),
        };
        let bytecode = Bytecode {
            instructions: vec![def, flag],
            expressions: vec![Expression {
                condition_start: 1,
                condition_len: 1,
                body_start: 2,
                body_len: 0,
            }],
        };
        to_program(&bytecode, &RegisterTable::libccp(), &Limits::MAX).unwrap()
    };
    assert_eq!(value(0xffff_ffff).reports[0].default, u64::MAX);
    assert_eq!(value(0x3fff_ffff).reports[0].default, 0x3fff_ffff);
}
