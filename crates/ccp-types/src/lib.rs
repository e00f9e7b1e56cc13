//! ccp-types
#![forbid(unsafe_code)]
