//! Program text: the compiler and its libccp back end.
#![no_main]

#[path = "../checks/lang.rs"]
mod lang;

libfuzzer_sys::fuzz_target!(|data: &[u8]| lang::compile(data));
