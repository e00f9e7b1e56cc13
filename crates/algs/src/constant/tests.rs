use ccp_core::testkit::{Ack, Setup, TestFlow};
use ccp_core::{Bytes, Event, Micros, Origin, Params, Rate};
use ccp_program::RegisterTable;

use super::Constant;

fn constant(text: &str) -> Constant {
    Params::parse_toml("slow", text)
        .map_err(Into::into)
        .and_then(|params| Constant::from_params(&params))
        .unwrap()
}

fn refusal(text: &str) -> String {
    let params = Params::parse_toml("slow", text).unwrap();
    Constant::from_params(&params).unwrap_err().to_string()
}

fn tables() -> [RegisterTable; 2] {
    [RegisterTable::well_known(), RegisterTable::libccp()]
}

#[test]
fn window_and_rate_are_what_was_asked_for_from_the_first_update_on() {
    for registers in tables() {
        let setup = Setup {
            registers,
            ..Setup::default()
        };
        let mut flow = TestFlow::with(constant("cwnd_packets = 20\nrate_mbit = 50"), &setup);
        assert_eq!((flow.cwnd(), flow.rate()), (Bytes(20_000), Rate(6_250_000)));
        for _ in 0..20 {
            flow.pass(Micros(1_000));
            flow.ack(&Ack::of(3_000).lost(1).recovery_state(3));
            assert_eq!((flow.cwnd(), flow.rate()), (Bytes(20_000), Rate(6_250_000)));
        }
    }
}

#[test]
fn losses_and_timeouts_are_not_answered() {
    let mut flow = TestFlow::new(constant("cwnd_packets = 20"));
    assert!(!flow.datapath_recovers());
    // The datapath cuts the window at a timeout; the next acknowledgement restores it.
    flow.set_cwnd(Bytes(1_000));
    flow.ack(&Ack::timeout());
    assert_eq!(flow.cwnd(), Bytes(20_000));
    assert_eq!(flow.rate(), Rate::ZERO);
}

#[test]
fn a_rate_alone_gets_the_window_it_needs() {
    for (registers, rtt) in tables()
        .into_iter()
        .zip(["Flow.srtt_us", "Flow.rtt_sample_us"])
    {
        let setup = Setup {
            registers,
            ..Setup::default()
        };
        let mut flow = TestFlow::with(constant("rate_mbit = 80"), &setup);
        flow.ack(&Ack::of(1_000).set(rtt, u64::MAX));
        assert_eq!(flow.cwnd(), Bytes(10_000));
        flow.ack(&Ack::of(1_000).set(rtt, 20_000));
        // 10 MB/s · 20 ms · 2, and ten packets.
        assert_eq!(flow.cwnd(), Bytes(410_000));
    }
}

#[test]
fn nothing_overflows_at_any_rate() {
    // What used to happen elsewhere: more than 4294 Mbit/s overflowed.
    for (rate, expected) in [
        ("0.001", Rate(125)),
        ("0.5", Rate(62_500)),
        ("4295", Rate(536_875_000)),
        ("1e7", Rate(1_250_000_000_000)),
    ] {
        let mut flow = TestFlow::new(constant(&format!("rate_mbit = {rate}")));
        flow.ack(&Ack::of(1_000).set("Flow.srtt_us", 59_999_999));
        assert_eq!(flow.rate(), expected);
        assert!(flow.cwnd() >= Bytes(10_000));
    }
}

#[test]
fn the_window_is_counted_in_segments_of_their_present_size() {
    // What used to happen elsewhere: packets of 1,500 bytes, whatever the flow sends.
    let mut flow = TestFlow::new(constant("cwnd_packets = 20"));
    flow.ack(&Ack::of(1_000).mss(65_483));
    assert_eq!(flow.cwnd(), Bytes(20 * 65_483));

    let setup = Setup {
        registers: RegisterTable::libccp(),
        ..Setup::default()
    };
    let mut flow = TestFlow::with(constant("cwnd_packets = 20"), &setup);
    flow.event(&Event::MssChanged { mss: 536 });
    flow.ack(&Ack::of(1_000));
    assert_eq!(flow.cwnd(), Bytes(20 * 536));
}

#[test]
fn it_reports_once_per_round_trip() {
    let mut flow = TestFlow::new(constant("cwnd_packets = 20"));
    flow.ack(&Ack::of(1_000).set("Flow.srtt_us", 10_000));
    for _ in 0..100 {
        flow.pass(Micros(1_000));
        flow.ack(&Ack::of(1_000).set("Flow.srtt_us", 10_000));
    }
    assert_eq!(flow.reports(), 10);
    assert_eq!(flow.status().state.srtt, Micros(10_000));
}

#[test]
fn parameters_change_under_way() {
    let mut flow = TestFlow::new(constant("cwnd_packets = 20"));
    flow.ack(&Ack::of(1_000));
    flow.take_updates();
    flow.reconfigure(constant("cwnd_packets = 30\nrate_mbit = 1"));
    assert!(flow.take_updates().iter().all(|u| !u.change_program));
    flow.ack(&Ack::of(1_000));
    assert_eq!((flow.cwnd(), flow.rate()), (Bytes(30_000), Rate(125_000)));
    flow.reconfigure(constant("cwnd_packets = 30"));
    flow.ack(&Ack::of(1_000));
    assert_eq!(flow.rate(), Rate::ZERO);
}

#[test]
fn it_starts_again_after_the_datapath_had_to_take_over() {
    let mut flow = TestFlow::new(constant("cwnd_packets = 20\nrate_mbit = 8"));
    flow.resume(Origin::Resumed, Bytes(3_000));
    assert_eq!((flow.cwnd(), flow.rate()), (Bytes(20_000), Rate(1_000_000)));
}

#[test]
fn ranges_are_refused_at_their_edges() {
    for fine in [
        "cwnd_packets = 1",
        "cwnd_packets = 1000000",
        "rate_mbit = 0.001",
        "rate_mbit = 10000000",
        "rate_mbit = 10000000.0",
    ] {
        constant(fine);
    }
    assert_eq!(
        refusal("cwnd_packets = 0"),
        "parameters of `slow`:1:16: algorithms.slow.cwnd_packets = 0: must be 1 to 1000000"
    );
    assert_eq!(
        refusal("rate_mbit = 0.0009"),
        "parameters of `slow`:1:13: algorithms.slow.rate_mbit = 0.0009: must be 0.001 to 10000000"
    );
    for wrong in [
        "cwnd_packets = 1000001",
        "cwnd_packets = -1",
        "cwnd_packets = 1.5",
        "rate_mbit = 0",
        "rate_mbit = -5",
        "rate_mbit = inf",
        "rate_mbit = nan",
        "rate_mbit = 10000001",
        "rate_mbit = \"fast\"",
    ] {
        assert!(refusal(wrong).contains("algorithms.slow."), "{wrong}");
    }
    assert_eq!(
        refusal(""),
        "parameters of `slow`:1:1: algorithms.slow: needs `cwnd_packets`, `rate_mbit` or both"
    );
}
