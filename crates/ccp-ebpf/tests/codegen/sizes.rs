//! Large programs: the kernel takes everything within the limits, in reasonable time.

use std::mem::size_of;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};

use ccp_ebpf::check_host;
use ccp_ebpf::codegen::{CodegenError, Entry, Env, Kernel, Kind, LIMITS, generate, load};
use ccp_ebpf::layout::{Config, Flow, MailboxSlot};
use ccp_program::testing::{Rng, Shape, program};
use ccp_program::{BinaryOp, Clause, Inst, Operand, Program, Reg, VerifyError, verify};
use libbpf_rs::MapType;

use crate::harness::{can_load, map, verified_instructions};

/// A socket storage map with values like the datapath's, and a ring.
struct Real {
    storage: OwnedFd,
    ring: libbpf_rs::MapHandle,
    config: libbpf_rs::MapHandle,
    programs: libbpf_rs::MapHandle,
    mailbox: libbpf_rs::MapHandle,
    kernel: Kernel,
}

impl Real {
    fn new() -> Self {
        Self {
            storage: storage_map(),
            ring: map(MapType::RingBuf, 0, 4096, 0),
            config: map(MapType::Array, size_of::<Config>(), 1, 0),
            programs: map(MapType::ProgArray, 4, 2, 0),
            mailbox: map(MapType::Array, size_of::<MailboxSlot>(), 16, 0),
            kernel: Kernel::running().expect("the kernel is supported"),
        }
    }

    fn env(&self) -> Env<'_> {
        Env {
            entry: Entry::Socket {
                storage: self.storage.as_fd(),
                programs: self.programs.as_fd(),
                mailbox: self.mailbox.as_fd(),
                handle: 0xfedc_0001,
                signature: check_host().expect("a supported host").signature,
                ack: self.kernel.ack,
            },
            ring: self.ring.as_fd(),
            config: self.config.as_fd(),
            sock: self.kernel.sock,
        }
    }

    /// Loads as what it is in production.
    fn load(&self, what: &str, program: &Program) -> (usize, u32, Duration) {
        let env = self.env();
        let generating = Instant::now();
        let generated = generate(program, &env).unwrap_or_else(|e| panic!("{what}: {e}"));
        let loading = Instant::now();
        let kind = Kind::CongControl(self.kernel.cong_control);
        let fd = load("ccp_test", kind, &generated.insns).unwrap_or_else(|e| panic!("{what}: {e}"));
        let took = loading.elapsed();
        let looked_at = verified_instructions(&fd);
        eprintln!(
            "{what}: {} operations, {} instructions generated in {:?}, {looked_at} looked at, loaded in {took:?}",
            program.len(),
            generated.insns.len(),
            loading - generating,
        );
        (generated.insns.len(), looked_at, took)
    }
}

fn storage_map() -> OwnedFd {
    // A storage map needs the types of its key and value.
    // SAFETY: plain calls of libbpf with valid arguments; `btf` is freed below, once.
    unsafe {
        let btf = libbpf_sys::btf__new_empty();
        assert!(!btf.is_null());
        let signed = libbpf_sys::BTF_INT_SIGNED as i32;
        let int = libbpf_sys::btf__add_int(btf, c"int".as_ptr(), 4, signed);
        let byte = libbpf_sys::btf__add_int(btf, c"byte".as_ptr(), 1, 0);
        let value = libbpf_sys::btf__add_array(btf, int, byte, size_of::<Flow>() as u32);
        assert_eq!(libbpf_sys::btf__load_into_kernel(btf), 0);
        let opts = libbpf_sys::bpf_map_create_opts {
            sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
            btf_fd: libbpf_sys::btf__fd(btf) as u32,
            btf_key_type_id: int as u32,
            btf_value_type_id: value as u32,
            map_flags: libbpf_sys::BPF_F_NO_PREALLOC,
            ..Default::default()
        };
        let fd = libbpf_sys::bpf_map_create(
            libbpf_sys::BPF_MAP_TYPE_SK_STORAGE,
            c"ccp_test".as_ptr(),
            4,
            size_of::<Flow>() as u32,
            0,
            &raw const opts,
        );
        libbpf_sys::btf__free(btf);
        assert!(fd >= 0, "a storage map: {fd}");
        OwnedFd::from_raw_fd(fd)
    }
}

/// `count` times `inst`, spread over `clauses` that all go on to the next.
fn repeated(inst: impl Fn(usize) -> Inst, count: usize, clauses: usize) -> Program {
    let shape = Shape {
        instructions: 0,
        clauses: 1,
        controls: 4,
        reports: 20,
        locals: 20,
        temps: 4,
        ..Shape::default()
    };
    let mut p = program(&mut Rng::new(1), &shape);
    let mut left = count;
    p.clauses = (0..clauses)
        .map(|i| {
            let size = (left / (clauses - i)).min(left);
            left -= size;
            let first = left;
            let mut body: Vec<Inst> = (first..first + size.saturating_sub(1)).map(&inst).collect();
            body.push(if i == 0 {
                Inst::Report
            } else {
                Inst::Fallthrough
            });
            body.rotate_right(1);
            let length = body.len();
            for (at, inst) in body.iter_mut().enumerate() {
                if let Inst::SkipIf { count, .. } = inst {
                    *count = (*count).min((length - at - 1) as u16);
                }
            }
            Clause {
                test: Some(Operand::Primitive((i % 20) as u16)),
                body,
                ..Clause::default()
            }
        })
        .collect();
    p
}

fn binary(op: BinaryOp, i: usize) -> Inst {
    Inst::Binary {
        op,
        dst: Reg::Report((i % 20) as u16),
        a: Reg::Local((i % 19) as u16).into(),
        b: Operand::Primitive((i % 23) as u16),
    }
}

fn ewma(i: usize) -> Inst {
    Inst::Ewma {
        dst: Reg::Report((i % 20) as u16),
        weight: Reg::Control((i % 4) as u16).into(),
        sample: Operand::Primitive((i % 23) as u16),
    }
}

#[test]
fn root_programs_of_libccps_size_load_quickly() {
    if !can_load() {
        return;
    }
    let real = Real::new();
    for (what, p) in [
        ("255 mul", repeated(|i| binary(BinaryOp::Mul, i), 255, 16)),
        ("255 ewma", repeated(ewma, 255, 16)),
        (
            "255 mixed",
            repeated(|i| binary(BinaryOp::ALL[i % 15], i), 255, 16),
        ),
    ] {
        let (_, looked_at, took) = real.load(what, &p);
        assert!(looked_at < 20_000, "{what}: {looked_at}");
        assert!(took < Duration::from_millis(500), "{what}: {took:?}");
    }
    let mut rng = Rng::new(11);
    for i in 0..100 {
        let shape = Shape {
            instructions: 255,
            ..Shape::random(&mut rng, 255)
        };
        let p = program(&mut rng, &shape);
        let (_, looked_at, _) = real.load(&format!("random {i}"), &p);
        assert!(looked_at < 50_000, "{looked_at}");
    }
}

#[test]
fn root_programs_at_the_limit_load() {
    if !can_load() {
        return;
    }
    let real = Real::new();
    let (most, clauses) = (
        usize::from(LIMITS.instructions),
        usize::from(LIMITS.clauses),
    );
    for op in BinaryOp::ALL {
        let p = repeated(|i| binary(op, i), most, clauses);
        assert_eq!(p.len(), most);
        real.load(&format!("{op:?}"), &p);
    }
    real.load("ewma", &repeated(ewma, most, clauses));
    real.load("ewma in one clause", &repeated(ewma, most, 1));
    let skips = |i: usize| match i % 3 {
        0 | 1 => Inst::SkipIf {
            cond: Operand::Primitive((i % 23) as u16),
            count: (i % 5) as u16,
        },
        _ => binary(BinaryOp::Mul, i),
    };
    real.load("skips", &repeated(skips, most, clauses));
    let mut rng = Rng::new(5);
    for i in 0..6 {
        let shape = Shape {
            instructions: most,
            clauses: 1 + (clauses - 1) * i / 5,
            reports: 40,
            locals: 20,
            temps: 10,
            wild: 0,
            ..Shape::default()
        };
        let p = program(&mut rng, &shape);
        real.load(&format!("random in {} clauses", shape.clauses), &p);
    }
}

/// Bodies that report stand behind the rest of the program, and jump back into it: however large they may be.
#[test]
fn root_bodies_that_stand_aside_are_within_reach() {
    if !can_load() {
        return;
    }
    let real = Real::new();
    // As many as a program has whose bodies stand aside, and one more.
    for (most, clauses) in [(500, 1), (500, 2), (500, 125), (501, 2)] {
        for (what, inst) in [
            ("ewma", ewma as fn(usize) -> Inst),
            ("mul", |i| binary(BinaryOp::Mul, i)),
            ("div", |i| binary(BinaryOp::Div, i)),
        ] {
            let mut p = repeated(inst, most - clauses, clauses);
            for (i, clause) in p.clauses.iter_mut().enumerate() {
                // Each reports, and goes on to the next one sometimes.
                clause.body.insert(0, Inst::Report);
                clause.body[1] = Inst::SkipIf {
                    cond: Operand::Primitive((i % 7) as u16),
                    count: 1,
                };
                clause.body[2] = Inst::Fallthrough;
            }
            assert_eq!(p.len(), most);
            real.load(&format!("{most} {what} in {clauses} clauses"), &p);
        }
    }
}

#[test]
fn root_the_longest_report_loads() {
    if !can_load() {
        return;
    }
    let real = Real::new();
    let shape = Shape {
        instructions: 0,
        clauses: 1,
        controls: usize::from(LIMITS.controls),
        reports: usize::from(LIMITS.reports),
        locals: 0,
        temps: 0,
        ..Shape::default()
    };
    let mut p = program(&mut Rng::new(1), &shape);
    for variable in p.reports.iter_mut().chain(&mut p.controls) {
        variable.volatile = true;
        variable.default = u64::MAX / 3;
    }
    p.clauses = vec![Clause {
        body: vec![Inst::Report],
        ..Clause::default()
    }];
    real.load("110 report variables", &p);
}

#[test]
fn root_one_more_than_the_limit_is_refused_by_name() {
    if !can_load() {
        return;
    }
    let real = Real::new();
    let p = repeated(ewma, usize::from(LIMITS.instructions) + 1, 1);
    let error = verify(&p, &LIMITS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the program has 3901 instructions, this datapath has room for 3900"
    );
    let env = real.env();
    assert!(matches!(
        generate(&p, &env),
        Err(CodegenError::Verify(VerifyError::TooMany { .. }))
    ));
}

#[test]
fn root_the_kernels_refusal_is_told() {
    if !can_load() {
        return;
    }
    let real = Real::new();
    let p = repeated(ewma, 20, 2);
    // A socket has no window there.
    let env = Env {
        sock: ccp_ebpf::codegen::SockOffsets {
            snd_cwnd: 0,
            ..real.kernel.sock
        },
        ..real.env()
    };
    let generated = generate(&p, &env).unwrap();
    let kind = Kind::CongControl(real.kernel.cong_control);
    let error = load("refused", kind, &generated.insns).unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("the kernel refused the program `refused`"),
        "{text}"
    );
    assert!(
        text.contains("no write support to tcp_sock at off 0"),
        "{text}"
    );
    assert!(error.log.lines().count() <= 12);
}
