//! A datapath per test: own name, own pins, gone when the test ends, however it ends.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ccp_ebpf::{Mailbox, Namespaces, Options, Ring, TcpDatapath, clean_up};
use ccp_lab::{Need, skip_without};
use ccp_program::Program;
use ccp_wire::{Create, MeasureBuf, Message};

/// For what comes at once when the machine has time for it.
const PATIENCE: Duration = Duration::from_secs(20);

/// Whether to leave the test because this is not the place for it; says so.
pub(crate) fn skipped() -> bool {
    skip_without(&[Need::Namespaces]) || {
        let missing = ccp_ebpf::check_host().err();
        if let Some(e) = &missing {
            assert!(
                std::env::var("CI").as_deref() != Ok("true"),
                "cannot be skipped: {e}"
            );
            eprintln!("SKIPPED: {e}");
        }
        missing.is_some()
    }
}

/// A name that nobody else has.
pub(crate) fn unique_name() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("ccpt{}_{n}", std::process::id() % 100_000)
}

pub(crate) fn options(name: &str) -> Options {
    Options {
        namespaces: Namespaces::Any,
        max_flows: 1024,
        ring_bytes: 1 << 20,
        pin_root: PathBuf::from("/sys/fs/bpf").join(format!("{name}_pins")),
        ..Options::named(name)
    }
}

pub(crate) fn is_registered(name: &str) -> bool {
    fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control")
        .unwrap()
        .split_whitespace()
        .any(|n| n == name)
}

/// A datapath that is cleaned up when dropped.
pub(crate) struct Attached {
    datapath: Option<TcpDatapath>,
    options: Options,
}

impl Attached {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Options)) -> Self {
        let mut options = options(&unique_name());
        change(&mut options);
        Self::by(options)
    }

    pub(crate) fn by(options: Options) -> Self {
        let datapath = TcpDatapath::attach(options.clone()).unwrap_or_else(|e| panic!("{e}"));
        Self {
            datapath: Some(datapath),
            options,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.options.name
    }

    pub(crate) fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn detach(mut self) -> ccp_ebpf::Left {
        self.datapath.take().unwrap().detach().unwrap()
    }

    /// As a killed process leaves it.
    pub(crate) fn abandon(&mut self) {
        drop(self.datapath.take());
    }

    pub(crate) fn attach_again(&mut self) {
        self.datapath =
            Some(TcpDatapath::attach(self.options.clone()).unwrap_or_else(|e| panic!("{e}")));
    }

    /// Other options for the next start.
    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Options)) {
        change(&mut self.options);
    }

    pub(crate) fn datapath_mut(&mut self) -> &mut TcpDatapath {
        self.datapath.as_mut().unwrap()
    }
}

impl Deref for Attached {
    type Target = TcpDatapath;
    fn deref(&self) -> &TcpDatapath {
        self.datapath.as_ref().unwrap()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        drop(self.datapath.take());
        if let Err(e) = clean_up(&self.options) {
            eprintln!("cannot clean up {}: {e}", self.options.name);
        }
    }
}

/// What came through the ring.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) creates: Vec<Create>,
    pub(crate) measures: Vec<MeasureBuf>,
}

impl Seen {
    pub(crate) fn closes(&self) -> impl Iterator<Item = &MeasureBuf> {
        self.measures.iter().filter(|m| m.fields.is_empty())
    }

    pub(crate) fn reports(&self) -> impl Iterator<Item = &MeasureBuf> {
        self.measures.iter().filter(|m| !m.fields.is_empty())
    }

    /// The latest announcement of the flow from this local port.
    pub(crate) fn of(&self, local: SocketAddr) -> Option<&Create> {
        self.creates
            .iter()
            .rev()
            .find(|c| c.src_port == u32::from(local.port()))
    }

    pub(crate) fn take(&mut self, ring: &mut Ring) {
        while ring.consume(64, |frame| {
            let mut frames = ccp_wire::frames(frame);
            match frames.next().unwrap().unwrap().message().unwrap() {
                // An announcement that nobody has answered yet is repeated.
                Message::Create(create)
                    if self.creates.iter().any(|c| {
                        (c.sock_id, c.generation()) == (create.sock_id, create.generation())
                    }) => {}
                Message::Create(create) => self.creates.push(*create),
                Message::Measure(measure) => self.measures.push(measure.to_buf()),
                other => panic!("unexpected {other:?}"),
            }
            assert!(frames.next().is_none(), "one frame per record");
        }) > 0
        {}
    }
}

/// Answers every CREATE with the same program and fields, beats, and keeps what it sees.
pub(crate) struct Daemon {
    pub(crate) datapath: Attached,
    ring: Ring,
    mailbox: Mailbox,
    pub(crate) seen: Seen,
    answered: usize,
    pub(crate) answer: Option<(u32, Vec<(usize, u64)>)>,
}

impl Daemon {
    pub(crate) fn new(mut datapath: Attached) -> Self {
        let ring = datapath.datapath_mut().take_ring().unwrap();
        let mailbox = datapath.mailbox();
        Self {
            datapath,
            ring,
            mailbox,
            seen: Seen::default(),
            answered: 0,
            answer: None,
        }
    }

    /// With a program that every flow is told to run, and first values of its fields.
    pub(crate) fn running(datapath: Attached, program: &Program, fields: &[(usize, u64)]) -> Self {
        datapath
            .install(1, &bound(program))
            .unwrap_or_else(|e| panic!("{e}"));
        let mut daemon = Self::new(datapath);
        daemon.answer = Some((1, fields.to_vec()));
        daemon
    }

    pub(crate) fn step(&mut self) {
        self.datapath.beat();
        self.seen.take(&mut self.ring);
        while let Some(create) = self.seen.creates.get(self.answered) {
            self.answered += 1;
            if let Some((uid, fields)) = &self.answer {
                let generation = create.generation();
                self.mailbox
                    .write(create.sock_id.0, generation, Some(*uid), fields)
                    .unwrap();
            }
        }
    }

    /// Forgets what was answered, after `seen` was taken away.
    pub(crate) fn reset(&mut self) {
        self.answered = 0;
    }

    /// Writes to the flow from this local port.
    pub(crate) fn write(&self, local: SocketAddr, program: Option<u32>, fields: &[(usize, u64)]) {
        let create = self.seen.of(local).expect("announced");
        self.mailbox
            .write(create.sock_id.0, create.generation(), program, fields)
            .unwrap();
    }

    /// Steps until `done` or panics when [`PATIENCE`] is over.
    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&mut Self) -> bool) {
        let start = Instant::now();
        loop {
            self.step();
            if done(self) {
                return;
            }
            assert!(
                start.elapsed() < PATIENCE,
                "waited for {what}; {:?}; {:?}",
                self.datapath.counters(),
                self.datapath.flows().collect::<Vec<_>>()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    pub(crate) fn for_some(&mut self, time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {
            self.step();
            thread::sleep(Duration::from_millis(1));
        }
    }
}

pub(crate) fn bound(program: &Program) -> Program {
    program.bind(&TcpDatapath::register_table()).unwrap()
}

/// Compiles a program of the language, bound to the datapath's table.
pub(crate) fn compile(source: &str) -> Program {
    let table = TcpDatapath::register_table();
    ccp_lang::compile(source, &table)
        .unwrap_or_else(|e| panic!("{}", e.render(source, "test.ccp")))
        .program
}

/// Does nothing, and wants nothing to be done: the window is what updates say.
pub(crate) fn still() -> Program {
    Program {
        own_recovery: true,
        ..compile("(def (x 0)) (when true (:= x 0))")
    }
}

/// Waits up to [`PATIENCE`].
pub(crate) fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited for {what}");
        thread::sleep(Duration::from_millis(2));
    }
}
