use ccp_core::Report;

#[derive(Report)]
#[ccp(partly)]
struct Seen {
    #[ccp(renamed = "acked")]
    acked: u64,
    #[ccp(rename = "Report.lost")]
    lost: u64,
    #[ccp(rename = "round trip")]
    rtt: u64,
    #[ccp(rename = "__now")]
    now: u64,
    #[ccp(rename = 5)]
    five: u64,
    #[ccp(partial)]
    part: u64,
    #[ccp(flatten)]
    all: u64,
}

#[derive(Report)]
struct Twice {
    rtt: u64,
    #[ccp(rename = "rtt")]
    srtt: u64,
}

fn main() {}
