use std::sync::Arc;

use bytes::BytesMut;
use ccp_program::{Limits, RegisterTable};
use ccp_types::SockId;
use ccp_wire::{
    Capabilities, Field, FieldExt, FieldTarget, Frame, Hello, Message, TargetExt, VERSION,
};

use super::ProgramTable;
use crate::alg::{CongAlg, Flow, FlowId, NewFlow};
use crate::command::{Command, FlowUpdate, Place};
use crate::policy::Native;
use crate::program::CompiledProgram;
use crate::registry::Algorithm;
use crate::testing::{Only, Starts};

fn algorithm() -> Algorithm {
    let source = "(def (Report (a 1)) (volatile quick 2) (slow 3)) \
                  (when true (:= Report.a (+ quick slow)) (report))";
    let program = CompiledProgram::compile("p", source).unwrap();
    Algorithm::new("p", "only", Arc::new(Only(program)))
}

fn tables() -> (ProgramTable, ProgramTable) {
    let all = [algorithm()];
    let capabilities = Capabilities::new(RegisterTable::well_known(), Limits::MAX);
    (
        ProgramTable::new(&all, None),
        ProgramTable::new(&all, Some(&capabilities)),
    )
}

fn update(change_program: bool) -> Command {
    Command::Update(FlowUpdate {
        flow: FlowId(9),
        sock_id: SockId(4),
        generation: 3,
        program_uid: 1,
        change_program,
        fields: [
            (Place::Writable(0), 1 << 40),
            (Place::Writable(1), 5),
            (Place::Control(0), 6),
            (Place::Control(1), 7),
        ]
        .into_iter()
        .collect(),
    })
}

fn encoded(table: &ProgramTable, command: &Command) -> Option<BytesMut> {
    let mut frames = BytesMut::new();
    let any = table.encode(command, &mut frames).unwrap();
    assert_eq!(any, !frames.is_empty());
    any.then_some(frames)
}

fn with_message<R>(frame: &BytesMut, look: impl FnOnce(Message<'_>) -> R) -> R {
    let (frame, rest) = Frame::split(frame).unwrap();
    assert!(rest.is_empty(), "one frame for each command");
    look(frame.message().unwrap())
}

#[test]
fn libccp_gets_program_and_fields_in_one_message() {
    // What used to happen elsewhere: an UPDATE_FIELDS just before a CHANGE_PROG was dropped.
    let (libccp, _) = tables();
    let fields = [
        (FieldTarget::Cwnd, 1 << 40),
        (FieldTarget::Rate, 5),
        (
            FieldTarget::Control {
                index: 0,
                volatile: true,
            },
            6,
        ),
        (
            FieldTarget::Control {
                index: 1,
                volatile: false,
            },
            7,
        ),
    ]
    .map(|(target, value)| Field { target, value });
    with_message(&encoded(&libccp, &update(true)).unwrap(), |message| {
        let Message::ChangeProg(change) = message else {
            panic!("{message:?}")
        };
        assert_eq!((change.sock_id, change.program_uid), (SockId(4), 1));
        assert_eq!(change.fields, fields);
    });
    with_message(&encoded(&libccp, &update(false)).unwrap(), |message| {
        let Message::UpdateFields(update) = message else {
            panic!("{message:?}")
        };
        assert_eq!(update.fields, fields);
    });
}

#[test]
fn our_datapaths_get_generation_and_places() {
    let (_, ours) = tables();
    let fields = [
        (TargetExt::CWND, 1 << 40),
        (TargetExt::RATE, 5),
        (TargetExt::Control(0), 6),
        (TargetExt::Control(1), 7),
    ]
    .map(|(target, value)| FieldExt { target, value });
    with_message(&encoded(&ours, &update(true)).unwrap(), |message| {
        let Message::ChangeProgExt(change) = message else {
            panic!("{message:?}")
        };
        assert_eq!((change.generation, change.program_uid), (3, 1));
        assert_eq!(change.fields, fields);
    });
    with_message(&encoded(&ours, &update(false)).unwrap(), |message| {
        let Message::UpdateExt(update) = message else {
            panic!("{message:?}")
        };
        assert_eq!((update.generation, update.program_uid), (3, 1));
        assert_eq!(update.fields, fields);
    });
}

#[test]
fn libccp_is_sent_nothing_that_it_does_not_know() {
    let (libccp, ours) = tables();
    let hello = Command::Hello(Hello {
        version: VERSION,
        features: ours.features(),
        epoch: 1,
        heartbeat: ccp_types::Micros(0),
        fallback_after: ccp_types::Micros(0),
    });
    let native = Command::Native {
        flow: FlowId(9),
        sock_id: SockId(4),
        generation: 3,
        mss: 1_448,
        by: Native::Named("reno".into()),
    };
    assert!(encoded(&libccp, &hello).is_none());
    with_message(&encoded(&libccp, &native).unwrap(), |message| {
        let Message::ChangeProg(change) = message else {
            panic!("{message:?}")
        };
        let program = &libccp.get(change.program_uid).unwrap().program;
        assert_eq!(program.name(), "native");
        assert_eq!(program.ir().controls[0].name, "segment");
        assert_eq!(change.fields[0].value, 1_448);
    });
    assert!(encoded(&ours, &hello).is_some());
    with_message(&encoded(&ours, &native).unwrap(), |message| {
        let Message::ChangeProgExt(change) = message else {
            panic!("{message:?}")
        };
        assert_eq!((change.program_uid, change.fields.len()), (0, 0));
    });
}

#[test]
fn programs_go_out_in_the_form_of_the_peer() {
    let (libccp, ours) = tables();
    let install = |table: &ProgramTable| Command::Install(table.get(1).unwrap().clone());
    with_message(
        &encoded(&libccp, &install(&libccp)).unwrap(),
        |message| match message {
            Message::Install(install) => assert_eq!(install.program_uid, 1),
            other => panic!("{other:?}"),
        },
    );
    with_message(&encoded(&ours, &install(&ours)).unwrap(), |message| {
        let Message::InstallExt(install) = message else {
            panic!("{message:?}")
        };
        install.to_program(ours.registers(), &Limits::MAX).unwrap();
    });
}

#[test]
fn numbers_that_were_never_given_name_nothing() {
    let (libccp, _) = tables();
    assert!(libccp.get(0).is_none());
    assert!(libccp.get(3).is_none());
    assert!(libccp.get(u32::MAX).is_none());
    assert_eq!(libccp.get(1).map(|i| i.uid), Some(1));
}

#[test]
fn a_libccp_flow_that_nobody_steers_goes_on_by_itself() {
    // What used to happen elsewhere: without a program the window stayed as it was for ever.
    use crate::testkit::{Path, Round, Setup, TestFlow};
    let (libccp, _) = tables();
    let native = libccp.get(2).unwrap().program.clone();
    let setup = Setup {
        registers: RegisterTable::libccp(),
        ..Setup::default()
    };
    let mut flow = TestFlow::with(Starts(native), &setup);
    let path = Path {
        reduces: false,
        ..Path::default()
    };
    let quiet = Round::default();
    let script = [quiet, quiet, Round::lose(3), quiet, quiet, Round::timeout()];
    let rounds = script.into_iter().chain([quiet; 6]);
    assert_eq!(
        path.run(&mut flow, rounds),
        [20, 40, 20, 21, 22, 2, 4, 8, 11, 12, 13, 14]
    );
    assert_eq!(flow.reports(), 0);
}

/// It used to end whoever served the datapath, and with it the daemon.
#[test]
fn an_algorithm_that_panics_when_it_is_asked_does_not_fit() {
    struct Panics(CompiledProgram);

    impl CongAlg for Panics {
        fn programs(&self) -> Vec<CompiledProgram> {
            vec![self.0.clone()]
        }

        fn fits(&self, _: &dyn Fn(&CompiledProgram) -> bool) -> bool {
            panic!("it does not know");
        }

        fn new_flow(&self, _: &NewFlow<'_>) -> Box<dyn Flow> {
            unreachable!("it fits no datapath")
        }
    }

    let program = algorithm().programs()[0].clone();
    let panics = Algorithm::new("panics", "panics", Arc::new(Panics(program)));
    let table = ProgramTable::new(&[panics.clone(), algorithm()], None);
    assert!(!table.fits(&panics));
    assert!(!table.extended(&[]).fits(&panics));
    assert!(table.runs(&panics.programs()[0]));
}
