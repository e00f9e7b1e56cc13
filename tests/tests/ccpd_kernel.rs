//! What an algorithm's panic costs flows of kernel TCP.

use std::time::Duration;

use ccp_control::{Client, FlowMode, FlowStatus};
use ccp_core::{
    BuildError, Bytes, CompiledProgram, CongAlg, Event, Flow, NewFlow, Params, Report, Resume,
    Timestamp, Updates,
};
use ccp_lab::{Bulk, Namespace, RunningFlow, Until};
use ccp_tests::{KernelTest, host, unique_name};
use ccpd::{Ccpd, Config};

const PATIENCE: Duration = Duration::from_secs(10);

/// Holds so many packets, and panics at a report when its time has come.
#[derive(Clone)]
struct Fragile {
    packets: u64,
    /// How many reports it bears.
    bears: u64,
    seen: u64,
    program: CompiledProgram,
}

impl Fragile {
    fn make(packets: u64, bears: u64) -> impl Fn(&Params) -> Result<Self, BuildError> {
        move |params| {
            // Reports every 10 ms.
            let text = format!(
                "(def (Report (volatile acked {packets})))
                 (when true (:= Report.acked (+ Report.acked Ack.bytes_acked)) (fallthrough))
                 (when (> Micros 10000) (report) (reset))"
            );
            Ok(Self {
                packets,
                bears,
                seen: 0,
                program: CompiledProgram::compile(params.name(), &text)?.with_own_recovery(),
            })
        }
    }
}

impl CongAlg for Fragile {
    fn programs(&self) -> Vec<CompiledProgram> {
        vec![self.program.clone()]
    }

    fn new_flow(&self, _flow: &NewFlow<'_>) -> Box<dyn Flow> {
        Box::new(self.clone())
    }
}

impl Flow for Fragile {
    fn on_resume(&mut self, _now: Timestamp, resume: &Resume) -> Updates {
        let window = Bytes::from_packets(self.packets, resume.mss);
        Updates::run(&self.program).cwnd(window)
    }

    fn on_report(&mut self, _now: Timestamp, _report: &Report<'_>) -> Updates {
        self.seen += 1;
        assert!(self.seen <= self.bears, "this is too much");
        Updates::none()
    }

    // On loopback the first segments are half as large as the others.
    fn on_event(&mut self, _now: Timestamp, event: &Event) -> Updates {
        match event {
            Event::MssChanged { mss } => {
                Updates::none().cwnd(Bytes::from_packets(self.packets, *mss))
            }
            _ => Updates::none(),
        }
    }
}

async fn await_flow(
    socket: &std::path::Path,
    flow: &RunningFlow,
    wanted: impl Fn(&FlowStatus) -> bool,
) -> FlowStatus {
    let deadline = std::time::Instant::now() + PATIENCE;
    loop {
        let flows = Client::connect(socket)
            .await
            .unwrap()
            .flows()
            .await
            .unwrap();
        match flows.into_iter().find(|f| f.src == flow.local()) {
            Some(found) if wanted(&found) => return found,
            found => assert!(std::time::Instant::now() < deadline, "still {found:#?}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn root_a_panic_costs_its_own_flow_a_switch() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(90)) else {
        return Ok(());
    };
    let ns = Namespace::new("panics")?;
    let (name, dir) = (unique_name(), tempfile::tempdir()?);
    let socket = dir.path().join("control.sock");
    let config: Config = format!(
        "[ccpd]\ncontrol = '{}'\n[[datapath]]\nkind = 'tcp'\nname = '{name}'\nnamespaces = 'any'\n\
         [algorithms.solid]\n[algorithms.third]\n[algorithms.late]\n\
         [policy]\ndefault = 'late'\n\
         [[policy.rule]]\nmatch = {{ netns = 'any', dst_port = 7001 }}\nalgorithm = 'solid'\n\
         [[policy.rule]]\nmatch = {{ netns = 'any', dst_port = 7003 }}\nalgorithm = 'third'\n",
        socket.display()
    )
    .parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let daemon = runtime.block_on(
        Ccpd::builder()
            .config(config)
            .kind("solid", Fragile::make(12, u64::MAX))
            .kind("third", Fragile::make(8, 2))
            .kind("late", Fragile::make(5, 200))
            .spawn(),
    )?;

    let start = |port| {
        let flow = Bulk::new(Until::Stopped).congestion(&name).port(port);
        flow.start(&ns, &ns, [127, 0, 0, 1])
    };
    let (solid, third) = (start(7001)?, start(7003)?);
    let windows = |flow: &FlowStatus| flow.cwnd_bytes / u64::from(flow.mss_bytes.max(1));
    runtime.block_on(async {
        // The default takes over at the third report.
        let now = await_flow(&socket, &third, |f| f.algorithm == "late" && f.reports > 10).await;
        assert_eq!(
            (now.state, windows(&now)),
            (FlowMode::Running, 5),
            "{now:#?}"
        );
        // And when that has had enough, the kernel.
        await_flow(&socket, &third, |f| {
            // The kernel says so with its next acknowledgement.
            f.algorithm == "native" && f.state != FlowMode::Running
        })
        .await;
        await_flow(&socket, &third, |f| windows(f) > 5).await;
        // The other one was always the same.
        let other = await_flow(&socket, &solid, |f| f.reports > 200).await;
        assert_eq!(
            (&other.algorithm[..], other.state),
            ("solid", FlowMode::Running)
        );
        assert_eq!(windows(&other), 12, "{other:#?}");
    });
    // What was sent arrived whole.
    for flow in [solid, third] {
        flow.stop();
        assert!(flow.wait()?.bytes > 0);
    }
    daemon.stop();
    runtime.block_on(daemon.wait())?;
    assert!(!host::is_available(&name) && !host::is_pinned(&name));
    Ok(())
}
