//! What every algorithm must hold to, whatever it does. One that is added to [`algs::registry`] is
//! tested here without a line of its own; parameters that it needs go to [`parameters`].

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use ccp_core::testkit::{Ack, Setup, TestFlow};
use ccp_core::{
    Algorithm, Announced, Bytes, Command, Event, FlowId, FlowInfo, FlowMode, FlowRunner, Micros,
    Opened, Origin, Params, ProgramTable, RawReport, RunnerNotice, RunnerOutput, SockId, Timestamp,
};
use ccp_program::RegisterTable;
use proptest::prelude::*;

/// Parameters that bring out every side of a kind.
fn parameters(kind: &str) -> &'static [&'static str] {
    match kind {
        "constant" => &[
            "cwnd_packets = 1",
            "cwnd_packets = 1000000\nrate_mbit = 10000000",
            "rate_mbit = 0.001",
        ],
        "cubic" => &[
            "",
            "report = \"ack\"\nbeta = 0.5\nc = 4\nhystart = false",
            "report = \"7ms\"\nbeta = 0.9\nc = 0.04\nfast_convergence = false",
        ],
        // One program: another one is not taken under way.
        "program" => &[
            "source = \"(def (Report (acked 0) (cwnd 0)) (n 1) (on true)) (when on (:= Report.acked (+ Report.acked Ack.bytes_acked)) (:= Rate (* n 1000)) (:= Cwnd (+ Cwnd (if (< Cwnd 1_000_000) n 0))) (:= Report.cwnd Cwnd) (report))\"",
            "n = 5\nsource = \"(def (Report (acked 0) (cwnd 0)) (n 1) (on true)) (when on (:= Report.acked (+ Report.acked Ack.bytes_acked)) (:= Rate (* n 1000)) (:= Cwnd (+ Cwnd (if (< Cwnd 1_000_000) n 0))) (:= Report.cwnd Cwnd) (report))\"",
        ],
        "reno" => &["", "report = \"ack\"", "report = \"7ms\""],
        _ => &[""],
    }
}

/// Every kind with every set of parameters. Compiling takes a while, so it is done once.
fn algorithms() -> &'static [Algorithm] {
    static ALL: LazyLock<Vec<Algorithm>> = LazyLock::new(all);
    &ALL
}

fn all() -> Vec<Algorithm> {
    let registry = algs::registry();
    let all: Vec<Algorithm> = registry
        .kinds()
        .flat_map(|kind| {
            parameters(kind)
                .iter()
                .map(|text| registry.build(&Params::parse_toml(kind, text).unwrap()))
        })
        .collect::<Result<_, _>>()
        .unwrap();
    assert!(all.len() >= 9, "three kinds, with three sets each");
    all
}

/// A datapath of libccp, one with everything, and one that measures a little more than libccp.
fn datapaths() -> [(&'static str, Option<RegisterTable>); 3] {
    [
        ("libccp", None),
        ("full", Some(RegisterTable::well_known())),
        ("some", Some(RegisterTable::libccp_and(&["Flow.mss"]))),
    ]
}

fn table(algorithm: &Algorithm, registers: Option<RegisterTable>) -> Arc<ProgramTable> {
    let capabilities = registers.map(|r| ccp_wire::Capabilities::new(r, ccp_program::Limits::MAX));
    Arc::new(ProgramTable::new(
        std::slice::from_ref(algorithm),
        capabilities.as_ref(),
    ))
}

#[test]
fn it_runs_on_every_datapath() {
    for algorithm in algorithms() {
        for (datapath, registers) in datapaths() {
            let programs = table(algorithm, registers);
            assert!(
                programs.fits(algorithm),
                "{} on {datapath}: {:?}",
                algorithm.name(),
                programs.refused()
            );
        }
    }
}

#[test]
fn it_has_room_on_a_libccp_datapath_with_all_others() {
    let programs = ProgramTable::new(algorithms(), None);
    for algorithm in algorithms() {
        assert!(programs.fits(algorithm), "{}", algorithm.name());
    }
}

/// What happens to a flow.
#[derive(Clone, Debug)]
enum Op {
    Report { fields: Vec<u64>, merged: u64 },
    Event(Event),
    Resume { origin: Origin, cwnd: u64, mss: u32 },
    Suspend,
    Pass(u64),
    Reconfigure(usize),
}

/// Sensible values, and absurd ones.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..100_000_u64,
        1 => any::<u64>(),
        1 => prop_oneof![
            Just(0),
            Just(u64::MAX),
            Just(u64::from(u32::MAX)),
            Just(1 << 63)
        ],
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let origin = prop_oneof![
        Just(Origin::New),
        Just(Origin::Adopted),
        Just(Origin::Resumed)
    ];
    prop_oneof![
        12 => (prop::collection::vec(value(), 16), 0..3_u64)
            .prop_map(|(fields, merged)| Op::Report { fields, merged }),
        1 => any::<u32>().prop_map(|mss| Op::Event(Event::MssChanged { mss })),
        1 => value().prop_map(|count| Op::Event(Event::ReportsMissed { count })),
        1 => value().prop_map(|count| Op::Event(Event::ProgramFault { count })),
        2 => (origin, value(), any::<u32>())
            .prop_map(|(origin, cwnd, mss)| Op::Resume { origin, cwnd, mss }),
        1 => Just(Op::Suspend),
        4 => value().prop_map(Op::Pass),
        1 => any::<usize>().prop_map(Op::Reconfigure),
    ]
}

fn announced(generation: u32, origin: Origin, cwnd: u64, mss: u32) -> Announced {
    let end = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let mut info = FlowInfo::new(SockId(1), end(1), end(2), mss, Bytes(cwnd));
    info.origin = origin;
    Announced {
        info: info.into(),
        generation,
        faults: 0,
    }
}

/// Everything that is said of the flow while `ops` happen to it.
fn trace(algorithm: &Algorithm, programs: &Arc<ProgramTable>, ops: &[Op]) -> Vec<String> {
    let siblings: Vec<&Algorithm> = algorithms()
        .iter()
        .filter(|other| other.kind() == algorithm.kind())
        .collect();
    let opened = Opened::new(
        FlowId(1),
        "test",
        announced(1, Origin::New, 14_480, 1_448),
        Some(algorithm.clone()),
        programs.clone(),
    );
    let mut now = Timestamp(0);
    let mut generation = 1;
    let mut runner = FlowRunner::new(now, opened, None);
    let mut said = Vec::new();
    for op in ops {
        match op {
            Op::Report { fields, merged } => {
                let program = runner.status().program;
                let uid = program.as_ref().and_then(|p| programs.uid(p));
                if let (Some(program), Some(program_uid)) = (program, uid) {
                    let count = program.ir().reports.len();
                    let report = RawReport {
                        program_uid,
                        generation,
                        merged: *merged,
                        fields: &fields[..count],
                    };
                    runner.on_report(now, &report);
                }
            }
            Op::Event(event) => runner.on_event(now, event),
            Op::Resume { origin, cwnd, mss } => {
                generation += 1;
                runner.on_resume(now, &announced(generation, *origin, *cwnd, *mss));
            }
            Op::Suspend => runner.on_suspend(),
            Op::Pass(span) => {
                now = now + Micros(*span);
                runner.on_timer(now);
            }
            Op::Reconfigure(which) => {
                runner.reconfigure(now, siblings[which % siblings.len()]);
            }
        }
        while let Some(output) = runner.poll() {
            if let RunnerOutput::Command(Command::Update(update)) = &output {
                assert_ne!(update.cwnd(), Some(0), "{op:?}");
            }
            // A datapath that takes over again and again is these events' doing, not the algorithm's.
            let taken_over = matches!(output, RunnerOutput::Notice(RunnerNotice::TakenOver { .. }));
            assert!(
                taken_over || !matches!(output, RunnerOutput::Notice(_)),
                "{}: {output:?} after {op:?}",
                algorithm.name()
            );
            said.push(format!("{output:?}"));
        }
        let status = runner.status();
        assert_eq!((status.panics, status.refused), (0, 0));
        assert_ne!(
            status.mode,
            FlowMode::Native,
            "a flow that is given back must get a program"
        );
    }
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Absurd reports and events: no panic, nothing that would have to be refused, and the same
    /// answer to the same input.
    #[test]
    fn whatever_happens(ops in prop::collection::vec(op(), 1..60), which in any::<prop::sample::Index>()) {
        let algorithm = which.get(algorithms());
        for (_, registers) in datapaths() {
            let programs = table(algorithm, registers);
            let first = trace(algorithm, &programs, &ops);
            let second = trace(algorithm, &programs, &ops);
            prop_assert_eq!(first, second);
        }
    }
}

/// Measurements of one acknowledgement, of the sizes that transports have.
fn ack() -> impl Strategy<Value = Ack> {
    (
        (0..200_000_u64, 0..1_000_000_000_u64, 1..65_483_u32),
        (
            0..100_u64,
            0..100_u64,
            0..5_u64,
            any::<bool>(),
            any::<bool>(),
        ),
        prop_oneof![Just(u64::MAX), 0..120_000_000_u64],
    )
        .prop_map(
            |((acked, flight, mss), (lost, ce, state, timeout, limited), rtt)| {
                Ack::of(acked)
                    .in_flight(Bytes(flight))
                    .mss(mss)
                    .lost(lost)
                    .rtt(Micros(rtt))
                    .recovery_state(state)
                    .set("Ack.ecn_packets", ce)
                    .set("Flow.srtt_us", rtt)
                    .set("Flow.min_rtt_us", rtt)
                    .set("Flow.was_timeout", u64::from(timeout))
                    .set("Flow.cwnd_limited", u64::from(limited))
                    .set("Flow.ssthresh", if limited { u64::MAX } else { flight })
            },
        )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Program and algorithm together over random acknowledgements: no fault, and a window of a
    /// byte at the very least (a datapath rounds up to a packet).
    #[test]
    fn no_program_faults(
        acks in prop::collection::vec((ack(), 0..2_000_000_u64), 1..120),
        which in any::<prop::sample::Index>(),
    ) {
        let algorithm = which.get(algorithms());
        for registers in [RegisterTable::well_known(), RegisterTable::libccp()] {
            let setup = Setup { registers, ..Setup::default() };
            let mut flow = TestFlow::of(algorithm, &setup);
            let mut reported = 0;
            for (ack, gap) in &acks {
                flow.pass(Micros(*gap));
                reported += u32::from(flow.ack(ack).is_some());
                prop_assert!(flow.cwnd() > Bytes::ZERO, "{} at {:?}", algorithm.name(), ack);
            }
            // 120 s without a report would be a flow that nobody sees.
            let time: u64 = acks.iter().map(|(_, gap)| gap).sum();
            prop_assert!(time < 121_000_000 || reported > 0);
        }
    }
}

#[test]
fn the_harness_notices_what_is_refused() {
    // It would be worth nothing if it passed over this: no program fits.
    let broken = catch_unwind(AssertUnwindSafe(|| {
        let algorithm = &algorithms()[0];
        let programs = Arc::new(ProgramTable::new(&[], None));
        trace(algorithm, &programs, &[Op::Suspend])
    }));
    assert!(broken.is_err());
}
