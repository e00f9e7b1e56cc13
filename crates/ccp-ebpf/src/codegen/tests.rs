use std::borrow::Cow;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};

use ccp_program::{BinaryOp, Clause, RegisterDef, RegisterTable, Type, Unit, Variable};

use super::*;

const SOCK_FIELDS: SockOffsets = SockOffsets {
    snd_cwnd: 1000,
    sk_pacing_rate: 512,
    sk_pacing_status: 504,
    snd_cwnd_clamp: 1004,
    snd_ssthresh: 1008,
    packets_out: 1012,
    srtt_us: 1016,
    sk_max_pacing_rate: 520,
    icsk_ca_priv: 1200,
};

/// Something to borrow descriptors from: nothing here is loaded.
fn descriptor() -> File {
    File::open("/dev/null").unwrap()
}

fn env(file: &File) -> Env<'_> {
    Env {
        entry: Entry::Array { map: file.as_fd() },
        ring: file.as_fd(),
        config: file.as_fd(),
        sock: SOCK_FIELDS,
    }
}

fn program(table: &RegisterTable, body: Vec<Inst>) -> Program {
    Program {
        primitives: table.primitives().to_vec(),
        writables: table.writables().to_vec(),
        reports: vec![Variable {
            name: "acked".into(),
            ty: Type::Num,
            volatile: true,
            default: 0,
        }],
        clauses: vec![Clause {
            body,
            ..Clause::default()
        }],
        ..Program::default()
    }
}

fn parts(generated: &Generated) -> Vec<String> {
    let listing = generated.to_string();
    listing
        .lines()
        .filter_map(|l| l.strip_prefix("; ").map(str::to_owned))
        .collect()
}

#[test]
fn the_listing_says_what_each_instruction_is_for() {
    let file = descriptor();
    let fd = file.as_raw_fd();
    let add = Inst::Binary {
        op: BinaryOp::Add,
        dst: Reg::Report(0),
        a: Reg::Report(0).into(),
        b: Operand::Primitive(0),
    };
    let p = program(&RegisterTable::libccp(), vec![add, Inst::Report]);
    let generated = generate(&p, &env(&file)).unwrap();
    assert_eq!(
        parts(&generated),
        [
            "entry".to_owned(),
            "save".to_owned(),
            format!("clause 0, instruction 0: {add:?}"),
            "clause 0, instruction 1: Report".to_owned(),
            "commit".to_owned(),
            "apply".to_owned(),
            "report".to_owned(),
            "aside".to_owned(),
            "fault".to_owned(),
        ]
    );
    let listing = generated.to_string();
    let start = format!(
        "\
; entry
     0: r6 = map[fd {fd}][0] + {FLOW_AT}
     2: r9 = map[fd {fd}][0] + {}
",
        size_of::<Flow>()
    );
    assert!(listing.starts_with(&start), "{listing}");
    for line in [
        "r1 += r2\n",
        "*(u32 *)(r9 +1000) = r1\n",
        "*(u64 *)(r9 +512) = r2\n",
        "call bpf_ringbuf_reserve\n",
        "r2 = 32\n",
    ] {
        assert!(listing.contains(line), "{line} in\n{listing}");
    }
    assert!(listing.contains("if r1 < r2 goto +"), "{listing}");
}

#[test]
fn without_faults_there_is_no_roll_back() {
    let file = descriptor();
    let p = program(
        &RegisterTable::libccp(),
        vec![Inst::Move {
            dst: Reg::CWND,
            src: Operand::Imm(14_480),
        }],
    );
    let generated = generate(&p, &env(&file)).unwrap();
    assert!(
        !parts(&generated).contains(&"fault".to_owned()),
        "{generated}"
    );
    assert!(
        !parts(&generated).contains(&"report".to_owned()),
        "{generated}"
    );
    assert_eq!(generated.saved, 0);
}

#[test]
fn what_no_way_leads_to_is_left_out() {
    let file = descriptor();
    let mul = Inst::Binary {
        op: BinaryOp::Mul,
        dst: Reg::CWND,
        a: Reg::CWND.into(),
        b: Reg::CWND.into(),
    };
    let mut p = program(
        &RegisterTable::libccp(),
        vec![Inst::Skip { count: 1 }, mul, Inst::Report],
    );
    p.clauses.push(p.clauses[0].clone());
    let generated = generate(&p, &env(&file)).unwrap();
    let parts = parts(&generated);
    assert!(!parts.iter().any(|p| p.contains("Mul")), "{parts:?}");
    // The first clause is always true and does not go on.
    assert!(
        !parts.iter().any(|p| p.starts_with("clause 1")),
        "{parts:?}"
    );
}

#[test]
fn registers_of_other_datapaths_are_refused_by_name() {
    let file = descriptor();
    let read = |operand| {
        vec![Inst::Move {
            dst: Reg::CWND,
            src: operand,
        }]
    };
    let table =
        crate::register_table().with_writable([RegisterDef::new("Window", Type::Num, Unit::Bytes)]);
    let p = program(&table, read(Reg::Writable(3).into()));
    assert_eq!(
        generate(&p, &env(&file)).unwrap_err().to_string(),
        "the program uses the writable register `Window`, but this datapath has `Cwnd`, `Rate` and `Ssthresh` only"
    );
    // Mentioned in the table only, it does no harm.
    generate(&program(&table, read(Operand::Imm(1))), &env(&file)).unwrap();

    let many = (0..26).map(|i| RegisterDef {
        name: Cow::Owned(format!("Other.m{i}")),
        ty: Type::Num,
        unit: Unit::None,
    });
    let table = RegisterTable::libccp().with_primitives(many);
    generate(&program(&table, read(Operand::Primitive(39))), &env(&file)).unwrap();
    assert_eq!(
        generate(&program(&table, read(Operand::Primitive(40))), &env(&file))
            .unwrap_err()
            .to_string(),
        "the program reads `Other.m25` at place 40, but a flow holds 40 measurements; bind it to this datapath's register table first"
    );
}

#[test]
fn a_program_that_is_not_valid_is_refused_not_generated() {
    let file = descriptor();
    let p = program(
        &RegisterTable::libccp(),
        vec![Inst::Move {
            dst: Reg::CWND,
            src: Operand::Reg(Reg::Local(3)),
        }],
    );
    assert!(matches!(
        generate(&p, &env(&file)),
        Err(CodegenError::Verify(VerifyError::OutOfRange { .. }))
    ));
}
