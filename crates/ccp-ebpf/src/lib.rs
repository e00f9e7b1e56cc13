//! ccp-ebpf
