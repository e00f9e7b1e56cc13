//! Messages as bytes, written down: the format does not change by accident.

use ccp_program::libccp::{Bytecode, Class, Expression, Instruction, Opcode, Register};
use ccp_program::{
    BinaryOp, Clause, Inst, Limits, Operand, Program, Reg, RegisterDef, RegisterTable, Type, Unit,
    Variable,
};
use ccp_types::{Bytes, FlowState, Micros, Origin, Rate, SockId};
use ccp_wire::{
    Capabilities, ChangeProg, ChangeProgExt, Create, CreateDetails, Encode, Features, Field,
    FieldExt, FieldTarget, Frame, Heartbeat, Hello, Install, InstallExt, MeasureBuf, Message,
    Ready, ReportTrailer, TargetExt, Totals, UpdateExt, UpdateFields,
};

/// Hexadecimal digits, spaces and line ends passed over.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|b| !b.is_ascii_whitespace())
        .map(|b| u8::try_from(char::from(b).to_digit(16).unwrap()).unwrap())
        .collect();
    digits.chunks(2).map(|d| d[0] << 4 | d[1]).collect()
}

/// `message` is exactly `golden`, in both directions.
fn is(message: &impl Encode, golden: &str) {
    let golden = hex(golden);
    assert_eq!(message.to_frame().unwrap(), golden);
    let (frame, rest) = Frame::split(&golden).unwrap();
    assert!(rest.is_empty());
    assert_eq!(frame.message().unwrap().to_frame().unwrap(), golden);
}

fn reg(class: Class, index: u32) -> Register {
    Register { class, index }
}

#[test]
fn ready() {
    let libccp = Ready {
        id: 7,
        capabilities: None,
    };
    is(&libccp, "0500 0c00 00000000 07000000");

    let table = RegisterTable::libccp()
        .with_primitives([RegisterDef::new("Flow.mss", Type::Num, Unit::Bytes)])
        .with_writable([RegisterDef::new("X", Type::Bool, Unit::None)]);
    let limits = Limits {
        instructions: 256,
        clauses: 32,
        reports: 16,
        controls: 18,
        registers: 137,
    };
    let ours = Ready {
        id: 7,
        capabilities: Some(Capabilities::new(table, limits)),
    };
    is(
        &ours,
        "0500 2f00 00000000 07000000
         0100 0100 0f000000 0100 0001 2000 1000 1200 8900
         00 01 08 466c6f772e6d7373
         01 00 01 58",
    );
}

#[test]
fn create() {
    let libccp = Create {
        sock_id: SockId(15),
        init_cwnd: 14_480,
        mss: 1448,
        src_ip: u32::from_le_bytes([10, 0, 0, 1]),
        src_port: 4242,
        dst_ip: u32::from_le_bytes([10, 0, 0, 2]),
        dst_port: 443,
        cong_alg: Some("reno".to_owned()),
        details: None,
        path: None,
        attributes: Default::default(),
    };
    let base = "90380000 a8050000 0a000001 92100000 0a000002 bb010000 72656e6f";
    let padding = "00".repeat(60);
    is(&libccp, &format!("0000 6000 0f000000 {base} {padding}"));

    let ours = Create {
        details: Some(CreateDetails {
            addresses: Some(([10, 0, 0, 1].into(), [10, 0, 0, 2].into())),
            origin: Origin::Adopted,
            faults: 0x1234,
            generation: 3,
            state: FlowState {
                cwnd: Bytes(0x1_0000_0000),
                rate: Rate(6_250_000),
                srtt: Micros(20_000),
                min_rtt: Micros(19_000),
            },
        }),
        ..libccp.clone()
    };
    is(
        &ours,
        &format!(
            "0000 a000 0f000000 {base} {padding}
             04 01 3412 0a000001 000000000000000000000000 0a000002 000000000000000000000000
             03000000 0000000001000000 105e5f0000000000 204e0000 384a0000"
        ),
    );

    let v6 = Create {
        src_ip: 0,
        dst_ip: 0,
        details: Some(CreateDetails {
            addresses: Some(("fd00::1".parse().unwrap(), "fd00::2".parse().unwrap())),
            origin: Origin::Resumed,
            ..CreateDetails::default()
        }),
        ..libccp
    };
    is(
        &v6,
        &format!(
            "0000 a000 0f000000 90380000 a8050000 00000000 92100000 00000000 bb010000 72656e6f
             {padding}
             06 02 0000 fd000000000000000000000000000001 fd000000000000000000000000000002
             00000000 0000000000000000 0000000000000000 00000000 00000000"
        ),
    );
}

#[test]
fn measure() {
    let mut report = MeasureBuf {
        sock_id: SockId(0x1_0007),
        program_uid: 72,
        fields: vec![424_242, u64::MAX],
        trailer: None,
        totals: None,
    };
    is(
        &report,
        "0100 2000 07000100 48000000 02000000 3279060000000000 ffffffffffffffff",
    );
    report.trailer = Some(ReportTrailer {
        generation: 5,
        merged: 1,
    });
    is(
        &report,
        "0100 2800 07000100 48000000 02000000 3279060000000000 ffffffffffffffff 05000000 01000000",
    );

    let mut close = MeasureBuf::close(SockId(7));
    is(&close, "0100 1000 07000000 00000000 00000000");
    close.trailer = report.trailer;
    close.totals = Some(Totals {
        sent: Bytes(4),
        delivered: Bytes(3),
        lost: Bytes(2),
        ce: Bytes(1),
    });
    is(
        &close,
        "0100 3800 07000000 00000000 00000000 05000000 01000000
         0400000000000000 0300000000000000 0200000000000000 0100000000000000",
    );
}

#[test]
fn install() {
    let flag = reg(Class::Implicit, 0);
    let foo = reg(Class::VolatileReport, 0);
    let of = |op, ret, right| Instruction {
        op,
        ret,
        left: ret,
        right,
    };
    let install = Install {
        program_uid: 7,
        bytecode: Bytecode {
            expressions: vec![Expression {
                condition_start: 1,
                condition_len: 1,
                body_start: 2,
                body_len: 1,
            }],
            instructions: vec![
                of(Opcode::Def, foo, reg(Class::Immediate, 0)),
                of(Opcode::Bind, flag, reg(Class::Immediate, 1)),
                of(Opcode::Bind, foo, reg(Class::Immediate, 0x3fff_ffff)),
            ],
        },
    };
    is(
        &install,
        "0200 5400 00000000 07000000 01000000 03000000
         01000000 01000000 02000000 01000000
         02 05 00000000 05 00000000 01 00000000
         01 02 00000000 02 00000000 01 01000000
         01 05 00000000 05 00000000 01 ffffff3f",
    );
}

#[test]
fn update_and_change() {
    let fields = vec![
        Field {
            target: FieldTarget::Cwnd,
            value: 42,
        },
        Field {
            target: FieldTarget::Rate,
            value: 0x1_0000_0000,
        },
        Field {
            target: FieldTarget::Control {
                index: 3,
                volatile: false,
            },
            value: 1,
        },
        Field {
            target: FieldTarget::Control {
                index: 109,
                volatile: true,
            },
            value: u64::MAX,
        },
    ];
    let wire = "04000000
        02 04000000 2a00000000000000
        02 05000000 0000000001000000
        00 03000000 0100000000000000
        08 6d000000 ffffffffffffffff";
    is(
        &UpdateFields {
            sock_id: SockId(1),
            fields: fields.clone(),
        },
        &format!("0300 4000 01000000 {wire}"),
    );
    is(
        &ChangeProg {
            sock_id: SockId(1),
            program_uid: 7,
            fields,
        },
        &format!("0400 4400 01000000 07000000 {wire}"),
    );
}

#[test]
fn our_own() {
    is(
        &Hello {
            version: 1,
            features: Features::ALL,
            epoch: 9,
            heartbeat: Micros(250_000),
            fallback_after: Micros(1_000_000),
        },
        "4000 1c00 00000000 0100 0000 0f000000 09000000 90d00300 40420f00",
    );
    is(
        &Heartbeat { epoch: 9, beat: 2 },
        "4400 1000 00000000 09000000 02000000",
    );

    let fields = vec![
        FieldExt {
            target: TargetExt::RATE,
            value: u64::MAX,
        },
        FieldExt {
            target: TargetExt::Control(17),
            value: 1,
        },
    ];
    let wire = "05000000 07000000 02000000
        00 00 0100 ffffffffffffffff
        01 00 1100 0100000000000000";
    is(
        &UpdateExt {
            sock_id: SockId(3),
            generation: 5,
            program_uid: 7,
            fields: fields.clone(),
        },
        &format!("4200 2c00 03000000 {wire}"),
    );
    is(
        &ChangeProgExt {
            sock_id: SockId(3),
            generation: 5,
            program_uid: 7,
            fields,
        },
        &format!("4300 2c00 03000000 {wire}"),
    );
}

#[test]
fn install_ext() {
    let table = RegisterTable::libccp();
    let variable = |name: &str, ty, volatile, default| Variable {
        name: name.to_owned(),
        ty,
        volatile,
        default,
    };
    let program = Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        controls: vec![variable("on", Type::Bool, false, 1)],
        reports: vec![variable("rtt", Type::Num, true, u64::MAX)],
        locals: 1,
        temps: 1,
        clauses: vec![
            Clause {
                condition: vec![Inst::Binary {
                    op: BinaryOp::Gt,
                    dst: Reg::Temp(0),
                    a: Reg::Micros.into(),
                    b: Operand::Imm(42_000),
                }],
                test: Some(Reg::Temp(0).into()),
                body: vec![
                    Inst::SkipUnless {
                        cond: Reg::Control(0).into(),
                        count: 1,
                    },
                    Inst::Ewma {
                        dst: Reg::Local(0),
                        weight: Operand::Imm(9),
                        sample: Operand::Primitive(13),
                    },
                    Inst::Move {
                        dst: Reg::CWND,
                        src: Operand::Imm(0x1_0000_0000),
                    },
                    Inst::Report,
                    Inst::Fallthrough,
                ],
            },
            Clause {
                condition: vec![],
                test: None,
                body: vec![
                    Inst::SkipIf {
                        cond: Operand::Primitive(14),
                        count: 1,
                    },
                    Inst::Skip { count: 0 },
                ],
            },
        ],
        own_recovery: true,
    };
    let message = InstallExt::new(7, &program).unwrap();
    is(
        &message,
        "4100 6e00 00000000 07000000 0100 0f00 0200 0100 0100 0100 0100 0200
         02 0100000000000000
         01 ffffffffffffffff
         0100 0500 08 0000
           0b 08 0000 03 01 10a40000
           24 05 0000 0100
           20 07 0000 01 09000000 02 0d00
           21 04 0000 00 0000000001000000
           25
           26
         0000 0200 ff
           23 02 0e00 0100
           22 0000",
    );
    let (Message::InstallExt(read), table) = (
        Frame::split(&message.to_frame().unwrap())
            .unwrap()
            .0
            .message()
            .unwrap(),
        table,
    ) else {
        panic!("not an INSTALL_EXT");
    };
    assert_eq!(
        read.to_program(&table, &Limits::MAX).unwrap().clauses,
        program.clauses
    );
}
