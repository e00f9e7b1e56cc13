//! An algorithm that does not come back from a report, beside one that does; and flows that ask for their
//! algorithm by the name that they use.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ccp_control::{Client, FlowMode, FlowStatus};
use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, Flow, NewFlow, Origin, Params, Rate, Report,
    Resume, Timestamp, Updates,
};
use ccp_lab::{Bulk, Namespace, RunningFlow, Until};
use ccp_tests::{KernelTest, unique_name};
use ccpd::{Ccpd, Config};

/// For what comes at once when the machine has time for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// As the configuration below says it. A task that only waits for a processor is not late by so much.
const LIMIT: Duration = Duration::from_secs(3);

/// A window and a rate; reports all the time, and answers nothing.
#[derive(Clone)]
struct Silent {
    program: CompiledProgram,
    /// Reports are not come back from while this is set.
    hang: Option<Arc<AtomicBool>>,
    /// Not as fast as the loopback can, which would leave the daemon no processor.
    rate: Rate,
    origins: Arc<Mutex<Vec<Origin>>>,
}

impl Silent {
    fn new(params: &Params, hang: Option<Arc<AtomicBool>>) -> Result<Self, BuildError> {
        let tag = params.name().len();
        let text = format!(
            "(def (Report (volatile acked 0)) (tag {tag}))
             (when true (:= Report.acked (+ Report.acked Ack.bytes_acked)) (fallthrough))
             (when (> Micros 2000) (report) (reset))"
        );
        Ok(Self {
            program: CompiledProgram::compile(params.name(), &text)?,
            hang,
            rate: Rate::from_mbit(100),
            origins: Arc::default(),
        })
    }
}

impl CongAlg for Silent {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Silent {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        self.origins.lock().unwrap().push(resume.origin);
        Updates::run(&self.program)
            .cwnd(resume.state.cwnd.max(Bytes(1_000_000)))
            .rate(self.rate)
    }

    fn on_report(&mut self, _now: Timestamp, _report: &Report<'_>) -> Updates {
        // Not for ever, or a test that fails would never end.
        let until = Instant::now() + 2 * PATIENCE;
        while self.hang.as_ref().is_some_and(|h| h.load(Ordering::SeqCst)) && Instant::now() < until
        {
            std::thread::sleep(Duration::from_millis(5));
        }
        Updates::none()
    }
}

async fn status(client: &mut Client, flow: &RunningFlow) -> Option<FlowStatus> {
    let flows = client.flows().await.unwrap();
    flows.into_iter().find(|f| f.src == flow.local())
}

/// Waits until the flow is in the state `mode`.
async fn await_mode(client: &mut Client, flow: &RunningFlow, mode: FlowMode) -> FlowStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = status(client, flow).await;
        match status {
            Some(status) if status.state == mode => return status,
            other => assert!(Instant::now() < deadline, "{other:?} is not {mode}"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn progress(flow: &RunningFlow) {
    let (before, deadline) = (flow.bytes_received(), Instant::now() + PATIENCE);
    while flow.bytes_received() < before + 1_000_000 {
        assert!(Instant::now() < deadline, "{:?}", flow.info());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_an_algorithm_that_hangs_costs_its_flow_alone() {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control.sock");
    let name = unique_name();
    let other = format!("{name}h");
    let text = format!(
        "[ccpd]
         control = '{}'
         algorithm_timeout_ms = 0
         [[datapath]]
         kind = 'tcp'
         name = '{name}'
         namespaces = 'any'
         names = [{{ name = '{other}', requests = 'the_other' }}]
         unanswered_after_ms = 3000
         fallback_after_ms = 20000
         [algorithms.calm]
         [algorithms.hangs]
         [policy]
         default = 'calm'
         [[policy.rule]]
         match = {{ netns = 'any', requested = 'the_other' }}
         algorithm = 'hangs'",
        control.display()
    );
    let hang = Arc::new(AtomicBool::new(false));
    let origins = Arc::<Mutex<Vec<Origin>>>::default();
    let config: Config = text.parse().unwrap();
    let (hung, seen) = (Arc::clone(&hang), Arc::clone(&origins));
    let handle = Ccpd::builder()
        .config(config)
        .kind("calm", |params: &Params| Silent::new(params, None))
        .kind("hangs", move |params: &Params| {
            let mut alg = Silent::new(params, Some(Arc::clone(&hung)))?;
            alg.origins = Arc::clone(&seen);
            Ok::<_, BuildError>(alg)
        })
        .spawn()
        .await
        .unwrap();
    let ns = Namespace::new("hangs").unwrap();
    let start = |congestion: &str| {
        Bulk::new(Until::Stopped)
            .congestion(congestion)
            .start(&ns, &ns, Ipv4Addr::LOCALHOST)
            .unwrap()
    };
    let (calm, hangs) = (start(&name), start(&other));
    let mut client = Client::connect(&control).await.unwrap();
    let algorithm = |status: FlowStatus| status.algorithm;
    let running = FlowMode::Running;
    assert_eq!(
        algorithm(await_mode(&mut client, &calm, running).await),
        "calm"
    );
    assert_eq!(
        algorithm(await_mode(&mut client, &hangs, running).await),
        "hangs"
    );

    // Longer than the limit: not to answer is no failure.
    tokio::time::sleep(LIMIT * 3 / 2).await;
    for flow in [&calm, &hangs] {
        let status = status(&mut client, flow).await.unwrap();
        assert_eq!(status.state, FlowMode::Running, "{status:?}");
    }
    let resumed = || origins.lock().unwrap().contains(&Origin::Resumed);
    assert!(!resumed());

    hang.store(true, Ordering::SeqCst);
    await_mode(&mut client, &hangs, FlowMode::Fallback).await;
    assert_eq!(hangs.congestion().unwrap(), other);
    progress(&hangs).await;
    progress(&calm).await;
    let served = status(&mut client, &calm).await.unwrap();
    assert_eq!(served.state, FlowMode::Running);
    let deadline = Instant::now() + PATIENCE / 4;
    loop {
        let later = status(&mut client, &calm).await.unwrap();
        if later.reports > served.reports {
            break;
        }
        assert!(Instant::now() < deadline, "{served:?} {later:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(!resumed(), "it hangs");

    hang.store(false, Ordering::SeqCst);
    await_mode(&mut client, &hangs, FlowMode::Running).await;
    assert!(resumed());
    progress(&hangs).await;
    handle.stop();
    handle.wait().await.unwrap();
    for flow in [calm, hangs] {
        assert_eq!(flow.congestion().unwrap(), "cubic");
        flow.stop();
        flow.wait().unwrap();
    }
}

/// Many flows that report all the time, on a machine that has a lot else to do: a task that waits for its turn
/// does not hang, and nobody falls back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn root_a_busy_machine_is_no_reason_to_fall_back() {
    const FLOWS: usize = 32;
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let control = dir.path().join("control.sock");
    let name = unique_name();
    let text = format!(
        "[ccpd]
         control = '{}'
         [[datapath]]
         kind = 'tcp'
         name = '{name}'
         namespaces = 'any'
         unanswered_after_ms = 3000
         fallback_after_ms = 20000
         [algorithms.calm]
         [policy]
         default = 'calm'",
        control.display()
    );
    let origins = Arc::<Mutex<Vec<Origin>>>::default();
    let seen = Arc::clone(&origins);
    let config: Config = text.parse().unwrap();
    let handle = Ccpd::builder()
        .config(config)
        .kind("calm", move |params: &Params| {
            let mut alg = Silent::new(params, None)?;
            alg.rate = Rate::from_mbit(10);
            alg.origins = Arc::clone(&seen);
            Ok::<_, BuildError>(alg)
        })
        .spawn()
        .await
        .unwrap();
    let ns = Namespace::new("busy").unwrap();
    let flows: Vec<_> = (0..FLOWS)
        .map(|_| {
            Bulk::new(Until::Stopped)
                .congestion(&name)
                .sample_every(None)
                .check_content(false)
                .start(&ns, &ns, Ipv4Addr::LOCALHOST)
                .unwrap()
        })
        .collect();
    let mut client = Client::connect(&control).await.unwrap();
    for flow in &flows {
        await_mode(&mut client, flow, FlowMode::Running).await;
    }
    let before = client.flows().await.unwrap();

    let until = Instant::now() + 2 * LIMIT;
    let busy: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(move || while Instant::now() < until {}))
        .collect();
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    for thread in busy {
        thread.join().unwrap();
    }

    let after = client.flows().await.unwrap();
    let reports = |flows: &[FlowStatus]| flows.iter().map(|f| f.reports).sum::<u64>();
    println!("{} reports", reports(&after) - reports(&before));
    // Each had far more of them than its limit lasts round trips.
    for flow in &after {
        assert_eq!(flow.state, FlowMode::Running, "{flow:?}");
        let then = before.iter().find(|f| f.src == flow.src).unwrap();
        assert!(flow.reports > then.reports + 10, "{then:?} {flow:?}");
    }
    assert_eq!(after.len(), FLOWS);
    let resumed = origins.lock().unwrap().contains(&Origin::Resumed);
    assert!(!resumed, "one fell back in between");
    handle.stop();
    handle.wait().await.unwrap();
    for flow in flows {
        flow.stop();
        flow.wait().unwrap();
    }
}
