//! The C library.

use std::cell::Cell;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use ccp_libccp_datapath::{Datapath, Flow as Handle, Hears, Primitives, Refused};
use ccp_program::RegisterTable;
use ccp_types::SockId;
use ccp_wire::{ChangeProg, Encode, Install};

use crate::{Flow, MSS, resident};

thread_local! {
    static DECIDED: Cell<u32> = const { Cell::new(0) };
    static SENT: Cell<u64> = const { Cell::new(0) };
}

/// Keeps what costs nothing to keep.
struct Transport;

impl Hears for Transport {
    fn cwnd(bytes: u32) {
        DECIDED.set(bytes);
    }

    fn rate(bytes_per_s: u32) {
        DECIDED.set(bytes_per_s);
    }

    fn message(frame: &[u8]) {
        SENT.set(SENT.get() + frame.len() as u64);
    }
}

fn refused(code: Refused) -> anyhow::Error {
    anyhow!("libccp refuses: {code}")
}

/// The library with room for so many flows.
fn library(flows: usize) -> Result<Datapath> {
    Datapath::new::<Transport>(flows).map_err(refused)
}

fn open(library: &mut Datapath) -> Result<Handle> {
    library.open().context("libccp has no room for the flow")
}

fn install(library: &mut Datapath, source: &str) -> Result<()> {
    let table = RegisterTable::libccp();
    let program = ccp_lang::compile(source, &table)?.program.bind(&table)?;
    let install = Install {
        program_uid: 1,
        bytecode: ccp_lang::libccp::lower(&program)?,
    };
    library.receive(&install.to_frame()?).map_err(refused)
}

fn run(library: &mut Datapath, flow: u32) -> Result<()> {
    let change = ChangeProg {
        sock_id: SockId(flow),
        program_uid: 1,
        fields: Vec::new(),
    };
    library.receive(&change.to_frame()?).map_err(refused)
}

/// One flow.
pub(crate) struct One {
    library: Datapath,
    flow: Handle,
    prims: Primitives,
}

impl One {
    pub(crate) fn new(source: &str, rtt_us: u64) -> Result<Self> {
        let mut library = library(1)?;
        install(&mut library, source)?;
        let flow = open(&mut library)?;
        run(&mut library, 1)?;
        let prims = Primitives {
            bytes_acked: MSS,
            packets_acked: 1,
            packets_in_flight: 9,
            rate_incoming: 1_000_000,
            rate_outgoing: 1_000_000,
            rtt_sample_us: rtt_us,
            snd_cwnd: 10 * MSS,
            ..Primitives::default()
        };
        Ok(Self {
            library,
            flow,
            prims,
        })
    }
}

impl Flow for One {
    fn ack(&mut self, now_us: u64) {
        // What it says of the program is what it says at each, and was tested elsewhere.
        let _ = self.library.invoke(&self.flow, &self.prims, now_us);
    }
}

/// Numbers of flows have 16 bits, and the table is looked through from its beginning: to fill it with more takes
/// minutes.
pub(crate) const MOST_FLOWS: usize = 10_000;

pub(crate) fn open_and_close(flows: usize, count: u64) -> Result<Duration> {
    let flows = flows.min(MOST_FLOWS);
    let mut library = library(flows)?;
    let mut all = VecDeque::new();
    for _ in 0..flows {
        all.push_back(open(&mut library)?);
    }
    let begun = Instant::now();
    for _ in 0..count {
        let oldest = all.pop_front().context("there are flows")?;
        library.close(oldest);
        all.push_back(open(&mut library)?);
    }
    Ok(begun.elapsed())
}

pub(crate) fn memory(source: &str, flows: usize) -> Result<u64> {
    let before = resident()?;
    let mut library = library(flows)?;
    install(&mut library, source)?;
    let still = Primitives::default();
    for number in 1..=flows {
        let flow = open(&mut library)?;
        run(&mut library, u32::try_from(number)?)?;
        // Its first invocation starts the program, whatever that says to nothing measured.
        let _ = library.invoke(&flow, &still, 0);
    }
    Ok(resident()?.saturating_sub(before))
}
