//! What the daemon says.

use std::ffi::{c_char, c_int};

use ::ccp_datapath::MessageError;
use ccp_wire::{DecodeError, HEADER_LEN, Kind};

use super::code::{
    LIBCCP_BUFSIZE_NEGATIVE, LIBCCP_BUFSIZE_TOO_SMALL, LIBCCP_CHANGE_TOO_MANY,
    LIBCCP_INSTALL_TOO_MANY_EXPR, LIBCCP_INSTALL_TOO_MANY_INSTR, LIBCCP_MSG_TOO_LONG,
    LIBCCP_NULL_ARG, LIBCCP_OK, LIBCCP_PRIV_IS_NULL, LIBCCP_PROG_IS_NULL, LIBCCP_PROG_NOT_FOUND,
    LIBCCP_READ_INVALID_HEADER_TYPE, LIBCCP_READ_INVALID_OP, LIBCCP_READ_REG_NOT_ALLOWED,
    LIBCCP_UNKNOWN_CONNECTION, LIBCCP_UPDATE_INVALID_REG_TYPE, LIBCCP_UPDATE_TOO_MANY,
};
use super::state::{global, log};
use super::{_turn_off_fto_timer, ccp_datapath};
use crate::error::{guarded, note};

/// The longest message that libccp takes.
const BIGGEST_MESSAGE: usize = 32_678;

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
        let there = unsafe { datapath.as_ref() }.is_some_and(|dp| !dp.programs.is_null());
        if !there {
            return LIBCCP_PROG_IS_NULL;
        }
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
        let Some(mut global) = (unsafe { global(datapath) }) else {
            return LIBCCP_PRIV_IS_NULL;
        };
        // SAFETY: the caller's.
        let now = unsafe { global.now(datapath) };
        let done = global.datapath.on_message(now, message);
        // What is told now may call back.
        drop(global);
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
