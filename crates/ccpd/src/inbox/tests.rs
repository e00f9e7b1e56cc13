use ccp_core::Updates;

use super::{Head, Inbox, Next, Turn};

fn report(inbox: &Inbox, fields: &[u64]) {
    let head = Head {
        program_uid: 1,
        generation: 0,
        merged: 0,
    };
    inbox.push(head, fields.iter().copied());
}

fn kinds(inbox: &Inbox) -> Vec<String> {
    let mut fields = Vec::new();
    let mut kinds = Vec::new();
    while let Some(next) = inbox.next(&mut fields) {
        kinds.push(match next {
            Next::Turn(_) => "turn".to_owned(),
            Next::Assigned(assigned) => {
                let algorithm = assigned.algorithm.as_ref().map(ccp_core::Algorithm::name);
                format!("assigned {algorithm:?}")
            }
            Next::Missed(count) => format!("missed {count}"),
            Next::Report(_) => format!("report {fields:?}"),
            Next::FromGroup(_) => "group".to_owned(),
            Next::Closed(_) => "closed".to_owned(),
            Next::Stopped => "stopped".to_owned(),
        });
        if matches!(kinds.last().map(String::as_str), Some("closed" | "stopped")) {
            break;
        }
    }
    kinds
}

#[test]
fn reports_come_before_the_end() {
    let inbox = Inbox::default();
    report(&inbox, &[1]);
    assert!(inbox.group(Updates::none()));
    inbox.close(None);
    report(&inbox, &[2]);
    assert_eq!(kinds(&inbox), ["report [1]", "group", "closed"]);
}

#[test]
fn a_stop_comes_before_everything() {
    let inbox = Inbox::default();
    report(&inbox, &[1]);
    inbox.turn(Turn::Suspended);
    inbox.stop();
    assert_eq!(kinds(&inbox), ["stopped"]);
}

#[test]
fn what_waited_when_the_flow_changed_hands_is_forgotten() {
    let inbox = Inbox::default();
    report(&inbox, &[1]);
    inbox.turn(Turn::Suspended);
    report(&inbox, &[2]);
    assert_eq!(kinds(&inbox), ["turn", "report [2]"]);
}

#[test]
fn the_algorithm_hears_how_many_it_missed_before_the_next() {
    let inbox = Inbox::default();
    for n in 0..12 {
        report(&inbox, &[n; 110]);
    }
    let kinds = kinds(&inbox);
    assert_eq!(kinds[0], "missed 3");
    assert!(kinds[1].starts_with("report [3, 3,"), "{kinds:?}");
    assert_eq!(kinds.len(), 1 + 9);
}

#[test]
fn a_flow_of_the_group_cannot_fill_memory() {
    let inbox = Inbox::default();
    let taken = (0..1_000).filter(|_| inbox.group(Updates::none())).count();
    assert_eq!(taken, super::MOST_FROM_GROUP);
}
