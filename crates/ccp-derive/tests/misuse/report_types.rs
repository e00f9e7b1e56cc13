use ccp_core::Report;

#[derive(Report)]
struct Seen {
    rtt: f64,
}

fn main() {}
