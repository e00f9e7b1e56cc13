//! Acknowledgements and timeouts.

use std::ffi::c_int;

use ::ccp_datapath::{Connection, Measurements, Mode, Primitive};
use ccp_program::Fault;
use ccp_types::Bytes;

use super::code::{
    LIBCCP_ADD_INT_OVERFLOW, LIBCCP_DIV_BY_ZERO, LIBCCP_FALLBACK_TIMED_OUT, LIBCCP_NULL_ARG,
    LIBCCP_OK, LIBCCP_PRIV_IS_NULL, LIBCCP_PROG_IS_NULL, LIBCCP_SUB_INT_UNDERFLOW,
};
use super::state::{Flow, Send, global, log};
use super::{ccp_connection, ccp_datapath, ccp_primitives};
use crate::error::guarded;

/// An acknowledgement, or a timeout, with what `conn->prims` says. Calls `set_cwnd` with the window, and
/// `set_rate_abs` if a rate is set.
///
/// # Safety
/// `conn` is null or a place of the table of a datapath that went through `ccp_init`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_invoke(conn: *mut ccp_connection) -> c_int {
    guarded(LIBCCP_PRIV_IS_NULL, || {
        // SAFETY: the caller's.
        let Some(connection) = (unsafe { conn.as_mut() }) else {
            return LIBCCP_NULL_ARG;
        };
        // The rest of a place without a flow may hold anything.
        if connection.state.is_null() {
            return LIBCCP_PRIV_IS_NULL;
        }
        let dp = connection.datapath;
        // SAFETY: the caller's.
        let Some(mut held) = (unsafe { global(dp) }) else {
            return LIBCCP_PRIV_IS_NULL;
        };
        let global = &mut *held;
        // SAFETY: the caller's: it is ours, and whoever holds `global` alone looks at it.
        let flow = unsafe { &mut *connection.state.cast::<Flow>() };
        // SAFETY: as above.
        let now = unsafe { global.now(dp) };
        global.tick(dp, now);
        let prims = connection.prims;
        load(&mut flow.measured, &prims);
        take_over(&mut flow.connection, prims.snd_cwnd);
        let mut sink = Send {
            datapath: dp,
            frame: &mut global.frame,
        };
        let decision = if prims.was_timeout == 0 {
            flow.connection.on_ack(now, &flow.measured, &mut sink)
        } else {
            flow.connection.on_timeout(now, &flow.measured, &mut sink)
        };
        let faults = flow.connection.counts().faults;
        let faulted = std::mem::replace(&mut flow.faults, faults) != faults;
        let fault = flow.connection.last_fault().filter(|_| faulted);
        // What is told now may call back.
        drop(held);
        // SAFETY: as above; C's own functions, which may look at the connection.
        unsafe {
            note_fallback(dp, decision.mode);
            let small = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
            if let Some(set_cwnd) = (*dp).set_cwnd {
                set_cwnd(conn, small(decision.cwnd.0));
            }
            if let (Some(set_rate), 1..) = ((*dp).set_rate_abs, decision.rate.0) {
                set_rate(conn, small(decision.rate.0));
            }
        }
        match (fault, decision.mode) {
            (Some(Fault::Underflow), _) => LIBCCP_SUB_INT_UNDERFLOW,
            (Some(Fault::DivisionByZero), _) => LIBCCP_DIV_BY_ZERO,
            // Of a sum or a product, or a weight that is none.
            (Some(_), _) => LIBCCP_ADD_INT_OVERFLOW,
            (None, Mode::Running) => LIBCCP_OK,
            (None, Mode::Native) => LIBCCP_PROG_IS_NULL,
            (None, Mode::Fallback) => LIBCCP_FALLBACK_TIMED_OUT,
        }
    })
}

fn load(measured: &mut Measurements, prims: &ccp_primitives) {
    measured.clear();
    for (place, value) in [
        (Primitive::BYTES_ACKED, prims.bytes_acked),
        (Primitive::BYTES_MISORDERED, prims.bytes_misordered),
        (Primitive::ECN_BYTES, prims.ecn_bytes),
        (Primitive::ECN_PACKETS, prims.ecn_packets),
        (Primitive::LOST_PACKETS, prims.lost_pkts_sample),
        (Primitive::PACKETS_ACKED, prims.packets_acked),
        (Primitive::PACKETS_MISORDERED, prims.packets_misordered),
        (Primitive::BYTES_IN_FLIGHT, prims.bytes_in_flight),
        (Primitive::BYTES_PENDING, prims.bytes_pending),
        (Primitive::PACKETS_IN_FLIGHT, prims.packets_in_flight),
    ] {
        measured.set(place, value.into());
    }
    measured
        .set(Primitive::RATE_INCOMING, prims.rate_incoming)
        .set(Primitive::RATE_OUTGOING, prims.rate_outgoing);
    if prims.rtt_sample_us > 0 {
        measured.set(Primitive::RTT_SAMPLE_US, prims.rtt_sample_us);
    }
}

/// The window in `prims` is what the datapath has. One that is less than a segment off is ours, rounded to
/// packets.
fn take_over(connection: &mut Connection, snd_cwnd: u32) {
    let theirs = u64::from(snd_cwnd);
    let ours = connection.decision().cwnd.0;
    if theirs > 0 && theirs.abs_diff(ours) >= u64::from(connection.mss()) {
        connection.set_cwnd(Bytes(theirs));
    }
}

/// # Safety
/// `dp` went through `ccp_init`.
#[allow(unsafe_code, reason = "C's memory is used")]
unsafe fn note_fallback(dp: *mut ccp_datapath, mode: Mode) {
    // SAFETY: the caller's.
    unsafe {
        let falls = mode == Mode::Fallback;
        let was = std::mem::replace(&mut (*dp)._in_fallback, u8::from(falls)) != 0;
        match (was, falls) {
            (false, true) => log(dp, "no agent steers: flows run natively"),
            (true, false) => log(dp, "an agent steers again"),
            _ => {}
        }
    }
}
