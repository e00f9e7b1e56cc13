//! The life of a flow, frame by frame, between a control plane and a datapath in miniature: from
//! a datapath that was there first to a control plane that comes back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;
use ccp_core::{
    Algorithm, Bytes, CompiledProgram, CongAlg, Flow, FlowId, FlowIds, FlowInfo, FlowMode,
    FlowRunner, NewFlow, Origin, Output, Plan, Policy, RawReport, Report, ReportField, Resume,
    RunnerOutput, Session, SessionOptions, SockId, Timestamp, Updates,
};
use ccp_program::interp::Registers;
use ccp_program::{Limits, Program, RegisterTable};
use ccp_types::Micros;
use ccp_wire::{
    Capabilities, Create, Encode, Frame, MeasureBuf, Message, Ready, ReportTrailer, TargetExt,
};

/// Halves the window at a loss or timeout, and grows it by a packet per report otherwise.
#[derive(Clone)]
struct Aimd {
    program: CompiledProgram,
    lost: ReportField<u64>,
    timeout: ReportField<bool>,
    cwnd: u64,
}

impl Aimd {
    fn algorithm() -> Algorithm {
        let source = "
            (def (Report (volatile acked 0) (volatile lost 0) (volatile timeout false)))
            (when true
                (:= Report.acked (+ Report.acked Ack.bytes_acked))
                (:= Report.lost (+ Report.lost Ack.lost_pkts_sample))
                (if Flow.was_timeout (:= Report.timeout true))
                (fallthrough))
            (when (|| Flow.was_timeout (>= Report.acked Cwnd)) (report))
        ";
        let program = CompiledProgram::compile("aimd", source).unwrap();
        let aimd = Self {
            lost: program.report("lost").unwrap(),
            timeout: program.report("timeout").unwrap(),
            program,
            cwnd: 0,
        };
        Algorithm::new("aimd", "aimd", Arc::new(aimd))
    }
}

impl CongAlg for Aimd {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }
    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Aimd {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        self.cwnd = resume.state.cwnd.0;
        Updates::run(&self.program)
    }
    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        self.cwnd = if report.get(self.lost) > 0 || report.get(self.timeout) {
            self.cwnd / 2
        } else {
            self.cwnd + 1_000
        };
        Updates::none().cwnd(Bytes(self.cwnd))
    }
}

/// The daemon in miniature: frames in, frames out.
struct Agent {
    session: Session,
    runners: BTreeMap<FlowId, FlowRunner>,
    now: Timestamp,
}

impl Agent {
    fn new(epoch: u32) -> Self {
        let plan = Plan::new(Policy::new(vec![], Aimd::algorithm()));
        let options = SessionOptions {
            epoch,
            heartbeat: Micros::from_millis(100),
            fallback_after: Micros::from_secs(1),
            ..SessionOptions::default()
        };
        Self {
            session: Session::new("mini", plan, FlowIds::new(), options),
            runners: BTreeMap::new(),
            now: Timestamp(1),
        }
    }

    /// What it says to `frames`, one frame each.
    fn hear(&mut self, frames: Vec<BytesMut>) -> Vec<BytesMut> {
        for frame in frames {
            let (frame, _) = Frame::split(&frame).unwrap();
            let message = frame.message().unwrap();
            if let Some(delivery) = self.session.on_message(&message) {
                let fields: Vec<u64> = delivery.measure.fields().collect();
                let report = RawReport {
                    program_uid: delivery.measure.program_uid,
                    generation: delivery.generation,
                    merged: delivery.merged,
                    fields: &fields,
                };
                self.runners
                    .get_mut(&delivery.flow)
                    .unwrap()
                    .on_report(self.now, &report);
            }
        }
        self.speak()
    }

    fn speak(&mut self) -> Vec<BytesMut> {
        let mut commands = Vec::new();
        while let Some(output) = self.session.poll() {
            match output {
                Output::Command(command) => commands.push(command),
                Output::Opened(opened) => {
                    let id = opened.flow;
                    self.runners
                        .insert(id, FlowRunner::new(self.now, *opened, None));
                }
                Output::Resumed { flow, announced } => {
                    let runner = self.runners.get_mut(&flow).unwrap();
                    runner.on_resume(self.now, &announced);
                }
                Output::Suspended { flow } => self.runners.get_mut(&flow).unwrap().on_suspend(),
                Output::Closed { flow, .. } => {
                    self.runners.remove(&flow).unwrap().close(self.now);
                }
                _ => {}
            }
        }
        for runner in self.runners.values_mut() {
            while let Some(output) = runner.poll() {
                match output {
                    RunnerOutput::Command(command) => commands.push(command),
                    other => panic!("{other:?}"),
                }
            }
        }
        let programs = self.session.programs();
        let mut frames = Vec::new();
        for command in &commands {
            let mut frame = BytesMut::new();
            assert!(programs.encode(command, &mut frame).unwrap());
            frames.push(frame);
        }
        frames
    }

    fn mode(&self) -> FlowMode {
        self.runners.values().next().unwrap().status().mode
    }
}

/// A transport in miniature: one flow, frames in, frames out.
struct MiniDatapath {
    programs: BTreeMap<u32, Program>,
    flow: Option<MiniFlow>,
    epoch: u32,
    out: Vec<BytesMut>,
}

struct MiniFlow {
    info: FlowInfo,
    generation: u32,
    running: Option<(u32, Registers)>,
    staged: Option<u64>,
    cwnd: u64,
}

impl MiniDatapath {
    fn new() -> Self {
        Self {
            programs: BTreeMap::new(),
            flow: None,
            epoch: 0,
            out: Vec::new(),
        }
    }

    fn send(&mut self, message: &impl Encode) {
        self.out.push(message.to_frame().unwrap());
    }

    fn ready(&mut self) {
        let registers = RegisterTable::well_known();
        let capabilities = Capabilities::new(registers, Limits::MAX);
        self.send(&Ready {
            id: 1,
            capabilities: Some(capabilities),
        });
    }

    fn open(&mut self, port: u16) {
        let end = |port| std::net::SocketAddr::from(([192, 0, 2, 1], port));
        let info = FlowInfo::new(SockId(1), end(40_000), end(port), 1_000, Bytes(10_000));
        self.flow = Some(MiniFlow {
            cwnd: info.init_cwnd.0,
            info,
            generation: 0,
            running: None,
            staged: None,
        });
        self.announce(Origin::New);
    }

    fn announce(&mut self, origin: Origin) {
        let flow = self.flow.as_mut().unwrap();
        flow.generation += 1;
        flow.running = None;
        flow.info.origin = origin;
        flow.info.state.cwnd = Bytes(flow.cwnd);
        let create = Create::from_flow_info(&flow.info, flow.generation);
        self.send(&create);
    }

    fn close(&mut self) {
        let flow = self.flow.take().unwrap();
        self.send(&MeasureBuf {
            sock_id: flow.info.sock_id,
            program_uid: 0,
            fields: vec![],
            trailer: None,
            totals: None,
        });
    }

    fn hear(&mut self, frames: Vec<BytesMut>) {
        for frame in frames {
            let (frame, _) = Frame::split(&frame).unwrap();
            match frame.message().unwrap() {
                Message::Hello(hello) => {
                    let other = std::mem::replace(&mut self.epoch, hello.epoch) != hello.epoch;
                    if other && self.flow.as_ref().is_some_and(|f| f.generation > 0) {
                        self.announce(Origin::Adopted);
                    }
                }
                Message::InstallExt(install) => {
                    let table = RegisterTable::well_known();
                    let program = install.to_program(&table, &Limits::MAX).unwrap();
                    self.programs.insert(install.program_uid, program);
                }
                Message::ChangeProgExt(change) => {
                    let flow = self.flow.as_mut().unwrap();
                    if flow.generation == change.generation {
                        let program = &self.programs[&change.program_uid];
                        let registers = Registers::new(program, 0);
                        flow.running = Some((change.program_uid, registers));
                        flow.stage(&change.fields);
                    }
                }
                Message::UpdateExt(update) => {
                    let flow = self.flow.as_mut().unwrap();
                    if flow.generation == update.generation {
                        flow.stage(&update.fields);
                    }
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// One acknowledgement; returns the window.
    fn ack(&mut self, acked: u64, lost: u64, timeout: bool) -> u64 {
        let flow = self.flow.as_mut().unwrap();
        flow.cwnd = flow.staged.take().unwrap_or(flow.cwnd);
        let cwnd = flow.cwnd;
        let Some((uid, registers)) = &mut flow.running else {
            return cwnd;
        };
        let program = &self.programs[uid];
        let mut primitives = vec![0; program.primitives.len()];
        primitives[0] = acked;
        primitives[4] = lost;
        primitives[14] = u64::from(timeout);
        registers.writable[0] = cwnd;
        let outcome = registers.invoke(program, &primitives, 0).unwrap();
        flow.cwnd = registers.writable[0];
        if outcome.report {
            let fields = registers.report.clone();
            registers.reported(program);
            let report = MeasureBuf {
                sock_id: flow.info.sock_id,
                program_uid: *uid,
                fields,
                trailer: Some(ReportTrailer {
                    generation: flow.generation,
                    merged: 0,
                }),
                totals: None,
            };
            self.send(&report);
        }
        cwnd
    }

    fn take(&mut self) -> Vec<BytesMut> {
        std::mem::take(&mut self.out)
    }
}

impl MiniFlow {
    fn stage(&mut self, fields: &[ccp_wire::FieldExt]) {
        for field in fields {
            if field.target == TargetExt::CWND {
                self.staged = Some(field.value);
            }
        }
    }
}

/// Frames go to and fro until nobody has anything to say.
fn talk(datapath: &mut MiniDatapath, agent: &mut Agent) {
    loop {
        let said = datapath.take();
        if said.is_empty() {
            return;
        }
        datapath.hear(agent.hear(said));
    }
}

#[test]
fn from_ready_to_close_and_again_in_the_same_slot() {
    let mut datapath = MiniDatapath::new();
    let mut agent = Agent::new(1);

    // The datapath is loaded while nobody is there; its READY is lost. The agent that starts later
    // says nothing until it hears something.
    datapath.ready();
    datapath.take();
    assert!(agent.speak().is_empty());

    // The datapath says READY again: hello and programs.
    datapath.ready();
    talk(&mut datapath, &mut agent);
    assert_eq!(datapath.programs.len(), 1);
    assert_eq!(datapath.epoch, 1);

    // A flow opens. Until the agent's answer, the window is its first.
    datapath.open(443);
    assert_eq!(datapath.ack(1_000, 0, false), 10_000);
    talk(&mut datapath, &mut agent);
    assert_eq!(agent.mode(), FlowMode::Running);

    // A window acknowledged is a report; what the agent says takes effect at the next one.
    for _ in 0..10 {
        datapath.ack(1_000, 0, false);
    }
    talk(&mut datapath, &mut agent);
    assert_eq!(datapath.ack(0, 0, false), 11_000);

    // A timeout: one more invocation, reported at once.
    datapath.ack(0, 0, true);
    talk(&mut datapath, &mut agent);
    assert_eq!(datapath.ack(0, 0, false), 5_500);

    // It ends, and another takes its slot in the same moment.
    datapath.close();
    datapath.open(444);
    talk(&mut datapath, &mut agent);
    assert_eq!(agent.runners.len(), 1);
    let status = agent.runners.values().next().unwrap().status();
    assert_eq!((status.dst.port(), status.reports), (444, 0));
    assert_eq!(datapath.ack(0, 0, false), 10_000);
}

#[test]
fn an_agent_that_died_finds_its_flows_with_their_windows() {
    // What used to happen elsewhere: only new flows were announced to an agent that came back; old
    // ones were unknown to it and ran whatever program sat in their slot.
    let mut datapath = MiniDatapath::new();
    let mut first = Agent::new(1);
    datapath.ready();
    datapath.open(443);
    talk(&mut datapath, &mut first);
    for _ in 0..10 {
        datapath.ack(1_000, 0, false);
    }
    talk(&mut datapath, &mut first);
    drop(first);

    // It is dead; the flow goes on and reports to nobody.
    for _ in 0..11 {
        assert_eq!(datapath.ack(1_000, 0, false), 11_000);
    }
    let to_nobody = datapath.take();
    assert!(!to_nobody.is_empty());

    // The next one gets a report before it knows anything: counted, and nothing else.
    let mut second = Agent::new(2);
    assert!(second.hear(to_nobody).is_empty());
    assert_eq!(second.session.stats().reports_of_unknown_flows, 1);

    datapath.ready();
    talk(&mut datapath, &mut second);
    let status = second.runners.values().next().unwrap().status();
    assert_eq!(status.state.cwnd, Bytes(11_000));
    assert_eq!(agent_origin(&datapath), Origin::Adopted);
    for _ in 0..11 {
        datapath.ack(1_000, 0, false);
    }
    talk(&mut datapath, &mut second);
    assert_eq!(datapath.ack(0, 0, false), 12_000);
}

fn agent_origin(datapath: &MiniDatapath) -> Origin {
    datapath.flow.as_ref().unwrap().info.origin
}

#[test]
fn an_agent_that_was_stopped_believes_nothing_that_waited_for_it() {
    let mut datapath = MiniDatapath::new();
    let mut agent = Agent::new(1);
    datapath.ready();
    datapath.open(443);
    talk(&mut datapath, &mut agent);

    // While it is stopped, reports gather, and the datapath takes over: another window.
    for _ in 0..10 {
        datapath.ack(1_000, 1, false);
    }
    datapath.flow.as_mut().unwrap().cwnd = 77_000;

    // It goes on, notices that it was away, and asks for all flows again.
    agent.session.suspend(2);
    let hello = agent.speak();
    assert_eq!(agent.mode(), FlowMode::Fallback);
    let waited = datapath.take();
    assert!(agent.hear(waited).is_empty());
    assert_eq!(agent.session.stats().reports_while_suspended, 1);

    datapath.hear(hello);
    talk(&mut datapath, &mut agent);
    assert_eq!(agent.mode(), FlowMode::Running);
    for _ in 0..77 {
        datapath.ack(1_000, 0, false);
    }
    talk(&mut datapath, &mut agent);
    assert_eq!(datapath.ack(0, 0, false), 78_000);
}

#[test]
fn an_update_for_an_earlier_announcement_does_nothing() {
    let mut datapath = MiniDatapath::new();
    let mut agent = Agent::new(1);
    datapath.ready();
    datapath.open(443);
    talk(&mut datapath, &mut agent);
    for _ in 0..10 {
        datapath.ack(1_000, 0, false);
    }
    // The answer is under way while the datapath announces the flow anew.
    let late = agent.hear(datapath.take());
    assert_eq!(late.len(), 1);
    datapath.flow.as_mut().unwrap().cwnd = 3_000;
    datapath.announce(Origin::Resumed);
    datapath.hear(late);
    assert_eq!(datapath.ack(0, 0, false), 3_000);
    talk(&mut datapath, &mut agent);
    assert_eq!(datapath.ack(0, 0, false), 3_000);
    assert_eq!(agent.mode(), FlowMode::Running);
}
