//! What flows are given while they are there.

use super::*;

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
