//! The C library as a datapath of one flow, with a clock of ours.
//!
//! The crate `libccp` hides the clock and the bare invocation, so its C part is used directly.
//! The structures are those of libccp 1.2.0, `ccp.h`.

use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_int, c_void};
use std::ptr;

use ccp_types::SockId;
use ccp_wire::{ChangeProg, Encode, Field, FieldTarget, Install, Message, UpdateFields};

// The symbols below are in this crate.
use libccp as _;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(crate) struct Primitives {
    pub(crate) bytes_acked: u32,
    pub(crate) packets_acked: u32,
    pub(crate) bytes_misordered: u32,
    pub(crate) packets_misordered: u32,
    pub(crate) ecn_bytes: u32,
    pub(crate) ecn_packets: u32,
    pub(crate) lost_pkts_sample: u32,
    pub(crate) was_timeout: bool,
    pub(crate) rtt_sample_us: u64,
    pub(crate) rate_outgoing: u64,
    pub(crate) rate_incoming: u64,
    pub(crate) bytes_in_flight: u32,
    pub(crate) packets_in_flight: u32,
    pub(crate) snd_cwnd: u32,
    pub(crate) snd_rate: u64,
    pub(crate) bytes_pending: u32,
}

impl Primitives {
    /// The value of a primitive as libccp's programs read it.
    pub(crate) fn get(&self, name: &str, now_us: u64) -> u64 {
        match name {
            "Ack.bytes_acked" => self.bytes_acked.into(),
            "Ack.bytes_misordered" => self.bytes_misordered.into(),
            "Ack.ecn_bytes" => self.ecn_bytes.into(),
            "Ack.ecn_packets" => self.ecn_packets.into(),
            "Ack.lost_pkts_sample" => self.lost_pkts_sample.into(),
            "Ack.now" => now_us,
            "Ack.packets_acked" => self.packets_acked.into(),
            "Ack.packets_misordered" => self.packets_misordered.into(),
            "Flow.bytes_in_flight" => self.bytes_in_flight.into(),
            "Flow.bytes_pending" => self.bytes_pending.into(),
            "Flow.packets_in_flight" => self.packets_in_flight.into(),
            "Flow.rate_incoming" => self.rate_incoming,
            "Flow.rate_outgoing" => self.rate_outgoing,
            // No sample yet.
            "Flow.rtt_sample_us" if self.rtt_sample_us == 0 => u32::MAX.into(),
            "Flow.rtt_sample_us" => self.rtt_sample_us,
            "Flow.was_timeout" => self.was_timeout.into(),
            other => panic!("libccp does not measure {other}"),
        }
    }
}

#[repr(C)]
struct FlowInfo {
    init_cwnd: u32,
    mss: u32,
    addresses: [u32; 4],
    cong_alg: [c_char; 64],
}

#[repr(C)]
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
    // The library calls back on the thread that called it.
    static NOW_US: Cell<u64> = const { Cell::new(0) };
    static CWND: Cell<Option<u32>> = const { Cell::new(None) };
    static RATE: Cell<Option<u32>> = const { Cell::new(None) };
    static SENT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

extern "C" fn set_cwnd(_: *mut Connection, cwnd: u32) {
    CWND.set(Some(cwnd));
}

extern "C" fn set_rate(_: *mut Connection, rate: u32) {
    RATE.set(Some(rate));
}

unsafe extern "C" fn send(_: *mut Library, message: *mut c_char, len: c_int) -> c_int {
    let len = usize::try_from(len).unwrap_or(0);
    // SAFETY: the library hands over `len` bytes.
    let bytes = unsafe { std::slice::from_raw_parts(message.cast::<u8>(), len) };
    SENT.with_borrow_mut(|sent| sent.push(bytes.to_vec()));
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

/// What one invocation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) cwnd: Option<u32>,
    pub(crate) rate: Option<u32>,
    pub(crate) report: Option<Vec<u64>>,
}

/// One flow on the C library.
pub(crate) struct Datapath {
    library: Box<Library>,
    _connections: Vec<Connection>,
    connection: *mut Connection,
}

const PROGRAM: u32 = 1;
const FLOW: SockId = SockId(1);

impl Datapath {
    /// A flow that started at time 0 and runs the program of an INSTALL body.
    pub(crate) fn new(install: &[u8]) -> Self {
        NOW_US.set(0);
        let mut connections: Vec<Connection> = Vec::new();
        connections.push(Connection {
            index: 0,
            last_create_msg_sent: 0,
            prims: Primitives::default(),
            flow_info: info(),
            state: ptr::null_mut(),
            implementation: ptr::null_mut(),
            datapath: ptr::null_mut(),
        });
        let mut library = Box::new(Library {
            set_cwnd,
            set_rate_abs: set_rate,
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
        });
        let mut flow_info = info();
        // SAFETY: every required field is set, the table of connections lives as long as the
        // library's structure, and neither moves.
        let connection = unsafe {
            assert_eq!(ccp_init(&mut *library, 0), 0);
            ccp_connection_start(&mut *library, ptr::null_mut(), &mut flow_info)
        };
        assert!(!connection.is_null());
        let mut datapath = Self {
            library,
            _connections: connections,
            connection,
        };
        datapath.receive(install);
        let change = ChangeProg {
            sock_id: FLOW,
            program_uid: PROGRAM,
            fields: vec![],
        };
        datapath.receive(&change.to_frame().expect("small"));
        SENT.with_borrow_mut(Vec::clear);
        datapath
    }

    /// A flow that runs `bytecode`.
    pub(crate) fn with(bytecode: ccp_program::libccp::Bytecode) -> Self {
        let install = Install {
            program_uid: PROGRAM,
            bytecode,
        };
        Self::new(&install.to_frame().expect("within the format's limits"))
    }

    /// Another program takes the place of the one that runs.
    pub(crate) fn replace(&mut self, bytecode: ccp_program::libccp::Bytecode) {
        let install = Install {
            program_uid: PROGRAM + 1,
            bytecode,
        };
        self.receive(&install.to_frame().expect("within the format's limits"));
        let change = ChangeProg {
            sock_id: FLOW,
            program_uid: PROGRAM + 1,
            fields: vec![],
        };
        self.receive(&change.to_frame().expect("small"));
    }

    fn receive(&mut self, frame: &[u8]) {
        let mut frame = frame.to_vec();
        let len = c_int::try_from(frame.len()).expect("small");
        // SAFETY: the library reads `len` bytes of a whole, well-formed message.
        let status = unsafe { ccp_read_msg(&mut *self.library, frame.as_mut_ptr().cast(), len) };
        assert_eq!(status, 0);
    }

    /// The agent writes a control variable.
    pub(crate) fn update(&mut self, index: u32, volatile: bool, value: u64) {
        let update = UpdateFields {
            sock_id: FLOW,
            fields: vec![Field {
                target: FieldTarget::Control { index, volatile },
                value,
            }],
        };
        self.receive(&update.to_frame().expect("small"));
    }

    /// One acknowledgement. The library's error, a negative number, if it faults.
    pub(crate) fn ack(&mut self, prims: Primitives, now_us: u64) -> Result<Done, c_int> {
        NOW_US.set(now_us);
        CWND.set(None);
        RATE.set(None);
        // SAFETY: the connection was started and is freed only when this value is dropped.
        let status = unsafe {
            (*self.connection).prims = prims;
            ccp_invoke(self.connection)
        };
        let mut sent = SENT.take();
        if status < 0 {
            return Err(status);
        }
        let report = sent.pop().map(|bytes| {
            let frame = ccp_wire::frames(&bytes).next().expect("a frame");
            match frame.expect("well formed").message().expect("well formed") {
                Message::Measure(measure) => measure.fields().collect(),
                other => panic!("{other:?}"),
            }
        });
        assert!(sent.is_empty());
        Ok(Done {
            cwnd: CWND.take(),
            rate: RATE.take(),
            report,
        })
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        // SAFETY: both were made by `new` and are not used any more.
        unsafe {
            ccp_connection_free(&mut *self.library, 1);
            ccp_free(&mut *self.library);
        }
        SENT.with_borrow_mut(Vec::clear);
    }
}

fn info() -> FlowInfo {
    FlowInfo {
        init_cwnd: 14_480,
        mss: 1448,
        addresses: [0; 4],
        cong_alg: [0; 64],
    }
}
