//! The C library as a datapath, with a clock of ours: what tests compare with and benches measure beside.
//!
//! The crate `libccp` hides the clock and the bare invocation, so its C part is used directly. The structures are
//! those of libccp 1.2.0, `ccp.h`.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

// The symbols below are in this crate.
use libccp as _;

/// Largest segment of every flow here, in bytes.
pub const MSS: u32 = 1448;

/// What a transport measures, as the library has it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the names are those that programs know")]
pub struct Primitives {
    pub bytes_acked: u32,
    pub packets_acked: u32,
    pub bytes_misordered: u32,
    pub packets_misordered: u32,
    pub ecn_bytes: u32,
    pub ecn_packets: u32,
    pub lost_pkts_sample: u32,
    pub was_timeout: bool,
    pub rtt_sample_us: u64,
    pub rate_outgoing: u64,
    pub rate_incoming: u64,
    pub bytes_in_flight: u32,
    pub packets_in_flight: u32,
    pub snd_cwnd: u32,
    pub snd_rate: u64,
    pub bytes_pending: u32,
}

/// What the library decides and says while it is called, on the thread that called it.
pub trait Hears {
    /// A window, in bytes.
    fn cwnd(bytes: u32);
    /// A rate, in bytes per second.
    fn rate(bytes_per_s: u32);
    /// A message for the agent.
    fn message(frame: &[u8]);
}

#[repr(C)]
#[derive(Clone, Copy)]
struct FlowInfo {
    init_cwnd: u32,
    mss: u32,
    addresses: [u32; 4],
    cong_alg: [c_char; 64],
}

const INFO: FlowInfo = FlowInfo {
    init_cwnd: 10 * MSS,
    mss: MSS,
    addresses: [0; 4],
    cong_alg: [0; 64],
};

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

type Log = unsafe extern "C" fn(*mut Library, c_int, *const c_char, c_int);

#[repr(C)]
struct Library {
    set_cwnd: extern "C" fn(*mut Connection, u32),
    set_rate_abs: extern "C" fn(*mut Connection, u32),
    send_msg: unsafe extern "C" fn(*mut Self, *mut c_char, c_int) -> c_int,
    log: Option<Log>,
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
    fn ccp_free(datapath: *mut Library);
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
    // The library asks for it on the thread that called it.
    static NOW_US: Cell<u64> = const { Cell::new(0) };
}

extern "C" fn set_cwnd<H: Hears>(_: *mut Connection, bytes: u32) {
    H::cwnd(bytes);
}

extern "C" fn set_rate<H: Hears>(_: *mut Connection, bytes_per_s: u32) {
    H::rate(bytes_per_s);
}

unsafe extern "C" fn send<H: Hears>(_: *mut Library, message: *mut c_char, len: c_int) -> c_int {
    let len = usize::try_from(len).unwrap_or(0);
    // SAFETY: the library hands over `len` bytes.
    H::message(unsafe { std::slice::from_raw_parts(message.cast::<u8>(), len) });
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

/// What the library returned instead of 0: one of the negative numbers in `ccp_error.h`.
pub type Refused = c_int;

/// A flow of a [`Datapath`], by its place there.
#[derive(Debug)]
pub struct Flow(usize);

/// The C library with room for some flows.
pub struct Datapath {
    // Neither it nor the table that it points to ever moves.
    library: Box<Library>,
}

impl Datapath {
    /// A library with room for so many flows and for ten programs, at time 0. `H` hears what it says.
    ///
    /// # Errors
    /// What the library says.
    pub fn new<H: Hears>(flows: usize) -> Result<Self, Refused> {
        NOW_US.set(0);
        let empty = Connection {
            index: 0,
            last_create_msg_sent: 0,
            prims: Primitives::default(),
            flow_info: INFO,
            state: ptr::null_mut(),
            implementation: ptr::null_mut(),
            datapath: ptr::null_mut(),
        };
        let connections = Box::leak(vec![empty; flows].into_boxed_slice());
        let library = Box::new(Library {
            set_cwnd: set_cwnd::<H>,
            set_rate_abs: set_rate::<H>,
            send_msg: send::<H>,
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
        });
        let mut datapath = Self { library };
        // SAFETY: every required field is set, and the table of connections lives as long as the structure.
        done(unsafe { ccp_init(&mut *datapath.library, 0) })?;
        Ok(datapath)
    }

    /// Opens a flow with a window of ten segments. `None` if there is no room for more. The first one is number 1.
    pub fn open(&mut self) -> Option<Flow> {
        let mut info = INFO;
        // SAFETY: the library was started, and copies `info`.
        let connection =
            unsafe { ccp_connection_start(&mut *self.library, ptr::null_mut(), &mut info) };
        // SAFETY: a connection that is not null is a place of the table.
        let number = unsafe { connection.as_ref()?.index };
        Some(Flow(usize::from(number) - 1))
    }

    fn connection(&mut self, place: usize) -> *mut Connection {
        assert!(place < self.library.max_connections);
        // SAFETY: the table has that many places.
        unsafe { self.library.connections.add(place) }
    }

    /// Closes a flow.
    pub fn close(&mut self, flow: Flow) {
        let connection = self.connection(flow.0);
        // SAFETY: the library knows by itself whether there is a flow at a place.
        unsafe { ccp_connection_free(&mut *self.library, (*connection).index) };
    }

    /// Gives the library a message of the agent.
    ///
    /// # Errors
    /// What the library says.
    ///
    /// # Panics
    /// If the message is longer than a message can be.
    pub fn receive(&mut self, frame: &[u8]) -> Result<(), Refused> {
        let mut frame = frame.to_vec();
        let len = c_int::try_from(frame.len()).expect("a message has 64 KB at most");
        // SAFETY: the library reads `len` bytes.
        done(unsafe { ccp_read_msg(&mut *self.library, frame.as_mut_ptr().cast(), len) })
    }

    /// An acknowledgement that told `prims`.
    ///
    /// # Errors
    /// What the library says, such as that the program divides by zero.
    #[inline]
    pub fn invoke(&mut self, flow: &Flow, prims: &Primitives, now_us: u64) -> Result<(), Refused> {
        NOW_US.set(now_us);
        let connection = self.connection(flow.0);
        // SAFETY: it is a place of the table, and the library refuses to invoke one without a flow.
        done(unsafe {
            (*connection).prims = *prims;
            ccp_invoke(connection)
        })
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        let (table, places) = (self.library.connections, self.library.max_connections);
        // SAFETY: neither the library nor the table, which `new` has made, is used any more.
        unsafe {
            for place in 0..places {
                let index = (*table.add(place)).index;
                if index != 0 {
                    ccp_connection_free(&mut *self.library, index);
                }
            }
            ccp_free(&mut *self.library);
            drop(Box::from_raw(ptr::slice_from_raw_parts_mut(table, places)));
        }
    }
}

const fn done(status: c_int) -> Result<(), Refused> {
    match status {
        0 => Ok(()),
        refused => Err(refused),
    }
}
