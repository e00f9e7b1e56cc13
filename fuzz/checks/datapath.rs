//! What must hold of a datapath, whatever the daemon sends. Used by the fuzz target
//! `datapath_messages` and by an ordinary test.

use ccp_datapath::{Config, Datapath, FlowSpec, Primitive};
use ccp_program::RegisterTable;
use ccp_types::Timestamp;

/// Gives `datagram` to a datapath with two flows, and has acknowledgements arrive. Nothing panics, and
/// every window is at least a segment.
pub(crate) fn messages(datagram: &[u8]) {
    for registers in [RegisterTable::libccp(), RegisterTable::well_known()] {
        let datapath = Datapath::new(Config {
            registers,
            ..Config::default()
        });
        let mut now = Timestamp(1);
        let mut sink = |frame: &[u8]| {
            assert!(ccp_wire::frames(frame).all(|f| f.is_ok_and(|f| f.message().is_ok())));
            Ok(())
        };
        let mut flows: Vec<_> = (0..2)
            .map(|port| {
                let (src, dst) = (([192, 0, 2, 1], port), ([192, 0, 2, 2], 443));
                let spec = FlowSpec::new(src.into(), dst.into(), 1_000);
                datapath.open(now, spec, &mut sink).expect("there is room")
            })
            .collect();
        let mut measured = datapath.measurements();
        for round in 0..3 {
            let _ = datapath.on_message(now, datagram);
            for flow in &mut flows {
                for value in [0, 1_000, u64::MAX] {
                    now.0 += 1_000;
                    measured.clear();
                    measured
                        .set(Primitive::BYTES_ACKED, value)
                        .set(Primitive::RTT_SAMPLE_US, 1_000 + value / 2)
                        .set(Primitive::LOST_PACKETS, round);
                    let decision = flow.on_ack(now, &measured, &mut sink);
                    assert!(decision.cwnd.0 >= 1_000);
                }
                let _ = flow.on_timer(now, &mut sink);
            }
            datapath.on_timer(now, &mut sink);
        }
    }
}
