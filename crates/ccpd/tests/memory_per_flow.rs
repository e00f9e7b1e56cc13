//! What a flow costs the daemon in memory, counted where it is allocated: no more than it takes, and all of it is
//! given back.
//!
//! In a test binary of its own, because it replaces the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, Flow, FlowInfo, NewFlow, Params, Report,
    ReportField, Resume, SockId, Timestamp, Updates,
};
use ccp_wire::{Create, Encode, MeasureBuf, Message, Ready, frames};
use ccpd::{Ccpd, Config};

/// Hash tables are as full with so many as with 100,000.
const FLOWS: u32 = 6_250;
/// For each flow that has reported, with what the allocator adds, in bytes.
const LIMIT: i64 = 1_280;
const PATIENCE: Duration = Duration::from_secs(60);

static LIVE: AtomicI64 = AtomicI64::new(0);

struct Counting;

/// What glibc's allocator takes for it.
fn taken(layout: Layout) -> i64 {
    (layout.size() + 8).next_multiple_of(16).max(32) as i64
}

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(taken(layout), Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        LIVE.fetch_sub(taken(layout), Ordering::Relaxed);
        // SAFETY: `ptr` came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Answers each report with a window.
#[derive(Clone)]
struct Answer {
    program: CompiledProgram,
    acked: ReportField<Bytes>,
}

impl Answer {
    fn new(_: &Params) -> Result<Self, BuildError> {
        let source = "(def (Report (volatile acked 0) (rtt 0))) \
                      (when true (:= Report.acked (+ Report.acked Ack.bytes_acked)) \
                      (:= Report.rtt Flow.rtt_sample_us) (report))";
        let program = CompiledProgram::compile("answer", source)?;
        let acked = program.report("acked")?;
        Ok(Self { program, acked })
    }
}

impl CongAlg for Answer {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }
    fn new_flow(&self, _: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Answer {
    fn on_resume(&mut self, _: Timestamp, _: &Resume) -> Updates {
        Updates::run(&self.program)
    }
    fn on_report(&mut self, _: Timestamp, report: &Report<'_>) -> Updates {
        Updates::none().cwnd(report.get(self.acked))
    }
}

struct Datapath {
    socket: UnixDatagram,
    buffer: Vec<u8>,
}

impl Datapath {
    fn tell(&self, message: &impl Encode) {
        self.socket.send(&message.to_frame().unwrap()).unwrap();
    }

    /// Waits until a flow is told something; gives the program if it is one.
    fn hear(&mut self) -> Option<u32> {
        loop {
            let len = self.socket.recv(&mut self.buffer).unwrap();
            for frame in frames(&self.buffer[..len]) {
                match frame.unwrap().message().unwrap() {
                    Message::ChangeProg(change) => return Some(change.program_uid),
                    Message::UpdateFields(_) => return None,
                    _ => {}
                }
            }
        }
    }

    /// Each of the flows comes, and reports twice.
    fn open(&mut self, flows: std::ops::RangeInclusive<u32>) {
        let end = |last| SocketAddr::from(([192, 0, 2, last], 443));
        for sock_id in flows.map(SockId) {
            let info = FlowInfo::new(sock_id, end(1), end(2), 1_448, Bytes(14_480));
            self.tell(&Create::from_flow_info(&info, 0));
            let report = MeasureBuf {
                sock_id,
                program_uid: self.hear().unwrap(),
                fields: vec![20_000, 10_000],
                trailer: None,
                totals: None,
            };
            for _ in 0..2 {
                self.tell(&report);
                assert_eq!(self.hear(), None);
            }
        }
    }
}

#[test]
fn a_flow_takes_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let text = format!(
        "[ccpd]\ncontrol = '{0}/control'\n[[datapath]]\nkind = 'unix'\npath = '{0}/agent'\n\
         [algorithms.answer]\n[policy]\ndefault = 'answer'\n",
        dir.path().display()
    );
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let config = Config::parse(&text, "test").unwrap();
    let builder = Ccpd::builder().config(config).kind("answer", Answer::new);
    let daemon = runtime.block_on(builder.spawn()).unwrap();
    let socket = UnixDatagram::bind(dir.path().join("datapath")).unwrap();
    socket.connect(dir.path().join("agent")).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut datapath = Datapath {
        socket,
        buffer: vec![0; 1 << 16],
    };
    datapath.tell(&Ready {
        id: 0,
        capabilities: None,
    });
    // What the first ones take is not a flow's.
    datapath.open(1..=10);
    let before = LIVE.load(Ordering::Relaxed);
    datapath.open(11..=FLOWS);
    let each = (LIVE.load(Ordering::Relaxed) - before) / i64::from(FLOWS - 10);
    println!("{each} bytes for each flow");
    assert!(each <= LIMIT, "{each} bytes for each flow");
    assert!(each >= 500, "{each} bytes for each flow: that can't be all");

    for sock_id in 11..=FLOWS {
        datapath.tell(&MeasureBuf::close(SockId(sock_id)));
    }
    // Tables of flows keep their size.
    let kept = i64::from(FLOWS) * 128;
    let begun = Instant::now();
    while LIVE.load(Ordering::Relaxed) > before + kept {
        let left = LIVE.load(Ordering::Relaxed) - before;
        assert!(begun.elapsed() < PATIENCE, "{left} bytes are kept");
        std::thread::sleep(Duration::from_millis(10));
    }
    runtime.block_on(async {
        daemon.stop();
        daemon.wait().await.unwrap();
    });
}
