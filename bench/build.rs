//! Compiles the hand-written BPF algorithms that ours are measured beside.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

const SOURCE: &str = "bpf/beside.bpf.c";
/// The declarations of the kernel's types, shared with the datapath.
const HEADERS: &str = "../crates/ccp-ebpf/src/bpf";

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let built = SkeletonBuilder::new()
        .source(SOURCE)
        .clang_args(["-mcpu=v3", "-Wall", "-Werror", "-I", HEADERS])
        .build_and_generate(out.join("beside.skel.rs"));
    if let Err(e) = built {
        panic!(
            "cannot build {SOURCE}: {e:?}\n\
             This needs clang with the BPF target, libelf and zlib \
             (Debian: apt install clang libelf-dev zlib1g-dev pkg-config)."
        );
    }
    println!("cargo:rerun-if-changed={SOURCE}");
    println!("cargo:rerun-if-changed={HEADERS}");
}
