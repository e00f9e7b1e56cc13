//! Many flows at once, in several network namespaces, that come and go: each keeps its own identity and
//! gets its own algorithm's window.
//!
//! `CCP_TEST_SCALE=full` makes them 65,536 at once, as many as there are slots.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

use ccp_lab::OpenCrowd;
use ccp_tests::{Daemon, KernelTest, Setup, crowd, within};

/// In each namespace.
fn size() -> usize {
    let full = std::env::var("CCP_TEST_SCALE").is_ok_and(|scale| scale == "full");
    if full {
        65_536 / crowd::NAMESPACES
    } else {
        256
    }
}

/// The addresses of flows, and how many have them: namespaces may have the same ones.
type Identities = BTreeMap<(SocketAddr, SocketAddr), usize>;

fn count(flows: impl Iterator<Item = (SocketAddr, SocketAddr)>) -> Identities {
    let mut identities = Identities::new();
    for flow in flows {
        *identities.entry(flow).or_default() += 1;
    }
    identities
}

/// Every connection has its own window, and the daemon knows exactly these connections, each under its own
/// algorithm and number.
fn check(daemon: &Daemon<'_>, crowds: &[OpenCrowd]) -> anyhow::Result<()> {
    let mut wrong = Vec::new();
    let mut failure = None;
    within(Duration::from_secs(60), || {
        match crowd::other_windows(crowds) {
            Ok(others) => wrong = others,
            Err(error) => failure = Some(error),
        }
        (wrong.is_empty() || failure.is_some()).then_some(())
    });
    if let Some(error) = failure {
        return Err(error.into());
    }
    anyhow::ensure!(
        wrong.is_empty(),
        "{} flows have another window than their own algorithm's, as {:?}",
        wrong.len(),
        wrong.iter().take(5).collect::<Vec<_>>()
    );
    let open = crowd::ends(crowds)?;
    let connections = open.len();
    let open = count(open.into_iter());
    let mut lines = Vec::new();
    // Closed ones are gone a moment later.
    within(Duration::from_secs(20), || {
        lines = daemon.flows();
        let known = count(lines.iter().map(|line| (line.src, line.dst)));
        (known == open).then_some(())
    });
    let known = count(lines.iter().map(|line| (line.src, line.dst)));
    anyhow::ensure!(
        known == open,
        "ccpd knows {} flows where {} connections are open",
        lines.len(),
        connections
    );
    let numbers: BTreeSet<u32> = lines.iter().map(|line| line.sock_id).collect();
    anyhow::ensure!(numbers.len() == lines.len(), "two flows have one number");
    for line in &lines {
        let own = crowd::algorithm(line.dst.port());
        anyhow::ensure!(
            line.algorithm == own && line.state == "running",
            "not under {own}: {line:?}"
        );
    }
    Ok(())
}

#[test]
fn root_many_flows_keep_their_identity_and_window_also_in_slots_used_before() -> anyhow::Result<()>
{
    let Some(_alone) = KernelTest::begin(Duration::from_secs(300)) else {
        return Ok(());
    };
    let namespaces = crowd::namespaces()?;
    let setup = Setup::new(&crowd::config());
    let daemon = setup.start(&namespaces[0]);
    let crowds = crowd::open(&namespaces, size(), setup.name())?;
    check(&daemon, &crowds)?;

    // Every second slot gets another flow, whose algorithm need not be the same.
    for crowd in &crowds {
        let mut odd = false;
        crowd.retain(move |_| {
            odd = !odd;
            odd
        })?;
    }
    for crowd in crowds.iter().rev() {
        crowd.add(size() / 2)?;
    }
    check(&daemon, &crowds)?;
    drop(crowds);
    let forgotten = within(Duration::from_secs(60), || {
        daemon.flows().is_empty().then_some(())
    });
    assert!(forgotten.is_some(), "{} flows left", daemon.flows().len());
    assert_eq!(daemon.stop().code(), 0);
    Ok(())
}

#[test]
fn root_flows_that_come_and_go_never_get_the_window_of_another() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(120)) else {
        return Ok(());
    };
    let namespaces = crowd::namespaces()?;
    let setup = Setup::new(&crowd::config());
    let daemon = setup.start(&namespaces[0]);
    let crowd = crowd::crowd(500, setup.name());
    // An unoptimized daemon on a busy machine is late for most, which is no fault: some come and go until
    // it was in time for one. How many an optimized one steers is measured by `make bench-kernel`.
    let churn = || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = namespaces[..2]
                .iter()
                .map(|namespace| {
                    let crowd = &crowd;
                    scope.spawn(move || {
                        crowd.churn(namespace, Duration::from_secs(2), |member, info| {
                            // Until it is steered it has what the kernel begins with; never another's.
                            let (own, cwnd) =
                                (crowd::window(member.peer().port()), info.cwnd_packets);
                            let others = crowd::is_window(cwnd) && cwnd != own;
                            assert!(!others, "{member:?} has the window of another: {cwnd}");
                            cwnd == own
                        })
                    })
                })
                .collect();
            let ended = threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic there"));
            ended.collect::<Result<Vec<_>, _>>()
        })
    };
    let (mut flows, mut steered) = (0, 0);
    let until = Instant::now() + Duration::from_secs(40);
    while flows == 0 || (steered == 0 && Instant::now() < until) {
        for one in churn()? {
            println!("{one:?}");
            flows += one.flows;
            steered += one.steered;
        }
        let forgotten = within(Duration::from_secs(20), || {
            daemon.flows().is_empty().then_some(())
        });
        assert!(forgotten.is_some(), "{} flows left", daemon.flows().len());
    }
    assert!(flows > 500, "only {flows} flows have come and gone");
    assert!(steered > 0, "none of {flows} were steered");
    assert_eq!(daemon.stop().code(), 0);
    Ok(())
}
