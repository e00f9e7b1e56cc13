use ccp_core::{ControlField, Controls, Report, Reports, Updates};

#[derive(Report)]
struct Seen {
    rtt: u64,
}

#[derive(Controls)]
struct Knobs {
    probing: ControlField<bool>,
}

fn wrong_value(report: &Report<'_>, seen: Reports<Seen>, knobs: Knobs) -> Updates {
    let rtt: bool = report.read(seen).rtt;
    Updates::none().set(knobs.probing, rtt as u64)
}

fn main() {}
