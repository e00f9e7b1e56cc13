//! Answers about flows.

use std::cmp::Reverse;
use std::sync::Arc;

use ccp_control::{
    FLOWS_PER_RESPONSE, FlowOrder, FlowStatus, FrameError, MOST_WORDS, Refusal, Response,
    Selection, Sender,
};
use ccp_core::FlowId;
use tokio::net::UnixStream;

use super::{Clients, told, within};
use crate::flow_task::{FlowCell, Shown};
use crate::turns::give_way;

impl Clients {
    /// Answers which flows there are, page by page: however many there are, no more than a page of
    /// them is held.
    pub(super) async fn flows(
        &self,
        selection: &Selection,
        sender: &mut Sender<UnixStream>,
    ) -> Result<(), FrameError> {
        if selection.words.len() > MOST_WORDS {
            let why = format!("at most {MOST_WORDS} words can be looked for");
            let response = Response::Refused(Refusal::Failed(why));
            return within(sender.send(&response)).await;
        }
        let (cells, matching) = self.select(selection).await;
        let mut pages = cells.chunks(FLOWS_PER_RESPONSE).peekable();
        loop {
            let page = pages.next().unwrap_or_default();
            let shown = Shown::at(self.shared.clock.now());
            let mut flows = Vec::with_capacity(page.len());
            for cell in page {
                flows.push(shown.status(cell).await);
            }
            let last = pages.peek().is_none();
            let response = Response::Flows {
                flows,
                matching,
                last,
            };
            within(sender.send(&response)).await?;
            if last {
                return Ok(());
            }
        }
    }

    /// The flows that are selected, in order, and how many the words fit.
    async fn select(&self, selection: &Selection) -> (Vec<Arc<FlowCell>>, u64) {
        let mut cells = self.shared.board.all();
        let words: Vec<String> = selection.words.iter().map(|w| w.to_lowercase()).collect();
        let limit = selection.limit.map_or(usize::MAX, |limit| {
            usize::try_from(limit).unwrap_or(usize::MAX)
        });
        if words.is_empty() && selection.order.is_none() {
            let matching = cells.len() as u64;
            cells.truncate(limit);
            return (cells, matching);
        }
        let mut ranked = Vec::with_capacity(cells.len());
        for some in cells.chunks(FLOWS_PER_RESPONSE) {
            let shown = Shown::at(self.shared.clock.now());
            for cell in some {
                let status = shown.status(cell).await;
                if fits(&status, &words) {
                    ranked.push((rank(&status, selection.order), Arc::clone(cell)));
                }
            }
            // There may be many; whoever else waits comes in between.
            give_way().await;
        }
        let matching = ranked.len() as u64;
        if limit < ranked.len() {
            ranked.select_nth_unstable_by_key(limit, |(rank, _)| *rank);
            ranked.truncate(limit);
        }
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        (ranked.into_iter().map(|(_, cell)| cell).collect(), matching)
    }

    pub(super) async fn show(&self, flow: FlowId) -> Response {
        let Some(cell) = self.shared.board.flow(flow) else {
            return Response::Refused(Refusal::Failed("there is no such flow".to_owned()));
        };
        let rules = |runner: &ccp_core::FlowRunner| {
            let (explained, by_hand) = self.changer.judge(runner);
            (told::explained(explained), by_hand)
        };
        let shown = Shown::at(self.shared.clock.now());
        match shown.detail(&cell, rules).await {
            Some(detail) => Response::Flow(Box::new(detail)),
            None => Response::Refused(Refusal::Failed(
                "the flow's algorithm is at work and does not come back; `ccp flows` shows what was last \
                 known of it"
                    .to_owned(),
            )),
        }
    }
}

/// Whether all of `words`, which are in lower case, occur in what is known of the flow.
fn fits(flow: &FlowStatus, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let known = format!(
        "{} {} {} {} {} {}",
        flow.flow, flow.datapath, flow.algorithm, flow.state, flow.src, flow.dst
    );
    let known = known.to_lowercase();
    words.iter().all(|word| known.contains(word.as_str()))
}

/// Where a flow stands: the smallest first, flows of the same value in the order in which they came.
fn rank(flow: &FlowStatus, order: Option<FlowOrder>) -> (Reverse<u64>, u64) {
    let value = match order {
        Some(FlowOrder::Cwnd) => flow.cwnd_bytes,
        Some(FlowOrder::Rate) => flow.rate_bytes_per_s,
        Some(FlowOrder::Rtt) => flow.rtt_us,
        Some(FlowOrder::Loss) => lost_per_billion(flow),
        Some(FlowOrder::Reports) => flow.reports,
        Some(FlowOrder::Faults) => flow.faults,
        Some(FlowOrder::Youngest) => u64::MAX - flow.age_us,
        _ => 0,
    };
    (Reverse(value), flow.flow)
}

fn lost_per_billion(flow: &FlowStatus) -> u64 {
    let (lost, delivered) = (
        flow.lost_bytes.unwrap_or(0),
        flow.delivered_bytes.unwrap_or(0),
    );
    let all = u128::from(lost) + u128::from(delivered);
    let share = (u128::from(lost) * 1_000_000_000).checked_div(all);
    u64::try_from(share.unwrap_or(0)).unwrap_or(u64::MAX)
}
