//! The sending end: what is sent when, and what acknowledgements tell.
//!
//! Everything but window and rate is decided here, as Linux does it: selective acknowledgements
//! (RFC 2018), loss detection by time and by three later segments (RFC 8985), the retransmission
//! timeout (RFC 6298), proportional rate reduction (RFC 9937), congestion marks (RFC 3168), pacing.

use ccp_datapath::{Delivered, Reduction};
use ccp_types::{Bytes, Rate};

use crate::link::serialization;
use crate::packet::{Ack, Data};
use crate::scenario::TcpSpec;
use crate::time::Nanos;

use super::board::{Board, Segment};
use super::rtt::Rtt;

mod measured;

pub(crate) use measured::Measured;
use measured::{Rates, Seen};

/// The state of loss recovery, in Linux' numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum State {
    /// Nothing is missing.
    #[default]
    Open = 0,
    /// Something is missing, and may only be late.
    Disorder = 1,
    /// The window is being reduced because of a mark.
    Cwr = 2,
    /// Something was lost.
    Recovery = 3,
    /// The retransmission timer ran out.
    Loss = 4,
}

impl State {
    /// Whether the window is on its way down.
    pub(crate) const fn reduces(self) -> bool {
        matches!(self, Self::Cwr | Self::Recovery)
    }
}

/// What happened to recovery at an acknowledgement or timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Nothing that would need an answer at once.
    Nothing,
    /// A reduction begins: losses, or a mark.
    Reduction,
    /// The retransmission timer has run out.
    Timeout,
}

/// Where the last delivered of the segments that were sent last stands. Source: RFC 8985, section 5.
#[derive(Clone, Copy, Debug, Default)]
struct Rack {
    sent: Nanos,
    seq: u64,
    rtt: Nanos,
}

/// One sender.
#[derive(Debug)]
pub(crate) struct Sender {
    mss: u32,
    paces: bool,
    board: Board,
    rtt: Rtt,
    last_rtt: Option<Nanos>,
    rack: Rack,
    reorders: bool,

    state: State,
    /// Recovery is over when everything before this is acknowledged.
    recover: u64,
    reduction: Reduction,
    /// What the last acknowledgement newly delivered, and whether it was a good sign.
    newly: (u64, bool),
    cwnd: Bytes,
    rate: Rate,
    ssthresh: Bytes,
    own_recovery: bool,
    tell_cwr: bool,

    /// What the application has not yet given to segments; `u64::MAX` for without end.
    pending: u64,
    delivered: u64,
    delivered_at: Nanos,
    first_sent: Nanos,
    /// Until so much is delivered, samples are of an application that had too little to send.
    app_limited_until: u64,
    rates: Rates,
    round_end: u64,
    rounds: u64,

    /// Of the window that ends at `usage_end`: was it used, and how much of it.
    limited: bool,
    most_out: u32,
    usage_end: u64,

    last_progress: Nanos,
    reorder_due: Option<Nanos>,
    pace_at: Nanos,
    pace_carry: u64,
    not_yet_told: Measured,
    pub(crate) counts: SenderCounts,
}

/// What a sender has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SenderCounts {
    /// Bytes sent, again included.
    pub(crate) sent: u64,
    pub(crate) resent_packets: u64,
    pub(crate) sent_packets: u64,
    pub(crate) lost: u64,
    pub(crate) lost_packets: u64,
    pub(crate) marked: u64,
    pub(crate) reductions: u64,
    pub(crate) timeouts: u64,
}

impl Sender {
    pub(crate) fn new(spec: &TcpSpec) -> Self {
        Self {
            mss: spec.mss,
            paces: spec.paces,
            board: Board::default(),
            rtt: Rtt::new(spec.min_rto),
            last_rtt: None,
            rack: Rack::default(),
            reorders: false,
            state: State::Open,
            recover: 0,
            reduction: Reduction::default(),
            newly: (0, false),
            cwnd: Bytes::from_packets(u64::from(spec.initial_window), spec.mss),
            rate: Rate::ZERO,
            ssthresh: Bytes::MAX,
            own_recovery: false,
            tell_cwr: false,
            pending: 0,
            delivered: 0,
            delivered_at: Nanos::ZERO,
            first_sent: Nanos::ZERO,
            app_limited_until: 0,
            rates: Rates::default(),
            round_end: 0,
            rounds: 0,
            limited: false,
            most_out: 0,
            usage_end: 0,
            last_progress: Nanos::ZERO,
            reorder_due: None,
            pace_at: Nanos::ZERO,
            pace_carry: 0,
            not_yet_told: Measured::default(),
            counts: SenderCounts::default(),
        }
    }

    // --- What others ask -----------------------------------------------------------------------

    pub(crate) const fn mss(&self) -> u32 {
        self.mss
    }

    pub(crate) const fn state(&self) -> State {
        self.state
    }

    /// The congestion window: where recovery leads to, while it lasts.
    pub(crate) const fn cwnd(&self) -> Bytes {
        self.cwnd
    }

    /// The window that holds at the moment, in bytes.
    pub(crate) fn window(&self) -> Bytes {
        self.reduction.window(self.cwnd)
    }

    /// The rate that is set; 0 if none is.
    pub(crate) const fn rate(&self) -> Rate {
        self.rate
    }

    pub(crate) fn srtt(&self) -> Option<Nanos> {
        self.rtt.srtt()
    }

    /// The latest round-trip time.
    pub(crate) const fn last_rtt(&self) -> Option<Nanos> {
        self.last_rtt
    }

    pub(crate) fn in_flight(&self) -> Bytes {
        Bytes::from_packets(u64::from(self.board.in_flight()), self.mss)
    }

    pub(crate) const fn delivered(&self) -> u64 {
        self.delivered
    }

    /// Everything that the application gave is acknowledged.
    pub(crate) fn is_done(&self) -> bool {
        self.pending == 0 && self.board.is_empty()
    }

    // --- What the application and congestion control say ----------------------------------------

    /// The application has `bytes` more to send; `u64::MAX`: without end.
    pub(crate) fn give(&mut self, bytes: u64) {
        self.pending = self.pending.saturating_add(bytes);
    }

    /// The application has nothing more to send.
    pub(crate) const fn give_up(&mut self) {
        self.pending = 0;
    }

    /// Window and rate from now on. `own_recovery`: also while something is being recovered from.
    pub(crate) fn steer(&mut self, cwnd: Bytes, rate: Rate, own_recovery: bool) {
        self.cwnd = cwnd.max(Bytes(u64::from(self.mss)));
        self.rate = rate;
        self.own_recovery = own_recovery;
        if own_recovery {
            self.reduction.end();
        }
        if self.state.reduces() {
            self.ssthresh = self.cwnd;
        }
    }

    // --- Acknowledgements -----------------------------------------------------------------------

    /// An acknowledgement arrives.
    pub(crate) fn on_ack(&mut self, now: Nanos, ack: &Ack) -> Measured {
        let mut m = std::mem::take(&mut self.not_yet_told);
        m.one_way_us = ack.one_way.micros().0;
        let mut seen = Seen::default();
        let before = self.delivered;
        while self.board.una() < ack.next {
            let seq = self.board.una();
            let Some(segment) = self.board.pop() else {
                break;
            };
            m.bytes_acked += u64::from(segment.len);
            if !segment.sacked {
                m.packets_acked += 1;
                self.on_delivered(seq, &segment, &mut seen);
                if !segment.ever_resent && seen.oldest.is_none() {
                    seen.oldest = Some(segment.sent);
                }
            }
        }
        let una = self.board.una();
        for (first, count) in ack.sacks {
            let first = ack.next + u64::from(first);
            for seq in first.max(una)..first + u64::from(count) {
                if let Some(segment) = self.board.sack(seq) {
                    m.packets_misordered += 1;
                    m.bytes_misordered += u64::from(segment.len);
                    self.on_delivered(seq, &segment, &mut seen);
                }
            }
        }
        let newly = self.delivered - before;
        if newly > 0 {
            self.delivered_at = now;
            self.sample(now, &seen);
        }
        if m.bytes_acked > 0 {
            self.last_progress = now;
            self.rtt.on_progress();
        }
        if ack.ece && newly > 0 {
            m.ecn_bytes = newly;
            m.ecn_packets = m.packets_acked + m.packets_misordered;
            self.counts.marked += newly;
        }
        m.ece = ack.ece;
        let lost = self.detect(now);
        m.lost_packets += lost;
        self.advance(ack.ece, lost > 0);
        self.newly = (newly, m.bytes_acked > 0 && lost == 0);
        m
    }

    /// Takes for lost what was sent some time before something that has arrived.
    /// Source: RFC 8985, section 6.2.
    fn detect(&mut self, now: Nanos) -> u64 {
        let patient = self.reorders || (self.state < State::Recovery && self.board.sacked() < 3);
        let window = match (self.rtt.least(), self.rtt.srtt()) {
            (Some(least), Some(srtt)) if patient => Nanos(least.0 / 4).min(srtt),
            _ => Nanos::ZERO,
        };
        let rack = self.rack;
        let mut wait: Option<Nanos> = None;
        let lost = self.board.detect(|seq, segment| {
            if (segment.sent, seq) >= (rack.sent, rack.seq) {
                // What follows was sent later still, unless it was sent again.
                return (segment.ever_resent).then_some(false);
            }
            let due = segment.sent + rack.rtt + window;
            if due <= now {
                return Some(true);
            }
            wait = wait.max(Some(due));
            Some(false)
        });
        self.reorder_due = wait;
        self.counts.lost += u64::from(lost) * u64::from(self.mss);
        self.counts.lost_packets += u64::from(lost);
        u64::from(lost)
    }

    /// Goes from one state to the next.
    fn advance(&mut self, ece: bool, lost: bool) -> Heard {
        if self.state >= State::Cwr && self.board.una() >= self.recover {
            self.state = State::Open;
            self.reduction.end();
        }
        let open = if self.board.sacked() > 0 {
            State::Disorder
        } else {
            State::Open
        };
        match self.state {
            State::Open | State::Disorder if lost || self.board.waits_to_be_resent() => {
                self.begin(State::Recovery)
            }
            State::Open | State::Disorder if ece => {
                self.tell_cwr = true;
                self.begin(State::Cwr)
            }
            State::Open | State::Disorder => {
                self.state = open;
                Heard::Nothing
            }
            // The window is on its way down already.
            State::Cwr if lost => {
                self.state = State::Recovery;
                self.recover = self.board.next();
                Heard::Nothing
            }
            State::Cwr | State::Recovery | State::Loss => Heard::Nothing,
        }
    }

    fn begin(&mut self, state: State) -> Heard {
        self.state = state;
        self.recover = self.board.next();
        let out = Bytes::from_packets(u64::from(self.board.out()), self.mss);
        self.reduction.begin(out);
        self.counts.reductions += 1;
        Heard::Reduction
    }

    /// What the acknowledgement before allows to send while the window is on its way down. To be called after [`steer`](Self::steer), which may have changed where the reduction leads.
    pub(crate) fn settle(&mut self) {
        if !self.state.reduces() || self.own_recovery {
            self.reduction.end();
            return;
        }
        let (newly, safe) = std::mem::take(&mut self.newly);
        self.reduction.on_ack(&Delivered {
            bytes: Bytes(newly),
            in_flight: self.in_flight(),
            safe,
            target: self.cwnd,
            mss: self.mss,
        });
    }

    // --- Timers ---------------------------------------------------------------------------------

    /// When [`on_timer`](Self::on_timer) is to be called.
    pub(crate) fn deadline(&self) -> Option<Nanos> {
        let timeout = self.timeout_due();
        match (timeout, self.reorder_due) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    fn timeout_due(&self) -> Option<Nanos> {
        let first = self.board.first()?;
        // It waits to be sent again: that is up to the window.
        let since = first.sent.max(self.last_progress);
        Some(since + self.rtt.timeout())
    }

    /// A timer has expired.
    pub(crate) fn on_timer(&mut self, now: Nanos) -> Heard {
        if self.timeout_due().is_some_and(|due| due <= now) {
            return self.on_timeout(now);
        }
        if self.reorder_due.is_some_and(|due| due <= now) {
            let lost = self.detect(now);
            self.not_yet_told.lost_packets += lost;
            if lost > 0 {
                return self.advance(false, true);
            }
        }
        Heard::Nothing
    }

    /// Everything outstanding is taken for lost. Source: RFC 6298, section 5; RFC 5681, section 3.1.
    fn on_timeout(&mut self, now: Nanos) -> Heard {
        self.rtt.on_timeout();
        self.counts.timeouts += 1;
        let lost = u64::from(self.board.detect(|_, _| Some(true)));
        self.counts.lost += lost * u64::from(self.mss);
        self.counts.lost_packets += lost;
        self.not_yet_told.lost_packets += lost;
        self.not_yet_told.was_timeout = true;
        self.reorder_due = None;
        if self.state != State::Loss {
            self.ssthresh = Bytes(self.cwnd.0 / 2).max(Bytes::from_packets(2, self.mss));
        }
        self.state = State::Loss;
        self.recover = self.board.next();
        self.reduction.end();
        self.last_progress = now;
        self.pace_at = now;
        Heard::Timeout
    }

    /// What the program is to hear of a timeout.
    pub(crate) fn take_untold(&mut self) -> Measured {
        let mut m = std::mem::take(&mut self.not_yet_told);
        m.one_way_us = u64::MAX;
        m
    }

    // --- Sending --------------------------------------------------------------------------------

    fn window_packets(&self) -> u32 {
        u32::try_from(self.window().packets(self.mss))
            .unwrap_or(u32::MAX)
            .max(1)
    }

    /// The next segment, if one may be sent now. To be called until there is none.
    pub(crate) fn next_segment(&mut self, now: Nanos) -> Option<Data> {
        let resends = self.board.waits_to_be_resent();
        if !resends && self.pending == 0 {
            if self.board.in_flight() < self.window_packets() {
                let flight = self.in_flight().0;
                self.app_limited_until = (self.delivered + flight).max(1);
            }
            self.note_usage(false);
            return None;
        }
        if self.board.in_flight() >= self.window_packets() {
            self.note_usage(true);
            return None;
        }
        if self.pace_at > now {
            return None;
        }
        if self.board.is_empty() {
            // After a pause, samples begin anew.
            (self.first_sent, self.delivered_at) = (now, now);
        }
        let delivered = (self.delivered, self.delivered_at, self.first_sent);
        let app_limited = self.app_limited_until > 0;
        let (seq, len) = if let Some((seq, segment)) = self.board.resend() {
            segment.sent = now;
            (segment.delivered, segment.delivered_at, segment.first_sent) = delivered;
            segment.app_limited = app_limited;
            self.counts.resent_packets += 1;
            (seq, segment.len)
        } else {
            let len = u64::from(self.mss).min(self.pending) as u32;
            if self.pending != u64::MAX {
                self.pending -= u64::from(len);
            }
            let seq = self.board.next();
            let (delivered, delivered_at, first_sent) = delivered;
            self.board.push(Segment {
                len,
                sacked: false,
                lost: false,
                resent: false,
                ever_resent: false,
                app_limited,
                sent: now,
                delivered,
                delivered_at,
                first_sent,
            });
            (seq, len)
        };
        self.reduction.on_sent(Bytes(u64::from(len)));
        self.counts.sent += u64::from(len);
        self.counts.sent_packets += 1;
        self.pace(now, len);
        self.note_usage(false);
        Some(Data {
            seq,
            len,
            // Only what is new says so; what is sent again may be a repetition of that.
            cwr: !resends && std::mem::take(&mut self.tell_cwr),
            sent: now,
        })
    }

    /// When the next segment may be sent, if only pacing holds it back.
    pub(crate) fn paced_until(&self, now: Nanos) -> Option<Nanos> {
        let wants = self.board.waits_to_be_resent() || self.pending > 0;
        (wants && self.pace_at > now && self.board.in_flight() < self.window_packets())
            .then_some(self.pace_at)
    }

    fn pace(&mut self, now: Nanos, len: u32) {
        let rate = if self.rate > Rate::ZERO {
            self.rate.0
        } else if self.paces
            && let Some(srtt) = self.rtt.srtt()
        {
            // As Linux paces: twice a window per round trip in slow start, else a fifth more than one.
            let percent = if self.window().0 < self.ssthresh.0 / 2 {
                200
            } else {
                120
            };
            let bytes = u128::from(self.window().0.max(u64::from(self.mss))) * percent;
            u64::try_from(bytes * 10_000_000 / u128::from(srtt.0.max(1))).unwrap_or(u64::MAX)
        } else {
            return;
        };
        let rate = rate.max(u64::from(self.mss));
        self.pace_at = self.pace_at.max(now) + serialization(len, rate, &mut self.pace_carry);
    }

    /// Whether the window is used: what counts is the most that was outstanding in each window.
    fn note_usage(&mut self, limited: bool) {
        let out = self.board.out();
        let over = self.board.una() >= self.usage_end;
        if over || limited || (!self.limited && out > self.most_out) {
            self.limited = limited;
            self.most_out = out;
            self.usage_end = self.board.next();
        }
    }
}
