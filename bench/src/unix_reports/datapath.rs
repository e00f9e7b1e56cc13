//! A libccp datapath without a transport: it reports, waits for the answer, and reports again, for
//! each of its flows.

use std::collections::VecDeque;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::BytesMut;
use ccp_types::SockId;
use ccp_wire::{Create, Encode, MeasureBuf, Message, Ready, frames};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix, recv, sendto};

use crate::agent::answer::FIELDS;
use crate::sample::Samples;

/// An agent that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(5);
const MSS: u32 = 1448;
/// So many flows are announced that do not run their program yet.
const MOST_OPENING: usize = 64;

pub(super) struct Datapath {
    socket: UnixDatagram,
    agent: SocketAddrUnix,
    flows: Vec<Flow>,
    /// Flows whose next report can be sent, in this order.
    idle: VecDeque<usize>,
    /// How many reports are not answered.
    waiting: usize,
    buffer: Box<[u8; 4096]>,
}

struct Flow {
    report: BytesMut,
    sent: Instant,
    running: bool,
    /// Its report has not been answered.
    waits: bool,
}

/// What came of reporting for a while.
pub(super) struct Run {
    pub(super) reports: u64,
    pub(super) time: Duration,
    /// From just before a report is sent until its answer has been read, in microseconds.
    pub(super) answered_after: Samples,
}

impl Datapath {
    /// A datapath without flows, bound at `path`, whose agent listens at `agent`.
    pub(super) fn connect(path: &Path, agent: &Path) -> Result<Self> {
        let socket = UnixDatagram::bind(path).context("bind the datapath's socket")?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let datapath = Self {
            socket,
            agent: SocketAddrUnix::new(agent)?,
            flows: Vec::new(),
            idle: VecDeque::new(),
            waiting: 0,
            buffer: Box::new([0; 4096]),
        };
        let ready = Ready {
            id: 0,
            capabilities: None,
        };
        datapath.tell(&ready)?;
        Ok(datapath)
    }

    /// Opens `flows` more flows. Returns when all of them run their program.
    pub(super) fn open(&mut self, flows: usize) -> Result<()> {
        let (first, wanted) = (self.flows.len(), self.flows.len() + flows);
        let mut running = first;
        while running < wanted {
            let index = self.flows.len();
            let room = index < wanted && index - running < MOST_OPENING;
            if room && self.announce(index)? {
                continue;
            }
            // Those that were there before are idle.
            if self
                .listen(RecvFlags::empty())?
                .is_some_and(|index| index >= first)
            {
                running += 1;
            }
        }
        Ok(())
    }

    /// Announces a flow, if the agent's queue has room.
    fn announce(&mut self, index: usize) -> Result<bool> {
        let sock_id = id(index);
        let create = Create {
            sock_id,
            init_cwnd: 10 * MSS,
            mss: MSS,
            src_ip: u32::from_ne_bytes([192, 0, 2, 1]),
            src_port: 5001,
            dst_ip: u32::from_ne_bytes([192, 0, 2, 2]),
            dst_port: sock_id.0 & 0xffff,
            cong_alg: None,
            details: None,
            path: None,
            attributes: Default::default(),
        };
        match sendto(
            &self.socket,
            &create.to_frame()?,
            SendFlags::DONTWAIT,
            &self.agent,
        ) {
            Ok(_) => {}
            Err(Errno::AGAIN) => return Ok(false),
            Err(error) => return Err(error).context("announce a flow"),
        }
        let report = MeasureBuf {
            sock_id,
            program_uid: 0,
            fields: Vec::new(),
            trailer: None,
            totals: None,
        };
        self.flows.push(Flow {
            report: report.to_frame()?,
            sent: Instant::now(),
            running: false,
            waits: false,
        });
        Ok(true)
    }

    fn tell(&self, message: &impl Encode) -> Result<()> {
        let frame = message.to_frame()?;
        sendto(&self.socket, &frame, SendFlags::empty(), &self.agent)?;
        Ok(())
    }

    /// Reports for `time`, with at most `at_once` reports that are not answered yet. All flows have their turn.
    pub(super) fn run(&mut self, time: Duration, at_once: usize) -> Result<Run> {
        let started = Instant::now();
        let mut answered = Vec::new();
        loop {
            let now = Instant::now();
            if now - started >= time {
                return Ok(Run {
                    reports: answered.len() as u64,
                    time: now - started,
                    answered_after: Samples::new(answered),
                });
            }
            while self.waiting < at_once {
                let Some(index) = self.idle.pop_front() else {
                    break;
                };
                let Some(flow) = self.flows.get_mut(index) else {
                    continue;
                };
                flow.sent = Instant::now();
                match sendto(&self.socket, &flow.report, SendFlags::DONTWAIT, &self.agent) {
                    Ok(_) => {
                        flow.waits = true;
                        self.waiting += 1;
                    }
                    Err(Errno::AGAIN) => {
                        // The agent's queue is full of ours: it will answer one.
                        self.idle.push_front(index);
                        break;
                    }
                    Err(error) => return Err(error).context("send a report"),
                }
            }
            // What waits already, at most one of each flow; sleep only if there is nothing.
            let mut flags = RecvFlags::empty();
            for _ in 0..at_once {
                let Some(index) = self.listen(flags)? else {
                    break;
                };
                if let Some(flow) = self.flows.get(index) {
                    answered.push(flow.sent.elapsed().as_secs_f64() * 1e6);
                }
                flags = RecvFlags::DONTWAIT;
            }
        }
    }

    /// Reads one message. The flow that it answers can report again; `None` if there is no message,
    /// or it is not about a flow.
    fn listen(&mut self, flags: RecvFlags) -> Result<Option<usize>> {
        let (length, _) = match recv(&self.socket, &mut self.buffer[..], flags) {
            Ok(length) => length,
            Err(Errno::AGAIN) if flags.contains(RecvFlags::DONTWAIT) => return Ok(None),
            Err(Errno::AGAIN) => bail!("the agent has not answered for {PATIENCE:?}"),
            Err(error) => return Err(error).context("read the agent's answer"),
        };
        let mut answered = None;
        for frame in frames(self.buffer.get(..length).unwrap_or_default()) {
            let (sock_id, program) = match frame?.message()? {
                Message::UpdateFields(update) => (update.sock_id, None),
                Message::ChangeProg(change) => (change.sock_id, Some(change.program_uid)),
                Message::Install(_) => continue,
                other => bail!("the agent said {other:?}"),
            };
            let index = usize::try_from(sock_id.0)? - 1;
            let flow = self.flows.get_mut(index).context("no such flow")?;
            if let Some(program_uid) = program {
                let report = MeasureBuf {
                    sock_id,
                    program_uid,
                    fields: (0..FIELDS).map(|i| 20_000 + i).collect(),
                    trailer: None,
                    totals: None,
                };
                flow.report = report.to_frame()?;
                if flow.running {
                    bail!("a program was started twice");
                }
                flow.running = true;
            } else if std::mem::take(&mut flow.waits) {
                self.waiting -= 1;
            } else {
                bail!("a report was answered twice");
            }
            self.idle.push_back(index);
            answered = Some(index);
        }
        Ok(answered)
    }
}

/// Flows are numbered from 1.
fn id(index: usize) -> SockId {
    SockId(u32::try_from(index + 1).unwrap_or(u32::MAX))
}
