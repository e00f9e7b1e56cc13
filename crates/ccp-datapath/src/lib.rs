#![forbid(unsafe_code)]
#![cfg_attr(not(test), deny(clippy::unwrap_used, clippy::indexing_slicing))]
#![allow(missing_docs, dead_code, unused_imports)]
mod vm;
