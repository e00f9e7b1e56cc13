//! Laws that every message keeps.

use bytes::BytesMut;
use ccp_program::libccp::{Bytecode, Class, Expression, Instruction, Opcode, Register};
use ccp_program::{
    BinaryOp, Clause, Inst, Limits, Operand, Reg, RegisterDef, RegisterTable, Type, Unit,
};
use ccp_types::{Attribute, Bytes, FlowState, Micros, Origin, PathId, Rate, SockId};
use ccp_wire::{
    Capabilities, ChangeProg, ChangeProgExt, Codec, Create, CreateDetails, Encode, Features, Field,
    FieldExt, FieldTarget, Frame, HEADER_LEN, Heartbeat, Hello, Install, InstallExt, MeasureBuf,
    Message, Ready, ReportTrailer, TargetExt, Totals, UpdateExt, UpdateFields, VariableDef, frames,
};
use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;
use tokio_util::codec::Decoder;

fn sock_id() -> impl Strategy<Value = SockId> {
    any::<u32>().prop_map(SockId)
}

fn create() -> impl Strategy<Value = Create> {
    let addresses = prop_oneof![
        Just(None),
        any::<([u8; 4], [u8; 4])>().prop_map(|(a, b)| Some((a.into(), b.into()))),
        any::<([u8; 16], [u8; 16])>().prop_map(|(a, b)| Some((a.into(), b.into()))),
    ];
    let origin = prop_oneof![
        Just(Origin::New),
        Just(Origin::Adopted),
        Just(Origin::Resumed)
    ];
    let details = (addresses, origin, any::<(u16, u32, u64, u64, u32, u32)>()).prop_map(
        |(addresses, origin, (faults, generation, cwnd, rate, srtt, min_rtt))| CreateDetails {
            addresses,
            origin,
            faults,
            generation,
            state: FlowState {
                cwnd: Bytes(cwnd),
                rate: Rate(rate),
                srtt: Micros(srtt.into()),
                min_rtt: Micros(min_rtt.into()),
            },
        },
    );
    let name = "[a-zé]{1,9}";
    let attributes = vec(
        prop_oneof![
            (name, any::<u64>()).prop_map(|(name, value)| Attribute::number(name, value)),
            (name, "[a-zé/]{0,30}").prop_map(|(name, value)| Attribute::text(name, value)),
        ],
        0..=5,
    );
    (
        sock_id(),
        any::<[u32; 6]>(),
        option::of("[a-zA-Z0-9_é-]{1,31}"),
        option::of((details, option::of((0..u32::MAX, any::<u32>())), attributes)),
    )
        .prop_map(|(sock_id, n, cong_alg, more)| Create {
            sock_id,
            init_cwnd: n[0],
            mss: n[1],
            src_ip: n[2],
            src_port: n[3],
            dst_ip: n[4],
            dst_port: n[5],
            cong_alg,
            details: more.as_ref().map(|(details, ..)| *details),
            path: more
                .as_ref()
                .and_then(|(_, path, _)| *path)
                .map(|(connection, path)| PathId { connection, path }),
            attributes: more
                .into_iter()
                .flat_map(|(.., attributes)| attributes)
                .collect(),
        })
}

fn measure() -> impl Strategy<Value = MeasureBuf> {
    (
        sock_id(),
        any::<u32>(),
        vec(any::<u64>(), 0..=110),
        any::<bool>(),
        option::of(any::<(u32, u32)>()),
        option::of(any::<[u64; 4]>()),
    )
        .prop_map(|(sock_id, program_uid, fields, close, trailer, totals)| {
            let fields = if close { Vec::new() } else { fields };
            MeasureBuf {
                sock_id,
                program_uid,
                totals: totals
                    .filter(|_| fields.is_empty() && trailer.is_some())
                    .map(|t| Totals {
                        sent: Bytes(t[0]),
                        delivered: Bytes(t[1]),
                        lost: Bytes(t[2]),
                        ce: Bytes(t[3]),
                    }),
                trailer: trailer.map(|(generation, merged)| ReportTrailer { generation, merged }),
                fields,
            }
        })
}

fn libccp_register() -> impl Strategy<Value = Register> {
    (0u8..=8, any::<u32>()).prop_map(|(class, index)| Register {
        class: Class::from_wire(class).unwrap(),
        index,
    })
}

fn install() -> impl Strategy<Value = Install> {
    let instruction = (
        0u8..=14,
        libccp_register(),
        libccp_register(),
        libccp_register(),
    )
        .prop_map(|(op, ret, left, right)| Instruction {
            op: Opcode::from_wire(op).unwrap(),
            ret,
            left,
            right,
        });
    let expression = any::<[u32; 4]>();
    (
        any::<u32>(),
        vec(instruction, 0..40),
        vec(expression, 0..10),
    )
        .prop_map(|(program_uid, instructions, expressions)| {
            let end = u32::try_from(instructions.len()).unwrap();
            let range = |a: u32, b: u32| (a % (end + 1), b % (end - a % (end + 1) + 1));
            let expressions = expressions
                .into_iter()
                .map(|[a, b, c, d]| {
                    let (condition_start, condition_len) = range(a, b);
                    let (body_start, body_len) = range(c, d);
                    Expression {
                        condition_start,
                        condition_len,
                        body_start,
                        body_len,
                    }
                })
                .collect();
            Install {
                program_uid,
                bytecode: Bytecode {
                    expressions,
                    instructions,
                },
            }
        })
}

fn fields() -> impl Strategy<Value = Vec<Field>> {
    let target = prop_oneof![
        Just(FieldTarget::Cwnd),
        Just(FieldTarget::Rate),
        (0u32..110, any::<bool>())
            .prop_map(|(index, volatile)| FieldTarget::Control { index, volatile }),
    ];
    vec(
        (target, any::<u64>()).prop_map(|(target, value)| Field { target, value }),
        0..=127,
    )
}

fn ready() -> impl Strategy<Value = Ready> {
    let defs = || {
        btree_set("[a-zA-Z][a-zA-Z0-9_.]{0,20}", 0..20).prop_flat_map(|names| {
            let n = names.len();
            vec((any::<bool>(), 0u8..=4), n).prop_map(move |rest| {
                names
                    .iter()
                    .zip(rest)
                    .map(|(name, (bool, unit))| RegisterDef {
                        name: name.clone().into(),
                        ty: if bool { Type::Bool } else { Type::Num },
                        unit: Unit::from_wire(unit).unwrap(),
                    })
                    .collect::<Vec<_>>()
            })
        })
    };
    let capabilities = (
        1..=u16::MAX,
        any::<u32>(),
        any::<[u16; 5]>(),
        defs(),
        defs(),
    )
        .prop_map(
            |(version, features, l, primitives, writables)| Capabilities {
                version,
                features: Features(features),
                limits: Limits {
                    instructions: l[0],
                    clauses: l[1],
                    reports: l[2],
                    controls: l[3],
                    registers: l[4],
                },
                registers: RegisterTable::libccp()
                    .with_primitives(primitives)
                    .with_writable(writables),
            },
        );
    (any::<u32>(), option::of(capabilities))
        .prop_map(|(id, capabilities)| Ready { id, capabilities })
}

fn hello() -> impl Strategy<Value = Hello> {
    let spans = prop_oneof![
        Just((0, 0)),
        (1..=u32::MAX).prop_flat_map(|beat| (Just(beat), beat..=u32::MAX)),
    ];
    (1..=u16::MAX, any::<u32>(), 1..=u32::MAX, spans).prop_map(
        |(version, features, epoch, (heartbeat, fallback_after))| Hello {
            version,
            features: Features(features),
            epoch,
            heartbeat: Micros(heartbeat.into()),
            fallback_after: Micros(fallback_after.into()),
        },
    )
}

fn register() -> impl Strategy<Value = Reg> {
    (0..6, any::<u16>()).prop_map(|(kind, i)| match kind {
        0 => Reg::Micros,
        1 => Reg::Writable(i),
        2 => Reg::Control(i),
        3 => Reg::Report(i),
        4 => Reg::Local(i),
        _ => Reg::Temp(i),
    })
}

fn operand() -> impl Strategy<Value = Operand> {
    prop_oneof![
        any::<u64>().prop_map(Operand::Imm),
        any::<u32>().prop_map(|v| Operand::Imm(v.into())),
        any::<u16>().prop_map(Operand::Primitive),
        register().prop_map(Operand::Reg),
    ]
}

fn inst() -> impl Strategy<Value = Inst> {
    prop_oneof![
        (0..15usize, register(), operand(), operand()).prop_map(|(op, dst, a, b)| Inst::Binary {
            op: BinaryOp::ALL[op],
            dst,
            a,
            b
        }),
        (register(), operand(), operand()).prop_map(|(dst, weight, sample)| Inst::Ewma {
            dst,
            weight,
            sample
        }),
        (register(), operand()).prop_map(|(dst, src)| Inst::Move { dst, src }),
        any::<u16>().prop_map(|count| Inst::Skip { count }),
        (operand(), any::<u16>()).prop_map(|(cond, count)| Inst::SkipIf { cond, count }),
        (operand(), any::<u16>()).prop_map(|(cond, count)| Inst::SkipUnless { cond, count }),
        Just(Inst::Report),
        Just(Inst::Fallthrough),
    ]
}

fn install_ext() -> impl Strategy<Value = InstallExt> {
    let variables = || {
        let variable =
            any::<(bool, bool, u64)>().prop_map(|(bool, volatile, default)| VariableDef {
                ty: if bool { Type::Bool } else { Type::Num },
                volatile,
                default,
            });
        vec(variable, 0..8)
    };
    let clause = (vec(inst(), 0..6), option::of(operand()), vec(inst(), 0..6)).prop_map(
        |(condition, test, body)| Clause {
            condition,
            test,
            body,
        },
    );
    (
        any::<(u32, u16, u16, u16, u16, bool)>(),
        variables(),
        variables(),
        vec(clause, 0..5),
    )
        .prop_map(|(n, controls, reports, clauses)| InstallExt {
            program_uid: n.0,
            primitives: n.1,
            writables: n.2,
            controls,
            reports,
            locals: n.3,
            temps: n.4,
            clauses,
            own_recovery: n.5,
        })
}

fn fields_ext() -> impl Strategy<Value = Vec<FieldExt>> {
    let field = any::<(bool, u16, u64)>().prop_map(|(control, index, value)| FieldExt {
        target: if control {
            TargetExt::Control(index)
        } else {
            TargetExt::Writable(index)
        },
        value,
    });
    vec(field, 0..20)
}

/// Decodes what `message` encodes to and gives it back, as a frame's bytes.
fn round_trip(message: &impl Encode) -> BytesMut {
    let bytes = message.to_frame().expect("it can be sent");
    let mut all = frames(&bytes);
    let decoded = all.next().unwrap().unwrap().message().expect("it is read");
    assert!(all.next().is_none());
    // encode(decode(b)) = b
    assert_eq!(decoded.to_frame().unwrap(), bytes);
    assert_truncations(&bytes);
    bytes
}

/// Cut anywhere, a datagram is an error and a stream waits; cut inside its fields with a header
/// that says so, a message is an error or lacks what trails.
fn assert_truncations(bytes: &[u8]) {
    for len in 0..bytes.len() {
        assert!(Frame::split(&bytes[..len]).is_err());
        let mut src = BytesMut::from(&bytes[..len]);
        assert!(Codec::new().decode(&mut src).unwrap().is_none());
    }
    for len in HEADER_LEN..bytes.len() {
        let mut cut = bytes[..len].to_vec();
        cut[2..4].copy_from_slice(&u16::try_from(len).unwrap().to_le_bytes());
        let (frame, _) = Frame::split(&cut).unwrap();
        match frame.message() {
            Err(_) => {}
            Ok(Message::Create(m)) => {
                assert!(len >= 96 && (len >= 168 || m.path.is_none()));
                assert!(len > 168 || m.attributes.is_empty());
                assert!(len >= 160 || m.details.is_none());
            }
            Ok(Message::Measure(m)) => assert!(m.trailer.is_none() || m.totals.is_none()),
            Ok(Message::Ready(m)) => assert!(m.capabilities.is_none()),
            Ok(other) => panic!("{len} of {} bytes: {other:?}", bytes.len()),
        }
    }
}

macro_rules! law {
    ($name:ident, $strategy:expr, $variant:ident) => {
        proptest! {
            #![proptest_config(Config::with_cases(32))]

            #[test]
            fn $name(message in $strategy) {
                let bytes = round_trip(&message);
                // decode(encode(x)) = x
                match frames(&bytes).next().unwrap().unwrap().message() {
                    Ok(Message::$variant(decoded)) => assert_eq!(decoded, message.into()),
                    other => panic!("{other:?}"),
                }
            }
        }
    };
}

law!(ready_keeps_the_laws, ready(), Ready);
law!(create_keeps_the_laws, create(), Create);
law!(install_keeps_the_laws, install(), Install);
law!(hello_keeps_the_laws, hello(), Hello);
law!(install_ext_keeps_the_laws, install_ext(), InstallExt);
law!(
    update_keeps_the_laws,
    (sock_id(), fields()).prop_map(|(sock_id, fields)| UpdateFields { sock_id, fields }),
    UpdateFields
);
law!(
    change_prog_keeps_the_laws,
    (sock_id(), any::<u32>(), fields()).prop_map(|(sock_id, program_uid, fields)| ChangeProg {
        sock_id,
        program_uid,
        fields
    }),
    ChangeProg
);
law!(
    update_ext_keeps_the_laws,
    (sock_id(), any::<(u32, u32)>(), fields_ext()).prop_map(|(sock_id, n, fields)| UpdateExt {
        sock_id,
        generation: n.0,
        program_uid: n.1,
        fields
    }),
    UpdateExt
);
law!(
    change_prog_ext_keeps_the_laws,
    (sock_id(), any::<(u32, u32)>(), fields_ext()).prop_map(|(sock_id, n, fields)| ChangeProgExt {
        sock_id,
        generation: n.0,
        program_uid: n.1,
        fields
    }),
    ChangeProgExt
);
law!(
    heartbeat_keeps_the_laws,
    any::<(u32, u32)>().prop_map(|(epoch, beat)| Heartbeat { epoch, beat }),
    Heartbeat
);

proptest! {
    #![proptest_config(Config::with_cases(32))]

    #[test]
    fn measure_keeps_the_laws(message in measure()) {
        let bytes = round_trip(&message);
        match frames(&bytes).next().unwrap().unwrap().message() {
            Ok(Message::Measure(decoded)) => {
                assert_eq!(decoded.to_buf(), message);
                assert_eq!(decoded.len(), message.fields.len());
                for (place, value) in message.fields.iter().enumerate() {
                    assert_eq!(decoded.field(place), Some(*value));
                }
            }
            other => panic!("{other:?}"),
        }
    }

    /// Bytes that follow, inside the frame, change nothing that this version knows of.
    #[test]
    fn what_trails_is_passed_over(message in ready(), more in vec(any::<u8>(), 1..50)) {
        proptest::prop_assume!(message.capabilities.is_some());
        let mut bytes = message.to_frame().unwrap().to_vec();
        bytes.extend(&more);
        let len = u16::try_from(bytes.len()).unwrap();
        bytes[2..4].copy_from_slice(&len.to_le_bytes());
        assert_eq!(
            Frame::split(&bytes).unwrap().0.message(),
            Ok(Message::Ready(message))
        );
    }
}

#[path = "../../../fuzz/checks/wire.rs"]
mod checks;

proptest! {
    #![proptest_config(Config::with_cases(500))]

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        checks::frames(&bytes);
        checks::codec(&bytes);
        checks::netlink(&bytes);
    }

    /// A valid header in front of anything reaches deeper.
    #[test]
    fn any_body_is_read_or_refused(
        kind in prop_oneof![0u16..=5, 0x40u16..=0x44],
        body in vec(prop_oneof![Just(0u8), Just(1u8), any::<u8>()], 0..300),
    ) {
        let len = u16::try_from(HEADER_LEN + body.len()).unwrap();
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend([7, 0, 0, 0]);
        bytes.extend(body);
        checks::frames(&bytes);
        checks::codec(&bytes);
    }

    /// One byte wrong in an otherwise good program.
    #[test]
    fn a_flipped_byte_is_read_or_refused(
        message in install_ext(),
        place in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = message.to_frame().unwrap().to_vec();
        let place = place.index(bytes.len());
        bytes[place] = byte;
        checks::frames(&bytes);
        checks::codec(&bytes);
    }
}
