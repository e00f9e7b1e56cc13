//! What a transport measured.

use ccp_datapath::{Measurements, Primitive};

use crate::datapath::CDatapath;

/// `ccpdp_measurements`.
#[derive(Debug)]
pub struct CMeasurements(pub(crate) Measurements);

/// A set of measurements of `datapath`; null if that is null.
///
/// # Safety
/// `datapath` is null or comes from `ccpdp_datapath_new`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_measurements_new(datapath: *const CDatapath) -> *mut CMeasurements {
    // SAFETY: the caller's.
    match unsafe { datapath.as_ref() } {
        Some(datapath) => Box::into_raw(Box::new(CMeasurements(datapath.0.measurements()))),
        None => std::ptr::null_mut(),
    }
}

/// Frees `measurements`; null is passed over.
///
/// # Safety
/// `measurements` is null or comes from `ccpdp_measurements_new`, and is not used any more.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_measurements_free(measurements: *mut CMeasurements) {
    if !measurements.is_null() {
        // SAFETY: the caller's.
        drop(unsafe { Box::from_raw(measurements) });
    }
}

/// What is about one event (`Ack.…`, `Send.…`) becomes 0 again; what is about the flow stays.
///
/// # Safety
/// `measurements` is null or comes from `ccpdp_measurements_new`; no other thread uses it.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_measurements_clear(measurements: *mut CMeasurements) {
    // SAFETY: the caller's.
    if let Some(measurements) = unsafe { measurements.as_mut() } {
        measurements.0.clear();
    }
}

/// Sets the measurement at `place`. One that does not exist is passed over.
///
/// # Safety
/// As [`ccpdp_measurements_clear`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_measurements_set(
    measurements: *mut CMeasurements,
    place: u16,
    value: u64,
) {
    // SAFETY: the caller's.
    if let Some(measurements) = unsafe { measurements.as_mut() } {
        measurements.0.set(Primitive::at(place), value);
    }
}

/// Adds to the measurement at `place`, up to the largest value. One that does not exist is passed over.
///
/// # Safety
/// As [`ccpdp_measurements_clear`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_measurements_add(
    measurements: *mut CMeasurements,
    place: u16,
    value: u64,
) {
    // SAFETY: the caller's.
    if let Some(measurements) = unsafe { measurements.as_mut() } {
        measurements.0.add(Primitive::at(place), value);
    }
}

/// The measurement at `place`; 0 for one that does not exist.
///
/// # Safety
/// As [`ccpdp_measurements_clear`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_measurements_get(
    measurements: *const CMeasurements,
    place: u16,
) -> u64 {
    // SAFETY: the caller's.
    unsafe { measurements.as_ref() }.map_or(0, |m| m.0.get(Primitive::at(place)))
}
