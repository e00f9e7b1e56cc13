//! What a flow has to send, and when.

use crate::link::serialization;
use crate::random::Random;
use crate::record::Histogram;
use crate::scenario::AppSpec;
use crate::tcp::Sender;
use crate::time::Nanos;

/// The application of one flow.
#[derive(Debug)]
pub(crate) struct App {
    spec: AppSpec,
    random: Random,
    sending: bool,
    since: Nanos,
    carry: u64,
    /// How long responses took, in microseconds.
    responses: Histogram,
    finished: Option<Nanos>,
}

impl App {
    pub(crate) fn new(spec: AppSpec, random: Random) -> Self {
        Self {
            spec,
            random,
            sending: false,
            since: Nanos::ZERO,
            carry: 0,
            responses: Histogram::default(),
            finished: None,
        }
    }

    pub(crate) const fn responses(&self) -> &Histogram {
        &self.responses
    }

    /// When everything that there was to send had arrived, and was known to have.
    pub(crate) const fn finished(&self) -> Option<Nanos> {
        self.finished
    }

    /// The flow begins, or the time has come that this asked for: when it wants to be called next.
    pub(crate) fn run(&mut self, now: Nanos, sender: &mut Sender) -> Option<Nanos> {
        match self.spec {
            AppSpec::Bulk { bytes } => {
                sender.give(bytes.unwrap_or(u64::MAX));
                self.sending = bytes.is_some();
                None
            }
            AppSpec::OnOff { on, off, random } => {
                self.sending = !self.sending;
                let span = if self.sending {
                    sender.give(u64::MAX);
                    on
                } else {
                    sender.give_up();
                    off
                };
                let span = if random {
                    Nanos(span.0 / 2 + self.random.up_to(span.0))
                } else {
                    span
                };
                Some(now + span)
            }
            AppSpec::Responses { bytes, .. } => {
                sender.give(bytes);
                (self.sending, self.since) = (true, now);
                None
            }
            AppSpec::Limited { rate } => {
                let bytes = sender.mss();
                sender.give(u64::from(bytes));
                Some(now + serialization(bytes, rate, &mut self.carry))
            }
        }
    }

    /// Something was acknowledged: when it wants to be called next, if that is to be set.
    pub(crate) fn on_ack(&mut self, now: Nanos, sender: &Sender) -> Option<Nanos> {
        if !self.sending || !sender.is_done() {
            return None;
        }
        match self.spec {
            AppSpec::Bulk { .. } => {
                self.sending = false;
                self.finished = Some(now);
                None
            }
            AppSpec::Responses { think, .. } => {
                self.sending = false;
                self.responses.add(now.since(self.since).micros().0);
                Some(now + think)
            }
            AppSpec::OnOff { .. } | AppSpec::Limited { .. } => None,
        }
    }
}
