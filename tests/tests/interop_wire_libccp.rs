//! The real C library as the datapath, in this process: what it sends we read and would write the
//! same, what we send it acts on.
//!
//! In a test binary of its own, and without any logarithm: the crate `libccp` exports a C symbol
//! `log`, which takes the place of the mathematical one in whatever links it.

use std::sync::{Arc, Mutex, Once};

use ccp_program::libccp::{Bytecode, Class, Expression, Instruction, Opcode, Register, implicit};
use ccp_types::{Bytes, Origin, SockId};
use ccp_wire::{
    ChangeProg, Encode, Field, FieldTarget, Frame, Heartbeat, Install, MAX_LIBCCP_INSTRUCTIONS,
    MAX_REPORT_FIELDS, MAX_UPDATE_FIELDS, MeasureBuf, Message, PortOrder, UpdateFields,
};
use libccp::{
    CongestionOps, Connection, Datapath, DatapathBuilder, DatapathOps, FlowInfo, LibccpError,
    Primitives,
};

/// What the library sent and nobody has looked at yet.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Vec<Vec<u8>>>>);

impl DatapathOps for Sent {
    fn send_msg(&mut self, message: &[u8]) {
        self.0.lock().unwrap().push(message.to_vec());
    }
}

impl Sent {
    /// The one message sent since the last time. We would write it exactly so.
    fn one(&self) -> Vec<u8> {
        let mut all = std::mem::take(&mut *self.0.lock().unwrap());
        assert_eq!(all.len(), 1, "{all:?}");
        let bytes = all.remove(0);
        assert_eq!(read(&bytes).to_frame().unwrap(), bytes);
        bytes
    }

    fn none(&self) {
        assert!(self.0.lock().unwrap().is_empty());
    }

    fn report(&self) -> MeasureBuf {
        match read(&self.one()) {
            Message::Measure(m) => m.to_buf(),
            other => panic!("{other:?}"),
        }
    }
}

fn read(bytes: &[u8]) -> Message<'_> {
    let (frame, rest) = Frame::split(bytes).unwrap();
    assert!(rest.is_empty());
    frame.message().unwrap()
}

/// What the library set.
#[derive(Default)]
struct Steered {
    cwnd: Option<u32>,
    rate: Option<u32>,
}

impl CongestionOps for Steered {
    fn set_cwnd(&mut self, cwnd: u32) {
        self.cwnd = Some(cwnd);
    }

    fn set_rate_abs(&mut self, rate: u32) {
        self.rate = Some(rate);
    }
}

/// A datapath that has said READY.
fn datapath(id: u32) -> (Sent, Datapath, Vec<u8>) {
    static ZEROED: Once = Once::new();
    ZEROED.call_once(|| {
        // The crate takes its connection table (more than 128 KiB) from `malloc` and relies on
        // zeros. A fixed threshold makes every such block a fresh mapping.
        // SAFETY: `mallopt` with a valid parameter; no other thread changes it.
        let ok = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024) };
        assert_eq!(ok, 1);
    });
    let sent = Sent::default();
    let datapath = DatapathBuilder::default()
        .with_ops(sent.clone())
        .with_id(id)
        .init()
        .unwrap();
    let ready = sent.one();
    (sent, datapath, ready)
}

fn connection<'d>(datapath: &'d Datapath, sent: &Sent) -> (Connection<'d, Steered>, SockId) {
    let info = FlowInfo::default().with_mss(1448).with_init_cwnd(14_480);
    let connection = Connection::start(datapath, Steered::default(), info).unwrap();
    match read(&sent.one()) {
        Message::Create(c) => (connection, c.sock_id),
        other => panic!("{other:?}"),
    }
}

/// Hands one of our messages to the library.
fn tell(datapath: &Datapath, message: &impl Encode) -> Result<(), LibccpError> {
    datapath.recv_msg(&mut message.to_frame().unwrap())
}

fn reg(class: Class, index: u32) -> Register {
    Register { class, index }
}

fn imm(value: u32) -> Register {
    reg(Class::Immediate, value)
}

fn inst(op: Opcode, ret: Register, left: Register, right: Register) -> Instruction {
    Instruction {
        op,
        ret,
        left,
        right,
    }
}

fn bind(ret: Register, value: Register) -> Instruction {
    inst(Opcode::Bind, ret, ret, value)
}

fn def(register: Register, default: u32) -> Instruction {
    inst(Opcode::Def, register, register, imm(default))
}

const REPORT: Register = Register {
    class: Class::Implicit,
    index: implicit::SHOULD_REPORT,
};
const FLAG: Register = Register {
    class: Class::Implicit,
    index: implicit::EVENT_FLAG,
};

/// `(def (Report (volatile acked 0) (rtt 0)) (step 0) (volatile seen 0))`, and on every
/// invocation: acked += bytes acked, rtt := sample, seen += step, report if seen is above 1.
fn program(program_uid: u32) -> Install {
    let acked = reg(Class::VolatileReport, 0);
    let rtt = reg(Class::Report, 1);
    let step = reg(Class::Control, 0);
    let seen = reg(Class::VolatileControl, 1);
    let instructions = vec![
        def(acked, 7),
        def(rtt, 0),
        def(step, 0),
        def(seen, 0),
        // condition
        bind(FLAG, imm(1)),
        // body
        inst(Opcode::Add, acked, acked, reg(Class::Primitive, 0)),
        bind(rtt, reg(Class::Primitive, 13)),
        inst(Opcode::Add, seen, seen, step),
        inst(Opcode::Gt, REPORT, seen, imm(1)),
    ];
    Install {
        program_uid,
        bytecode: Bytecode {
            expressions: vec![Expression {
                condition_start: 4,
                condition_len: 1,
                body_start: 5,
                body_len: 4,
            }],
            instructions,
        },
    }
}

fn step(value: u64) -> Field {
    Field {
        target: FieldTarget::Control {
            index: 0,
            volatile: false,
        },
        value,
    }
}

fn cwnd(value: u64) -> Field {
    Field {
        target: FieldTarget::Cwnd,
        value,
    }
}

fn rate(value: u64) -> Field {
    Field {
        target: FieldTarget::Rate,
        value,
    }
}

#[test]
fn ready_create_and_close_are_read_as_they_are_meant() {
    let (sent, datapath, ready) = datapath(57);
    assert_eq!(ready.len(), 12);
    match read(&ready) {
        Message::Ready(r) => assert_eq!((r.id, r.capabilities), (57, None)),
        other => panic!("{other:?}"),
    }

    // As ccp-kernel fills it in: everything of the network header as it lies there.
    let info = FlowInfo::default()
        .with_mss(1448)
        .with_init_cwnd(14_480)
        .with_four_tuple(
            u32::from_ne_bytes([10, 1, 2, 3]),
            u32::from(4242u16.to_be()),
            u32::from_ne_bytes([192, 168, 0, 9]),
            u32::from(443u16.to_be()),
        )
        .with_cong_alg("reno")
        .unwrap();
    let connection = Connection::start(&datapath, Steered::default(), info).unwrap();
    let create = sent.one();
    assert_eq!(create.len(), 96);
    let sock_id = match read(&create) {
        Message::Create(c) => {
            let flow = c.to_flow_info(PortOrder::Network).unwrap();
            assert_eq!(flow.src, "10.1.2.3:4242".parse().unwrap());
            assert_eq!(flow.dst, "192.168.0.9:443".parse().unwrap());
            assert_eq!((flow.mss, flow.init_cwnd), (1448, Bytes(14_480)));
            assert_eq!(flow.requested.as_deref(), Some("reno"));
            assert_eq!((flow.origin, c.generation()), (Origin::New, 0));
            c.sock_id
        }
        other => panic!("{other:?}"),
    };

    drop(connection);
    assert_eq!(sent.report(), MeasureBuf::close(sock_id));
}

#[test]
fn the_library_s_own_defaults_count_packets() {
    let (sent, datapath, _) = datapath(0);
    let _connection =
        Connection::start(&datapath, Steered::default(), FlowInfo::default()).unwrap();
    match read(&sent.one()) {
        Message::Create(c) => {
            let flow = c.to_flow_info(PortOrder::Host).unwrap();
            assert_eq!((c.init_cwnd, flow.init_cwnd), (10, Bytes(14_600)));
            assert_eq!(flow.requested, None);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn programs_and_updates_of_ours_act() {
    let (sent, datapath, _) = datapath(0);
    let (mut connection, sock_id) = connection(&datapath, &sent);
    assert!(
        connection.invoke().is_err(),
        "it has no program, so nothing runs"
    );
    sent.none();

    tell(&datapath, &program(9)).unwrap();
    tell(
        &datapath,
        &ChangeProg {
            sock_id,
            program_uid: 9,
            fields: vec![cwnd(29_000), step(1)],
        },
    )
    .unwrap();
    let mut ack = |bytes_acked, rtt| {
        let c = &mut connection;
        (c.cwnd, c.rate) = (None, None);
        c.load_primitives(
            Primitives::default()
                .with_bytes_acked(bytes_acked)
                .with_rtt_sample_us(rtt),
        );
        c.invoke().unwrap();
        (c.cwnd, c.rate)
    };

    // Both the window and the control variable of CHANGE_PROG are there at the next invocation.
    assert_eq!(ack(1_000, 20_000), (Some(29_000), None));
    sent.none();
    assert_eq!(ack(500, 21_000), (None, None));
    let report = |fields| MeasureBuf {
        sock_id,
        program_uid: 9,
        fields,
        trailer: None,
        totals: None,
    };
    assert_eq!(sent.report(), report(vec![7 + 1_500, 21_000]));

    // The volatile control variable is back at 0: two more until the next report, or one with
    // twice the step. 64-bit values of control variables arrive whole.
    let update = |fields| tell(&datapath, &UpdateFields { sock_id, fields }).unwrap();
    update(vec![rate(6_250_000), cwnd(43_500), step(1 << 40)]);
    assert_eq!(ack(100, 22_000), (Some(43_500), Some(6_250_000)));
    assert_eq!(sent.report(), report(vec![107, 22_000]));

    // 64-bit windows and rates do not: libccp passes on the low half.
    update(vec![cwnd((1 << 32) + 5), step(0)]);
    assert_eq!(ack(0, 1), (Some(5), None));
    sent.none();

    // A volatile control variable can be set as well.
    update(vec![Field {
        target: FieldTarget::Control {
            index: 1,
            volatile: true,
        },
        value: 2,
    }]);
    ack(u32::MAX, u64::MAX);
    assert_eq!(
        sent.report(),
        report(vec![7 + u64::from(u32::MAX), u64::MAX])
    );
}

#[test]
fn change_prog_undoes_updates_not_yet_applied() {
    let (sent, datapath, _) = datapath(0);
    let (mut connection, sock_id) = connection(&datapath, &sent);
    tell(&datapath, &program(9)).unwrap();
    tell(
        &datapath,
        &UpdateFields {
            sock_id,
            fields: vec![cwnd(29_000)],
        },
    )
    .unwrap();
    tell(
        &datapath,
        &ChangeProg {
            sock_id,
            program_uid: 9,
            fields: vec![],
        },
    )
    .unwrap();
    connection.invoke().unwrap();
    assert_eq!(connection.cwnd, None);
}

#[test]
fn our_limits_are_those_that_the_library_lives_with() {
    let (sent, datapath, _) = datapath(0);
    let (mut connection, sock_id) = connection(&datapath, &sent);

    // 127 fields in one update; the 128th turns their number negative.
    let most = UpdateFields {
        sock_id,
        fields: vec![step(1); MAX_UPDATE_FIELDS],
    };
    tell(&datapath, &most).unwrap();
    let mut one_more = most.to_frame().unwrap().to_vec();
    one_more.extend_from_within(12..25);
    one_more[8] += 1;
    let len = u16::try_from(one_more.len()).unwrap();
    one_more[2..4].copy_from_slice(&len.to_le_bytes());
    assert!(matches!(
        datapath.recv_msg(&mut one_more),
        Err(LibccpError::LibccpUpdateTooMany)
    ));

    // 255 instructions, 110 of them report variables: the largest report there is.
    let vars: Vec<_> = (0..110).map(|i| reg(Class::Report, i)).collect();
    let mut instructions: Vec<_> = vars.iter().map(|r| def(*r, 3)).collect();
    instructions.push(bind(FLAG, imm(1)));
    instructions.extend(vars.iter().map(|r| inst(Opcode::Add, *r, *r, imm(r.index))));
    instructions.resize(MAX_LIBCCP_INSTRUCTIONS - 1, bind(FLAG, imm(1)));
    instructions.push(bind(REPORT, imm(1)));
    let install = Install {
        program_uid: 9,
        bytecode: Bytecode {
            expressions: vec![Expression {
                condition_start: 110,
                condition_len: 1,
                body_start: 111,
                body_len: 144,
            }],
            instructions,
        },
    };
    tell(&datapath, &install).unwrap();
    let change = ChangeProg {
        sock_id,
        program_uid: 9,
        fields: vec![cwnd(1); 222],
    };
    tell(&datapath, &change).unwrap();
    connection.invoke().unwrap();
    let report = sent.report();
    assert_eq!(report.fields.len(), MAX_REPORT_FIELDS);
    assert_eq!(report.fields, (3..113).collect::<Vec<u64>>());
}

/// Why nothing new goes to a datapath that did not announce it, and why each frame has a
/// datagram to itself.
#[test]
fn the_library_refuses_new_types_and_reads_one_frame_of_a_datagram() {
    let (sent, datapath, _) = datapath(0);
    let (mut connection, sock_id) = connection(&datapath, &sent);
    assert!(matches!(
        tell(&datapath, &Heartbeat { epoch: 1, beat: 1 }),
        Err(LibccpError::LibccpReadInvalidHeaderType)
    ));

    tell(&datapath, &program(9)).unwrap();
    let mut two = ChangeProg {
        sock_id,
        program_uid: 9,
        fields: vec![cwnd(29_000)],
    }
    .to_frame()
    .unwrap();
    UpdateFields {
        sock_id,
        fields: vec![cwnd(1_448)],
    }
    .encode(&mut two)
    .unwrap();
    datapath.recv_msg(&mut two).unwrap();
    connection.invoke().unwrap();
    assert_eq!(connection.cwnd, Some(29_000));
}

/// Trailing bytes inside a frame are passed over by the library as by us.
#[test]
fn the_library_passes_over_what_trails() {
    let (sent, datapath, _) = datapath(0);
    let (mut connection, sock_id) = connection(&datapath, &sent);
    tell(&datapath, &program(9)).unwrap();
    let mut change = ChangeProg {
        sock_id,
        program_uid: 9,
        fields: vec![cwnd(29_000)],
    }
    .to_frame()
    .unwrap()
    .to_vec();
    change.extend([0xaa; 9]);
    change[2] += 9;
    datapath.recv_msg(&mut change).unwrap();
    connection.invoke().unwrap();
    assert_eq!(connection.cwnd, Some(29_000));
}
