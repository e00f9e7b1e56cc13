//! ccp-wire
#![forbid(unsafe_code)]
