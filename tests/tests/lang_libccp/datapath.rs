//! A flow on the C library, and what an invocation did to it.

use std::cell::{Cell, RefCell};

use ccp_libccp_datapath::{Flow, Hears, Refused};
use ccp_types::SockId;
use ccp_wire::{ChangeProg, Encode, Field, FieldTarget, Install, Message, UpdateFields};

pub(crate) use ccp_libccp_datapath::Primitives;

/// The value of a primitive as libccp's programs read it.
pub(crate) fn measured(prims: &Primitives, name: &str, now_us: u64) -> u64 {
    match name {
        "Ack.bytes_acked" => prims.bytes_acked.into(),
        "Ack.bytes_misordered" => prims.bytes_misordered.into(),
        "Ack.ecn_bytes" => prims.ecn_bytes.into(),
        "Ack.ecn_packets" => prims.ecn_packets.into(),
        "Ack.lost_pkts_sample" => prims.lost_pkts_sample.into(),
        "Ack.now" => now_us,
        "Ack.packets_acked" => prims.packets_acked.into(),
        "Ack.packets_misordered" => prims.packets_misordered.into(),
        "Flow.bytes_in_flight" => prims.bytes_in_flight.into(),
        "Flow.bytes_pending" => prims.bytes_pending.into(),
        "Flow.packets_in_flight" => prims.packets_in_flight.into(),
        "Flow.rate_incoming" => prims.rate_incoming,
        "Flow.rate_outgoing" => prims.rate_outgoing,
        // No sample yet.
        "Flow.rtt_sample_us" if prims.rtt_sample_us == 0 => u32::MAX.into(),
        "Flow.rtt_sample_us" => prims.rtt_sample_us,
        "Flow.was_timeout" => prims.was_timeout.into(),
        other => panic!("libccp does not measure {other}"),
    }
}

thread_local! {
    static CWND: Cell<Option<u32>> = const { Cell::new(None) };
    static RATE: Cell<Option<u32>> = const { Cell::new(None) };
    static SENT: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Keeps what the library says.
struct Transport;

impl Hears for Transport {
    fn cwnd(bytes: u32) {
        CWND.set(Some(bytes));
    }

    fn rate(bytes_per_s: u32) {
        RATE.set(Some(bytes_per_s));
    }

    fn message(frame: &[u8]) {
        SENT.with_borrow_mut(|sent| sent.push(frame.to_vec()));
    }
}

/// What one invocation did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) cwnd: Option<u32>,
    pub(crate) rate: Option<u32>,
    pub(crate) report: Option<Vec<u64>>,
}

/// One flow on the C library.
pub(crate) struct Datapath {
    library: ccp_libccp_datapath::Datapath,
    flow: Flow,
}

const PROGRAM: u32 = 1;
const FLOW: SockId = SockId(1);

impl Datapath {
    /// A flow that started at time 0 and runs the program of an INSTALL body.
    pub(crate) fn new(install: &[u8]) -> Self {
        let mut library = ccp_libccp_datapath::Datapath::new::<Transport>(1).expect("it starts");
        let flow = library.open().expect("there is room");
        let mut datapath = Self { library, flow };
        datapath.receive(install);
        datapath.choose(PROGRAM);
        datapath
    }

    /// A flow that runs `bytecode`.
    pub(crate) fn with(bytecode: ccp_program::libccp::Bytecode) -> Self {
        let install = Install {
            program_uid: PROGRAM,
            bytecode,
        };
        Self::new(&install.to_frame().expect("within the format's limits"))
    }

    /// Another program takes the place of the one that runs.
    pub(crate) fn replace(&mut self, bytecode: ccp_program::libccp::Bytecode) {
        let install = Install {
            program_uid: PROGRAM + 1,
            bytecode,
        };
        self.receive(&install.to_frame().expect("within the format's limits"));
        self.choose(PROGRAM + 1);
    }

    fn choose(&mut self, program_uid: u32) {
        let change = ChangeProg {
            sock_id: FLOW,
            program_uid,
            fields: vec![],
        };
        self.receive(&change.to_frame().expect("small"));
    }

    fn receive(&mut self, frame: &[u8]) {
        self.library
            .receive(frame)
            .expect("a whole, well-formed message");
    }

    /// The agent writes a control variable.
    pub(crate) fn update(&mut self, index: u32, volatile: bool, value: u64) {
        let update = UpdateFields {
            sock_id: FLOW,
            fields: vec![Field {
                target: FieldTarget::Control { index, volatile },
                value,
            }],
        };
        self.receive(&update.to_frame().expect("small"));
    }

    /// One acknowledgement. The library's error, a negative number, if it faults.
    pub(crate) fn ack(&mut self, prims: Primitives, now_us: u64) -> Result<Done, Refused> {
        CWND.set(None);
        RATE.set(None);
        SENT.with_borrow_mut(Vec::clear);
        let status = self.library.invoke(&self.flow, &prims, now_us);
        let mut sent = SENT.take();
        status?;
        let report = sent.pop().map(|bytes| {
            let frame = ccp_wire::frames(&bytes).next().expect("a frame");
            match frame.expect("well formed").message().expect("well formed") {
                Message::Measure(measure) => measure.fields().collect(),
                other => panic!("{other:?}"),
            }
        });
        assert!(sent.is_empty());
        Ok(Done {
            cwnd: CWND.take(),
            rate: RATE.take(),
            report,
        })
    }
}
