use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ccp_core::{Command, FlowUpdate, ProgramTable, SessionOptions, SockId};
use ccp_wire::{Create, Encode as _, MeasureBuf, Ready};
use tokio_util::sync::CancellationToken;

use super::Link;
use crate::change::Made;
use crate::outlet::{Haste, Outlet, Sent};
use crate::shared::Shared;

/// A datapath that takes everything and says nothing.
#[derive(Debug)]
struct Quiet;

impl Outlet for Quiet {
    fn send(&self, _: &ProgramTable, _: &Command) -> Sent {
        Sent::Done
    }

    fn update(&self, _: &ProgramTable, _: &FlowUpdate, _: Haste) -> Sent {
        Sent::Done
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

fn shared() -> Arc<Shared> {
    let mut registry = ccp_core::Registry::new();
    algs::register(&mut registry).unwrap();
    let maker = crate::making::Maker::new(registry);
    let made = Made::new(&maker, crate::Config::default(), None).unwrap();
    Arc::new(Shared::new(made.plan().unwrap(), CancellationToken::new()))
}

/// A datapath that has said that it is there.
fn link_to(outlet: Arc<dyn Outlet>, shared: &Arc<Shared>) -> Link {
    let options = SessionOptions::default();
    let mut link = Link::new("test", "test".to_owned(), outlet, options, shared);
    let ready = Ready {
        id: 0,
        capabilities: None,
    };
    assert!(link.on_bytes(&ready.to_frame().unwrap()).is_none());
    link
}

/// It announces a flow.
fn create() -> BytesMut {
    let create = Create {
        sock_id: SockId(1),
        init_cwnd: 14_480,
        mss: 1448,
        src_ip: 1,
        src_port: 1,
        dst_ip: 2,
        dst_port: 2,
        cong_alg: None,
        details: None,
        path: None,
        attributes: Default::default(),
    };
    create.to_frame().unwrap()
}

/// A datapath with one flow.
fn link(shared: &Arc<Shared>) -> Link {
    let mut link = link_to(Arc::new(Quiet), shared);
    link.on_bytes(&create()).unwrap().serve(Haste::Now);
    link
}

/// How many reports have been dealt with.
fn dealt_with(shared: &Shared) -> f64 {
    let all = shared.metrics.gather();
    let reports = all.iter().find(|m| m.name == "ccpd_reports_total").unwrap();
    reports.samples.iter().map(|s| s.value.number()).sum()
}

/// Who brings a report and finds somebody with the flow goes away again. Whoever that is sees to it that the
/// flow's task looks: no later report does so instead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_report_is_left_lying_while_somebody_looks_at_the_flow() {
    let shared = shared();
    let mut link = link(&shared);
    let cell = shared.board.all().pop().unwrap();
    let begun = Instant::now();
    let (uid, fields) = loop {
        if let Some((_, uid, program)) = cell.runs() {
            break (uid, program.ir().reports.len());
        }
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    let report = MeasureBuf {
        sock_id: SockId(1),
        program_uid: uid,
        fields: vec![1; fields],
        trailer: None,
        totals: None,
    };
    let report = report.to_frame().unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    // One only: two would find each other there, and have the task look.
    let looks = thread::spawn({
        let (cell, stop) = (Arc::clone(&cell), Arc::clone(&stop));
        move || {
            while !stop.load(Ordering::Relaxed) {
                let _program = cell.runs();
            }
        }
    });
    let begun = Instant::now();
    let mut sent = 0_u32;
    while begun.elapsed() < Duration::from_secs(1) {
        link.on_bytes(&report).unwrap().serve(Haste::Now);
        sent += 1;
        let since = Instant::now();
        while dealt_with(&shared) < f64::from(sent) {
            assert!(
                since.elapsed() < Duration::from_secs(10),
                "report {sent} is left lying"
            );
            tokio::task::yield_now().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    looks.join().unwrap();
    assert!(sent > 100, "{sent} reports show nothing");
    link.disconnect();
    assert_eq!(shared.flows_ended().await, 0);
    assert_eq!(shared.board.len(), 0);
}

/// Who brings what a flow is told begins and ends it: it needs no task.
#[tokio::test]
async fn a_flow_that_waits_for_nothing_has_no_task() {
    let shared = shared();
    let mut link = link(&shared);
    let cell = shared.board.all().pop().unwrap();
    assert!(cell.runs().is_some());
    let close = MeasureBuf::close(SockId(1)).to_frame().unwrap();
    link.on_bytes(&close).unwrap().serve(Haste::Now);
    assert_eq!((shared.flows.len(), shared.board.len()), (0, 0));
    assert!(cell.runs().is_none());
}

/// A datapath that takes nothing until it is told to.
#[derive(Debug, Default)]
struct Closed(AtomicBool);

impl Outlet for Closed {
    fn send(&self, _: &ProgramTable, _: &Command) -> Sent {
        match self.0.load(Ordering::Relaxed) {
            true => Sent::Done,
            false => Sent::Full,
        }
    }

    fn update(&self, _: &ProgramTable, _: &FlowUpdate, _: Haste) -> Sent {
        match self.0.load(Ordering::Relaxed) {
            true => Sent::Done,
            false => Sent::Full,
        }
    }

    fn ready(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }
}

/// Nothing is done for a flow before its datapath has taken the programs, whatever comes for it.
#[tokio::test]
async fn a_flow_begins_when_its_datapath_has_its_programs() {
    let shared = shared();
    let outlet = Arc::new(Closed::default());
    let mut link = link_to(Arc::clone(&outlet) as Arc<dyn Outlet>, &shared);
    assert!(link.on_bytes(&create()).is_none());
    let cell = shared.board.all().pop().unwrap();
    cell.serve(None, Haste::Now);
    cell.wake();
    tokio::task::yield_now().await;
    assert!(cell.runs().is_none());
    outlet.0.store(true, Ordering::Relaxed);
    assert!(link.flush());
    let begun = Instant::now();
    while cell.runs().is_none() {
        assert!(begun.elapsed() < Duration::from_secs(20));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    link.stop();
    assert_eq!(shared.flows_ended().await, 0);
    assert_eq!(shared.board.len(), 0);
}

/// One that never has them ends all the same.
#[tokio::test]
async fn a_flow_that_never_begins_ends() {
    let shared = shared();
    let mut link = link_to(Arc::<Closed>::default(), &shared);
    assert!(link.on_bytes(&create()).is_none());
    let cell = shared.board.all().pop().unwrap();
    cell.wake();
    link.stop();
    assert_eq!(shared.flows_ended().await, 0);
    assert_eq!(shared.board.len(), 0);
}
