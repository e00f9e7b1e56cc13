use ccp_core::{ControlField, Controls};

#[derive(Clone, Copy, Controls)]
struct Values {
    ssthresh: ControlField<u64>,
}

#[derive(Controls)]
#[ccp(partial)]
struct Partial {
    #[ccp(flatten, rename = "x")]
    other: Values,
    #[ccp(optional)]
    gain: ControlField<u64>,
}

fn main() {}
