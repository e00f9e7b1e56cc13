use std::sync::Arc;

use bytes::BytesMut;
use ccp_program::{Limits, RegisterTable};
use ccp_types::{Bytes, Origin};
use ccp_wire::{
    Capabilities, Create, Features, Frame, Measure, MeasureBuf, Message, Ready, ReportTrailer,
    UpdateFields,
};

use super::{
    Announced, AssignError, FlowIds, Opened, Output, Plan, Session, SessionNotice, SessionOptions,
    SessionStats,
};
use crate::alg::FlowId;
use crate::command::Command;
use crate::policy::{Given, Match, Native, Policy, Rule};
use crate::program::CompiledProgram;
use crate::registry::Algorithm;
use crate::table::{Form, Unfit};
use crate::testing::{Only, Puppet, info};

mod life;
mod programs;
mod rules;

fn plan() -> Arc<Plan> {
    Plan::new(Policy::new(vec![], Puppet::new().named("mine")))
}

fn session_of(plan: Arc<Plan>, options: SessionOptions) -> Session {
    Session::new("ccp", plan, FlowIds::new(), options)
}

fn session() -> Session {
    session_of(plan(), SessionOptions::default())
}

fn capabilities() -> Capabilities {
    Capabilities::new(RegisterTable::well_known(), Limits::MAX)
}

fn ready(capabilities: Option<Capabilities>) -> Message<'static> {
    Message::Ready(Ready {
        id: 0,
        capabilities,
    })
}

fn create(sock_id: u32, port: u16, generation: u32, origin: Origin) -> Message<'static> {
    let mut info = info(sock_id, port);
    info.origin = origin;
    Message::Create(Box::new(Create::from_flow_info(&info, generation)))
}

/// What libccp sends: no trailing fields.
fn legacy(sock_id: u32, port: u16) -> Message<'static> {
    let mut create = Create::from_flow_info(&info(sock_id, port), 0);
    create.src_port = u32::from(40_000_u16.swap_bytes());
    create.dst_port = u32::from(port.swap_bytes());
    create.details = None;
    Message::Create(Box::new(create))
}

fn measure(sock_id: u32, program_uid: u32, n: usize, generation: Option<u32>) -> BytesMut {
    use ccp_wire::Encode;
    let measure = MeasureBuf {
        sock_id: ccp_types::SockId(sock_id),
        program_uid,
        fields: vec![7; n],
        trailer: generation.map(|generation| ReportTrailer {
            generation,
            merged: 2,
        }),
        totals: None,
    };
    let mut frame = BytesMut::new();
    measure.encode(&mut frame).unwrap();
    frame
}

fn feed(session: &mut Session, frame: &[u8]) -> Option<(FlowId, u64)> {
    let (frame, _) = Frame::split(frame).unwrap();
    let message = frame.message().unwrap();
    let delivery = session.on_message(&message)?;
    let fields: Vec<u64> = Measure::fields(&delivery.measure).collect();
    assert!(!fields.is_empty());
    Some((delivery.flow, delivery.merged))
}

fn poll(session: &mut Session) -> Vec<Output> {
    std::iter::from_fn(|| session.poll()).collect()
}

fn say(session: &mut Session, message: &Message<'_>) -> Vec<String> {
    assert!(session.on_message(message).is_none());
    words(&poll(session))
}

/// Outputs in a word or two each.
fn words(outputs: &[Output]) -> Vec<String> {
    outputs
        .iter()
        .map(|output| match output {
            Output::Command(Command::Hello(hello)) => format!("hello {}", hello.epoch),
            Output::Command(Command::Install(i)) => {
                let form = match i.form {
                    Form::Whole(_) => "whole",
                    Form::Libccp(_) => "libccp",
                };
                format!("install {} {} {form}", i.uid, i.program.name())
            }
            Output::Command(Command::Native { sock_id, .. }) => format!("native {}", sock_id.0),
            Output::Command(other) => format!("{other:?}"),
            Output::Opened(opened) => {
                let algorithm = opened.algorithm.as_ref().map(|a| a.name());
                format!(
                    "opened {} {:?} rule {:?}",
                    opened.flow.0, algorithm, opened.rule
                )
            }
            Output::Resumed { flow, announced } => format!(
                "resumed {} {:?} {}",
                flow.0, announced.info.origin, announced.generation
            ),
            Output::Assigned { flow, assigned } => {
                let algorithm = assigned.algorithm.as_ref().map(|a| a.name());
                let programs = assigned.programs.installed().len();
                format!(
                    "assigned {} {:?} rule {:?} of {programs} programs",
                    flow.0, algorithm, assigned.rule
                )
            }
            Output::Suspended { flow } => format!("suspended {}", flow.0),
            Output::Closed { flow, .. } => format!("closed {}", flow.0),
            Output::Notice(SessionNotice::Ready {
                programs,
                lost_flows,
            }) => format!("ready {programs} lost {lost_flows}"),
            Output::Notice(SessionNotice::ProgramRefused(refused)) => {
                format!("refused {}: {}", refused.program.name(), refused.why)
            }
            Output::Notice(SessionNotice::Unavailable { algorithm }) => {
                format!("unavailable {algorithm}")
            }
            Output::Notice(SessionNotice::TooManyFlows { limit }) => format!("limit {limit}"),
        })
        .collect()
}

const WHOLE: [&str; 2] = ["install 1 puppet whole", "install 2 other whole"];
/// The last one is what steers flows that nobody else does.
const LIBCCP: [&str; 3] = [
    "install 1 puppet libccp",
    "install 2 other libccp",
    "install 3 native libccp",
];
