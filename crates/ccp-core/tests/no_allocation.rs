//! A report costs no allocation once its flow is under way: from the frame to the update.
//!
//! In a test binary of its own, because it replaces the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use bytes::BytesMut;
use ccp_core::{
    Algorithm, Bytes, Command, CompiledProgram, CongAlg, ControlField, Controls, Flow, FlowIds,
    FlowInfo, FlowRunner, NewFlow, Output, Plan, Policy, RawReport, Report, Reports, Resume,
    RunnerOutput, Session, SessionOptions, SockId, Timestamp, Updates,
};
use ccp_program::{Limits, RegisterTable};
use ccp_wire::{Capabilities, Create, Encode, Frame, MAX_REPORT_FIELDS, MeasureBuf, ReportTrailer};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.set(COUNT.get() + 1);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Report)]
struct Seen {
    rtt: u64,
    acked: u64,
    none: Option<bool>,
}

#[derive(Clone, Copy, Controls)]
struct Knobs {
    gain: ControlField<u64>,
    pace: ControlField<u64>,
}

#[derive(Clone)]
struct Follow {
    program: CompiledProgram,
    seen: Reports<Seen>,
    knobs: Knobs,
}

impl CongAlg for Follow {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }
    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Follow {
    fn on_resume(&mut self, _now: Timestamp, _resume: &Resume) -> Updates {
        Updates::run(&self.program)
    }
    fn on_report(&mut self, now: Timestamp, report: &Report<'_>) -> Updates {
        let Seen { acked, rtt, none } = report.read(self.seen);
        assert_eq!((rtt, none), (1, None));
        Updates::none()
            .cwnd(Bytes(acked.max(1)))
            .set(self.knobs.gain, acked)
            .set(self.knobs.pace, acked / 2)
            .wake_at(Timestamp(now.0 + 10_000))
    }
    fn on_timer(&mut self, _now: Timestamp) -> Updates {
        Updates::none().set(self.knobs.gain, 3)
    }
}

fn algorithm() -> Algorithm {
    let source = "(def (Report (volatile acked 0) (rtt 0)) (gain 0) (pace 0)) \
                  (when true (:= Report.acked (+ gain pace)) (:= Report.rtt 1) (report))";
    let program = CompiledProgram::compile("follow", source).unwrap();
    let follow = Follow {
        seen: program.reports().unwrap(),
        knobs: program.controls().unwrap(),
        program,
    };
    Algorithm::new("follow", "follow", Arc::new(follow))
}

#[test]
fn from_the_frame_to_the_update() {
    let plan = Plan::new(Policy::new(vec![], algorithm()));
    let mut session = Session::new("ccp", plan, FlowIds::new(), SessionOptions::default());
    session.on_ready(Some(&Capabilities::new(
        RegisterTable::well_known(),
        Limits::MAX,
    )));
    let end = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let info = FlowInfo::new(SockId(7), end(1), end(2), 1_448, Bytes(14_480));
    let create = Create::from_flow_info(&info, 1).to_frame().unwrap();
    let mut frame = BytesMut::new();
    let measure = MeasureBuf {
        sock_id: SockId(7),
        program_uid: 1,
        fields: vec![10_000, 1],
        trailer: Some(ReportTrailer {
            generation: 1,
            merged: 0,
        }),
        totals: None,
    };
    measure.encode(&mut frame).unwrap();

    let (created, _) = Frame::split(&create).unwrap();
    session.on_message(&created.message().unwrap());
    let mut runner = None;
    while let Some(output) = session.poll() {
        if let Output::Opened(opened) = output {
            runner = Some(FlowRunner::new(Timestamp(1), *opened, None));
        }
    }
    let mut runner = runner.unwrap();

    let mut fields = [0; MAX_REPORT_FIELDS];
    let mut updates = 0;
    let mut before = 0;
    for round in 0..1_100_u64 {
        if round == 100 {
            // Under way.
            before = COUNT.get();
            updates = 0;
        }
        let now = Timestamp(round * 7_000);
        let (cut, _) = Frame::split(&frame).unwrap();
        let delivery = session.on_message(&cut.message().unwrap()).unwrap();
        let mut count = 0;
        for (place, value) in fields.iter_mut().zip(delivery.measure.fields()) {
            *place = value;
            count += 1;
        }
        runner.on_report(
            now,
            &RawReport {
                program_uid: delivery.measure.program_uid,
                generation: delivery.generation,
                merged: delivery.merged,
                fields: &fields[..count],
            },
        );
        if runner.wake_at().is_some_and(|time| time <= now) {
            runner.on_timer(now);
        }
        while let Some(output) = runner.poll() {
            match output {
                RunnerOutput::Command(Command::Update(_)) => updates += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!(session.poll().is_none());
    }
    assert_eq!(COUNT.get() - before, 0);
    assert_eq!(updates, 1_000);
    assert_eq!(runner.status().reports, 1_100);
}

#[test]
fn the_count_counts() {
    let before = COUNT.get();
    drop(std::hint::black_box(Box::new(1)));
    assert_eq!(COUNT.get() - before, 1);
}
