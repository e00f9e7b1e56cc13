//! A report on a Unix socket costs no allocation once its flow is under way: from the datagram to its answer.
//!
//! In a test binary of its own, because it replaces the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, Flow, NewFlow, Params, Report, ReportField,
    Resume, SockId, Timestamp, Updates,
};
use ccp_wire::{Create, Encode as _, MeasureBuf, Message, Ready, frames};
use ccpd::{Ccpd, Config};

static COUNT: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `alloc` above, that is from `System`, with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[derive(Clone)]
struct Answer {
    program: CompiledProgram,
    acked: ReportField<u64>,
}

impl Answer {
    fn new(_: &Params) -> Result<Self, BuildError> {
        let source = "(def (Report (volatile acked 0) (rtt 0)))
            (when true (:= Report.acked 1) (:= Report.rtt 2) (report))";
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
        Updates::none().cwnd(Bytes(10_000 + report.get(self.acked)))
    }
}

const FLOWS: u32 = 8;
const REPORTS: u64 = 20_000;

/// Sends for each flow one report after the other was answered, `at_once` of them one behind the other. Returns
/// how often anybody allocated anything.
fn reports(socket: &UnixDatagram, agent: &Path, frames: &[Vec<u8>], at_once: usize) -> u64 {
    let mut buffer = [0; 4096];
    let before = COUNT.load(Ordering::Relaxed);
    let mut sent = 0;
    while sent < REPORTS {
        for frames in frames.chunks(at_once) {
            for frame in frames {
                // Allocates nothing: short paths fit the call's own memory.
                socket.send_to(frame, agent).unwrap();
                sent += 1;
            }
            for _ in frames {
                let len = socket.recv(&mut buffer).unwrap();
                assert_eq!((buffer[0], len), (3, 25), "an update of one field");
            }
        }
    }
    COUNT.load(Ordering::Relaxed) - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_datagram_to_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, config) = (dir.path().join("agent"), dir.path().join("ccpd.toml"));
    let text = format!(
        "[ccpd]\ncontrol = \"{}\"\n[[datapath]]\nkind = \"unix\"\npath = \"{}\"\n\
         [algorithms.answer]\n[policy]\ndefault = \"answer\"\n",
        dir.path().join("control").display(),
        agent.display(),
    );
    fs::write(&config, text).unwrap();
    let daemon = Ccpd::builder()
        .config(Config::load(&config).unwrap())
        .kind("answer", Answer::new)
        .spawn()
        .await
        .unwrap();
    let at = dir.path().join("datapath");
    let datapath = move || {
        let socket = UnixDatagram::bind(at).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        let ready = Ready {
            id: 0,
            capabilities: None,
        };
        let frame = ready.to_frame().unwrap();
        socket.send_to(&frame, &agent).unwrap();
        let mut reports_of = Vec::new();
        for flow in 1..=FLOWS {
            let create = Create {
                sock_id: SockId(flow),
                init_cwnd: 14_480,
                mss: 1448,
                src_ip: 1,
                src_port: 1,
                dst_ip: 2,
                dst_port: flow,
                cong_alg: None,
                details: None,
                path: None,
                attributes: Default::default(),
            };
            socket.send_to(&create.to_frame().unwrap(), &agent).unwrap();
            reports_of.push(report(flow, program_of(&socket)));
        }
        for at_once in [1, 4, FLOWS as usize] {
            // Under way.
            reports(&socket, &agent, &reports_of, at_once);
            let allocated = reports(&socket, &agent, &reports_of, at_once);
            // What goes on besides, such as looking whether all are still there, may cost something.
            assert!(
                allocated < REPORTS / 20,
                "{allocated} allocations for {REPORTS} reports, {at_once} at once"
            );
        }
    };
    tokio::task::spawn_blocking(datapath).await.unwrap();
    daemon.stop();
    daemon.wait().await.unwrap();
}

/// The number of the program that the flow just announced is told to run.
fn program_of(socket: &UnixDatagram) -> u32 {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let len = socket.recv(&mut buffer).unwrap();
        for frame in frames(&buffer[..len]) {
            if let Message::ChangeProg(change) = frame.unwrap().message().unwrap() {
                return change.program_uid;
            }
        }
    }
}

fn report(flow: u32, program_uid: u32) -> Vec<u8> {
    let report = MeasureBuf {
        sock_id: SockId(flow),
        program_uid,
        fields: vec![5, 6],
        trailer: None,
        totals: None,
    };
    report.to_frame().unwrap().to_vec()
}

#[test]
fn the_count_counts() {
    let before = COUNT.load(Ordering::Relaxed);
    drop(std::hint::black_box(Box::new(1)));
    assert!(COUNT.load(Ordering::Relaxed) > before);
}
