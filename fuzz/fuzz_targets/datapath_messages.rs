//! A datagram from the daemon: a datapath with flows.
#![no_main]

#[path = "../checks/datapath.rs"]
mod datapath;

libfuzzer_sys::fuzz_target!(|data: &[u8]| datapath::messages(data));
