//! The Linux TCP datapath: kernel TCP flows steered through BPF `struct_ops`, without a kernel module.

pub mod codegen;
pub mod layout;
