//! The same program and the same acknowledgements give the same reports, window and rate from the
//! real C library and from the reference semantics, where the library is sound; and what it gets
//! wrong is known.
//!
//! In a test binary of its own, and without any logarithm: the crate `libccp` exports a C symbol
//! `log`, which takes the place of the mathematical one in whatever links it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ccp_lang::testing::{self, Reference};
use ccp_lang::{RegisterTable, compile, libccp::lower};
use ccp_program::Program;
use ccp_program::interp::Registers;
use ccp_program::testing::Rng;

mod datapath;
mod published;
#[path = "../../../crates/ccp-lang/tests/scripts/mod.rs"]
mod scripts;

use datapath::{Datapath, Primitives, measured};

macro_rules! programs {
    ($($name:literal)*) => {
        [$(($name, include_str!(concat!("../../../crates/ccp-lang/tests/programs/", $name, ".ccp")))),*]
    };
}

fn program(name: &str, source: &str) -> Program {
    match compile(source, &RegisterTable::libccp()) {
        Ok(compiled) => compiled.program,
        Err(errors) => panic!("{}", errors.render(source, name)),
    }
}

fn acks(rng: &mut Rng, count: usize) -> Vec<(u64, Primitives)> {
    let mut below = |end: u32| rng.below(end as usize) as u32;
    let mut now = 0;
    (0..count)
        .map(|_| {
            now += u64::from(below(20_000));
            let packets = below(4);
            let prims = Primitives {
                bytes_acked: packets * 1448,
                packets_acked: packets,
                bytes_misordered: below(2) * 1448,
                packets_misordered: below(2),
                ecn_bytes: below(2) * 1448,
                ecn_packets: below(2),
                lost_pkts_sample: u32::from(below(8) == 0),
                was_timeout: below(10) == 0,
                rtt_sample_us: u64::from(5000 + below(20_000)),
                rate_outgoing: u64::from(100_000 + below(1_000_000)),
                rate_incoming: u64::from(100_000 + below(1_000_000)),
                bytes_in_flight: below(20) * 1448,
                packets_in_flight: below(20),
                bytes_pending: below(100_000),
                ..Primitives::default()
            };
            (now, prims)
        })
        .collect()
}

/// The library's `+infinity` is 32 bits wide.
fn as_there(value: u64) -> u64 {
    if value == u64::MAX {
        u32::MAX.into()
    } else {
        value
    }
}

/// Runs both, up to the first fault; gives the number of reports.
fn same(name: &str, program: &Program, acks: &[(u64, Primitives)]) -> usize {
    compared(name, program, acks, "")
}

/// The same, and what `source` means if there is one.
fn compared(name: &str, program: &Program, acks: &[(u64, Primitives)], source: &str) -> usize {
    let start = acks.first().map_or(0, |a| a.0);
    let table = RegisterTable::libccp();
    let mut meant = match source {
        "" => None,
        source => Some(Reference::new(source, &table, start).expect("it compiles")),
    };
    let bytecode = lower(program).expect("fits libccp");
    let mut theirs = Datapath::with(bytecode.clone());
    let mut ours = Registers::new(program, start);
    let (mut cwnd, mut rate) = (14_480_u32, 0_u32);
    let mut reports = 0;
    for (step, (now, prims)) in acks.iter().enumerate() {
        let context = || {
            format!(
                "{name}, ack {step}\n{}\n{}",
                ccp_lang::listing(program),
                ccp_lang::libccp::listing(&bytecode)
            )
        };
        ours.writable[0] = cwnd.into();
        ours.writable[1] = rate.into();
        let mut prims = *prims;
        prims.snd_cwnd = cwnd;
        prims.snd_rate = rate.into();
        let values: Vec<u64> = program
            .primitives
            .iter()
            .map(|def| measured(&prims, &def.name, *now))
            .collect();
        let expected = ours.invoke(program, &values, *now);
        if let Some(meant) = &mut meant {
            meant.set("Cwnd", cwnd.into());
            meant.set("Rate", rate.into());
            let report = meant.invoke(&|name| measured(&prims, name, *now), *now);
            assert_eq!(expected.map(|e| e.report), report, "{}", context());
            assert_eq!(ours.report, meant.report(), "{}", context());
            if report == Ok(true) {
                meant.reported();
            }
        }
        let got = theirs.ack(prims, *now);
        let (Ok(expected), Ok(got)) = (&expected, &got) else {
            // The library misses some overflows of products, and computes in 32 bits what starts
            // from its `+infinity`; what it finds, we find.
            assert!(expected.is_err(), "{got:?} at {}", context());
            return reports;
        };
        // It sets what is not zero, with its low 32 bits.
        let set = |value: u64| (value != 0).then_some(value as u32);
        assert_eq!(got.cwnd, set(as_there(ours.writable[0])), "{}", context());
        assert_eq!(got.rate, set(as_there(ours.writable[1])), "{}", context());
        assert_eq!(got.report.is_some(), expected.report, "{}", context());
        if let Some(fields) = &got.report {
            let expected: Vec<u64> = ours.report.iter().copied().map(as_there).collect();
            assert_eq!(fields, &expected, "{}", context());
            ours.reported(program);
            reports += 1;
        }
        cwnd = got.cwnd.unwrap_or(cwnd);
        rate = got.rate.unwrap_or(rate);
    }
    reports
}

#[test]
fn published_programs() {
    for (name, source) in programs!(
        "aimd" "bare" "bbr_cycle" "bbr_init" "bbr_probe_bw" "bbr_probe_rtt" "copa" "cycle_and_choice"
        "gca_ack" "gca_interval" "gca_rtt" "gca_slow_start" "minrtt" "nimbus" "portus_basic" "portus_ecn" "portus_forms"
        "portus_preset" "portus_timing" "portus_twoflow" "portus_update" "portus_volatile" "vegas"
    ) {
        let program = program(name, source);
        let mut reports = 0;
        for seed in 0..10 {
            reports += same(name, &program, &acks(&mut Rng::new(seed), 1200));
        }
        // The one that waits for the agent is in a test of its own.
        assert!(
            reports > 0 || name == "portus_twoflow",
            "{name} never reported"
        );
    }
}

/// What algorithms install on libccp datapaths, with the segment size that they tell it.
#[test]
fn programs_of_algorithms() {
    for (name, source) in [
        (
            "cubic",
            include_str!("../../../crates/algs/src/cubic/base.ccp"),
        ),
        (
            "reno",
            include_str!("../../../crates/algs/src/reno/base.ccp"),
        ),
    ] {
        let told = source.replace("(segment 1)", "(segment 1448)");
        assert_ne!(told, source);
        let program = program(name, &told);
        // From a loss at every eighth acknowledgement to one in a hundred: small windows and large.
        for (seed, calm) in (0..20).zip([1, 2, 4, 12].into_iter().cycle()) {
            let mut acks = acks(&mut Rng::new(seed), 1200);
            for (nth, (_, prims)) in acks.iter_mut().enumerate() {
                if nth % calm != 0 {
                    prims.lost_pkts_sample = 0;
                    prims.ecn_packets = 0;
                }
                prims.was_timeout &= nth % (calm * 5) == 0;
            }
            let reports = same(name, &program, &acks);
            assert!(reports > 100, "{name}: {reports} reports");
        }
    }
}

/// `CCP_LANG_PROGRAMS=n` runs that many, `CCP_LANG_SEED=n` starts elsewhere.
#[test]
fn random_programs_do_what_their_text_means() {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |v| v.parse().expect("a number"))
    };
    let table = RegisterTable::libccp();
    let (mut fitting, mut reports) = (0, 0);
    let first = number("CCP_LANG_SEED", 1);
    let count = number("CCP_LANG_PROGRAMS", 1500);
    for seed in first..first + count {
        let source = testing::program(&mut Rng::new(seed), &table);
        let acks = acks(&mut Rng::new(seed), 20);
        let run = |source: &str| {
            let compiled = compile(source, &table).ok()?;
            let fits = lower(&compiled.program).is_ok();
            let run = || compared(source, &compiled.program, &acks, source);
            fits.then(|| catch_unwind(AssertUnwindSafe(run)))
        };
        match run(&source) {
            None => {}
            Some(Ok(reported)) => {
                fitting += 1;
                reports += reported;
            }
            Some(Err(_)) => {
                let small = testing::shrink(&source, |s| run(s).is_some_and(|r| r.is_err()));
                panic!("seed {seed}, smaller:\n{small}\n\nwhole:\n{source}");
            }
        }
    }
    assert!(fitting * 10 > count, "only {fitting} fit libccp");
    assert!(reports as u64 > fitting, "{reports} reports of {fitting}");
}

#[test]
fn updates_of_control_variables_arrive() {
    let source = include_str!("../../../crates/ccp-lang/tests/programs/portus_twoflow.ccp");
    let program = program("portus_twoflow", source);
    let mut flow = Datapath::with(lower(&program).expect("fits libccp"));
    assert_eq!(
        flow.ack(Primitives::default(), 1).expect("no fault").report,
        None
    );
    flow.update(0, false, 30);
    let done = flow.ack(Primitives::default(), 2).expect("no fault");
    assert_eq!(done.report, Some(vec![30]));
}

#[test]
fn locals_start_at_zero_in_each_program() {
    // The library's own local registers would still hold what the first program left.
    let count = "(def (Report (n 0))) (when true (:= seen (+ seen 1)) (:= Report.n seen) (report))";
    let first = lower(&program("count", count)).expect("fits libccp");
    let mut flow = Datapath::with(first);
    for n in 1..4 {
        let done = flow.ack(Primitives::default(), n).expect("no fault");
        assert_eq!(done.report, Some(vec![n]));
    }
    flow.replace(lower(&program("count", count)).expect("fits libccp"));
    let done = flow.ack(Primitives::default(), 5).expect("no fault");
    assert_eq!(done.report, Some(vec![1]));
}

#[test]
fn infinity_is_what_the_library_can_hold() {
    let source = "(def (Report (low +infinity) (constant 0)) (c +infinity))
        (when true
            (:= Report.constant (if (== Report.low +infinity) 7))
            (:= Report.low (min Report.low c))
            (report))";
    let mut flow = Datapath::with(lower(&program("infinity", source)).expect("fits libccp"));
    let done = flow.ack(Primitives::default(), 1).expect("no fault");
    assert_eq!(done.report, Some(vec![u32::MAX.into(), 7]));
    // No sample yet reads as `+infinity` there too.
    let source = "(def (Report (low +infinity)))
        (when true (:= Report.low (min Report.low Flow.rtt_sample_us)) (report))";
    let mut flow = Datapath::with(lower(&program("rtt", source)).expect("fits libccp"));
    let done = flow.ack(Primitives::default(), 1).expect("no fault");
    assert_eq!(done.report, Some(vec![u32::MAX.into()]));
}

#[test]
fn a_clause_that_fell_through_does_not_open_the_later_ones() {
    let source = "(def (Report (a 0) (b 0) (c 0)))
        (when true (:= Report.a (+ Report.a 1)) (fallthrough))
        (when true (:= Report.b (+ Report.b 1)) (report))
        (when true (:= Report.c (+ Report.c 1)))";
    let mut flow = Datapath::with(lower(&program("leak", source)).expect("fits libccp"));
    for n in 1..4 {
        let done = flow.ack(Primitives::default(), n).expect("no fault");
        assert_eq!(done.report, Some(vec![n, n, 0]));
    }
    // What portus' compiler makes of the same text lets the third one run.
    let mut flow = Datapath::new(&portus_install(source));
    let done = flow.ack(Primitives::default(), 1).expect("no fault");
    assert_eq!(done.report, Some(vec![1, 1, 1]));
}

#[test]
fn longest_program_ends() {
    // The library never leaves a program of 256 instructions.
    let source = format!(
        "(def (Report (x 0))) (when true {})",
        "(report)".repeat(253)
    );
    let bytecode = lower(&program("long", &source)).expect("fits libccp");
    assert_eq!(bytecode.instructions.len(), 255);
    let mut flow = Datapath::with(bytecode);
    assert!(
        flow.ack(Primitives::default(), 1)
            .expect("no fault")
            .report
            .is_some()
    );
}

#[test]
fn sixteen_intermediate_results_are_right_there() {
    let nested = format!(
        "(def (Report (x 0))) (when true (:= Report.x {}(+ Cwnd Rate){}) (report))",
        "(+ (+ Cwnd 1) ".repeat(15),
        ")".repeat(15)
    );
    let program = program("nested", &nested);
    let reports = same("nested", &program, &acks(&mut Rng::new(1), 5));
    assert_eq!(reports, 5);
}

/// An INSTALL message with what portus' own compiler makes of `source`.
fn portus_install(source: &str) -> Vec<u8> {
    let (bin, _) = portus::lang::compile(source.as_bytes(), &[]).expect("portus takes it");
    let mut message = Vec::new();
    let body = bin.serialize().expect("within its limits");
    let len = 8 + 12 + body.len();
    message.extend(2_u16.to_le_bytes());
    message.extend(u16::try_from(len).expect("small").to_le_bytes());
    message.extend(1_u32.to_le_bytes());
    message.extend(1_u32.to_le_bytes());
    message.extend(
        u32::try_from(bin.events.len())
            .expect("small")
            .to_le_bytes(),
    );
    message.extend(
        u32::try_from(bin.instrs.len())
            .expect("small")
            .to_le_bytes(),
    );
    message.extend(body);
    message
}

#[test]
fn the_same_as_portus_where_it_is_right() {
    // Programs that portus compiles and in which no clause is opened by an earlier one that fell
    // through. Its report variables are in the same order if all are in the block.
    let mut compared = 0;
    for (name, source) in programs!(
        "bbr_init" "gca_ack" "gca_slow_start" "minrtt" "portus_preset" "portus_volatile" "vegas"
    ) {
        // portus knows no `(reset)` and no comment before `def`.
        let text: String = source
            .lines()
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.replace("(reset)", "(:= Micros 0)") + "\n")
            .collect();
        let program = program(name, source);
        for seed in 0..5 {
            let acks = acks(&mut Rng::new(seed), 200);
            let mut ours = Datapath::with(lower(&program).expect("fits libccp"));
            let expected: Vec<_> = acks.iter().map(|(now, p)| ours.ack(*p, *now)).collect();
            drop(ours);
            let mut theirs = Datapath::new(&portus_install(&text));
            for ((now, prims), expected) in acks.iter().zip(expected) {
                assert_eq!(theirs.ack(*prims, *now), expected, "{name} at {now}");
                compared += 1;
            }
        }
    }
    assert_eq!(compared, 7 * 5 * 200);
}
