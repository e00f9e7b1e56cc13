//! Programs: what a datapath gets, and what becomes of what it does not run.

use super::*;

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
