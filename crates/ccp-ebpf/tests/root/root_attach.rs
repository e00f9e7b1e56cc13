//! Coming, staying, going.

use std::fs;
use std::path::Path;

use crate::common::{Attached, is_registered, skipped};

#[test]
fn root_attach_and_detach_leave_nothing() {
    if skipped() {
        return;
    }
    let datapath = Attached::new();
    let name = datapath.name().to_owned();
    let root = datapath.options().pin_root.clone();
    assert!(is_registered(&name));
    assert!(!datapath.adopted());
    assert!(root.join(&name).join("link").exists());
    datapath.detach();
    assert!(!is_registered(&name));
    assert!(!root.exists());
    let default = fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").unwrap();
    assert_ne!(default.trim(), name);
    assert!(Path::new("/sys/fs/bpf").exists());
}
