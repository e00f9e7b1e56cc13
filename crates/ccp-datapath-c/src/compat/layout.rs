//! libccp's structures, as a C compiler lays them out.

use std::ffi::{c_char, c_int, c_void};

/// The length of `ccp_datapath_info.congAlg`.
pub const MAX_CONG_ALG_SIZE: usize = 64;

/// `struct ccp_primitives`: what was measured since the last [`ccp_invoke`](super::ccp_invoke).
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
