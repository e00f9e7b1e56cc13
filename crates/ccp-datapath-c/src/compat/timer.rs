//! libccp's watch over sending: since when nothing is taken.

use super::ccp_datapath;

/// Notes that something could not be sent.
///
/// # Safety
/// `datapath` is null or went through `ccp_init`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _update_fto_timer(datapath: *mut ccp_datapath) {
    // SAFETY: the caller's.
    if let Some(dp) = unsafe { datapath.as_mut() }
        && dp.last_msg_sent == 0
        && let Some(now) = dp.now
    {
        // SAFETY: C's own function.
        dp.last_msg_sent = unsafe { now() }.max(1);
    }
}

/// Whether sending has failed for longer than `fto_us`.
///
/// # Safety
/// `datapath` is null or went through `ccp_init`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _check_fto(datapath: *mut ccp_datapath) -> bool {
    // SAFETY: the caller's.
    let Some(dp) = (unsafe { datapath.as_ref() }) else {
        return false;
    };
    let Some(since) = dp.since_usecs.filter(|_| dp.last_msg_sent != 0) else {
        return false;
    };
    // SAFETY: C's own function, with a time that C's own `now` gave.
    unsafe { since(dp.last_msg_sent) > dp.fto_us }
}

/// Somebody is there again.
///
/// # Safety
/// `datapath` is null or went through `ccp_init`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _turn_off_fto_timer(datapath: *mut ccp_datapath) {
    // SAFETY: the caller's.
    if let Some(dp) = unsafe { datapath.as_mut() } {
        dp.last_msg_sent = 0;
    }
}
