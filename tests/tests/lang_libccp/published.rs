//! Published programs on the C library do what is published of them.

use std::collections::BTreeMap;

use ccp_lang::libccp::lower;
use ccp_program::Program;

use crate::datapath::{Datapath, Primitives};
use crate::scripts::{Machine, Measured, PUBLISHED, run};

/// The C library with one flow.
struct Library {
    program: Program,
    flow: Datapath,
}

impl Machine for Library {
    fn set(&mut self, control: &str, value: u64) {
        let controls = &self.program.controls;
        let place = controls.iter().position(|c| c.name == control);
        let place = place.expect("declared");
        self.flow
            .update(place as u32, controls[place].volatile, value);
    }

    fn ack(
        &mut self,
        measured: &Measured,
        window: &mut [u64; 2],
        now_us: u64,
    ) -> Option<BTreeMap<String, u64>> {
        let small = |name| u32::try_from(measured.get(name)).expect("32 bits there");
        let prims = Primitives {
            bytes_acked: small("bytes_acked"),
            packets_acked: small("packets_acked"),
            bytes_misordered: small("bytes_misordered"),
            packets_misordered: small("packets_misordered"),
            ecn_bytes: small("ecn_bytes"),
            ecn_packets: small("ecn_packets"),
            lost_pkts_sample: small("lost_pkts_sample"),
            was_timeout: measured.get("was_timeout") != 0,
            rtt_sample_us: measured.get("rtt_sample_us"),
            rate_outgoing: measured.get("rate_outgoing"),
            rate_incoming: measured.get("rate_incoming"),
            bytes_in_flight: small("bytes_in_flight"),
            packets_in_flight: small("packets_in_flight"),
            snd_cwnd: window[0] as u32,
            snd_rate: window[1],
            bytes_pending: small("bytes_pending"),
        };
        let done = self.flow.ack(prims, now_us).expect("no fault");
        for (register, set) in window.iter_mut().zip([done.cwnd, done.rate]) {
            *register = set.map_or(*register, u64::from);
        }
        let names = self.program.reports.iter().map(|v| v.name.clone());
        done.report.map(|values| names.zip(values).collect())
    }
}

#[test]
fn they_do_what_is_published() {
    for (name, source, script) in PUBLISHED {
        let program = crate::program(name, source);
        let bytecode = lower(&program).expect("fits libccp");
        let mut machine = Library {
            program,
            flow: Datapath::with(bytecode),
        };
        let reports = run(name, script, &mut machine);
        assert!(reports > 0, "{name} never reports");
    }
}
