//! What happens to flows, told to a client while it happens.

use std::time::Duration;

use ccp_control::{
    AttributeValue, Event, FrameError, MOST_WATCHED, Receiver, Refusal, Request, Response, Sender,
    Watch, What,
};
use ccp_core::FlowId;
use tokio::net::UnixStream;
use tokio::time::{Instant, sleep_until};

use super::{Clients, count, within};
use crate::clock::Clock;
use crate::feed::{self, Subscription, Told, Topic, Updated};

/// A client hears at least so often that the daemon is alive.
const SIGN_EVERY: Duration = Duration::from_secs(1);
/// At most so many events, or about so many bytes of them, are in one response.
const MOST_EVENTS: usize = 256;
const MOST_BYTES: usize = 64 * 1024;
/// What one event takes at most besides its texts and a report's values.
const EVENT_BYTES: usize = 256;

impl Clients {
    /// Tells the client what happens until it asks for something else, which is given back. A client
    /// that does not read holds up this task and nobody else: what happens meanwhile is lost to it, as
    /// far as it does not fit its queue.
    pub(super) async fn watch(
        &self,
        watch: &Watch,
        receiver: &mut Receiver<UnixStream>,
        sender: &mut Sender<UnixStream>,
    ) -> Result<Option<Request>, FrameError> {
        if watch.flows.len() > MOST_WATCHED {
            let why = format!("at most {MOST_WATCHED} flows can be watched by name");
            let response = Response::Refused(Refusal::Failed(why));
            within(sender.send(&response)).await?;
            return Ok(None);
        }
        let mut topics = vec![Topic::Changes];
        if watch.reports {
            topics.push(Topic::Reports);
        }
        if watch.steps {
            topics.push(Topic::Steps);
        }
        let flows = watch.flows.iter().copied().map(FlowId).collect();
        let mut told = self.shared.feed.listen(&topics, flows);
        // Who has got this misses nothing that happens afterwards.
        sender.send(&batch(0, Vec::new(), false)).await?;
        let mut sign = Instant::now() + SIGN_EVERY;
        loop {
            let (lost, first) = tokio::select! {
                request = receiver.receive() => {
                    let request = request?;
                    sender.send(&batch(0, Vec::new(), true)).await?;
                    return Ok(Some(request));
                }
                heard = told.next() => heard,
                () = sleep_until(sign) => (0, None),
            };
            let events = gather(first, &mut told, &self.shared.clock);
            sender.send(&batch(lost, events, false)).await?;
            sign = Instant::now() + SIGN_EVERY;
        }
    }
}

const fn batch(lost: u64, events: Vec<Event>, last: bool) -> Response {
    Response::Events { lost, events, last }
}

/// Takes what was told already, up to the next gap or a response full.
fn gather(first: Option<Told>, told: &mut Subscription, clock: &Clock) -> Vec<Event> {
    let (mut events, mut bytes) = (Vec::new(), 0);
    let mut next = first;
    while let Some(heard) = next.take() {
        let event = event(heard, clock);
        bytes += size(&event);
        events.push(event);
        if events.len() < MOST_EVENTS && bytes < MOST_BYTES {
            next = told.more();
        }
    }
    events
}

fn event(told: Told, clock: &Clock) -> Event {
    Event {
        time_us: clock.wall_us(told.at),
        flow: told.flow.0,
        what: what(told.what),
    }
}

fn what(what: feed::What) -> What {
    match what {
        feed::What::Opened {
            status,
            origin,
            rule,
        } => What::Opened {
            status,
            origin,
            rule: rule.map(|rule| count(rule + 1)),
        },
        feed::What::Closed { status } => What::Closed { status },
        feed::What::AlgorithmChanged { from, to, why } => What::AlgorithmChanged { from, to, why },
        feed::What::FellBack { why } => What::FellBack { why },
        feed::What::Returned { cwnd_bytes } => What::Returned { cwnd_bytes },
        feed::What::ProgramFaults { program, count } => What::ProgramFaults { program, count },
        feed::What::Panicked { algorithm, message } => What::Panicked { algorithm, message },
        feed::What::UpdateRefused { algorithm, why } => What::UpdateRefused { algorithm, why },
        feed::What::Report(reported) => {
            let program = reported.program;
            let names = program.ir().reports.iter().map(|v| v.name.clone());
            What::Report {
                algorithm: reported.algorithm,
                program: program.name().to_owned(),
                merged: reported.merged,
                cwnd_bytes: reported.cwnd_bytes,
                rate_bytes_per_s: reported.rate_bytes_per_s,
                fields: names.zip(reported.values).collect(),
            }
        }
        feed::What::ReportsMissed { count } => What::ReportsMissed { count },
        feed::What::Announced(announced) => What::Announced(announced),
        feed::What::Woken => What::Woken,
        feed::What::MssChanged { mss } => What::MssChanged { mss_bytes: mss },
        feed::What::Updated(updated) => {
            let Updated { update, programs } = *updated;
            What::Updated {
                program: programs.started_by(&update).map(str::to_owned),
                fields: programs.named(&update),
            }
        }
    }
}

/// About how many bytes the event takes, and not fewer.
fn size(event: &Event) -> usize {
    EVENT_BYTES
        + match &event.what {
            What::Opened { status, .. } | What::Closed { status } => {
                let program = status.program.as_ref().map_or(0, String::len);
                let attributes = status.attributes.0.iter();
                let attributes: usize = attributes
                    .map(|(name, value)| {
                        let text = match value {
                            AttributeValue::Number(_) => 0,
                            AttributeValue::Text(text) => text.len(),
                        };
                        name.len() + text + 16
                    })
                    .sum();
                status.datapath.len() + status.algorithm.len() + program + attributes
            }
            What::AlgorithmChanged { from, to, .. } => from.len() + to.len(),
            What::ProgramFaults { program, .. } => program.as_ref().map_or(0, String::len),
            What::Panicked { algorithm, message } => algorithm.len() + message.len(),
            What::UpdateRefused { algorithm, why } => algorithm.len() + why.len(),
            What::Report {
                algorithm,
                program,
                fields,
                ..
            } => algorithm.len() + program.len() + size_of_fields(fields),
            What::Updated { program, fields } => {
                program.as_ref().map_or(0, String::len) + size_of_fields(fields)
            }
            _ => 0,
        }
}

fn size_of_fields(fields: &[(String, u64)]) -> usize {
    fields.iter().map(|(name, _)| name.len() + 12).sum()
}
