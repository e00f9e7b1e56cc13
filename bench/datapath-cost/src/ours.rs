//! Ours.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use ccp_datapath::{Config, Connection, Datapath, FlowSpec, Measurements, Mode, Primitive};
use ccp_program::RegisterTable;
use ccp_types::{Micros, Timestamp};
use ccp_wire::{ChangeProgExt, Encode, Features, Hello, InstallExt};

use crate::{Flow, MSS, resident};

const START: Timestamp = Timestamp(1);

/// One flow.
pub(crate) struct One {
    flow: Connection,
    measured: Measurements,
    sent: u64,
}

impl One {
    pub(crate) fn new(source: &str, rtt_us: u64) -> Result<Self> {
        let datapath = datapath(Some(source))?;
        let flow = open(&datapath, 1)?;
        let mut one = Self {
            measured: datapath.measurements(),
            flow,
            sent: 0,
        };
        run(&datapath, &one.flow)?;
        one.measured
            .set(Primitive::BYTES_ACKED, u64::from(MSS))
            .set(Primitive::PACKETS_ACKED, 1)
            .set(Primitive::PACKETS_IN_FLIGHT, 9)
            .set(Primitive::RATE_INCOMING, 1_000_000)
            .set(Primitive::RATE_OUTGOING, 1_000_000)
            .set(Primitive::RTT_SAMPLE_US, rtt_us);
        one.ack(START.0);
        if one.flow.mode() != Mode::Running {
            bail!("the program does not run");
        }
        Ok(one)
    }
}

impl Flow for One {
    fn ack(&mut self, now_us: u64) {
        let sent = &mut self.sent;
        let mut sink = |frame: &[u8]| {
            *sent += frame.len() as u64;
            Ok(())
        };
        self.flow
            .on_ack(Timestamp(now_us), &self.measured, &mut sink);
    }
}

fn datapath(source: Option<&str>) -> Result<Datapath> {
    let datapath = Datapath::new(Config::default());
    let hello = Hello {
        version: 1,
        features: Features::ALL,
        epoch: 1,
        heartbeat: Micros::ZERO,
        fallback_after: Micros::ZERO,
    };
    datapath.on_message(START, &hello.to_frame()?)?;
    if let Some(source) = source {
        let table = RegisterTable::libccp();
        let program = ccp_lang::compile(source, &table)?.program.bind(&table)?;
        datapath.on_message(START, &InstallExt::new(1, &program)?.to_frame()?)?;
    }
    Ok(datapath)
}

fn open(datapath: &Datapath, port: u16) -> Result<Connection> {
    let (src, dst) = (([127, 0, 0, 1], port), ([127, 0, 0, 1], 443));
    let spec = FlowSpec::new(src.into(), dst.into(), MSS);
    Ok(datapath.open(START, spec, &mut |_: &[u8]| Ok(()))?)
}

fn run(datapath: &Datapath, flow: &Connection) -> Result<()> {
    let change = ChangeProgExt {
        sock_id: flow.sock_id(),
        // Of a place that was never used before.
        generation: 1,
        program_uid: 1,
        fields: Vec::new(),
    };
    datapath.on_message(START, &change.to_frame()?)?;
    Ok(())
}

pub(crate) fn open_and_close(flows: usize, count: u64) -> Result<Duration> {
    let datapath = datapath(None)?;
    let mut open_now: VecDeque<Connection> = VecDeque::new();
    for _ in 0..flows {
        open_now.push_back(open(&datapath, 1)?);
    }
    let begun = Instant::now();
    for _ in 0..count {
        let oldest = open_now.pop_front().context("there are flows")?;
        oldest.close(None, &mut |_: &[u8]| Ok(()));
        open_now.push_back(open(&datapath, 1)?);
    }
    Ok(begun.elapsed())
}

pub(crate) fn memory(source: &str, flows: usize) -> Result<u64> {
    let datapath = datapath(Some(source))?;
    let measured = datapath.measurements();
    let before = resident()?;
    let mut all = Vec::new();
    for _ in 0..flows {
        let mut flow = open(&datapath, 1)?;
        run(&datapath, &flow)?;
        flow.on_ack(START, &measured, &mut |_: &[u8]| Ok(()));
        all.push(flow);
    }
    let after = resident()?;
    if all.iter().any(|flow| flow.mode() != Mode::Running) {
        bail!("the program does not run");
    }
    Ok(after.saturating_sub(before))
}
