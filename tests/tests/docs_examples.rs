//! The example of `docs/writing-algorithms.md` steers real flows.

use std::{fs, path::Path, time::Duration};

use ccp_lab::{Bulk, EmulatedLink, Namespace, Pipe, Until};
use ccp_tests::{KernelTest, Trace, unique_name};

#[allow(unreachable_pub, reason = "in its own crate it is public")]
#[path = "../../examples/vegas/src/vegas.rs"]
mod vegas;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A daemon within this program, as the tutorial's own makes it.
#[test]
fn root_vegas_fills_the_link_and_not_the_queue() -> anyhow::Result<()> {
    let Some(_alone) = KernelTest::begin(Duration::from_secs(60)) else {
        return Ok(());
    };
    let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
    // A queue of one and a half bandwidth-delay products: Reno fills it, Vegas does not.
    let pipe = Pipe::new(50_000_000, ms(10)).queue_bytes(187_500);
    let link = EmulatedLink::new(&client, &server, pipe)?;
    let (name, dir) = (unique_name(), tempfile::tempdir()?);
    let example = fs::read_to_string(Path::new(REPOSITORY).join("examples/vegas/vegas.toml"))?;
    let example = example.replacen("match = {", "match = { netns = 'any',", 1);
    let config: ccpd::Config = format!(
        "[ccpd]\ncontrol = '{}'\n[[datapath]]\nkind = 'tcp'\nname = '{name}'\nnamespaces = 'any'\n{example}",
        dir.path().join("control.sock").display(),
    )
    .parse()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let daemon = runtime.block_on(
        ccpd::Ccpd::builder()
            .config(config)
            .kind("vegas", vegas::Vegas::from_params)
            .spawn(),
    )?;

    // Port by port: 5201 is Vegas' by the rules, 5001 the default's, Reno's.
    let mut seen = Vec::new();
    for port in [5201, 5001] {
        let flow = Bulk::new(Until::Stopped)
            .congestion(&name)
            .port(port)
            .sample_every(ms(20))
            .start(&client, &server, link.b_v4())?;
        std::thread::sleep(ms(7000));
        flow.stop();
        let trace = Trace::from(&flow.wait()?).between(ms(2000), ms(7000));
        let mut rtts: Vec<Duration> = trace.0.iter().map(|s| s.info.srtt).collect();
        rtts.sort();
        seen.push((rtts[rtts.len() / 2], trace.goodput_bps()));
    }
    daemon.stop();
    runtime.block_on(daemon.wait())?;

    println!("median RTT and bit/s of Vegas, of Reno: {seen:?}");
    let [(vegas_rtt, vegas_bps), (reno_rtt, _)] = seen[..] else {
        panic!("two flows: {seen:?}");
    };
    assert!(vegas_bps > 40e6, "{seen:?}");
    assert!(vegas_rtt < ms(26) && reno_rtt > ms(30), "{seen:?}");
    Ok(())
}
