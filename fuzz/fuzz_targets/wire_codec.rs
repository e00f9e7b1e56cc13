//! A stream from a peer, in two parts, through the codec.
#![no_main]

#[path = "../checks/wire.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::codec(data));
