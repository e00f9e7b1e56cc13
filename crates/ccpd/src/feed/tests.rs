use std::sync::Arc;

use ccp_core::{FlowId, Timestamp};

use super::{Feed, QUEUE, Topic, What};

fn missed(feed: &Feed, flow: u64, count: u64) {
    feed.tell(
        Topic::Reports,
        Timestamp(count),
        FlowId(flow),
        What::ReportsMissed { count },
    );
}

async fn hear(told: &mut super::Subscription) -> (u64, Option<u64>) {
    let (lost, told) = told.next().await;
    (lost, told.map(|told| told.at.0))
}

#[tokio::test]
async fn one_hears_what_one_listens_to() {
    let feed = Arc::new(Feed::default());
    assert!(!feed.wants(Topic::Changes) && !feed.wants(Topic::Reports));
    missed(&feed, 1, 1);
    let mut all = feed.listen(&[Topic::Changes, Topic::Reports], Vec::new());
    let mut one = feed.listen(&[Topic::Reports], vec![FlowId(9), FlowId(2)]);
    let mut changes = feed.listen(&[Topic::Changes], Vec::new());
    assert!(feed.wants(Topic::Changes) && feed.wants(Topic::Reports));
    missed(&feed, 1, 2);
    missed(&feed, 2, 3);
    assert_eq!(hear(&mut all).await, (0, Some(2)));
    assert_eq!(hear(&mut all).await, (0, Some(3)));
    assert_eq!(hear(&mut one).await, (0, Some(3)));
    assert!(all.more().is_none() && one.more().is_none() && changes.more().is_none());
    drop((all, one));
    assert!(feed.wants(Topic::Changes) && !feed.wants(Topic::Reports));
    drop(changes);
    assert!(!feed.wants(Topic::Changes));
}

#[tokio::test]
async fn who_does_not_listen_in_time_is_told_what_that_cost_and_where() {
    let feed = Arc::new(Feed::default());
    let mut slow = feed.listen(&[Topic::Reports], Vec::new());
    for count in 0..QUEUE as u64 + 5 {
        missed(&feed, 1, count);
    }
    for count in 0..QUEUE as u64 {
        assert_eq!(hear(&mut slow).await, (0, Some(count)));
    }
    // The tail.
    assert_eq!(hear(&mut slow).await, (5, None));
    // Once more, with something after it.
    for count in 0..QUEUE as u64 + 7 {
        missed(&feed, 1, count);
    }
    assert_eq!(hear(&mut slow).await, (0, Some(0)));
    missed(&feed, 1, 1_000_000);
    for _ in 1..QUEUE {
        assert!(slow.more().is_some());
    }
    // A batch ends before the gap.
    assert!(slow.more().is_none());
    assert_eq!(hear(&mut slow).await, (7, Some(1_000_000)));
}
