//! A netlink datagram: the messages in it and the frames in those.
#![no_main]

#[path = "../checks/wire.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod wire;

libfuzzer_sys::fuzz_target!(|data: &[u8]| wire::netlink(data));
