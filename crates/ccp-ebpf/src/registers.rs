//! What the Linux TCP datapath measures, and what it takes.

use ccp_program::{RegisterDef, RegisterTable, Type, Unit};

/// libccp's primitives, the well-known ones that Linux TCP has, and its own. The order is that of
/// `enum ccp_prim` in `bpf/intf.h`.
///
/// Its own are: `Flow.rttvar_us` (mean deviation of the RTT), `Flow.bytes_retransmitted`,
/// `Flow.pacing_rate` (the rate the socket is paced at now, whoever set it) and `Flow.timeouts`
/// (retransmission timeouts since the flow was taken). `Flow.recovery_state` is Linux' state: 0
/// open, 1 disorder, 2 CWR (reducing for ECN or a full local queue), 3 fast recovery, 4 loss
/// (after a timeout). Measurements without a value yet read as 2^64 − 1.
///
/// Besides `Cwnd` and `Rate` programs may write `Ssthresh`: see `CCP_REG_SSTHRESH` in
/// `bpf/intf.h`.
#[must_use]
pub fn register_table() -> RegisterTable {
    RegisterTable::libccp_and(&[
        "Flow.mss",
        "Flow.srtt_us",
        "Flow.min_rtt_us",
        "Flow.app_limited",
        "Flow.cwnd_limited",
        "Flow.round_count",
        "Flow.bytes_sent",
        "Flow.bytes_delivered",
        "Flow.bytes_lost",
        "Flow.bytes_ce",
        "Flow.recovery_state",
        "Flow.ssthresh",
        "Ack.ece",
        "Ssthresh",
    ])
    .with_primitives([
        RegisterDef::new("Flow.rttvar_us", Type::Num, Unit::Micros),
        RegisterDef::new("Flow.bytes_retransmitted", Type::Num, Unit::Bytes),
        RegisterDef::new("Flow.pacing_rate", Type::Num, Unit::BytesPerSecond),
        RegisterDef::new("Flow.timeouts", Type::Num, Unit::None),
        RegisterDef::new("Flow.paced", Type::Bool, Unit::None),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::PRIM_COUNT;

    /// The places in `intf.h`, by the names here.
    #[test]
    fn the_table_is_the_headers() {
        let header = include_str!("bpf/intf.h");
        let table = register_table();
        assert_eq!(table.primitives().len(), PRIM_COUNT);
        let place = |name: &str| {
            let constant = match name {
                "Ack.lost_pkts_sample" => "LOST_PKTS".to_owned(),
                _ => name.split('.').nth(1).unwrap().to_uppercase(),
            };
            let constant = format!("CCP_PRIM_{constant} ");
            let at = header
                .find(&constant)
                .unwrap_or_else(|| panic!("no {constant}"));
            let rest = header[at + constant.len()..].trim_start_matches("= ");
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<usize>().unwrap()
        };
        for (i, def) in table.primitives().iter().enumerate() {
            assert_eq!(place(&def.name), i, "{}", def.name);
        }
    }
}
