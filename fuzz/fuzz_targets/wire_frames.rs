//! A datagram from a peer: the iterator over its frames and every message in them.
#![no_main]

#[path = "../checks/wire.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::frames(data));
