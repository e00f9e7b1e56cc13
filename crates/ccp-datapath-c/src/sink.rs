//! Where frames for the daemon go: a function of the embedder's.

use std::ffi::{c_int, c_void};

use ccp_datapath::{Refused, Sink};

/// There is no room now: it is tried again later, reports merge.
const FULL: c_int = 1;
/// The frame was taken.
const SENT: c_int = 0;

/// `ccpdp_sink`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CSink {
    /// Takes a frame whole or not at all, and says which; must not block.
    pub send: Option<unsafe extern "C" fn(*mut c_void, *const u8, usize) -> c_int>,
    /// Given to it.
    pub user: *mut c_void,
}

impl Sink for CSink {
    #[allow(unsafe_code, reason = "the function is C's")]
    fn send(&mut self, frame: &[u8]) -> Result<(), Refused> {
        let Some(send) = self.send else {
            return Err(Refused::Gone);
        };
        // SAFETY: the embedder gave a function with this signature and what it wants to be given; the
        // frame lives as long as the call.
        match unsafe { send(self.user, frame.as_ptr(), frame.len()) } {
            SENT => Ok(()),
            FULL => Err(Refused::Full),
            _ => Err(Refused::Gone),
        }
    }
}
