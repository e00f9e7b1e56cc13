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

#[test]
fn a_capable_datapath_gets_hello_and_whole_programs_before_any_flow() {
    let mut session = session();
    let said = say(&mut session, &ready(Some(capabilities())));
    assert_eq!(said, ["hello 1", WHOLE[0], WHOLE[1], "ready 2 lost 0"]);
}

#[test]
fn a_libccp_datapath_gets_bytecode_and_no_word_that_it_does_not_know() {
    let mut session = session();
    let said = say(&mut session, &ready(None));
    assert_eq!(said, [LIBCCP[0], LIBCCP[1], LIBCCP[2], "ready 3 lost 0"]);
}

#[test]
fn the_first_program_has_number_one_each_time_it_is_installed() {
    // What used to happen elsewhere: libccp wipes its table at number 1 only. An agent whose
    // counter had advanced never wiped it, and old flows ran what sat in their slot.
    let mut session = session();
    for restart in 0..3 {
        let said = say(&mut session, &ready(None));
        assert_eq!(said[0], LIBCCP[0], "{restart}");
    }
    assert_eq!(session.stats().restarts, 2);
    let mut other_daemon = self::session();
    assert_eq!(say(&mut other_daemon, &ready(None))[0], LIBCCP[0]);
}

#[test]
fn a_datapath_that_announces_a_flow_before_it_said_ready_gets_its_programs_first() {
    let mut session = session();
    let said = say(&mut session, &legacy(1, 443));
    assert_eq!(
        said,
        [
            LIBCCP[0],
            LIBCCP[1],
            LIBCCP[2],
            "opened 1 Some(\"mine\") rule None"
        ]
    );
}

#[test]
fn life_of_a_flow_on_a_libccp_datapath() {
    let mut session = session();
    say(&mut session, &ready(None));
    let frames = poll(&mut session);
    assert!(frames.is_empty());
    assert_eq!(
        say(&mut session, &legacy(5, 443)),
        ["opened 1 Some(\"mine\") rule None"]
    );
    assert_eq!(
        feed(&mut session, &measure(5, 1, 1, None)),
        Some((FlowId(1), 0))
    );
    // The end, and then the same socket id again at once.
    assert_eq!(feed(&mut session, &measure(5, 0, 0, None)), None);
    assert_eq!(words(&poll(&mut session)), ["closed 1"]);
    assert_eq!(feed(&mut session, &measure(5, 1, 1, None)), None);
    assert_eq!(
        say(&mut session, &legacy(5, 443)),
        ["opened 2 Some(\"mine\") rule None"]
    );
    let stats = session.stats();
    assert_eq!((stats.flows_opened, stats.flows_closed), (2, 1));
    assert_eq!((stats.reports, stats.reports_of_unknown_flows), (1, 1));
}

#[test]
fn a_socket_id_that_another_flow_took_is_another_flow() {
    // What used to happen elsewhere: a slot used again within 100 ms was still the old flow.
    let mut session = session();
    say(&mut session, &legacy(5, 443));
    assert_eq!(
        say(&mut session, &legacy(5, 444)),
        ["closed 1", "opened 2 Some(\"mine\") rule None"]
    );
    assert_eq!(session.stats().flows_replaced, 1);
    assert_eq!(session.flow_count(), 1);
}

#[test]
fn flows_that_went_without_a_word_are_found_and_make_room() {
    let options = SessionOptions {
        max_flows: 3,
        ..SessionOptions::default()
    };
    let mut session = session_of(plan(), options);
    say(&mut session, &ready(Some(capabilities())));
    for sock_id in 1..=3 {
        say(&mut session, &create(sock_id, 5_000, 1, Origin::New));
    }
    assert_eq!(session.end_missing(|_| true), 0);
    assert_eq!(poll(&mut session).len(), 0);
    assert_eq!(session.end_missing(|sock_id| sock_id.0 == 2), 2);
    let ended = poll(&mut session);
    assert!(
        matches!(
            &ended[..],
            [
                Output::Closed { totals: None, .. },
                Output::Closed { totals: None, .. }
            ]
        ),
        "{ended:?}"
    );
    assert_eq!(session.flow_count(), 1);
    let stats = session.stats();
    assert_eq!((stats.ends_unheard, stats.flows_closed), (2, 2));
    // There is room again, and the one that stayed is as it was.
    say(&mut session, &create(4, 5_000, 1, Origin::New));
    assert_eq!(session.flow_count(), 2);
    assert_eq!(session.stats().flows_refused, 0);
}

#[test]
fn a_flow_that_is_announced_again_is_the_same_flow() {
    let mut session = session();
    say(&mut session, &ready(Some(capabilities())));
    say(&mut session, &create(1, 443, 1, Origin::New));
    assert_eq!(
        say(&mut session, &create(1, 443, 2, Origin::Resumed)),
        ["resumed 1 Resumed 2"]
    );
    // Again because it got no answer: nothing of it has changed.
    assert_eq!(
        say(&mut session, &create(1, 443, 2, Origin::Resumed)),
        ["resumed 1 Resumed 2"]
    );
    assert_eq!(session.stats().flows_resumed, 2);
    // Reports of the announcement before are void.
    assert_eq!(feed(&mut session, &measure(1, 1, 1, Some(1))), None);
    assert_eq!(session.stats().reports_of_earlier_announcements, 1);
    assert_eq!(
        feed(&mut session, &measure(1, 1, 1, Some(2))),
        Some((FlowId(1), 2))
    );
    assert_eq!(session.stats().reports_merged, 2);
}

#[test]
fn reports_that_cannot_be_believed_are_counted_by_cause() {
    let mut session = session();
    say(&mut session, &ready(Some(capabilities())));
    say(&mut session, &create(1, 443, 1, Origin::New));
    for frame in [
        measure(2, 1, 1, Some(1)),
        measure(1, 0, 1, Some(1)),
        measure(1, 3, 1, Some(1)),
        measure(1, u32::MAX, 1, Some(1)),
        measure(1, 1, 2, Some(1)),
        measure(1, 1, 110, Some(1)),
        measure(1, 1, 1, Some(0)),
        measure(9, 0, 0, Some(1)),
    ] {
        assert_eq!(feed(&mut session, &frame), None);
    }
    session.on_garbage();
    say(
        &mut session,
        &Message::UpdateFields(UpdateFields {
            sock_id: ccp_types::SockId(1),
            fields: vec![],
        }),
    );
    let expected = SessionStats {
        flows_opened: 1,
        reports_of_unknown_flows: 2,
        reports_of_unknown_programs: 3,
        reports_of_wrong_length: 2,
        reports_of_earlier_announcements: 1,
        garbage: 1,
        unexpected_messages: 1,
        ..SessionStats::default()
    };
    assert_eq!(*session.stats(), expected);
    // The flow is as it was.
    assert!(feed(&mut session, &measure(1, 1, 1, Some(1))).is_some());
}

#[test]
fn an_announcement_that_makes_no_sense_is_counted() {
    let mut session = session();
    let mut zero = Create::from_flow_info(&info(1, 443), 1);
    zero.mss = 0;
    assert!(say(&mut session, &Message::Create(Box::new(zero))).is_empty());
    assert_eq!(session.stats().bad_creates, 1);
    assert_eq!(session.flow_count(), 0);
}

#[test]
fn a_datapath_that_starts_again_has_lost_its_flows() {
    let mut session = session();
    say(&mut session, &ready(Some(capabilities())));
    say(&mut session, &create(2, 443, 1, Origin::New));
    say(&mut session, &create(1, 443, 1, Origin::New));
    let said = say(&mut session, &ready(Some(capabilities())));
    assert_eq!(
        said,
        [
            "closed 1",
            "closed 2",
            "hello 1",
            WHOLE[0],
            WHOLE[1],
            "ready 2 lost 2"
        ]
    );
    assert_eq!(session.stats().flows_lost, 2);
    assert_eq!(session.flow_count(), 0);
}

#[test]
fn a_datapath_that_goes_away_ends_its_flows() {
    let mut session = session();
    say(&mut session, &create(1, 443, 1, Origin::New));
    session.disconnect();
    assert_eq!(words(&poll(&mut session)), ["closed 1"]);
    assert!(session.programs().installed().is_empty());
}

#[test]
fn after_a_suspension_nothing_is_believed_until_a_flow_is_announced_again() {
    // What used to happen elsewhere: reports that had waited while the agent was stopped steered
    // flows that had long been taken over.
    let mut session = session();
    say(&mut session, &ready(Some(capabilities())));
    say(&mut session, &create(1, 443, 1, Origin::New));
    session.suspend(2);
    assert_eq!(words(&poll(&mut session)), ["suspended 1", "hello 2"]);
    assert_eq!(feed(&mut session, &measure(1, 1, 1, Some(1))), None);
    assert_eq!(session.stats().reports_while_suspended, 1);
    // Flows that end meanwhile end.
    say(&mut session, &create(2, 444, 1, Origin::New));
    session.suspend(3);
    poll(&mut session);
    assert_eq!(feed(&mut session, &measure(2, 0, 0, Some(1))), None);
    assert_eq!(words(&poll(&mut session)), ["closed 2"]);
    assert_eq!(
        say(&mut session, &create(1, 443, 2, Origin::Resumed)),
        ["resumed 1 Resumed 2"]
    );
    assert!(feed(&mut session, &measure(1, 1, 1, Some(2))).is_some());
}

#[test]
fn a_libccp_datapath_is_not_suspended_since_it_would_never_announce_its_flows_again() {
    let mut session = session();
    say(&mut session, &ready(None));
    say(&mut session, &legacy(1, 443));
    session.suspend(2);
    assert!(poll(&mut session).is_empty());
    assert!(feed(&mut session, &measure(1, 1, 1, None)).is_some());
}

#[test]
fn flows_are_limited_and_the_limit_is_told_once() {
    let mut session = session_of(
        plan(),
        SessionOptions {
            max_flows: 2,
            ..SessionOptions::default()
        },
    );
    say(&mut session, &ready(None));
    for sock_id in 1..=2 {
        assert_eq!(say(&mut session, &legacy(sock_id, 443)).len(), 1);
    }
    // libccp would keep the initial window for ever: it is told what else to run.
    assert_eq!(say(&mut session, &legacy(3, 443)), ["limit 2", "native 3"]);
    assert_eq!(say(&mut session, &legacy(4, 443)), ["native 4"]);
    assert_eq!(session.stats().flows_refused, 2);
    assert_eq!(feed(&mut session, &measure(3, 1, 1, None)), None);
    // There is room again.
    feed(&mut session, &measure(1, 0, 0, None));
    poll(&mut session);
    assert_eq!(say(&mut session, &legacy(3, 443)).len(), 1);
    assert_eq!(say(&mut session, &legacy(4, 443)), ["limit 2", "native 4"]);
}

#[test]
fn a_transport_without_room_turns_a_flow_away() {
    let mut session = session();
    say(&mut session, &ready(None));
    say(&mut session, &legacy(1, 443));
    assert_eq!(say(&mut session, &legacy(2, 443)).len(), 1);
    session.refuse(ccp_types::SockId(2));
    assert_eq!(words(&poll(&mut session)), ["native 2"]);
    let stats = session.stats();
    assert_eq!((stats.flows_opened, stats.flows_refused), (1, 1));
    assert_eq!(feed(&mut session, &measure(2, 1, 1, None)), None);
    session.refuse(ccp_types::SockId(2));
    assert!(poll(&mut session).is_empty());
    // The other one is told the same when the datapath is left.
    let left: Vec<_> = session.farewell().map(Output::Command).collect();
    assert_eq!(words(&left), ["native 1"]);
}

#[test]
fn a_datapath_is_given_a_bounded_number_of_programs() {
    let mut session = session();
    session.on_ready(Some(&capabilities()));
    for round in 0..300 {
        let source = format!("(def (Report (a {round}))) (when true (report))");
        let only = CompiledProgram::compile("only", &source).unwrap();
        let only = Algorithm::new("only", "only", Arc::new(Only(only)));
        session.set_plan(Plan::new(Policy::new(vec![], only)));
    }
    assert_eq!(session.programs().installed().len(), crate::MAX_PROGRAMS);
    let why = session.programs().refused().first().map(|r| r.why.clone());
    let limit = crate::MAX_PROGRAMS;
    assert_eq!(why, Some(Unfit::Full { limit }));
}

/// A plan whose rule wants an algorithm that needs `Flow.mss`, and a default that does not.
fn demanding() -> Arc<Plan> {
    let wants = Puppet::with(
        "wants",
        "(when (> Flow.mss 0) (:= Cwnd Cwnd) (fallthrough))",
    );
    let rule = Rule {
        matches: Match::default(),
        given: wants.named("wants").into(),
    };
    Plan::new(Policy::new(vec![rule], Puppet::new().named("mine")))
}

#[test]
fn what_the_datapath_cannot_run_is_told_and_the_default_steps_in() {
    let mut session = session_of(demanding(), SessionOptions::default());
    let said = say(&mut session, &ready(None));
    assert_eq!(
        said,
        [
            "refused wants: the datapath does not measure `Flow.mss`, which the program reads",
            "unavailable wants",
            LIBCCP[0],
            LIBCCP[1],
            LIBCCP[2],
            "ready 3 lost 0"
        ]
    );
    assert_eq!(
        say(&mut session, &legacy(1, 443)),
        ["opened 1 Some(\"mine\") rule Some(0)"]
    );
    assert_eq!(session.stats().flows_without_their_algorithm, 1);

    let mut session = session_of(demanding(), SessionOptions::default());
    say(&mut session, &ready(Some(capabilities())));
    assert_eq!(
        say(&mut session, &create(1, 443, 1, Origin::New)),
        ["opened 1 Some(\"wants\") rule Some(0)"]
    );
    assert_eq!(session.stats().flows_without_their_algorithm, 0);
}

#[test]
fn a_flow_stays_with_its_datapath_if_even_the_default_does_not_fit() {
    let limits = Limits {
        instructions: 1,
        ..Limits::MAX
    };
    let capabilities = Capabilities::new(RegisterTable::well_known(), limits);
    let mut session = session();
    let said = say(&mut session, &ready(Some(capabilities)));
    assert!(
        said[0].starts_with("refused puppet: the program has"),
        "{said:?}"
    );
    assert_eq!(
        say(&mut session, &create(1, 443, 1, Origin::New)),
        ["opened 1 None rule None"]
    );
}

#[test]
fn libccp_has_room_for_nine_programs_of_which_one_is_ours() {
    let programs = (0..11)
        .map(|n| {
            let more = format!("(when (> Cwnd {n}) (:= Cwnd {n}) (fallthrough))");
            Puppet::with(&format!("p{n}"), &more).named("x")
        })
        .collect::<Vec<_>>();
    let plan = Plan::with_algorithms(
        Policy::new(vec![], Puppet::new().named("mine")),
        programs.clone(),
    );
    let mut session = session_of(plan, SessionOptions::default());
    let _ = say(&mut session, &ready(None));
    let table = session.programs();
    assert_eq!(table.installed().len(), 9);
    let full: Vec<&Unfit> = table.refused().iter().map(|r| &r.why).collect();
    assert_eq!(full, [&Unfit::Full { limit: 8 }; 5]);
    assert!(table.fits(&programs[0]) && !table.fits(&programs[10]));
}

#[test]
fn programs_that_several_algorithms_share_are_installed_once() {
    let puppet = Puppet::new();
    let rule = Rule {
        matches: Match::default(),
        given: puppet.named("twin").into(),
    };
    let plan = Plan::new(Policy::new(vec![rule], puppet.named("mine")));
    let mut session = session_of(plan, SessionOptions::default());
    assert_eq!(say(&mut session, &ready(None)).len(), 4);
}

#[test]
fn features_that_this_version_does_not_know_are_not_used() {
    let mut unknown = capabilities();
    unknown.features = Features(Features::ALL.0 | 1 << 30);
    let mut session = session();
    session.on_ready(Some(&unknown));
    match poll(&mut session).first() {
        Some(Output::Command(Command::Hello(hello))) => {
            assert_eq!(hello.features, Features::ALL);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn opened_flows_know_their_datapath_and_its_programs() {
    let mut session = session();
    say(&mut session, &ready(Some(capabilities())));
    session.on_message(&create(1, 443, 7, Origin::Adopted));
    let outputs = poll(&mut session);
    let [Output::Opened(opened)] = outputs.as_slice() else {
        panic!("{outputs:?}")
    };
    let Opened {
        datapath,
        announced: Announced {
            info, generation, ..
        },
        programs,
        ..
    } = &**opened;
    assert_eq!((&**datapath, *generation), ("ccp", 7));
    assert_eq!(info.origin, Origin::Adopted);
    assert_eq!(info.state.cwnd, Bytes(10_000));
    assert!(Arc::ptr_eq(programs, &session.programs()));
    let unknown = CompiledProgram::compile("x", "(def (Report (a 1))) (when true (report))");
    assert!(!programs.runs(&unknown.unwrap()));
}

#[test]
fn new_rules_reach_the_flows_that_there_are() {
    let mut session = session();
    say(&mut session, &ready(Some(capabilities())));
    say(&mut session, &create(1, 443, 7, Origin::New));
    say(&mut session, &create(2, 80, 7, Origin::New));
    let newer = Puppet::with("newer", "(when (> Cwnd 5) (:= Cwnd 5) (fallthrough))");
    let web = Rule {
        matches: Match {
            dst_port: Some("443".parse().unwrap()),
            ..Match::default()
        },
        given: newer.named("newer").into(),
    };
    session.set_plan(Plan::new(Policy::new(
        vec![web],
        Puppet::new().named("mine"),
    )));
    // Only what is new is installed, and before any flow is told to run it.
    assert_eq!(
        words(&poll(&mut session)),
        [
            "install 3 newer whole",
            "assigned 1 Some(\"newer\") rule Some(0) of 3 programs",
            "assigned 2 Some(\"mine\") rule None of 3 programs",
        ]
    );
    let opened = say(&mut session, &create(3, 443, 7, Origin::New));
    assert_eq!(opened, ["opened 3 Some(\"newer\") rule Some(0)"]);
}

#[test]
fn new_rules_wait_for_a_datapath() {
    let mut session = session();
    let newer = Puppet::new().named("newer");
    session.set_plan(Plan::new(Policy::new(vec![], newer)));
    assert!(poll(&mut session).is_empty());
    say(&mut session, &ready(Some(capabilities())));
    let opened = say(&mut session, &create(1, 443, 7, Origin::New));
    assert_eq!(opened, ["opened 1 Some(\"newer\") rule None"]);
}

#[test]
fn a_libccp_datapath_takes_new_programs_while_it_has_room() {
    let mut session = session();
    say(&mut session, &ready(None));
    say(&mut session, &legacy(1, 443));
    // It has ours for nobody's flows and two of the puppet's: six more.
    for round in 0..7 {
        let only = CompiledProgram::compile(
            "only",
            &format!("(def (Report (a {round}))) (when true (report))"),
        );
        let only = Algorithm::new("only", "only", Arc::new(Only(only.unwrap())));
        session.set_plan(Plan::new(Policy::new(vec![], only)));
        let said = words(&poll(&mut session));
        if round < 6 {
            let uid = round + 4;
            assert_eq!(said[0], format!("install {uid} only libccp"));
            assert!(said[1].starts_with("assigned 1 Some(\"only\")"), "{said:?}");
        } else {
            assert!(said[0].starts_with("refused only"), "{said:?}");
            assert!(
                said.last().unwrap().starts_with("assigned 1 None"),
                "{said:?}"
            );
        }
    }
}

#[test]
fn a_flow_can_be_given_an_algorithm_by_hand() {
    let mut session = session();
    say(&mut session, &ready(Some(capabilities())));
    say(&mut session, &create(1, 443, 7, Origin::New));
    let newer = Puppet::with("newer", "(when (> Cwnd 5) (:= Cwnd 5) (fallthrough))");
    let newer = Given::from(newer.named("newer"));
    assert_eq!(
        session.assign(FlowId(9), &newer),
        Err(AssignError::NoSuchFlow)
    );
    assert!(poll(&mut session).is_empty());
    session.assign(FlowId(1), &newer).unwrap();
    assert_eq!(
        words(&poll(&mut session)),
        [
            "install 3 newer whole",
            "assigned 1 Some(\"newer\") rule None of 3 programs",
        ]
    );
    session
        .assign(FlowId(1), &Given::Native(Native::Own))
        .unwrap();
    assert_eq!(
        words(&poll(&mut session)),
        ["assigned 1 None rule None of 3 programs"]
    );
    // New rules are stronger than the hand.
    session.set_plan(plan());
    assert_eq!(
        words(&poll(&mut session)),
        ["assigned 1 Some(\"mine\") rule None of 3 programs"]
    );
    // A program that the datapath can't run changes nothing.
    let unfit = CompiledProgram::compile(
        "unfit",
        "(def (Report (a 0))) (when true (:= Report.a Flow.one_way_delay_us) (report))",
    );
    let unfit = Algorithm::new("unfit", "only", Arc::new(Only(unfit.unwrap())));
    let mut libccp = session_of(plan(), SessionOptions::default());
    say(&mut libccp, &ready(None));
    say(&mut libccp, &legacy(1, 443));
    let refused = libccp.assign(FlowId(1), &unfit.into()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the datapath does not run what `unfit` needs; program `unfit`: the datapath does not \
         measure `Flow.one_way_delay_us`, which the program reads"
    );
    assert!(poll(&mut libccp).is_empty());
}

#[test]
fn a_flow_whose_runner_does_not_come_back_is_taken_on_anew() {
    let (mine, other) = (Puppet::new().named("mine"), Puppet::new().named("other"));
    let rule = Rule {
        matches: Match::default(),
        given: other.clone().into(),
    };
    let plan = Plan::new(Policy::new(vec![rule], mine.clone()));
    let mut session = session_of(plan, SessionOptions::default());
    session.on_message(&ready(Some(capabilities())));
    session.on_message(&create(5, 443, 3, Origin::New));
    let opened = |session: &mut Session| {
        let opened = poll(session).into_iter().find_map(|output| match output {
            Output::Opened(opened) => Some(opened),
            _ => None,
        });
        *opened.unwrap()
    };
    let first = opened(&mut session);
    assert!(first.algorithm.unwrap().same(&other));
    assert!(other.quarantine() && !other.quarantine());
    session.restart(first.flow);
    let second = opened(&mut session);
    assert_ne!(second.flow, first.flow);
    assert!(second.algorithm.unwrap().same(&mine));
    assert_eq!(second.announced.generation, 3);
    assert_eq!(second.announced.info.origin, Origin::Adopted);
    // Its reports are for the new one, and nobody else has any.
    let uid = second.programs.uid(&mine.programs()[0]).unwrap();
    let (flow, _) = feed(&mut session, &measure(5, uid, 1, Some(3))).unwrap();
    assert_eq!(flow, second.flow);
    session.restart(first.flow);
    assert!(poll(&mut session).is_empty());
    assert_eq!(session.stats().flows_without_their_algorithm, 0);
    // Both quarantined: its datapath has it.
    assert!(mine.quarantine());
    session.restart(second.flow);
    assert!(opened(&mut session).algorithm.is_none());
    assert!(mine.release() && other.release());
}

/// A plan whose rule hands all flows to the host's `reno`.
fn handing_over() -> Arc<Plan> {
    let rule = Rule {
        matches: Match::default(),
        given: Given::Native("native:reno".parse().unwrap()),
    };
    Plan::new(Policy::new(vec![rule], Puppet::new().named("mine")))
}

#[test]
fn a_rule_leaves_a_flow_to_an_algorithm_of_the_host_where_there_is_one() {
    let left_to = |session: &mut Session| {
        assert!(
            session
                .on_message(&create(1, 443, 7, Origin::New))
                .is_none()
        );
        let opened = poll(session).into_iter().find_map(|output| match output {
            Output::Opened(opened) => Some(opened),
            _ => None,
        });
        let opened = opened.unwrap();
        assert!(opened.algorithm.is_none());
        assert_eq!(opened.rule, Some(0));
        opened.native
    };
    let mut options = SessionOptions::default();
    let mut session = session_of(handing_over(), options);
    say(&mut session, &ready(Some(capabilities())));
    assert_eq!(left_to(&mut session), Native::Own);
    let reno = Native::Named("reno".into());
    let refused = session.assign(FlowId(1), &Given::Native(reno.clone()));
    let refused = refused.unwrap_err();
    assert!(matches!(&refused, AssignError::NoNatives { name } if **name == *"reno"));
    assert!(
        refused.to_string().contains("`native` leaves it"),
        "{refused}"
    );
    assert!(poll(&mut session).is_empty());

    options.natives = true;
    let mut session = session_of(handing_over(), options);
    say(&mut session, &ready(Some(capabilities())));
    assert_eq!(left_to(&mut session), reno);
    // And under new rules nothing is.
    session.set_plan(plan());
    let assigned = poll(&mut session)
        .into_iter()
        .find_map(|output| match output {
            Output::Assigned { assigned, .. } => Some(assigned),
            _ => None,
        });
    let assigned = assigned.unwrap();
    assert_eq!(assigned.native, Native::Own);
    assert!(assigned.algorithm.is_some());
    session.assign(FlowId(1), &Given::Native(reno)).unwrap();
}
