//! The C library. The crate `libccp` hides the bare invocation, so its C part is used directly. The
//! structures are those of libccp 1.2.0, `ccp.h`.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ccp_program::RegisterTable;
use ccp_types::SockId;
use ccp_wire::{ChangeProg, Encode, Install};

// The symbols below are in this crate.
use libccp as _;

use crate::{Flow, MSS, resident};

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Primitives {
    bytes_acked: u32,
    packets_acked: u32,
    bytes_misordered: u32,
    packets_misordered: u32,
    ecn_bytes: u32,
    ecn_packets: u32,
    lost_pkts_sample: u32,
    was_timeout: bool,
    rtt_sample_us: u64,
    rate_outgoing: u64,
    rate_incoming: u64,
    bytes_in_flight: u32,
    packets_in_flight: u32,
    snd_cwnd: u32,
    snd_rate: u64,
    bytes_pending: u32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FlowInfo {
    init_cwnd: u32,
    mss: u32,
    addresses: [u32; 4],
    cong_alg: [c_char; 64],
}

#[repr(C)]
#[derive(Clone, Copy)]
struct Connection {
    index: u16,
    last_create_msg_sent: u64,
    prims: Primitives,
    flow_info: FlowInfo,
    state: *mut c_void,
    implementation: *mut c_void,
    datapath: *mut Library,
}

#[repr(C)]
struct Library {
    set_cwnd: extern "C" fn(*mut Connection, u32),
    set_rate_abs: extern "C" fn(*mut Connection, u32),
    send_msg: extern "C" fn(*mut Self, *mut c_char, c_int) -> c_int,
    log: Option<extern "C" fn(*mut Self, c_int, *const c_char, c_int)>,
    time_zero: u64,
    now: extern "C" fn() -> u64,
    since_usecs: extern "C" fn(u64) -> u64,
    after_usecs: extern "C" fn(u64) -> u64,
    max_connections: usize,
    connections: *mut Connection,
    fto_us: u64,
    last_msg_sent: u64,
    in_fallback: bool,
    max_programs: usize,
    programs: *mut c_void,
    implementation: *mut c_void,
}

unsafe extern "C" {
    fn ccp_init(datapath: *mut Library, id: u32) -> c_int;
    fn ccp_connection_start(
        datapath: *mut Library,
        implementation: *mut c_void,
        info: *mut FlowInfo,
    ) -> *mut Connection;
    fn ccp_connection_free(datapath: *mut Library, index: u16);
    fn ccp_read_msg(datapath: *mut Library, buf: *mut c_char, len: c_int) -> c_int;
    fn ccp_invoke(connection: *mut Connection) -> c_int;
}

thread_local! {
    // The library calls back on the thread that called it.
    static NOW_US: Cell<u64> = const { Cell::new(0) };
    static DECIDED: Cell<u32> = const { Cell::new(0) };
    static SENT: Cell<u64> = const { Cell::new(0) };
}

extern "C" fn decided(_: *mut Connection, value: u32) {
    DECIDED.set(value);
}

extern "C" fn send(_: *mut Library, _: *mut c_char, len: c_int) -> c_int {
    SENT.set(SENT.get() + u64::try_from(len).unwrap_or(0));
    0
}

extern "C" fn now() -> u64 {
    NOW_US.get()
}

extern "C" fn since(then: u64) -> u64 {
    NOW_US.get().wrapping_sub(then)
}

extern "C" fn after(micros: u64) -> u64 {
    NOW_US.get() + micros
}

/// The library with room for so many flows; never freed, since the process ends.
fn library(flows: usize) -> Result<*mut Library> {
    let empty = Connection {
        index: 0,
        last_create_msg_sent: 0,
        prims: Primitives::default(),
        flow_info: info(),
        state: ptr::null_mut(),
        implementation: ptr::null_mut(),
        datapath: ptr::null_mut(),
    };
    let connections = vec![empty; flows].leak();
    let library = Box::leak(Box::new(Library {
        set_cwnd: decided,
        set_rate_abs: decided,
        send_msg: send,
        log: None,
        time_zero: 0,
        now,
        since_usecs: since,
        after_usecs: after,
        max_connections: connections.len(),
        connections: connections.as_mut_ptr(),
        fto_us: 1_000_000,
        last_msg_sent: 0,
        in_fallback: false,
        max_programs: 10,
        programs: ptr::null_mut(),
        implementation: ptr::null_mut(),
    }));
    // SAFETY: every required field is set, and neither the structure nor the table ever moves or goes.
    let status = unsafe { ccp_init(library, 0) };
    ensure!(status == 0, "ccp_init: {status}");
    Ok(library)
}

fn start(library: *mut Library) -> Result<*mut Connection> {
    let mut info = info();
    // SAFETY: `library` was made by `library`, and `info` is copied.
    let connection = unsafe { ccp_connection_start(library, ptr::null_mut(), &mut info) };
    ensure!(!connection.is_null(), "ccp_connection_start");
    Ok(connection)
}

fn receive(library: *mut Library, message: &impl Encode) -> Result<()> {
    let mut frame = message.to_frame()?.to_vec();
    let len = c_int::try_from(frame.len())?;
    // SAFETY: the library reads `len` bytes of a whole, well-formed message.
    let status = unsafe { ccp_read_msg(library, frame.as_mut_ptr().cast(), len) };
    ensure!(status == 0, "ccp_read_msg: {status}");
    Ok(())
}

fn install(library: *mut Library, source: &str) -> Result<()> {
    let table = RegisterTable::libccp();
    let program = ccp_lang::compile(source, &table)?.program.bind(&table)?;
    let bytecode = ccp_lang::libccp::lower(&program)?;
    let program_uid = 1;
    receive(
        library,
        &Install {
            program_uid,
            bytecode,
        },
    )
}

fn run(library: *mut Library, flow: u32) -> Result<()> {
    let change = ChangeProg {
        sock_id: SockId(flow),
        program_uid: 1,
        fields: Vec::new(),
    };
    receive(library, &change)
}

fn info() -> FlowInfo {
    FlowInfo {
        init_cwnd: 10 * MSS,
        mss: MSS,
        addresses: [0; 4],
        cong_alg: [0; 64],
    }
}

/// One flow.
pub(crate) struct One {
    connection: *mut Connection,
    prims: Primitives,
}

impl One {
    pub(crate) fn new(source: &str, rtt_us: u64) -> Result<Self> {
        let library = library(1)?;
        install(library, source)?;
        let connection = start(library)?;
        run(library, 1)?;
        let prims = Primitives {
            bytes_acked: MSS,
            packets_acked: 1,
            packets_in_flight: 9,
            rate_incoming: 1_000_000,
            rate_outgoing: 1_000_000,
            rtt_sample_us: rtt_us,
            snd_cwnd: 10 * MSS,
            ..Primitives::default()
        };
        Ok(Self { connection, prims })
    }
}

impl Flow for One {
    fn ack(&mut self, now_us: u64) {
        NOW_US.set(now_us);
        // SAFETY: the connection was started and is never freed.
        unsafe {
            (*self.connection).prims = self.prims;
            ccp_invoke(self.connection);
        }
    }
}

/// Numbers of flows have 16 bits, and the table is looked through from its beginning: to fill it with more takes
/// minutes.
pub(crate) const MOST_FLOWS: usize = 10_000;

pub(crate) fn open_and_close(flows: usize, count: u64) -> Result<Duration> {
    let library = library(flows.min(MOST_FLOWS))?;
    let all = (0..flows.min(MOST_FLOWS)).map(|_| start(library));
    let mut open: std::collections::VecDeque<*mut Connection> = all.collect::<Result<_>>()?;
    let begun = Instant::now();
    for _ in 0..count {
        let Some(oldest) = open.pop_front() else {
            break;
        };
        // SAFETY: it was started, and is not used any more.
        unsafe { ccp_connection_free(library, (*oldest).index) };
        open.push_back(start(library)?);
    }
    Ok(begun.elapsed())
}

pub(crate) fn memory(source: &str, flows: usize) -> Result<u64> {
    let before = resident()?;
    let library = library(flows)?;
    install(library, source)?;
    for flow in 1..=flows {
        let connection = start(library)?;
        run(library, u32::try_from(flow)?)?;
        // SAFETY: as above.
        unsafe { ccp_invoke(connection) };
    }
    Ok(resident()?.saturating_sub(before))
}
