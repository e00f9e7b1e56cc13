//! Our messages and portus' are the same bytes, in both directions, and portus passes over what
//! we add. First message by message through its `serialize` module, then with its whole runtime
//! as the agent of a datapath that speaks through `ccp-wire`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ccp_program::libccp::{Class, Opcode};
use ccp_program::{Limits, RegisterTable};
use ccp_types::{Bytes, FlowInfo, SockId};
use ccp_wire::{
    Capabilities, ChangeProg, Create, Encode, Features, Field, FieldTarget, Frame, Heartbeat,
    Hello, Install, MAX_REPORT_FIELDS, MeasureBuf, Message, PortOrder, Ready, ReportTrailer,
    Totals, UpdateFields, VERSION,
};
use portus::ipc::{BackendBuilder, Ipc};
use portus::lang::{Reg, Scope, Type};
use portus::serialize::{self as theirs, AsRawMsg, Msg};
use portus::{CongAlg, Datapath, DatapathInfo, DatapathTrait, Flow, Report, RunBuilder};

fn their_bytes(message: &impl AsRawMsg) -> Vec<u8> {
    theirs::serialize(message).expect("portus writes it")
}

fn our_bytes(message: &impl Encode) -> Vec<u8> {
    message.to_frame().expect("we write it").to_vec()
}

fn our_message(bytes: &[u8]) -> Message<'_> {
    let (frame, rest) = Frame::split(bytes).expect("a whole frame");
    assert!(rest.is_empty());
    frame.message().expect("we read it")
}

/// What portus reads, having used up all of `bytes`.
fn their_message(bytes: &[u8]) -> Msg<'_> {
    let (message, consumed) = Msg::from_buf(bytes).expect("portus reads it");
    assert_eq!(consumed, bytes.len());
    message
}

/// The same bytes from both, and both read what the other wrote.
fn same(ours: &impl Encode, theirs: &impl AsRawMsg) -> Vec<u8> {
    let bytes = our_bytes(ours);
    assert_eq!(bytes, their_bytes(theirs));
    assert_eq!(our_bytes(&our_message(&bytes)), bytes);
    bytes
}

#[test]
fn ready() {
    for id in [0, 7, u32::MAX] {
        let ours = Ready {
            id,
            capabilities: None,
        };
        let theirs = theirs::ready::Msg { id };
        assert_eq!(their_message(&same(&ours, &theirs)), Msg::Rdy(theirs));
    }
}

fn plain_create() -> (Create, theirs::create::Msg) {
    let ours = Create {
        sock_id: SockId(15),
        init_cwnd: 14_480,
        mss: 1448,
        src_ip: 0x0100_007f,
        src_port: 4242,
        dst_ip: u32::MAX,
        dst_port: 65_535,
        cong_alg: None,
        details: None,
        path: None,
        attributes: Default::default(),
    };
    let theirs = theirs::create::Msg {
        sid: 15,
        init_cwnd: 14_480,
        mss: 1448,
        src_ip: 0x0100_007f,
        src_port: 4242,
        dst_ip: u32::MAX,
        dst_port: 65_535,
        cong_alg: None,
    };
    (ours, theirs)
}

#[test]
fn create() {
    let (ours, theirs) = plain_create();
    assert_eq!(their_message(&same(&ours, &theirs)), Msg::Cr(theirs));
}

/// portus panics when it writes a name that has not exactly 64 bytes and refuses those that have,
/// so names can be compared one way only.
#[test]
fn create_with_a_name() {
    for name in ["x", "reno", &"n".repeat(63)] {
        let (mut ours, mut theirs) = plain_create();
        ours.cong_alg = Some(name.to_owned());
        theirs.cong_alg = Some(name.to_owned());
        assert_eq!(their_message(&our_bytes(&ours)), Msg::Cr(theirs));
    }
}

#[test]
fn measure() {
    for n in [0u8, 1, 5, 16, 110] {
        let fields: Vec<u64> = (0..n).map(|i| u64::MAX - u64::from(i)).collect();
        let ours = MeasureBuf {
            sock_id: SockId(256),
            program_uid: 72,
            fields: fields.clone(),
            trailer: None,
            totals: None,
        };
        let theirs = theirs::measure::Msg {
            sid: 256,
            program_uid: 72,
            num_fields: n,
            fields,
        };
        let bytes = same(&ours, &theirs);
        match our_message(&bytes) {
            Message::Measure(m) => assert_eq!(m.to_buf(), ours),
            other => panic!("{other:?}"),
        }
        assert_eq!(their_message(&bytes), Msg::Ms(theirs));
    }
    assert_eq!(MAX_REPORT_FIELDS, 110);
}

/// Everything that portus' compiler can put into a program: each of our opcodes and classes.
#[test]
fn install() {
    let mut opcodes = Vec::new();
    let mut classes = Vec::new();
    for source in [
        "(def (Report (volatile acked 0) (minrtt +infinity)) (reportTime 42))
         (when true
             (:= Report.acked (+ Report.acked Ack.bytes_acked))
             (:= Report.minrtt (min Report.minrtt Flow.rtt_sample_us))
             (fallthrough))
         (when (|| Flow.was_timeout (> Micros reportTime))
             (report) (:= Micros 0))",
        "(def (Report (volatile a 0) (b 0)) (volatile c 3) (d 4))
         (when (&& (< Micros 5) (== Ack.now 7))
             (:= x (- (* Ack.ecn_bytes 2) (/ Flow.bytes_pending 3)))
             (:= Report.a (ewma 2 Flow.rate_incoming))
             (:= Report.b (if (> x 1) (max x c)))
             (:= d (!if (< x 1073741823) (wrapped_max x 4)))
             (:= Cwnd (+ Cwnd 1448))
             (:= Rate 125000000))",
    ] {
        let (bin, scope) = portus::lang::compile(source.as_bytes(), &[]).expect("it compiles");
        let theirs = theirs::install::Msg {
            sid: 0,
            program_uid: scope.program_uid,
            num_events: u32::try_from(bin.events.len()).expect("a few"),
            num_instrs: u32::try_from(bin.instrs.len()).expect("a few"),
            instrs: bin,
        };
        let bytes = their_bytes(&theirs);
        let Message::Install(ours) = our_message(&bytes) else {
            panic!("not an INSTALL");
        };
        assert_eq!(ours.program_uid, scope.program_uid);
        assert_eq!(our_bytes(&ours), bytes);
        for instruction in &ours.bytecode.instructions {
            opcodes.push(instruction.op);
            for register in [instruction.ret, instruction.left, instruction.right] {
                classes.push(register.class);
            }
        }
    }
    for opcode in (0..=14).filter_map(Opcode::from_wire) {
        assert!(opcodes.contains(&opcode), "{opcode:?} is not compared");
    }
    for class in (0..=8).filter_map(Class::from_wire) {
        assert!(classes.contains(&class), "{class:?} is not compared");
    }
}

fn update_fields() -> (Vec<Field>, Vec<(Reg, u64)>) {
    let field = |target, value| Field { target, value };
    let control = |index, volatile| FieldTarget::Control { index, volatile };
    let ours = vec![
        field(FieldTarget::Cwnd, 42),
        field(FieldTarget::Rate, u64::MAX),
        field(control(0, false), 1 << 40),
        field(control(15, true), 0),
    ];
    let number = || Type::Num(None);
    let theirs = vec![
        (Reg::Implicit(4, number()), 42),
        (Reg::Implicit(5, number()), u64::MAX),
        (Reg::Control(0, number(), false), 1 << 40),
        (Reg::Control(15, number(), true), 0),
    ];
    (ours, theirs)
}

#[test]
fn update() {
    for n in 0..=4u8 {
        let (mut ours, mut theirs) = update_fields();
        ours.truncate(n.into());
        theirs.truncate(n.into());
        same(
            &UpdateFields {
                sock_id: SockId(1),
                fields: ours,
            },
            &theirs::update_field::Msg {
                sid: 1,
                num_fields: n,
                fields: theirs,
            },
        );
    }
}

#[test]
fn change_prog() {
    for n in 0..=4u8 {
        let (mut ours, mut theirs) = update_fields();
        ours.truncate(n.into());
        theirs.truncate(n.into());
        same(
            &ChangeProg {
                sock_id: SockId(1),
                program_uid: 7,
                fields: ours,
            },
            &theirs::changeprog::Msg {
                sid: 1,
                program_uid: 7,
                num_fields: n.into(),
                fields: theirs,
            },
        );
    }
}

fn capable_ready() -> Ready {
    Ready {
        id: 7,
        capabilities: Some(Capabilities::new(RegisterTable::well_known(), Limits::MAX)),
    }
}

fn flow() -> FlowInfo {
    let mut flow = FlowInfo::new(
        SockId(15),
        "[fd00::1]:4242".parse().expect("an address"),
        "[fd00::2]:443".parse().expect("an address"),
        1448,
        Bytes(14_480),
    );
    flow.requested = Some("reno".to_owned());
    flow
}

fn trailed(fields: Vec<u64>, program_uid: u32) -> MeasureBuf {
    MeasureBuf {
        sock_id: SockId(15),
        program_uid,
        totals: fields.is_empty().then(Totals::default),
        fields,
        trailer: Some(ReportTrailer {
            generation: 3,
            merged: 1,
        }),
    }
}

#[test]
fn portus_passes_over_what_trails() {
    let ready = our_bytes(&capable_ready());
    assert_eq!(
        their_message(&ready),
        Msg::Rdy(theirs::ready::Msg { id: 7 })
    );

    let create = Create::from_flow_info(&flow(), 3);
    let Msg::Cr(read) = their_message(&our_bytes(&create)).into_owned() else {
        panic!("not a CREATE");
    };
    assert_eq!(
        (read.sid, read.init_cwnd, read.mss, read.cong_alg.as_deref()),
        (15, 14_480, 1448, Some("reno"))
    );
    assert_eq!((read.src_port, read.dst_port), (4242, 443));
    assert_eq!(
        create.to_flow_info(PortOrder::default()).expect("a flow"),
        flow()
    );

    // Its fields are there, in front; what trails it takes for one more.
    let Msg::Ms(read) = their_message(&our_bytes(&trailed(vec![5, 6], 9))).into_owned() else {
        panic!("not a MEASURE");
    };
    assert_eq!((read.sid, read.program_uid, read.num_fields), (15, 9, 2));
    assert_eq!(read.fields, [5, 6, 1 << 32 | 3]);

    let Msg::Ms(read) = their_message(&our_bytes(&trailed(vec![], 0))).into_owned() else {
        panic!("not a MEASURE");
    };
    assert_eq!(read.num_fields, 0);
}

/// Our own types are the agent's to send, but should one stray to portus, it is passed over by
/// its length.
#[test]
fn portus_passes_over_our_own_types() {
    let hello = Hello {
        version: VERSION,
        features: Features::ALL,
        epoch: 1,
        heartbeat: ccp_types::Micros(1),
        fallback_after: ccp_types::Micros(2),
    };
    let beat = Heartbeat { epoch: 1, beat: 1 };
    for bytes in [our_bytes(&hello), our_bytes(&beat)] {
        assert!(matches!(their_message(&bytes), Msg::Other(_)));
    }
}

/// portus borrows its unknown messages only.
trait IntoOwned {
    fn into_owned(self) -> Msg<'static>;
}

impl IntoOwned for Msg<'_> {
    fn into_owned(self) -> Msg<'static> {
        match self {
            Msg::Cr(m) => Msg::Cr(m),
            Msg::Ms(m) => Msg::Ms(m),
            Msg::Ins(m) => Msg::Ins(m),
            Msg::Rdy(m) => Msg::Rdy(m),
            Msg::Other(m) => panic!("unknown to portus: {m:?}"),
        }
    }
}

// ---- portus as the agent ----

/// Datagrams between portus and the test, without a socket.
struct Wire {
    to_datapath: Sender<Vec<u8>>,
    from_datapath: Receiver<Vec<u8>>,
}

impl Ipc for Wire {
    type Addr = ();

    fn name() -> String {
        "test".to_owned()
    }

    fn send(&self, message: &[u8], (): &()) -> portus::Result<()> {
        Ok(self.to_datapath.send(message.to_vec())?)
    }

    fn recv(&self, buffer: &mut [u8]) -> portus::Result<(usize, ())> {
        let message = self.from_datapath.recv_timeout(Duration::from_millis(20))?;
        // As a socket does: what does not fit is lost.
        let len = message.len().min(buffer.len());
        buffer[..len].copy_from_slice(&message[..len]);
        Ok((len, ()))
    }

    fn close(&mut self) -> portus::Result<()> {
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Heard {
    Flow(u32, u32),
    Report(u64, u64),
    Close,
}

type Log = Arc<Mutex<Vec<Heard>>>;

/// Reports two fields and answers each report with a window.
struct Algorithm(Log);

struct Steered {
    log: Log,
    control: Datapath<Wire>,
    scope: Scope,
}

impl CongAlg<Wire> for Algorithm {
    type Flow = Steered;

    fn name() -> &'static str {
        "test"
    }

    fn datapath_programs(&self) -> HashMap<&'static str, String> {
        let source = "(def (Report (volatile acked 0) (rtt 0)) (every 10))
            (when (> Micros every) (:= Report.acked (+ Report.acked Ack.bytes_acked)) (report))";
        HashMap::from([("program", source.to_owned())])
    }

    fn new_flow(&self, mut control: Datapath<Wire>, info: DatapathInfo) -> Steered {
        let heard = Heard::Flow(info.init_cwnd, info.src_port);
        self.0.lock().expect("nobody panics").push(heard);
        let scope = control
            .set_program("program", Some(&[("Cwnd", 29_000), ("every", 20)]))
            .expect("it is installed");
        Steered {
            log: self.0.clone(),
            control,
            scope,
        }
    }
}

impl Flow for Steered {
    fn on_report(&mut self, _: u32, report: Report) {
        let field = |name| report.get_field(name, &self.scope).expect("it is there");
        let heard = Heard::Report(field("Report.acked"), field("Report.rtt"));
        self.log.lock().expect("nobody panics").push(heard);
        self.control
            .update_field(&self.scope, &[("Cwnd", 43_500), ("Rate", 1_000_000)])
            .expect("it can be updated");
    }

    fn close(&mut self) {
        self.log.lock().expect("nobody panics").push(Heard::Close);
    }
}

/// A datapath with everything we add, under portus: it installs, steers and closes, as if nothing
/// were added.
#[test]
fn portus_steers_a_datapath_of_ours() {
    let (to_datapath, from_agent) = channel();
    let (to_agent, from_datapath) = channel();
    let log = Log::default();
    let stop = Arc::new(AtomicBool::new(true));
    let agent = RunBuilder::new(BackendBuilder {
        sock: Wire {
            to_datapath,
            from_datapath,
        },
    })
    .default_alg(Algorithm(log.clone()))
    .with_stop_handle(stop.clone())
    .spawn_thread()
    .run()
    .expect("portus starts");

    let say = |message: &dyn Encode| {
        let bytes = message.to_frame().expect("we write it").to_vec();
        to_agent.send(bytes).expect("portus listens");
    };
    let hear = || -> Vec<u8> {
        from_agent
            .recv_timeout(Duration::from_secs(10))
            .expect("portus answers")
    };

    say(&capable_ready());
    let installed = hear();
    let Message::Install(Install { program_uid, .. }) = our_message(&installed) else {
        panic!("not an INSTALL");
    };
    say(&Create::from_flow_info(&flow(), 3));
    let changed = hear();
    let Message::ChangeProg(change) = our_message(&changed) else {
        panic!("not a CHANGE_PROG");
    };
    let field = |target, value| Field { target, value };
    assert_eq!(
        change,
        ChangeProg {
            sock_id: SockId(15),
            program_uid,
            fields: vec![
                field(FieldTarget::Cwnd, 29_000),
                field(
                    FieldTarget::Control {
                        index: 0,
                        volatile: false
                    },
                    20
                ),
            ],
        }
    );
    say(&trailed(vec![1448, 20_000], program_uid));
    let updated = hear();
    assert_eq!(
        our_message(&updated),
        Message::UpdateFields(UpdateFields {
            sock_id: SockId(15),
            fields: vec![
                field(FieldTarget::Cwnd, 43_500),
                field(FieldTarget::Rate, 1_000_000),
            ],
        })
    );
    say(&trailed(vec![], 0));

    let done = || log.lock().expect("nobody panics").last() == Some(&Heard::Close);
    ccp_tests::within(Duration::from_secs(10), || done().then_some(())).expect("it is closed");
    stop.store(false, Ordering::SeqCst);
    agent.wait().expect("portus stops");
    assert_eq!(
        *log.lock().expect("nobody panics"),
        [
            Heard::Flow(14_480, 4242),
            Heard::Report(1448, 20_000),
            Heard::Close
        ]
    );
}
