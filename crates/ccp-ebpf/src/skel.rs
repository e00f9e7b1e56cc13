//! The skeletons that the build generated from the BPF sources.
#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::undocumented_unsafe_blocks,
    clippy::use_self,
    clippy::wildcard_imports,
    dead_code,
    reason = "generated code"
)]

pub(crate) mod glue {
    include!(concat!(env!("OUT_DIR"), "/ccp.skel.rs"));
}

pub(crate) mod cgroup {
    include!(concat!(env!("OUT_DIR"), "/cgroup.skel.rs"));
}

pub(crate) mod leave {
    include!(concat!(env!("OUT_DIR"), "/leave.skel.rs"));
}

pub(crate) mod take {
    include!(concat!(env!("OUT_DIR"), "/take.skel.rs"));
}
