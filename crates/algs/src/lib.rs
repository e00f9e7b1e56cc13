//! algs
#![forbid(unsafe_code)]
