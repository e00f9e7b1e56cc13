//! Algorithms that do not come back from their work: what that costs them, their flows and others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ccp_control::Client;
use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, Flow, FlowState, Micros, NewFlow, Params, Report,
    ReportField, Resume, Timestamp, Updates,
};
use ccpd::{Builder, Ccpd, Config, Handle};

use super::fake::{Fake, Told};
use super::{PATIENCE, value};

/// What its flows do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// They set the window to what was reported.
    Echo,
    /// They compute for ever when something is reported.
    SpinsAtReports,
    /// They compute for ever after ten milliseconds.
    SpinsByItself,
    /// They compute for ever when a flow is announced.
    SpinsAtTheStart,
    /// They compute for ever when somebody wants to see them.
    SpinsWhenShown,
}

/// Ends what would go on for ever: a test that is over needs its processors for others.
type Enough = Arc<AtomicBool>;

#[derive(Clone)]
struct Spin {
    manner: Manner,
    program: CompiledProgram,
    value: ReportField<u64>,
    enough: Enough,
}

impl Spin {
    fn new(manner: Manner, enough: &Enough, params: &Params) -> Result<Self, BuildError> {
        // One program for each table: two algorithms do not share it.
        let tag: usize = params.name().bytes().map(usize::from).sum();
        let text = format!(
            "(def (Report (volatile value 0)) (tag {tag}))
             (when true (:= Report.value Ack.bytes_acked) (report))"
        );
        let program = CompiledProgram::compile(params.name(), &text)?;
        let value = program.report("value")?;
        Ok(Self {
            manner,
            program,
            value,
            enough: Arc::clone(enough),
        })
    }

    fn spin(&self) {
        while !self.enough.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    }
}

impl CongAlg for Spin {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(SpinFlow(self.clone()))
    }
}

struct SpinFlow(Spin);

impl Flow for SpinFlow {
    fn on_resume(&mut self, now: Timestamp, resume: &Resume) -> Updates {
        let updates = Updates::run(&self.0.program).cwnd(resume.state.cwnd);
        match self.0.manner {
            Manner::SpinsByItself => updates.wake_at(now + Micros::from_millis(10)),
            Manner::SpinsAtTheStart => {
                self.0.spin();
                updates
            }
            _ => updates,
        }
    }

    fn on_report(&mut self, _now: Timestamp, report: &Report<'_>) -> Updates {
        if self.0.manner == Manner::SpinsAtReports {
            self.0.spin();
        }
        Updates::none().cwnd(Bytes(report.get(self.0.value)))
    }

    fn on_timer(&mut self, _now: Timestamp) -> Updates {
        self.0.spin();
        Updates::none()
    }

    fn state(&self) -> Option<FlowState> {
        if self.0.manner == Manner::SpinsWhenShown {
            self.0.spin();
        }
        None
    }
}

/// Flows to port 1 get `spins`, all others `echo`.
fn config(dir: &tempfile::TempDir) -> Config {
    let text = format!(
        "[ccpd]
         control = '{dir}/control.sock'
         algorithm_timeout_ms = 200
         [[datapath]]
         kind = 'unix'
         path = '{dir}/datapath.sock'
         [algorithms.echo]
         [algorithms.spins]
         [policy]
         default = 'echo'
         [[policy.rule]]
         match = {{ dst_port = 1 }}
         algorithm = 'spins'",
        dir = dir.path().display()
    );
    text.parse().unwrap()
}

fn builder(config: Config, spins: Manner, enough: &Enough) -> Builder {
    let mut builder = Ccpd::builder().config(config);
    for (kind, manner) in [("echo", Manner::Echo), ("spins", spins)] {
        let enough = Arc::clone(enough);
        builder = builder.kind(kind, move |params| Spin::new(manner, &enough, params));
    }
    builder
}

/// What is counted as `name` of `of`, once it is `wanted`.
async fn counted(dir: &tempfile::TempDir, name: &str, of: &str, wanted: f64) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = Client::connect(dir.path().join("control.sock"))
            .await
            .unwrap();
        let metrics = client.metrics().await.unwrap();
        let now = value(&metrics, name, of);
        if now == Some(wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "{name} {of}: {now:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn is_quarantined(dir: &tempfile::TempDir, name: &str) -> bool {
    let mut client = Client::connect(dir.path().join("control.sock"))
        .await
        .unwrap();
    let all = client.algorithms().await.unwrap();
    all.iter().find(|a| a.name == name).unwrap().quarantined
}

/// The next flow that is told to run another program, and which.
fn moved(fake: &mut Fake) -> (u32, u32) {
    loop {
        if let Told::ChangeProg(change) = fake.told() {
            return (change.sock_id.0, change.program_uid);
        }
    }
}

async fn others_are_served(
    handle: Handle,
    dir: &tempfile::TempDir,
    config: Config,
    enough: &Enough,
) {
    let path = dir.path().join("datapath.sock");
    let mut other = Fake::ready(&path, "other");
    other.open(1, 1);
    let (echo, _) = other.started(1);
    let mut fake = Fake::ready(&path, "one");
    for flow in 1..=3 {
        fake.open_to(flow, flow as u16, 1);
    }
    let started: Vec<_> = (0..3).map(|_| moved(&mut fake)).collect();
    let spins = started[0].1;
    assert!(started.iter().all(|(_, program)| *program == spins));
    let began = Instant::now();
    for flow in 1..=3 {
        fake.report(flow, spins, &[7]);
    }
    // Others go on, before it is noticed and afterwards.
    let mut longest = Duration::ZERO;
    let mut window = 1;
    while began.elapsed() < Duration::from_millis(1_500) {
        window += 1;
        let asked = Instant::now();
        other.report(1, echo, &[window]);
        assert_eq!(other.window(1), window);
        longest = longest.max(asked.elapsed());
        thread::sleep(Duration::from_millis(5));
    }
    // What was noticed, and who has its flows now: also those that hang.
    counted(dir, "ccpd_algorithm_quarantines_total", "spins", 1.0).await;
    counted(dir, "ccpd_algorithm_quarantined", "spins", 1.0).await;
    assert!(is_quarantined(dir, "spins").await);
    assert!(!is_quarantined(dir, "echo").await);
    let mut now: Vec<_> = (0..3).map(|_| moved(&mut fake)).collect();
    now.sort_unstable();
    let flows: Vec<u32> = now.iter().map(|(flow, _)| *flow).collect();
    assert_eq!(flows, [1, 2, 3]);
    let echo = now[0].1;
    assert!(echo != spins && now.iter().all(|(_, program)| *program == echo));
    for flow in 1..=3 {
        fake.report(flow, echo, &[500 + u64::from(flow)]);
        assert_eq!(fake.window(flow), 500 + u64::from(flow));
    }
    // Nor does a new flow get it, or one that is given it by hand.
    fake.open_to(4, 4, 1);
    assert_eq!(moved(&mut fake), (4, echo));
    let mut client = Client::connect(dir.path().join("control.sock"))
        .await
        .unwrap();
    let flow = client.flows().await.unwrap()[0].flow;
    let error = client.set(flow, "spins", &[]).await.unwrap_err();
    assert!(error.to_string().contains("is quarantined"), "{error}");
    // A reload ends it.
    handle.changer().change_to(config).await.unwrap();
    assert!(!is_quarantined(dir, "spins").await);
    counted(dir, "ccpd_algorithm_quarantined", "spins", 0.0).await;
    let back: Vec<_> = (0..4).map(|_| moved(&mut fake)).collect();
    assert!(
        back.iter().all(|(_, program)| *program == spins),
        "{back:?}"
    );
    // What comes back after all is no harm, and what it answers is not told.
    enough.store(true, Ordering::Relaxed);
    counted(dir, "ccpd_threads_held_up", "", 0.0).await;
    let last = fake.told_within(Duration::from_millis(100));
    assert!(last.is_none(), "{last:?}");
    assert!(longest < Duration::from_millis(600), "{longest:?}");
    handle.stop();
    handle.wait().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_algorithm_that_spins_at_reports_is_quarantined() {
    let (dir, enough) = (tempfile::tempdir().unwrap(), Enough::default());
    let config = config(&dir);
    let builder = builder(config.clone(), Manner::SpinsAtReports, &enough);
    let handle = builder.spare_threads(2).spawn().await.unwrap();
    others_are_served(handle, &dir, config, &enough).await;
}

/// On the runtime's threads: both that are not in reserve are lost at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_algorithm_that_spins_by_itself_costs_threads_that_are_replaced() {
    let (dir, enough) = (tempfile::tempdir().unwrap(), Enough::default());
    let config = config(&dir);
    let builder = builder(config, Manner::SpinsByItself, &enough);
    let handle = builder.spare_threads(2).spawn().await.unwrap();
    counted(&dir, "ccpd_threads_spare", "", 2.0).await;
    let fake = Fake::ready(&dir.path().join("datapath.sock"), "one");
    for flow in 1..=4 {
        fake.open_to(flow, flow as u16, 1);
    }
    counted(&dir, "ccpd_algorithm_quarantined", "spins", 1.0).await;
    counted(&dir, "ccpd_threads_held_up", "", 2.0).await;
    counted(&dir, "ccpd_threads_spare", "", 0.0).await;
    // All four have run another algorithm since.
    counted(&dir, "ccpd_algorithm_flows", "echo", 4.0).await;
    enough.store(true, Ordering::Relaxed);
    counted(&dir, "ccpd_threads_held_up", "", 0.0).await;
    counted(&dir, "ccpd_threads_spare", "", 2.0).await;
    handle.stop();
    handle.wait().await.unwrap();
}

/// Before it has begun with a flow, on the runtime's threads.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_algorithm_that_spins_when_it_gets_a_flow_is_quarantined() {
    let (dir, enough) = (tempfile::tempdir().unwrap(), Enough::default());
    let builder = builder(config(&dir), Manner::SpinsAtTheStart, &enough);
    let handle = builder.spare_threads(2).spawn().await.unwrap();
    counted(&dir, "ccpd_threads_spare", "", 2.0).await;
    let mut fake = Fake::ready(&dir.path().join("datapath.sock"), "one");
    for flow in 1..=2 {
        fake.open_to(flow, flow as u16, 1);
    }
    counted(&dir, "ccpd_algorithm_quarantined", "spins", 1.0).await;
    let mut now: Vec<_> = (0..2).map(|_| moved(&mut fake)).collect();
    now.sort_unstable();
    let echo = now[0].1;
    assert_eq!(now, [(1, echo), (2, echo)]);
    for flow in 1..=2 {
        fake.report(flow, echo, &[5_000]);
        assert_eq!(fake.window(flow), 5_000);
    }
    enough.store(true, Ordering::Relaxed);
    counted(&dir, "ccpd_threads_held_up", "", 0.0).await;
    counted(&dir, "ccpd_threads_spare", "", 2.0).await;
    handle.stop();
    handle.wait().await.unwrap();
}

/// A reload with an algorithm whose code does not come back from making it: nothing changes, and others who want
/// to change something wait no longer than that.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_algorithm_that_spins_while_it_is_made_holds_up_nobody() {
    let (dir, enough) = (tempfile::tempdir().unwrap(), Enough::default());
    let stuck = Arc::clone(&enough);
    let builder = builder(config(&dir), Manner::Echo, &enough).kind("stuck", move |params| {
        while !stuck.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        Spin::new(Manner::Echo, &stuck, params)
    });
    let handle = builder.spawn().await.unwrap();
    let text = format!(
        "[ccpd]
         control = '{dir}/control.sock'
         algorithm_timeout_ms = 200
         [[datapath]]
         kind = 'unix'
         path = '{dir}/datapath.sock'
         [algorithms.echo]
         [algorithms.stuck]
         [policy]
         default = 'echo'",
        dir = dir.path().display()
    );
    let new: Config = text.parse().unwrap();
    let error = handle.changer().change_to(new.clone()).await.unwrap_err();
    let why = error.to_string();
    assert!(why.contains("algorithms.stuck"), "{why}");
    assert!(why.contains("does not come back from making it"), "{why}");
    counted(&dir, "ccpd_threads_held_up", "", 1.0).await;
    let algorithms = async || {
        let socket = dir.path().join("control.sock");
        let mut client = Client::connect(socket).await.unwrap();
        let all = client.algorithms().await.unwrap();
        all.into_iter().map(|a| a.name).collect::<Vec<_>>()
    };
    assert_eq!(algorithms().await, ["echo", "spins"]);
    enough.store(true, Ordering::Relaxed);
    counted(&dir, "ccpd_threads_held_up", "", 0.0).await;
    handle.changer().change_to(new).await.unwrap();
    assert_eq!(algorithms().await, ["echo", "stuck"]);
    handle.stop();
    handle.wait().await.unwrap();
}

/// Who asks is called an algorithm for as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_algorithm_that_spins_when_it_is_shown_is_quarantined() {
    let (dir, enough) = (tempfile::tempdir().unwrap(), Enough::default());
    let builder = builder(config(&dir), Manner::SpinsWhenShown, &enough);
    let handle = builder.spare_threads(2).spawn().await.unwrap();
    let mut fake = Fake::ready(&dir.path().join("datapath.sock"), "one");
    fake.open_to(1, 1, 1);
    let (_, spins) = moved(&mut fake);
    let socket = dir.path().join("control.sock");
    let asks = tokio::spawn(async move { Client::connect(socket).await?.flows().await });
    counted(&dir, "ccpd_algorithm_quarantined", "spins", 1.0).await;
    let (flow, echo) = moved(&mut fake);
    assert!(flow == 1 && echo != spins);
    fake.report(1, echo, &[5_000]);
    assert_eq!(fake.window(1), 5_000);
    enough.store(true, Ordering::Relaxed);
    assert_eq!(asks.await.unwrap().unwrap().len(), 1);
    handle.stop();
    handle.wait().await.unwrap();
}

/// When no thread is left, somebody is told.
#[test]
fn the_last_thread_that_is_lost_is_told_of() {
    let (dir, enough) = (tempfile::tempdir().unwrap(), Enough::default());
    let builder = builder(config(&dir), Manner::SpinsByItself, &enough);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.block_on(async { runtime.spawn(builder.spawn()).await.unwrap() });
    let handle = handle.unwrap();
    let mut exhaustion = handle.exhaustion();
    let fake = Fake::ready(&dir.path().join("datapath.sock"), "one");
    for flow in 1..=2 {
        fake.open_to(flow, flow as u16, 1);
    }
    let here = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    here.block_on(async { tokio::time::timeout(PATIENCE, exhaustion.reached()).await })
        .expect("every thread is lost");
    enough.store(true, Ordering::Relaxed);
    handle.stop();
    runtime.block_on(handle.wait()).unwrap();
}
