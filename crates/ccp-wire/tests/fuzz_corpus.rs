//! What the fuzz targets keep in their corpora is checked by every ordinary test run.

#![allow(clippy::disallowed_methods, reason = "the corpus lies in files")]

use std::fs;
use std::path::Path;

use ccp_program::libccp::{Bytecode, Class, Expression, Instruction, Opcode, Register};
use ccp_program::{
    BinaryOp, Clause, Inst, Limits, Operand, Program, Reg, RegisterTable, Type, Variable,
};
use ccp_types::{Bytes, FlowInfo, Micros, SockId};
use ccp_wire::{
    Capabilities, ChangeProg, ChangeProgExt, Create, Encode, Features, Field, FieldExt,
    FieldTarget, Heartbeat, Hello, Install, InstallExt, MeasureBuf, Ready, ReportTrailer,
    TargetExt, Totals, UpdateExt, UpdateFields, VERSION,
};

#[path = "../../../fuzz/checks/wire.rs"]
mod checks;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../fuzz/corpus")
        .join(target);
    let mut files: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn every_datagram_of_the_corpus_is_read_or_refused() {
    let corpus = corpus("wire_frames");
    assert!(corpus.len() >= seeds().len());
    for (name, bytes) in corpus {
        println!("{name}");
        checks::frames(&bytes);
    }
}

#[test]
fn every_stream_of_the_corpus_is_read_or_refused() {
    let corpus = corpus("wire_codec");
    assert!(!corpus.is_empty());
    for (name, bytes) in corpus {
        println!("{name}");
        checks::codec(&bytes);
    }
}

#[test]
fn every_netlink_datagram_of_the_corpus_is_read_or_refused() {
    let corpus = corpus("wire_netlink");
    assert!(corpus.len() >= 4);
    for (name, bytes) in corpus {
        println!("{name}");
        checks::netlink(&bytes);
    }
}

/// The seeds are one good frame of each type. `CCP_WRITE_SEEDS=1` writes them anew; otherwise
/// they must be what is there.
#[test]
fn the_corpus_has_a_good_frame_of_each_type() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let mut stream = vec![100u8, 0, 8, 0, 0, 0, 0, 0];
    for (name, bytes) in seeds() {
        stream.extend(&bytes);
        let path = dir.join("wire_frames").join(name);
        if std::env::var_os("CCP_WRITE_SEEDS").is_some() {
            fs::write(&path, &bytes).unwrap();
        }
        assert!(
            fs::read(&path).unwrap() == bytes,
            "{name} is not up to date"
        );
    }
    let path = dir.join("wire_codec/seed-all");
    if std::env::var_os("CCP_WRITE_SEEDS").is_some() {
        fs::write(&path, &stream).unwrap();
    }
    assert!(
        fs::read(path).unwrap() == stream,
        "seed-all is not up to date"
    );
}

fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let bytes = |message: &dyn Encode| message.to_frame().unwrap().to_vec();
    let flow = FlowInfo::new(
        SockId(1),
        "10.0.0.1:4242".parse().unwrap(),
        "10.0.0.2:443".parse().unwrap(),
        1448,
        Bytes(14_480),
    );
    let create = Create {
        cong_alg: Some("reno".to_owned()),
        ..Create::from_flow_info(&flow, 1)
    };
    let trailer = Some(ReportTrailer {
        generation: 1,
        merged: 2,
    });
    let flag = Register {
        class: Class::Implicit,
        index: 0,
    };
    let one = Register {
        class: Class::Immediate,
        index: 1,
    };
    let fields = vec![Field {
        target: FieldTarget::Cwnd,
        value: 14_480,
    }];
    let fields_ext = vec![FieldExt {
        target: TargetExt::Control(0),
        value: 14_480,
    }];
    vec![
        ("seed-create", bytes(&create)),
        (
            "seed-create-libccp",
            bytes(&Create {
                details: None,
                path: None,
                attributes: Default::default(),
                ..create.clone()
            }),
        ),
        (
            "seed-measure",
            bytes(&MeasureBuf {
                sock_id: SockId(1),
                program_uid: 1,
                fields: vec![1, 2, 3],
                trailer,
                totals: None,
            }),
        ),
        (
            "seed-close",
            bytes(&MeasureBuf {
                trailer,
                totals: Some(Totals::default()),
                ..MeasureBuf::close(SockId(1))
            }),
        ),
        (
            "seed-install",
            bytes(&Install {
                program_uid: 1,
                bytecode: Bytecode {
                    expressions: vec![Expression {
                        condition_start: 0,
                        condition_len: 1,
                        body_start: 1,
                        body_len: 0,
                    }],
                    instructions: vec![Instruction {
                        op: Opcode::Bind,
                        ret: flag,
                        left: flag,
                        right: one,
                    }],
                },
            }),
        ),
        (
            "seed-update-fields",
            bytes(&UpdateFields {
                sock_id: SockId(1),
                fields: fields.clone(),
            }),
        ),
        (
            "seed-change-prog",
            bytes(&ChangeProg {
                sock_id: SockId(1),
                program_uid: 1,
                fields,
            }),
        ),
        (
            "seed-ready",
            bytes(&Ready {
                id: 1,
                capabilities: Some(Capabilities::new(
                    RegisterTable::libccp_and(&["Flow.mss", "Flow.srtt_us"]),
                    Limits::MAX,
                )),
            }),
        ),
        (
            "seed-hello",
            bytes(&Hello {
                version: VERSION,
                features: Features::ALL,
                epoch: 1,
                heartbeat: Micros(250_000),
                fallback_after: Micros(1_000_000),
            }),
        ),
        ("seed-heartbeat", bytes(&Heartbeat { epoch: 1, beat: 1 })),
        (
            "seed-install-ext",
            bytes(&InstallExt::new(1, &program()).unwrap()),
        ),
        (
            "seed-update-ext",
            bytes(&UpdateExt {
                sock_id: SockId(1),
                generation: 1,
                program_uid: 1,
                fields: fields_ext.clone(),
            }),
        ),
        (
            "seed-change-prog-ext",
            bytes(&ChangeProgExt {
                sock_id: SockId(1),
                generation: 1,
                program_uid: 1,
                fields: fields_ext,
            }),
        ),
        (
            "seed-unknown-and-cut",
            vec![0x99, 0, 9, 0, 0, 0, 0, 0, 42, 1, 0, 9, 0, 0, 0, 0],
        ),
    ]
}

/// One that the verifier takes, with every kind of operand.
fn program() -> Program {
    let table = RegisterTable::libccp();
    let variable = |ty, volatile, default| Variable {
        name: "v".to_owned(),
        ty,
        volatile,
        default,
    };
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        controls: vec![variable(Type::Num, false, 42_000)],
        reports: vec![variable(Type::Num, true, u64::MAX)],
        locals: 1,
        temps: 1,
        clauses: vec![Clause {
            condition: vec![Inst::Binary {
                op: BinaryOp::Gt,
                dst: Reg::Temp(0),
                a: Reg::Micros.into(),
                b: Reg::Control(0).into(),
            }],
            test: Some(Reg::Temp(0).into()),
            body: vec![
                Inst::Ewma {
                    dst: Reg::Local(0),
                    weight: Operand::Imm(9),
                    sample: Operand::Primitive(13),
                },
                Inst::SkipUnless {
                    cond: Reg::Local(0).into(),
                    count: 1,
                },
                Inst::Move {
                    dst: Reg::Report(0),
                    src: Reg::Local(0).into(),
                },
                Inst::Report,
                Inst::Fallthrough,
            ],
        }],
        own_recovery: false,
    }
}
