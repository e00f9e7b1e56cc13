use ccp_core::Report;

#[derive(Report)]
enum Choice {
    One,
}

#[derive(Report)]
struct Tuple(u64);

#[derive(Report)]
struct Nothing {}

#[derive(Report)]
struct Generic<T> {
    rtt: T,
}

fn main() {}
