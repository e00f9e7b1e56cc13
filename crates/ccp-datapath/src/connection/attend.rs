//! What happens between acknowledgements: the daemon says something, comes, goes, or does not answer.

use ccp_types::{Bytes, Micros, Origin, Timestamp};

use super::{CWND, Connection, Mode, NEVER, RATE, Running, Sink, count, native};
use crate::mail::{Mail, WHATEVER_RUNS};
use crate::programs::Installed;

/// How soon a flow that may not be announced yet asks again when no acknowledgement comes.
const ASK_AGAIN: Micros = Micros::from_millis(20);

impl Connection {
    /// Whether there is something to look at: a few comparisons, at each acknowledgement.
    #[inline]
    pub(super) fn is_called(&self, now: Timestamp) -> bool {
        let link = &self.shared.link;
        self.mail.seq() != self.seen
            || now >= self.next_look
            || link.epoch() != self.epoch
            || now > link.alive_until()
    }

    #[cold]
    pub(super) fn attend(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        let link = &self.shared.link;
        if !link.is_alive(now) {
            if self.mode == Mode::Running {
                count(&self.shared.stats.fallbacks);
                self.rest.counts.fallbacks += 1;
                self.enter_native(now, true);
            }
            self.mode = Mode::Fallback;
            self.look_again();
            return;
        }
        if link.epoch() != self.epoch || self.mode == Mode::Fallback {
            if !self.come_back(now, sink) {
                return;
            }
        } else if !self.rest.answered && now >= self.rest.announced_at + self.rest.announce_again {
            self.announce_again(now, sink);
        }
        if self.mail.seq() != self.seen {
            self.read_mail(now);
        }
        let limit = self.shared.link.unanswered();
        if limit != Micros::ZERO && self.waiting_since != NEVER && now > self.waiting_since + limit
        {
            count(&self.shared.stats.unanswered_fallbacks);
            self.rest.counts.fallbacks += 1;
            self.enter_native(now, true);
            self.mode = Mode::Fallback;
        }
        self.look_again();
    }

    /// A daemon is there that does not know the flow. Returns whether it is told now.
    fn come_back(&mut self, now: Timestamp, sink: &mut dyn Sink) -> bool {
        let other = self.shared.link.epoch() != self.epoch;
        if !other
            && let Some(faulted) = self.rest.faulted_at
            && now.since(faulted) < self.shared.config.fault_pause
        {
            return false;
        }
        // The program belongs to who is not there any more.
        if self.mode == Mode::Running {
            self.enter_native(now, true);
            self.mode = Mode::Fallback;
        }
        if !self.shared.link.may_announce(now) {
            self.next_look = Timestamp(0);
            return false;
        }
        let origin = match (other, self.rest.has_history) {
            (false, _) => Origin::Resumed,
            (true, true) => Origin::Adopted,
            (true, false) => Origin::New,
        };
        self.new_generation(now, origin, sink);
        true
    }

    /// When there is something to look at again.
    pub(super) fn look_again(&mut self) {
        let mut next = NEVER;
        if self.mode == Mode::Fallback {
            next = match self.rest.faulted_at {
                Some(faulted) => faulted + self.shared.config.fault_pause,
                None => Timestamp(0),
            };
        } else if !self.rest.answered {
            next = self.rest.announced_at + self.rest.announce_again;
        }
        let limit = self.shared.link.unanswered();
        if limit != Micros::ZERO && self.waiting_since != NEVER {
            next = next.min(self.waiting_since + limit + Micros(1));
        }
        self.next_look = next;
    }

    /// When the embedder should call, for what is looked at here.
    pub(super) fn next_attention(&self) -> Option<Timestamp> {
        let link = &self.shared.link;
        let look = match self.next_look {
            NEVER => None,
            Timestamp(0) => Some(self.now + ASK_AGAIN),
            at => Some(at),
        };
        let dies = (self.mode == Mode::Running && link.alive_until() != NEVER)
            .then(|| link.alive_until() + Micros(1));
        let now = (self.mail.seq() != self.seen || link.epoch() != self.epoch).then_some(self.now);
        [look, dies, now].into_iter().flatten().min()
    }

    fn read_mail(&mut self, now: Timestamp) {
        let mail = std::sync::Arc::clone(&self.mail);
        self.seen = mail.take(|mail| {
            if mail.generation == self.rest.generation
                && (mail.change.is_some()
                    || !mail.writables.is_empty()
                    || !mail.controls.is_empty())
            {
                self.apply(now, mail);
            }
        });
    }

    fn apply(&mut self, now: Timestamp, mail: &mut Mail<Installed>) {
        self.rest.answered = true;
        self.rest.counts.updates += 1;
        self.waiting_since = NEVER;
        match mail.change.take() {
            Some(Some(program)) => self.start(now, program),
            Some(None) => {
                // The daemon has no algorithm for the flow.
                if self.mode == Mode::Running {
                    self.enter_native(now, true);
                }
                self.mode = Mode::Native;
            }
            None => {}
        }
        let least = u64::from(self.mss);
        for (place, value) in &mail.writables {
            let place = usize::from(*place);
            let value = if place == CWND {
                (*value).max(least)
            } else {
                *value
            };
            match &mut self.running {
                Some(running) if place < running.installed.code.writables => {
                    running.file.set(place, value);
                }
                Some(_) => {}
                None => {
                    self.rest.cwnd_pending |= place == CWND;
                    if let Some(register) = self.rest.writables.get_mut(place) {
                        *register = value;
                    }
                }
            }
        }
        if let Some(running) = &mut self.running {
            let uid = running.installed.uid;
            if mail.program_uid == uid || mail.program_uid == WHATEVER_RUNS {
                for (control, value) in &mail.controls {
                    let places = &running.installed.code.controls;
                    if let Some(place) = places.get(usize::from(*control)) {
                        running.file.set(usize::from(*place), *value);
                    }
                }
            }
            self.cwnd = Bytes(running.file.get(CWND).max(least));
        }
    }

    /// The flow starts a program: variables at their defaults, the clock at 0. Window and rate are kept;
    /// a flow that was native brings its window, unless the daemon has set one for it.
    fn start(&mut self, now: Timestamp, installed: std::sync::Arc<Installed>) {
        let count = self.shared.config.registers.writables().len();
        if let Some(running) = &self.running {
            for (place, register) in self.rest.writables.iter_mut().enumerate().take(count) {
                *register = running.file.get(place);
            }
        } else if !std::mem::take(&mut self.rest.cwnd_pending)
            && let Some(register) = self.rest.writables.get_mut(CWND)
        {
            *register = self.cwnd.0;
        }
        let file = installed.code.start(&self.rest.writables);
        self.running = Some(Running { installed, file });
        self.rest.native = None;
        self.rest.has_history = true;
        self.micros_zero = now.0;
        self.fault_run = 0;
        self.mode = Mode::Running;
    }

    /// The native law goes on from the present window; `found`: which is one that the flow has found.
    pub(super) fn enter_native(&mut self, _now: Timestamp, found: bool) {
        if let Some(running) = self.running.take() {
            for (place, register) in self.rest.writables.iter_mut().enumerate() {
                *register = running.file.get(place);
            }
            if let Some(rate) = self.rest.writables.get_mut(RATE) {
                *rate = 0;
            }
        }
        self.rest.cwnd_pending = false;
        self.waiting_since = NEVER;
        let mut law = native::new(&self.shared.config.native);
        law.start(self.cwnd, self.mss, found);
        self.rest.native = Some(law);
        self.mode = Mode::Native;
    }
}
