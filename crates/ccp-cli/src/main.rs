//! ccp
fn main() {}
