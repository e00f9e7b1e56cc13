//! Flows start and end.

use std::ffi::c_void;
use std::net::{Ipv4Addr, SocketAddr};
use std::ptr;

use ::ccp_datapath::FlowSpec;
use ccp_types::Bytes;

use super::state::{Flow, Send, global};
use super::{ccp_connection, ccp_datapath, ccp_datapath_info, ccp_primitives};
use crate::error::guarded;

/// A flow starts. Null if every place is taken, or the datapath did not go through
/// [`ccp_init`](super::ccp_init).
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
        let (Some(mut global), Some(info)) = (unsafe { (global(datapath), flow_info.as_ref()) })
        else {
            return ptr::null_mut();
        };
        // SAFETY: the caller's.
        let now = unsafe { global.now(datapath) };
        let global = &mut *global;
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
        let (Some(connection), Some(mut global)) = (unsafe { connection.as_mut() }, global) else {
            return;
        };
        connection.index = 0;
        let state = std::mem::replace(&mut connection.state, ptr::null_mut()).cast::<Flow>();
        if state.is_null() {
            return;
        }
        // SAFETY: it is ours, and the place has forgotten it.
        let flow = unsafe { Box::from_raw(state) };
        let global = &mut *global;
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
