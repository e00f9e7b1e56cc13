//! What this library keeps behind the structures, and its way to the functions of the embedder.

use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::ffi::c_int;

use ::ccp_datapath::{Connection, Datapath, Measurements, Refused, Sink};
use ccp_types::Timestamp;

use super::{_check_fto, _update_fto_timer, ccp_datapath};
use crate::error::note;

/// What `programs` points to.
pub(super) struct Global {
    pub(super) datapath: Datapath,
    /// Indices (from 0) of free places, the ones that were used least lately first.
    pub(super) free: VecDeque<u16>,
    /// Frames are longer than what `send_msg` may write to.
    pub(super) frame: Vec<u8>,
    clock: Clock,
}

impl Global {
    pub(super) fn new(datapath: Datapath, places: u16) -> Self {
        Self {
            datapath,
            free: (0..places).collect(),
            frame: Vec::new(),
            clock: Clock::default(),
        }
    }

    /// Microseconds since `ccp_init`; never 0, which is no time.
    ///
    /// # Safety
    /// `dp` went through `ccp_init`.
    #[allow(unsafe_code, reason = "the function is C's")]
    pub(super) unsafe fn now(&mut self, dp: *mut ccp_datapath) -> Timestamp {
        // SAFETY: the caller's.
        let (since, zero) = unsafe { ((*dp).since_usecs, (*dp).time_zero) };
        // SAFETY: it is C's own function, with a time that C's own `now` gave.
        let said = since.map_or(0, |since| unsafe { since(zero) });
        Timestamp(self.clock.advance(said).saturating_add(1))
    }

    /// Says what the datapath as a whole has to say, if it is time.
    pub(super) fn tick(&mut self, dp: *mut ccp_datapath, now: Timestamp) {
        if self.datapath.next_timer().is_some_and(|at| at <= now) {
            self.speak(dp, now);
        }
    }

    /// The same, in any case.
    pub(super) fn speak(&mut self, dp: *mut ccp_datapath, now: Timestamp) {
        let mut sink = Send {
            datapath: dp,
            frame: &mut self.frame,
        };
        self.datapath.on_timer(now, &mut sink);
    }
}

/// Time that does not go back. ccp-kernel reads the clock on the wall: one that is set back, even to before
/// the beginning, where differences have no sign, would leave flows at a time that never comes again.
#[derive(Debug, Default)]
struct Clock {
    said: u64,
    passed: u64,
}

impl Clock {
    fn advance(&mut self, said: u64) -> u64 {
        let step = said.wrapping_sub(self.said);
        if step <= u64::MAX / 2 {
            self.passed = self.passed.saturating_add(step);
        }
        self.said = said;
        self.passed
    }
}

/// What `state` points to.
pub(super) struct Flow {
    pub(super) connection: Connection,
    pub(super) measured: Measurements,
    pub(super) faults: u64,
}

const WARN: c_int = 3;

/// The embedder's `send_msg` as a sink.
pub(super) struct Send<'a> {
    pub(super) datapath: *mut ccp_datapath,
    pub(super) frame: &'a mut Vec<u8>,
}

impl Sink for Send<'_> {
    #[allow(unsafe_code, reason = "the function is C's")]
    fn send(&mut self, frame: &[u8]) -> Result<(), Refused> {
        self.frame.clear();
        self.frame.extend_from_slice(frame);
        // SAFETY: checked by `ccp_init` to be a datapath with all functions; C may not keep the frame.
        let (sent, waited) = unsafe {
            let dp = &mut *self.datapath;
            let Some(send) = dp.send_msg else {
                return Err(Refused::Gone);
            };
            let len = c_int::try_from(frame.len()).unwrap_or(c_int::MAX);
            let sent = send(self.datapath, self.frame.as_mut_ptr().cast(), len);
            if sent >= 0 {
                (*self.datapath).last_msg_sent = 0;
            } else {
                _update_fto_timer(self.datapath);
            }
            (sent >= 0, _check_fto(self.datapath))
        };
        match (sent, waited) {
            (true, _) => Ok(()),
            // As long as libccp's own patience lasts it may be a full queue.
            (false, false) => Err(Refused::Full),
            (false, true) => Err(Refused::Gone),
        }
    }
}

/// # Safety
/// `dp` went through `ccp_init`.
#[allow(unsafe_code, reason = "the function is C's")]
pub(super) unsafe fn log(dp: *mut ccp_datapath, text: &str) {
    // SAFETY: the caller's.
    if let Some(log) = unsafe { (*dp).log } {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        let len = c_int::try_from(text.len()).unwrap_or(c_int::MAX);
        // SAFETY: C's own function; the text ends in 0 and lives as long as the call.
        unsafe { log(dp, WARN, bytes.as_ptr().cast(), len) };
    }
}

/// What is kept for `dp`, if anything is. `None` as well while another call holds it: C called from within
/// one of its own functions.
///
/// # Safety
/// `dp` is null or points to a datapath that was zeroed or went through `ccp_init`.
#[allow(unsafe_code, reason = "C's memory is used")]
pub(super) unsafe fn global<'a>(dp: *mut ccp_datapath) -> Option<RefMut<'a, Global>> {
    // SAFETY: the caller's; `programs` is null or ours.
    let global = unsafe { dp.as_ref()?.programs.cast::<RefCell<Global>>().as_ref() }?;
    let held = global.try_borrow_mut();
    if held.is_err() {
        note("the function that sends, or one that tells the time, called the library back");
    }
    held.ok()
}
