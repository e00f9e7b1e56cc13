//! Who steers a flow: algorithms come, go and fail.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ccp_types::{Micros, Origin, Timestamp};

use super::{FlowMode, FlowRunner, RunnerNotice};
use crate::alg::{Flow, NewFlow, Resume};
use crate::registry::{Algorithm, panic_message};
use crate::session::Assigned;
use crate::update::Updates;

pub(super) struct Steering {
    pub(super) algorithm: Algorithm,
    pub(super) flow: Box<dyn Flow>,
    /// A refused update of this algorithm has been told of.
    pub(super) told_of_refusal: bool,
}

/// When the datapath took over by itself, lately.
#[derive(Default)]
pub(super) struct TakenOver {
    since: Timestamp,
    times: u32,
}

impl TakenOver {
    /// More than so many times within so long, and an algorithm is given up.
    const TIMES: u32 = 3;
    const WITHIN: Micros = Micros::from_secs(10);

    pub(super) fn too_often(&mut self, now: Timestamp) -> bool {
        if self.times == 0 || now.since(self.since) > Self::WITHIN {
            *self = Self {
                since: now,
                times: 0,
            };
        }
        self.times += 1;
        self.times > Self::TIMES
    }
}

impl FlowRunner {
    /// The configuration says something else of this flow's algorithm: the same kind with other
    /// parameters goes on under way if it can, everything else starts from the present window.
    pub fn reconfigure(&mut self, now: Timestamp, algorithm: &Algorithm) {
        let now = self.advance(now);
        let same_kind = |s: &&mut Steering| s.algorithm.kind() == algorithm.kind();
        if self.suspended || self.closed {
            return self.switch(now, algorithm);
        }
        let Some(steering) = self.steering.as_mut().filter(same_kind) else {
            return self.switch(now, algorithm);
        };
        let flow = &mut steering.flow;
        match catch_unwind(AssertUnwindSafe(|| flow.reconfigure(now, algorithm.alg()))) {
            Ok(None) => self.switch(now, algorithm),
            Ok(Some(updates)) => {
                steering.algorithm = algorithm.clone();
                steering.told_of_refusal = false;
                self.apply(now, &updates);
            }
            Err(panic) => self.fail(now, panic_message(&*panic)),
        }
    }

    /// Gives the flow to `algorithm`, from its present window.
    pub fn switch(&mut self, now: Timestamp, algorithm: &Algorithm) {
        let now = self.advance(now);
        if !self.closed {
            self.refresh();
            self.given_up = false;
            self.start(now, algorithm, Origin::Adopted);
        }
    }

    /// The flow is to run something else. If that is what it was given before, it goes on as it is,
    /// also if it runs its default because that one failed.
    pub fn assign(&mut self, now: Timestamp, assigned: Assigned) {
        let Assigned {
            algorithm,
            native,
            default,
            programs,
            ..
        } = assigned;
        self.programs = programs;
        self.default = Some(default);
        let as_before = match (&self.assigned, &algorithm) {
            (Some(before), Some(now)) => before.same(now),
            (None, None) => self.left_to == native,
            _ => false,
        };
        if as_before || self.closed {
            return;
        }
        self.assigned.clone_from(&algorithm);
        self.left_to = native;
        match algorithm {
            Some(algorithm) => self.reconfigure(now, &algorithm),
            None => self.release(now),
        }
    }

    /// If its algorithm is quarantined, gives the flow to the default, or else to its datapath. When it is
    /// assigned the algorithm again, it takes that.
    pub fn leave_quarantined(&mut self, now: Timestamp) {
        let steering = self.steering.as_ref();
        let Some(algorithm) = steering
            .map(|s| &s.algorithm)
            .filter(|a| a.is_quarantined())
        else {
            return;
        };
        let algorithm = algorithm.clone();
        let now = self.advance(now);
        self.give_up(now, &algorithm, |algorithm, now| {
            RunnerNotice::Quarantined { algorithm, now }
        });
        self.assigned = self.steering.as_ref().map(|s| s.algorithm.clone());
    }

    /// Leaves the flow to its datapath.
    fn release(&mut self, now: Timestamp) {
        self.advance(now);
        self.refresh();
        drop_quietly(self.steering.take());
        self.forget();
        self.native = true;
        self.given_up = false;
        if !self.suspended {
            self.mode = FlowMode::Native;
        }
    }

    /// Gives the flow to a new `Flow` of `algorithm`; if that fails, to the default.
    pub(super) fn start(&mut self, now: Timestamp, algorithm: &Algorithm, origin: Origin) {
        self.wake_at = None;
        drop_quietly(self.steering.take());
        let new = NewFlow::new(self.id, &self.datapath, &self.info).on(&self.programs);
        match catch_unwind(AssertUnwindSafe(|| algorithm.alg().new_flow(&new))) {
            Ok(flow) => {
                self.steering = Some(Steering {
                    algorithm: algorithm.clone(),
                    flow,
                    told_of_refusal: false,
                });
                // While suspended nothing is said; the announcement to come does it.
                let resume = Resume::new(origin, self.known, self.info.mss);
                self.call(now, |flow| flow.on_resume(now, &resume));
            }
            Err(panic) => self.fail_as(now, algorithm, panic_message(&*panic)),
        }
    }

    /// Calls the algorithm, if there is one and the flow is its own at the moment.
    pub(super) fn call(&mut self, now: Timestamp, call: impl FnOnce(&mut dyn Flow) -> Updates) {
        if self.suspended || self.closed {
            return;
        }
        if let Some(steering) = &mut self.steering {
            let flow = &mut *steering.flow;
            let done = catch_unwind(AssertUnwindSafe(|| call(flow)));
            self.finish(now, done);
        }
    }

    pub(super) fn finish(&mut self, now: Timestamp, done: std::thread::Result<Updates>) {
        match done {
            Ok(updates) => self.apply(now, &updates),
            Err(panic) => self.fail(now, panic_message(&*panic)),
        }
    }

    fn fail(&mut self, now: Timestamp, message: &str) {
        if let Some(steering) = &self.steering {
            let algorithm = steering.algorithm.clone();
            self.fail_as(now, &algorithm, message);
        }
    }

    /// `algorithm` panicked.
    fn fail_as(&mut self, now: Timestamp, algorithm: &Algorithm, message: &str) {
        self.counts.panics += 1;
        let message = message.to_owned();
        self.give_up(now, algorithm, |algorithm, now| RunnerNotice::Panicked {
            algorithm,
            message,
            now,
        });
    }

    /// The default takes over from `algorithm`, or the datapath.
    pub(super) fn give_up(
        &mut self,
        now: Timestamp,
        algorithm: &Algorithm,
        notice: impl FnOnce(String, Option<String>) -> RunnerNotice,
    ) {
        let next = self
            .default
            .clone()
            .filter(|default| !default.same(algorithm) && !default.is_quarantined())
            .filter(|default| self.programs.fits(default));
        let name = next.as_ref().map(|next| next.name().to_owned());
        self.seldom()
            .notices
            .push_back(notice(algorithm.name().to_owned(), name));
        self.refresh();
        drop_quietly(self.steering.take());
        if let Some(seldom) = &mut self.seldom {
            seldom.taken_over = TakenOver::default();
        }
        match next {
            Some(next) => self.start(now, &next, Origin::Adopted),
            None => {
                self.forget();
                self.native = !self.closed;
                self.given_up = true;
                self.mode = FlowMode::Fallback;
            }
        }
    }
}

/// A flow whose destructor panics is gone all the same.
pub(super) fn drop_quietly(steering: Option<Steering>) {
    let _ = catch_unwind(AssertUnwindSafe(|| drop(steering)));
}
