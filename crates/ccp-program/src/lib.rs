//! ccp-program
#![forbid(unsafe_code)]
