use ccp_core::{ControlField, Controls};

#[derive(Controls)]
struct Values {
    ssthresh: u64,
}

#[derive(Controls)]
struct Flat {
    #[ccp(flatten)]
    gain: ControlField<u64>,
}

fn main() {}
