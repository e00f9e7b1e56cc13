//! Compiles the BPF glue with clang and generates its Rust skeletons.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for name in ["ccp", "cgroup", "leave", "take"] {
        let source = format!("src/bpf/{name}.bpf.c");
        // v3 is the first instruction set with fetching atomics.
        let built = SkeletonBuilder::new()
            .source(&source)
            .clang_args(["-mcpu=v3", "-Wall", "-Werror", "-Wno-unused-function"])
            .build_and_generate(out.join(format!("{name}.skel.rs")));
        if let Err(e) = built {
            panic!(
                "cannot build {source}: {e:?}\n\
                 This needs clang with the BPF target, libelf and zlib \
                 (Debian: apt install clang libelf-dev zlib1g-dev pkg-config)."
            );
        }
    }
    println!("cargo:rerun-if-changed=src/bpf");
}
