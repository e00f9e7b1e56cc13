//! ccpd
fn main() {}
