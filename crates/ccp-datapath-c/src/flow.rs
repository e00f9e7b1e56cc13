//! One flow.

use std::ffi::{c_char, c_int};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use ccp_datapath::{Connection, Decision, FlowSpec, Measurements, Mode, OpenError, Writable};
use ccp_types::{Bytes, PathId, Timestamp};

use crate::datapath::{CDatapath, text};
use crate::error::{INVALID, guarded, note};
use crate::measurements::CMeasurements;
use crate::sink::CSink;

/// `ccpdp_flow`.
#[derive(Debug)]
pub struct CFlow(Connection);

/// `ccpdp_address`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CAddress {
    /// In network order; of IPv4 the first four bytes count.
    pub ip: [u8; 16],
    /// In the host's order.
    pub port: u16,
    /// 4 or 6.
    pub version: u8,
}

/// `ccpdp_flow_spec`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CFlowSpec {
    /// The local end.
    pub src: CAddress,
    /// The remote end.
    pub dst: CAddress,
    /// Largest segment, in bytes.
    pub mss: u32,
    /// The window that it begins with; 0: ten segments.
    pub init_cwnd_bytes: u64,
    /// The algorithm that it asks for, or null.
    pub requested: *const c_char,
    /// Whether it is one way of a connection that has several.
    pub multipath: bool,
    /// Then: the connection, and which of its ways.
    pub connection: u32,
    /// Which of its ways.
    pub path: u32,
}

/// `ccpdp_decision`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CDecision {
    /// The congestion window; at least one segment.
    pub cwnd_bytes: u64,
    /// The pacing rate; 0: none is set.
    pub rate_bytes_per_s: u64,
    /// Who decided: 0 the native law, 1 a program, 2 the native law after a failure; negative: nobody,
    /// because something was null.
    pub mode: c_int,
}

const NOBODY: CDecision = CDecision {
    cwnd_bytes: 0,
    rate_bytes_per_s: 0,
    mode: INVALID,
};

impl From<Decision> for CDecision {
    fn from(decision: Decision) -> Self {
        Self {
            cwnd_bytes: decision.cwnd.0,
            rate_bytes_per_s: decision.rate.0,
            mode: match decision.mode {
                Mode::Native => 0,
                Mode::Running => 1,
                Mode::Fallback => 2,
            },
        }
    }
}

impl CAddress {
    fn read(&self) -> Option<SocketAddr> {
        let [a, b, c, d, ..] = self.ip;
        let ip = match self.version {
            4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
            6 => IpAddr::from(self.ip),
            _ => return None,
        };
        Some((ip, self.port).into())
    }
}

/// Opens a flow. Null if there are as many as the configuration allows (`error`, if not null, is then
/// `CCPDP_LIMIT`), or something is wrong with `spec` (`CCPDP_INVALID`).
///
/// # Safety
/// `datapath` comes from `ccpdp_datapath_new`, `spec` is filled and its text ends in 0, `error` is null or
/// points to an int.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_open(
    datapath: *const CDatapath,
    now_us: u64,
    spec: *const CFlowSpec,
    mut sink: CSink,
    error: *mut c_int,
) -> *mut CFlow {
    let fail = |code: c_int| {
        if !error.is_null() {
            // SAFETY: the caller's.
            unsafe { error.write(code) };
        }
        std::ptr::null_mut()
    };
    guarded(std::ptr::null_mut(), || {
        // SAFETY: the caller's.
        let (Some(datapath), Some(spec)) = (unsafe { (datapath.as_ref(), spec.as_ref()) }) else {
            note("the datapath or the flow's description is null");
            return fail(INVALID);
        };
        let (Some(src), Some(dst)) = (spec.src.read(), spec.dst.read()) else {
            note("the version of an address is neither 4 nor 6");
            return fail(INVALID);
        };
        if spec.mss == 0 {
            note("the largest segment has 0 bytes");
            return fail(INVALID);
        }
        let mut flow = FlowSpec::new(src, dst, spec.mss);
        if spec.init_cwnd_bytes > 0 {
            flow.init_cwnd = Bytes(spec.init_cwnd_bytes);
        }
        // SAFETY: the caller's.
        flow.requested = unsafe { text(spec.requested) }.map(Into::into);
        flow.path = spec.multipath.then_some(PathId {
            connection: spec.connection,
            path: spec.path,
        });
        match datapath.0.open(Timestamp(now_us), flow, &mut sink) {
            Ok(flow) => Box::into_raw(Box::new(CFlow(flow))),
            Err(why @ OpenError::TooMany { .. }) => {
                note(why);
                fail(crate::error::LIMIT)
            }
        }
    })
}

/// Closes `flow` and frees it; null is passed over.
///
/// # Safety
/// `flow` is null or comes from [`ccpdp_flow_open`], and is not used any more.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_close(flow: *mut CFlow, mut sink: CSink) {
    guarded((), || {
        if !flow.is_null() {
            // SAFETY: the caller's.
            let flow = unsafe { Box::from_raw(flow) };
            flow.0.close(None, &mut sink);
        }
    });
}

/// An acknowledgement came.
///
/// # Safety
/// `flow` and `measurements` come from [`ccpdp_flow_open`] and `ccpdp_measurements_new`; no other thread
/// uses them meanwhile.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_ack(
    flow: *mut CFlow,
    now_us: u64,
    measurements: *const CMeasurements,
    mut sink: CSink,
) -> CDecision {
    // SAFETY: the caller's.
    unsafe {
        with(flow, measurements, |f, m| {
            f.on_ack(Timestamp(now_us), m, &mut sink)
        })
    }
}

/// The retransmission timer ran out.
///
/// # Safety
/// As [`ccpdp_flow_ack`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_timeout(
    flow: *mut CFlow,
    now_us: u64,
    measurements: *const CMeasurements,
    mut sink: CSink,
) -> CDecision {
    // SAFETY: the caller's.
    unsafe {
        with(flow, measurements, |f, m| {
            f.on_timeout(Timestamp(now_us), m, &mut sink)
        })
    }
}

/// Something was sent.
///
/// # Safety
/// As [`ccpdp_flow_ack`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_sent(
    flow: *mut CFlow,
    now_us: u64,
    measurements: *const CMeasurements,
    mut sink: CSink,
) -> CDecision {
    // SAFETY: the caller's.
    unsafe {
        with(flow, measurements, |f, m| {
            f.on_send(Timestamp(now_us), m, &mut sink)
        })
    }
}

/// # Safety
/// As [`ccpdp_flow_ack`].
#[allow(unsafe_code, reason = "C's memory is used")]
unsafe fn with(
    flow: *mut CFlow,
    measurements: *const CMeasurements,
    work: impl FnOnce(&mut Connection, &Measurements) -> Decision,
) -> CDecision {
    guarded(NOBODY, || {
        // SAFETY: the caller's.
        let (flow, measurements) = unsafe { (flow.as_mut(), measurements.as_ref()) };
        let Some((flow, measurements)) = flow.zip(measurements) else {
            note("the flow or its measurements are null");
            return NOBODY;
        };
        work(&mut flow.0, &measurements.0).into()
    })
}

/// The time has come that [`ccpdp_flow_next_timer`] named, or the daemon said something to the flow.
///
/// # Safety
/// `flow` is null or comes from [`ccpdp_flow_open`]; no other thread uses it meanwhile.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_timer(
    flow: *mut CFlow,
    now_us: u64,
    mut sink: CSink,
) -> CDecision {
    guarded(NOBODY, || {
        // SAFETY: the caller's.
        let flow = unsafe { flow.as_mut() };
        flow.map_or(NOBODY, |f| {
            f.0.on_timer(Timestamp(now_us), &mut sink).into()
        })
    })
}

/// When to call [`ccpdp_flow_timer`] if nothing else is called before; `UINT64_MAX`: not at all.
///
/// # Safety
/// As [`ccpdp_flow_timer`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_next_timer(flow: *const CFlow) -> u64 {
    guarded(u64::MAX, || {
        // SAFETY: the caller's.
        let next = unsafe { flow.as_ref() }.and_then(|f| f.0.next_timer());
        next.map_or(u64::MAX, |time| time.0)
    })
}

/// Whether the program wants [`ccpdp_flow_sent`] to be called.
///
/// # Safety
/// As [`ccpdp_flow_timer`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_wants_sends(flow: *const CFlow) -> bool {
    // SAFETY: the caller's.
    unsafe { flow.as_ref() }.is_some_and(|f| f.0.wants_sends())
}

/// What the daemon knows it by; 0 for null.
///
/// # Safety
/// As [`ccpdp_flow_timer`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_sock_id(flow: *const CFlow) -> u32 {
    // SAFETY: the caller's.
    unsafe { flow.as_ref() }.map_or(0, |f| f.0.sock_id().0)
}

/// Window and rate as they were last decided.
///
/// # Safety
/// As [`ccpdp_flow_timer`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_decision(flow: *const CFlow) -> CDecision {
    // SAFETY: the caller's.
    unsafe { flow.as_ref() }.map_or(NOBODY, |f| f.0.decision().into())
}

/// The writable register at `place`; 0 for one that does not exist.
///
/// # Safety
/// As [`ccpdp_flow_timer`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_writable(flow: *const CFlow, place: u16) -> u64 {
    // SAFETY: the caller's.
    unsafe { flow.as_ref() }.map_or(0, |f| f.0.writable(Writable::at(place)))
}

/// The transport sends other segments from now on.
///
/// # Safety
/// As [`ccpdp_flow_timer`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_set_mss(flow: *mut CFlow, mss: u32) {
    // SAFETY: the caller's.
    if let Some(flow) = unsafe { flow.as_mut() } {
        guarded((), || flow.0.set_mss(mss));
    }
}

/// The transport set the window itself.
///
/// # Safety
/// As [`ccpdp_flow_timer`].
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_set_cwnd(flow: *mut CFlow, cwnd_bytes: u64) {
    // SAFETY: the caller's.
    if let Some(flow) = unsafe { flow.as_mut() } {
        guarded((), || flow.0.set_cwnd(Bytes(cwnd_bytes)));
    }
}

/// The flow goes another way now. Returns `CCPDP_OK`, or `CCPDP_INVALID` if an address is none.
///
/// # Safety
/// As [`ccpdp_flow_timer`]; `src` and `dst` point to addresses.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccpdp_flow_change_path(
    flow: *mut CFlow,
    src: *const CAddress,
    dst: *const CAddress,
    mss: u32,
    cwnd_bytes: u64,
) -> c_int {
    guarded(crate::error::BUG, || {
        // SAFETY: the caller's.
        let (flow, src, dst) = unsafe { (flow.as_mut(), src.as_ref(), dst.as_ref()) };
        let ends = src.zip(dst).and_then(|(s, d)| s.read().zip(d.read()));
        let Some((flow, (src, dst))) = flow.zip(ends) else {
            note("the flow or an address is null, or the version of an address is neither 4 nor 6");
            return INVALID;
        };
        flow.0.change_path(src, dst, mss, Bytes(cwnd_bytes));
        crate::error::OK
    })
}
