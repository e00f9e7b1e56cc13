//! What happens at each acknowledgement.

use ccp_program::Fault;
use ccp_types::{Bytes, Micros, Rate, Timestamp};

use super::{
    CWND, Connection, Measurements, Mode, NEVER, NativeAck, Primitive, Refused, ReportFrame,
    ReportTrailer, Sink, count, vm,
};
use crate::native::Recovering;

/// What the transport is to do until the next one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The congestion window; at least one segment.
    pub cwnd: Bytes,
    /// The pacing rate; 0 if none is set, and the transport paces as it likes.
    pub rate: Rate,
    /// Who decided.
    pub mode: Mode,
}

/// What an invocation is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Ack,
    Timeout,
    Send,
    Timer,
}

impl Connection {
    /// An acknowledgement came: `measured` says what it told.
    #[inline]
    pub fn on_ack(
        &mut self,
        now: Timestamp,
        measured: &Measurements,
        sink: &mut dyn Sink,
    ) -> Decision {
        self.acknowledged(now, measured, Cause::Ack, sink)
    }

    /// The retransmission timer ran out. `measured` holds what was found out since the last call, such as
    /// packets that count as lost now.
    pub fn on_timeout(
        &mut self,
        now: Timestamp,
        measured: &Measurements,
        sink: &mut dyn Sink,
    ) -> Decision {
        self.acknowledged(now, measured, Cause::Timeout, sink)
    }

    /// What an acknowledgement and the lack of one have in common. Once in each of the two, so that no call comes on
    /// top of an acknowledgement.
    #[inline(always)]
    fn acknowledged(
        &mut self,
        now: Timestamp,
        measured: &Measurements,
        cause: Cause,
        sink: &mut dyn Sink,
    ) -> Decision {
        let now = self.attended(now, sink);
        let before = self.recovery;
        self.measure(measured);
        if self.running.is_none() {
            return self.native(now, measured, before, cause == Cause::Timeout);
        }
        if cause == Cause::Timeout && self.reduces_itself() {
            let flight = measured.get(Primitive::BYTES_IN_FLIGHT);
            self.set_window(flight.saturating_add(u64::from(self.mss)));
        }
        self.run(now, &measured.values, cause, sink)
    }

    /// Whether the present program wants to be run when something is sent: it reads a measurement called
    /// `Send.…`.
    #[must_use]
    pub fn wants_sends(&self) -> bool {
        let running = self.running.as_ref();
        running.is_some_and(|r| !r.installed.code.of_send.is_empty())
    }

    /// Something was sent. Runs the program if it [wants](Self::wants_sends) that: with the
    /// measurements called `Send.…`, nothing acknowledged, and what is about the flow as in `measured`.
    pub fn on_send(
        &mut self,
        now: Timestamp,
        measured: &Measurements,
        sink: &mut dyn Sink,
    ) -> Decision {
        if !self.wants_sends() {
            self.advance(now);
            return self.decision();
        }
        let now = self.attended(now, sink);
        self.run(now, &measured.values, Cause::Send, sink)
    }

    /// The time has come that [`next_timer`](Self::next_timer) named, or the daemon said something to the
    /// flow. What the daemon said is applied, what is due is sent; a program that waits for a time which
    /// has come is run, with nothing acknowledged.
    pub fn on_timer(&mut self, now: Timestamp, sink: &mut dyn Sink) -> Decision {
        let now = self.attended(now, sink);
        if self.waits_until().is_some_and(|at| at <= now) {
            return self.run(now, &[], Cause::Timer, sink);
        }
        self.decision()
    }

    /// When to call [`on_timer`](Self::on_timer) if nothing else is called before; `None` if not at all.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        let waits = self.waits_until();
        [self.next_attention(), waits].into_iter().flatten().min()
    }

    /// When the program's `Micros` passes something that it is compared with.
    fn waits_until(&self) -> Option<Timestamp> {
        let running = self.running.as_ref()?;
        let code = &running.installed.code;
        let last = running.file.get(usize::from(code.micros?));
        // In terms of `Micros`, which the last invocation has left at `last`.
        let next = code
            .waits
            .iter()
            .filter_map(|(place, exceed)| {
                let bound = running.file.get(usize::from(*place));
                let at = bound.checked_add(u64::from(*exceed))?;
                (at > last).then_some(at)
            })
            .min()?;
        self.micros_zero.checked_add(next).map(Timestamp)
    }

    #[inline]
    fn advance(&mut self, now: Timestamp) -> Timestamp {
        self.now = self.now.max(now);
        self.now
    }

    /// The time it is now, once what was due is done.
    #[inline]
    fn attended(&mut self, now: Timestamp, sink: &mut dyn Sink) -> Timestamp {
        let now = self.advance(now);
        if self.is_called(now) {
            self.attend(now, sink);
        }
        now
    }

    /// The window that the program finds.
    fn set_window(&mut self, bytes: u64) {
        if let Some(running) = &mut self.running {
            running.file.set(CWND, bytes);
        }
    }

    /// What the crate itself wants to know.
    #[inline]
    fn measure(&mut self, measured: &Measurements) {
        let known = &self.shared.known;
        let sample = measured.get(Primitive::RTT_SAMPLE_US);
        if let Some((srtt, min_rtt)) = known.rtt {
            let time = |p| match measured.get(p) {
                u64::MAX => Micros::ZERO,
                time => Micros(time),
            };
            self.srtt = time(srtt);
            self.min_rtt = time(min_rtt);
        } else if sample.wrapping_sub(1) < u64::MAX - 1 {
            // Neither 0 nor unknown.
            if self.srtt == Micros::ZERO {
                (self.srtt, self.min_rtt) = (Micros(sample), Micros(sample));
            } else {
                self.srtt = Micros(self.srtt.0 - self.srtt.0 / 8 + sample / 8);
                self.min_rtt = self.min_rtt.min(Micros(sample));
            }
        }
        if let Some(state) = known.recovery_state {
            let state = u8::try_from(measured.get(state)).unwrap_or(u8::MAX);
            if state != self.recovery {
                self.recovery_changes(state);
            }
        }
    }

    /// Recovery begins: the window is halved, unless the program has recovery to itself.
    fn recovery_changes(&mut self, state: u8) {
        let reduces = |state| state == 2 || state == 3;
        if reduces(state) && !reduces(self.recovery) && self.reduces_itself() {
            let two = 2 * u64::from(self.mss);
            self.set_window((self.writable(super::Writable::CWND) / 2).max(two));
        }
        self.recovery = state;
    }

    /// Whether the datapath, and not the program, reduces the window.
    fn reduces_itself(&self) -> bool {
        self.shared.known.recovery_state.is_some() && !self.has_own_recovery()
    }

    #[inline]
    fn run(
        &mut self,
        now: Timestamp,
        measured: &[u64],
        cause: Cause,
        sink: &mut dyn Sink,
    ) -> Decision {
        let Some(running) = &mut self.running else {
            return self.decision();
        };
        let code = &running.installed.code;
        // Nothing was sent, or nothing acknowledged.
        let zero = match cause {
            Cause::Ack | Cause::Timeout => &code.of_send,
            Cause::Send => &code.of_ack,
            Cause::Timer => &code.of_event,
        };
        let inputs = vm::Inputs {
            measured,
            zero,
            now: now.0,
            was_timeout: cause == Cause::Timeout,
            mss: u64::from(self.mss),
            micros: now.0.wrapping_sub(self.micros_zero),
        };
        let outcome = vm::invoke(code, &mut running.file, &inputs);
        self.cwnd = Bytes(outcome.cwnd.max(u64::from(self.mss)));
        match outcome.report {
            Ok(report) => {
                self.fault_run = 0;
                if code.writes_micros {
                    self.micros_zero = now.0.wrapping_sub(outcome.micros);
                }
                if report {
                    self.report(now, sink);
                }
            }
            Err(fault) => {
                self.fault_run = self.fault_run.saturating_add(1);
                self.faulted(now, fault);
                return self.decision();
            }
        }
        Decision {
            cwnd: self.cwnd,
            rate: Rate(outcome.rate),
            mode: self.mode,
        }
    }

    #[cold]
    fn faulted(&mut self, now: Timestamp, fault: Fault) {
        self.rest.counts.faults += 1;
        self.rest.last_fault = Some(fault);
        let most = self.shared.config.max_fault_run;
        if most != 0 && self.fault_run >= most {
            count(&self.shared.stats.fault_fallbacks);
            self.rest.counts.fallbacks += 1;
            self.enter_native(now, true);
            self.mode = Mode::Fallback;
            self.rest.faulted_at = Some(now);
            self.look_again();
        }
    }

    fn report(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        let Some(running) = &mut self.running else {
            return;
        };
        let code = &running.installed.code;
        let fields = running.file.all().get(code.reports.clone());
        let trailer = ReportTrailer {
            generation: self.rest.generation,
            merged: self.merged,
        };
        let mut frame = ReportFrame::new();
        let bytes = frame.write(
            self.rest.sock_id,
            running.installed.uid,
            fields.unwrap_or_default(),
            trailer,
        );
        match sink.send(bytes) {
            Ok(()) => {
                for (place, value) in &code.volatile {
                    running.file.set(usize::from(*place), *value);
                }
                self.merged = 0;
                self.rest.counts.reports += 1;
                if self.waiting_since == NEVER && self.shared.link.unanswered() != Micros::ZERO {
                    self.waiting_since = now;
                    self.look_again();
                }
            }
            Err(refused) => {
                self.merged = self.merged.saturating_add(1);
                self.rest.counts.merged += 1;
                if refused == Refused::Gone {
                    self.shared.link.gone();
                }
            }
        }
    }

    /// `before` is the state of recovery that the transport told the time before.
    fn native(
        &mut self,
        now: Timestamp,
        measured: &Measurements,
        before: super::Recovery,
        timeout: bool,
    ) -> Decision {
        let m = |p| measured.get(p);
        let acked = Bytes(m(Primitive::BYTES_ACKED));
        let in_flight = Bytes(m(Primitive::BYTES_IN_FLIGHT));
        let segment = u64::from(self.mss);
        let limited = match self.shared.known.cwnd_limited {
            Some(limited) => m(limited) != 0,
            // No more than three segments of it were free; or, in slow start, it was half used.
            None => {
                let used = in_flight.0.saturating_add(acked.0);
                in_flight == Bytes::ZERO
                    || used.saturating_add(3 * segment) >= self.cwnd.0
                    || used.saturating_mul(2) >= self.cwnd.0
            }
        };
        let ack = NativeAck {
            now,
            acked,
            misordered: Bytes(m(Primitive::BYTES_MISORDERED)),
            lost: m(Primitive::LOST_PACKETS),
            marked: m(Primitive::ECN_PACKETS),
            timeout,
            recovering: self.shared.known.recovery_state.map(|_| {
                let recovers = |state| (2..=4).contains(&state);
                match (recovers(before), recovers(self.recovery)) {
                    (_, false) => Recovering::No,
                    (false, true) => Recovering::Begins,
                    (true, true) => Recovering::Lasts,
                }
            }),
            in_flight,
            limited,
            cwnd: self.cwnd,
            mss: self.mss,
            srtt: self.srtt,
            rtt: match m(Primitive::RTT_SAMPLE_US) {
                0 | u64::MAX => None,
                sample => Some(Micros(sample)),
            },
        };
        self.rest.has_history |= acked > Bytes::ZERO;
        if let Some(law) = &mut self.rest.native {
            self.cwnd = law.on_ack(&ack).max(Bytes(segment));
        }
        self.decision()
    }
}
