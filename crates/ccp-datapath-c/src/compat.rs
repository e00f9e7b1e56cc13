//! libccp's public interface (`ccp.h` of libccp 1.2) on this runtime: the same names, layouts and
//! return codes.
//!
//! What differs is what libccp does not do, or does wrong:
//!
//! * Flows are steered from the first acknowledgement on, by CUBIC where no program is: `set_cwnd` is called
//!   although [`ccp_invoke`] returns `LIBCCP_PROG_IS_NULL` or `LIBCCP_FALLBACK_TIMED_OUT`.
//! * Flows come back: READY and announcements are repeated until they are answered.
//! * Every message is verified as a whole, and a refused one changes nothing.
//! * `max_programs` programs have room, not one less; programs of more than 255 instructions are refused.
//! * Flows are known to the daemon by a number of their own, not by their index: the number of a flow that
//!   has ended is not soon given to another.
//! * The table of connections need not be zeroed.
//! * The clock may be set back; a function that sends may not call back, and is refused if it does.
//!
//! Like libccp's, these functions are for one thread at a time for each datapath.

use std::cell::RefCell;
use std::ffi::c_int;
use std::ptr;

use ::ccp_datapath::{Config, Datapath};
use ccp_types::Micros;

use crate::error::guarded;

mod code;
mod connection;
mod invoke;
mod layout;
mod receive;
mod state;
mod timer;

pub use code::*;
pub use connection::*;
pub use invoke::ccp_invoke;
pub use layout::*;
pub use receive::ccp_read_msg;
use state::{Flow, Global, global};
pub use timer::*;

/// Checks `datapath`, says READY, and makes room for programs. Whether somebody listens does not matter:
/// READY is repeated with the first acknowledgements.
///
/// # Safety
/// `datapath` is null or points to a datapath, whose table has `max_connections` places.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_init(datapath: *mut ccp_datapath, id: u32) -> c_int {
    // SAFETY: the caller's.
    let Some(dp) = (unsafe { datapath.as_mut() }) else {
        return LIBCCP_MISSING_ARG;
    };
    let (Some(_), Some(_), Some(_), Some(now_fn), Some(_), Some(_)) = (
        dp.set_cwnd,
        dp.set_rate_abs,
        dp.send_msg,
        dp.now,
        dp.since_usecs,
        dp.after_usecs,
    ) else {
        return LIBCCP_MISSING_ARG;
    };
    if dp.ccp_active_connections.is_null()
        || dp.max_connections == 0
        || dp.max_programs == 0
        || dp.fto_us == 0
    {
        return LIBCCP_MISSING_ARG;
    }
    guarded(LIBCCP_PRIV_IS_NULL, || {
        // Indices are 16 bits, and 0 is none.
        let places = u16::try_from(dp.max_connections).unwrap_or(u16::MAX);
        for place in 0..usize::from(places) {
            // SAFETY: the table has so many places. They may hold anything: nothing is read.
            unsafe {
                let connection = dp.ccp_active_connections.add(place);
                ptr::addr_of_mut!((*connection).index).write(0);
                ptr::addr_of_mut!((*connection).state).write(ptr::null_mut());
            }
        }
        let config = Config {
            id,
            max_flows: usize::from(places),
            max_programs: dp.max_programs.min(1 << 16),
            announce_every: Micros(CREATE_TIMEOUT_US),
            ..Config::default()
        };
        let made = RefCell::new(Global::new(Datapath::new(config), places));
        // SAFETY: C's own function.
        dp.time_zero = unsafe { now_fn() };
        dp.last_msg_sent = 0;
        dp._in_fallback = 0;
        dp.programs = Box::into_raw(Box::new(made)).cast();
        // SAFETY: it has just been made what these ask for.
        if let Some(mut global) = unsafe { global(datapath) } {
            // SAFETY: as above.
            let now = unsafe { global.now(datapath) };
            global.speak(datapath, now);
        }
        LIBCCP_OK
    })
}

/// libccp's pause between two announcements of a flow.
const CREATE_TIMEOUT_US: u64 = 100_000;

/// Frees what [`ccp_init`] made, and the state of flows that were not closed.
///
/// # Safety
/// `datapath` is null or went through `ccp_init`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_free(datapath: *mut ccp_datapath) {
    guarded((), || {
        // SAFETY: the caller's.
        // SAFETY: the caller's. While another call holds it, it stays.
        if unsafe { global(datapath) }.is_none() {
            return;
        }
        // SAFETY: it is not null.
        let dp = unsafe { &mut *datapath };
        for place in 0..dp.max_connections.min(usize::from(u16::MAX)) {
            // SAFETY: the table has so many places, whose state is null or ours.
            unsafe {
                let connection = &mut *dp.ccp_active_connections.add(place);
                if !connection.state.is_null() {
                    drop(Box::from_raw(connection.state.cast::<Flow>()));
                    connection.state = ptr::null_mut();
                    connection.index = 0;
                }
            }
        }
        // SAFETY: it is ours, and nobody has it any more.
        drop(unsafe { Box::from_raw(dp.programs.cast::<RefCell<Global>>()) });
        dp.programs = ptr::null_mut();
    });
}
