//! libccp's return codes (`ccp_error.h`).

#![allow(missing_docs, reason = "the names say it")]

use std::ffi::c_int;

pub const LIBCCP_OK: c_int = 0;
pub const LIBCCP_MISSING_ARG: c_int = -11;
pub const LIBCCP_NULL_ARG: c_int = -12;
pub const LIBCCP_BUFSIZE_NEGATIVE: c_int = -21;
pub const LIBCCP_BUFSIZE_TOO_SMALL: c_int = -22;
pub const LIBCCP_MSG_TOO_LONG: c_int = -23;
pub const LIBCCP_READ_INVALID_HEADER_TYPE: c_int = -32;
pub const LIBCCP_READ_INVALID_OP: c_int = -33;
pub const LIBCCP_READ_REG_NOT_ALLOWED: c_int = -34;
pub const LIBCCP_INSTALL_TOO_MANY_EXPR: c_int = -42;
pub const LIBCCP_INSTALL_TOO_MANY_INSTR: c_int = -43;
pub const LIBCCP_UPDATE_TOO_MANY: c_int = -52;
pub const LIBCCP_UPDATE_INVALID_REG_TYPE: c_int = -53;
pub const LIBCCP_CHANGE_TOO_MANY: c_int = -62;
pub const LIBCCP_UNKNOWN_CONNECTION: c_int = -71;
pub const LIBCCP_PROG_NOT_FOUND: c_int = -82;
pub const LIBCCP_ADD_INT_OVERFLOW: c_int = -91;
pub const LIBCCP_DIV_BY_ZERO: c_int = -92;
pub const LIBCCP_SUB_INT_UNDERFLOW: c_int = -94;
pub const LIBCCP_PRIV_IS_NULL: c_int = -95;
pub const LIBCCP_PROG_IS_NULL: c_int = -96;
pub const LIBCCP_FALLBACK_TIMED_OUT: c_int = -101;
