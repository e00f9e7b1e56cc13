//! Announcements: one mechanism for flows that are new, were there before the daemon, or come back
//! from the fallback.

use bytes::BytesMut;
use ccp_types::{Bytes, FlowInfo, FlowState, Origin, Rate, Timestamp};
use ccp_wire::{CONG_ALG_LEN, Create, Encode as _};

use super::{Connection, Micros, Mode, NEVER, Refused, Sink, Writable, count};

/// The longest time between two announcements of a flow that nobody answers.
const SELDOM: Micros = Micros::from_secs(1);

impl Connection {
    /// Announces the flow under a new number: whatever was said to it before is void, and no program
    /// runs until one is chosen.
    pub(super) fn new_generation(&mut self, now: Timestamp, origin: Origin, sink: &mut dyn Sink) {
        if self.mode == Mode::Running {
            self.enter_native(now, true);
        }
        self.mode = Mode::Native;
        self.epoch = self.shared.link.epoch();
        // Numbers of an announcement begin with 1: 0 is for datapaths that do not count.
        self.rest.generation = self.rest.generation.wrapping_add(1).max(1);
        self.mail.set_generation(self.rest.generation);
        self.rest.origin = origin;
        self.rest.answered = false;
        self.rest.faulted_at = None;
        self.rest.cwnd_pending = false;
        self.rest.announce_again = self.shared.config.announce_every.max(Micros(1));
        self.fault_run = 0;
        self.merged = 0;
        self.waiting_since = NEVER;
        // A rate was a program's.
        if let Some(rate) = self.rest.writables.get_mut(1) {
            *rate = 0;
        }
        self.announce(now, sink);
    }

    /// The same, at the next call.
    pub(super) fn announce_anew(&mut self) {
        self.epoch = 0;
        self.next_look = Timestamp(0);
    }

    /// Sends CREATE. What the sink does not take is sent again, and so is what nobody answers.
    pub(super) fn announce(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        self.rest.announced_at = now;
        let mut frame = BytesMut::new();
        if self.create().encode(&mut frame).is_err() {
            // An algorithm's name that has no place in the format, or addresses of two families.
            self.rest.spec.requested = None;
            let mut plain = self.create();
            if let Some(details) = &mut plain.details {
                details.addresses = None;
            }
            if plain.encode(&mut frame).is_err() {
                return;
            }
        }
        match sink.send(&frame) {
            Ok(()) => count(&self.shared.stats.announced),
            Err(Refused::Full) => {}
            Err(Refused::Gone) => self.shared.link.gone(),
        }
        self.look_again();
    }

    pub(super) fn announce_again(&mut self, now: Timestamp, sink: &mut dyn Sink) {
        if self.shared.link.may_announce(now) {
            let longer = Micros(self.rest.announce_again.0.saturating_mul(2));
            self.rest.announce_again = longer.min(SELDOM.max(self.shared.config.announce_every));
            self.announce(now, sink);
        }
    }

    fn create(&self) -> Create {
        let spec = &self.rest.spec;
        let mut info = FlowInfo::new(
            self.rest.sock_id,
            spec.src,
            spec.dst,
            self.mss,
            spec.init_cwnd.max(Bytes(u64::from(self.mss))),
        );
        info.requested = spec
            .requested
            .as_deref()
            .filter(|name| !name.is_empty() && name.len() < CONG_ALG_LEN)
            .map(str::to_owned);
        info.path = spec.path;
        info.origin = self.rest.origin;
        info.state = FlowState {
            cwnd: self.cwnd,
            rate: Rate(self.writable(Writable::RATE)),
            srtt: self.srtt,
            min_rtt: self.min_rtt,
        };
        Create::from_flow_info(&info, self.rest.generation)
    }
}
