//! libccp's public interface (`ccp.h` of libccp 1.2) on this runtime: the same names, layouts and
//! return codes.
//!
//! What differs is what libccp does not do, or does wrong:
//!
//! * Flows are steered from the first acknowledgement on, by CUBIC where no program is: `set_cwnd` is called
//!   although [`ccp_invoke`] returns `LIBCCP_PROG_IS_NULL` or `LIBCCP_FALLBACK_TIMED_OUT`.
//! * Flows come back: READY and announcements are repeated until they are answered.
//! * Every message is verified as a whole, and a refused one changes nothing.
//! * `max_programs` programs have room, not one less; programs have up to 256 clauses and 4,096
//!   instructions.
//! * Flows are known to the daemon by a number of their own, not by their index: the number of a flow that
//!   has ended is not soon given to another.
//! * The table of connections need not be zeroed.
//!
//! Like libccp's, these functions are for one thread at a time for each datapath.

use std::collections::VecDeque;
use std::ffi::{c_char, c_int, c_void};
use std::net::{Ipv4Addr, SocketAddr};
use std::ptr;

use ::ccp_datapath::{
    Config, Connection, Datapath, FlowSpec, Measurements, MessageError, Mode, Primitive, Refused,
    Sink,
};
use ccp_program::Fault;
use ccp_types::{Bytes, Micros, Timestamp};
use ccp_wire::{DecodeError, HEADER_LEN, Kind};

use crate::error::{guarded, note};

mod code;

pub use code::*;

/// The longest message that libccp takes.
const BIGGEST_MESSAGE: usize = 32_678;
/// The length of `ccp_datapath_info.congAlg`.
pub const MAX_CONG_ALG_SIZE: usize = 64;

/// `struct ccp_primitives`: what was measured since the last [`ccp_invoke`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "described in ccp.h")]
pub struct ccp_primitives {
    pub bytes_acked: u32,
    pub packets_acked: u32,
    pub bytes_misordered: u32,
    pub packets_misordered: u32,
    pub ecn_bytes: u32,
    pub ecn_packets: u32,
    pub lost_pkts_sample: u32,
    /// A C `bool`; anything but 0 is true.
    pub was_timeout: u8,
    pub rtt_sample_us: u64,
    pub rate_outgoing: u64,
    pub rate_incoming: u64,
    pub bytes_in_flight: u32,
    pub packets_in_flight: u32,
    pub snd_cwnd: u32,
    pub snd_rate: u64,
    pub bytes_pending: u32,
}

/// `struct ccp_datapath_info`: what is known of a flow when it starts.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, non_snake_case, reason = "as in ccp.h")]
pub struct ccp_datapath_info {
    pub init_cwnd: u32,
    pub mss: u32,
    pub src_ip: u32,
    pub src_port: u32,
    pub dst_ip: u32,
    pub dst_port: u32,
    pub congAlg: [c_char; MAX_CONG_ALG_SIZE],
}

/// `struct ccp_connection`: a place in the embedder's table of flows.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "described in ccp.h")]
pub struct ccp_connection {
    pub index: u16,
    pub last_create_msg_sent: u64,
    pub prims: ccp_primitives,
    pub flow_info: ccp_datapath_info,
    pub state: *mut c_void,
    pub impl_: *mut c_void,
    pub datapath: *mut ccp_datapath,
}

/// `struct ccp_datapath`: what the embedder provides.
#[repr(C)]
#[derive(Debug)]
#[allow(missing_docs, reason = "described in ccp.h")]
pub struct ccp_datapath {
    pub set_cwnd: Option<unsafe extern "C" fn(*mut ccp_connection, u32)>,
    pub set_rate_abs: Option<unsafe extern "C" fn(*mut ccp_connection, u32)>,
    pub send_msg: Option<unsafe extern "C" fn(*mut Self, *mut c_char, c_int) -> c_int>,
    pub log: Option<unsafe extern "C" fn(*mut Self, c_int, *const c_char, c_int)>,
    pub time_zero: u64,
    pub now: Option<unsafe extern "C" fn() -> u64>,
    pub since_usecs: Option<unsafe extern "C" fn(u64) -> u64>,
    pub after_usecs: Option<unsafe extern "C" fn(u64) -> u64>,
    pub max_connections: usize,
    pub ccp_active_connections: *mut ccp_connection,
    pub fto_us: u64,
    pub last_msg_sent: u64,
    /// A C `bool`.
    pub _in_fallback: u8,
    pub max_programs: usize,
    pub programs: *mut c_void,
    pub impl_: *mut c_void,
}

#[cfg(target_pointer_width = "64")]
const _: () = {
    // As a C compiler lays them out; the C tests assert the same.
    assert!(size_of::<ccp_primitives>() == 88);
    assert!(size_of::<ccp_datapath_info>() == 88);
    assert!(size_of::<ccp_connection>() == 216);
    assert!(size_of::<ccp_datapath>() == 128);
};

/// What `programs` points to.
struct Global {
    datapath: Datapath,
    /// Indices (from 0) of free places, the ones that were used least lately first.
    free: VecDeque<u16>,
    /// Frames are longer than what `send_msg` may write to.
    frame: Vec<u8>,
}

/// What `state` points to.
struct Flow {
    connection: Connection,
    measured: Measurements,
    faults: u64,
}

const WARN: c_int = 3;

/// The embedder's `send_msg` as a sink.
struct Send<'a> {
    datapath: *mut ccp_datapath,
    frame: &'a mut Vec<u8>,
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

/// Microseconds since `ccp_init`.
///
/// # Safety
/// `dp` went through `ccp_init`.
#[allow(unsafe_code, reason = "the function is C's")]
unsafe fn now(dp: *mut ccp_datapath) -> Timestamp {
    // SAFETY: the caller's.
    let (since, zero) = unsafe { ((*dp).since_usecs, (*dp).time_zero) };
    // SAFETY: it is C's own function, with a time that C's own `now` gave. 0 is no time.
    Timestamp(
        since
            .map_or(0, |since| unsafe { since(zero) })
            .saturating_add(1),
    )
}

/// # Safety
/// `dp` went through `ccp_init`.
#[allow(unsafe_code, reason = "the function is C's")]
unsafe fn log(dp: *mut ccp_datapath, text: &str) {
    // SAFETY: the caller's.
    if let Some(log) = unsafe { (*dp).log } {
        let mut bytes = text.as_bytes().to_vec();
        bytes.push(0);
        let len = c_int::try_from(text.len()).unwrap_or(c_int::MAX);
        // SAFETY: C's own function; the text ends in 0 and lives as long as the call.
        unsafe { log(dp, WARN, bytes.as_ptr().cast(), len) };
    }
}

/// # Safety
/// `dp` is null or points to a datapath that was zeroed or went through `ccp_init`.
#[allow(unsafe_code, reason = "C's memory is used")]
unsafe fn global<'a>(dp: *mut ccp_datapath) -> Option<&'a mut Global> {
    // SAFETY: the caller's; `programs` is null or ours.
    unsafe { dp.as_mut()?.programs.cast::<Global>().as_mut() }
}

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
        let made = Box::new(Global {
            datapath: Datapath::new(config),
            free: (0..places).collect(),
            frame: Vec::new(),
        });
        // SAFETY: C's own function.
        dp.time_zero = unsafe { now_fn() };
        dp.last_msg_sent = 0;
        dp._in_fallback = 0;
        dp.programs = Box::into_raw(made).cast();
        // SAFETY: it has just been made what these ask for.
        if let (Some(global), now) = unsafe { (global(datapath), now(datapath)) } {
            let mut sink = Send {
                datapath,
                frame: &mut global.frame,
            };
            global.datapath.on_timer(now, &mut sink);
        }
        LIBCCP_OK
    })
}

/// libccp's pause between two announcements of a flow.
const CREATE_TIMEOUT_US: u64 = 100_000;

/// What the datapath as a whole has to say, if it is time.
///
/// # Safety
/// `dp` went through `ccp_init`.
#[allow(unsafe_code, reason = "C's memory is used")]
unsafe fn tick(dp: *mut ccp_datapath) {
    // SAFETY: the caller's.
    let (Some(global), now) = (unsafe { (global(dp), now(dp)) }) else {
        return;
    };
    if global.datapath.next_timer().is_some_and(|at| at <= now) {
        let mut sink = Send {
            datapath: dp,
            frame: &mut global.frame,
        };
        global.datapath.on_timer(now, &mut sink);
    }
}

/// Frees what [`ccp_init`] made, and the state of flows that were not closed.
///
/// # Safety
/// `datapath` is null or went through `ccp_init`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_free(datapath: *mut ccp_datapath) {
    guarded((), || {
        // SAFETY: the caller's.
        let Some(dp) = (unsafe { datapath.as_mut() }) else {
            return;
        };
        if dp.programs.is_null() {
            return;
        }
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
        drop(unsafe { Box::from_raw(dp.programs.cast::<Global>()) });
        dp.programs = ptr::null_mut();
    });
}

/// A flow starts. Null if every place is taken, or the datapath did not go through [`ccp_init`].
///
/// # Safety
/// `datapath` went through `ccp_init`; `flow_info` is filled.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_connection_start(
    datapath: *mut ccp_datapath,
    impl_: *mut c_void,
    flow_info: *mut ccp_datapath_info,
) -> *mut ccp_connection {
    guarded(ptr::null_mut(), || {
        // SAFETY: the caller's.
        let (Some(global), Some(info)) = (unsafe { (global(datapath), flow_info.as_ref()) }) else {
            return ptr::null_mut();
        };
        // SAFETY: the caller's.
        let now = unsafe { now(datapath) };
        let Some(place) = global.free.pop_front() else {
            return ptr::null_mut();
        };
        let mut sink = Send {
            datapath,
            frame: &mut global.frame,
        };
        let Ok(connection) = global.datapath.open(now, spec(info), &mut sink) else {
            global.free.push_front(place);
            return ptr::null_mut();
        };
        let flow = Box::new(Flow {
            connection,
            measured: global.datapath.measurements(),
            faults: 0,
        });
        // SAFETY: the table has this place, and nobody else uses it. It may hold anything: all of it is
        // written.
        unsafe {
            let at = (*datapath).ccp_active_connections.add(usize::from(place));
            at.write(ccp_connection {
                index: place + 1,
                last_create_msg_sent: 0,
                prims: ccp_primitives::default(),
                flow_info: *info,
                state: Box::into_raw(flow).cast(),
                impl_,
                datapath,
            });
            at
        }
    })
}

/// Addresses and ports as ccp-kernel gives them: as they stand on the wire. A port above 65,535 has its
/// low 16 bits.
fn spec(info: &ccp_datapath_info) -> FlowSpec {
    let end = |ip: u32, port: u32| -> SocketAddr {
        let ip = Ipv4Addr::from(ip.to_ne_bytes());
        (ip, u16::from_be((port & 0xffff) as u16)).into()
    };
    let (src, dst) = (
        end(info.src_ip, info.src_port),
        end(info.dst_ip, info.dst_port),
    );
    let mut spec = FlowSpec::new(src, dst, info.mss);
    if info.init_cwnd > 0 {
        spec.init_cwnd = Bytes(info.init_cwnd.into());
    }
    let asked = info.congAlg.iter().map(|byte| *byte as u8);
    let asked: Vec<u8> = asked.take_while(|byte| *byte != 0).collect();
    spec.requested = String::from_utf8(asked)
        .ok()
        .filter(|name| !name.is_empty())
        .map(Into::into);
    spec
}

/// A flow has ended.
///
/// # Safety
/// `datapath` went through `ccp_init`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_connection_free(datapath: *mut ccp_datapath, sid: u16) {
    guarded((), || {
        // SAFETY: the caller's.
        let (connection, global) =
            unsafe { (ccp_connection_lookup(datapath, sid), global(datapath)) };
        // SAFETY: a place of the table.
        let (Some(connection), Some(global)) = (unsafe { connection.as_mut() }, global) else {
            return;
        };
        connection.index = 0;
        let state = std::mem::replace(&mut connection.state, ptr::null_mut()).cast::<Flow>();
        if state.is_null() {
            return;
        }
        // SAFETY: it is ours, and the place has forgotten it.
        let flow = unsafe { Box::from_raw(state) };
        let mut sink = Send {
            datapath,
            frame: &mut global.frame,
        };
        flow.connection.close(None, &mut sink);
        global.free.push_back(sid - 1);
    });
}

/// The flow at `sid`; null if there is none.
///
/// # Safety
/// `datapath` is null or went through `ccp_init`.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_connection_lookup(
    datapath: *mut ccp_datapath,
    sid: u16,
) -> *mut ccp_connection {
    // SAFETY: the caller's.
    let Some(dp) = (unsafe { datapath.as_ref() }) else {
        return ptr::null_mut();
    };
    let there = sid > 0 && usize::from(sid) <= dp.max_connections && !dp.programs.is_null();
    if !there {
        return ptr::null_mut();
    }
    // SAFETY: the table has this place, whose index `ccp_init` has written.
    unsafe {
        let connection = dp.ccp_active_connections.add(usize::from(sid) - 1);
        if (*connection).index == sid {
            connection
        } else {
            ptr::null_mut()
        }
    }
}

/// What the embedder keeps with the flow; null for null.
///
/// # Safety
/// `conn` is null or a place of the table.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_get_impl(conn: *mut ccp_connection) -> *mut c_void {
    // SAFETY: the caller's.
    unsafe { conn.as_ref() }.map_or(ptr::null_mut(), |conn| conn.impl_)
}

/// Keeps something with the flow.
///
/// # Safety
/// `conn` is null or a place of the table.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_set_impl(conn: *mut ccp_connection, ptr: *mut c_void) {
    // SAFETY: the caller's.
    if let Some(conn) = unsafe { conn.as_mut() } {
        conn.impl_ = ptr;
    }
}

/// The daemon sent `bufsize` bytes, of which the first message is read, as with libccp.
///
/// # Safety
/// `datapath` is null or went through `ccp_init`; `buf` has `bufsize` bytes.
#[allow(unsafe_code, reason = "a symbol for C")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccp_read_msg(
    datapath: *mut ccp_datapath,
    buf: *mut c_char,
    bufsize: c_int,
) -> c_int {
    guarded(LIBCCP_PRIV_IS_NULL, || {
        // SAFETY: the caller's.
        let Some(global) = (unsafe { global(datapath) }) else {
            return LIBCCP_PROG_IS_NULL;
        };
        let Ok(len) = usize::try_from(bufsize) else {
            return LIBCCP_BUFSIZE_NEGATIVE;
        };
        if buf.is_null() {
            return LIBCCP_NULL_ARG;
        }
        // SAFETY: the caller's.
        let bytes = unsafe { std::slice::from_raw_parts(buf.cast::<u8>(), len) };
        let Some(header) = bytes.get(..HEADER_LEN) else {
            return LIBCCP_BUFSIZE_TOO_SMALL;
        };
        let claimed = usize::from(u16::from_le_bytes([header[2], header[3]]));
        if claimed > BIGGEST_MESSAGE {
            return LIBCCP_MSG_TOO_LONG;
        }
        let Some(message) = bytes.get(..claimed) else {
            return LIBCCP_BUFSIZE_TOO_SMALL;
        };
        let kind = Kind::from_wire(u16::from_le_bytes([header[0], header[1]]));
        if matches!(kind, Kind::Unknown(_)) {
            return LIBCCP_READ_INVALID_HEADER_TYPE;
        }
        // SAFETY: the caller's.
        let now = unsafe { now(datapath) };
        let done = global.datapath.on_message(now, message);
        // SAFETY: the caller's. Somebody is there, whatever was said.
        unsafe { _turn_off_fto_timer(datapath) };
        match done {
            Ok(_) => LIBCCP_OK,
            Err(error) => {
                // SAFETY: the caller's.
                unsafe { log(datapath, &error.to_string()) };
                note(&error);
                refusal(&error)
            }
        }
    })
}

/// libccp's name for what is wrong with a message.
fn refusal(error: &MessageError) -> c_int {
    match error {
        MessageError::Decode(error) => match error {
            DecodeError::TooMany { kind, what, .. } => match kind {
                Kind::UpdateFields => LIBCCP_UPDATE_TOO_MANY,
                Kind::ChangeProg => LIBCCP_CHANGE_TOO_MANY,
                _ if what.contains("instruction") => LIBCCP_INSTALL_TOO_MANY_INSTR,
                _ => LIBCCP_INSTALL_TOO_MANY_EXPR,
            },
            DecodeError::BadValue { kind, field, .. } => match kind {
                Kind::UpdateFields | Kind::ChangeProg => LIBCCP_UPDATE_INVALID_REG_TYPE,
                _ if field.contains("op") => LIBCCP_READ_INVALID_OP,
                _ => LIBCCP_READ_REG_NOT_ALLOWED,
            },
            _ => LIBCCP_BUFSIZE_TOO_SMALL,
        },
        MessageError::TooLarge { .. } | MessageError::Program { .. } => {
            LIBCCP_INSTALL_TOO_MANY_INSTR
        }
        MessageError::Bytecode { .. } => LIBCCP_READ_REG_NOT_ALLOWED,
        MessageError::NoProgram { .. } => LIBCCP_PROG_NOT_FOUND,
        MessageError::NoFlow { .. } | MessageError::Stale { .. } => LIBCCP_UNKNOWN_CONNECTION,
        MessageError::NoRegister { .. } => LIBCCP_UPDATE_INVALID_REG_TYPE,
        _ => LIBCCP_READ_INVALID_HEADER_TYPE,
    }
}

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
        let dp = connection.datapath;
        // SAFETY: the caller's: both are null or ours.
        let (flow, global) = unsafe { (connection.state.cast::<Flow>().as_mut(), global(dp)) };
        let (Some(flow), Some(global)) = (flow, global) else {
            return LIBCCP_PRIV_IS_NULL;
        };
        // SAFETY: as above.
        let now = unsafe {
            tick(dp);
            now(dp)
        };
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
