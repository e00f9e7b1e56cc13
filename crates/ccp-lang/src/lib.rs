//! ccp-lang
#![forbid(unsafe_code)]
