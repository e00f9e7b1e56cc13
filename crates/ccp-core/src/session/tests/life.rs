//! Flows: they come, come again, report and go.

use super::*;

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
