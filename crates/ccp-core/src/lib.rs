//! ccp-core
#![forbid(unsafe_code)]
